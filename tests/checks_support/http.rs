//! A program that answers what it is told to.

use std::net::TcpListener;

use super::checks_support::{FULL, QUICK, check, comes_back, expect};
use super::steps_support::Server;
use super::support::{Lab, Layout};

fn lab(yaml: &str) -> Lab {
    let mut lab =
        Lab::filled(Layout::Subdirectory, |volume| std::fs::write(volume.join("data"), "x").unwrap());
    check(&mut lab, yaml);
    lab
}

/// Answers with the status that stands in its path.
fn server() -> Server {
    Server::new(|heard, _| {
        let path = heard.first_line.split(['/', ' ', '?']).nth(2).unwrap();
        path.parse().unwrap()
    })
}

#[test]
fn only_a_status_that_means_damage_is_damage() {
    let server = server();
    let of = |status: u16| {
        let address = &server.address;
        format!(
            "{{http: {{url: 'http://{address}/{status}?token=hunter2', basic_auth: {{user: a, password: hunter2}}, \
             expect: [200, 304], corrupt: [409, 500]}}}}"
        )
    };
    let mut lab = lab(&of(500));
    expect(&lab, QUICK, "good", "");
    assert!(server.heard().is_empty(), "asked at a quick look");
    for (status, word) in [(200, "good"), (304, "good"), (204, "unknown"), (401, "unknown"), (503, "unknown")]
    {
        check(&mut lab, &of(status));
        expect(&lab, FULL, word, "");
    }
    for status in [409, 500] {
        check(&mut lab, &of(status));
        expect(&lab, FULL, "damaged", &format!("answered with status {status}"));
        let told = super::checks_support::verdict(&lab, FULL).1;
        assert!(!told.contains("hunter2"), "{told}");
    }
    let shown = lab.ok(&["config", "show"]);
    assert!(shown.stdout.contains("corrupt:") && !shown.stdout.contains("hunter2"), "{shown}");
    assert!(server.heard()[0].head.to_lowercase().contains("authorization: basic"));
    check(&mut lab, &of(409).replace("500]}}", "500]}, level: both}"));
    let refused = lab.exits(16, &["backup"]);
    assert!(refused.stderr.contains("status 409"), "{refused}");
}

#[test]
fn damage_that_is_answered_is_replaced() {
    // Content with it until the data was brought back.
    let server = Server::new(|_, before| if before == 0 { 409 } else { 200 });
    let address = &server.address;
    let lab = lab(&format!("{{http: {{url: 'http://{address}/', corrupt: [409]}}, level: quick}}"));
    std::fs::write(lab.volume().join("data"), "y").unwrap();
    comes_back(&lab, "answered with status 409");
}

#[test]
fn who_does_not_answer_has_found_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let mut lab = lab(&format!("{{http: {{url: 'http://{address}/', corrupt: [500]}}, timeout: 200ms}}"));
    expect(&lab, FULL, "unknown", "http");
    drop(silent);
    expect(&lab, FULL, "unknown", "refused");
    check(&mut lab, "{http: {url_file: /not/there, corrupt: [500]}}");
    expect(&lab, FULL, "unknown", "/not/there");
}

#[test]
fn a_request_that_is_configured_wrong_is_named() {
    let mut lab = Lab::new(Layout::Subdirectory);
    for (yaml, part) in [
        ("{http: {url: 'http://h/'}}", "`http` needs `corrupt`"),
        ("{http: {url: 'http://h/', corrupt: [200]}}", "`corrupt`: 200 is a status that is expected"),
        ("{http: {url: 'http://h/', corrupt: [7]}}", "`corrupt`: 7"),
        ("{http: {url: 'ftp://h/', corrupt: [500]}}", "`url`"),
        ("{http: {url: 'http://h/', corupt: [500]}}", "corupt"),
    ] {
        check(&mut lab, yaml);
        let refused = lab.exits(78, &["init"]);
        assert!(refused.stderr.contains("init.checks") && refused.stderr.contains(part), "{part}: {refused}");
    }
}
