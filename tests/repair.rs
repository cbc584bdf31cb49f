//! The repair of damaged data by `init`: what it may change, what is kept of what was there, and where a run that dies
//! in the middle leaves the volume.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop")]

mod support;

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use support::crash::{
    AtLeast, DIRECTORIES, METADATA, REMOVALS, RENAMES, SYNCS, kill_at_each, killed_at, report,
};
use support::life::{finish, start};
use support::sidecar::{is_alive, pid};
use support::{Lab, Layout, is_root, odd_tree, run, same, shell};

/// `page` is what the checks look at: the quick ones know `bad`, the full ones `half` as well.
const CHECKS: &str = "
    - {command: [sh, -c, 'if grep -q bad page; then echo page is bad; exit 1; fi'], level: both}
    - {command: [sh, -c, 'if grep -q half page; then echo page is half done; exit 1; fi'], level: full}";

const MENDS: &str = "echo ran >> $LAB/ran; echo good > page";

/// A volume with a good page, backed up, whose page is now bad.
fn damaged(layout: Layout, repair: &str) -> Lab {
    let lab = Lab::filled(layout, |volume| {
        fs::write(volume.join("page"), "good\n").unwrap();
        fs::create_dir(volume.join("deep")).unwrap();
        fs::write(volume.join("deep/other"), "other\n").unwrap();
    });
    damage(&lab);
    let lab = lab.with_config("");
    configure(&lab, CHECKS, repair);
    lab
}

fn damage(lab: &Lab) {
    fs::write(lab.volume().join("page"), "bad\n").unwrap();
}

/// `$LAB` is the directory of the lab, also in the script of the repair.
fn configure(lab: &Lab, checks: &str, repair: &str) {
    let repositories = format!("repositories: [{{url: '{}'}}]\n", lab.url());
    let text =
        format!("{repositories}sidecar: {{listen: ''}}\ninit:\n  checks: {checks}\n  repair: {{{repair}}}\n");
    let root = lab.path("");
    let root = root.to_str().unwrap().trim_end_matches('/');
    fs::write(lab.path("config.yaml"), text.replace("$LAB", root)).unwrap();
}

fn by(script: &str) -> String {
    format!("command: [sh, -c, '{script}']")
}

fn page(lab: &Lab) -> String {
    fs::read_to_string(lab.volume().join("page")).unwrap().trim().to_owned()
}

/// Path and reason of what is kept, oldest first.
fn kept(lab: &Lab) -> Vec<(PathBuf, String)> {
    let status = lab.ok(&["status", "--json"]).json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let kept = status["quarantine"].as_array().unwrap();
    kept.iter().map(|one| (PathBuf::from(text(&one["path"])), text(&one["reason"]))).collect()
}

fn never_ran(lab: &Lab, context: &str) {
    assert!(!lab.path("ran").exists(), "{context}: the repair ran");
}

#[test]
fn an_index_of_sqlite_is_repaired_in_place() {
    let lab = Lab::filled(Layout::Subdirectory, |volume| {
        shell(
            "sqlite3 \"$1\" 'CREATE TABLE pages(id INTEGER PRIMARY KEY, title TEXT);
                             CREATE INDEX titles ON pages(title);
                             INSERT INTO pages(title) SELECT hex(randomblob(20)) FROM generate_series(1, 2000);'",
            &[volume.join("wiki.db").as_os_str()],
        );
    });
    let lab = lab.with_config("");
    let checks = "[{sqlite: wiki.db}]";
    // The first attempt dies in the middle of a transaction: the journal tells that.
    let script = "echo \"$VOLKEEP_FINDINGS\" > $LAB/findings
        if ! test -e $LAB/died; then echo > $LAB/died; echo journal > wiki.db-journal; kill -9 $PPID; exit; fi
        rm -f wiki.db-journal; exec sqlite3 wiki.db REINDEX"
        .replace("\n        ", "; ")
        .replace("then; ", "then ");
    configure(&lab, checks, &format!("{}, keep_copy: true", by(&script)));
    // A row that the index does not know: only the full checks find that.
    let database = lab.volume().join("wiki.db");
    shell(
        "page=$(sqlite3 \"$1\" \"SELECT rootpage FROM sqlite_schema WHERE name = 'titles'\")
         sqlite3 \"$1\" \"PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE name = 'titles'\"
         sqlite3 \"$1\" \"INSERT INTO pages(title) VALUES('unknown')\"
         sqlite3 \"$1\" \"PRAGMA writable_schema = ON; INSERT INTO sqlite_schema VALUES
                          ('index', 'titles', 'pages', $page, 'CREATE INDEX titles ON pages(title)')\"",
        &[database.as_os_str()],
    );
    lab.sidecar().kill();
    assert_eq!(lab.state(), "dirty");
    lab.keep_reference();

    assert!(lab.run(&["init"]).was_killed());
    let findings = fs::read_to_string(lab.path("findings")).unwrap();
    assert!(
        findings.starts_with("sqlite wiki.db: ") && findings.contains("missing from index"),
        "{findings}"
    );
    // SQLite itself says nothing about a database in the middle of a transaction. It was damaged, and still is.
    lab.exits(1, &["wait", "--timeout", "0s"]).says(&["a repair of it was begun"]);
    let report = lab.ok(&["init", "--json"]).json();
    assert_eq!((&report["state"], &report["action"]), (&"corrupt".into(), &"nothing".into()), "{report}");
    assert_eq!((&report["repaired"], &report["repair"]["result"]), (&true.into(), &"repaired".into()));
    let findings = fs::read_to_string(lab.path("findings")).unwrap();
    assert!(findings.contains("damage was found before, and now it cannot tell"), "{findings}");
    let rows = "SELECT count(*) FROM pages INDEXED BY titles WHERE title = 'unknown'";
    let script = "test \"$(sqlite3 \"$1\" 'PRAGMA integrity_check')\" = ok; sqlite3 \"$1\" \"$2\"";
    assert_eq!(shell(script, &[database.as_os_str(), rows.as_ref()]).trim(), "1");
    assert_eq!(lab.state(), "healthy");
    lab.ok(&["wait", "--timeout", "0s"]);
    // There is one copy, that of the data as it was found.
    let kept = kept(&lab);
    let [(copy, reason)] = kept.as_slice() else { panic!("{kept:?}") };
    assert_eq!(
        (reason.as_str(), report["repair"]["copy"].as_str()),
        ("copied before a repair", copy.to_str())
    );
    same(&lab.reference(), &copy.join("data"));
    lab.ok(&["backup"]);
}

#[test]
fn a_copy_is_the_data_with_all_its_metadata() {
    for layout in [Layout::Subdirectory, Layout::MountPoint] {
        let lab = Lab::filled(layout, |volume| {
            odd_tree(volume);
            fs::write(volume.join("page"), "good\n").unwrap();
        });
        let lab = lab.with_config("");
        configure(&lab, CHECKS, &format!("{}, keep_copy: true", by(MENDS)));
        damage(&lab);
        lab.keep_reference();
        lab.ok(&["init"]).says(&["the volume is corrupt: repaired by `sh`; nothing to restore"]);
        let (copy, _) = kept(&lab).remove(0);
        same(&lab.reference(), &copy.join("data"));
        // Sharing blocks is not sharing files.
        assert_eq!(
            (page(&lab).as_str(), fs::read_to_string(copy.join("data/page")).unwrap()),
            ("good", "bad\n".into())
        );
    }
}

#[test]
fn a_repair_that_does_not_help_is_followed_by_a_restore() {
    let cases = [
        ("echo half > page; exit 3", "`sh` ended with exit code 3", "half"),
        ("echo half > page", "page is half done", "half"),
        // What it mends is not all there is.
        ("echo good > page; rm deep/other", "exists deep/other", "good"),
        ("echo half > page; sleep 600 & echo $! > $LAB/child; wait", "did not end within 1 s", "half"),
        ("rm -r page deep", "the volume is empty now", ""),
        ("exec no-such-program", "exit code 127", "bad"),
    ];
    let checks = format!("{CHECKS}\n    - {{exists: deep/other}}");
    for (script, reason, left) in cases {
        let lab = damaged(Layout::Subdirectory, "");
        let limit = if script.contains("sleep") { "1s" } else { "1m" };
        configure(&lab, &checks, &format!("{}, timeout: {limit}, keep_copy: true", by(script)));
        let outcome = lab.ok(&["init", "--json"]);
        let told = outcome.json();
        let repair = &told["repair"];
        assert_eq!(
            (&told["action"], &told["repaired"]),
            (&"restore".into(), &false.into()),
            "{script}: {told}"
        );
        assert_eq!(repair["result"], "failed", "{script}: {told}");
        assert!(repair["reason"].as_str().unwrap().contains(reason), "{script}: {told}");
        assert!(outcome.stderr.contains("the data is not repaired"), "{outcome}");
        lab.assert_back();
        assert_eq!(lab.state(), "healthy");
        if let Ok(child) = fs::read_to_string(lab.path("child")) {
            assert!(!is_alive(&child), "{script}: what it started goes on");
        }
        let kept = kept(&lab);
        assert_eq!(kept[0].1, "copied before a repair", "{script}");
        assert_eq!(fs::read_to_string(kept[0].0.join("data/page")).unwrap(), "bad\n", "{script}");
        if left.is_empty() {
            assert_eq!(kept.len(), 1, "{script}: {kept:?}");
            continue;
        }
        assert!(
            kept[1].1.starts_with("left by a repair that did not help, and replaced by"),
            "{script}: {kept:?}"
        );
        assert_eq!(fs::read_to_string(kept[1].0.join("data/page")).unwrap().trim(), left, "{script}");
    }
}

#[test]
fn a_command_runs_where_and_as_whom_it_is_told_and_its_words_are_in_the_log() {
    let script =
        "echo secret has $(echo $SECRET | wc -c) bytes; echo in $PWD as $(id -u); cat > page < $LAB/good";
    let user = if is_root() { ", user: \"65534:65534\"" } else { "" };
    let lab = damaged(Layout::Subdirectory, "");
    for (name, text) in [("good", "good\n"), ("secret", "hidden\n")] {
        fs::write(lab.path(name), text).unwrap();
    }
    shell(
        "chmod 755 \"$1\" \"$1/volume\"; chmod 777 \"$2\"; chmod 666 \"$2/page\"",
        &[lab.path("").as_os_str(), lab.volume().as_os_str()],
    );
    configure(
        &lab,
        CHECKS,
        &format!("{}, env: {{SHOWN: never}}, env_file: {{SECRET: $LAB/secret}}{user}", by(script)),
    );
    let outcome = lab.ok(&["init"]);
    let user = if is_root() { "65534".to_owned() } else { shell("id -u", &[]).trim().to_owned() };
    let place = format!("in {} as {user}", lab.volume().display());
    let outcome = outcome.says(&["secret has 7 bytes", &place]);
    assert!(!outcome.stderr.contains("hidden"), "{outcome}");
    assert!(!lab.ok(&["config", "show"]).stdout.contains("never"));
    // The owner of a page that was written anew is nobody's business here: it is good.
    assert_eq!(page(&lab), "good");
    configure(&lab, CHECKS, "user: nobody");
    lab.exits(78, &["init"]).says(&["init.repair", "`user` goes with `command` only"]);
}

#[test]
fn hooks_come_before_it_and_a_dry_run_says_what_it_would_do() {
    let lab = damaged(Layout::Subdirectory, &by("echo repair >> $LAB/order; echo good > page"));
    lab.ok(&["init", "--dry-run"]).says(&[
        "the volume is corrupt: would try the repair by `sh` first",
        "would restore the newest snapshot",
    ]);
    let told = lab.ok(&["init", "--dry-run", "--json"]).json();
    assert_eq!((&told["repair"]["result"], &told["repaired"]), (&"due".into(), &false.into()), "{told}");
    assert!(!lab.path("order").exists() && page(&lab) == "bad");
    let hook = format!("[{{command: [sh, -c, 'echo before >> {}']}}]", lab.path("order").display());
    let lab = lab.with("VOLKEEP_INIT_HOOKS_BEFORE", hook);
    lab.ok(&["init"]);
    assert_eq!(lab.words("order"), ["before", "repair"]);
    // One that fails keeps everything else from being done.
    fs::remove_file(lab.path("order")).unwrap();
    damage(&lab);
    let lab = lab.with("VOLKEEP_INIT_HOOKS_BEFORE", "[{command: ['false']}]");
    lab.exits(1, &["init"]);
    assert!(!lab.path("order").exists() && page(&lab) == "bad");
}

#[test]
fn where_nothing_can_be_restored_it_is_the_way_out() {
    let lab = damaged(Layout::Subdirectory, &by("echo half > page; exit 1"));
    let url = format!("file://{}", lab.path("elsewhere").display());
    let lab = lab.with("VOLKEEP_REPOSITORY", url);
    lab.ok(&["repository", "init"]);
    lab.ok(&["init", "--dry-run"]).says(&["would try the repair by `sh` first", "would stop"]);
    lab.exits(16, &["init"]).says(&["there is no snapshot to restore"]);
    // Quick checks find nothing in what it left, and are not believed.
    assert_eq!(page(&lab), "half");
    lab.exits(1, &["wait", "--timeout", "0s"]).says(&["a repair of it was begun"]);
    lab.exits(16, &["backup"]).says(&["a repair of the volume was begun", "run `volkeep init`"]);
    let status = lab.ok(&["status", "--json"]).json();
    assert!(status["damage"]["found"].is_string() && status["damage"]["repair"].is_string(), "{status}");
    lab.ok(&["status"]).says(&["the full checks are due"]);
    // Nor by a start beside a sidecar, nor by the sidecar.
    let sidecar = lab.sidecar();
    lab.exits(1, &["wait", "--timeout", "0s"]).says(&["a repair of it was begun"]);
    lab.exits(11, &["init"]).says(&["in use by `sidecar`"]);
    lab.exits(16, &["run", "backup"]);
    sidecar.await_some("it tells of the damage", || {
        let (ready, why) = sidecar.readiness();
        (!ready && why.contains("the volume is corrupt")).then_some(())
    });
    sidecar.end_well();
    lab.exits(16, &["prune"]).says(&["a repair of the volume was begun"]);
    lab.exits(16, &["init"]);
    // Somebody mends it by hand.
    fs::write(lab.volume().join("page"), "good\n").unwrap();
    lab.ok(&["init"]).says(&["the volume is dirty: nothing to do"]);
    lab.ok(&["wait", "--timeout", "0s"]);
    lab.ok(&["backup"]);
    assert!(lab.ok(&["status", "--json"]).json()["damage"].is_null());
}

#[test]
fn damage_that_was_found_holds_the_app_back_without_any_repair() {
    let lab = damaged(Layout::Subdirectory, "");
    let url = format!("file://{}", lab.path("elsewhere").display());
    let lab = lab.with("VOLKEEP_REPOSITORY", url);
    lab.ok(&["repository", "init"]);
    lab.exits(16, &["init"]);
    lab.exits(1, &["wait", "--timeout", "0s"]).says(&["damage was found on it"]);
    fs::write(lab.volume().join("page"), "half\n").unwrap();
    lab.exits(16, &["backup"]).says(&["damage was found on the volume"]);
    lab.exits(16, &["init"]).says(&["page is half done"]);
    fs::write(lab.volume().join("page"), "good\n").unwrap();
    lab.ok(&["init"]);
    lab.ok(&["wait", "--timeout", "0s"]);
}

#[test]
fn only_our_own_damaged_data_is_repaired_and_not_beside_an_app() {
    let script = "echo ran >> $LAB/ran; exit 1";
    let lab = damaged(Layout::Subdirectory, &by(script));
    let other = run(lab.command(&["init"]).env("VOLKEEP_IDENTITY", "other")).expect_code(15);
    never_ran(&lab, &other.to_string());

    fs::write(lab.volume().join("page"), "good\n").unwrap();
    let sidecar = lab.sidecar();
    damage(&lab);
    lab.exits(11, &["init"]);
    sidecar.end_well();
    never_ran(&lab, "beside a sidecar");

    let marker = lab.state_dir().join("marker.json");
    fs::rename(&marker, lab.path("marker")).unwrap();
    run(lab.command(&["init"]).env("VOLKEEP_INIT_ON_FOREIGN", "adopt")).expect_code(16);
    never_ran(&lab, "foreign");
    fs::rename(lab.path("marker"), &marker).unwrap();

    fs::write(lab.volume().join("page"), "good\n").unwrap();
    let successor = Lab::new(Layout::Subdirectory).with("VOLKEEP_REPOSITORY", lab.url());
    successor.ok(&["init"]);
    fs::write(successor.volume().join("page"), "newer\n").unwrap();
    successor.ok(&["backup"]);
    lab.exits(16, &["init"]).says(&["newer snapshot"]);
    never_ran(&lab, "stale");
    // One that is damaged as well is repaired, and is still what it was.
    damage(&lab);
    configure(&lab, CHECKS, &by(MENDS));
    lab.exits(16, &["init"]).says(&["the data is repaired", "newer snapshot"]);
    assert_eq!(page(&lab), "good");
    configure(&lab, CHECKS, &by(script));
    fs::remove_file(lab.path("ran")).unwrap();

    lab.wipe();
    lab.ok(&["init"]);
    never_ran(&lab, "empty");
    lab.wipe();
    let cut_off = (2..10).any(|step| {
        lab.wipe();
        killed_at(&lab, &["init"], RENAMES, step).was_killed() && lab.state() == "interrupted"
    });
    assert!(cut_off);
    lab.ok(&["init"]);
    never_ran(&lab, "interrupted");

    // And once for each init.
    damage(&lab);
    lab.ok(&["init"]);
    assert_eq!(lab.words("ran"), ["ran"]);
}

#[test]
fn who_is_told_to_stop_restores_nothing() {
    let script = "echo half > page; sleep 600 & echo $! > $LAB/child; echo > $LAB/waits; wait";
    let lab = damaged(Layout::Subdirectory, &by(script));
    let waits = lab.fifo("waits");
    let init = start(&mut lab.command(&["init"]));
    waits.await_line();
    rustix::process::kill_process(pid(init.id()), rustix::process::Signal::TERM).unwrap();
    finish(init)
        .expect_code(1)
        .says(&["the repair was stopped", "the next `volkeep init` makes the full checks"]);
    assert!(!is_alive(&fs::read_to_string(lab.path("child")).unwrap()));
    assert_eq!((page(&lab).as_str(), kept(&lab).len()), ("half", 0));
    configure(&lab, CHECKS, &by(MENDS));
    let told = lab.ok(&["init", "--json"]).json();
    assert_eq!((&told["state"], &told["repaired"]), (&"corrupt".into(), &true.into()), "{told}");
}

/// Killed where names change or something becomes durable: before, while and after the command.
#[test]
fn a_death_at_any_rename_is_never_taken_for_health() {
    survives(Layout::Subdirectory, RENAMES, true);
    survives(Layout::Subdirectory, RENAMES, false);
}

#[test]
fn a_death_at_any_rename_in_a_mount_point_is_never_taken_for_health() {
    survives(Layout::MountPoint, RENAMES, true);
}

#[test]
fn a_death_at_any_sync_is_never_taken_for_health() {
    survives(Layout::Subdirectory, SYNCS, true);
}

#[test]
fn a_death_at_any_directory_or_removal_is_never_taken_for_health() {
    survives(Layout::Subdirectory, DIRECTORIES, true);
    survives(Layout::Subdirectory, REMOVALS, true);
}

#[test]
fn a_death_while_metadata_is_set_is_never_taken_for_health() {
    survives(Layout::Subdirectory, METADATA, true);
}

fn survives(layout: Layout, calls: &str, keep_copy: bool) {
    let lab = damaged(layout, &format!("{}, keep_copy: {keep_copy}", by(MENDS)));
    lab.ok(&["init"]);
    let lab = &lab;
    let deaths = kill_at_each(1, 1, |step| {
        support::remove_all(&lab.state_dir().join("quarantine"));
        damage(lab);
        lab.keep_reference();
        let _ = fs::remove_file(lab.path("ran"));
        let outcome = killed_at(lab, &["init"], calls, step);
        let context = format!("{:?}, {keep_copy}, killed at step {step} of {calls}", lab.layout);
        let killed = outcome.was_killed();
        assert!(killed || outcome.code == 0, "{context}: {outcome}");
        let waits = lab.run(&["wait", "--timeout", "0s"]);
        let damage = &lab.ok(&["status", "--json"]).json()["damage"];
        if killed && lab.path("ran").exists() {
            // From before the command until the full checks have passed.
            assert!(damage.is_null() || damage["repair"].is_string(), "{context}: {damage}");
            assert_eq!(waits.code == 0, damage.is_null() && page(lab) == "good", "{context}: {waits}");
        }
        assert!(waits.code == 1 || damage.is_null(), "{context}: {waits}, {damage}");
        let again = lab.run(&["init"]);
        assert!(again.code == 0, "{context}, then {again}");
        assert_eq!((page(lab).as_str(), lab.state().as_str()), ("good", "healthy"), "{context}");
        lab.ok(&["wait", "--timeout", "0s"]);
        let found: Vec<_> = fs::read_dir(lab.state_dir().join("quarantine"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(!found.iter().any(|name| name.starts_with(".tmp-")), "{context}: {found:?}");
        let kept = kept(lab);
        assert_eq!(kept.is_empty(), !keep_copy, "{context}: {kept:?}");
        for (copy, _) in kept {
            // Each of them is whole, and the data as it was found.
            same(&lab.reference(), &copy.join("data"));
        }
        killed
    });
    report("a repair", calls, deaths, &AtLeast(usize::from(calls == RENAMES || calls == SYNCS)));
}

#[test]
fn a_command_that_dies_with_init_leaves_what_only_full_checks_may_judge() {
    let dies = by("echo half > page; kill -9 $PPID");
    let lab = damaged(Layout::MountPoint, &format!("{dies}, keep_copy: true"));
    lab.keep_reference();
    for _ in 0..3 {
        assert!(lab.run(&["init"]).was_killed());
        lab.exits(1, &["wait", "--timeout", "0s"]).says(&["a repair of it was begun"]);
        lab.exits(16, &["backup"]);
    }
    // The data as it was found is still there, and it is not copied again and again.
    let copies = kept(&lab);
    assert_eq!(copies.len(), 1, "{copies:?}");
    same(&lab.reference(), &copies[0].0.join("data"));
    // Where no repair is configured any more, the restore follows.
    configure(&lab, CHECKS, "");
    let told = lab.ok(&["init", "--json"]).json();
    assert_eq!((&told["state"], &told["action"]), (&"corrupt".into(), &"restore".into()), "{told}");
    assert_eq!(page(&lab), "good");
    assert_eq!(kept(&lab).len(), 2);
}

#[test]
fn without_room_for_a_copy_nothing_is_repaired() {
    // The volume on a disk of its own, which holds the data once and nearly twice.
    let script = "cp -a \"$LAB/volume\" \"$LAB/saved\"; mount -t tmpfs -o size=$SIZE tmpfs \"$LAB/volume\"
                  cp -a \"$LAB/saved/.\" \"$LAB/volume/\"; code=0; \"$@\" || code=$?
                  cat \"$VOLUME/page\" > \"$LAB/page-after\"; rm -rf \"$LAB/saved\"; exit $code";
    let lab = damaged(Layout::Subdirectory, "");
    fs::write(lab.volume().join("large"), support::random_bytes(7, 6 << 20)).unwrap();
    configure(&lab, CHECKS, &format!("{}, keep_copy: true", by(MENDS)));
    let page_after = || fs::read_to_string(lab.path("page-after")).unwrap();
    // What is in the snapshot is small, so there is room for the restore.
    let outcome = lab.inside_mounts(&script.replace("$SIZE", "14m"), &["init", "--json"]).expect_code(0);
    let told = outcome.json();
    assert_eq!(
        (&told["repair"]["result"], &told["action"]),
        (&"not_run".into(), &"restore".into()),
        "{told}"
    );
    let reason = told["repair"]["reason"].as_str().unwrap();
    assert!(
        reason.contains("no copy of the data can be kept") && reason.contains("the copy needs"),
        "{told}"
    );
    never_ran(&lab, "no room");
    assert_eq!(page_after(), "good\n");
    // With room it is the same as anywhere.
    lab.inside_mounts(&script.replace("$SIZE", "30m"), &["init"]).expect_code(0).says(&["repaired by `sh`"]);
    assert_eq!((page_after().as_str(), lab.words("ran").len()), ("good\n", 1));
    fs::remove_file(lab.path("ran")).unwrap();
    // And where there is none for anything, everything stays as it is.
    let script = script.replace("$SIZE", "8m").replace(
        "code=0;",
        "code=0; cat /dev/zero > \"$LAB/volume/filler\" 2> /dev/null || true;
         truncate -s -64K \"$LAB/volume/filler\";",
    );
    lab.inside_mounts(&script, &["init"])
        .expect_code(1)
        .says(&["no copy of the data can be kept", "the restore needs"]);
    never_ran(&lab, "a full disk");
    assert_eq!(page_after(), "bad\n");
}

#[test]
fn what_cannot_be_read_cannot_be_copied() {
    let lab = damaged(Layout::Subdirectory, &format!("{}, keep_copy: true", by(MENDS)));
    shell("chmod 000 \"$1\"", &[lab.volume().join("deep/other").as_os_str()]);
    let told = run(&mut lab.command_of_plain_user(&["init", "--json"])).expect_code(0).json();
    assert_eq!(
        (&told["repair"]["result"], &told["action"]),
        (&"not_run".into(), &"restore".into()),
        "{told}"
    );
    assert!(told["repair"]["reason"].as_str().unwrap().contains("deep/other: permission denied"), "{told}");
    never_ran(&lab, "unreadable");
    assert_eq!(page(&lab), "good");
    let left = fs::read_dir(lab.state_dir().join("quarantine")).unwrap().count();
    assert_eq!(left, 1, "the half of a copy is still there");
}

#[test]
fn a_copy_goes_when_it_has_expired() {
    let lab = damaged(Layout::Subdirectory, &format!("{}, keep_copy: true", by(MENDS)));
    lab.ok(&["init"]);
    assert_eq!(kept(&lab).len(), 1);
    let lab = lab.with("VOLKEEP_VOLUME_QUARANTINE_KEEP", "0s");
    lab.ok(&["init"]);
    assert_eq!(kept(&lab), Vec::<(PathBuf, String)>::new());
}
