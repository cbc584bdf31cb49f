//! All containers are started again at once, so `init` does its steps beside an app and a sidecar that are up. Where
//! nothing has changed, it changes nothing: no byte, no inode, no time, whatever the kind of step.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop")]

mod steps_support;
mod support;

use std::fs;

use steps_support::{Server, with_steps};
use support::life::{finish, start};
use support::sidecar::Sidecar;
use support::{Lab, Layout, Outcome, few_entries, shell};

/// A step, and what is said of it when it comes again. `$LAB` is the directory of the lab, `$SERVER` the address of a
/// server that answers everything with 200, except for `/there`, which is there already (412). What is done once writes
/// to the volume, so that a second time would be seen.
const KINDS: &[(&str, &str)] = &[
    ("{wait_for: {tcp: '$SERVER'}}", "done"),
    ("{wait_for: {http: 'http://$SERVER/up', expect: [200]}}", "done"),
    ("{wait_for: {dns: localhost}}", "done"),
    ("{wait_for: {file: $LAB/config.yaml}}", "done"),
    (
        "{render: {text: \"rack={{ rack }}\\n\", to: conf/deep/rack, mode: '0640', values: {rack: r1}}}",
        "unchanged",
    ),
    ("{render: {template: $LAB/config.yaml, to: one/copy}}", "unchanged"),
    ("{name: file, once: true, render: {text: x, to: seed}}", "skipped"),
    ("{name: seed, once: true, run: [sh, -c, 'echo x >> seed']}", "skipped"),
    ("{name: late, once: true, when: restored, run: [sh, -c, 'echo x >> seed']}", "skipped"),
    ("{fetch: {url: 'http://$SERVER/file', to: deep/got}}", "unchanged"),
    ("{fetch: {url: 'file://$LAB/config.yaml', to: got, mode: '0600'}}", "unchanged"),
    ("{fetch: {url: 'file://$LAB/seed.tar', to: got, unpack: true}}", "unchanged"),
    ("{name: first, once: true, fetch: {url: 'http://$SERVER/once', to: got}}", "skipped"),
    ("{permissions: {mode: '0750'}}", "unchanged"),
    ("{notify: {webhook: {url: 'http://$SERVER/notice'}}}", "done"),
    ("{run: [test, -d, one]}", "done"),
    ("{name: asked, once: true, http: {url: 'http://$SERVER/once', method: PUT}}", "skipped"),
    ("{http: {url: 'http://$SERVER/there', method: PUT, already: [412]}}", "already"),
];

#[test]
fn a_step_that_comes_again_beside_the_app_changes_nothing() {
    let server = Server::new(|heard, _| if heard.first_line.contains("/there") { 412 } else { 200 });
    for (step, result) in KINDS {
        let lab = Lab::filled(Layout::Subdirectory, few_entries).with_jobs("", "");
        let lab = with_steps(lab, &format!("[{}]", step.replace("$SERVER", &server.address)));
        shell("tar -C \"$1\" -cf \"$2\" one", &[lab.volume().as_os_str(), lab.path("seed.tar").as_os_str()]);
        lab.ok(&["init"]);
        let sidecar = at_rest(&lab);
        let before = (picture(&lab, "volume"), requests(&server));
        for _ in 0..2 {
            came_again(step, result, &lab.ok(&["init", "--json"]));
            assert_eq!((picture(&lab, "volume"), requests(&server)), before, "{step}");
        }
        // The sidecar as well is killed and started again. What it notes of itself is its own affair.
        let (data, count) = (picture(&lab, "volume/data"), requests(&server));
        sidecar.kill();
        let init = start(&mut lab.command(&["init", "--json"]));
        let sidecar = lab.spawn_sidecar();
        came_again(step, result, &finish(init).expect_code(0));
        sidecar.await_status("working", |status| status["stage"] == "working");
        assert_eq!((picture(&lab, "volume/data"), requests(&server)), (data, count), "{step}");
        sidecar.end_well();
    }
}

/// Without this the test above would prove nothing.
#[test]
fn what_does_change_something_is_seen() {
    for change in
        ["echo x >> one/new", "touch one", "chmod u+x one/file-1", "cp -p one/file-1 x; mv x one/file-1"]
    {
        let lab = Lab::filled(Layout::Subdirectory, few_entries).with_jobs("", "");
        let lab = with_steps(lab, &format!("[{{run: [sh, -c, '{change}']}}]"));
        lab.ok(&["init"]);
        let sidecar = at_rest(&lab);
        let before = picture(&lab, "volume");
        lab.ok(&["init"]);
        assert_ne!(picture(&lab, "volume"), before, "{change}");
        sidecar.end_well();
    }
}

/// A sidecar that has noted all that it notes when it begins.
fn at_rest(lab: &Lab) -> Sidecar {
    let sidecar = lab.sidecar();
    sidecar.await_status("it has its lease", |status| status["leases"][0]["held"] == true);
    sidecar
}

#[track_caller]
fn came_again(step: &str, result: &str, outcome: &Outcome) {
    let report = outcome.json();
    assert_eq!(report["steps"][0]["result"], result, "{step}: {outcome}");
}

/// What was asked for once.
fn requests(server: &Server) -> usize {
    server.first_lines().iter().filter(|line| line.contains("/once")).count()
}

/// Everything about everything there: kind, rights, owner, links, size, times, inode, content. Whoever has the lock writes
/// his name into it, so that is left out.
fn picture(lab: &Lab, below: &str) -> String {
    let path = lab.path(below);
    assert!(fs::read_dir(&path).unwrap().count() > 0);
    let script =
        "cd \"$1\"; find . ! -path './.volkeep/lock' -printf '%p %y %m %U:%G %n %l %s %T@ %C@ %i\\n' | sort
        find . -type f ! -path './.volkeep/lock' -exec sha256sum {} + | sort -k 2";
    shell(script, &[path.as_os_str()])
}
