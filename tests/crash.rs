//! The program is killed before every system call that makes a step durable or visible, and at random instants. After
//! each death the next run must end where an undisturbed one ends, and until then nothing may call itself ready.
//!
//! Each test kills at the n-th call of one kind, and goes on with n + 1 until a run ends undisturbed, so a new step is
//! covered on the day it is written.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;

use support::crash::{
    AtLeast, DIRECTORIES, LINKS, METADATA, OPENINGS, REMOVALS, RENAMES, SYNCS, TRUNCATIONS, backup_survives,
    backup_survives_random_deaths, init_survives, init_survives_random_deaths, kill_at_each, killed_at,
    report,
};
use support::{Home, Lab, Layout, random_bytes};

const DIRECTORY: Home = Home::Directory;
const SUBDIRECTORY: Layout = Layout::Subdirectory;
const MOUNT_POINT: Layout = Layout::MountPoint;

#[test]
fn init_survives_death_at_every_rename_in_a_subdirectory() {
    init_survives(DIRECTORY, SUBDIRECTORY, RENAMES, 1, 1, AtLeast(1));
}

#[test]
fn init_survives_death_at_every_rename_in_a_mount_point() {
    init_survives(DIRECTORY, MOUNT_POINT, RENAMES, 1, 1, AtLeast(1));
}

#[test]
fn init_survives_death_at_every_sync_in_a_subdirectory() {
    init_survives(DIRECTORY, SUBDIRECTORY, SYNCS, 1, 1, AtLeast(1));
}

#[test]
fn init_survives_death_at_every_sync_in_a_mount_point() {
    init_survives(DIRECTORY, MOUNT_POINT, SYNCS, 1, 1, AtLeast(1));
}

#[test]
fn init_survives_death_at_every_removal() {
    init_survives(DIRECTORY, SUBDIRECTORY, REMOVALS, 1, 1, AtLeast(0));
    init_survives(DIRECTORY, MOUNT_POINT, REMOVALS, 1, 1, AtLeast(0));
}

#[test]
fn init_survives_death_at_every_directory_made() {
    init_survives(DIRECTORY, SUBDIRECTORY, DIRECTORIES, 1, 1, AtLeast(1));
    init_survives(DIRECTORY, MOUNT_POINT, DIRECTORIES, 1, 1, AtLeast(1));
}

#[test]
fn init_survives_death_at_every_link_and_truncation() {
    init_survives(DIRECTORY, SUBDIRECTORY, LINKS, 1, 1, AtLeast(1));
    init_survives(DIRECTORY, MOUNT_POINT, LINKS, 1, 1, AtLeast(1));
    init_survives(DIRECTORY, SUBDIRECTORY, TRUNCATIONS, 1, 1, AtLeast(0));
    init_survives(DIRECTORY, MOUNT_POINT, TRUNCATIONS, 1, 1, AtLeast(0));
}

#[test]
fn init_survives_death_while_opening_and_creating_files() {
    init_survives(DIRECTORY, SUBDIRECTORY, OPENINGS, 1, 4, AtLeast(1));
    init_survives(DIRECTORY, MOUNT_POINT, OPENINGS, 3, 4, AtLeast(1));
}

#[test]
fn init_survives_death_while_setting_metadata() {
    init_survives(DIRECTORY, SUBDIRECTORY, METADATA, 1, 3, AtLeast(1));
    init_survives(DIRECTORY, MOUNT_POINT, METADATA, 2, 3, AtLeast(1));
}

#[test]
fn init_survives_death_at_random_instants_in_a_subdirectory() {
    init_survives_random_deaths(DIRECTORY, SUBDIRECTORY, 100, 0x5eed_0001);
}

#[test]
fn init_survives_death_at_random_instants_in_a_mount_point() {
    init_survives_random_deaths(DIRECTORY, MOUNT_POINT, 100, 0x5eed_0002);
}

#[test]
fn data_that_makes_way_survives_in_a_subdirectory() {
    replaced_data_survives(SUBDIRECTORY);
}

#[test]
fn data_that_makes_way_survives_in_a_mount_point() {
    replaced_data_survives(MOUNT_POINT);
}

#[test]
fn backup_survives_death_at_every_rename_and_link() {
    backup_survives(DIRECTORY, RENAMES, 1, 1, AtLeast(1));
    backup_survives(DIRECTORY, LINKS, 1, 1, AtLeast(0));
}

#[test]
fn backup_survives_death_at_every_sync() {
    backup_survives(DIRECTORY, SYNCS, 1, 1, AtLeast(1));
}

#[test]
fn backup_survives_death_at_every_removal_directory_and_truncation() {
    backup_survives(DIRECTORY, REMOVALS, 1, 1, AtLeast(0));
    backup_survives(DIRECTORY, DIRECTORIES, 1, 1, AtLeast(0));
    backup_survives(DIRECTORY, TRUNCATIONS, 1, 1, AtLeast(0));
}

#[test]
fn backup_survives_death_at_random_instants() {
    backup_survives_random_deaths(DIRECTORY, 25, 0x5eed_0003);
}

/// Data of unknown origin makes way for a restore. Whenever that is cut short, each byte of it is still somewhere
/// on the volume, and the next run gets the restore done.
fn replaced_data_survives(layout: Layout) {
    let source = Lab::with_few_entries(DIRECTORY, layout);
    let lab =
        Lab::new(layout).with("VOLKEEP_REPOSITORY", source.url()).with("VOLKEEP_INIT_ON_FOREIGN", "restore");
    for calls in [RENAMES, SYNCS, REMOVALS] {
        let deaths = kill_at_each(1, 1, |step| {
            lab.wipe();
            let precious = precious_data(&lab);
            let outcome = killed_at(&lab, &["init"], calls, step);
            let context = format!("{layout:?}, killed at step {step} of {calls}");
            assert_nothing_lost(&lab, &precious, &context);
            if outcome.was_killed() {
                let again = lab.run(&["init"]);
                assert!(again.code == 0, "{context}, then {again}");
                assert_nothing_lost(&lab, &precious, &context);
            } else {
                assert!(outcome.code == 0, "{context}: {outcome}");
            }
            let differences = support::differences(&source.reference(), &lab.volume());
            assert!(differences.is_empty(), "{context}: the volume is not as the snapshot:\n{differences}");
            outcome.was_killed()
        });
        report(
            &format!("init over data, {layout:?}"),
            calls,
            deaths,
            &AtLeast(usize::from(calls == RENAMES)),
        );
    }
}

/// Some of its names are also in the snapshot.
fn precious_data(lab: &Lab) -> BTreeMap<String, Vec<u8>> {
    let names =
        ["one/precious-1", "one/two/precious-2", "precious-3", "own/deep/precious-4", "large/precious-5"];
    let mut precious = BTreeMap::new();
    for (at, name) in names.iter().enumerate() {
        let path = lab.volume().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let content = random_bytes(1000 + at as u64, 3000);
        fs::write(&path, &content).unwrap();
        precious.insert(path.file_name().unwrap().to_string_lossy().into_owned(), content);
    }
    precious
}

fn assert_nothing_lost(lab: &Lab, precious: &BTreeMap<String, Vec<u8>>, context: &str) {
    let mut missing: Vec<&String> = precious.keys().collect();
    let mut open = vec![lab.path("volume")];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            } else if precious.get(&name).is_some_and(|content| fs::read(entry.path()).unwrap() == *content) {
                missing.retain(|other| **other != name);
            }
        }
    }
    assert!(missing.is_empty(), "{context}: lost {missing:?}");
}
