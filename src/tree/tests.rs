//! Whole trees through walk, entries and writer, and what happens to those who may not do everything.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;

use rustix::fs::{FileType, Mode, Timespec, Timestamps, makedev};

use crate::base::hash::Hash;
use crate::snapshot::{Attribute, Entry, Hole, Kind, RelativePath};
use crate::tree::attributes::Object;
use crate::tree::*;

/// `user::rwx user:1234:r-x group::r-x mask::r-x other::---`, as the kernel keeps it.
const ACL: [u8; 44] = [
    2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 5, 0, 210, 4, 0, 0, 4, 0, 5, 0, 255, 255, 255, 255, 16,
    0, 5, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
];
/// `cap_net_bind_service+ep`.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn path(text: &str) -> RelativePath {
    RelativePath::new(text).unwrap()
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A tree with one of everything this process may make.
pub(crate) fn odd_tree(at: &Path) {
    let names: [&[u8]; 6] = [b"plain", b"-rf", b"new\nline", b"\xff\xfe", "ü ß".as_bytes(), &[b'n'; 255]];
    for (index, name) in names.iter().enumerate() {
        let file = at.join(OsStr::from_bytes(name));
        std::fs::write(&file, vec![b'x'; index * 1000]).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o400 + index as u32)).unwrap();
    }
    std::fs::create_dir_all(at.join("dir/empty")).unwrap();
    std::fs::create_dir(at.join("sticky")).unwrap();
    std::fs::set_permissions(at.join("sticky"), PermissionsExt::from_mode(0o3777)).unwrap();
    symlink("../../nowhere", at.join("dir/dangling")).unwrap();
    symlink(OsStr::from_bytes(b"\xff/x"), at.join("dir/bytes")).unwrap();
    let sparse = std::fs::File::create(at.join("sparse")).unwrap();
    sparse.write_all_at(b"middle", 1 << 20).unwrap();
    sparse.set_len(2 << 20).unwrap();
    std::fs::write(at.join("dir/suid"), b"#!/bin/sh\n").unwrap();
    let root = Root::open(at).unwrap();
    rustix::fs::mknodat(root.fd(), "fifo", FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    std::os::unix::net::UnixListener::bind(at.join("socket")).unwrap();
    let file = std::fs::File::open(at.join("dir/suid")).unwrap();
    Object::Open(file.as_fd()).set(b"user.note", b"\x00\x01").unwrap();
    let dir = std::fs::File::open(at.join("dir")).unwrap();
    Object::Open(dir.as_fd()).set(b"user.dir", b"").unwrap();
    if is_root() {
        let device = makedev(1, 3);
        let mode = Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(root.fd(), "null", FileType::CharacterDevice, mode, device).unwrap();
        rustix::fs::mknodat(root.fd(), "disk", FileType::BlockDevice, mode, makedev(7, 300)).unwrap();
        std::os::unix::fs::chown(at.join("dir/suid"), Some(1234), Some(4321)).unwrap();
        std::os::unix::fs::chown(at.join("fifo"), Some(1), Some(2)).unwrap();
        std::os::unix::fs::lchown(at.join("dir/bytes"), Some(5), Some(6)).unwrap();
        Object::Open(file.as_fd()).set(b"security.capability", &CAPABILITY).unwrap();
        Object::named(root.fd(), b"dir/dangling").set(b"trusted.of_link", b"yes").unwrap();
        Object::named(root.fd(), b"null").set(b"trusted.of_device", b"yes").unwrap();
    }
    std::fs::set_permissions(at.join("dir/suid"), PermissionsExt::from_mode(0o6755)).unwrap();
    let plain = std::fs::File::open(at.join("plain")).unwrap();
    Object::Open(plain.as_fd()).set(b"system.posix_acl_access", &ACL).unwrap();
    Object::Open(dir.as_fd()).set(b"system.posix_acl_default", &ACL).unwrap();
    for (name, seconds, nanoseconds) in
        [("dir/dangling", -2, 1), ("plain", 1, 999_999_999), ("fifo", 2_000_000_000, 7), ("dir", 3, 3)]
    {
        let omit = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
        let times = Timestamps {
            last_access: omit,
            last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds },
        };
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(root.fd(), name, &times, flags).unwrap();
    }
}

pub(crate) fn entries(at: &Path) -> Vec<Entry> {
    let root = Root::open(at).unwrap();
    let mut reader = EntryReader::new(&root);
    let read = |item: Result<Found, Problem>| {
        let found = item.unwrap();
        if found.stat.kind != FileKind::File {
            return reader.entry(&found).unwrap();
        }
        let file = reader.open(&found.path).unwrap();
        let mut entry = reader.file_entry(&found, &file).unwrap();
        let mut content = vec![0; found.stat.size as usize];
        file.read_exact_at(&mut content, 0).unwrap();
        let mut holes = Vec::new();
        if holes::may_have_holes(&found.stat) {
            let ranges = holes::data_ranges(&file, found.stat.size).unwrap();
            holes = holes::holes_between(&ranges, found.stat.size);
        }
        let (size, hash) = (found.stat.size, Hash::of(&content));
        entry.kind = Kind::File { size, hash, holes, extents: Vec::new() };
        entry
    };
    Walk::new(&root, WalkOptions::default()).map(read).collect()
}

fn restore(entries: &[Entry], from: &Path, writer: &TreeWriter) {
    let mut cursor = writer.cursor();
    for entry in entries {
        match &entry.kind {
            Kind::Directory => cursor.directory(&entry.path).unwrap(),
            Kind::File { size, holes, .. } => {
                let content = std::fs::read(entry.path.below(from)).unwrap();
                let sink = cursor.file(&entry.path).unwrap();
                for (offset, length) in holes::data_between(holes, *size) {
                    let (start, end) = (offset as usize, (offset + length) as usize);
                    sink.write_at(offset, &content[start..end]).unwrap();
                }
                sink.finish(entry).unwrap();
            }
            _ => assert!(cursor.make(entry).unwrap()),
        }
    }
    for entry in entries.iter().rev().filter(|entry| entry.is_directory()) {
        cursor.finish_directory(entry).unwrap();
    }
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    odd_tree(from.path());
    let entries_before = entries(from.path());
    let writer = TreeWriter::open(to.path()).unwrap();
    restore(&entries_before, from.path(), &writer);
    assert_eq!(writer.problems().lines(), Vec::<String>::new());
    let entries_after = entries(to.path());
    for (before, after) in entries_before.iter().zip(&entries_after) {
        assert_eq!(before, after);
    }
    assert_eq!(entries_before.len(), entries_after.len());
    let of = |text: &str| entries_after.iter().find(|entry| entry.path == path(text)).unwrap();
    assert_eq!(of("dir/suid").mode, 0o6755);
    assert!(matches!(&of("sparse").kind, Kind::File { holes, .. } if holes.len() == 2));
    assert_eq!(of("plain").attributes.len(), 1);
}

/// As on a volume whose group Kubernetes forces upon everything: set-gid and default ACLs on the directory.
#[test]
fn what_the_directory_passes_on_is_undone() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::create_dir(from.path().join("d")).unwrap();
    std::fs::write(from.path().join("d/f"), b"x").unwrap();
    std::fs::set_permissions(from.path().join("d/f"), PermissionsExt::from_mode(0o664)).unwrap();
    let before = entries(from.path());
    let target = std::fs::File::open(to.path()).unwrap();
    Object::Open(target.as_fd()).set(b"system.posix_acl_default", &ACL).unwrap();
    if is_root() {
        std::os::unix::fs::chown(to.path(), None, Some(777)).unwrap();
    }
    std::fs::set_permissions(to.path(), PermissionsExt::from_mode(0o2777)).unwrap();
    let writer = TreeWriter::open(to.path()).unwrap();
    restore(&before, from.path(), &writer);
    assert_eq!(writer.problems().lines(), Vec::<String>::new());
    assert_eq!(entries(to.path()), before);
}

#[test]
fn a_link_in_the_way_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (tree, outside) = (dir.path().join("tree"), dir.path().join("outside"));
    std::fs::create_dir(&tree).unwrap();
    std::fs::create_dir(&outside).unwrap();
    symlink(&outside, tree.join("a")).unwrap();
    let writer = TreeWriter::open(&tree).unwrap();
    let mut cursor = writer.cursor();
    let escape = |result: Result<(), TreeError>| {
        let error = result.unwrap_err();
        assert!(matches!(error, TreeError::Escape { .. }), "{error}");
    };
    escape(cursor.file(&path("a/b")).map(|_| ()));
    escape(cursor.directory(&path("a")));
    escape(cursor.directory(&path("a/b")));
    escape(cursor.hard_link(&path("a/b"), &path("c")));
    escape(writer.remove_tree(&path("a/b")));
    let mut entry = entries(&outside).remove(0);
    entry.path = path("a");
    escape(cursor.finish_directory(&entry));
    entry.kind = Kind::Symlink { target: "x".into() };
    entry.path = path("a/b");
    escape(cursor.make(&entry).map(|_| ()));
    assert!(matches!(cursor.file(&path("a")), Err(TreeError::Exists { .. })));
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn directories_above_are_made_and_existing_ones_kept() {
    let dir = tempfile::tempdir().unwrap();
    let writer = TreeWriter::open(dir.path()).unwrap();
    let mut cursor = writer.cursor();
    cursor.directories_to(&path("a/b/c")).unwrap();
    cursor.directory(&path("a/b")).unwrap();
    let mut sink = cursor.file(&path("a/b/c/f")).unwrap();
    sink.skip(10);
    sink.write_all(b"x").unwrap();
    drop(sink);
    cursor.hard_link(&path("a/b/c/f"), &path("a/g")).unwrap();
    assert_eq!(std::fs::metadata(dir.path().join("a/g")).unwrap().nlink(), 2);
    assert_eq!(std::fs::metadata(dir.path().join("a/g")).unwrap().len(), 11);
    assert!(matches!(cursor.directory(&path("a/g")), Err(TreeError::Exists { .. })));
    assert!(matches!(cursor.file(&path("a/g")), Err(TreeError::Exists { .. })));
    cursor.remove(&path("a/g")).unwrap();
    cursor.remove(&path("a/g")).unwrap();
    cursor.remove(&path("no/such")).unwrap();
}

#[test]
fn removing_takes_all_of_a_tree_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("kept");
    std::fs::create_dir(&kept).unwrap();
    std::fs::write(kept.join("f"), b"").unwrap();
    let tree = dir.path().join("tree");
    std::fs::create_dir_all(tree.join("odd")).unwrap();
    odd_tree(&tree.join("odd"));
    symlink(&kept, tree.join("to_kept")).unwrap();
    let writer = TreeWriter::open(&tree).unwrap();
    let mut cursor = writer.cursor();
    let mut deep = RelativePath::root();
    for _ in 0..300 {
        deep = deep.join(b"d").unwrap();
        cursor.directory(&deep).unwrap();
        cursor.directory(&deep.parent().unwrap().join(b"z").unwrap()).unwrap();
        drop(cursor.file(&deep.join(b"f").unwrap()).unwrap());
    }
    writer.remove_tree(&path("d")).unwrap();
    writer.remove_tree(&path("d")).unwrap();
    assert!(!tree.join("d").exists());
    writer.remove_tree(&path("to_kept")).unwrap();
    assert_eq!(std::fs::read_dir(&kept).unwrap().count(), 1);
    writer.remove_tree(&RelativePath::root()).unwrap();
    assert_eq!(std::fs::read_dir(&tree).unwrap().count(), 0);
}

/// Runs `as_another_user` in a process of user 65534.
#[test]
fn what_a_user_may_not_set_is_told() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("own")).unwrap();
    std::os::unix::fs::chown(dir.path().join("own"), Some(65534), Some(65534)).unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::create_dir(dir.path().join("closed")).unwrap();
    std::fs::set_permissions(dir.path().join("closed"), PermissionsExt::from_mode(0o700)).unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tree::tests::as_another_user", "--ignored", "--nocapture"])
        .env("TREE_OF_ANOTHER_USER", dir.path())
        .current_dir("/")
        .uid(65534)
        .gid(65534)
        .output();
    match output {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        // The build directory is closed to other users: nothing to be learnt here.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied),
    }
}

#[test]
#[ignore = "started by what_a_user_may_not_set_is_told"]
fn as_another_user() {
    // Nobody but that test says where; on its own there is nothing to do here.
    let Some(dir) = std::env::var_os("TREE_OF_ANOTHER_USER") else { return };
    let dir = Path::new(&dir);
    let own = dir.join("own");
    let writer = TreeWriter::open(&own).unwrap();
    let mut cursor = writer.cursor();
    let entry = |text: &str, kind, mode, attributes: &[(&str, &[u8])]| Entry {
        path: path(text),
        kind,
        mode,
        uid: 1234,
        gid: 1234,
        mtime: crate::base::timestamp::Timestamp::new(5, 6),
        attributes: attributes
            .iter()
            .map(|(name, value)| Attribute { name: (*name).into(), value: (*value).into() })
            .collect(),
        hard_link: None,
    };
    let holes = vec![Hole { offset: 0, length: 3 }];
    let file = Kind::File { size: 3, hash: Hash::of(&[0; 3]), holes, extents: Vec::new() };
    let suid = entry("suid", file, 0o4755, &[("security.capability", &CAPABILITY), ("user.ok", b"1")]);
    cursor.file(&suid.path).unwrap().finish(&suid).unwrap();
    let device = Kind::CharacterDevice { major: 1, minor: 3 };
    assert!(!cursor.make(&entry("null", device, 0o666, &[])).unwrap());
    assert!(cursor.make(&entry("link", Kind::Symlink { target: "x".into() }, 0o777, &[])).unwrap());
    assert!(cursor.make(&entry("fifo", Kind::Fifo, 0o600, &[])).unwrap());
    let locked = entry("locked", Kind::Directory, 0o000, &[]);
    cursor.directory(&locked.path).unwrap();
    drop(cursor.file(&path("locked/f")).unwrap());
    cursor.finish_directory(&locked).unwrap();

    let counted = |aspect| writer.problems().count(aspect);
    assert_eq!(counted(Aspect::Owner), 4, "{:?}", writer.problems().lines());
    assert_eq!((counted(Aspect::Device), counted(Aspect::Mode), counted(Aspect::Attribute)), (1, 1, 1));
    let made = std::fs::metadata(own.join("suid")).unwrap();
    assert_eq!((made.mode() & 0o7777, made.mtime(), made.mtime_nsec(), made.len()), (0o755, 5, 6, 3));

    let root = Root::open(&own).unwrap();
    let walked: Vec<_> = Walk::new(&root, WalkOptions::default()).collect();
    let denied =
        |item: &&Result<Found, Problem>| matches!(item, Err(Problem { error: TreeError::Denied { .. }, .. }));
    assert_eq!((walked.len(), walked.iter().filter(denied).count()), (6, 1));
    assert!(matches!(root.open_dir(&path("locked")), Err(TreeError::Denied { .. })));
    assert!(matches!(Root::open(&dir.join("closed")), Err(TreeError::Denied { .. })));
    // Access times of other users' files are not ours to spare.
    Root::open(Path::new("/")).unwrap().open_file(&path("etc/passwd")).unwrap();

    // Going on in what an earlier run had finished already.
    cursor.directory(&locked.path).unwrap();
    drop(cursor.file(&path("locked/g")).unwrap());
    cursor.finish_directory(&locked).unwrap();
    writer.remove_tree(&RelativePath::root()).unwrap();
    assert_eq!(std::fs::read_dir(&own).unwrap().count(), 0);
}
