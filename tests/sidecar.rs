//! A sidecar at its work, by the built binary: schedules, requests, its own jobs and those of others, guards, and a
//! configuration that changes under it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use rustix::process::Signal;
use serde_json::Value;
use support::sidecar::{is_alive, job};
use support::{Lab, Layout, few_entries, is_root, remove_all, run};

/// A volume that was backed up once, with jobs.
fn lab(sidecar: &str, jobs: &str) -> Lab {
    Lab::filled(Layout::Subdirectory, few_entries).with_jobs(sidecar, jobs)
}

#[test]
fn schedules_make_snapshots_and_everybody_can_see_it() {
    let lab = lab("", "backup: {schedule: '@every 1s'}");
    let sidecar = lab.sidecar();
    let seen = sidecar.await_runs("backup", 3);
    assert_eq!((&seen["last"]["outcome"], &seen["last"]["trigger"]), (&"done".into(), &"schedule".into()));
    assert_eq!((&seen["failures"], &seen["kind"]), (&0.into(), &"backup".into()), "{seen}");
    assert!(seen["next"].is_string() && seen["last"]["figures"]["snapshot"].is_string(), "{seen}");
    let (ready, why) = sidecar.readiness();
    assert!(ready, "{why}");
    assert!(sidecar.metric("volkeep_job_runs_total{job_name=\"backup\"}") >= 3.0);
    assert!(sidecar.ask("GET /healthz").0.starts_with("HTTP/1.1 200"));
    // Beside the sidecar: the command sees the same, and the volume is in use.
    let status = lab.ok(&["status", "--json"]).json();
    assert_eq!(status["state"], "dirty", "{status}");
    assert!(job(&status, "backup")["runs"].as_u64() >= Some(3), "{status}");
    assert!(job(&status, "backup")["next"].is_string(), "{status}");
    // A schedule for the backup alone has the repository looked after.
    assert!(
        job(&status, "prune")["next"].is_string() && job(&status, "check")["next"].is_string(),
        "{status}"
    );
    sidecar.end_well();
    let runs = job(&lab.ok(&["status", "--json"]).json(), "backup")["runs"].as_u64().unwrap();
    assert_eq!(lab.snapshots().len() as u64, runs + 1);
    assert_eq!(lab.state(), "healthy");
}

const ON_REQUEST: &str = "good: {command: [sh, -c, 'echo run >> $LAB/order']}
    bad: {command: [sh, -c, 'echo it went wrong; exit 9']}";

#[test]
fn a_run_by_hand_is_the_same_with_and_without_a_sidecar() {
    let lab = lab("", ON_REQUEST);
    for beside in [true, false] {
        let sidecar = beside.then(|| lab.sidecar());
        let report = lab.ok(&["run", "backup", "--json"]).json();
        assert_eq!((&report["outcome"], &report["trigger"]), (&"done".into(), &"request".into()));
        let snapshot = report["figures"]["snapshot"].as_str().unwrap();
        assert_eq!(lab.snapshots().last().unwrap(), snapshot);
        lab.ok(&["run", "good"]).says(&["good: done"]);
        lab.exits(1, &["run", "bad"]).says(&["exit code 9", "it went wrong"]);
        lab.exits(2, &["run", "worse"]).says(&["no job `worse`", "backup", "good"]);
        assert_eq!(sidecar.is_some_and(|sidecar| sidecar.end() == 0), beside);
        assert_eq!(lab.state(), "healthy", "beside a sidecar: {beside}");
    }
    let status = lab.ok(&["status", "--json"]).json();
    for (name, failures) in [("backup", 0), ("good", 0), ("bad", 2)] {
        let seen = job(&status, name);
        assert_eq!((&seen["runs"], &seen["failures"]), (&2.into(), &failures.into()), "{seen}");
    }
    assert_eq!(lab.words("order"), ["run", "run"]);
}

#[test]
fn those_who_ask_while_a_run_is_under_way_share_the_next() {
    let lab = lab(
        "",
        "slow: {command: [sh, -c, 'echo begin >> $LAB/order; read line < $LAB/hold'], access: none, timeout: 30s}",
    );
    let hold = lab.fifo("hold");
    let sidecar = lab.sidecar();
    std::thread::scope(|scope| {
        let ask = || scope.spawn(|| lab.run(&["run", "slow", "--json"]));
        let first = ask();
        sidecar.await_job("slow", "it runs", |job| job["running"].is_object());
        let others = [ask(), ask(), ask()];
        sidecar.await_job("slow", "one waits", |job| job["queued"] == true);
        // However many runs it takes: one of them may ask when the second run has begun.
        (0..4).for_each(|_| hold.go());
        first.join().unwrap().expect_code(0);
        for other in others {
            assert_eq!(other.join().unwrap().expect_code(0).json()["outcome"], "done");
        }
    });
    let seen = sidecar.job("slow");
    let runs = seen["runs"].as_u64().unwrap();
    assert!((2..=4).contains(&runs) && seen["queued"] == false, "{seen}");
    assert_eq!(lab.words("order").len() as u64, runs);
}

#[test]
fn without_a_sidecar_runs_come_one_after_the_other() {
    let lab = lab(
        "",
        "slow: {command: [sh, -c, 'echo work >> $LAB/order; read line < $LAB/hold'], access: none, timeout: 30s, \
         hooks: {freeze: [{command: [sh, -c, 'echo freeze >> $LAB/order; echo > $LAB/reached']}], \
         thaw: [{command: [sh, -c, 'echo thaw >> $LAB/order']}]}}",
    );
    let (hold, reached) = (lab.fifo("hold"), lab.fifo("reached"));
    std::thread::scope(|scope| {
        let ask = || scope.spawn(|| lab.run(&["run", "slow", "--json"]));
        let first = ask();
        reached.await_line();
        let second = ask();
        let status = lab.run(&["status", "--json"]);
        assert_eq!(status.json()["sidecar"]["mode"], "run", "{status}");
        hold.go();
        first.join().unwrap().expect_code(0);
        reached.await_line();
        // A sidecar that starts now must not undo the freeze that the run is in.
        let sidecar = lab.spawn_sidecar();
        hold.go();
        second.join().unwrap().expect_code(0);
        let seen = sidecar.await_job("slow", "both were counted", |job| job["runs"] == 2);
        assert_eq!((&seen["failures"], &seen["last"]["outcome"]), (&0.into(), &"done".into()), "{seen}");
    });
    let round = ["freeze", "work", "thaw"];
    assert_eq!(lab.words("order"), [round, round].concat());
}

#[test]
fn an_emptied_volume_is_a_refused_job_until_somebody_allows_it() {
    let lab = lab("", "backup: {schedule: '@every 1s'}");
    let sidecar = lab.sidecar();
    sidecar.await_runs("backup", 1);
    for entry in fs::read_dir(lab.volume()).unwrap() {
        remove_all(&entry.unwrap().path());
    }
    let refused = |job: &Value| job["last"]["outcome"] == "refused";
    let seen = sidecar.await_job("backup", "it is refused", refused);
    assert_eq!((&seen["last"]["code"], &seen["last"]["attempts"]), (&16.into(), &1.into()), "{seen}");

    // Almost everything is gone, which has a remedy.
    fs::write(lab.volume().join("left"), "a little").unwrap();
    let hints =
        |job: &Value| job["last"]["hint"].as_str().is_some_and(|hint| hint.contains("--allow-shrink"));
    let seen = sidecar.await_job("backup", "how to allow it", |job| refused(job) && hints(job));
    let hint = seen["last"]["hint"].as_str().unwrap();
    assert!(hint.contains("volkeep backup --allow-shrink"), "{hint}");
    assert!(sidecar.metric("volkeep_job_failures_total{job_name=\"backup\"}") >= 2.0);
    assert!(lab.ok(&["status"]).stdout.contains("--allow-shrink"));
    lab.exits(16, &["run", "backup"]).says(&["--allow-shrink"]);
    let kept = lab.snapshots();

    lab.ok(&["backup", "--allow-shrink"]);
    let seen = sidecar.await_job("backup", "done again", |job| job["last"]["outcome"] == "done");
    assert_eq!(seen["consecutive_failures"], 0);
    assert_eq!(lab.snapshots()[..kept.len()], kept);
    sidecar.end_well();
}

#[test]
fn a_half_restored_volume_is_not_backed_up() {
    let lab = Lab::filled(Layout::MountPoint, few_entries);
    lab.wipe();
    // Dies in the middle of going live.
    let strace =
        "strace -f -qq -o /dev/null -e trace=/^rename -e inject=/^rename:signal=SIGKILL:when=8 \"$@\"";
    let outcome = run(support::wrap(
        std::process::Command::new("bash").args(["-c", strace, "inside"]),
        &lab.command(&["init"]),
    ));
    assert!(!matches!(lab.state().as_str(), "healthy" | "dirty"), "{} after {outcome}", lab.state());
    let lab = lab.with_jobs("", "backup: {schedule: '@every 1s'}");
    let kept = lab.snapshots();
    let sidecar = lab.sidecar();
    let seen = sidecar.await_runs("backup", 1);
    assert_eq!((&seen["last"]["outcome"], &seen["last"]["code"]), (&"refused".into(), &16.into()), "{seen}");
    let (ready, why) = sidecar.readiness();
    assert!(!ready && why.contains("the volume is"), "{why}");
    sidecar.end_well();
    assert_eq!(lab.snapshots(), kept);
}

#[test]
fn a_new_configuration_is_taken_over_and_a_bad_one_is_not() {
    let lab = lab("", "first: {schedule: '@daily', command: ['true'], access: none}");
    let sidecar = lab.sidecar();
    let refused = |status: &Value| status["refused_configuration"].is_string();

    lab.configure(
        "",
        "first: {schedule: '@every 1s', command: ['true'], access: none}\nmore: {command: ['true']}",
    );
    sidecar.signal(Signal::HUP);
    sidecar.await_runs("first", 1);
    lab.ok(&["run", "more"]);

    fs::write(lab.path("config.yaml"), "jobs: {first: {schedule: now and then").unwrap();
    sidecar.signal(Signal::HUP);
    let status = sidecar.await_status("it is refused", refused);
    // The file stays as broken as it is.
    let runs = job(&status, "first")["runs"].as_u64().unwrap();
    sidecar.await_runs("first", runs + 1);
    assert!(sidecar.ask("POST /jobs/backup/run?wait=true").0.starts_with("HTTP/1.1 200"));
    assert_eq!(sidecar.job("backup")["last"]["outcome"], "done");
    assert_eq!(sidecar.metric("volkeep_configuration_accepted"), 0.0);

    lab.configure("", "first: {schedule: '@daily', command: ['true'], access: none}");
    sidecar.signal(Signal::HUP);
    let status = sidecar.await_status("it is taken", |status| !refused(status));
    assert_eq!(job(&status, "first")["schedule"], "@daily");
    assert_eq!(job(&status, "more"), Value::Null);
    sidecar.end_well();
}

#[test]
fn the_volume_stays_the_same_for_the_life_of_a_sidecar() {
    let mut lab = lab("", "first: {schedule: '@daily', command: ['true'], access: none}");
    lab.unset("VOLKEEP_VOLUME");
    let own = fs::read_to_string(lab.path("config.yaml")).unwrap();
    let with_volume = |name: &str| {
        fs::write(lab.path("config.yaml"), format!("volume: {{path: {}}}\n{own}", lab.path(name).display()))
    };
    with_volume("volume/data").unwrap();
    let sidecar = lab.sidecar();
    fs::create_dir(lab.path("other")).unwrap();
    with_volume("other").unwrap();
    sidecar.signal(Signal::HUP);
    let status = sidecar.await_status("it is refused", |status| status["refused_configuration"].is_string());
    let reason = status["refused_configuration"].as_str().unwrap();
    assert!(reason.contains("volume.path cannot change"), "{reason}");
    sidecar.end_well();
}

#[test]
fn a_job_that_is_longer_than_its_period_is_skipped_or_queued_once() {
    let slow = "command: [sh, -c, 'echo begin >> $LAB/$VOLKEEP_JOB; read line < $LAB/$VOLKEEP_JOB.hold'], access: none";
    let lab = lab(
        "",
        &format!(
            "skips: {{schedule: '@every 1s', {slow}}}
             queues: {{schedule: '@every 1s', overlap: queue, {slow}}}
             counts: {{schedule: '@every 1s', command: ['true'], access: none}}"
        ),
    );
    let holds = [lab.fifo("skips.hold"), lab.fifo("queues.hold")];
    let sidecar = lab.sidecar();
    let seen = sidecar.await_job("skips", "three are passed over", |job| job["skipped"].as_u64() >= Some(3));
    assert!(seen["running"].is_object() && seen["runs"] == 0 && seen["queued"] == false, "{seen}");
    let seen = sidecar.await_job("queues", "one waits", |job| job["queued"] == true);
    assert_eq!((&seen["skipped"], &seen["runs"]), (&0.into(), &0.into()), "{seen}");
    sidecar.await_runs("counts", 4);
    assert!(sidecar.metric("volkeep_job_skipped_total{job_name=\"skips\"}") >= 3.0);
    // No pile: whoever ran too long runs once more, for all the instants that have passed.
    lab.configure("", &format!("skips: {{{slow}}}\nqueues: {{overlap: queue, {slow}}}"));
    sidecar.signal(Signal::HUP);
    sidecar.await_job("queues", "no schedule any more", |job| job["next"].is_null());
    for (job, hold, runs) in [("skips", &holds[0], 1), ("queues", &holds[1], 1), ("queues", &holds[1], 2)] {
        hold.go();
        sidecar.await_runs(job, runs);
    }
    sidecar.end_well();
    assert_eq!((lab.words("skips").len(), lab.words("queues").len()), (1, 2));
}

#[test]
fn a_failed_attempt_is_repeated_and_a_late_one_ended_with_its_children() {
    let lab = lab(
        "",
        "shaky: {command: [sh, -c, 'echo x >> $LAB/shaky; test $(wc -l < $LAB/shaky) = 3'], retries: 3, backoff: 100ms}
         hangs: {command: [sh, -c, 'sleep 600 & echo $! > $LAB/child; wait'], timeout: 500ms, retries: 1, backoff: 10ms}",
    );
    let sidecar = lab.sidecar();
    let report = lab.ok(&["run", "shaky", "--json"]).json();
    assert_eq!((&report["attempts"], &report["outcome"]), (&3.into(), &"done".into()), "{report}");
    let report = lab.exits(1, &["run", "hangs", "--json"]).json();
    assert_eq!((&report["attempts"], &report["outcome"]), (&2.into(), &"timed_out".into()), "{report}");
    assert!(!is_alive(&fs::read_to_string(lab.path("child")).unwrap()));
    let seen = sidecar.job("hangs");
    assert_eq!((&seen["runs"], &seen["failures"]), (&1.into(), &1.into()), "{seen}");
}

#[test]
fn who_has_the_volume_alone_keeps_backups_waiting() {
    let lab = lab("", "vacuum: {command: [sh, -c, 'read line < $LAB/hold'], access: exclusive}");
    let hold = lab.fifo("hold");
    let sidecar = lab.sidecar();
    sidecar.ask("POST /jobs/vacuum/run");
    sidecar.await_job("vacuum", "it runs", |job| job["running"].is_object());
    sidecar.ask("POST /jobs/backup/run");
    sidecar.await_job("backup", "it waits", |job| job["queued"] == true && job["running"].is_null());
    hold.go();
    let seen = sidecar.await_runs("backup", 1);
    assert_eq!(seen["last"]["outcome"], "done");
}

#[test]
fn what_a_command_says_is_in_the_log_under_its_name() {
    let user = if is_root() { ", user: '65534:65533'" } else { "" };
    let lab = lab(
        "",
        &format!(
            "talks: {{command: [sh, -c, 'echo one; echo two >&2; echo I am $(id -u); echo $HIDDEN $PWD'], \
             env: {{HIDDEN: seen}}, directory: /{user}}}"
        ),
    );
    let sidecar = lab.sidecar();
    lab.ok(&["run", "talks"]);
    for said in ["one", "two", "seen /", if is_root() { "I am 65534" } else { "I am" }] {
        let line = sidecar.await_line(said);
        assert!(line.contains("job=\"talks\""), "{line}");
    }
    assert!(!lab.ok(&["config", "show"]).stdout.contains("seen"));
}

#[test]
fn over_the_network_a_job_needs_the_token() {
    // A port that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let lab = lab(&format!("listen: '{address}'\ntoken: open sesame"), ON_REQUEST);
    let sidecar = lab.sidecar();
    let ask = |request: &str, header: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "{request} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{header}\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let post = "POST /jobs/good/run?wait=true";
    assert!(ask(post, "").starts_with("HTTP/1.1 401"));
    assert!(ask(post, "Authorization: Bearer open\r\n").starts_with("HTTP/1.1 401"));
    assert_eq!(sidecar.job("good")["runs"], 0);
    let right = "Authorization: Bearer open sesame\r\n";
    assert!(ask(post, right).starts_with("HTTP/1.1 200"));
    assert!(ask("POST /jobs/worse/run", right).starts_with("HTTP/1.1 404"));
    assert_eq!((sidecar.job("good")["runs"].as_u64(), lab.words("order")), (Some(1), vec!["run".to_owned()]));
    assert!(ask("GET /status", "").starts_with("HTTP/1.1 200"));
    // A new configuration takes the right away.
    lab.configure(&format!("listen: '{address}'"), ON_REQUEST);
    sidecar.signal(Signal::HUP);
    sidecar.await_some("no token any more", || ask(post, right).starts_with("HTTP/1.1 403").then_some(()));
    sidecar.end_well();
}
