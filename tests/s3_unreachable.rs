//! Buckets that cannot be used, as the user meets them: each way to fail has its exit code, its message and its hint,
//! and none shows a secret. No server is needed: names that do not exist, ports where nobody listens, and answers
//! written down here.
#![cfg(feature = "s3")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use support::{Lab, Layout, Outcome};

const SECRET: &str = "hunter2hunter2";

/// A lab whose repository is a bucket at `endpoint`, with keys.
fn lab(endpoint: &str) -> Lab {
    without_keys(endpoint)
        .with("VOLKEEP_REPOSITORY_S3_ACCESS_KEY_ID", "AKIAHUNTER")
        .with("VOLKEEP_REPOSITORY_S3_SECRET_ACCESS_KEY", SECRET)
}

fn without_keys(endpoint: &str) -> Lab {
    Lab::new(Layout::Subdirectory)
        .with("VOLKEEP_REPOSITORY", format!("s3://wiki-backup/a?endpoint={endpoint}"))
        .with("VOLKEEP_INIT_TIMEOUT", "100ms")
        .with("VOLKEEP_LIMITS_RETRY", "0")
        // Nobody answers there in a test, and asking takes seconds.
        .with("AWS_EC2_METADATA_DISABLED", "true")
}

/// On an empty volume, and when only looking. Both say where and why, and what to do.
#[track_caller]
fn fails(lab: &Lab, code: i32, words: &[&str]) -> Outcome {
    let mut last = None;
    for arguments in [&["init"][..], &["snapshots"], &["restore", "--target", "elsewhere"]] {
        let outcome = lab.exits(code, arguments).says(words).says(&["wiki-backup", "hint:"]);
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(!said.contains(SECRET) && !said.contains("AKIAHUNTER"), "{outcome}");
        last = Some(outcome);
    }
    last.unwrap()
}

/// An endpoint that gives every request the same answer, for as long as the test runs.
fn answers(status: &str, body: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.and_then(|stream| give(stream, &answer));
        }
    });
    endpoint
}

/// Requests without a body end with an empty line; a TLS client says hello by the byte 22 and waits for an answer.
fn give(mut stream: TcpStream, answer: &str) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while request.first() != Some(&22) && !request.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => request.extend_from_slice(buffer.get(..read).unwrap_or_default()),
        }
    }
    stream.write_all(answer.as_bytes())
}

fn refuses(status: &str, code: &str) -> String {
    answers(
        status,
        &format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>"),
    )
}

#[test]
fn a_name_that_leads_nowhere() {
    fails(&lab("http://no-such-host.invalid"), 13, &["http://no-such-host.invalid", "DNS"]);
}

#[test]
fn a_port_where_nobody_listens() {
    // Bound and given back: nobody else has it for the moment.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}");
    fails(&lab(&endpoint), 13, &[&endpoint, "refused", "host and port"]);
}

#[test]
fn a_server_without_the_tls_it_is_asked_for() {
    let endpoint = answers("400 Bad Request", "").replace("http://", "https://");
    fails(&lab(&endpoint), 13, &["s3.ca_file"]);
}

#[test]
fn a_listener_that_never_answers() {
    // The kernel takes the connection; nobody reads from it.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    // How long it is waited for follows from how long a call is tried; once is once, and long enough.
    for (retry, most) in [("5s", 15), ("0", 60)] {
        let started = Instant::now();
        let lab = lab(&endpoint).with("VOLKEEP_LIMITS_RETRY", retry);
        lab.exits(13, &["snapshots"]).says(&["wiki-backup", "firewall"]);
        assert!(started.elapsed() < Duration::from_secs(most), "{retry}: {:?}", started.elapsed());
    }
}

#[test]
fn a_silent_server_takes_no_longer_than_init_may() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let lab = lab(&endpoint).with("VOLKEEP_INIT_TIMEOUT", "6s").with("VOLKEEP_LIMITS_RETRY", "2m");
    let started = Instant::now();
    lab.exits(13, &["init"]).says(&["wiki-backup", "firewall"]);
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    // Nobody listens, and each call would be tried again for longer.
    drop(listener);
    let started = Instant::now();
    lab.exits(13, &["init"]).says(&["wiki-backup", "host and port"]);
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
}

#[test]
fn a_wish_to_end_is_heard_while_nobody_answers() {
    for command in ["init", "backup"] {
        for listens in [true, false] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let endpoint = format!("http://{}", listener.local_addr().unwrap());
            let lab = lab(&endpoint).with("VOLKEEP_INIT_TIMEOUT", "10m").with("VOLKEEP_LIMITS_RETRY", "10m");
            if command == "backup" {
                fs::write(lab.volume().join("page"), "content").unwrap();
            }
            let mut child = lab.command(&[command]).stderr(Stdio::piped()).spawn().unwrap();
            // It waits for an answer that never comes, or, once refused, before it tries again.
            let (asked, _) = listener.accept().unwrap();
            if !listens {
                drop((asked, listener));
                let mut seen = String::new();
                while !seen.contains("trying again") {
                    seen.clear();
                    let log = BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut seen);
                    assert!(log.unwrap() > 0, "{command} ended");
                }
            }
            let started = Instant::now();
            let pid = child.id().to_string();
            assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
            let code = child.wait().unwrap().code();
            let (took, context) = (started.elapsed(), format!("{command}, listens: {listens}"));
            assert!(took < Duration::from_secs(10), "{context}: {took:?}");
            assert_eq!(code, Some(1), "{context}");
        }
    }
}

#[test]
fn a_healthy_volume_starts_without_its_bucket() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", listener.local_addr().unwrap());
    let mut lab = lab(&silent).with("VOLKEEP_INIT_STALE_TIMEOUT", "500ms");
    lab.set("VOLKEEP_REPOSITORY", lab.url());
    let keys = ["VOLKEEP_REPOSITORY_S3_ACCESS_KEY_ID", "VOLKEEP_REPOSITORY_S3_SECRET_ACCESS_KEY"];
    keys.iter().for_each(|key| lab.unset(key));
    fs::write(lab.volume().join("page"), "content").unwrap();
    lab.first_backup();
    for endpoint in
        [silent.as_str(), "http://no-such-host.invalid", &refuses("403 Forbidden", "AccessDenied")]
    {
        lab.set("VOLKEEP_REPOSITORY", format!("s3://wiki-backup/a?endpoint={endpoint}"));
        keys.iter().for_each(|key| lab.set(key, "hunter2"));
        let started = Instant::now();
        lab.ok(&["init"]).says(&["warn", "whether the volume is stale"]);
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }
}

#[test]
fn no_bucket_is_another_matter_than_no_repository() {
    let no_bucket = refuses("404 Not Found", "NoSuchBucket");
    fails(&lab(&no_bucket), 10, &[&no_bucket, "no such bucket", "name, the endpoint and the region"]);
    let empty = answers(
        "200 OK",
        "<?xml version=\"1.0\"?><ListBucketResult><Name>wiki-backup</Name><KeyCount>0</KeyCount>\
         <IsTruncated>false</IsTruncated></ListBucketResult>",
    );
    // It answers a request for the descriptor by a listing, which is none.
    lab(&empty).exits(12, &["snapshots"]);
}

#[test]
fn refusals_are_told_apart() {
    for (status, code, words) in [
        ("403 Forbidden", "AccessDenied", &["s3:ListBucket", "deploy/iam"][..]),
        ("403 Forbidden", "InvalidAccessKeyId", &["key is not known"]),
        ("403 Forbidden", "SignatureDoesNotMatch", &["secret is wrong"]),
        ("403 Forbidden", "RequestTimeTooSkewed", &["clock"]),
        ("301 Moved Permanently", "PermanentRedirect", &["region"]),
    ] {
        let endpoint = refuses(status, code);
        fails(&lab(&endpoint), 14, words).says(&[&endpoint, code]);
    }
}

#[test]
fn requests_that_are_not_taken_as_they_are() {
    for (status, code) in
        [("400 Bad Request", "InvalidStorageClass"), ("407 Proxy Authentication Required", "")]
    {
        let endpoint = refuses(status, code);
        fails(&lab(&endpoint), 1, &[&endpoint, "s3.storage_class", "proxy"]).says(&[code]);
    }
    // Neither is the page of somebody else an answer of the store.
    let page = answers("200 OK", "<html>Welcome</html>");
    fails(&lab(&page), 13, &["not in the words of an S3 store"]);
}

#[test]
fn keys_that_cannot_be_had_for_the_moment() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let service = format!("http://{}/keys", listener.local_addr().unwrap());
    drop(listener);
    // Whoever gives out keys is down: it may come back, as the store may.
    let mut lab = without_keys("http://127.0.0.1:1").with("AWS_CONTAINER_CREDENTIALS_FULL_URI", service);
    fails(&lab, 13, &["access key", "refused"]);
    lab.set("VOLKEEP_INIT_TIMEOUT", "5s");
    lab.exits(13, &["init"]).says(&["trying again"]);
}

#[test]
fn a_store_that_is_down_for_the_moment() {
    let endpoint = refuses("503 Slow Down", "SlowDown");
    fails(&lab(&endpoint), 13, &[&endpoint, "limits.retry"]);
}

#[test]
fn nobody_says_who_we_are() {
    fails(&without_keys("http://127.0.0.1:1"), 14, &["no access key was found", "s3.secret_access_key_file"]);
    let lab = without_keys("http://127.0.0.1:1")
        .with("VOLKEEP_REPOSITORY_S3_ACCESS_KEY_ID", "AKIAHUNTER")
        .with("VOLKEEP_REPOSITORY_S3_SECRET_ACCESS_KEY_FILE", "/no/such/file");
    fails(&lab, 14, &["/no/such/file", "s3.secret_access_key"]);
}

#[test]
fn keys_come_from_files_at_the_moment_they_are_needed() {
    let endpoint = refuses("403 Forbidden", "AccessDenied");
    let lab = without_keys(&endpoint);
    let file = lab.path("secret");
    fs::write(&file, format!("{SECRET}\n")).unwrap();
    let lab = lab
        .with("VOLKEEP_REPOSITORY_S3_ACCESS_KEY_ID_FILE", &file)
        .with("VOLKEEP_REPOSITORY_S3_SECRET_ACCESS_KEY_FILE", &file);
    fails(&lab, 14, &["s3:ListBucket"]);
    let shown = lab.ok(&["config", "show"]);
    assert!(shown.stdout.contains("secret_access_key_file") && !shown.stdout.contains(SECRET), "{shown}");
}

#[test]
fn keys_are_never_shown() {
    let lab = lab("http://127.0.0.1:1");
    for arguments in [&["config", "show"][..], &["config", "show", "--origin"], &["-vv", "snapshots"]] {
        let outcome = lab.run(arguments);
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(!said.contains(SECRET) && !said.contains("AKIAHUNTER"), "{outcome}");
    }
    lab.ok(&["config", "show"]).says(&["secret_access_key: \"***\""]);
    let outcome =
        lab.exits(78, &["config", "check", "--repository", "s3://AKIAHUNTER:hunter2hunter2@bucket"]);
    assert!(!outcome.stderr.contains(SECRET) && !outcome.stderr.contains("AKIAHUNTER"), "{outcome}");
}
