//! Trees to fill a volume with.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, makedev, mknodat, setxattr, utimensat,
};

use super::lab::is_root;
use super::process::shell;

/// 1950, 1969's last moment, the last moment before the seconds outgrow 31 bits, 2200.
const ODD_TIMES: [(i64, i64); 4] =
    [(-631_152_000, 1), (-1, 999_999_999), (2_147_483_647, 123_456_789), (7_258_118_400, 987_654_321)];

/// Every odd thing a volume may hold. What only root can make is left out for others.
pub fn odd_tree(root: &Path) {
    fs::create_dir_all(root).unwrap();
    odd_names(&root.join("names"));
    links(&root.join("links"));
    special_nodes(&root.join("nodes"));
    contents(&root.join("contents"));
    attributes(&root.join("attributes"));
    modes_and_owners(&root.join("modes"));
    times(&root.join("times"));
    fs::create_dir(root.join("empty directory")).unwrap();
    set_mode(root, 0o751);
    set_attribute(root, "user.of-the-root", b"\0\xff");
    set_times(root, (1_000_000_000, 987_654_321));
}

fn odd_names(root: &Path) {
    fs::create_dir(root).unwrap();
    let long = vec![b'n'; 255];
    let names: [&[u8]; 14] = [
        b"new\nline",
        b"not utf-8 \xff\xfe",
        b" spaces at both ends ",
        b"-leading dash",
        b"--help",
        b"quote\" and 'quote'",
        b"back\\slash",
        b"tab\tand\rreturn",
        "snowman \u{2603} and e\u{301}".as_bytes(),
        b"*glob?[a]",
        b"$(variable) `command`",
        b"...",
        b".hidden",
        &long,
    ];
    for name in names {
        write(&root.join(OsStr::from_bytes(name)), name);
    }
    let directory = root.join(OsString::from_vec(b"directory \xc3\x28\n".to_vec()));
    fs::create_dir(&directory).unwrap();
    write(&directory.join("inside"), b"inside");
    // Longer in all than a path in one system call may be, were the names a little longer; each level has a file.
    let mut deep = root.join("deep");
    for level in 0..100 {
        deep.push(format!("level-{level:03}"));
        fs::create_dir_all(&deep).unwrap();
        if level % 10 == 0 {
            write(&deep.join("file"), format!("{level}").as_bytes());
        }
    }
}

fn links(root: &Path) {
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::create_dir_all(root.join("c")).unwrap();
    for (target, name) in [
        ("nowhere/at/all", "dangling"),
        ("/etc/hostname", "absolute"),
        ("a", "to a directory"),
        ("..", "up"),
        ("itself", "itself"),
        (" ", "to a space"),
    ] {
        symlink(target, root.join(name)).unwrap();
    }
    symlink(OsStr::from_bytes(b"not utf-8 \xff\n"), root.join("odd target")).unwrap();
    symlink("x".repeat(1000), root.join("long target")).unwrap();
    write(&root.join("a/first"), &random_bytes(7, 5000));
    fs::hard_link(root.join("a/first"), root.join("a/b/second")).unwrap();
    fs::hard_link(root.join("a/first"), root.join("c/third")).unwrap();
    write(&root.join("c/large"), &random_bytes(8, 300_000));
    fs::hard_link(root.join("c/large"), root.join("a/large too")).unwrap();
    write(&root.join("c/empty"), b"");
    fs::hard_link(root.join("c/empty"), root.join("a/empty too")).unwrap();
    fs::hard_link(root.join("dangling"), root.join("c/dangling too")).unwrap();
    set_times(&root.join("dangling"), ODD_TIMES[2]);
}

fn special_nodes(root: &Path) {
    fs::create_dir(root).unwrap();
    node(&root.join("fifo"), FileType::Fifo, 0o622, 0);
    fs::hard_link(root.join("fifo"), root.join("fifo too")).unwrap();
    // A socket's address is short; a temporary directory's name may be long.
    let socket = std::env::temp_dir().join(format!("vk-{}-{:x}", std::process::id(), hash(root)));
    let _ = fs::remove_file(&socket);
    drop(UnixListener::bind(&socket).unwrap());
    shell("mv -- \"$1\" \"$2\"", &[socket.as_os_str(), root.join("socket").as_os_str()]);
    if is_root() {
        node(&root.join("null"), FileType::CharacterDevice, 0o666, makedev(1, 3));
        node(&root.join("large numbers"), FileType::CharacterDevice, 0o600, makedev(511, 70_000));
        node(&root.join("disk"), FileType::BlockDevice, 0o660, makedev(7, 200));
    }
}

fn contents(root: &Path) {
    fs::create_dir(root).unwrap();
    let three_mib = random_bytes(1, 3 << 20);
    write(&root.join("empty"), b"");
    write(&root.join("one byte"), b"1");
    for (name, size) in [("128 KiB less one", -1), ("128 KiB", 0), ("128 KiB and one", 1)] {
        write(&root.join(name), &random_bytes(2, (128 * 1024 + size) as usize));
    }
    write(&root.join("3 MiB random"), &three_mib);
    write(&root.join("3 MiB random again"), &three_mib);
    let text: Vec<u8> =
        (0..).flat_map(|n: u32| format!("line {n} of many\n").into_bytes()).take(20 << 20).collect();
    write(&root.join("20 MiB compressible"), &text);
    write(&root.join("zeros without a hole"), &vec![0; 1 << 20]);
    for (name, size, data) in [
        ("hole at the start", 8 << 20, vec![7 << 20]),
        ("hole in the middle", 8 << 20, vec![0, 7 << 20]),
        ("hole at the end", 8 << 20, vec![0]),
        ("only a hole", 64 << 20, vec![]),
        ("many holes", 32 << 20, (0..16).map(|n| n * (2 << 20)).collect()),
        ("hole and a ragged end", (8 << 20) + 12345, vec![4 << 20]),
    ] {
        sparse(&root.join(name), size, &data);
    }
}

/// 1 MiB of data at each offset, nothing elsewhere.
fn sparse(path: &Path, size: u64, data: &[u64]) {
    let mut file = File::create_new(path).unwrap();
    file.set_len(size).unwrap();
    for offset in data {
        file.seek(SeekFrom::Start(*offset)).unwrap();
        let length = (1u64 << 20).min(size - offset);
        file.write_all(&random_bytes(*offset, usize::try_from(length).unwrap())).unwrap();
    }
}

fn attributes(root: &Path) {
    fs::create_dir_all(root.join("directory")).unwrap();
    write(&root.join("file"), b"with attributes");
    symlink("file", root.join("symlink beside")).unwrap();
    for path in [root.join("file"), root.join("directory")] {
        set_attribute(&path, "user.text", b"plain");
        set_attribute(&path, "user.binary", &[0, 1, 2, 0xff, b'\n', 0]);
        set_attribute(&path, "user.empty", b"");
        set_attribute(&path, "user.large", &random_bytes(3, 1000));
    }
    write(&root.join("access list"), b"x");
    fs::create_dir(root.join("default list")).unwrap();
    shell(
        "cd \"$1\"
         setfacl -m u:12345:rw,g:54321:r,m::rw 'access list'
         setfacl -m u:12345:rwx -m d:u:12345:rx,d:g::r,d:o::- 'default list'
         setfacl -m d:u:1:rwx directory",
        &[root.as_os_str()],
    );
    // Made after the default list, so it inherits one.
    write(&root.join("default list/heir"), b"x");
    fs::create_dir(root.join("default list/heiress")).unwrap();
}

fn modes_and_owners(root: &Path) {
    fs::create_dir(root).unwrap();
    let mut modes = vec![0o400, 0o644, 0o777, 0o4755, 0o2755, 0o6711, 0o1644];
    if is_root() {
        // Others could not read these back.
        modes.extend([0, 0o111, 0o4000]);
    }
    for mode in modes {
        let path = root.join(format!("file {mode:05o}"));
        write(&path, format!("{mode}").as_bytes());
        if is_root() {
            lchown(&path, Some(1234), Some(5678)).unwrap();
        }
        set_mode(&path, mode);
    }
    for mode in [0o700, 0o1777, 0o2775, 0o500, 0] {
        if is_root() || mode & 0o500 == 0o500 {
            let path = root.join(format!("directory {mode:05o}"));
            fs::create_dir(&path).unwrap();
            write(&path.join("inside"), b"inside");
            set_mode(&path, mode);
        }
    }
    if is_root() {
        let link = root.join("symlink of another");
        symlink("nowhere", &link).unwrap();
        lchown(&link, Some(4_000_000_000), Some(4_000_000_001)).unwrap();
    }
}

fn times(root: &Path) {
    fs::create_dir(root).unwrap();
    for (at, time) in ODD_TIMES.into_iter().enumerate() {
        let (file, directory, link) = (
            root.join(format!("file {at}")),
            root.join(format!("directory {at}")),
            root.join(format!("link {at}")),
        );
        write(&file, b"t");
        fs::create_dir(&directory).unwrap();
        write(&directory.join("inside"), b"t");
        symlink("nowhere", &link).unwrap();
        for path in [file, directory, link] {
            set_times(&path, time);
        }
    }
    set_times(root, ODD_TIMES[1]);
}

/// About forty entries with something of every kind, for tests that go through hundreds of runs.
pub fn few_entries(root: &Path) {
    fs::create_dir_all(root.join("one/two/three")).unwrap();
    fs::create_dir_all(root.join("empty")).unwrap();
    for at in 0..16u64 {
        let directory = ["", "one", "one/two", "one/two/three"][(at % 4) as usize];
        write(&root.join(directory).join(format!("file-{at}")), &random_bytes(at, 500 + 100 * at as usize));
    }
    write(&root.join("large"), &random_bytes(99, 1_500_000));
    write(&root.join("nothing"), b"");
    write(&root.join(OsStr::from_bytes(b"odd \xff\nname")), b"odd");
    sparse(&root.join("sparse"), 8 << 20, &[4 << 20]);
    symlink("one/file-1", root.join("link")).unwrap();
    symlink("nowhere", root.join("one/dangling")).unwrap();
    fs::hard_link(root.join("file-0"), root.join("one/hard")).unwrap();
    fs::hard_link(root.join("file-0"), root.join("one/two/harder")).unwrap();
    node(&root.join("one/fifo"), FileType::Fifo, 0o600, 0);
    set_attribute(&root.join("one/two"), "user.colour", b"green");
    set_mode(&root.join("one/two/file-2"), 0o4750);
    set_mode(&root.join("one/two/three"), 0o1500);
    for name in ["a", "b", "c", "d", "e", "f"] {
        fs::create_dir(root.join(name)).unwrap();
        write(&root.join(name).join("f"), name.as_bytes());
        set_times(&root.join(name), (1_600_000_000, 111_111_111));
    }
    set_times(&root.join("one"), ODD_TIMES[1]);
    set_mode(root, 0o751);
    set_times(root, (1_500_000_000, 222_222_222));
}

/// `files` small files, up to 100 a directory, whose sizes and bytes come from the seed.
pub fn made_tree(root: &Path, files: usize, seed: u64) {
    let mut random = Random(seed | 1);
    let mut buffer = [0u8; 2048];
    for at in 0..files {
        let directory = root.join(format!("{:02}/{:03}", at / 10_000, at / 100 % 100));
        if at % 100 == 0 {
            fs::create_dir_all(&directory).unwrap();
        }
        let length = (random.next() % 2048) as usize;
        for chunk in buffer[..length].chunks_mut(8) {
            // Half of each word is random: it compresses about as text does.
            let word = (random.next() & 0x0f0f_0f0f_ffff).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        fs::write(directory.join(format!("file-{at}")), &buffer[..length]).unwrap();
    }
}

pub fn random_bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend(random.next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// xorshift64*: small, and the same on every machine.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

fn hash(path: &Path) -> u64 {
    path.as_os_str().as_bytes().iter().fold(17, |hash, byte| hash * 31 % 0xffff_ffff + u64::from(*byte))
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn node(path: &Path, kind: FileType, mode: u32, device: u64) {
    mknodat(CWD, path, kind, Mode::from_raw_mode(mode), device)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    set_mode(path, mode);
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn set_attribute(path: &Path, name: &str, value: &[u8]) {
    setxattr(path, name, value, XattrFlags::empty())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn set_times(path: &Path, (seconds, nanoseconds): (i64, i64)) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
