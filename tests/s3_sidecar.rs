//! A sidecar whose repository is in a bucket, on a way there that is in trouble: it ends in time, half-commits nothing,
//! goes on when the trouble is over, and what it shows meanwhile is true.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop")]

mod support;

use std::fs;
use std::time::{Duration, Instant};

use support::proxy::{Proxy, Rule, Trouble};
use support::{Home, Lab, Layout, few_entries, random_bytes};

/// Backed up once, with a sidecar that goes by way of a proxy.
fn lab(sidecar: &str, jobs: &str) -> (Lab, Proxy) {
    let mut lab = Lab::filled_in(Home::Bucket, Layout::Subdirectory, few_entries);
    let proxy = Proxy::to(&lab.bucket().0.endpoint);
    lab.by_way_of(proxy.endpoint());
    (lab.with_jobs(sidecar, jobs), proxy)
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn a_backup_to_a_silent_bucket_is_ended_in_time_and_goes_on_where_it_was() {
    let (lab, proxy) = lab("grace: 6s", "");
    for number in 0..60 {
        fs::write(lab.volume().join(format!("more-{number}")), random_bytes(number, 1 << 20)).unwrap();
    }
    let (snapshots, packs) = (lab.snapshots(), lab.objects("packs").len());
    let sidecar = lab.sidecar();
    sidecar.await_status("the lease is held", |status| status["leases"][0]["held"] == true);
    proxy.forget_seen();
    proxy.add(Rule::on("PUT", "/packs/", Trouble::Silence).after(2));
    sidecar.ask("POST /jobs/backup/run");
    proxy.await_answers("PUT", "/packs/", 1);
    let told = Instant::now();
    sidecar.end_well();
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
    proxy.heal();
    assert_eq!((lab.snapshots(), lab.state()), (snapshots, "healthy".to_owned()));
    assert!(lab.objects("packs").len() > packs, "nothing of it was stored");
    lab.ok(&["check", "--verify"]);
    let stored = lab.backup()["stored_bytes"].as_u64().unwrap();
    assert!(stored < 59 << 20, "everything was stored anew: {stored}");
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn a_lease_that_cannot_be_kept_does_not_hold_up_the_end() {
    let (lab, proxy) = lab("grace: 20s", "");
    proxy.add(Rule::all(Trouble::Silence));
    let sidecar = lab.sidecar();
    proxy.await_requests("", "", 1);
    let (ready, why) = sidecar.readiness();
    assert!(!ready && why.contains("lease"), "{why}");
    let told = Instant::now();
    sidecar.end_well();
    assert!(told.elapsed() < Duration::from_secs(20), "{:?}", told.elapsed());
    proxy.heal();
    assert_eq!(lab.state(), "healthy");
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn a_bucket_that_is_away_is_waited_for() {
    let (lab, proxy) = lab("", "backup: {schedule: '@every 1s', retries: 0}\nprune: {schedule: never}");
    let sidecar = lab.sidecar();
    sidecar.await_runs("backup", 1);
    proxy.close();
    let seen = sidecar.await_job("backup", "two fail", |job| job["consecutive_failures"].as_u64() >= Some(2));
    assert_eq!((&seen["last"]["outcome"], &seen["last"]["code"]), (&"failed".into(), &13.into()), "{seen}");
    // Not to be heard for a moment is not to have lost the lease.
    let status = sidecar.status();
    assert_eq!(status["leases"][0]["held"], true, "{status}");
    proxy.open();
    let seen = sidecar.await_job("backup", "done again", |job| job["last"]["outcome"] == "done");
    assert_eq!(seen["consecutive_failures"], 0);
    sidecar.await_some("it is ready", || sidecar.readiness().0.then_some(()));
    sidecar.end_well();
    lab.ok(&["check"]);
}
