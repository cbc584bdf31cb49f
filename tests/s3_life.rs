//! The life of a volume whose repository is in a bucket: what `tests/life.rs` shows, against a real S3 server, and what
//! only buckets can do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod support;

use std::fs;

use support::life;
use support::s3::{Server, unique};
use support::{Home, Lab, Layout, few_entries, made_tree, random_bytes, run};

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn every_odd_thing_comes_back_in_a_subdirectory() {
    life::every_odd_thing_comes_back(Home::Bucket, Layout::Subdirectory);
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn every_odd_thing_comes_back_in_a_mount_point() {
    life::every_odd_thing_comes_back(Home::Bucket, Layout::MountPoint);
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn a_second_init_changes_nothing() {
    life::a_second_init_changes_nothing(Home::Bucket);
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn the_first_backup_after_a_restore_reads_no_file() {
    life::the_first_backup_after_a_restore_reads_no_file(Home::Bucket);
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn an_unchanged_volume_is_backed_up_without_reading_a_file() {
    life::an_unchanged_volume_is_backed_up_without_reading_a_file(Home::Bucket);
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn an_unchanged_backup_stores_next_to_nothing() {
    let lab = Lab::filled_in(Home::Bucket, Layout::Subdirectory, |root| made_tree(root, 2000, 11));
    // Files too young to be trusted are read again, but nothing of them is stored again.
    let before = lab.objects("");
    lab.ok(&["backup"]);
    let after = lab.objects("");
    let bytes = |objects: &[(String, u64)]| objects.iter().map(|(_, size)| size).sum::<u64>();
    assert_eq!(lab.snapshots().len(), 2);
    let grown = bytes(&after) - bytes(&before);
    assert!(grown < 10_000, "{grown} bytes more: {before:?} became {after:?}");
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn a_volume_that_was_overtaken_says_so() {
    life::a_volume_that_was_overtaken_says_so(Home::Bucket);
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn two_inits_at_once_both_end_well() {
    life::two_inits_at_once_both_end_well(Home::Bucket);
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn init_beside_a_backup_ends_well() {
    life::init_beside_a_backup_ends_well(Home::Bucket);
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn a_writer_that_was_succeeded_is_refused() {
    let first = Lab::filled_in(Home::Bucket, Layout::Subdirectory, few_entries);
    let second = Lab::new(Layout::Subdirectory).sharing(&first);
    second.ok(&["init"]);
    let snapshots = first.snapshots();
    fs::write(first.volume().join("late"), b"too late").unwrap();
    first.exits(11, &["backup"]);
    assert_eq!(first.snapshots(), snapshots, "a refused backup was committed");

    // The successor goes on, and what it restores has nothing of the first one's.
    fs::write(second.volume().join("later"), b"later").unwrap();
    second.ok(&["backup"]);
    second.keep_reference();
    second.wipe();
    second.ok(&["init"]);
    second.assert_back();
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn a_first_boot_needs_consent() {
    let lab = Lab::new_in(Home::Bucket, Layout::Subdirectory);
    lab.exits(10, &["init"]);
    assert!(lab.objects("").is_empty(), "a repository appeared without consent");
    let lab = lab.with("VOLKEEP_INIT_CREATE_REPOSITORY", "true");
    lab.ok(&["init"]);
    assert_eq!(lab.state(), "healthy");
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn what_is_in_the_way_to_a_bucket_has_its_own_code() {
    let filled = Lab::filled_in(Home::Bucket, Layout::Subdirectory, few_entries);
    filled.wipe();
    let (server, bucket, prefix) = filled.bucket();
    let url =
        |endpoint: &str, bucket: &str| format!("s3://{bucket}/{prefix}?endpoint={endpoint}&region=us-east-1");
    // Nobody has a port that was just given back.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let stranger = Server::real_as("nobody");
    let wrong = |name: &'static str, value: &str| vec![(name, value.to_owned())];
    let cases = [
        ("a wrong secret", 14, wrong("AWS_SECRET_ACCESS_KEY", "wrong")),
        ("an unknown key", 14, wrong("AWS_ACCESS_KEY_ID", "UNKNOWN")),
        (
            "a user without rights",
            14,
            vec![
                ("AWS_ACCESS_KEY_ID", stranger.access_key_id),
                ("AWS_SECRET_ACCESS_KEY", stranger.secret_access_key),
            ],
        ),
        ("no server", 13, wrong("VOLKEEP_REPOSITORY", &url(&format!("http://{nobody}"), bucket))),
        ("no such name", 13, wrong("VOLKEEP_REPOSITORY", &url("http://volkeep.invalid", bucket))),
        ("no such bucket", 10, wrong("VOLKEEP_REPOSITORY", &url(&server.endpoint, &unique("none")))),
        (
            "no such prefix",
            10,
            wrong("VOLKEEP_REPOSITORY", &format!("{}&path_style=true", filled.url().replace(prefix, "none"))),
        ),
    ];
    for (what, code, environment) in cases {
        let outcome = run(filled.command(&["init"]).envs(environment));
        assert_eq!(outcome.code, code, "{what}: {outcome}");
        assert_eq!(fs::read_dir(filled.volume()).unwrap().count(), 0, "{what}");
    }
    filled.ok(&["init"]);
    filled.assert_back();
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn a_bucket_with_versions_works_and_no_old_version_is_needed() {
    let server = Server::real();
    let bucket = server.new_versioned_bucket();
    let lab = Lab::in_bucket(Layout::Subdirectory, server, bucket);
    lives_in_a_special_bucket(&lab);
    // Nothing that matters was written over or deleted: leases and the probe of the store aside, each object has one
    // version.
    let (server, bucket, prefix) = lab.bucket();
    for kind in ["packs", "segments", "snapshots"] {
        let (versions, deletions) = server.versions(bucket, &format!("{prefix}/{kind}/"));
        assert_eq!((versions, deletions), (lab.objects(kind).len(), 0), "{kind}");
    }
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn a_bucket_with_object_lock_works() {
    let server = Server::real();
    let bucket = server.new_locked_bucket();
    let lab = Lab::in_bucket(Layout::MountPoint, server, bucket);
    lives_in_a_special_bucket(&lab);
    // The lock is real: no version of a pack can be deleted by the owner of the bucket.
    let (server, bucket, _) = lab.bucket();
    let page = server.ask(|client| client.list_object_versions().bucket(bucket).send());
    let version = page.versions().iter().find(|version| version.key().unwrap().contains("/packs/")).unwrap();
    let (key, id) = (version.key().unwrap(), version.version_id().unwrap());
    let refused =
        server.try_ask(|client| client.delete_object().bucket(bucket).key(key).version_id(id).send());
    assert!(refused.is_err(), "a locked object was deleted");
}

fn lives_in_a_special_bucket(lab: &Lab) {
    few_entries(&lab.volume());
    lab.first_backup();
    lab.wipe();
    lab.ok(&["init"]);
    lab.assert_back();
    fs::write(lab.volume().join("more"), random_bytes(5, 300_000)).unwrap();
    lab.ok(&["backup"]);
    lab.keep_reference();
    lab.ok(&["check", "--verify"]);
    lab.wipe();
    lab.ok(&["init"]);
    lab.assert_back();
    lab.ok(&["backup"]);
}
