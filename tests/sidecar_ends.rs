//! How a sidecar ends, and what the next one finds: in order, told twice, killed, killed inside a freeze, as process 1.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Signal, kill_process};
use support::sidecar::{Fifo, Sidecar, is_alive, job, pid};
use support::{Lab, Layout, few_entries, is_root, random_bytes, remove_all, wrap};

fn lab(sidecar: &str, jobs: &str) -> Lab {
    Lab::filled(Layout::Subdirectory, few_entries).with_jobs(sidecar, jobs)
}

/// A job that waits at the FIFO `hold` of the lab.
const WAITS: &str =
    "waits: {command: [sh, -c, 'echo begin >> $LAB/order; read line < $LAB/hold'], access: none}";

#[test]
fn a_long_backup_is_ended_in_order_and_what_it_stored_is_used_again() {
    let mut lab = lab("grace: 4s", "");
    for number in 0..24 {
        fs::write(lab.volume().join(format!("more-{number}")), random_bytes(number, 1 << 20)).unwrap();
    }
    let (packs, snapshots) = (lab.stored("packs").len(), lab.snapshots());
    // As slow as a distant store.
    lab.set("VOLKEEP_LIMITS_UPLOAD", "2MiB");
    lab.set("VOLKEEP_LIMITS_MEMORY", "16MiB");
    let sidecar = lab.sidecar();
    sidecar.ask("POST /jobs/backup/run");
    sidecar.await_some("the first packs", || (lab.stored("packs").len() > packs).then_some(()));
    let told = Instant::now();
    sidecar.end_well();
    assert!(told.elapsed() < Duration::from_secs(8), "{:?}", told.elapsed());
    let seen = job(&lab.ok(&["status", "--json"]).json(), "backup");
    assert_eq!((&seen["last"]["outcome"], &seen["runs"]), (&"cancelled".into(), &1.into()), "{seen}");
    assert_eq!((lab.snapshots(), lab.state()), (snapshots, "healthy".to_owned()));
    lab.ok(&["check", "--verify"]);
    lab.unset("VOLKEEP_LIMITS_UPLOAD");
    let stored = lab.backup()["stored_bytes"].as_u64().unwrap();
    assert!(stored < 23 << 20, "everything was stored anew: {stored}");
    assert_eq!(lab.state(), "healthy");
}

#[test]
fn who_does_not_end_is_ended_within_the_time() {
    let lab = lab("grace: 2s", WAITS);
    let _hold = lab.fifo("hold");
    let sidecar = lab.sidecar();
    sidecar.ask("POST /jobs/waits/run");
    sidecar.await_some("it begins", || (lab.words("order") == ["begin"]).then_some(()));
    let told = Instant::now();
    sidecar.end_well();
    assert!(told.elapsed() < Duration::from_secs(6), "{:?}", told.elapsed());
    let seen = job(&lab.ok(&["status", "--json"]).json(), "waits");
    assert_eq!((&seen["last"]["outcome"], seen.get("running")), (&"cancelled".into(), None), "{seen}");
}

#[test]
fn the_second_signal_ends_it_at_once() {
    let lab = lab("grace: 10m", WAITS);
    let hold = lab.fifo("hold");
    let sidecar = lab.sidecar();
    sidecar.ask("POST /jobs/waits/run");
    sidecar.await_some("it begins", || (lab.words("order") == ["begin"]).then_some(()));
    sidecar.signal(Signal::TERM);
    let status = sidecar.await_status("it ends", |status| status["stage"] == "draining");
    assert!(job(&status, "waits")["running"].is_object(), "{status}");
    let (ready, why) = sidecar.readiness();
    assert!(!ready && why.contains("ending"), "{why}");
    assert!(sidecar.ask("GET /healthz").0.starts_with("HTTP/1.1 200"));
    lab.exits(1, &["run", "backup"]).says(&["the sidecar is ending"]);
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.await_end(), 128 + 15, "{}", sidecar.said());
    assert_eq!(lab.state(), "dirty");
    hold.go();
}

#[test]
fn a_last_backup_is_made_where_that_is_wanted() {
    let lab = lab("backup_on_shutdown: true", "");
    let before = lab.snapshots();
    let sidecar = lab.sidecar();
    fs::write(lab.volume().join("last"), "words").unwrap();
    sidecar.end_well();
    let seen = job(&lab.ok(&["status", "--json"]).json(), "backup");
    assert_eq!(
        (&seen["last"]["outcome"], &seen["last"]["trigger"]),
        (&"done".into(), &"shutdown".into()),
        "{seen}"
    );
    assert_eq!((lab.snapshots().len(), lab.state()), (before.len() + 1, "healthy".to_owned()));
    lab.keep_reference();
    lab.wipe();
    lab.ok(&["init"]);
    lab.assert_back();
}

#[test]
fn whoever_was_killed_leaves_doubt_and_counts() {
    let lab = lab("", &format!("{WAITS}\ngood: {{command: ['true'], access: none}}"));
    let hold = lab.fifo("hold");
    let sidecar = lab.sidecar();
    lab.ok(&["run", "good"]);
    lab.ok(&["run", "good"]);
    sidecar.ask("POST /jobs/waits/run");
    sidecar.await_some("it begins", || (lab.words("order") == ["begin"]).then_some(()));
    sidecar.kill();
    hold.go();
    assert_eq!(lab.state(), "dirty");

    let next = lab.sidecar();
    let seen = next.job("waits");
    assert_eq!((&seen["last"]["outcome"], &seen["failures"]), (&"interrupted".into(), &1.into()), "{seen}");
    assert_eq!((&next.job("good")["runs"], &next.job("good")["failures"]), (&2.into(), &0.into()));
    next.end_well();
    // Only an init looks close enough to take the doubt away.
    assert_eq!(lab.state(), "dirty");
    lab.ok(&["init"]);
    assert_eq!(lab.state(), "healthy");
    let third = lab.sidecar();
    third.end_well();
    assert_eq!(lab.state(), "healthy");
}

#[test]
fn a_backup_does_not_outlive_its_sidecar() {
    let mut lab = lab("", "");
    fs::write(lab.volume().join("large"), random_bytes(7, 20 << 20)).unwrap();
    lab.set("VOLKEEP_LIMITS_UPLOAD", "1MiB");
    let sidecar = lab.sidecar();
    sidecar.ask("POST /jobs/backup/run");
    let child = sidecar.await_some("its process", || {
        children(sidecar.id()).iter().map(ToString::to_string).find(|child| is_task(child, "backup"))
    });
    sidecar.kill();
    lab.unset("VOLKEEP_LIMITS_UPLOAD");
    // It gives up in order before the next sidecar has the volume.
    let next = lab.sidecar();
    next.await_some("the child has ended", || (!is_alive(&child)).then_some(()));
    assert_eq!(next.job("backup")["last"]["outcome"], "interrupted");
    lab.ok(&["run", "backup"]);
    next.end_well();
}

fn is_task(id: &str, task: &str) -> bool {
    let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).split('\0').any(|word| word == task)
}

const FREEZES: &str = "freezes: {command: [sh, -c, 'echo work >> $LAB/order; read line < $LAB/hold'], access: none, \
    hooks: {max_frozen: 2s, freeze: [{command: [sh, -c, 'echo freeze >> $LAB/order']}], \
    thaw: [{command: [sh, -c, 'echo thaw >> $LAB/order; test -e $LAB/open']}]}}";

/// Killed with the app held still.
fn killed_inside_a_freeze() -> (Lab, Fifo) {
    let lab = lab("", FREEZES);
    let hold = lab.fifo("hold");
    let sidecar = lab.sidecar();
    sidecar.ask("POST /jobs/freezes/run");
    sidecar.await_some("it works", || (lab.words("order") == ["freeze", "work"]).then_some(()));
    sidecar.kill();
    hold.go();
    (lab, hold)
}

#[test]
fn a_thaw_that_fails_is_shown_and_tried_again() {
    let (lab, hold) = killed_inside_a_freeze();
    let sidecar = lab.spawn_sidecar();
    sidecar.await_line("the thaw failed; it is tried again");
    let status = sidecar.await_status("it is shown", |status| status["frozen"][0]["job"] == "freezes");
    assert!(status["frozen"][0]["since"].is_string(), "{status}");
    assert_eq!(sidecar.metric("volkeep_job_frozen{job_name=\"freezes\"}"), 1.0);
    fs::write(lab.path("open"), "").unwrap();
    sidecar.await_status("it is thawed", |status| status["frozen"].as_array().is_some_and(Vec::is_empty));
    // Each sidecar thaws first, and the job can freeze again.
    remove_all(&lab.path("order"));
    sidecar.ask("POST /jobs/freezes/run");
    sidecar.await_some("it works", || (lab.words("order") == ["freeze", "work"]).then_some(()));
    hold.go();
    let seen = sidecar.await_job("freezes", "done", |job| job["last"]["outcome"] == "done");
    assert!(seen["last"]["figures"]["frozen_seconds"].is_number(), "{seen}");
    assert_eq!(lab.words("order"), ["freeze", "work", "thaw"]);
    sidecar.end_well();
}

#[test]
fn a_run_by_hand_thaws_first_as_well() {
    let (lab, _hold) = killed_inside_a_freeze();
    fs::write(lab.path("open"), "").unwrap();
    lab.ok(&["run", "backup"]);
    assert_eq!(lab.words("order"), ["freeze", "work", "thaw"]);
    assert_eq!(fs::read_dir(lab.state_dir().join("frozen")).unwrap().count(), 0);
}

#[test]
fn an_app_is_not_held_for_too_long() {
    let lab = lab("", FREEZES);
    let _hold = lab.fifo("hold");
    fs::write(lab.path("open"), "").unwrap();
    let sidecar = lab.sidecar();
    let report = lab.exits(1, &["run", "freezes", "--json"]).json();
    assert_eq!(report["outcome"], "timed_out", "{report}");
    assert!(report["reason"].as_str().unwrap().contains("may freeze the app"), "{report}");
    assert_eq!(lab.words("order"), ["freeze", "work", "thaw"]);
    // A signal that ends the sidecar inside a freeze thaws, too.
    sidecar.ask("POST /jobs/freezes/run");
    sidecar.await_some("it works", || (lab.words("order").len() == 5).then_some(()));
    sidecar.end_well();
    assert_eq!(lab.words("order").last().unwrap(), "thaw");
}

#[test]
fn somebody_elses_backup_does_not_keep_it_from_ending_or_starting() {
    let mut lab = lab("grace: 2s", "");
    let sidecar = lab.sidecar();
    sidecar.await_status("it has looked around", |status| !status["leases"].as_array().unwrap().is_empty());
    let other = fs::File::open(lab.state_dir().join("backup.lock")).unwrap();
    flock(&other, FlockOperation::LockExclusive).unwrap();
    let told = Instant::now();
    let code = sidecar.end();
    assert!(told.elapsed() < Duration::from_secs(8), "{:?}", told.elapsed());
    assert_eq!((code, lab.state().as_str()), (1, "dirty"), "{}", sidecar.said());

    lab.set("VOLKEEP_VOLUME_LOCK_WAIT", "100ms");
    let next = lab.spawn_sidecar();
    next.await_line("somebody else works on the volume");
    assert!(next.try_ask("GET /status").is_err());
    drop(other);
    next.await_status("it works", |status| status["stage"] == "working");
    lab.unset("VOLKEEP_VOLUME_LOCK_WAIT");
    next.end_well();
}

#[test]
fn as_process_1_it_collects_orphans_and_heeds_signals() {
    assert!(is_root(), "this test makes a PID namespace; run it as root");
    let lab = lab(
        "",
        "leaves: {command: [sh, -c, 'setsid -f sh -c \"echo orphan >> $LAB/order; read line < $LAB/hold\"'], access: none}",
    );
    let hold = lab.fifo("hold");
    let mut outer = Command::new("unshare");
    wrap(outer.args(["--pid", "--fork", "--kill-child", "--mount-proc"]), &lab.command(&["sidecar"]));
    let sidecar = Sidecar::spawn(&mut outer, &lab.state_dir());
    sidecar.await_status("working", |status| status["stage"] == "working");
    let first = children(sidecar.id()).remove(0);
    sidecar.ask("POST /jobs/leaves/run?wait=true");
    sidecar.await_some("the orphan works", || (lab.words("order") == ["orphan"]).then_some(()));
    let orphans: Vec<u32> = sidecar.await_some("it has a new parent", || {
        Some(only_shells(children(first))).filter(|found| !found.is_empty())
    });
    hold.go();
    sidecar.await_some("nothing is left of it", || {
        orphans.iter().all(|id| !PathBuf::from(format!("/proc/{id}")).exists()).then_some(())
    });
    lab.ok(&["run", "backup"]);
    kill_process(pid(first), Signal::TERM).unwrap();
    assert_eq!(sidecar.await_end(), 0, "{}", sidecar.said());
    assert_eq!(lab.state(), "healthy");
}

fn only_shells(children: Vec<u32>) -> Vec<u32> {
    let is_shell =
        |id: &u32| fs::read_to_string(format!("/proc/{id}/cmdline")).is_ok_and(|line| line.contains("order"));
    children.into_iter().filter(is_shell).collect()
}

/// Of all its threads.
fn children(id: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).unwrap().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.collect::<String>().split_whitespace().map(|id| id.parse().unwrap()).collect()
}
