//! What is shipped for monitoring, against what a sidecar really shows: every metric that an alert or the dashboard
//! names exists, and Prometheus' own tool accepts rules and metrics.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Lab, Layout, run};
use volkeep::sidecar::metrics;

const TOKEN: &str = "open sesame";

#[test]
fn alerts_name_metrics_that_exist_and_say_what_to_do() {
    let rules: Value = serde_saphyr::from_str(&read("deploy/monitoring/alerts.yaml")).unwrap();
    let mut alerts = BTreeSet::new();
    for rule in rules["groups"][0]["rules"].as_array().unwrap() {
        let name = rule["alert"].as_str().unwrap();
        assert!(alerts.insert(name.to_owned()), "{name} is there twice");
        assert_exist(name, rule["expr"].as_str().unwrap());
        assert!(["critical", "warning"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{name}");
        let annotations = &rule["annotations"];
        assert!(annotations["summary"].is_string(), "{name} has no summary");
        // What to run or to look at stands between backquotes, except where the log is the place.
        let description = annotations["description"].as_str().unwrap();
        assert!(description.contains('`') || description.contains("log"), "{name} says nothing to do");
    }
    assert!(alerts.len() > 10, "{alerts:?}");
    let page = read("deploy/monitoring/README.md");
    for alert in alerts {
        assert!(page.contains(&format!("`{alert}`")), "deploy/monitoring/README.md lacks {alert}");
    }
}

#[test]
fn the_dashboard_names_metrics_that_exist() {
    let dashboard: Value = serde_json::from_str(&read("deploy/monitoring/dashboard.json")).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert_eq!(variables[0]["type"], "datasource", "it is imported beside any data source");
    for variable in &variables[1..] {
        assert_exist("a variable", variable["definition"].as_str().unwrap());
    }
    let mut ids = BTreeSet::new();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 10);
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "two panels have the id of {title}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        for target in panel["targets"].as_array().unwrap() {
            assert_exist(title, target["expr"].as_str().unwrap());
        }
    }
}

#[test]
#[ignore = "needs promtool: tests/run"]
fn promtool_accepts_the_alerts_and_their_tests() {
    for (words, file) in [
        (["check", "rules"], "deploy/monitoring/alerts.yaml"),
        (["test", "rules"], "tests/monitoring/alerts_test.yaml"),
    ] {
        run(Command::new("promtool").args(words).arg(root().join(file))).expect_code(0);
    }
}

#[test]
#[ignore = "needs promtool: tests/run"]
fn promtool_accepts_what_a_sidecar_shows() {
    let lab = Lab::with_few_entries(support::Home::Directory, Layout::Subdirectory)
        .with("VOLKEEP_SCHEDULE", "@daily")
        .with("VOLKEEP_SIDECAR_LISTEN", "127.0.0.1:0")
        .with("VOLKEEP_SIDECAR_TOKEN", TOKEN);
    let mut sidecar = lab.command(&["sidecar"]).stderr(Stdio::piped()).spawn().unwrap();
    let address = listening(BufReader::new(sidecar.stderr.take().unwrap()));
    let deadline = Instant::now() + Duration::from_secs(60);
    // Until the volume is open it only stands by.
    let ended = loop {
        let answer = ask(
            &address,
            &format!("POST /jobs/backup/run?wait=true HTTP/1.1\r\nAuthorization: Bearer {TOKEN}"),
        );
        if answer.starts_with("HTTP/1.1 200") {
            break answer;
        }
        assert!(Instant::now() < deadline, "{answer}");
    };
    assert!(ended.contains(r#""outcome":"done""#), "{ended}");
    let answer = ask(&address, "GET /metrics HTTP/1.1");
    let (_, text) = answer.split_once("\r\n\r\n").unwrap();
    assert!(text.contains("\nvolkeep_job_runs_total{job_name=\"backup\"} "), "{text}");
    assert!(text.contains("\nvolkeep_backup_files{job_name=\"backup\"} "), "{text}");
    let mut promtool =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    // It reads to the end of its input, and ends with 3 for a name that breaks the customs.
    assert_eq!(promtool.wait().unwrap().code(), Some(0), "{text}");
    run(Command::new("kill").arg(sidecar.id().to_string())).expect_code(0);
    assert_eq!(sidecar.wait().unwrap().code(), Some(0));
}

/// Where the log says that it listens. The rest of it is read beside the test, so that the sidecar never waits.
fn listening(mut log: BufReader<impl Read + Send + 'static>) -> String {
    let mut line = String::new();
    while log.read_line(&mut line).unwrap() > 0 {
        if let Some((_, address)) = line.split_once("listening address=") {
            let address = address.trim().to_owned();
            std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
            return address;
        }
        line.clear();
    }
    panic!("the sidecar ended before it listened");
}

fn ask(address: &str, head: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{head}\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[track_caller]
fn assert_exist(by: &str, expression: &str) {
    let known: BTreeSet<String> = metrics::all().map(|(name, ..)| name).collect();
    let is_word = |sign: char| sign.is_alphanumeric() || sign == '_';
    let named: Vec<&str> =
        expression.split(|sign| !is_word(sign)).filter(|word| word.starts_with("volkeep_")).collect();
    assert!(!named.is_empty(), "{by} names no metric: {expression}");
    for name in named {
        assert!(known.contains(name), "{by} names {name}, which no sidecar shows");
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}
