//! Archives against the real `tar`, both ways, and against what nobody should send.

use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use tar::{EntryType, Header};

use crate::archive::*;
use crate::base::timestamp::Timestamp;
use crate::snapshot::{Entry, Kind, RelativePath};
use crate::tree::TreeWriter;
use crate::tree::tests::{entries, is_root, odd_tree};

/// What an archive can hold of a tree.
fn without_sockets(at: &Path) -> Vec<Entry> {
    entries(at).into_iter().filter(|entry| entry.kind != Kind::Socket).collect()
}

/// The odd tree, with names and link targets longer than a header has room for, and a hard link.
fn odder_tree(at: &Path) {
    odd_tree(at);
    let long = at.join("l".repeat(90)).join("o".repeat(200));
    std::fs::create_dir_all(&long).unwrap();
    std::fs::write(long.join("f"), b"deep").unwrap();
    std::os::unix::fs::symlink("t".repeat(300), at.join("long_link")).unwrap();
    std::fs::hard_link(long.join("f"), at.join("z_hard")).unwrap();
    let socket = std::fs::symlink_metadata(at.join("socket")).unwrap();
    assert_eq!(socket.nlink(), 1);
}

fn shell(script: &str, at: &Path) -> Vec<u8> {
    let output = Command::new("sh").args(["-ec", script]).current_dir(at).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn unpacked(archive: &[u8], at: &Path) -> Result<UnpackReport, ArchiveError> {
    let writer = TreeWriter::open(at).unwrap();
    let report = unpack(archive, &writer, &Limits::NONE)?;
    assert_eq!(writer.problems().lines(), Vec::<String>::new());
    Ok(report)
}

fn packed(from: &Path, codec: Codec) -> Vec<u8> {
    let mut writer = ArchiveWriter::new(Vec::new(), codec).unwrap();
    for mut entry in entries(from) {
        if entry.path.as_bytes() == b"z_hard" {
            let first = format!("{}/{}/f", "l".repeat(90), "o".repeat(200));
            entry.hard_link = Some(RelativePath::new(first).unwrap());
        }
        match entry.kind {
            Kind::File { .. } => {
                let mut file = std::fs::File::open(entry.path.below(from)).unwrap();
                writer.entry(&entry, &mut file).unwrap();
            }
            _ => writer.entry(&entry, &mut std::io::empty()).unwrap(),
        }
    }
    let (archive, report) = writer.finish().unwrap();
    assert_eq!(report.skipped.len(), entries(from).len() - report.entries as usize);
    archive
}

#[test]
fn archives_of_gnu_tar_are_unpacked() {
    let from = tempfile::tempdir().unwrap();
    odder_tree(from.path());
    let before = without_sockets(from.path());
    let all = "--xattrs --xattrs-include='*' --warning=no-file-ignored";
    for script in [
        format!("tar --format=posix {all} -c . | zstd -q"),
        format!("tar --format=posix {all} -cz ."),
        format!("tar --format=posix --sparse --sparse-version=1.0 {all} -c ."),
        format!("tar --format=posix --sparse --sparse-version=0.1 {all} -c ."),
        format!("tar --format=posix --sparse --sparse-version=0.0 {all} -c ."),
    ] {
        let to = tempfile::tempdir().unwrap();
        unpacked(&shell(&script, from.path()), to.path()).unwrap();
        let mut after = entries(to.path());
        if !script.contains("--sparse") {
            for entry in &mut after {
                restore_holes(entry, &before);
            }
        }
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(before, after, "{script}");
        }
        assert_eq!(before.len(), after.len());
        let inode = |name: &str| std::fs::metadata(to.path().join(name)).unwrap().ino();
        assert_eq!(inode("z_hard"), inode(&format!("{}/{}/f", "l".repeat(90), "o".repeat(200))));
    }
}

/// Whole seconds and no attributes, but long names, and sparse files with many holes.
#[test]
fn the_older_gnu_format_is_unpacked() {
    let from = tempfile::tempdir().unwrap();
    odder_tree(from.path());
    let many = std::fs::File::create(from.path().join("many")).unwrap();
    for at in [1, 2, 3, 4, 5, 6, 7, 8, 9, 40, 70] {
        many.write_all_at(b"x", at * 100_000).unwrap();
    }
    many.set_len(9_000_000).unwrap();
    let archive = shell("tar --format=gnu --sparse --warning=no-file-ignored -c .", from.path());
    let to = tempfile::tempdir().unwrap();
    unpacked(&archive, to.path()).unwrap();
    let plain = |at: &Path| {
        let mut entries = without_sockets(at);
        for entry in &mut entries {
            entry.attributes.clear();
            entry.mtime.nanoseconds = 0;
        }
        entries
    };
    assert_eq!(plain(to.path()), plain(from.path()));
}

#[test]
fn gnu_tar_reads_what_is_written() {
    let from = tempfile::tempdir().unwrap();
    odder_tree(from.path());
    for (codec, pipe) in
        [(Codec::Tar, "cat"), (Codec::TarGz(6), "gzip -dc"), (Codec::TarZstd(3), "zstd -qdc")]
    {
        let archive = packed(from.path(), codec);
        let to = tempfile::tempdir().unwrap();
        let mut child = Command::new("sh")
            .args([
                "-c",
                &format!("{pipe} | tar --warning=no-timestamp --xattrs --xattrs-include='*' -xpf -"),
            ])
            .current_dir(to.path())
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&archive).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{codec:?}");
        assert!(output.status.success());
        compare(&without_sockets(from.path()), &entries(to.path()));
        let again = tempfile::tempdir().unwrap();
        unpacked(&archive, again.path()).unwrap();
        compare(&without_sockets(from.path()), &entries(again.path()));
    }
}

#[test]
fn an_archive_that_is_cut_anywhere_is_an_error() {
    let from = tempfile::tempdir().unwrap();
    std::fs::write(from.path().join("a"), vec![0; 5000]).unwrap();
    std::fs::write(from.path().join("b"), b"text").unwrap();
    for codec in [Codec::Tar, Codec::TarGz(1), Codec::TarZstd(1)] {
        let archive = packed(from.path(), codec);
        let end = if codec == Codec::Tar { 7 * 512 + 5120 } else { archive.len() };
        for length in (0..end).step_by(if codec == Codec::Tar { 256 } else { 1 }) {
            let to = tempfile::tempdir().unwrap();
            let error = unpacked(&archive[..length.min(archive.len() - 1)], to.path()).err();
            let Some(error) = error else {
                // Of a plain archive only the padding may be missing.
                assert!(
                    codec == Codec::Tar && length >= archive.len() - 10240 + 9 * 512,
                    "{codec:?} {length}"
                );
                continue;
            };
            assert!(
                matches!(error, ArchiveError::Truncated { .. } | ArchiveError::NotAnArchive),
                "{codec:?} cut at {length}: {error}"
            );
        }
    }
}

#[test]
fn several_members_and_frames_are_one_stream() {
    let from = tempfile::tempdir().unwrap();
    std::fs::write(from.path().join("a"), vec![7; 5000]).unwrap();
    let archive = packed(from.path(), Codec::Tar);
    let (head, tail) = archive.split_at(3000);
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let frame = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0][..], b"note"].concat();
    for stream in [[gzip(head), gzip(tail)].concat(), [skippable, frame(head), frame(tail)].concat()] {
        let to = tempfile::tempdir().unwrap();
        unpacked(&stream, to.path()).unwrap();
        compare(&entries(from.path()), &entries(to.path()));
    }
}

fn member(name: &[u8], kind: EntryType, link: &str, content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_link_name_literal(link).unwrap();
    header.set_mode(0o644);
    header.set_uid(rustix::process::geteuid().as_raw().into());
    header.set_gid(rustix::process::getegid().as_raw().into());
    header.set_mtime(1);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut bytes = [header.as_bytes(), content].concat();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn whole(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}

#[test]
fn nothing_leaves_the_target() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), b"s").unwrap();
    let outside = dir.path().to_str().unwrap().to_owned();
    let file = |name: &str| member(name.as_bytes(), EntryType::Regular, "", b"evil");
    let link = |name: &str, to: &str| member(name.as_bytes(), EntryType::Symlink, to, b"");
    let hard = |name: &str, to: &str| member(name.as_bytes(), EntryType::Link, to, b"");
    let evil = [
        vec![file("../evil")],
        vec![file("/tmp/evil")],
        vec![file("a/../../evil")],
        vec![link("a", &outside), file("a/evil")],
        vec![link("a", &outside), member(b"a/evil/", EntryType::Directory, "", b"")],
        vec![link("a", &outside), member(b"a/", EntryType::Directory, "", b"")],
        vec![link("a", &outside), link("a/evil", "x")],
        vec![hard("a", "../secret")],
        vec![hard("a", &format!("{outside}/secret"))],
        vec![link("a", &outside), hard("b", "a/secret")],
        vec![hard("a", "a")],
        vec![hard("a", "not_there")],
        vec![link("./", &outside)],
        vec![file("a"), file("a/b")],
    ];
    for (index, members) in evil.iter().enumerate() {
        let target = dir.path().join(format!("target{index}"));
        std::fs::create_dir(&target).unwrap();
        assert!(unpacked(&whole(members), &target).is_err(), "{index}");
    }
    assert!(!dir.path().join("evil").exists() && !Path::new("/tmp/evil").exists());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), evil.len() + 1);
    assert_eq!(std::fs::metadata(dir.path().join("secret")).unwrap().nlink(), 1);
}

#[test]
fn later_members_win_and_directories_above_are_made() {
    let to = tempfile::tempdir().unwrap();
    let archive = whole(&[
        member(b"./x/y/f", EntryType::Regular, "", b"old"),
        member(b"x/y/f", EntryType::Regular, "", b"new"),
        member(b"x/y/g", EntryType::Symlink, "/etc/passwd", b""),
        member(b"x/y/g", EntryType::Regular, "", b"not a link"),
    ]);
    let report = unpacked(&archive, to.path()).unwrap();
    assert_eq!(report, UnpackReport { entries: 4, files: 3, bytes: 16 });
    assert_eq!(std::fs::read(to.path().join("x/y/f")).unwrap(), b"new");
    assert!(std::fs::symlink_metadata(to.path().join("x/y/g")).unwrap().is_file());
    let made = std::fs::metadata(to.path().join("x")).unwrap();
    assert_eq!((made.permissions().mode() & 0o7777, made.mtime()), (0o755, 1));
}

#[test]
fn limits_hold() {
    let archive =
        whole(&[member(b"a", EntryType::Regular, "", &[1; 4096]), member(b"b", EntryType::Fifo, "", b"")]);
    let compressed = zstd::encode_all(&archive[..], 1).unwrap();
    for limits in [Limits { bytes: 4000, entries: 9 }, Limits { bytes: 1 << 20, entries: 1 }] {
        let to = tempfile::tempdir().unwrap();
        let writer = TreeWriter::open(to.path()).unwrap();
        let error = unpack(&compressed[..], &writer, &limits).unwrap_err();
        assert!(matches!(error, ArchiveError::TooLarge { .. }), "{error}");
    }
}

#[test]
fn what_is_no_archive_or_damaged_says_so() {
    let to = tempfile::tempdir().unwrap();
    for bytes in [&b""[..], b"hello", &[b'x'; 2000]] {
        assert!(matches!(unpacked(bytes, to.path()), Err(ArchiveError::NotAnArchive)));
    }
    let mut archive =
        whole(&[member(b"a", EntryType::Regular, "", b"x"), member(b"b", EntryType::Fifo, "", b"")]);
    archive[1024 + 3] ^= 1;
    assert!(matches!(unpacked(&archive, to.path()), Err(ArchiveError::Damaged { .. })));
    let mut compressed = zstd::encode_all(&vec![3; 100_000][..], 1).unwrap();
    compressed.truncate(20);
    compressed[10] ^= 0xff;
    assert!(unpacked(&compressed, to.path()).is_err());
    let failing = (&archive[..100]).chain(Failing);
    let writer = TreeWriter::open(to.path()).unwrap();
    assert!(matches!(unpack(failing, &writer, &Limits::NONE), Err(ArchiveError::Read(_))));
}

/// Whatever the bytes say: an error or a tree, never a panic, and nothing beside the target.
#[test]
fn flipped_bytes_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    std::fs::create_dir(&from).unwrap();
    odder_tree(&from);
    let posix = packed(&from, Codec::Tar);
    let gnu = shell("tar --format=gnu --sparse --warning=no-file-ignored -c .", &from);
    let mut seed: u64 = 7;
    let mut random = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    for round in 0..200 {
        let mut archive = if round % 2 == 0 { posix.clone() } else { gnu.clone() };
        for _ in 0..3 {
            let block = random() % (archive.len() / 512) * 512;
            archive[block + random() % 512] = random() as u8;
            let header = &mut archive[block..block + 512];
            // Most damage would be caught by the checksum: make it right again.
            header[148..156].fill(b' ');
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        let target = dir.path().join("target");
        std::fs::create_dir(&target).unwrap();
        let writer = TreeWriter::open(&target).unwrap();
        let _ = unpack(&archive[..], &writer, &Limits { bytes: 1 << 30, entries: 1000 });
        writer.remove_tree(&RelativePath::root()).unwrap();
        std::fs::remove_dir(&target).unwrap();
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::ConnectionReset.into())
    }
}

#[test]
fn content_that_ends_early_is_not_written_as_whole() {
    let mut writer = ArchiveWriter::new(Vec::new(), Codec::Tar).unwrap();
    let from = tempfile::tempdir().unwrap();
    std::fs::write(from.path().join("a"), b"four").unwrap();
    let entry = entries(from.path()).remove(1);
    let error = writer.entry(&entry, &mut &b"thr"[..]).unwrap_err();
    assert!(matches!(error, ArchiveError::Content { .. }), "{error}");
}

#[test]
fn times_and_owners_beyond_octal_survive() {
    if !is_root() {
        return;
    }
    let from = tempfile::tempdir().unwrap();
    std::fs::write(from.path().join("a"), b"").unwrap();
    let mut entry = entries(from.path()).remove(1);
    (entry.uid, entry.gid) = (u32::MAX - 1, 3_000_000_000);
    entry.mtime = Timestamp::new(-5, 250_000_000);
    let mut writer = ArchiveWriter::new(Vec::new(), Codec::Tar).unwrap();
    writer.entry(&entry, &mut std::io::empty()).unwrap();
    let to = tempfile::tempdir().unwrap();
    unpacked(&writer.finish().unwrap().0, to.path()).unwrap();
    assert_eq!(entries(to.path()).remove(1), entry);
}

fn compare(before: &[Entry], after: &[Entry]) {
    for (before, after) in before.iter().zip(after) {
        assert_eq!(before, after);
    }
    assert_eq!(before.len(), after.len());
}

/// Archives made without `--sparse` know no holes.
fn restore_holes(entry: &mut Entry, like: &[Entry]) {
    if let Kind::File { holes, .. } = &mut entry.kind
        && let Some(Kind::File { holes: expected, .. }) =
            like.iter().find(|other| other.path == entry.path).map(|other| &other.kind)
    {
        holes.clone_from(expected);
    }
}
