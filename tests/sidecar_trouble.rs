//! A sidecar in trouble, by the built binary: a full disk, a store that is away, another sidecar, a successor, clocks
//! that are set. No state of a job is lost, nothing piles up, and what it shows is true.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop")]

mod support;

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::Value;
use support::sidecar::{Sidecar, job};
use support::{Lab, Layout, few_entries, is_root, shell, wrap};

fn lab(sidecar: &str, jobs: &str) -> Lab {
    Lab::filled(Layout::Subdirectory, few_entries).with_jobs(sidecar, jobs)
}

#[test]
fn a_full_disk_costs_no_count() {
    assert!(is_root(), "this test mounts a file system; run it as root");
    let mut lab = Lab::new(Layout::Subdirectory).with_jobs(
        "",
        "counts: {schedule: '@every 1s', command: ['true'], access: none}\nbackup: {retries: 0}",
    );
    lab.set("VOLKEEP_INIT_CREATE_REPOSITORY", "true");
    // A small disk that only the sidecar sees, and whoever looks through its eyes.
    let script = "mount -t tmpfs -o size=2m tmpfs \"$LAB/volume\"; mkdir \"$LAB/volume/data\"; \
                  \"$1\" init --config \"$LAB/config.yaml\"; echo data > \"$LAB/volume/data/file\"; exec \"$@\"";
    let mut outer = Command::new("unshare");
    outer.args(["-m", "--propagation", "private", "bash", "-euo", "pipefail", "-c", script, "inside"]);
    wrap(&mut outer, &lab.command(&["sidecar"])).env("LAB", lab.path(""));
    let sidecar = Sidecar::spawn(&mut outer, &lab.state_dir());
    let root = PathBuf::from(format!("/proc/{}/root", sidecar.id()));
    let inside = |path: PathBuf| root.join(path.strip_prefix("/").unwrap());
    let state_dir = inside(lab.state_dir());
    let sidecar = sidecar.seen_by(&state_dir);
    sidecar.await_runs("counts", 1);

    let filler = inside(lab.path("volume/filler"));
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[7; 512]).is_ok() {}
    let (before, runs) = (cpu_ticks(sidecar.id()), sidecar.job("counts")["runs"].as_u64().unwrap());
    sidecar.await_job("counts", "it cannot be written", |job| {
        job["unsaved"].is_string() && job["runs"].as_u64() >= Some(runs + 3)
    });
    // To try in vain is not worth a processor: each tick is 10 ms.
    let ticks = cpu_ticks(sidecar.id()) - before;
    assert!(ticks < 100, "{ticks} ticks in some seconds");
    let report = sidecar.ask("POST /jobs/backup/run?wait=true").1;
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["outcome"], "failed", "{report}");
    assert!(report["reason"].as_str().unwrap().contains("No space left"), "{report}");

    drop(file);
    fs::remove_file(&filler).unwrap();
    let report = sidecar.ask("POST /jobs/backup/run?wait=true").1;
    assert_eq!(serde_json::from_str::<Value>(&report).unwrap()["outcome"], "done", "{report}");
    let seen = sidecar.await_job("backup", "it is written", |job| job["unsaved"].is_null());
    assert_eq!((&seen["failures"], &seen["runs"]), (&1.into(), &2.into()), "{seen}");
    sidecar.await_job("counts", "it is written", |job| job["unsaved"].is_null());
    let written = fs::read_to_string(state_dir.join("jobs/counts.json")).unwrap();
    let shown = sidecar.job("counts")["runs"].as_u64().unwrap();
    assert!(shown >= runs + 3 && written.contains("\"runs\":"), "{written}");
    sidecar.end_well();
}

/// Of the processor, by the kernel's account.
fn cpu_ticks(id: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_store_that_is_away_is_waited_for() {
    let lab = lab("", "backup: {schedule: '@every 1s', retries: 1, backoff: 100ms}");
    let sidecar = lab.sidecar();
    sidecar.await_runs("backup", 1);
    fs::rename(lab.repository(), lab.path("away")).unwrap();
    let seen =
        sidecar.await_job("backup", "three fail", |job| job["consecutive_failures"].as_u64() >= Some(3));
    assert_eq!(
        (&seen["last"]["outcome"], &seen["last"]["attempts"]),
        (&"failed".into(), &2.into()),
        "{seen}"
    );
    assert!(seen["last_success"]["figures"]["snapshot"].is_string(), "{seen}");
    let why = sidecar.await_some("it is not ready", || match sidecar.readiness() {
        (false, why) => Some(why),
        (true, _) => None,
    });
    assert!(why.contains("lease"), "{why}");
    assert!(sidecar.metric("volkeep_job_consecutive_failures{job_name=\"backup\"}") >= 3.0);
    assert!(!lab.repository().exists(), "a backup has made a repository where there was one");

    fs::rename(lab.path("away"), lab.repository()).unwrap();
    let seen = sidecar.await_job("backup", "done again", |job| job["last"]["outcome"] == "done");
    assert_eq!(seen["consecutive_failures"], 0);
    sidecar.await_some("it is ready again", || sidecar.readiness().0.then_some(()));
    sidecar.end_well();
    let seen = job(&lab.ok(&["status", "--json"]).json(), "backup");
    let succeeded = seen["runs"].as_u64().unwrap() - seen["failures"].as_u64().unwrap();
    assert_eq!(lab.snapshots().len() as u64, succeeded + 1);
}

#[test]
fn a_health_check_needs_no_network_and_tells_dead_from_late() {
    let lab = lab("max_backup_age: 1s", "backup: {schedule: never}");
    let none = lab.exits(1, &["health"]);
    assert!(none.stderr.contains("no sidecar listens in"), "{none:?}");
    let sidecar = lab.sidecar();
    assert_eq!(lab.ok(&["health"]).stdout, "ok\n");
    // The backup that the lab made is older than a second before long: it works, and its backups are late.
    let late = sidecar.await_some("too old a backup", || {
        let asked = lab.run(&["health", "--ready"]);
        (asked.code == 1).then_some(asked)
    });
    assert!(late.stderr.contains("backup"), "{late:?}");
    assert_eq!(lab.ok(&["health"]).stdout, "ok\n");
    // One that is stopped takes no notice of anything.
    sidecar.signal(Signal::STOP);
    let silent = lab.exits(1, &["health"]);
    assert!(silent.stderr.contains("no answer within 8 s"), "{silent:?}");
    sidecar.signal(Signal::CONT);
    sidecar.kill();
    let dead = lab.exits(1, &["health"]);
    assert!(dead.stderr.contains("no sidecar listens in"), "{dead:?}");
}

#[test]
fn a_second_sidecar_stands_by_until_the_first_is_gone() {
    let lab = lab("", "backup: {schedule: '@every 1s'}");
    let first = lab.sidecar();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut second = lab.command(&["sidecar"]);
    second.env("VOLKEEP_SIDECAR_LISTEN", address.to_string());
    let second = Sidecar::spawn(&mut second, &lab.state_dir());
    let ready = || second.ask_at(address, "GET /readyz").unwrap_or_default();
    let answer = second.await_some("it answers", || Some(ready()).filter(|answer| !answer.is_empty()));
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("another sidecar"), "{answer}");
    assert!(second.ask_at(address, "GET /healthz").unwrap().starts_with("HTTP/1.1 200"));
    // An app that starts beside it, and the first that goes on.
    lab.ok(&["init"]);
    lab.ok(&["run", "backup"]);
    let runs = first.await_runs("backup", 2)["runs"].as_u64().unwrap();
    first.kill();
    second.await_some("it takes over", || ready().starts_with("HTTP/1.1 200").then_some(()));
    let seen = second.await_runs("backup", runs + 1);
    assert!(seen["failures"].as_u64() <= Some(1), "{seen}");
    lab.ok(&["init"]);
    second.end_well();
}

#[test]
fn a_volume_that_has_a_successor_writes_nothing_more() {
    let old = lab("", "backup: {schedule: '@every 1s', retries: 0}");
    let sidecar = old.sidecar();
    sidecar.await_runs("backup", 1);
    let new = Lab::new(Layout::Subdirectory).with("VOLKEEP_REPOSITORY", old.url());
    new.ok(&["init"]);
    let is_fenced = |job: &Value| job["last"]["code"] == 11 && job["last"]["outcome"] == "failed";
    sidecar.await_job("backup", "it is cut off", is_fenced);
    let snapshots = new.snapshots();
    fs::write(old.volume().join("late"), "too late").unwrap();
    let fenced = |sidecar: &Sidecar| {
        let runs = sidecar.job("backup")["runs"].as_u64().unwrap();
        let seen = sidecar.await_runs("backup", runs + 2);
        assert!(is_fenced(&seen), "{seen}");
        sidecar.await_some("it is not ready", || {
            let (ready, why) = sidecar.readiness();
            (!ready && why.contains("is not held")).then_some(())
        });
        assert_eq!(new.snapshots(), snapshots);
    };
    fenced(&sidecar);
    sidecar.end_well();
    // A new start is no new right.
    let sidecar = old.sidecar();
    fenced(&sidecar);
    let lease = |lab: &Lab| lab.ok(&["status", "--json"]).json()["leases"][0]["ours"].clone();
    assert_eq!((lease(&new), lease(&old)), (true.into(), false.into()));
    new.ok(&["backup"]);
    assert_eq!(new.snapshots().len(), snapshots.len() + 1);
    sidecar.end_well();
}

const HOURLY: &str =
    "hourly: {schedule: '@hourly', catch_up: true, command: [sh, -c, 'echo run >> $LAB/order'], access: none}
    dropped: {schedule: '@hourly', command: [sh, -c, 'echo run >> $LAB/dropped'], access: none}
    ticks: {schedule: '@every 1s', command: ['true'], access: none}";

#[test]
fn a_clock_that_is_set_makes_one_run_and_not_fifty() {
    let lab = lab("", HOURLY);
    let clock = Clock::of(&lab);
    let half_past = clock.half_past();
    clock.set(half_past);
    let sidecar = Sidecar::spawn(&mut clock.command(), &lab.state_dir());
    let ticks = || {
        let runs = sidecar.job("ticks")["runs"].as_u64().unwrap();
        sidecar.await_runs("ticks", runs + 3);
    };
    sidecar.await_runs("ticks", 1);
    clock.set(half_past + 50 * 3600);
    sidecar.await_runs("hourly", 1);
    ticks();
    assert_eq!(sidecar.job("hourly")["runs"], 1);
    assert!(sidecar.job("dropped")["runs"].as_u64() <= Some(1));
    clock.set(half_past);
    sidecar.await_line("the clock was set back");
    ticks();
    assert_eq!((lab.words("order").len(), &sidecar.job("hourly")["runs"]), (1, &1.into()));
    // And from there on as ever.
    clock.set(half_past + 3600);
    sidecar.await_runs("hourly", 2);
    ticks();
    assert_eq!(lab.words("order").len(), 2);
    sidecar.end_well();
}

#[test]
fn what_was_missed_is_made_up_once() {
    let lab = lab("", HOURLY);
    let clock = Clock::of(&lab);
    let half_past = clock.half_past();
    clock.set(half_past);
    let sidecar = Sidecar::spawn(&mut clock.command(), &lab.state_dir());
    sidecar.await_runs("ticks", 1);
    sidecar.end_well();
    clock.set(half_past + 50 * 3600);
    let sidecar = Sidecar::spawn(&mut clock.command(), &lab.state_dir());
    let seen = sidecar.await_runs("hourly", 1);
    assert_eq!(seen["last"]["trigger"], "catch_up", "{seen}");
    sidecar.await_line("runs were missed, and are not made up for");
    sidecar.await_runs("ticks", 3);
    sidecar.end_well();
    assert_eq!((lab.words("order").len(), lab.words("dropped").len()), (1, 0));
}

/// What time it is for a sidecar, by a library that comes between it and the system.
struct Clock<'a> {
    lab: &'a Lab,
}

impl<'a> Clock<'a> {
    fn of(lab: &'a Lab) -> Self {
        Self { lab }
    }

    /// So many seconds ahead of the true time.
    fn set(&self, ahead: u64) {
        let (new, place) = (self.lab.path("clock.new"), self.lab.path("clock"));
        fs::write(&new, format!("+{ahead}\n")).unwrap();
        fs::rename(new, place).unwrap();
    }

    /// How far ahead it is half past an hour, so that no full hour comes by itself.
    fn half_past(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        3600 + 1800 - now % 3600
    }

    fn command(&self) -> Command {
        let library = shell("ls /usr/lib/*/faketime/libfaketimeMT.so.1", &[]);
        let mut command = self.lab.command(&["sidecar"]);
        command.env("LD_PRELOAD", library.trim());
        command.env("FAKETIME_TIMESTAMP_FILE", self.lab.path("clock"));
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        command
    }
}
