//! The program is killed before every system call that makes a step durable or visible, and at random instants. After
//! each death the next run must end where an undisturbed one ends, and until then nothing may call itself ready.
//!
//! `strace` counts the calls of one kind, thread by thread, and sends SIGKILL in place of the n-th. Each test goes on
//! with n + 1 until a run ends undisturbed, so a new step is covered on the day it is written.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]
#![allow(clippy::print_stdout, reason = "how much was covered is worth knowing")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use support::{
    Lab, Layout, Outcome, Random, few_entries, random_bytes, remove_all, run, run_until, same, wrap,
};

const RENAMES: &str = "/^rename";
const SYNCS: &str = "/^(fsync|fdatasync|syncfs|sync_file_range)$";
const REMOVALS: &str = "/^(unlink|unlinkat|rmdir)$";
const DIRECTORIES: &str = "/^mkdir";
const LINKS: &str = "/^(link|linkat|symlink|symlinkat|mknod|mknodat)$";
const TRUNCATIONS: &str = "/^(ftruncate|truncate|fallocate)$";
/// Creating is a kind of opening, and `strace` cannot tell by the flags: only every fourth is tried.
const OPENINGS: &str = "/^(openat|openat2|creat)$";
const METADATA: &str =
    "/^(fchmod|fchmodat|fchmodat2|fchown|fchownat|utimensat|fsetxattr|lsetxattr|setxattr)$";

const SUBDIRECTORY: Layout = Layout::Subdirectory;
const MOUNT_POINT: Layout = Layout::MountPoint;

#[test]
fn init_survives_death_at_every_rename_in_a_subdirectory() {
    init_survives(SUBDIRECTORY, RENAMES, 1, 1, AtLeast(1));
}

#[test]
fn init_survives_death_at_every_rename_in_a_mount_point() {
    init_survives(MOUNT_POINT, RENAMES, 1, 1, AtLeast(1));
}

#[test]
fn init_survives_death_at_every_sync_in_a_subdirectory() {
    init_survives(SUBDIRECTORY, SYNCS, 1, 1, AtLeast(1));
}

#[test]
fn init_survives_death_at_every_sync_in_a_mount_point() {
    init_survives(MOUNT_POINT, SYNCS, 1, 1, AtLeast(1));
}

#[test]
fn init_survives_death_at_every_removal() {
    init_survives(SUBDIRECTORY, REMOVALS, 1, 1, AtLeast(0));
    init_survives(MOUNT_POINT, REMOVALS, 1, 1, AtLeast(0));
}

#[test]
fn init_survives_death_at_every_directory_made() {
    init_survives(SUBDIRECTORY, DIRECTORIES, 1, 1, AtLeast(1));
    init_survives(MOUNT_POINT, DIRECTORIES, 1, 1, AtLeast(1));
}

#[test]
fn init_survives_death_at_every_link_and_truncation() {
    init_survives(SUBDIRECTORY, LINKS, 1, 1, AtLeast(1));
    init_survives(MOUNT_POINT, LINKS, 1, 1, AtLeast(1));
    init_survives(SUBDIRECTORY, TRUNCATIONS, 1, 1, AtLeast(0));
    init_survives(MOUNT_POINT, TRUNCATIONS, 1, 1, AtLeast(0));
}

#[test]
fn init_survives_death_while_opening_and_creating_files() {
    init_survives(SUBDIRECTORY, OPENINGS, 1, 4, AtLeast(1));
    init_survives(MOUNT_POINT, OPENINGS, 3, 4, AtLeast(1));
}

#[test]
fn init_survives_death_while_setting_metadata() {
    init_survives(SUBDIRECTORY, METADATA, 1, 3, AtLeast(1));
    init_survives(MOUNT_POINT, METADATA, 2, 3, AtLeast(1));
}

#[test]
fn init_survives_death_at_random_instants_in_a_subdirectory() {
    init_survives_random_deaths(SUBDIRECTORY, 100, 0x5eed_0001);
}

#[test]
fn init_survives_death_at_random_instants_in_a_mount_point() {
    init_survives_random_deaths(MOUNT_POINT, 100, 0x5eed_0002);
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
    backup_survives(RENAMES, 1, 1, AtLeast(1));
    backup_survives(LINKS, 1, 1, AtLeast(0));
}

#[test]
fn backup_survives_death_at_every_sync() {
    backup_survives(SYNCS, 1, 1, AtLeast(1));
}

#[test]
fn backup_survives_death_at_every_removal_directory_and_truncation() {
    backup_survives(REMOVALS, 1, 1, AtLeast(0));
    backup_survives(DIRECTORIES, 1, 1, AtLeast(0));
    backup_survives(TRUNCATIONS, 1, 1, AtLeast(0));
}

#[test]
fn backup_survives_death_at_random_instants() {
    let lab = Lab::with_few_entries(SUBDIRECTORY);
    let first = First::of(&lab);
    change(&lab, 0);
    let whole = seconds(|| lab.ok(&["backup"]));
    let mut random = Random(0x5eed_0003);
    for round in 1..=25 {
        change(&lab, round);
        let instant = whole * 1.1 * fraction(&mut random);
        let _killed_or_done = run_until(instant, &lab.command(&["backup"]));
        after_killed_backup(&lab, &first, &format!("round {round}, killed after {instant:.4} s"));
    }
}

/// How many steps of a kind there are at the least; a test that kills nothing would prove nothing.
struct AtLeast(usize);

fn init_survives(layout: Layout, calls: &str, from: usize, stride: usize, at_least: AtLeast) {
    let lab = Lab::with_few_entries(layout);
    let deaths = kill_at_each(from, stride, |step| {
        lab.wipe();
        let outcome = killed_at(&lab, &["init"], calls, step);
        let context = format!("{layout:?}, killed at step {step} of {calls}");
        if outcome.was_killed() {
            after_killed_init(&lab, &context);
            return true;
        }
        assert!(outcome.code == 0, "{context}: {outcome}");
        assert_back(&lab, &context);
        false
    });
    report(&format!("init, {layout:?}"), calls, deaths, &at_least);
}

fn init_survives_random_deaths(layout: Layout, rounds: usize, seed: u64) {
    println!("seed {seed:#x}");
    let lab = Lab::with_few_entries(layout);
    lab.wipe();
    let whole = seconds(|| lab.ok(&["init"]));
    let mut random = Random(seed);
    let mut deaths = 0;
    for round in 1..=rounds {
        lab.wipe();
        let mut context = format!("{layout:?}, round {round}, killed after");
        // The run that takes over may die as well.
        for _ in 0..=(random.next() >> 20) % 2 {
            let instant = whole * 1.1 * fraction(&mut random);
            context += &format!(" {instant:.4} s");
            deaths += usize::from(run_until(instant, &lab.command(&["init"])).was_killed());
            assert_ready_only_when_whole(&lab, &context);
        }
        after_killed_init(&lab, &context);
    }
    println!("{layout:?}: {deaths} deaths in {rounds} rounds of {whole:.3} s");
    assert!(deaths > rounds / 3, "only {deaths} of {rounds} rounds were cut short");
}

fn after_killed_init(lab: &Lab, context: &str) {
    assert_ready_only_when_whole(lab, context);
    let outcome = lab.run(&["init"]);
    assert!(outcome.code == 0, "{context}, then {outcome}");
    assert_back(lab, context);
    assert_eq!(lab.state(), "healthy", "{context}");
}

/// At no instant is a mixture called ready.
fn assert_ready_only_when_whole(lab: &Lab, context: &str) {
    let state = lab.state();
    if matches!(state.as_str(), "healthy" | "dirty") {
        assert_back(lab, &format!("{context}, and called {state}"));
    }
    assert_ne!(state, "foreign", "{context}: what init itself put there is taken for somebody's data");
}

fn assert_back(lab: &Lab, context: &str) {
    let differences = support::differences(&lab.reference(), &lab.volume());
    assert!(differences.is_empty(), "{context}: the volume is not as it was:\n{differences}");
}

/// Data of unknown origin makes way for a restore. Whenever that is cut short, each byte of it is still somewhere
/// on the volume, and the next run gets the restore done.
fn replaced_data_survives(layout: Layout) {
    let source = Lab::with_few_entries(layout);
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

fn backup_survives(calls: &str, from: usize, stride: usize, at_least: AtLeast) {
    let lab = Lab::with_few_entries(SUBDIRECTORY);
    let first = First::of(&lab);
    let deaths = kill_at_each(from, stride, |step| {
        change(&lab, step);
        let outcome = killed_at(&lab, &["backup"], calls, step);
        let context = format!("backup killed at step {step} of {calls}");
        if !outcome.was_killed() {
            assert!(outcome.code == 0, "{context}: {outcome}");
        }
        after_killed_backup(&lab, &first, &context);
        outcome.was_killed()
    });
    report("backup", calls, deaths, &at_least);
}

/// The snapshot that was there before any accident, and what it holds.
struct First {
    id: String,
    content: PathBuf,
}

impl First {
    fn of(lab: &Lab) -> Self {
        let content = lab.path("first");
        support::copy(&lab.reference(), &content);
        Self { id: lab.snapshots().remove(0), content }
    }
}

fn after_killed_backup(lab: &Lab, first: &First, context: &str) {
    let target = lab.path("target");
    let must = |arguments: &[&str]| {
        let outcome = lab.run(arguments);
        assert!(outcome.code == 0, "{context}, then {outcome}");
    };
    must(&["check", "--verify"]);
    remove_all(&target);
    must(&["restore", &first.id, "--target", target.to_str().unwrap()]);
    same(&first.content, &target);

    must(&["backup"]);
    remove_all(&target);
    must(&["restore", "latest", "--target", target.to_str().unwrap()]);
    let differences = support::differences(&lab.volume(), &target);
    assert!(differences.is_empty(), "{context}: the next backup is not as the volume:\n{differences}");
}

/// Gives the next backup something to do: small files, a large one, a directory that comes and one that goes.
fn change(lab: &Lab, round: usize) {
    let volume = lab.volume();
    let seed = 10_000 + round as u64;
    fs::write(volume.join("one/two/changing"), random_bytes(seed, 2000)).unwrap();
    fs::write(volume.join("changing"), random_bytes(seed + 1, 700_000)).unwrap();
    remove_all(&volume.join(format!("round-{}", round.wrapping_sub(1))));
    few_entries(&volume.join(format!("round-{round}")));
}

/// Calls `attempt` with ever later steps until one says that nothing was killed. Gives the number of deaths.
fn kill_at_each(from: usize, stride: usize, mut attempt: impl FnMut(usize) -> bool) -> usize {
    let mut deaths = 0;
    for step in (from..).step_by(stride) {
        if !attempt(step) {
            break;
        }
        deaths += 1;
        assert!(deaths < 2000, "the run never ends undisturbed");
    }
    deaths
}

fn killed_at(lab: &Lab, arguments: &[&str], calls: &str, step: usize) -> Outcome {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e"]).arg(format!("trace={calls}"));
    strace.arg("-e").arg(format!("inject={calls}:signal=SIGKILL:when={step}"));
    run(wrap(&mut strace, &lab.command(arguments)))
}

fn report(what: &str, calls: &str, deaths: usize, at_least: &AtLeast) {
    println!("{what}: killed {deaths} times at {calls}");
    assert!(deaths >= at_least.0, "{what}: no run died at {calls}");
}

fn seconds<T>(action: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    action();
    start.elapsed().as_secs_f64()
}

fn fraction(random: &mut Random) -> f64 {
    (random.next() >> 11) as f64 / (1u64 << 53) as f64
}
