//! Volumes of the size people have: a hundred thousand small files, a large one, the real files of this machine. Memory
//! and what is read are asserted; times are printed, because a busy machine has its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]
#![allow(clippy::print_stdout, reason = "the times are worth knowing")]

mod support;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Lab, Layout, Outcome, made_tree, random_bytes, run, shell, wrap};

const FILES: usize = 100_000;
const PEAK_KIB: u64 = 128 * 1024;
/// What a backup of an unchanged volume may add to the repository.
const UNCHANGED_BYTES: u64 = 100 * 1024;

#[test]
fn a_hundred_thousand_files() {
    let lab = Lab::new(Layout::Subdirectory);
    made_tree(&lab.volume(), FILES, 17);
    lab.keep_reference();
    lab.ok(&["repository", "init"]);
    lab.adopt();
    measured(&lab, "first backup", &["backup"]);

    let again = settled(&lab);
    let before = size(&lab.repository());
    let report = support::report(&measured(&lab, "unchanged backup", &["backup", "--json"]));
    assert_nothing_read(&report);
    let grown = size(&lab.repository()) - before;
    println!("an unchanged backup, the {again}th, adds {grown} bytes");
    assert!(grown < UNCHANGED_BYTES, "an unchanged backup adds {grown} bytes");

    lab.wipe();
    measured(&lab, "init that restores", &["init"]);
    lab.assert_back();

    // The whole process, from its start to its end.
    let start = Instant::now();
    lab.ok(&["init"]);
    let took = start.elapsed();
    println!("init of a healthy volume of {FILES} files: {took:?}");
    // A run that looked at every file would take longer than this in a debug build.
    assert!(took < Duration::from_secs(1), "a healthy volume took {took:?}");

    let report = support::report(&measured(&lab, "first backup after the restore", &["backup", "--json"]));
    assert_nothing_read(&report);
}

/// Backs up until no file is too young to be trusted unread. Gives the number of rounds.
fn settled(lab: &Lab) -> usize {
    let deadline = Instant::now() + Duration::from_secs(120);
    for round in 2.. {
        if lab.backup()["files_read"] == 0 {
            return round;
        }
        assert!(Instant::now() < deadline, "files are read again and again");
    }
    unreachable!()
}

#[track_caller]
fn assert_nothing_read(report: &Value) {
    assert_eq!((&report["files_read"], &report["bytes_read"]), (&0.into(), &0.into()), "{report}");
}

#[test]
fn one_large_file() {
    let lab = Lab::new(Layout::Subdirectory);
    let path = lab.volume().join("large");
    large_file(&path, 1 << 30);
    lab.ok(&["repository", "init"]);
    lab.adopt();
    measured(&lab, "first backup", &["backup"]);
    // No second copy of a gigabyte: its sum has to do.
    let sum = || shell("cksum <\"$1\"; stat -c '%s %y %a' \"$1\"", &[path.as_os_str()]);
    let before = sum();
    lab.wipe();
    measured(&lab, "init that restores", &["init"]);
    assert_eq!(sum(), before);
    assert_nothing_read(&lab.backup());
}

/// No holes, no repetition; half of it compresses.
fn large_file(path: &Path, size: usize) {
    const BLOCK: usize = 4 << 20;
    let mut file = File::create_new(path).unwrap();
    let mut block = random_bytes(21, BLOCK);
    for number in 0..size / BLOCK {
        for (at, word) in block.chunks_exact_mut(4096).enumerate() {
            // A page that differs from all others, and after every other one a page of few letters.
            word[..8].copy_from_slice(&((number * BLOCK + at) as u64 + 1).to_le_bytes());
            if at % 2 == 0 {
                word[8..].iter_mut().for_each(|byte| *byte = b'a' + (*byte % 4));
            }
        }
        block.rotate_left(4096 + 13);
        file.write_all(&block).unwrap();
    }
}

#[test]
fn the_real_files_of_this_machine() {
    let lab = Lab::new(Layout::Subdirectory);
    // Files over 256 KiB are few and the bulk of the bytes; large files have a test of their own.
    shell(
        "rsync -aHAX --numeric-ids --one-file-system --max-size=256k /usr/ \"$1/\"",
        &[lab.volume().as_os_str()],
    );
    let files = shell("find \"$1\" -type f | wc -l", &[lab.volume().as_os_str()]);
    println!("/usr holds {} files of up to 256 KiB", files.trim());
    lab.ok(&["repository", "init"]);
    lab.adopt();
    measured(&lab, "first backup", &["backup"]);
    // The data itself becomes what is compared with: making some ten thousand directories is what takes longest.
    std::fs::rename(lab.volume(), lab.reference()).unwrap();
    lab.wipe();
    measured(&lab, "init that restores", &["init"]);
    lab.assert_back();
}

/// Runs volkeep, asserts its peak of memory and prints time and memory.
#[track_caller]
fn measured(lab: &Lab, what: &str, arguments: &[&str]) -> Outcome {
    let figures = lab.path("figures");
    let mut time = Command::new("/usr/bin/time");
    time.args(["-v", "-o"]).arg(&figures);
    let start = Instant::now();
    let outcome = run(wrap(&mut time, &lab.command(arguments))).expect_code(0);
    let took = start.elapsed();
    let figures = std::fs::read_to_string(&figures).unwrap();
    let peak: u64 = figures
        .lines()
        .find_map(|line| line.trim().strip_prefix("Maximum resident set size (kbytes): "))
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no peak in:\n{figures}"));
    println!("{what}: {took:.2?}, {} MiB at the peak", peak / 1024);
    assert!(peak < PEAK_KIB, "{what}: {} MiB at the peak", peak / 1024);
    outcome
}

fn size(directory: &Path) -> u64 {
    let text = shell("du -s --apparent-size -B1 \"$1\" | cut -f1", &[directory.as_os_str()]);
    text.trim().parse().unwrap()
}
