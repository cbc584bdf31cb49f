//! The commands of `docs/disaster-recovery.md`, each section after its own disaster.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod support;

use std::fs;

use support::page::sections;
use support::{Lab, Layout, few_entries, remove_all, same, same_content, shell};

const PAGE: &str = "docs/disaster-recovery.md";

#[test]
fn every_section_with_commands_is_rehearsed_here() {
    let here = include_str!("disaster.rs");
    let sections = sections(PAGE);
    assert!(sections.len() > 8, "{sections:?}");
    for heading in sections.keys() {
        assert!(here.contains(&format!("{heading:?})")), "nobody rehearses `{heading}`");
    }
}

#[test]
fn a_rehearsal_brings_the_data_back_beside_the_volume() {
    let lab = filled();
    lab.play_section(PAGE, "Before the day");
    same(&lab.reference(), &lab.path("tmp/rehearsal"));
}

#[test]
fn looking_changes_nothing() {
    let lab = filled();
    let before = lab.state_listing();
    let said = lab.play_section(PAGE, "First, whatever happened").says(&["healthy", "nothing to do"]);
    assert!(said.stdout.contains(&lab.snapshots()[0]), "{said}");
    assert_eq!(lab.state_listing(), before);
    lab.assert_back();
}

#[test]
fn a_volume_that_is_gone_comes_back() {
    let lab = filled();
    lab.wipe();
    lab.play_section(PAGE, "The volume is gone").says(&["restore the newest snapshot", "0 files read"]);
    lab.assert_back();
    assert_eq!((lab.state(), lab.snapshots().len()), ("healthy".to_owned(), 2));
}

#[test]
fn a_node_that_comes_back_follows() {
    let old = filled();
    let new = Lab::new(Layout::Subdirectory).sharing(&old);
    new.ok(&["init"]);
    fs::write(new.volume().join("later"), b"later").unwrap();
    new.ok(&["backup"]);
    new.keep_reference();
    // Written after the last backup, on the machine that was lost.
    fs::write(old.volume().join("unsaved"), b"unsaved").unwrap();
    old.exits(16, &["backup"]);
    old.exits(16, &["init"]);

    let said = old.play_section(PAGE, "The node is gone");
    assert!(said.stdout.contains("unsaved"), "{said}");
    same(&new.reference(), &old.volume());
    assert_eq!(quarantined(&old, "unsaved"), b"unsaved");
}

#[test]
fn a_repository_that_is_gone_is_made_anew_with_its_history() {
    let lab = filled();
    copy_to_offsite(&lab);
    remove_all(&lab.repository());
    lab.ok(&["init"]);
    lab.exits(10, &["backup"]);
    lab.play_section(PAGE, "The repository is gone");
    assert_eq!(lab.snapshots().len(), 2, "the copy of the old one, and the new one");
    lab.wipe();
    lab.ok(&["init"]);
    lab.assert_back();
}

#[test]
fn new_keys_are_tried() {
    let lab = filled();
    lab.play_section(PAGE, "The keys are gone");
    assert_eq!(lab.snapshots().len(), 2);
}

#[test]
fn bad_data_makes_way_for_the_last_good_snapshot() {
    let lab = filled();
    shell(
        "cd \"$1\" && find . -type f -exec sh -c 'for f; do head -c 300000 /dev/urandom >\"$f.locked\" && rm \"$f\"; done' sh {} +",
        &[lab.volume().as_os_str()],
    );
    lab.ok(&["backup"]);
    let said = lab.play_section(PAGE, "The data is bad since yesterday");
    assert!(said.stdout.contains("+ a/f.locked"), "{said}");
    lab.assert_back();
    same(&lab.reference(), &lab.path("tmp/look"));
    assert_eq!((lab.state(), lab.snapshots().len()), ("healthy".to_owned(), 3));
    assert_eq!(quarantined(&lab, "large.locked").len(), 300_000);
}

#[test]
fn what_a_restore_replaced_is_taken_back() {
    let lab = filled();
    fs::write(lab.volume().join("unsaved"), b"unsaved").unwrap();
    lab.keep_reference();
    lab.ok(&["restore", "--force"]);
    assert!(!lab.volume().join("unsaved").exists());
    lab.play_section(PAGE, "The wrong snapshot was restored");
    lab.assert_back();
    assert_eq!(lab.state(), "healthy");
}

#[test]
fn an_old_disk_is_not_noticed_and_can_be_brought_up_to_date() {
    let lab = filled();
    let disk = lab.path("disk");
    shell("cp -a \"$1\" \"$2\"", &[lab.path("volume").as_os_str(), disk.as_os_str()]);
    fs::write(lab.volume().join("later"), b"later").unwrap();
    lab.ok(&["backup"]);
    lab.keep_reference();
    remove_all(&lab.path("volume"));
    fs::rename(disk, lab.path("volume")).unwrap();

    lab.ok(&["init"]).says(&["nothing to do"]);
    assert_eq!(lab.state(), "healthy");
    lab.play_section(PAGE, "An old disk came back");
    lab.assert_back();
}

#[test]
fn a_repository_is_enough_to_begin_again() {
    let lab = filled();
    remove_all(&lab.path("volume"));
    lab.play_section(PAGE, "The whole cluster is gone");
    same(&lab.reference(), &lab.path("tmp/wiki"));
    assert!(!lab.path("tmp/nothing").exists());

    let place = lab.path("unpacked");
    fs::create_dir(&place).unwrap();
    let archive = lab.path("tmp/wiki.tar.zst");
    // Not by a pipe: tar reads no further than the end that it finds, and zstd would die of that.
    shell(
        "zstd -dq \"$1\" -o \"$2.tar\"; tar -xf \"$2.tar\" --xattrs -C \"$2\"",
        &[archive.as_os_str(), place.as_os_str()],
    );
    same_content(&lab.reference(), &place);
}

#[test]
fn a_damaged_repository_is_mended_from_the_volume() {
    let mut lab = filled();
    copy_to_offsite(&lab);
    let packs = lab.stored("packs");
    for pack in &packs {
        let mut bytes = fs::read(pack).unwrap();
        bytes[20] ^= 1;
        fs::write(pack, bytes).unwrap();
    }
    let said = lab.play_section(PAGE, "The repository is damaged");
    assert!(said.stdout.contains("code 12"), "{said}");
    let kept = lab.stored("quarantine");
    for pack in &packs {
        let name = pack.file_name();
        assert!(kept.iter().any(|path| path.file_name() == name), "{}", pack.display());
    }
    lab.ok(&["check", "--verify"]);
    same(&lab.reference(), &lab.path("tmp/newest"));
    lab.wipe();
    lab.ok(&["init"]);
    lab.assert_back();

    // With the volume gone as well, the second copy has it.
    lab.wipe();
    let offsite = offsite(&lab);
    lab.set("VOLKEEP_REPOSITORY", offsite);
    lab.ok(&["init"]);
    lab.assert_back();
}

#[test]
fn no_volkeep_is_needed() {
    let lab = filled();
    remove_all(&lab.path("volume"));
    lab.play_section(PAGE, "Without volkeep");
    same_content(&lab.reference(), &lab.path("tmp/wiki"));
}

fn filled() -> Lab {
    Lab::filled(Layout::Subdirectory, few_entries)
}

fn copy_to_offsite(lab: &Lab) {
    lab.ok(&["repository", "copy", "--create", &lab.url(), &offsite(lab)]);
}

/// The address of a second copy.
fn offsite(lab: &Lab) -> String {
    format!("file://{}", lab.path("offsite").display())
}

/// A file of the newest quarantine.
#[track_caller]
fn quarantined(lab: &Lab, name: &str) -> Vec<u8> {
    let directory = lab.state_dir().join("quarantine");
    let mut kept: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    kept.sort();
    fs::read(kept.last().unwrap().join("data").join(name)).unwrap()
}
