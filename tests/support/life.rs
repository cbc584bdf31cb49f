//! What happens in the life of a volume, wherever its repository is.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::compare::same;
use super::lab::{Home, Lab, Layout};
use super::process::{Outcome, shell};
use super::trees::{few_entries, made_tree, odd_tree};

pub const BOTH: [Layout; 2] = [Layout::Subdirectory, Layout::MountPoint];

/// The odd tree is backed up, lost and brought back.
pub fn every_odd_thing_comes_back(home: Home, layout: Layout) {
    let lab = Lab::filled_in(home, layout, odd_tree);
    lab.wipe();
    lab.ok(&["init"]);
    lab.assert_back();
    assert_eq!(lab.state(), "healthy");
}

pub fn a_second_init_changes_nothing(home: Home) {
    for layout in BOTH {
        let lab = Lab::filled_in(home, layout, few_entries);
        lab.wipe();
        lab.ok(&["init"]);
        let before = (lab.state_listing(), changes(&lab));
        lab.ok(&["init"]);
        lab.ok(&["init"]);
        assert_eq!((lab.state_listing(), changes(&lab)), before, "{layout:?}");
        lab.assert_back();
    }
}

/// The change time of everything on the volume: nothing can set it back. The top is left out: in a mount point, making
/// our own directory changes it.
pub fn changes(lab: &Lab) -> String {
    shell(
        "cd \"$1\" && find . -mindepth 1 -path ./.volkeep -prune -o -printf '%p %C@ %i\\n' | sort",
        &[lab.volume().as_os_str()],
    )
}

pub fn the_first_backup_after_a_restore_reads_no_file(home: Home) {
    for layout in BOTH {
        let lab = Lab::filled_in(home, layout, few_entries);
        lab.wipe();
        lab.ok(&["init"]);
        let report = lab.backup();
        assert_eq!(
            (&report["files_read"], &report["bytes_read"]),
            (&0.into(), &0.into()),
            "{layout:?}: {report}"
        );
    }
}

pub fn an_unchanged_volume_is_backed_up_without_reading_a_file(home: Home) {
    let lab = Lab::filled_in(home, Layout::Subdirectory, few_entries);
    // Files whose times lie close before the first backup are rightly read again, until they are old enough.
    let deadline = Instant::now() + Duration::from_secs(60);
    while lab.backup()["files_read"] != 0 {
        assert!(Instant::now() < deadline, "files are read again and again");
    }
    let report = lab.backup();
    assert_eq!((&report["files_read"], &report["bytes_read"]), (&0.into(), &0.into()), "{report}");

    // One changed file is one file read.
    let changed = lab.volume().join("one/file-1");
    fs::write(&changed, b"changed").unwrap();
    let report = lab.backup();
    assert_eq!((&report["files_read"], &report["bytes_read"]), (&1.into(), &7.into()), "{report}");
}

pub fn a_volume_that_was_overtaken_says_so(home: Home) {
    let old = Lab::filled_in(home, Layout::Subdirectory, few_entries);
    let new = Lab::new(Layout::Subdirectory).sharing(&old);
    new.ok(&["init"]);
    fs::write(new.volume().join("later"), b"later").unwrap();
    new.ok(&["backup"]);
    new.keep_reference();

    old.exits(16, &["init"]);
    old.assert_back();
    let old = old.with("VOLKEEP_INIT_ON_STALE", "keep");
    old.ok(&["init"]);
    old.assert_back();
    let old = old.with("VOLKEEP_INIT_ON_STALE", "restore");
    old.ok(&["init"]);
    same(&new.reference(), &old.volume());
}

pub fn two_inits_at_once_both_end_well(home: Home) {
    for layout in BOTH {
        let lab = Lab::filled_in(home, layout, few_entries);
        lab.wipe();
        let running: Vec<_> = (0..3).map(|_| start(&mut lab.command(&["init"]))).collect();
        for child in running {
            finish(child).expect_code(0);
        }
        lab.assert_back();
    }
}

pub fn init_beside_a_backup_ends_well(home: Home) {
    let lab = Lab::filled_in(home, Layout::Subdirectory, |root| made_tree(root, 3000, 5));
    made_tree(&lab.volume().join("more"), 3000, 6);
    lab.keep_reference();
    let backup = start(&mut lab.command(&["backup"]));
    lab.ok(&["init"]);
    finish(backup).expect_code(0);
    lab.ok(&["init"]);
    lab.wipe();
    lab.ok(&["init"]);
    lab.assert_back();
}

pub fn start(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

pub fn finish(child: Child) -> Outcome {
    let what = Command::new(format!("volkeep, process {}", child.id()));
    Outcome::of(&what, child.wait_with_output().unwrap())
}
