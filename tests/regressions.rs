//! Promises that were broken once: each test brings about what broke one, and looks at the result from outside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod support;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{
    Lab, Layout, Outcome, differences, few_entries, made_tree, remove_all, run, run_until, same,
    same_content, shell, wrap,
};

const BOTH: [Layout; 2] = [Layout::Subdirectory, Layout::MountPoint];
const HEALTHY: &str = "[{command: [\"true\"]}]";
const DAMAGED: &str = "[{command: [\"false\"]}]";

#[test]
fn a_sparse_file_that_is_filled_with_zeros_comes_back() {
    let lab = Lab::filled(Layout::Subdirectory, |root| {
        few_entries(root);
        for (name, length) in [("64 KiB", 64 << 10), ("3 MiB", 3 << 20)] {
            File::create_new(root.join(name)).unwrap().set_len(length).unwrap();
        }
    });
    for (name, length) in [("64 KiB", 64 << 10), ("3 MiB", 3 << 20)] {
        fs::write(lab.volume().join(name), vec![0; length]).unwrap();
    }
    lab.ok(&["backup"]);
    assert_newest_is(&lab, &lab.volume());
    fs::write(lab.volume().join("64 KiB"), b"short").unwrap();
    lab.ok(&["backup"]);
    assert_newest_is(&lab, &lab.volume());
    lab.ok(&["check", "--verify"]);
}

#[test]
fn a_snapshot_that_fails_the_checks_is_refused_until_they_pass() {
    for layout in BOTH {
        let mut lab = Lab::filled(layout, few_entries).with("VOLKEEP_INIT_CHECKS", DAMAGED);
        lab.wipe();
        lab.exits(16, &["init"]);
        let quarantined = quarantined(&lab);
        lab.exits(16, &["init"]);
        lab.exits(16, &["init"]);
        assert_eq!(quarantined, self::quarantined(&lab), "each run puts the data into quarantine once more");
        let outcome = lab.run(&["wait", "--timeout", "1s"]);
        assert_ne!(outcome.code, 0, "{outcome}");
        lab.exits(16, &["backup"]);
        lab.assert_back();

        lab.set("VOLKEEP_INIT_CHECKS", HEALTHY);
        lab.ok(&["init"]);
        assert_eq!(lab.state(), "healthy");
        lab.ok(&["wait", "--timeout", "1s"]);
        lab.ok(&["backup"]);
    }
}

#[test]
fn checks_that_were_cut_short_are_made_again() {
    for layout in BOTH {
        let mut lab = Lab::filled(layout, few_entries);
        lab.wipe();
        let (told, never) = (lab.path("told"), lab.path("never"));
        shell("mkfifo \"$1\"", &[told.as_os_str()]);
        let held = lab.fifo("never");
        // It waits as long as this test holds the other end, and has its own before it says anything.
        let script = format!("exec 3<'{}'; echo started >'{}'; cat <&3", never.display(), told.display());
        lab.set("VOLKEEP_INIT_CHECKS", check(&script, "full"));
        let mut init = lab.command(&["init"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Opening waits for the check to open the other end, reading for it to close that.
        File::open(&told).unwrap().read_to_string(&mut String::new()).unwrap();
        init.kill().unwrap();
        init.wait().unwrap();
        // Nobody else waits for the check any more.
        drop(held);

        assert_eq!(lab.state(), "dirty");
        assert_ne!(lab.run(&["wait", "--timeout", "1ms"]).code, 0);
        let ran = lab.path("ran");
        lab.set("VOLKEEP_INIT_CHECKS", check(&format!("echo ran >>'{}'", ran.display()), "full"));
        lab.ok(&["init"]);
        assert_eq!(fs::read_to_string(&ran).unwrap(), "ran\n", "{layout:?}: the full checks were left out");
        assert_eq!(lab.state(), "healthy");
        lab.assert_back();
        lab.ok(&["init"]);
        assert_eq!(fs::read_to_string(&ran).unwrap(), "ran\n", "{layout:?}: they passed and ran again");
    }
}

#[test]
fn a_target_that_is_the_live_volume_is_refused() {
    for layout in BOTH {
        let lab = Lab::filled(layout, few_entries);
        symlink(lab.volume(), lab.path("link to the volume")).unwrap();
        symlink(lab.path("."), lab.path("link above")).unwrap();
        fs::write(lab.volume().join("precious"), b"written after the backup").unwrap();
        lab.keep_reference();
        let targets = [
            lab.volume(),
            lab.volume().join("one"),
            lab.volume().join("new/deep"),
            lab.path("volume"),
            lab.path(""),
            lab.state_dir(),
            lab.state_dir().join("new"),
            lab.path("link to the volume"),
            lab.path("link to the volume/one/two"),
            lab.path("link above/volume"),
            lab.path("home/../volume"),
        ];
        for target in targets {
            lab.exits(16, &["restore", "--target", target.to_str().unwrap(), "--force"]);
            lab.assert_back();
        }
        assert_eq!(lab.state(), "healthy");
    }
}

#[test]
fn a_lost_descriptor_is_damage_and_not_an_invitation() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries).with("VOLKEEP_INIT_CREATE_REPOSITORY", "true");
    fs::remove_file(lab.repository().join("repository.json")).unwrap();
    lab.wipe();
    let before = everything(&lab.repository());
    lab.exits(12, &["init"]);
    lab.exits(12, &["repository", "init"]);
    assert_eq!(everything(&lab.repository()), before);
    assert_eq!(fs::read_dir(lab.volume()).unwrap().count(), 0);
    assert_ne!(lab.state(), "healthy");
}

#[test]
fn an_empty_repository_of_another_identity_is_refused() {
    let other = Lab::new(Layout::Subdirectory).with("VOLKEEP_IDENTITY", "another");
    other.ok(&["repository", "init"]);
    let lab = Lab::new(Layout::Subdirectory).with("VOLKEEP_REPOSITORY", other.url());
    lab.exits(15, &["init"]);
    few_entries(&lab.volume());
    lab.exits(15, &["backup"]);
    assert_eq!(lab.state(), "foreign", "the data was adopted on the way to the wrong repository");

    let owned = Lab::filled(Layout::Subdirectory, few_entries).with("VOLKEEP_REPOSITORY", other.url());
    owned.exits(15, &["backup"]);
    owned.wipe();
    owned.exits(15, &["init"]);
    assert_eq!(other.snapshots(), Vec::<String>::new());
}

#[test]
fn objects_that_somebody_removed_are_stored_anew() {
    for kinds in [&["packs"][..], &["segments"], &["packs", "segments"]] {
        let lab = Lab::filled(Layout::Subdirectory, few_entries);
        for kind in kinds {
            lab.stored(kind).iter().for_each(|path| fs::remove_file(path).unwrap());
        }
        lab.ok(&["backup"]);
        assert_newest_is(&lab, &lab.reference());
        let newest = lab.snapshots().pop().unwrap();
        let checked = lab.run(&["check", "--verify"]);
        let blamed = checked.stdout.contains(&format!("takes down snapshot {newest}"));
        assert!([0, 12].contains(&checked.code) && !blamed, "{kinds:?} removed, {newest}: {checked}");
        lab.wipe();
        lab.ok(&["init"]);
        lab.assert_back();
    }
}

#[test]
fn one_removed_pack_of_several_is_stored_anew() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries);
    let first = lab.stored("packs");
    made_tree(&lab.volume().join("more"), 300, 11);
    lab.ok(&["backup"]);
    first.iter().for_each(|path| fs::remove_file(path).unwrap());
    lab.ok(&["backup"]);
    assert_newest_is(&lab, &lab.volume());
}

#[test]
fn a_directory_whose_attributes_cannot_be_read_takes_nothing_along() {
    let lab = Lab::new(Layout::Subdirectory);
    made_tree(&lab.volume(), 300, 12);
    lab.ok(&["repository", "init"]);
    lab.adopt();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=llistxattr"]);
    strace.args(["-e", "inject=llistxattr:error=EIO"]);
    run(wrap(&mut strace, &lab.command(&["backup"]))).expect_code(3).says(&["00/001", "attributes"]);
    lab.keep_reference();
    lab.wipe();
    lab.ok(&["init"]);
    same_content(&lab.reference(), &lab.volume());
    lab.ok(&["check", "--verify"]);
}

#[test]
fn a_repository_that_vanished_is_not_made_anew() {
    for consent in [None, Some("true")] {
        let mut lab = Lab::filled(Layout::Subdirectory, few_entries);
        if let Some(consent) = consent {
            lab.set("VOLKEEP_INIT_CREATE_REPOSITORY", consent);
        }
        fs::rename(lab.repository(), lab.path("not mounted")).unwrap();
        lab.exits(10, &["backup"]);
        assert!(!lab.repository().exists());
        fs::rename(lab.path("not mounted"), lab.repository()).unwrap();
        lab.ok(&["backup"]);
    }
}

#[test]
fn a_path_that_is_not_in_the_snapshot_is_named() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries);
    let target = lab.path("target");
    let outcome =
        lab.run(&["restore", "--path", "one/two", "--path", "one/tow", "--target", target.to_str().unwrap()]);
    assert_ne!(outcome.code, 0, "{outcome}");
    outcome.says(&["one/tow"]);
    assert!(!target.exists());
}

#[test]
fn a_damaged_snapshot_stops_no_backup_but_an_init() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries);
    damage(&second_backup(&lab, "snapshots"));
    // The data goes away and comes back.
    fs::rename(lab.volume(), lab.path("data")).unwrap();
    fs::create_dir(lab.volume()).unwrap();
    lab.exits(12, &["init"]);
    assert_eq!(fs::read_dir(lab.volume()).unwrap().count(), 0, "an older snapshot was taken unasked");
    fs::remove_dir(lab.volume()).unwrap();
    fs::rename(lab.path("data"), lab.volume()).unwrap();
    assert_next_backup_is_whole(&lab);
}

#[test]
fn a_damaged_segment_stops_no_backup() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries);
    damage(&second_backup(&lab, "segments"));
    remove_all(&lab.state_dir().join("cache"));
    assert_next_backup_is_whole(&lab);
}

#[test]
fn a_damaged_lease_stops_no_backup() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries);
    lab.ok(&["backup"]);
    damage(lab.stored("leases").last().unwrap());
    assert_next_backup_is_whole(&lab);
}

#[test]
fn an_archive_that_came_half_way_does_not_cost_the_live_data() {
    for layout in BOTH {
        let lab = Lab::filled(layout, few_entries);
        let archive = lab.path("archive.tar");
        lab.ok(&["export", "latest", archive.to_str().unwrap()]);
        fs::write(lab.volume().join("precious"), b"written after the backup").unwrap();
        lab.keep_reference();
        let restore = ["restore", "--from", archive.to_str().unwrap(), "--force"];
        // The first link is made in the staging directory: by then nothing live has moved.
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=/^symlink"]);
        strace.args(["-e", "inject=/^symlink:signal=SIGKILL:when=1"]);
        let killed = run(wrap(&mut strace, &lab.command(&restore)));
        assert!(killed.was_killed(), "{killed}");
        lab.assert_back();
        assert_eq!(lab.state(), "interrupted");
        lab.exits(16, &["init"]);
        lab.exits(16, &["backup"]);
        lab.assert_back();

        lab.ok(&["restore", "--force", "latest"]);
        assert!(!lab.volume().join("precious").exists());
        let kept = shell("find \"$1/quarantine\" -name precious", &[lab.state_dir().as_os_str()]);
        assert!(!kept.is_empty(), "{layout:?}: the data that made way is gone");
        assert_newest_is(&lab, &lab.volume());
        assert_eq!(lab.state(), "healthy");
        lab.ok(&["init"]);
    }
}

/// The kernel tells of what the disk refused to take only once, to whoever syncs next: nobody may pass over it.
#[test]
fn a_disk_that_fails_while_files_are_still_written_fails_the_restore() {
    for layout in BOTH {
        let lab = Lab::filled(layout, |root| {
            few_entries(root);
            fs::write(root.join("large"), vec![1; 100 << 20]).unwrap();
        });
        let calls = lab.path("calls");
        let traced = |lab: &Lab, how: &[&str]| {
            let mut strace = Command::new("strace");
            strace.args(["-f", "-qq", "-e", "trace=syncfs", "-o"]).arg(&calls).args(how);
            let outcome = run(wrap(&mut strace, &lab.command(&["init"])));
            (outcome, fs::read_to_string(&calls).unwrap().matches("syncfs(").count())
        };
        lab.wipe();
        let (failed, first) = traced(&lab, &["-e", "inject=syncfs:error=EIO:when=1"]);
        assert_ne!(failed.code, 0, "{failed}");
        failed.says(&["cannot sync the file system", "staging/tree"]);
        assert_eq!(first, 1, "it went on after the first failure");
        assert_eq!(lab.state(), "interrupted");

        let (restored, all) = traced(&lab, &[]);
        restored.expect_code(0);
        lab.assert_back();
        lab.wipe();
        let (restored, fresh) = traced(&lab, &[]);
        restored.expect_code(0);
        lab.assert_back();
        assert!(all >= 1 && fresh >= 2, "nothing was synced before the end: {all}, {fresh}");
    }
}

#[test]
fn a_volume_that_was_cut_off_backs_up_only_when_told() {
    let mut former = Lab::filled(Layout::Subdirectory, few_entries);
    let successor = Lab::new(Layout::Subdirectory).with("VOLKEEP_REPOSITORY", former.url());
    successor.ok(&["init"]);
    same(&former.reference(), &successor.volume());
    fs::write(former.volume().join("precious"), b"written by who was cut off").unwrap();
    former.keep_reference();
    let snapshots = former.snapshots();
    let refused = former.run(&["backup"]);
    assert!([11, 16].contains(&refused.code), "{refused}");
    assert_eq!(former.snapshots(), snapshots);
    former.assert_back();

    former.set("VOLKEEP_INIT_ON_STALE", "keep");
    former.ok(&["backup"]);
    assert_newest_is(&former, &former.reference());
    // Now the other one is cut off.
    let refused = successor.run(&["backup"]);
    assert!([11, 16].contains(&refused.code), "{refused}");
}

#[test]
fn an_expired_quarantine_goes_with_the_next_healthy_start() {
    for layout in BOTH {
        let mut lab = Lab::filled(layout, few_entries);
        lab.ok(&["restore", "--force"]);
        lab.ok(&["init"]);
        assert_eq!(quarantined(&lab).len(), 1, "what is to be kept for a week is gone");
        lab.set("VOLKEEP_VOLUME_QUARANTINE_KEEP", "0s");
        lab.ok(&["init"]);
        assert_eq!(quarantined(&lab), BTreeSet::new());
        lab.assert_back();
    }
}

#[test]
fn a_check_that_leaves_a_child_behind_does_not_hold_up_the_start() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries);
    // The child waits as long as this test holds the other end.
    let held = lab.fifo("never");
    let script = format!("exec 3<'{}'; cat <&3 & exit 0", lab.path("never").display());
    let lab = lab.with("VOLKEEP_INIT_CHECKS", check(&script, "quick"));
    run_until(30.0, &lab.command(&["init"])).expect_code(0);
    drop(held);
}

#[test]
fn a_backup_the_marker_does_not_know_of_still_counts() {
    for layout in BOTH {
        let lab = Lab::new(layout);
        lab.ok(&["repository", "init"]);
        lab.ok(&["init"]);
        let (marker, copy) = (lab.state_dir().join("marker.json"), lab.path("marker"));
        fs::copy(&marker, &copy).unwrap();
        few_entries(&lab.volume());
        lab.ok(&["backup"]);
        lab.keep_reference();
        // As if the run had died between the commit and its note, and then the data was lost.
        fs::copy(&copy, &marker).unwrap();
        shell(
            "find \"$1\" -mindepth 1 -maxdepth 1 ! -name .volkeep -exec rm -rf {} +",
            &[lab.volume().as_os_str()],
        );
        lab.ok(&["init"]);
        lab.assert_back();
        assert_eq!(lab.state(), "healthy");
    }
}

fn check(script: &str, level: &str) -> String {
    let argv = serde_json::json!(["sh", "-c", script]);
    format!("[{{command: {argv}, level: {level}, timeout: 10m}}]")
}

/// A changed file, a backup of it, and the one object of this kind that came by it.
fn second_backup(lab: &Lab, kind: &str) -> PathBuf {
    let before = lab.stored(kind);
    fs::write(lab.volume().join("one/file-1"), b"changed").unwrap();
    lab.ok(&["backup"]);
    lab.stored(kind).into_iter().find(|path| !before.contains(path)).expect("an object came")
}

fn damage(path: &Path) {
    let mut content = fs::read(path).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 0x20;
    fs::write(path, content).unwrap();
}

fn assert_next_backup_is_whole(lab: &Lab) {
    let outcome = lab.run(&["backup"]);
    assert!([0, 3].contains(&outcome.code), "{outcome}");
    lab.keep_reference();
    assert_newest_is(lab, &lab.reference());
    lab.wipe();
    lab.ok(&["init"]);
    lab.assert_back();
}

#[track_caller]
fn assert_newest_is(lab: &Lab, expected: &Path) {
    let target = lab.path("newest");
    remove_all(&target);
    let outcome: Outcome = lab.ok(&["restore", "latest", "--target", target.to_str().unwrap()]);
    let differences = differences(expected, &target);
    assert!(differences.is_empty(), "{outcome}\nis not as {}:\n{differences}", expected.display());
}

fn quarantined(lab: &Lab) -> BTreeSet<PathBuf> {
    match fs::read_dir(lab.state_dir().join("quarantine")) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        Err(_) => BTreeSet::new(),
    }
}

fn everything(root: &Path) -> String {
    shell("cd \"$1\" && find . -printf '%p %s %C@\\n' | sort", &[root.as_os_str()])
}
