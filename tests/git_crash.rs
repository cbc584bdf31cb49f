//! What `tests/crash.rs` shows, with the repository in git: the program is killed before system calls, at random
//! instants, while it pushes and while it fetches, with its cache damaged besides; and the next run ends where an
//! undisturbed one ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]
#![allow(clippy::print_stdout, reason = "how much was covered is worth knowing")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::crash::{
    AtLeast, DIRECTORIES, First, LINKS, METADATA, OPENINGS, REMOVALS, RENAMES, SYNCS, TRUNCATIONS,
    after_killed_backup, after_killed_init, backup_survives, backup_survives_random_deaths, change, fraction,
    init_survives, init_survives_random_deaths, seconds,
};
use support::git::git;
use support::{Home, Lab, Layout, Random, random_bytes, run_until};

const DIRECTORY: Home = Home::GitDirectory;
const SUBDIRECTORY: Layout = Layout::Subdirectory;
const MOUNT_POINT: Layout = Layout::MountPoint;

#[test]
fn init_survives_death_at_renames_and_syncs() {
    for layout in [SUBDIRECTORY, MOUNT_POINT] {
        init_survives(DIRECTORY, layout, RENAMES, 1, 1, AtLeast(1));
        init_survives(DIRECTORY, layout, SYNCS, 1, 1, AtLeast(1));
    }
}

#[test]
fn init_survives_death_at_removals_directories_links_and_truncations() {
    init_survives(DIRECTORY, SUBDIRECTORY, REMOVALS, 1, 1, AtLeast(0));
    init_survives(DIRECTORY, MOUNT_POINT, DIRECTORIES, 1, 1, AtLeast(1));
    init_survives(DIRECTORY, SUBDIRECTORY, LINKS, 1, 1, AtLeast(1));
    init_survives(DIRECTORY, MOUNT_POINT, TRUNCATIONS, 1, 1, AtLeast(0));
}

#[test]
fn init_survives_death_while_opening_files_and_setting_metadata() {
    init_survives(DIRECTORY, SUBDIRECTORY, OPENINGS, 1, 7, AtLeast(1));
    init_survives(DIRECTORY, MOUNT_POINT, METADATA, 2, 5, AtLeast(1));
}

#[test]
fn init_survives_death_at_random_instants() {
    init_survives_random_deaths(DIRECTORY, SUBDIRECTORY, 40, 0x5eed_0021);
    init_survives_random_deaths(DIRECTORY, MOUNT_POINT, 40, 0x5eed_0022);
}

#[test]
fn backup_survives_death_at_every_step() {
    for calls in [RENAMES, SYNCS] {
        backup_survives(DIRECTORY, calls, 1, 1, AtLeast(1));
    }
    for calls in [LINKS, REMOVALS, DIRECTORIES, TRUNCATIONS] {
        backup_survives(DIRECTORY, calls, 1, 1, AtLeast(0));
    }
}

#[test]
fn backup_survives_death_at_random_instants() {
    backup_survives_random_deaths(DIRECTORY, 20, 0x5eed_0023);
}

/// What a killed backup leaves in the repository is no harm to git.
#[test]
fn git_finds_nothing_to_complain_of_after_killed_backups() {
    let lab = Lab::with_few_entries(DIRECTORY, SUBDIRECTORY);
    let whole = seconds(|| lab.backup());
    let mut random = Random(0x5eed_0024);
    for round in 1..=12 {
        change(&lab, round);
        let _killed_or_done = run_until(whole * 1.5 * fraction(&mut random), &lab.command(&["backup"]));
        git(&lab.repository(), &["fsck", "--strict", "--full"]);
    }
}

macro_rules! over_the_network {
    ($($test:ident)*) => {
        mod over_ssh {
            $(
                #[test]
                #[ignore = "needs a git server: tests/run"]
                fn $test() {
                    super::$test(super::Home::GitSsh);
                }
            )*
        }
        mod over_https {
            $(
                #[test]
                #[ignore = "needs a git server: tests/run"]
                fn $test() {
                    super::$test(super::Home::GitHttps);
                }
            )*
        }
    };
}

over_the_network! {
    init_survives_death_at_steps
    init_survives_random_deaths_while_fetching
    backup_survives_death_at_renames_and_removals
    backup_survives_random_deaths_while_pushing
    a_damaged_cache_costs_time_only
}

fn init_survives_death_at_steps(home: Home) {
    init_survives(home, SUBDIRECTORY, RENAMES, 1, 4, AtLeast(1));
    init_survives(home, MOUNT_POINT, SYNCS, 1, 4, AtLeast(1));
    init_survives(home, SUBDIRECTORY, REMOVALS, 1, 20, AtLeast(1));
}

fn init_survives_random_deaths_while_fetching(home: Home) {
    init_survives_random_deaths(home, SUBDIRECTORY, 12, 0x5eed_0025);
    init_survives_random_deaths(home, MOUNT_POINT, 12, 0x5eed_0026);
}

fn backup_survives_death_at_renames_and_removals(home: Home) {
    backup_survives(home, RENAMES, 1, 2, AtLeast(1));
    backup_survives(home, REMOVALS, 1, 5, AtLeast(1));
}

fn backup_survives_random_deaths_while_pushing(home: Home) {
    backup_survives_random_deaths(home, 12, 0x5eed_0027);
}

/// Each file of the cache is damaged in several ways, after runs that ended well and after killed ones.
fn a_damaged_cache_costs_time_only(home: Home) {
    let lab = Lab::with_few_entries(home, SUBDIRECTORY);
    let first = First::of(&lab);
    let whole = seconds(|| {
        change(&lab, 0);
        lab.backup();
    });
    let mut random = Random(0x5eed_0028);
    let mut damaged = 0;
    for round in 1..=6 {
        change(&lab, round);
        if round % 2 == 0 {
            let _killed_or_done = run_until(whole * fraction(&mut random), &lab.command(&["backup"]));
        }
        damaged += damage(&lab.state_dir().join("cache"), round, &mut random);
        after_killed_backup(&lab, &first, &format!("round {round}, cache damaged"));
        if round % 3 == 0 {
            lab.keep_reference();
            lab.wipe();
            let _killed_or_done = run_until(whole * fraction(&mut random), &lab.command(&["init"]));
            damaged += damage(&lab.state_dir().join("cache"), round, &mut random);
            after_killed_init(&lab, &format!("round {round}, killed init, cache damaged"));
        }
    }
    println!("{damaged} files of the cache were damaged");
    assert!(damaged > 10, "only {damaged} files were there to be damaged");
}

fn damage(cache: &Path, round: usize, random: &mut Random) -> usize {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut open = vec![cache.to_owned()];
    while let Some(directory) = open.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            if entry.path().is_dir() { open.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    for path in &files {
        let mut bytes = fs::read(path).unwrap();
        match (round + bytes.len()) % 4 {
            0 => bytes.truncate(bytes.len() / 2),
            1 => bytes = random_bytes(random.next(), bytes.len() + 3),
            2 => bytes.clear(),
            _ => {
                let length = bytes.len().max(1);
                if let Some(byte) = bytes.get_mut(random.next() as usize % length) {
                    *byte ^= 0x10;
                }
            }
        }
        // Packs are read-only.
        fs::remove_file(path).unwrap();
        fs::write(path, bytes).unwrap();
    }
    files.len()
}
