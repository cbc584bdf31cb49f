//! The life of a volume, seen from outside: it is filled, backed up, lost and brought back, in both layouts, and at
//! no point is anything overwritten that nobody gave away.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod support;

use std::fs;
use std::process::Command;

use support::life::{self, BOTH, changes, finish, start};
use support::{
    Home, Lab, Layout, PLAIN_USER, copy, few_entries, made_tree, odd_tree, same, same_content, shell,
};

#[test]
fn every_odd_thing_comes_back_in_a_subdirectory() {
    life::every_odd_thing_comes_back(Home::Directory, Layout::Subdirectory);
}

#[test]
fn every_odd_thing_comes_back_in_a_mount_point() {
    life::every_odd_thing_comes_back(Home::Directory, Layout::MountPoint);
}

#[test]
fn a_second_init_changes_nothing() {
    life::a_second_init_changes_nothing(Home::Directory);
}

#[test]
fn the_first_backup_after_a_restore_reads_no_file() {
    life::the_first_backup_after_a_restore_reads_no_file(Home::Directory);
}

#[test]
fn an_unchanged_volume_is_backed_up_without_reading_a_file() {
    life::an_unchanged_volume_is_backed_up_without_reading_a_file(Home::Directory);
}

#[test]
fn a_volume_that_was_overtaken_says_so() {
    life::a_volume_that_was_overtaken_says_so(Home::Directory);
}

#[test]
fn two_inits_at_once_both_end_well() {
    life::two_inits_at_once_both_end_well(Home::Directory);
}

#[test]
fn init_beside_a_backup_ends_well() {
    life::init_beside_a_backup_ends_well(Home::Directory);
}

#[test]
fn every_odd_thing_comes_back_by_gzip() {
    comes_back_with("gzip");
}

#[test]
fn every_odd_thing_comes_back_uncompressed() {
    comes_back_with("none");
}

fn comes_back_with(codec: &str) {
    let lab = Lab::new(Layout::Subdirectory);
    let url = lab.url();
    let lab = lab.with_config(&format!("repositories:\n  - {{ url: \"{url}\", compression: {codec} }}\n"));
    odd_tree(&lab.volume());
    lab.first_backup();
    lab.wipe();
    lab.ok(&["init"]);
    lab.assert_back();
    lab.ok(&["check", "--verify"]);
}

#[test]
fn a_directory_that_is_really_mounted_comes_back_in_place() {
    let lab = Lab::filled(Layout::MountPoint, few_entries);
    lab.wipe();
    let mount = r#"mount --bind "$VOLUME" "$VOLUME"; exec "$@""#;
    lab.inside_mounts(mount, &["init"]).expect_code(0);
    lab.assert_back();
    lab.inside_mounts(mount, &["backup"]).expect_code(0);
}

#[test]
fn a_change_that_keeps_size_and_time_is_noticed() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries);
    let path = lab.volume().join("one/file-1");
    let mut content = fs::read(&path).unwrap();
    content[0] ^= 1;
    shell("cp -p \"$1\" \"$2\"", &[path.as_os_str(), lab.path("times").as_os_str()]);
    fs::write(&path, content).unwrap();
    shell("touch -r \"$2\" \"$1\"", &[path.as_os_str(), lab.path("times").as_os_str()]);
    lab.ok(&["backup"]);
    lab.keep_reference();
    lab.wipe();
    lab.ok(&["init"]);
    lab.assert_back();
}

#[test]
fn what_is_excluded_stays_out() {
    let lab = Lab::new(Layout::Subdirectory);
    let url = lab.url();
    let lab = lab.with_config(&format!(
        "volume: {{ exclude: [\"/cache/**\", \"*.tmp\", \"!kept.tmp\"] }}\nrepositories: [{{ url: \"{url}\" }}]\n"
    ));
    few_entries(&lab.volume());
    shell(
        "cd \"$1\"; mkdir -p cache/deep one/cache marked
         echo x | tee cache/file cache/deep/file one/cache/file gone.tmp one/gone.tmp kept.tmp marked/file >/dev/null
         printf 'Signature: 8a477f597d28d172789f06886806bc55\\n' >marked/CACHEDIR.TAG",
        &[lab.volume().as_os_str()],
    );
    lab.first_backup();
    lab.wipe();
    lab.ok(&["init"]);
    for gone in ["cache/file", "cache/deep/file", "gone.tmp", "one/gone.tmp", "marked/file"] {
        assert!(!lab.volume().join(gone).exists(), "{gone} came back");
    }
    for kept in ["one/cache/file", "kept.tmp", "one/file-1"] {
        assert!(lab.volume().join(kept).exists(), "{kept} did not come back");
    }
}

#[test]
fn restore_to_another_place_takes_what_is_asked_for() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries);
    let target = |name: &str| lab.path(name).into_os_string().into_string().unwrap();
    let all = target("all");
    lab.ok(&["restore", "latest", "--target", &all]);
    same(&lab.reference(), lab.path("all").as_path());

    let part = target("part");
    lab.ok(&["restore", "latest", "--target", &part, "--path", "one/two", "--path", "a/f"]);
    for there in ["one/two/file-2", "one/two/three/file-3", "one/two/harder", "a/f"] {
        assert_eq!(
            fs::read(lab.path("part").join(there)).unwrap(),
            fs::read(lab.reference().join(there)).unwrap(),
            "{there}"
        );
    }
    for absent in ["one/file-1", "file-0", "large", "b"] {
        assert!(!lab.path("part").join(absent).exists(), "{absent}");
    }

    let dry = target("dry");
    lab.ok(&["restore", "latest", "--target", &dry, "--dry-run"]);
    assert!(!lab.path("dry").exists(), "a rehearsal wrote something");
    let none = target("none");
    lab.exits(10, &["restore", "no-such-snapshot", "--target", &none]);
}

#[test]
fn restore_finds_the_snapshot_of_a_time() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries);
    let first = lab.ok(&["snapshots", "--json"]).json();
    fs::write(lab.volume().join("later"), b"later").unwrap();
    lab.ok(&["backup"]);
    let at = first[0]["time"].as_str().expect("a snapshot has a time").to_owned();
    let target = lab.path("then");
    lab.ok(&["restore", "--at", &at, "--target", target.to_str().unwrap()]);
    same(&lab.reference(), &target);
    lab.exits(
        10,
        &["restore", "--at", "2001-01-01T00:00:00Z", "--target", lab.path("never").to_str().unwrap()],
    );
}

#[test]
fn restore_over_live_data_wants_force_and_keeps_what_was_there() {
    for layout in BOTH {
        let lab = Lab::filled(layout, few_entries);
        fs::write(lab.volume().join("precious"), b"written after the backup").unwrap();
        let changed = changes(&lab);
        lab.exits(16, &["restore"]);
        assert_eq!(changes(&lab), changed, "{layout:?}: a refused restore touched the data");
        lab.ok(&["restore", "--force"]);
        lab.assert_back();
        assert!(in_quarantine(&lab, "precious"), "{layout:?}: the data that made way is gone");
        assert_eq!(lab.state(), "healthy");
    }
}

fn in_quarantine(lab: &Lab, name: &str) -> bool {
    let found = shell("find \"$1/quarantine\" -name \"$2\"", &[lab.state_dir().as_os_str(), name.as_ref()]);
    !found.is_empty()
}

#[test]
fn an_export_is_an_archive_like_any_other() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries);
    let id = lab.snapshots().pop().unwrap();
    for name in ["volume.tar", "volume.tar.gz", "volume.tar.zst"] {
        let (archive, directory) = (lab.path(name), lab.path(&format!("{name}.d")));
        lab.ok(&["export", &id, archive.to_str().unwrap()]);
        shell(
            "mkdir \"$2\"; tar --numeric-owner -xpf \"$1\" -C \"$2\"",
            &[archive.as_os_str(), directory.as_os_str()],
        );
        same_content(&lab.reference(), &directory);

        // And back: the archive as the first content of a new volume.
        let fresh = Lab::new(Layout::MountPoint);
        fresh.ok(&["restore", "--from", archive.to_str().unwrap()]);
        same_content(&lab.reference(), &fresh.volume());
    }
}

#[test]
fn a_first_boot_needs_consent() {
    for layout in BOTH {
        let lab = Lab::new(layout);
        lab.exits(10, &["init"]);
        assert!(!lab.repository().exists(), "a repository appeared without consent");
        assert_eq!(lab.state(), "empty");
        let lab = lab.with("VOLKEEP_INIT_CREATE_REPOSITORY", "true");
        lab.ok(&["init"]);
        assert_eq!(lab.state(), "healthy");
        lab.ok(&["init"]);

        let lab = Lab::new(layout);
        lab.ok(&["repository", "init"]);
        lab.ok(&["init"]);
        assert_eq!(lab.state(), "healthy");
    }
}

#[test]
fn data_of_unknown_origin_is_never_overwritten() {
    for layout in BOTH {
        let source = Lab::filled(layout, few_entries);
        let lab = Lab::new(layout).with("VOLKEEP_REPOSITORY", source.url());
        made_tree(&lab.volume(), 50, 3);
        // Made now, so that the top of a mount point need not change later.
        fs::create_dir_all(lab.state_dir()).unwrap();
        lab.keep_reference();
        let untouched = changes(&lab);
        assert_eq!(lab.state(), "foreign");
        lab.exits(16, &["init"]);
        assert_eq!(changes(&lab), untouched, "{layout:?}");
        lab.assert_back();

        let lab = lab.with("VOLKEEP_INIT_ON_FOREIGN", "restore");
        lab.ok(&["init"]);
        same(&source.reference(), &lab.volume());
        assert!(in_quarantine(&lab, "file-49"), "{layout:?}: the data that made way is gone");
    }
}

#[test]
fn data_of_unknown_origin_can_be_adopted() {
    let source = Lab::filled(Layout::Subdirectory, few_entries);
    let lab = Lab::new(Layout::Subdirectory).with("VOLKEEP_REPOSITORY", source.url());
    made_tree(&lab.volume(), 50, 3);
    lab.keep_reference();
    lab.adopt();
    lab.assert_back();
    assert_eq!(lab.state(), "healthy");
}

#[test]
fn a_volume_and_a_repository_belong_to_one_identity() {
    let mut lab = Lab::filled(Layout::Subdirectory, few_entries);
    lab.set("VOLKEEP_IDENTITY", "another");
    lab.exits(15, &["init"]);
    assert_eq!(lab.state(), "mismatch");
    lab.assert_back();
    // Nor does a new disk get the data of another application.
    lab.wipe();
    lab.exits(15, &["init"]);
    assert!(fs::read_dir(lab.volume()).unwrap().next().is_none(), "data of another identity was restored");
}

#[test]
fn a_volume_that_lost_its_data_is_not_backed_up() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries);
    let before = lab.snapshots();
    shell("find \"$1\" -mindepth 1 -delete", &[lab.volume().as_os_str()]);
    lab.exits(16, &["backup"]);
    assert_eq!(lab.snapshots(), before);

    // Most of it gone is refused as well, unless told once.
    copy(&lab.reference(), &lab.volume());
    shell("find \"$1\" -mindepth 1 ! -path '*/file-1' ! -path '*/one' -delete", &[lab.volume().as_os_str()]);
    lab.exits(16, &["backup"]);
    lab.ok(&["backup", "--allow-shrink"]);
    assert_eq!(lab.snapshots().len(), before.len() + 1);
}

#[test]
fn a_locked_volume_is_waited_for_but_not_for_ever() {
    let mut lab = Lab::filled(Layout::Subdirectory, few_entries).with("VOLKEEP_VOLUME_LOCK_WAIT", "50ms");
    let lock = lab.state_dir().join("lock");
    let mut holder = support::spawn_waiting_for(
        Command::new("flock").arg(&lock).args(["sh", "-c", "echo held; read line || true"]),
        "held",
    );
    lab.exits(11, &["restore", "--force"]);
    lab.exits(11, &["backup"]);
    lab.assert_back();

    lab.set("VOLKEEP_VOLUME_LOCK_WAIT", "1m");
    let waiting = start(&mut lab.command(&["backup"]));
    // The end of its input ends the holder, and with it the lock.
    drop(holder.stdin.take());
    assert!(holder.wait().unwrap().success());
    finish(waiting).expect_code(0);
}

#[test]
fn wait_ends_when_the_volume_is_ready() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries);
    lab.ok(&["wait", "--timeout", "1ms"]);
    lab.wipe();
    let outcome = lab.run(&["wait", "--timeout", "1ms"]);
    assert_ne!(outcome.code, 0, "an empty volume is not ready: {outcome}");
    let waiting = start(&mut lab.command(&["wait", "--timeout", "60s"]));
    lab.ok(&["init"]);
    finish(waiting).expect_code(0);
}

#[test]
fn a_rehearsal_changes_nothing() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries);
    let before = (lab.snapshots(), lab.stored("packs"));
    fs::write(lab.volume().join("new"), b"new").unwrap();
    lab.ok(&["backup", "--dry-run"]);
    assert_eq!((lab.snapshots(), lab.stored("packs")), before);
    lab.wipe();
    lab.ok(&["init", "--dry-run"]);
    assert_eq!(fs::read_dir(lab.volume()).unwrap().count(), 0);
    assert_eq!(lab.state(), "empty");
}

#[test]
fn snapshots_can_be_listed_and_compared() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries);
    fs::write(lab.volume().join("added"), b"added").unwrap();
    fs::write(lab.volume().join("one/file-1"), b"changed").unwrap();
    fs::remove_file(lab.volume().join("large")).unwrap();
    lab.ok(&["backup"]);
    let ids = lab.snapshots();
    assert_eq!(ids.len(), 2);
    lab.ok(&["ls", &ids[0]]).says(&["one/two/three/file-3", "large"]);
    let below = lab.ok(&["ls", &ids[0], "one/two"]);
    assert!(below.stdout.contains("file-2") && !below.stdout.contains("file-1\n"), "{below}");
    let changed = lab.ok(&["diff", &ids[0], &ids[1]]).says(&["added", "file-1", "large"]);
    assert!(!changed.stdout.contains("file-2"), "{changed}");
    lab.ok(&["check"]);
    lab.ok(&["check", "--verify"]);
    lab.ok(&["check", "--verify=10"]);
}

#[test]
fn what_a_plain_user_cannot_set_is_counted_and_named() {
    let lab = Lab::filled(Layout::Subdirectory, |root| {
        few_entries(root);
        shell("chown -R -h \"$2\" \"$1\"", &[root.as_os_str(), PLAIN_USER.as_ref()]);
        let other = root.join("of somebody else");
        fs::write(&other, b"x").unwrap();
        std::os::unix::fs::chown(&other, Some(1234), Some(5678)).unwrap();
    });
    let target = lab.path("by a plain user");
    fs::create_dir(&target).unwrap();
    let mut command = lab.command_of_plain_user(&["restore", "latest", "--target", target.to_str().unwrap()]);
    support::run(&mut command).expect_code(3).says(&["of somebody else"]);
    for name in ["of somebody else", "one/file-1", "large"] {
        assert_eq!(
            fs::read(target.join(name)).unwrap(),
            fs::read(lab.reference().join(name)).unwrap(),
            "{name}"
        );
    }
}

#[test]
fn the_demo_runs_and_shows_the_whole_life() {
    let lab = Lab::new(Layout::Subdirectory);
    let outcome = lab.ok(&["demo"]);
    assert!(outcome.stdout.lines().count() > 10, "{outcome}");
    assert!(!lab.repository().exists(), "the demo used a repository that is not its own");
}

#[test]
fn what_needs_no_volume_works_without_one() {
    let lab = Lab::new(Layout::Subdirectory);
    for arguments in [&["man"][..], &["completions", "bash"], &["config", "schema"], &["config", "show"]] {
        assert!(!lab.ok(arguments).stdout.is_empty(), "{arguments:?}");
    }
    lab.ok(&["config", "check"]);
    lab.ok(&["--help"]).says(&["16", "78"]);
    lab.exits(2, &["no-such-command"]);
    lab.exits(78, &["config", "check", "--config", "/no/such/file"]);
    let lab = lab.with("VOLKEEP_INIT_ON_STALE", "perhaps");
    lab.exits(78, &["init"]).says(&["on_stale"]);
}
