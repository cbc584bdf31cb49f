//! A status for tests: one job that is well, one that is not, one that never ran, and names that want escaping.

use std::time::Duration;

use crate::base::timestamp::Timestamp;
use crate::ops::drill::record::Proof;
use crate::ops::status::Drills;
use crate::sidecar::notify::{About, Event, Notice};
use crate::sidecar::record::{Begun, Figures, Outcome, Record, Run, Trigger};
use crate::sidecar::status::{Frozen, JobStatus, LeaseStatus, NoticeCounts, Stage, Status};

pub const NOON: Timestamp = Timestamp::new(1_790_000_000, 0);

pub fn status() -> Status {
    Status {
        version: "0.1.0",
        identity: "wiki".to_owned(),
        volume: "/data".to_owned(),
        started: Timestamp::new(1_789_990_000, 0),
        stage: Stage::Working,
        not_ready: vec!["the last backup is too old".to_owned()],
        state: "healthy",
        leases: vec![
            LeaseStatus {
                repository: "s3://bucket/wiki".to_owned(),
                held: true,
                epoch: Some(7),
                reason: None,
                seen: Some(NOON),
            },
            LeaseStatus {
                repository: "file:///back\"up\\s\n".to_owned(),
                held: false,
                epoch: None,
                reason: Some("<unreachable> & \"lost\"".to_owned()),
                seen: None,
            },
        ],
        jobs: vec![backup(), check(), vacuum()],
        init: record(Outcome::Done, Figures::default()),
        drill: Some(Drills { last: None, proved: vec![proof()] }),
        frozen: vec![Frozen { job: "backup".to_owned(), since: NOON }],
        configured: NOON,
        refused_configuration: Some("`limits.memory`: 1MiB is less than 16MiB".to_owned()),
        notices: NoticeCounts { sent: 3, failed: 2, dropped: 1 },
    }
}

pub fn run(outcome: Outcome) -> Run {
    let success = outcome.is_success();
    Run {
        trigger: Trigger::Schedule,
        started: NOON,
        seconds: 12.5,
        outcome,
        attempts: 1,
        code: if success { 0 } else { 1 },
        reason: (!success).then(|| "the <disk> \"said\" no".to_owned()),
        hint: (!success).then(|| "run `volkeep backup --allow-shrink`".to_owned()),
        figures: Figures::default(),
    }
}

pub fn record(outcome: Outcome, figures: Figures) -> Record {
    let mut record = Record::default();
    record.end(Run { figures, ..run(outcome) });
    record
}

fn proof() -> Proof {
    Proof {
        repository: "s3://bucket/wiki".to_owned(),
        snapshot: "20260101T000000.000Z-abc".to_owned(),
        snapshot_time: Timestamp::new(1_789_000_000, 0),
        time: NOON,
        seconds: 30.5,
        entries: 1_100,
        files: 1_000,
        bytes: 5_000_000,
        checks: 2,
    }
}

fn backup() -> JobStatus {
    let figures = Figures {
        snapshot: Some("20260101T000000.000Z-abc".to_owned()),
        files: Some(1_000),
        bytes: Some(5_000_000),
        read_bytes: Some(40_000),
        stored_bytes: Some(10_000),
        problems: Some(0),
        repository_bytes: Some(9_000_000),
        repository_snapshots: Some(12),
        frozen_seconds: Some(0.25),
        ..Figures::default()
    };
    JobStatus {
        max_age_seconds: Some(7_200),
        record: record(Outcome::Done, figures),
        ..job("backup", "backup")
    }
}

fn check() -> JobStatus {
    let figures = Figures {
        findings: Some(2),
        scrubbed_files: Some(900),
        scrubbed_bytes: Some(4_000_000),
        passed_over_files: Some(30),
        repaired: Some(1),
        ..Figures::default()
    };
    JobStatus {
        record: record(Outcome::Failed, figures),
        running: Some(Begun { trigger: Trigger::Request, started: NOON }),
        unsaved: Some("no space left on device".to_owned()),
        ..job("check", "check")
    }
}

fn vacuum() -> JobStatus {
    JobStatus { schedule: None, time_zone: None, next: None, queued: true, ..job("<vacuum>", "command") }
}

fn job(name: &str, kind: &'static str) -> JobStatus {
    JobStatus {
        name: name.to_owned(),
        kind,
        schedule: Some("@hourly".to_owned()),
        time_zone: Some("Europe/Paris".to_owned()),
        next: Some(NOON),
        running: None,
        queued: false,
        max_age_seconds: None,
        record: Record::default(),
        unsaved: None,
    }
}

pub fn notice(event: Event, job: &str) -> Notice {
    Notice {
        event,
        job: job.to_owned(),
        time: NOON,
        run: (event != Event::Silence).then(|| run(Outcome::Failed)),
        consecutive_failures: 3,
        last_success: Some(NOON),
        max_age: Some(Duration::from_secs(7_200)),
    }
}

pub fn about() -> About {
    About {
        identity: "wiki".to_owned(),
        volume: "/data".to_owned(),
        host: "pod-0".to_owned(),
        version: "0.1.0",
    }
}
