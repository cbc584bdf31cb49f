//! Whether an app may start, asked by http: what the sidecar answers before, during and after an init, and how
//! `volkeep wait` asks it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop")]

mod steps_support;
mod support;

use std::net::{SocketAddr, TcpListener};
use std::thread;

use steps_support::{Server, steps};
use support::crash::{RENAMES, killed_at};
use support::life::{finish, start};
use support::sidecar::Sidecar;
use support::{Lab, Layout, few_entries};

/// A sidecar that listens, whatever it waits for, and where.
fn listening(lab: &Lab) -> (Sidecar, SocketAddr) {
    let mut command = lab.command(&["sidecar"]);
    command.env("VOLKEEP_SIDECAR_LISTEN", "127.0.0.1:0");
    let sidecar = Sidecar::spawn(&mut command, &lab.state_dir());
    let line = sidecar.await_line("listening address=");
    let (_, address) = line.split_once("address=").unwrap();
    (sidecar, address.trim().parse().unwrap())
}

/// The status, and what is said.
fn volume(sidecar: &Sidecar, address: SocketAddr) -> (u16, String) {
    let answer = sidecar.ask_at(address, "GET /volume").unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.trim().to_owned())
}

#[track_caller]
fn await_ready(sidecar: &Sidecar, address: SocketAddr) {
    sidecar.await_some("the volume is ready", || (volume(sidecar, address).0 == 200).then_some(()));
    assert_eq!(volume(sidecar, address), (200, "ready".to_owned()));
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}/volume")
}

/// Nothing says in which order: the sidecar is there first.
#[test]
fn a_sidecar_that_is_there_before_init_says_no_and_is_not_in_its_way() {
    let lab = Lab::new(Layout::Subdirectory).with_jobs("", "");
    lab.ok(&["repository", "init"]);
    std::fs::remove_dir(lab.volume()).unwrap();
    let (sidecar, address) = listening(&lab);
    let (status, said) = volume(&sidecar, address);
    assert_eq!((status, said.contains("the volume is not ready: it is empty")), (503, true), "{said}");
    sidecar.await_line("standing by: the volume is empty");
    assert!(sidecar.ask_at(address, "GET /healthz").unwrap().starts_with("HTTP/1.1 200"));
    assert!(sidecar.ask_at(address, "GET /readyz").unwrap().starts_with("HTTP/1.1 503"));
    let app = start(&mut lab.command(&["wait", "--url", &url(address), "--timeout", "1m"]));
    lab.ok(&["init"]);
    finish(app).expect_code(0);
    await_ready(&sidecar, address);
    sidecar.await_status("working", |status| status["stage"] == "working");
    assert_eq!(volume(&sidecar, address).0, 200);
    sidecar.end_well();
}

#[test]
fn while_init_checks_and_does_steps_the_answer_is_no_and_who_is_at_it() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries).with_jobs("", "");
    lab.sidecar().kill();
    let fifos = ["checking", "checked", "doing", "did"].map(|name| lab.fifo(name));
    let [checking, checked, doing, did] = &fifos;
    let script = |told: &str, goes_on: &str| {
        let (told, goes_on) = (lab.path(told), lab.path(goes_on));
        format!("[sh, -c, 'echo > {}; read x < {}']", told.display(), goes_on.display())
    };
    let checks = format!("[{{command: {}, level: full, timeout: 10m}}]", script("checking", "checked"));
    let yaml = format!("[{{run: {}, timeout: 10m}}]", script("doing", "did"));
    let mut lab = lab.with("VOLKEEP_INIT_CHECKS", checks);
    steps(&mut lab, &yaml);
    let init = start(&mut lab.command(&["init"]));
    checking.await_line();
    let (sidecar, address) = listening(&lab);
    let no = || {
        let (status, said) = volume(&sidecar, address);
        assert_eq!((status, said.contains("in use by `init`")), (503, true), "{said}");
    };
    no();
    let app = start(&mut lab.command(&["wait", "--url", &url(address), "--timeout", "1m"]));
    checked.go();
    doing.await_line();
    no();
    did.go();
    finish(init).expect_code(0);
    finish(app).expect_code(0);
    await_ready(&sidecar, address);
    sidecar.end_well();
}

#[test]
fn steps_that_are_due_on_new_data_are_waited_for() {
    let mut lab = Lab::filled(Layout::MountPoint, few_entries).with_jobs("", "");
    steps(&mut lab, "[{run: ['false']}]");
    lab.wipe();
    lab.exits(1, &["init"]);
    let (sidecar, address) = listening(&lab);
    sidecar.await_status("working", |status| status["stage"] == "working");
    let (status, said) = volume(&sidecar, address);
    assert_eq!(
        (status, said.as_str()),
        (503, "the volume is not ready: the steps on its new data are not done")
    );
    steps(&mut lab, "[{run: ['true']}]");
    lab.ok(&["init"]);
    await_ready(&sidecar, address);
    sidecar.end_well();
}

#[test]
fn one_that_stands_by_beside_another_answers_as_well() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries).with_jobs("", "");
    let (first, address) = listening(&lab);
    first.await_status("working", |status| status["stage"] == "working");
    await_ready(&first, address);
    let (second, other) = listening(&lab);
    assert_eq!(volume(&second, other), (200, "ready".to_owned()));
    assert!(second.ask_at(other, "GET /readyz").unwrap().starts_with("HTTP/1.1 503"));
    // More at once than connections are open, and all of them are answered.
    thread::scope(|scope| {
        let asked: Vec<_> = (0..80).map(|_| scope.spawn(|| volume_of(address))).collect();
        for answer in asked {
            assert!(answer.join().unwrap().starts_with("HTTP/1.1 200"));
        }
    });
    second.end_well();
    first.end_well();
}

fn volume_of(address: SocketAddr) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /volume HTTP/1.1\r\nHost: sidecar\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn half_restored_or_damaged_data_is_not_ready() {
    let lab = Lab::filled(Layout::MountPoint, few_entries).with_jobs("", "");
    lab.wipe();
    assert!(killed_at(&lab, &["init"], RENAMES, 8).was_killed());
    assert_eq!(lab.state(), "interrupted");
    let (sidecar, address) = listening(&lab);
    let (status, said) = volume(&sidecar, address);
    assert_eq!((status, said.contains("a restore of snapshot")), (503, true), "{said}");
    sidecar.end();
    lab.ok(&["init"]);
    let (sidecar, address) = listening(&lab);
    await_ready(&sidecar, address);
    sidecar.await_status("working", |status| status["stage"] == "working");
    // A marker that cannot be read is no reason to say yes, nor for one that works to end.
    std::fs::write(lab.state_dir().join("marker.json"), "{").unwrap();
    let (status, said) = volume(&sidecar, address);
    assert_eq!((status, said.contains("is damaged")), (503, true), "{said}");
    sidecar.kill();
}

#[test]
fn who_waits_by_url_is_told_what_was_seen_last() {
    let lab = Lab::new(Layout::Subdirectory);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    lab.exits(1, &["wait", "--url", &url(free), "--timeout", "300ms"])
        .says(&["preparing the volume (cannot connect to http://127.0.0.1:", "was not done within 0 s"]);
    let server = Server::new(|heard, before| match heard.first_line.starts_with("GET /late ") {
        true if before >= 2 => 200,
        true => 503,
        false => 404,
    });
    let at = |path: &str| format!("http://{}{path}", server.address);
    lab.ok(&["wait", "--url", &at("/late"), "--timeout", "1m"]);
    let outcome = lab.exits(1, &["wait", "--url", &at("/secret?token=hidden"), "--timeout", "0s"]);
    let outcome = outcome.says(&["answered with status 404: {\"status\": 404}"]);
    assert!(!outcome.stderr.contains("hidden"), "{outcome}");
    let lab = lab.with_config("{}");
    lab.ok(&["wait", "--url", &at("/late"), "--timeout", "1m"]);
    lab.exits(2, &["wait", "--url", "db:9188/volume"]);
}
