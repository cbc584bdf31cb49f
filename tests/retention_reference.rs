//! The retention against restic's: both judge the same times by the same rules, and must keep the same snapshots, in
//! zones where clocks change and where they do not.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should stop")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use support::{Random, run};
use tempfile::TempDir;
use volkeep::base::timestamp::Timestamp;
use volkeep::snapshot::SnapshotId;
use volkeep::snapshot::retention::{Candidate, Policy, Reason, decide};

const SNAPSHOTS: usize = 72;
/// In both tongues.
const POLICIES: [(&str, &[&str]); 13] = [
    ("last=5", &["--keep-last", "5"]),
    ("24h", &["--keep-hourly", "24"]),
    ("7d", &["--keep-daily", "7"]),
    ("9w", &["--keep-weekly", "9"]),
    ("5m", &["--keep-monthly", "5"]),
    ("2y", &["--keep-yearly", "2"]),
    // More than there are.
    ("10y", &["--keep-yearly", "10"]),
    (
        "last=5,7d,4w,12m",
        &["--keep-last", "5", "--keep-daily", "7", "--keep-weekly", "4", "--keep-monthly", "12"],
    ),
    (
        "24h,7d,4w,12m",
        &["--keep-hourly", "24", "--keep-daily", "7", "--keep-weekly", "4", "--keep-monthly", "12"],
    ),
    ("within=36h", &["--keep-within", "36h"]),
    ("within=8h,3m", &["--keep-within", "8h", "--keep-monthly", "3"]),
    (
        "3h,3d,3w,3m,3y",
        &[
            "--keep-hourly",
            "3",
            "--keep-daily",
            "3",
            "--keep-weekly",
            "3",
            "--keep-monthly",
            "3",
            "--keep-yearly",
            "3",
        ],
    ),
    ("1d,1w", &["--keep-daily", "1", "--keep-weekly", "1"]),
];

struct Restic {
    root: TempDir,
    zone: &'static str,
}

impl Restic {
    fn new(zone: &'static str) -> Self {
        let restic = Self { root: tempfile::tempdir().unwrap(), zone };
        std::fs::write(restic.root.path().join("file"), "content").unwrap();
        run(&mut restic.command(&["init", "--quiet"])).expect_code(0);
        restic
    }

    fn command(&self, words: &[&str]) -> Command {
        let at = |name: &str| self.root.path().join(name);
        let mut command = Command::new("restic");
        command.arg("--repo").arg(at("repository")).args(words).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("TZ", self.zone);
        command.env("RESTIC_PASSWORD", "secret").env("RESTIC_CACHE_DIR", at("cache")).stdin(Stdio::null());
        command
    }

    fn back_up(&self, time: &str) {
        let file: &Path = &self.root.path().join("file");
        run(self.command(&["backup", "--quiet", "--time", time]).arg(file)).expect_code(0);
    }

    fn times(&self) -> Vec<Timestamp> {
        times(&run(&mut self.command(&["snapshots", "--json"])).expect_code(0).json())
    }

    fn kept(&self, rules: &[&str]) -> BTreeSet<Timestamp> {
        let mut words = vec!["forget", "--dry-run", "--json", "--group-by", ""];
        words.extend(rules);
        let told = run(&mut self.command(&words)).expect_code(0).json();
        times(&told[0]["keep"]).into_iter().collect()
    }
}

fn times(snapshots: &Value) -> Vec<Timestamp> {
    let time = |snapshot: &Value| Timestamp::parse_rfc3339(snapshot["time"].as_str().unwrap()).unwrap();
    snapshots.as_array().into_iter().flatten().map(time).collect()
}

/// Many in a few days, some in a year, and some around the instants at which days, weeks and years begin and clocks
/// are changed.
fn instants(seed: u64) -> BTreeSet<String> {
    let mut random = Random(seed);
    let mut all: BTreeSet<String> = [
        "2024-12-29 23:59:59",
        "2024-12-30 00:00:00",
        "2025-12-31 23:30:00",
        "2026-01-01 00:30:00",
        "2026-01-04 12:00:00",
        "2026-03-29 00:30:00",
        "2026-03-29 03:30:00",
        "2026-10-25 01:30:00",
        "2026-10-25 02:30:00",
        "2026-10-25 03:30:00",
        "2026-10-31 23:59:59",
        "2026-11-01 00:00:00",
    ]
    .map(str::to_owned)
    .into();
    while all.len() < SNAPSHOTS {
        let (minute, second) = ((random.next() % 60), (random.next() % 60));
        let hour = random.next() % 24;
        let day = match random.next() % 3 {
            0 => format!("2026-11-{:02}", 17 + (random.next() % 4)),
            1 => format!("2026-{:02}-{:02}", 6 + (random.next() % 6), 1 + (random.next() % 19)),
            _ => format!("2026-{:02}-{:02}", 1 + (random.next() % 11), 1 + (random.next() % 19)),
        };
        all.insert(format!("{day} {hour:02}:{minute:02}:{second:02}"));
    }
    all
}

fn compare(zone: &'static str, seed: u64) {
    let restic = Restic::new(zone);
    let instants: Vec<String> = instants(seed).into_iter().collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(time) = instants.get(next.fetch_add(1, Ordering::Relaxed)) {
                    restic.back_up(time);
                }
            });
        }
    });
    let times = restic.times();
    assert_eq!(times.len(), SNAPSHOTS);
    let candidates: Vec<Candidate> = times
        .iter()
        .map(|time| Candidate { id: SnapshotId(time.to_rfc3339()), time: *time, held: None })
        .collect();
    let differences = Mutex::new(Vec::new());
    for (ours, theirs) in POLICIES {
        let policy =
            Policy { rules: ours.parse().unwrap(), zone: zone.parse().unwrap(), ..Policy::default() };
        let verdicts = decide(&policy, &candidates);
        let kept: BTreeSet<Timestamp> =
            verdicts.iter().filter(|verdict| verdict.keep).map(|verdict| verdict.time).collect();
        let expected = restic.kept(theirs);
        assert!(!expected.is_empty() && expected.len() < SNAPSHOTS);
        for time in kept.symmetric_difference(&expected) {
            let verdict = verdicts.iter().find(|verdict| verdict.time == *time).unwrap();
            // That the oldest one stays for a rule that has not kept as many came to restic after 0.14.
            if verdict.reasons == [Reason::Oldest] && Some(time) == times.iter().min() {
                continue;
            }
            differences.lock().unwrap().push(format!(
                "{zone}, {ours}: {} {:?}",
                time.to_rfc3339(),
                verdict.reasons
            ));
        }
    }
    let differences = differences.into_inner().unwrap();
    assert!(differences.is_empty(), "seed {seed}\n{}", differences.join("\n"));
}

#[test]
#[ignore = "needs restic: tests/run"]
fn the_same_snapshots_are_kept_where_clocks_never_change() {
    compare("UTC", 1);
}

#[test]
#[ignore = "needs restic: tests/run"]
fn the_same_snapshots_are_kept_where_clocks_change() {
    compare("Europe/Berlin", 2);
}
