//! A store that ignores the conditions of a request: volkeep notices, says so, and works all the same.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod support;

use std::fs;

use support::s3::Server;
use support::{Lab, Layout, few_entries, odd_tree, run};

const WARNING: &str = "replaces objects that it was told to create only if absent";

fn lab() -> Lab {
    let server = Server::sloppy();
    let bucket = server.shared_bucket();
    Lab::in_bucket(Layout::Subdirectory, server, bucket)
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn a_volume_is_backed_up_lost_and_brought_back_with_a_warning() {
    let lab = lab();
    odd_tree(&lab.volume());
    lab.ok(&["repository", "init"]);
    lab.adopt();
    lab.ok(&["backup"]).says(&[WARNING]);
    lab.keep_reference();
    lab.wipe();
    lab.ok(&["init"]).says(&[WARNING]);
    lab.assert_back();
    lab.ok(&["check", "--verify"]);
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn a_writer_that_was_succeeded_is_refused_even_here() {
    let lab = lab();
    few_entries(&lab.volume());
    lab.first_backup();
    // The same repository seen by a new pod on an empty disk, which takes over.
    let elsewhere = tempfile::tempdir().unwrap();
    let volume = elsewhere.path().join("data");
    fs::create_dir(&volume).unwrap();
    let state = elsewhere.path().join("state");
    run(lab.command(&["init"]).env("VOLKEEP_VOLUME", &volume).env("VOLKEEP_STATE_DIR", &state))
        .expect_code(0);
    fs::write(lab.volume().join("late"), "late").unwrap();
    lab.exits(11, &["backup"]).says(&["taken over"]);
    assert_eq!(lab.snapshots().len(), 1);
    run(lab.command(&["backup"]).env("VOLKEEP_VOLUME", &volume).env("VOLKEEP_STATE_DIR", &state))
        .expect_code(0);
    assert_eq!(lab.snapshots().len(), 2);
}
