//! The commands of `docs/migration.md`: data comes from backups that the real tools have made, volkeep takes it over,
//! and the first backup brings it back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::page::sections;
use support::{Lab, Layout, few_entries, run, same, same_content, shell};

const PAGE: &str = "docs/migration.md";
const TAR: &str = "From tar archives";
const RESTIC: &str = "From restic";
const LITESTREAM: &str = "From Litestream";

#[test]
fn every_block_is_run_here() {
    let counts: Vec<(String, usize)> =
        sections(PAGE).into_iter().map(|(heading, blocks)| (heading, blocks.len())).collect();
    let known = [(LITESTREAM, 1), (RESTIC, 1), (TAR, 3)];
    assert_eq!(counts, known.map(|(heading, count)| (heading.to_owned(), count)));
}

#[test]
fn an_archive_with_the_names_of_a_mount_is_unpacked_and_adopted() {
    let lab = Lab::new(Layout::Subdirectory);
    let source = source(&lab);
    // As offen/docker-volume-backup names its members. Hard links are told by name as well, targets of others are not.
    shell(
        "mkdir \"$1\"/old && tar -C \"$2\" -cz -P --transform 'flags=rhS;s,^\\.,/backup/wiki,' -f \"$1\"/old/backup.tar.gz .",
        &[lab.path("").as_os_str(), source.as_os_str()],
    );
    let archive = lab.path("old/backup.tar.gz").display().to_string();
    lab.exits(1, &["restore", "--from", &archive]).says(&["absolute"]);
    // That restore was begun: one of an archive that will do ends it.
    shell("tar -C \"$2\" -czf \"$1\"/old/right.tar.gz .", &[lab.path("").as_os_str(), source.as_os_str()]);
    lab.ok(&["restore", "--from", lab.path("old/right.tar.gz").to_str().unwrap()]);
    assert_eq!(lab.state(), "healthy");
    lab.wipe();
    lab.play(&block(TAR, 0), &[]).expect_code(0).says(&["/backup/wiki/", "take the data for ours"]);
    // The top directory is the one that was there.
    as_top(&source, &lab.volume());
    same_content(&source, &lab.volume());
    assert_healthy_and_backed_up(&lab);
}

#[test]
fn an_archive_of_the_content_goes_in_as_it_is() {
    for (at, archived) in [(1, "restore"), (2, "unpack the first content")] {
        let lab = Lab::new(Layout::Subdirectory);
        let source = source(&lab);
        shell(
            "mkdir \"$1\"/old && tar -C \"$2\" -czf \"$1\"/old/wiki.tar.gz .",
            &[lab.path("").as_os_str(), source.as_os_str()],
        );
        lab.play(&block(TAR, at), &[]).expect_code(0).says(&[archived]);
        same_content(&source, &lab.volume());
        assert_healthy_and_backed_up(&lab);
    }
}

#[test]
#[ignore = "needs restic: tests/run"]
fn a_restic_repository_is_restored_and_adopted() {
    let lab = Lab::new(Layout::Subdirectory);
    let source = source(&lab);
    restic_backup(&lab, &source);
    let place = lab.path("volume/incoming").join(source.strip_prefix("/").unwrap());
    let places = [("/srv/wiki/incoming/data/wiki", place)];
    lab.play(&block(RESTIC, 0), &places).expect_code(0).says(&["take the data for ours"]);
    // Of holes restic has made zeros.
    same_content(&source, &lab.volume());
    assert!(!lab.path("volume/incoming").exists());
    assert_healthy_and_backed_up(&lab);
}

/// The way that the page begins with: both back up the same volume, until volkeep takes over.
#[test]
#[ignore = "needs restic: tests/run"]
fn restic_and_volkeep_back_up_side_by_side() {
    let lab = Lab::new(Layout::Subdirectory);
    few_entries(&lab.volume());
    restic_backup(&lab, &lab.volume());
    lab.ok(&["repository", "init"]);
    lab.ok(&["backup"]);
    fs::write(lab.volume().join("later"), b"later").unwrap();
    restic(&lab, &["backup", "--quiet", lab.volume().to_str().unwrap()]);
    lab.ok(&["backup"]);
    lab.ok(&["init"]).says(&["nothing to do"]);

    let rehearsal = lab.path("rehearsal");
    lab.ok(&["restore", "--target", rehearsal.to_str().unwrap()]);
    same(&lab.volume(), &rehearsal);
    let old = lab.path("by-restic");
    restic(&lab, &["restore", "--quiet", "latest", "--target", old.to_str().unwrap()]);
    same_content(&old.join(lab.volume().strip_prefix("/").unwrap()), &rehearsal);
}

#[test]
#[ignore = "needs litestream: tests/run"]
fn a_litestream_replica_is_restored_and_adopted() {
    let program = std::env::var_os("VOLKEEP_TEST_LITESTREAM")
        .expect("VOLKEEP_TEST_LITESTREAM names litestream; tests/reference/litestream installs it");
    let lab = Lab::new(Layout::Subdirectory);
    for directory in ["bin", "old", "app"] {
        fs::create_dir(lab.path(directory)).unwrap();
    }
    std::os::unix::fs::symlink(&program, lab.path("bin/litestream")).unwrap();
    let (database, replica) =
        (lab.path("app/wiki.db"), format!("file://{}", lab.path("old/replica").display()));
    // Each round is one more file of the replica.
    for round in ["PRAGMA journal_mode = wal; CREATE TABLE pages (text)", "SELECT 1"] {
        let script = format!(
            "{round}; WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) \
             INSERT INTO pages SELECT 'page ' || i FROM n;"
        );
        run(Command::new("sqlite3").arg(&database).arg(script)).expect_code(0);
        run(Command::new(&program).args(["replicate", "-once"]).arg(&database).arg(&replica)).expect_code(0);
    }
    lab.play(&block(LITESTREAM, 0), &[]).expect_code(0).says(&["ok", "take the data for ours"]);
    assert_healthy_and_backed_up(&lab);
    let count = "SELECT count(*), count(DISTINCT text) FROM pages";
    let found = run(Command::new("sqlite3").arg(lab.volume().join("wiki.db")).arg(count)).expect_code(0);
    assert_eq!(found.stdout, "4000|2000\n");
}

/// What the first backup holds is what is on the volume.
#[track_caller]
fn assert_healthy_and_backed_up(lab: &Lab) {
    assert_eq!(lab.state(), "healthy");
    assert_eq!(lab.snapshots().len(), 1);
    lab.keep_reference();
    lab.wipe();
    lab.ok(&["init"]);
    lab.assert_back();
}

/// What was kept by another tool so far.
fn source(lab: &Lab) -> PathBuf {
    let source = lab.path("app");
    few_entries(&source);
    source
}

fn restic_backup(lab: &Lab, source: &Path) {
    fs::create_dir(lab.path("old")).unwrap();
    fs::write(lab.path("old/password"), b"secret\n").unwrap();
    restic(lab, &["init", "--quiet"]);
    restic(lab, &["backup", "--quiet", source.to_str().unwrap()]);
}

#[track_caller]
fn restic(lab: &Lab, words: &[&str]) {
    let (repository, password) = (lab.path("old/restic"), lab.path("old/password"));
    run(Command::new("restic")
        .args(words)
        .env("RESTIC_REPOSITORY", repository)
        .env("RESTIC_PASSWORD_FILE", password)
        .env("RESTIC_CACHE_DIR", lab.path("home/restic")))
    .expect_code(0);
}

#[track_caller]
fn block(heading: &str, at: usize) -> String {
    sections(PAGE)[heading][at].clone()
}

/// Gives `to` the owner, mode and time of `from`, not what is in it.
fn as_top(to: &Path, from: &Path) {
    shell(
        "chown --reference=\"$2\" \"$1\" && chmod --reference=\"$2\" \"$1\" && touch -r \"$2\" \"$1\"",
        &[to.as_os_str(), from.as_os_str()],
    );
}
