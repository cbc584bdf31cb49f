//! A volume with one check, and what `init` makes of it.
#![allow(dead_code, reason = "no part of the tests uses all of it")]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use volkeep::base::clock::SystemClock;
use volkeep::volume::{Marker, Volume, VolumeOptions};

use super::support::{Lab, Outcome, run};

pub const QUICK: &str = "quick";
pub const FULL: &str = "full";

/// The lab's one check, in the form of the file, on the level that is asked for.
pub fn check(lab: &mut Lab, yaml: &str) {
    lab.set("VOLKEEP_INIT_CHECKS", format!("[{yaml}]"));
}

/// What one run of the check says: `good`, `damaged`, `unknown` or `unfit`, with the words for it. Nothing is changed:
/// a dry run looks and decides as any other.
#[track_caller]
pub fn verdict(lab: &Lab, level: &str) -> (String, String) {
    let volume = volume(lab);
    let marker = volume.read_marker().unwrap().unwrap();
    assert!(marker.clean);
    if level == FULL {
        // As after a crash of the sidecar.
        volume.write_marker(&Marker { clean: false, ..marker.clone() }, &SystemClock::default()).unwrap();
    }
    let outcome = run(lab.command(&["init", "--dry-run", "--json"]).env("VOLKEEP_LOG_FORMAT", "json"));
    volume.write_marker(&marker, &SystemClock::default()).unwrap();
    let said = said(&outcome);
    let word = match outcome.code {
        16 if outcome.stderr.contains("whole, but not what is configured") => "unfit",
        0 if outcome.json()["state"] == "corrupt" => "damaged",
        0 if outcome.json()["action"] == "nothing"
            && outcome.stderr.contains("this check could not tell") =>
        {
            "unknown"
        }
        0 if outcome.json()["action"] == "nothing" => "good",
        _ => panic!("neither good nor bad: {outcome}"),
    };
    (word.to_owned(), said)
}

pub fn volume(lab: &Lab) -> Volume {
    Volume::new(VolumeOptions::new(lab.volume(), lab.state_dir(), "laboratory")).unwrap()
}

fn said(outcome: &Outcome) -> String {
    outcome.stderr.lines().collect::<Vec<_>>().join("\n")
}

#[track_caller]
pub fn expect(lab: &Lab, level: &str, word: &str, part: &str) {
    let (found, said) = verdict(lab, level);
    assert_eq!(found, word, "{level}: {said}");
    assert!(said.contains(part), "{level}: {part}: {said}");
}

/// `init` restores, and what is then on the volume is what was backed up.
#[track_caller]
pub fn comes_back(lab: &Lab, part: &str) {
    let outcome = lab.ok(&["init", "--json"]);
    assert_eq!(outcome.json()["action"], "restore", "{outcome}");
    assert!(outcome.stderr.contains(part), "{part}: {outcome}");
    lab.assert_back();
    assert_eq!(lab.ok(&["init", "--json"]).json()["action"], "nothing");
}

pub fn flip(path: &Path, at: u64) {
    make_writable(path);
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

pub fn cut(path: &Path, size: u64) {
    make_writable(path);
    fs::File::options().write(true).open(path).unwrap().set_len(size).unwrap();
}

fn make_writable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
}
