//! Hundreds of backups of thousands of files into one branch: every snapshot comes back as the volume was then, git finds
//! nothing wrong with the repository, and takes the newest snapshot out of it. Sizes and times are printed.
//!
//! `GIT_SCALE_FILES` and `GIT_SCALE_BACKUPS` say how many (default 1000 and 30), `GIT_SCALE_RESTORES` how many of the
//! snapshots are restored and not only listed (default all), `GIT_SCALE_SEED` repeats the chances of an earlier run.
//! At the size people have:
//!
//! ```sh
//! GIT_SCALE_FILES=20000 GIT_SCALE_BACKUPS=200 cargo test --release --test git_scale -- --nocapture
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]
#![allow(clippy::print_stdout, reason = "sizes and times are worth knowing")]

mod git_scale_support;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use git_scale_support::{Churn, Difference, Seen, apply, between, look, of_list};
use support::git::git;
use support::{Home, Lab, Layout, Random, made_tree, remove_all, shell};

#[test]
fn every_one_of_many_snapshots_comes_back() {
    let [files, backups] =
        [("GIT_SCALE_FILES", 1000), ("GIT_SCALE_BACKUPS", 30)].map(|(name, usual)| number(name, usual));
    live(Home::GitDirectory, files, backups);
}

#[test]
#[ignore = "needs a git server: tests/run"]
fn every_snapshot_comes_back_over_ssh() {
    live(Home::GitSsh, 300, 6);
}

#[test]
#[ignore = "needs a git server: tests/run"]
fn every_snapshot_comes_back_over_https() {
    live(Home::GitHttps, 300, 6);
}

fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn live(home: Home, files: usize, backups: usize) {
    let seed = number("GIT_SCALE_SEED", 4711) as u64;
    let lab = Lab::new_in(home, Layout::Subdirectory);
    made_tree(&lab.volume(), files, seed);
    lab.ok(&["repository", "init"]);
    lab.adopt();
    let first = look(&lab.volume(), &Default::default(), &BTreeSet::new());
    let mut churn = Churn::new(lab.volume(), &first, seed);
    let (mut history, mut now) = (Vec::<Vec<Difference>>::new(), Seen::new());
    let mut took = Vec::new();
    for at in 0..backups {
        let touched = if at == 0 { BTreeSet::new() } else { churn.round(files.div_ceil(100)) };
        let seen = look(&lab.volume(), &now, &touched);
        history.push(between(&now, &seen));
        now = seen;
        took.push(timed(|| lab.ok(&["backup"])));
        assert_eq!(lab_snapshots(&lab, at, backups), at + 1);
    }
    drop(churn);
    println!("{files} files, {backups} backups, seed {seed}: the first took {:.2?}", took[0]);
    println!("later backups: {:.2?} at first, {:.2?} at last", middle(&took, true), middle(&took, false));

    let repository = lab.repository();
    println!("before git gc: {}", size(&repository));
    every_snapshot_is_as_the_volume_was(&lab, &history, &now);
    println!("git fsck: {:.2?}", timed(|| fsck(&repository)));
    the_newest_is_what_git_sees(&lab, &now);

    println!("git gc: {:.2?}", timed(|| git(&repository, &["gc", "--quiet", "--prune=now"])));
    println!("after git gc: {}", size(&repository));
    fsck(&repository);
    lab.ok(&["check", "--verify"]);
    lab.wipe();
    println!("init that restores: {:.2?}", timed(|| lab.ok(&["init"])));
    assert!(look(&lab.volume(), &Seen::new(), &BTreeSet::new()) == now, "the newest differs after git gc");
    let report = lab.backup();
    assert_eq!((&report["files_read"], &report["stored_bytes"]), (&0.into(), &0.into()), "{report}");
}

/// Asking takes as long as a backup, so not each time.
fn lab_snapshots(lab: &Lab, at: usize, backups: usize) -> usize {
    if at.is_multiple_of(10) || at + 1 == backups { lab.snapshots().len() } else { at + 1 }
}

/// By `ls` all of them, and by `restore` those that are asked for.
fn every_snapshot_is_as_the_volume_was(lab: &Lab, history: &[Vec<Difference>], newest: &Seen) {
    let snapshots = lab.snapshots();
    assert_eq!(snapshots.len(), history.len());
    let wanted = number("GIT_SCALE_RESTORES", snapshots.len());
    let mut random = Random(number("GIT_SCALE_SEED", 4711) as u64 | 1);
    let mut left: Vec<usize> = (0..snapshots.len()).collect();
    while left.len() > wanted {
        left.swap_remove((random.next() % left.len() as u64) as usize);
    }
    let restored: BTreeSet<usize> = left.into_iter().collect();
    let (mut then, mut took) = (Seen::new(), Vec::new());
    for (at, (id, differences)) in snapshots.iter().zip(history).enumerate() {
        apply(&mut then, differences);
        let listed = of_list(&lab.ok(&["ls", "--json", id]).stdout);
        assert_same(&then, &listed, id);
        if restored.contains(&at) {
            let target = lab.path("restored");
            took.push(timed(|| lab.ok(&["restore", id, "--target", target.to_str().unwrap()])));
            assert_same(&then, &look(&target, &Seen::new(), &BTreeSet::new()), id);
            remove_all(&target);
        }
    }
    assert_same(newest, &then, "what was noted");
    println!(
        "{} snapshots listed, {} restored: {:.2?} each",
        snapshots.len(),
        took.len(),
        middle(&took, false)
    );
}

#[track_caller]
fn assert_same(expected: &Seen, found: &Seen, what: &str) {
    let differences = between(expected, found);
    assert!(
        differences.is_empty(),
        "{what}: {} differences, such as {:#?}; expected {:?}",
        differences.len(),
        &differences[0],
        expected.get(&differences[0].path)
    );
}

fn fsck(repository: &Path) {
    let said = git(repository, &["fsck", "--strict", "--full", "--no-dangling"]);
    assert_eq!(said, "", "git fsck");
}

/// Files, content and who may execute.
fn the_newest_is_what_git_sees(lab: &Lab, newest: &Seen) {
    let clone = lab.path("clone");
    let (from, to) = (lab.repository(), clone.display().to_string());
    git(&lab.path(""), &["clone", "--quiet", "--no-local", from.to_str().unwrap(), &to]);
    remove_all(&clone.join(".git"));
    remove_all(&clone.join(".volkeep"));
    let reduced = |seen: Seen| -> Vec<_> {
        let files = seen.into_iter().filter(|(_, node)| node.kind != 'd');
        files.map(|(path, node)| (path, node.kind, node.mode & 0o100, node.hash)).collect()
    };
    let cloned = look(&clone, &Seen::new(), &BTreeSet::new());
    assert!(reduced(cloned) == reduced(newest.clone()), "the clone differs");
    fs::remove_dir_all(&clone).unwrap();
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// The median of the first or of the last ten after the first one.
fn middle(all: &[Duration], early: bool) -> Duration {
    let later = if all.len() > 1 { &all[1..] } else { all };
    let count = later.len().min(10);
    let mut some = if early { later[..count].to_vec() } else { later[later.len() - count..].to_vec() };
    some.sort_unstable();
    some.get(count / 2).copied().unwrap_or_default()
}

fn size(repository: &Path) -> String {
    let script = "printf '%.1f MiB, %s packs, %s loose objects' \
        \"$(du -s --apparent-size -B1 \"$1\" | awk '{ print $1 / 1048576 }')\" \
        \"$(find \"$1/objects/pack\" -name '*.pack' | wc -l)\" \
        \"$(find \"$1/objects\" -path '*/[0-9a-f][0-9a-f]/*' -type f | wc -l)\"";
    shell(script, &[repository.as_os_str()])
}
