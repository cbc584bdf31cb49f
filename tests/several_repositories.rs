//! Several repositories, some of which cannot help: a restore takes the first that can, the log says why the others
//! could not, and when none can the error names them all.
#![cfg(feature = "s3")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod support;

use std::fs;

use support::{Lab, Layout, few_entries};

/// Nobody listens at port 1.
const REFUSED: &str = "s3://wiki-backup/a?endpoint=http://127.0.0.1:1";

/// A volume whose data is lost, with a good repository at `lab.url()`, and the repositories `urls` configured.
fn lost(urls: impl Fn(&Lab) -> Vec<String>) -> Lab {
    let lab = Lab::filled(Layout::Subdirectory, few_entries);
    lab.wipe();
    let list: String = urls(&lab).iter().map(|url| format!("- url: {url}\n")).collect();
    lab.with_config(&format!("repositories:\n{list}"))
        .with("VOLKEEP_INIT_TIMEOUT", "100ms")
        .with("VOLKEEP_LIMITS_RETRY", "0")
        .with("AWS_EC2_METADATA_DISABLED", "true")
        .with("AWS_ACCESS_KEY_ID", "id")
        .with("AWS_SECRET_ACCESS_KEY", "secret")
}

fn nowhere(lab: &Lab) -> String {
    format!("file://{}", lab.path("nowhere").display())
}

fn damaged(lab: &Lab) -> String {
    let path = lab.path("damaged");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("repository.json"), "{").unwrap();
    format!("file://{}", path.display())
}

#[test]
fn a_first_repository_in_trouble_does_not_hide_a_good_second_one() {
    let lab = lost(|lab| vec![REFUSED.to_owned(), lab.url()]);
    lab.ok(&["init"]).says(&["warn", "wiki-backup", "refused", "cannot help"]);
    lab.assert_back();

    let lab = lost(|lab| vec![nowhere(lab), lab.url()]);
    lab.ok(&["init"]).says(&["warn", "nowhere", "no such directory", "another repository serves"]);
    lab.assert_back();

    let lab = lost(|lab| vec![damaged(lab), lab.url()]);
    lab.ok(&["restore"]).says(&["warn", "damaged", "cannot help"]);
    lab.assert_back();
}

#[test]
fn a_second_repository_in_trouble_does_not_hide_a_good_first_one() {
    for second in [|_: &Lab| REFUSED.to_owned(), nowhere, damaged] {
        let lab = lost(|lab| vec![lab.url(), second(lab)]);
        lab.ok(&["init"]);
        lab.assert_back();
    }
}

#[test]
fn a_snapshot_named_is_found_in_the_second_repository_as_well() {
    let lab = lost(|lab| vec![REFUSED.to_owned(), lab.url()]);
    let name = fs::read_dir(lab.repository().join("snapshots")).unwrap().next().unwrap().unwrap().file_name();
    let name = name.to_str().unwrap().trim_end_matches(".json").to_owned();
    lab.ok(&["restore", &name]).says(&["warn", "wiki-backup", "refused", "another repository serves"]);
    lab.assert_back();
}

#[test]
fn when_none_can_help_the_error_names_all_and_the_first_trouble_decides() {
    let lab = lost(|lab| vec![REFUSED.to_owned(), damaged(lab)]);
    for command in [&["init"][..], &["restore"]] {
        let outcome = lab.exits(13, command).says(&["host and port"]);
        let failure = outcome.stderr.lines().find(|line| line.starts_with("volkeep: ")).unwrap();
        assert!(failure.contains("wiki-backup") && failure.contains("repository.json"), "{outcome}");
    }

    // What is not there says nothing against what cannot be asked.
    let lab = lost(|lab| vec![nowhere(lab), REFUSED.to_owned()]);
    for command in [&["init"][..], &["restore"], &["restore", "--at", "2100-01-01"]] {
        let outcome = lab.exits(13, command);
        let failure = outcome.stderr.lines().find(|line| line.starts_with("volkeep: ")).unwrap();
        assert!(failure.contains("refused") && failure.contains("nowhere"), "{outcome}");
    }
}
