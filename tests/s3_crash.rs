//! What `tests/crash.rs` shows, with the repository in a bucket: the program is killed before system calls, at random
//! instants and in the middle of uploads, and the next run ends where an undisturbed one ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]
#![allow(clippy::print_stdout, reason = "how much was covered is worth knowing")]

mod support;

use std::fs;

use support::crash::{
    AtLeast, DIRECTORIES, First, LINKS, REMOVALS, RENAMES, SYNCS, after_killed_backup, backup_survives,
    backup_survives_random_deaths, fraction, init_survives, init_survives_random_deaths,
};
use support::life::start;
use support::proxy::{Proxy, Rule, Trouble};
use support::{Home, Lab, Layout, Random, few_entries, random_bytes};

const BUCKET: Home = Home::Bucket;

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn init_survives_death_at_renames() {
    init_survives(BUCKET, Layout::Subdirectory, RENAMES, 1, 1, AtLeast(1));
    init_survives(BUCKET, Layout::MountPoint, RENAMES, 1, 3, AtLeast(1));
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn init_survives_death_at_syncs() {
    init_survives(BUCKET, Layout::Subdirectory, SYNCS, 1, 1, AtLeast(1));
    init_survives(BUCKET, Layout::MountPoint, SYNCS, 2, 3, AtLeast(1));
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn init_survives_death_at_removals_directories_and_links() {
    init_survives(BUCKET, Layout::Subdirectory, REMOVALS, 1, 2, AtLeast(0));
    init_survives(BUCKET, Layout::MountPoint, DIRECTORIES, 1, 4, AtLeast(1));
    init_survives(BUCKET, Layout::Subdirectory, LINKS, 1, 3, AtLeast(1));
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn init_survives_death_at_random_instants_in_a_subdirectory() {
    init_survives_random_deaths(BUCKET, Layout::Subdirectory, 40, 0x5eed_0011);
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn init_survives_death_at_random_instants_in_a_mount_point() {
    init_survives_random_deaths(BUCKET, Layout::MountPoint, 40, 0x5eed_0012);
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn backup_survives_death_at_renames() {
    backup_survives(BUCKET, RENAMES, 1, 1, AtLeast(1));
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn backup_survives_death_at_random_instants() {
    backup_survives_random_deaths(BUCKET, 25, 0x5eed_0013);
}

/// The instants are not of the clock but of what is on its way: after any byte of the uploads.
#[test]
#[ignore = "needs an S3 server: tests/run"]
fn backup_survives_death_while_uploading() {
    let seed = 0x5eed_0014;
    println!("seed {seed:#x}");
    let mut lab = Lab::with_few_entries(BUCKET, Layout::Subdirectory);
    let first = First::of(&lab);
    let proxy = proxy_before(&mut lab);
    let mut random = Random(seed);
    let mut in_uploads = 0;
    for round in 1..=8 {
        fs::write(lab.volume().join("uploading"), random_bytes(20_000 + round, 6 << 20)).unwrap();
        proxy.forget_seen();
        // Slow enough for the signal to come in time.
        proxy.add(Rule::on("PUT", "", Trouble::Slow(32 << 20)));
        let instant = 1 + (fraction(&mut random) * f64::from(6 << 20)) as u64;
        let mut backup = start(&mut lab.command(&["backup"]));
        proxy.await_upload(instant);
        backup.kill().unwrap();
        backup.wait().unwrap();
        let begun = proxy.count("PUT", "/packs/");
        let done = proxy.seen().iter().filter(|seen| seen.answered && seen.is("PUT", "/packs/")).count();
        in_uploads += usize::from(begun > done);
        proxy.heal();
        after_killed_backup(&lab, &first, &format!("round {round}, killed after {instant} bytes"));
    }
    println!("{in_uploads} of 8 rounds ended in an upload");
    assert!(in_uploads >= 4, "only {in_uploads} of 8 rounds ended in an upload");
}

/// Packs of an interrupted backup are not uploaded a second time.
#[test]
#[ignore = "needs an S3 server: tests/run"]
fn what_a_killed_backup_uploaded_is_used_by_the_next() {
    let mut lab = Lab::with_few_entries(BUCKET, Layout::Subdirectory);
    let first = First::of(&lab);
    let proxy = proxy_before(&mut lab);
    fs::write(lab.volume().join("uploading"), random_bytes(77, 24 << 20)).unwrap();
    // Three packs arrive, the fourth and the fifth never do. At this memory there are two uploaders: when both
    // are at the next pack, each has noted what it uploaded before.
    proxy.add(Rule::on("PUT", "/packs/", Trouble::Silence).after(3));
    proxy.forget_seen();
    let mut backup = start(&mut lab.command(&["backup"]));
    proxy.await_requests("PUT", "/packs/", 5);
    proxy.await_answers("PUT", "/packs/", 3);
    backup.kill().unwrap();
    assert!(!backup.wait().unwrap().success());
    proxy.heal();
    let arrived: u64 = lab.objects("packs").iter().map(|(_, size)| size).sum();

    let report = lab.backup();
    let added = report["stored_bytes"].as_u64().unwrap();
    assert!(
        added < (24 << 20) - (8 << 20),
        "{added} bytes were stored, of 24 MiB, after {arrived}: {report}"
    );
    after_killed_backup(&lab, &first, "killed while a pack was on its way");
}

/// Between the lab and the server, and small packs, so that a backup has several, and two uploaders.
fn proxy_before(lab: &mut Lab) -> Proxy {
    let proxy = Proxy::to(&lab.bucket().0.endpoint);
    lab.by_way_of(proxy.endpoint());
    lab.set("VOLKEEP_LIMITS_MEMORY", "32MiB");
    proxy
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn init_survives_death_in_the_middle_of_a_download() {
    let mut lab = Lab::new_in(BUCKET, Layout::Subdirectory);
    few_entries(&lab.volume());
    fs::write(lab.volume().join("downloading"), random_bytes(78, 24 << 20)).unwrap();
    let proxy = proxy_before(&mut lab);
    lab.first_backup();
    for stalled in 1..=4 {
        lab.wipe();
        proxy.forget_seen();
        proxy.add(Rule::on("GET", "/packs/", Trouble::StallAnswer(100_000)).after(stalled - 1));
        let mut init = start(&mut lab.command(&["init"]));
        proxy.await_requests("GET", "/packs/", stalled);
        init.kill().unwrap();
        assert!(!init.wait().unwrap().success());
        assert_eq!(lab.state(), "interrupted");
        proxy.heal();
        lab.ok(&["init"]);
        lab.assert_back();
    }
}
