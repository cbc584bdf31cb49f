//! Trouble on the way to the bucket: the server is stopped, silent, slow, cut off in mid-body, overloaded, closed to us,
//! or lies. No trouble makes a volume ready that has less than the snapshot, none keeps a healthy one from starting,
//! and when it is over the next run ends where an undisturbed one ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]
#![allow(clippy::print_stdout, reason = "how long it took is worth knowing")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use support::crash::{assert_back, assert_ready_only_when_whole};
use support::proxy::{PATIENCE, Proxy, Rule, Trouble};
use support::{Home, Lab, Layout, few_entries, random_bytes};

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn no_answer_makes_no_volume_ready() {
    let (lab, proxy) = lost_volume(Layout::Subdirectory);
    proxy.close();
    lab.exits(13, &["init"]);
    nothing_went_live(&lab, "the server is stopped");
    proxy.open();
    proxy.add(Rule::all(Trouble::Silence));
    lab.exits(13, &["init"]);
    proxy.heal();
    ends_right(&lab, "the server was silent");
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn answers_of_trouble_make_no_volume_ready() {
    let (lab, proxy) = lost_volume(Layout::MountPoint);
    for (code, trouble) in [
        (13, Trouble::Answer(503, "SlowDown")),
        (13, Trouble::Answer(500, "InternalError")),
        (14, Trouble::Answer(403, "AccessDenied")),
        (14, Trouble::Answer(403, "InvalidAccessKeyId")),
        (14, Trouble::Answer(403, "RequestTimeTooSkewed")),
    ] {
        // From the first request on, and from the first pack on.
        for rule in [Rule::all(trouble.clone()), Rule::on("GET", "/packs/", trouble.clone())] {
            lab.wipe();
            let context = format!("{rule:?}");
            proxy.add(rule);
            let outcome = lab.run(&["init"]);
            assert_eq!(outcome.code, code, "{context}: {outcome}");
            nothing_went_live(&lab, &context);
            proxy.heal();
            ends_right(&lab, &context);
        }
    }
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn a_moment_of_trouble_is_overcome() {
    let (mut lab, proxy) = lost_volume(Layout::Subdirectory);
    lab.set("VOLKEEP_LIMITS_RETRY", "1m");
    for trouble in [
        Trouble::Answer(503, "SlowDown"),
        Trouble::Answer(500, "InternalError"),
        Trouble::CutAnswer(0),
        Trouble::CutAnswer(100_000),
        Trouble::LoseAnswer,
    ] {
        lab.wipe();
        let context = format!("{trouble:?}, now and then");
        for nth in [0, 1, 3] {
            proxy.add(Rule::all(trouble.clone()).after(nth).once());
            proxy.add(Rule::on("GET", "/packs/", trouble.clone()).after(nth).once());
        }
        let outcome = lab.run(&["init"]);
        assert_eq!(outcome.code, 0, "{context}: {outcome}");
        assert_back(&lab, &context);
        proxy.heal();
    }
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn what_is_cut_off_every_time_makes_no_volume_ready() {
    let (lab, proxy) = lost_volume(Layout::Subdirectory);
    for path in ["/packs/", "/segments/", "/snapshots/", "repository.json"] {
        for after in [0, 40] {
            lab.wipe();
            let context = format!("{path} cut off after {after} bytes");
            proxy.add(Rule::on("GET", path, Trouble::CutAnswer(after)));
            let outcome = lab.run(&["init"]);
            if after > 0 && outcome.code == 0 {
                // Each try goes on where the last one was cut off: of what is small, all comes in the end.
                assert_back(&lab, &context);
            } else {
                assert_eq!(outcome.code, 13, "{context}: {outcome}");
                nothing_went_live(&lab, &context);
            }
            proxy.heal();
            ends_right(&lab, &context);
        }
    }
}

/// A connection that stands still is given up and the rest is asked for again.
#[test]
#[ignore = "needs an S3 server: tests/run"]
fn a_stall_in_the_middle_of_a_pack_is_overcome() {
    let (mut lab, proxy) = lost_volume(Layout::MountPoint);
    lab.set("VOLKEEP_LIMITS_RETRY", "2m");
    proxy.add(Rule::on("GET", "/packs/", Trouble::StallAnswer(200_000)).after(1).once());
    let took = Instant::now();
    lab.ok(&["init"]);
    println!("a stall cost {:.1} s in all", took.elapsed().as_secs_f64());
    lab.assert_back();
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn a_slow_server_takes_time_and_nothing_else() {
    let (lab, proxy) = lost_volume(Layout::Subdirectory);
    proxy.add(Rule::all(Trouble::Slow(8 << 20)));
    lab.ok(&["init"]);
    lab.assert_back();
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn lies_are_noticed() {
    let (lab, proxy) = lost_volume(Layout::Subdirectory);
    for path in ["/packs/", "/segments/", "/snapshots/", "repository.json"] {
        for trouble in [Trouble::Flip(17), Trouble::Flip(1 << 20), Trouble::Halve, Trouble::Empty] {
            lab.wipe();
            let context = format!("{path} with {trouble:?}");
            // Less of a part than was asked for says nothing about the object, which may be whole.
            let part = path == "/packs/" && matches!(trouble, Trouble::Halve | Trouble::Empty);
            proxy.add(Rule::on("GET", path, trouble));
            let outcome = lab.run(&["init"]);
            assert_eq!(outcome.code, if part { 13 } else { 12 }, "{context}: {outcome}");
            nothing_went_live(&lab, &context);
            proxy.heal();
            ends_right(&lab, &context);
        }
    }
    // A listing that breaks off is no short listing, whatever its length says.
    for trouble in [Trouble::Halve, Trouble::Empty, Trouble::Answer(200, "InternalError")] {
        lab.wipe();
        let context = format!("a listing with {trouble:?}");
        proxy.add(Rule::on("GET", "list-type=2", trouble));
        let outcome = lab.run(&["init"]);
        assert_eq!(outcome.code, 13, "{context}: {outcome}");
        nothing_went_live(&lab, &context);
        proxy.heal();
        ends_right(&lab, &context);
    }
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn a_healthy_volume_starts_in_time_whatever_the_server_does() {
    const LIMIT: Duration = Duration::from_secs(2);
    // What a busy machine may need to start a program.
    const MARGIN: Duration = Duration::from_secs(5);
    let (mut lab, proxy) = lost_volume(Layout::Subdirectory);
    lab.ok(&["init"]);
    lab.set("VOLKEEP_INIT_STALE_TIMEOUT", "2s");
    // Nothing but that limit may end the waiting.
    lab.set("VOLKEEP_LIMITS_RETRY", "10m");
    lab.set("VOLKEEP_INIT_TIMEOUT", "10m");
    let starts = |what: &str| {
        let begin = Instant::now();
        let outcome = lab.ok(&["init"]).says(&["warn"]);
        let took = begin.elapsed();
        println!("{what}: {:.2} s", took.as_secs_f64());
        assert!(took < LIMIT + MARGIN, "{what}: {took:?} by {outcome}");
        lab.assert_back();
    };
    for trouble in [
        Trouble::Silence,
        Trouble::Slow(10),
        Trouble::CutAnswer(10),
        Trouble::StallAnswer(10),
        Trouble::LoseAnswer,
        Trouble::Halve,
        Trouble::Answer(503, "SlowDown"),
        Trouble::Answer(500, "InternalError"),
        Trouble::Answer(403, "AccessDenied"),
        Trouble::Answer(404, "NoSuchBucket"),
    ] {
        proxy.add(Rule::all(trouble.clone()));
        starts(&format!("{trouble:?}"));
        proxy.heal();
    }
    proxy.close();
    starts("stopped");
    proxy.open();
}

/// The outage lasts until the program was refused some times, whatever the clock says.
#[test]
#[ignore = "needs an S3 server: tests/run"]
fn an_outage_in_the_middle_of_a_restore_is_outlasted() {
    let (mut lab, proxy) = lost_volume(Layout::MountPoint);
    lab.set("VOLKEEP_LIMITS_RETRY", "5m");
    proxy.forget_seen();
    proxy.add(Rule::on("GET", "/packs/", Trouble::StallAnswer(1000)).after(1));
    let mut init = Running::start(&lab, &["init"]);
    proxy.await_requests("GET", "/packs/", 2);
    proxy.close();
    init.await_lines("trying again", 4);
    proxy.open();
    init.ends_well();
    lab.assert_back();
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn an_outage_in_the_middle_of_a_backup_is_outlasted() {
    let (mut lab, proxy) = lost_volume(Layout::Subdirectory);
    lab.ok(&["init"]);
    lab.set("VOLKEEP_LIMITS_RETRY", "5m");
    fs::write(lab.volume().join("more"), random_bytes(80, 12 << 20)).unwrap();
    lab.keep_reference();
    proxy.forget_seen();
    proxy.add(Rule::on("PUT", "/packs/", Trouble::Silence).after(1));
    let mut backup = Running::start(&lab, &["backup"]);
    proxy.await_requests("PUT", "/packs/", 2);
    proxy.close();
    backup.await_lines("trying again", 4);
    proxy.open();
    backup.ends_well();
    lab.ok(&["check", "--verify"]);
    lab.wipe();
    lab.ok(&["init"]);
    lab.assert_back();
}

/// The server did what it was asked, and nobody heard of it.
#[test]
#[ignore = "needs an S3 server: tests/run"]
fn a_lost_answer_is_no_failure_and_nothing_happens_twice() {
    let mut lab = Lab::new_in(Home::Bucket, Layout::Subdirectory);
    let proxy = proxy_before(&mut lab);
    lab.set("VOLKEEP_LIMITS_RETRY", "1m");
    few_entries(&lab.volume());
    for path in ["repository.json", "/leases/", "/packs/", "/segments/", "/snapshots/"] {
        proxy.add(Rule::on("PUT", path, Trouble::LoseAnswer).once());
    }
    lab.first_backup();
    for path in ["repository.json", "/leases/", "/packs/", "/segments/", "/snapshots/"] {
        assert!(proxy.count("PUT", path) >= 2, "nothing was lost of {path}");
    }
    proxy.heal();
    assert_eq!(lab.snapshots().len(), 1);
    assert_eq!(lab.objects("leases").len(), 1);

    // A restore takes a lease of its own: the answer to it is lost as well.
    lab.wipe();
    proxy.add(Rule::on("PUT", "/leases/", Trouble::LoseAnswer).once());
    lab.ok(&["init"]);
    lab.assert_back();
    assert_eq!(lab.objects("leases").len(), 2);
    // It knows the lease for its own.
    lab.ok(&["backup"]);
    assert_eq!(lab.objects("leases").len(), 2);
    lab.ok(&["check", "--verify"]);
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn a_backup_in_trouble_commits_nothing_and_the_next_one_does() {
    let (mut lab, proxy) = lost_volume(Layout::Subdirectory);
    lab.ok(&["init"]);
    let before = lab.snapshots();
    for (code, method, path, trouble) in [
        (13, "PUT", "/packs/", Trouble::Answer(503, "SlowDown")),
        (13, "PUT", "/packs/", Trouble::CutRequest(100_000)),
        (14, "PUT", "/segments/", Trouble::Answer(403, "AccessDenied")),
        (14, "PUT", "/snapshots/", Trouble::Answer(403, "AccessDenied")),
        (13, "PUT", "/snapshots/", Trouble::Answer(500, "InternalError")),
    ] {
        let context = format!("{method} {path} with {trouble:?}");
        fs::write(lab.volume().join("changing"), random_bytes(context.len() as u64, 700_000)).unwrap();
        proxy.add(Rule::on(method, path, trouble));
        let outcome = lab.run(&["backup"]);
        assert_eq!(outcome.code, code, "{context}: {outcome}");
        proxy.heal();
        assert_eq!(lab.snapshots(), before, "{context}");
    }
    lab.set("VOLKEEP_LIMITS_RETRY", "1m");
    lab.ok(&["backup"]);
    lab.keep_reference();
    lab.ok(&["check", "--verify"]);
    lab.wipe();
    lab.ok(&["init"]);
    lab.assert_back();
}

/// Several packs in a bucket, reached by a proxy, and a volume that was lost.
fn lost_volume(layout: Layout) -> (Lab, Proxy) {
    let mut lab = Lab::new_in(Home::Bucket, layout);
    let proxy = proxy_before(&mut lab);
    few_entries(&lab.volume());
    fs::write(lab.volume().join("large"), random_bytes(79, 12 << 20)).unwrap();
    lab.first_backup();
    assert!(lab.objects("packs").len() > 2);
    lab.wipe();
    (lab, proxy)
}

fn proxy_before(lab: &mut Lab) -> Proxy {
    let proxy = Proxy::to(&lab.bucket().0.endpoint);
    lab.by_way_of(proxy.endpoint());
    // Small packs.
    lab.set("VOLKEEP_LIMITS_MEMORY", "24MiB");
    proxy
}

/// Looked at from below, without the program.
fn nothing_went_live(lab: &Lab, context: &str) {
    let names: Vec<_> = fs::read_dir(lab.volume())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name != ".volkeep")
        .collect();
    assert!(names.is_empty(), "{context}: {names:?} went live");
}

fn ends_right(lab: &Lab, context: &str) {
    assert_ready_only_when_whole(lab, context);
    let outcome = lab.run(&["init"]);
    assert_eq!(outcome.code, 0, "{context}, then {outcome}");
    assert_back(lab, context);
}

/// A program under way, and the lines of its log as they come.
struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    said: Vec<String>,
}

impl Running {
    fn start(lab: &Lab, arguments: &[&str]) -> Self {
        let mut command = lab.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let log = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || log.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines, said: Vec::new() }
    }

    /// Waits until so many lines contain `word`.
    #[track_caller]
    fn await_lines(&mut self, word: &str, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        let mut found = 0;
        while found < count {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    found += usize::from(line.contains(word));
                    self.said.push(line);
                }
                Err(error) => panic!("{error}: {found} of {count} times `{word}` in {:#?}", self.said),
            }
        }
    }

    #[track_caller]
    fn ends_well(mut self) {
        let status = self.child.wait().unwrap();
        self.said.extend(self.lines.iter());
        assert!(status.success(), "{status}: {:#?}", self.said);
    }
}
