//! Steps of `init` when it dies in the middle, when several start at once, and beside a sidecar.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop")]

mod steps_support;
mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::process::Child;

use steps_support::{begun, order, steps, with_steps};
use support::crash::{
    AtLeast, DIRECTORIES, METADATA, REMOVALS, RENAMES, SYNCS, kill_at_each, killed_at, report,
};
use support::life::{finish, start};
use support::sidecar::Sidecar;
use support::{Lab, Layout, few_entries, is_root};

const CONTENT: &str = "rack=r1\n";

/// A file in new directories, given away if that can be tried, and a command that is done once.
fn file_and_command(layout: Layout) -> Lab {
    let lab = Lab::new(layout);
    lab.ok(&["repository", "init"]);
    let owner = if is_root() { ", owner: '65534:65533'" } else { "" };
    let yaml = format!(
        "[{{render: {{text: \"rack={{{{ rack }}}}\\n\", to: conf/deep/rack, mode: '0640', values: {{rack: r1}}{owner}}}}},
          {{name: schema, once: true, run: [sh, -c, 'echo once >> $LAB/order']}}]"
    );
    with_steps(lab, &yaml)
}

/// Whole, or not there yet.
fn assert_no_half_file(lab: &Lab, context: &str) {
    let file = lab.volume().join("conf/deep/rack");
    let Ok(found) = fs::read_to_string(&file) else { return };
    let meta = fs::metadata(&file).unwrap();
    assert_eq!((found.as_str(), meta.mode() & 0o7777), (CONTENT, 0o640), "{context}");
    if is_root() {
        assert_eq!((meta.uid(), meta.gid()), (65534, 65533), "{context}");
    }
}

fn survives(layout: Layout, calls: &str) {
    let lab = file_and_command(layout);
    let deaths = kill_at_each(1, 1, |step| {
        lab.wipe();
        let _ = fs::remove_file(lab.path("order"));
        let outcome = killed_at(&lab, &["init"], calls, step);
        let context = format!("{layout:?}, killed at step {step} of {calls}");
        assert_no_half_file(&lab, &context);
        let killed = outcome.was_killed();
        assert!(killed || outcome.code == 0, "{context}: {outcome}");
        if killed {
            let outcome = lab.run(&["init"]);
            assert!(outcome.code == 0, "{context}, then {outcome}");
        }
        assert_no_half_file(&lab, &context);
        let conf = lab.volume().join("conf");
        let names = |path: &std::path::Path| {
            let names = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
            names.map(|name| name.into_string().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(
            (names(&conf), names(&conf.join("deep"))),
            (vec!["deep".to_owned()], vec!["rack".to_owned()]),
            "{context}"
        );
        if is_root() {
            assert_eq!(fs::metadata(&conf).unwrap().uid(), 65534, "{context}");
        }
        // Done, and never done without a record: a death before that means once more, no death means once.
        let times = order(&lab).split_whitespace().count();
        assert!((1..=if killed { 2 } else { 1 }).contains(&times), "{context}: done {times} times");
        lab.ok(&["init"]).says(&["step render-1: unchanged", "left out (version 1 is done)"]);
        assert_eq!(order(&lab).split_whitespace().count(), times, "{context}");
        assert_eq!(lab.state(), "healthy", "{context}");
        killed
    });
    report(&format!("steps, {layout:?}"), calls, deaths, &AtLeast(1));
}

#[test]
fn steps_survive_death_at_every_rename() {
    survives(Layout::Subdirectory, RENAMES);
    survives(Layout::MountPoint, RENAMES);
}

#[test]
fn steps_survive_death_at_every_sync() {
    survives(Layout::Subdirectory, SYNCS);
    survives(Layout::MountPoint, SYNCS);
}

#[test]
fn steps_survive_death_at_every_directory_and_removal() {
    survives(Layout::Subdirectory, DIRECTORIES);
    survives(Layout::Subdirectory, REMOVALS);
}

#[test]
fn steps_survive_death_while_setting_metadata() {
    survives(Layout::Subdirectory, METADATA);
}

#[test]
fn a_file_that_is_replaced_survives_death_at_every_step() {
    for calls in [RENAMES, SYNCS, REMOVALS, METADATA] {
        let mut lab = with_steps(begun(), "[{render: {text: '{{ v }}', to: file, values_env: {v: V}}}]");
        let deaths = kill_at_each(1, 1, |step| {
            lab.set("V", "the old one");
            lab.ok(&["init"]);
            lab.set("V", "the other one");
            let outcome = killed_at(&lab, &["init"], calls, step);
            let found = fs::read_to_string(lab.volume().join("file")).unwrap();
            assert!(["the old one", "the other one"].contains(&found.as_str()), "{calls} {step}: {found}");
            // What the death left goes, also where the wish for the other one is gone.
            lab.set("V", "the old one");
            lab.ok(&["init"]);
            assert_eq!(fs::read_to_string(lab.volume().join("file")).unwrap(), "the old one");
            assert_eq!(fs::read_dir(lab.volume()).unwrap().count(), 1, "{calls} {step}");
            outcome.was_killed()
        });
        report("a file replaced", calls, deaths, &AtLeast(1));
    }
}

#[test]
fn of_several_that_start_at_once_one_does_what_is_done_once() {
    let lab = file_and_command(Layout::Subdirectory);
    for _ in 0..5 {
        lab.wipe();
        let _ = fs::remove_file(lab.path("order"));
        let running: Vec<_> = (0..4).map(|_| start(&mut lab.command(&["init"]))).collect();
        for child in running {
            finish(child).expect_code(0);
        }
        assert_eq!(order(&lab), "once");
        assert_no_half_file(&lab, "four at once");
    }
}

#[test]
fn beside_a_sidecar_nothing_is_begun_that_is_done_once() {
    let yaml = |rack: &str, version: u32| {
        format!(
            "[{{render: {{text: '{rack}', to: rack}}}},
              {{name: schema, once: true, version: {version}, run: [sh, -c, 'echo v{version} >> $LAB/order']}},
              {{run: [sh, -c, 'echo always >> $LAB/order']}}]"
        )
    };
    let lab = Lab::filled(Layout::Subdirectory, few_entries).with_jobs("", "");
    let mut lab = with_steps(lab, &yaml("r1", 1));
    lab.ok(&["init"]);
    assert_eq!(order(&lab), "v1 always");
    let sidecar = lab.sidecar();
    // All containers start again at once.
    lab.ok(&["init"]).says(&["render-1: unchanged", "left out (version 1 is done)", "run-3: done"]);
    assert_eq!(order(&lab), "v1 always always");
    steps(&mut lab, &yaml("r1", 2));
    lab.exits(11, &["init"]).says(&["in use by `sidecar`", "stop what works beside the app first"]);
    steps(&mut lab, &yaml("r2", 1));
    lab.ok(&["init"]).says(&["render-1: done"]);
    assert_eq!(fs::read_to_string(lab.volume().join("rack")).unwrap(), "r2");
    sidecar.end_well();
    steps(&mut lab, &yaml("r2", 2));
    lab.ok(&["init"]);
    assert_eq!(order(&lab), "v1 always always always v2 always");
}

#[test]
fn what_has_nothing_to_change_waits_for_no_backup() {
    let held = "hold: {command: [sh, -c, 'echo > $LAB/started; read line < $LAB/go'], access: shared}";
    let lab = Lab::filled(Layout::Subdirectory, few_entries).with_jobs("", held);
    let (started, go) = (lab.fifo("started"), lab.fifo("go"));
    let mut lab = with_steps(lab, "[{render: {text: a, to: rack}}, {name: s, once: true, run: ['true']}]");
    lab.ok(&["init"]);
    let sidecar = lab.sidecar();
    let held = start(&mut lab.command(&["run", "hold"]));
    started.await_line();
    lab.set("VOLKEEP_VOLUME_LOCK_WAIT", "200ms");
    lab.ok(&["init"]).says(&["render-1: unchanged", "s (run): left out"]);
    // What may change the volume waits, and says so.
    steps(&mut lab, "[{run: ['true']}]");
    lab.exits(11, &["init"]).says(&["wait longer by volume.lock_wait"]);
    go.go();
    finish(held).expect_code(0);
    lab.ok(&["init"]);
    sidecar.end_well();
}

/// An `init` whose first step waits for the file `there`, and does wait.
fn waiting(lab: &Lab) -> Child {
    let mut running = start(&mut lab.command(&["init"]));
    let mut said = BufReader::new(running.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("waiting") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "it did not wait");
    }
    std::thread::spawn(move || said.read_to_string(&mut String::new()));
    running
}

#[test]
fn while_a_step_waits_for_others_nobody_waits_for_the_volume() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries).with("VOLKEEP_VOLUME_LOCK_WAIT", "1s");
    let once = "{name: s, once: true, run: [sh, -c, 'echo s >> $LAB/order']}";
    let mut lab = with_steps(lab, &format!("[{once}]"));
    lab.ok(&["init"]);
    let wait_for = "{wait_for: {file: $LAB/there}, timeout: 10m}";
    steps(&mut lab, &format!("[{wait_for}, {once}, {{render: {{text: x, to: x}}}}]"));
    let init = waiting(&lab);
    lab.ok(&["backup"]);
    fs::write(lab.path("there"), "").unwrap();
    finish(init).expect_code(0);
    assert_eq!(order(&lab), "s");
    fs::remove_file(lab.path("there")).unwrap();

    // Data that was exchanged meanwhile is not what the steps were due on.
    let init = waiting(&lab);
    lab.ok(&["restore", "--force"]);
    fs::write(lab.path("there"), "").unwrap();
    finish(init).expect_code(11);
    assert_eq!(order(&lab), "s");
    lab.ok(&["init"]);
    assert_eq!(order(&lab), "s s");
}

#[test]
fn what_is_done_once_lets_nobody_in_before_it_is_done() {
    let yaml = "[{wait_for: {file: $LAB/there}, timeout: 10m},
                 {name: s, once: true, run: [sh, -c, 'echo s >> $LAB/order']}]";
    let lab = Lab::filled(Layout::Subdirectory, few_entries).with_jobs("", "");
    let mut lab = with_steps(lab, yaml);
    let init = waiting(&lab);
    // A sidecar that comes now stands by, and is not in the way.
    let sidecar = lab.spawn_sidecar();
    await_lock(&lab, &sidecar);
    lab.set("VOLKEEP_VOLUME_LOCK_WAIT", "200ms");
    lab.exits(11, &["restore", "--force"]);
    lab.exits(1, &["wait", "--timeout", "200ms"]);
    fs::write(lab.path("there"), "").unwrap();
    finish(init).expect_code(0);
    assert_eq!(order(&lab), "s");
    sidecar.await_status("working", |status| status["stage"] == "working");
    lab.ok(&["wait", "--timeout", "1m"]);
    sidecar.end_well();
}

#[test]
fn an_app_that_waits_waits_for_the_steps_on_new_data() {
    let mut lab = with_steps(Lab::filled(Layout::Subdirectory, few_entries), "[{run: ['false']}]");
    lab.wipe();
    lab.exits(1, &["init"]);
    assert_eq!(lab.state(), "healthy");
    lab.exits(1, &["wait", "--timeout", "200ms"]);
    steps(&mut lab, "[{run: ['true']}]");
    lab.ok(&["init"]);
    lab.ok(&["wait", "--timeout", "1m"]);
    // The app's own container need not know of them; only an init that has none calls them off.
    lab.ok(&["restore", "--force"]);
    lab.unset("VOLKEEP_INIT_STEPS");
    lab.exits(1, &["wait", "--timeout", "200ms"]);
    lab.ok(&["init"]);
    lab.ok(&["wait", "--timeout", "1m"]);
}

/// Everything is started at once after a crash: the sidecar stands by while init makes its full checks.
#[test]
fn an_app_that_waits_is_not_let_in_by_a_sidecar_that_only_stands_by() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries).with_jobs("", "");
    lab.sidecar().kill();
    assert_eq!(lab.state(), "dirty");
    let (checking, checked) = (lab.fifo("checking"), lab.fifo("checked"));
    let checks =
        "[{command: [sh, -c, 'echo > $LAB/checking; read x < $LAB/checked'], level: full, timeout: 10m}]";
    let checks = checks.replace("$LAB", lab.path("").to_str().unwrap());
    let lab = lab.with("VOLKEEP_INIT_CHECKS", checks);
    let init = start(&mut lab.command(&["init"]));
    checking.await_line();
    let sidecar = lab.spawn_sidecar();
    await_lock(&lab, &sidecar);
    lab.exits(1, &["wait", "--timeout", "300ms"]);
    checked.go();
    finish(init).expect_code(0);
    lab.ok(&["wait", "--timeout", "1m"]);
    sidecar.end_well();
}

fn await_lock(lab: &Lab, sidecar: &Sidecar) {
    sidecar.await_some("the lock of the sidecar", || {
        lab.ok(&["status", "--json"]).json()["sidecar"].is_object().then_some(())
    });
}

/// The second of two inits gets its turn when the sidecar beside the app has begun to work, or just before that.
#[test]
fn an_init_that_waited_for_another_leaves_a_volume_at_work_alone() {
    let yaml = "[{wait_for: {file: $LAB/there}, timeout: 10m}, {name: s, once: true, run: ['true']}]";
    let lab = Lab::filled(Layout::Subdirectory, few_entries).with_jobs("", "");
    let lab = with_steps(lab, yaml);
    let checks =
        format!("[{{command: [sh, -c, 'echo full >> {}'], level: full}}]", lab.path("full").display());
    let lab = lab.with("VOLKEEP_INIT_CHECKS", checks);
    let first = waiting(&lab);
    // It says that it waits for the volume.
    let second = waiting(&lab);
    let sidecar = lab.spawn_sidecar();
    await_lock(&lab, &sidecar);
    fs::write(lab.path("there"), "").unwrap();
    finish(first).expect_code(0);
    finish(second).expect_code(0);
    sidecar.await_status("working", |status| status["stage"] == "working");
    assert!(!lab.path("full").exists(), "full checks were made beside the app");
    assert_eq!(lab.state(), "dirty", "a sidecar is at work");
    sidecar.end_well();
}

#[test]
fn steps_that_are_new_beside_a_sidecar_are_settled_there() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries).with_jobs("", "");
    let lab = with_steps(lab, "[{run: [sh, -c, 'echo restored >> $LAB/order'], when: restored}]");
    lab.ok(&["restore", "--force"]);
    let sidecar = lab.sidecar();
    lab.ok(&["init"]);
    lab.ok(&["init"]);
    assert_eq!(order(&lab), "restored");
    lab.ok(&["wait", "--timeout", "1m"]);
    sidecar.end_well();
}

#[test]
fn a_wait_ends_when_it_is_told_to() {
    let lab = with_steps(begun(), "[{wait_for: {tcp: '127.0.0.1:1'}, timeout: 10m}]");
    let init = waiting(&lab);
    let pid = rustix::process::Pid::from_raw(i32::try_from(init.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let started = std::time::Instant::now();
    finish(init).expect_code(1);
    assert!(started.elapsed() < std::time::Duration::from_secs(60));
}
