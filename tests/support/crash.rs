//! Killing the program before system calls and at random instants, and what must hold afterwards. `strace` counts the
//! calls of one kind, thread by thread, and sends SIGKILL in place of the n-th.
#![allow(clippy::print_stdout, reason = "how much was covered is worth knowing")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use super::compare::{copy, differences, same};
use super::lab::{Home, Lab, Layout, remove_all};
use super::process::{Outcome, run, run_until, wrap};
use super::trees::{Random, few_entries, random_bytes};

pub const RENAMES: &str = "/^rename";
pub const SYNCS: &str = "/^(fsync|fdatasync|syncfs|sync_file_range)$";
pub const REMOVALS: &str = "/^(unlink|unlinkat|rmdir)$";
pub const DIRECTORIES: &str = "/^mkdir";
pub const LINKS: &str = "/^(link|linkat|symlink|symlinkat|mknod|mknodat)$";
pub const TRUNCATIONS: &str = "/^(ftruncate|truncate|fallocate)$";
/// Creating is a kind of opening, and `strace` cannot tell by the flags: only every fourth is tried.
pub const OPENINGS: &str = "/^(openat|openat2|creat)$";
pub const METADATA: &str =
    "/^(fchmod|fchmodat|fchmodat2|fchown|fchownat|utimensat|fsetxattr|lsetxattr|setxattr)$";

/// How many steps of a kind there are at the least; a test that kills nothing would prove nothing.
pub struct AtLeast(pub usize);

pub fn init_survives(home: Home, layout: Layout, calls: &str, from: usize, stride: usize, at_least: AtLeast) {
    let lab = Lab::with_few_entries(home, layout);
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

pub fn init_survives_random_deaths(home: Home, layout: Layout, rounds: usize, seed: u64) {
    println!("seed {seed:#x}");
    let lab = Lab::with_few_entries(home, layout);
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

pub fn after_killed_init(lab: &Lab, context: &str) {
    assert_ready_only_when_whole(lab, context);
    let outcome = lab.run(&["init"]);
    assert!(outcome.code == 0, "{context}, then {outcome}");
    assert_back(lab, context);
    assert_eq!(lab.state(), "healthy", "{context}");
}

/// At no instant is a mixture called ready.
pub fn assert_ready_only_when_whole(lab: &Lab, context: &str) {
    let state = lab.state();
    if matches!(state.as_str(), "healthy" | "dirty") {
        assert_back(lab, &format!("{context}, and called {state}"));
    }
    assert_ne!(state, "foreign", "{context}: what init itself put there is taken for somebody's data");
}

pub fn assert_back(lab: &Lab, context: &str) {
    let differences = differences(&lab.reference(), &lab.volume());
    assert!(differences.is_empty(), "{context}: the volume is not as it was:\n{differences}");
}

pub fn backup_survives(home: Home, calls: &str, from: usize, stride: usize, at_least: AtLeast) {
    let lab = Lab::with_few_entries(home, Layout::Subdirectory);
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

pub fn backup_survives_random_deaths(home: Home, rounds: usize, seed: u64) {
    println!("seed {seed:#x}");
    let lab = Lab::with_few_entries(home, Layout::Subdirectory);
    let first = First::of(&lab);
    change(&lab, 0);
    let whole = seconds(|| lab.ok(&["backup"]));
    let mut random = Random(seed);
    for round in 1..=rounds {
        change(&lab, round);
        let instant = whole * 1.1 * fraction(&mut random);
        let _killed_or_done = run_until(instant, &lab.command(&["backup"]));
        after_killed_backup(&lab, &first, &format!("round {round}, killed after {instant:.4} s"));
    }
}

/// The snapshot that was there before any accident, and what it holds.
pub struct First {
    pub id: String,
    content: PathBuf,
}

impl First {
    pub fn of(lab: &Lab) -> Self {
        let content = lab.path("first");
        copy(&lab.reference(), &content);
        Self { id: lab.snapshots().remove(0), content }
    }
}

pub fn after_killed_backup(lab: &Lab, first: &First, context: &str) {
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
    let differences = differences(&lab.volume(), &target);
    assert!(differences.is_empty(), "{context}: the next backup is not as the volume:\n{differences}");
}

/// Gives the next backup something to do: small files, a large one, a directory that comes and one that goes.
pub fn change(lab: &Lab, round: usize) {
    let volume = lab.volume();
    let seed = 10_000 + round as u64;
    fs::write(volume.join("one/two/changing"), random_bytes(seed, 2000)).unwrap();
    fs::write(volume.join("changing"), random_bytes(seed + 1, 700_000)).unwrap();
    remove_all(&volume.join(format!("round-{}", round.wrapping_sub(1))));
    few_entries(&volume.join(format!("round-{round}")));
}

/// Calls `attempt` with ever later steps until one says that nothing was killed. Gives the number of deaths.
pub fn kill_at_each(from: usize, stride: usize, mut attempt: impl FnMut(usize) -> bool) -> usize {
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

pub fn killed_at(lab: &Lab, arguments: &[&str], calls: &str, step: usize) -> Outcome {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e"]).arg(format!("trace={calls}"));
    strace.arg("-e").arg(format!("inject={calls}:signal=SIGKILL:when={step}"));
    run(wrap(&mut strace, &lab.command(arguments)))
}

pub fn report(what: &str, calls: &str, deaths: usize, at_least: &AtLeast) {
    println!("{what}: killed {deaths} times at {calls}");
    assert!(deaths >= at_least.0, "{what}: no run died at {calls}");
}

pub fn seconds<T>(action: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    action();
    start.elapsed().as_secs_f64()
}

pub fn fraction(random: &mut Random) -> f64 {
    (random.next() >> 11) as f64 / (1u64 << 53) as f64
}
