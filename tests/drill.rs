//! Drills by the built binary: what they prove, what makes them fail, and that they leave nothing behind, wherever they
//! die.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Signal, kill_process};
use serde_json::Value;
use support::crash::{AtLeast, DIRECTORIES, REMOVALS, RENAMES, kill_at_each, killed_at, report};
use support::life::{BOTH, changes, finish, start};
use support::sidecar::{is_alive, job, pid};
use support::{Home, Lab, Layout, Outcome, few_entries, odd_tree, remove_all, run, shell};

/// A volume with a page and a directory, backed up once; its configuration has these checks, one a line.
fn lab(checks: &str, more: &str) -> Lab {
    let lab = Lab::filled(Layout::Subdirectory, |volume| {
        fs::write(volume.join("page"), "good\n").unwrap();
        fs::create_dir(volume.join("deep")).unwrap();
        fs::write(volume.join("deep/other"), "other\n").unwrap();
    })
    .with_config("");
    configure(&lab, checks, more);
    lab
}

/// `$LAB` is the directory of the lab.
fn configure(lab: &Lab, checks: &str, more: &str) {
    let checks: String = checks.lines().map(|line| format!("    - {}\n", line.trim())).collect();
    let checks = if checks.is_empty() { String::new() } else { format!("init:\n  checks:\n{checks}") };
    let text = format!("repositories: [{{url: '{}'}}]\nsidecar: {{listen: ''}}\n{checks}{more}\n", lab.url());
    let root = lab.path("");
    fs::write(lab.path("config.yaml"), text.replace("$LAB", root.to_str().unwrap().trim_end_matches('/')))
        .unwrap();
}

#[track_caller]
fn drill(lab: &Lab) -> Value {
    one(&lab.ok(&["drill", "--json"]))
}

#[track_caller]
fn one(outcome: &Outcome) -> Value {
    match outcome.json() {
        Value::Array(all) if all.len() == 1 => all[0].clone(),
        other => panic!("{other}"),
    }
}

/// Nothing of a drill is there but its record and its lock.
#[track_caller]
fn assert_nothing_is_left(lab: &Lab, context: &str) {
    let names: Vec<String> = fs::read_dir(lab.state_dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("drill") || name.starts_with(".tmp-"))
        .collect();
    let known = |name: &&String| !matches!(name.as_str(), "drill.json" | "drill.lock");
    assert_eq!(names.iter().find(known), None, "{context}: {names:?}");
}

fn last(lab: &Lab) -> Value {
    lab.run(&["status", "--json"]).json()["drill"]["last"].clone()
}

/// Changes every byte of a file.
fn spoil(path: &Path) {
    let bytes: Vec<u8> = fs::read(path).unwrap().into_iter().map(|byte| byte ^ 1).collect();
    fs::write(path, bytes).unwrap();
}

#[test]
fn the_newest_snapshot_is_proved_and_everybody_can_see_it() {
    for layout in BOTH {
        let lab = Lab::filled(layout, odd_tree);
        fs::write(lab.volume().join("later"), "later").unwrap();
        lab.backup();
        assert!(lab.ok(&["status", "--json"]).json()["drill"].is_null());
        let (before, repository) = (
            changes(&lab),
            shell("cd \"$1\" && find . -printf '%p %s %C@\\n' | sort", &[lab.repository().as_os_str()]),
        );
        let told = drill(&lab);
        let snapshots = lab.snapshots();
        assert_eq!(told["snapshot"], snapshots[1].as_str(), "{told}");
        let rows = lab.ok(&["snapshots", "--json"]).json();
        for key in ["entries", "files", "bytes"] {
            assert_eq!(told[key], rows[1][key], "{key}: {told}");
        }
        assert_eq!((&told["problem_count"], &told["checks"]), (&0.into(), &0.into()), "{told}");
        assert_eq!(changes(&lab), before, "{layout:?}: the volume was touched");
        let after =
            shell("cd \"$1\" && find . -printf '%p %s %C@\\n' | sort", &[lab.repository().as_os_str()]);
        assert_eq!(after, repository, "{layout:?}: the repository was touched");
        assert_nothing_is_left(&lab, "after a good one");
        assert_eq!((&rows[0]["proved"], &rows[1]["proved"]), (&Value::Null, &told["time"]), "{rows}");
        let listed = lab.ok(&["snapshots"]).stdout;
        let time = told["time"].as_str().unwrap();
        assert!(
            listed.lines().nth(2).unwrap().ends_with(time) && listed.matches(time).count() == 1,
            "{listed}"
        );
        let status = lab.ok(&["status", "--json"]).json();
        assert_eq!(status["drill"]["proved"][0]["snapshot"], told["snapshot"], "{status}");
        assert_eq!(status["drill"]["last"]["proved"], true, "{status}");
        lab.ok(&["status"]).says(&["proved", &snapshots[1]]);
        // The newest, whatever was proved before.
        fs::write(lab.volume().join("latest"), "latest").unwrap();
        lab.backup();
        assert_eq!(drill(&lab)["snapshot"], lab.snapshots()[2].as_str());
        assert_eq!(lab.state(), "healthy");
    }
}

#[test]
fn a_damaged_newest_snapshot_is_found_though_an_older_one_is_whole() {
    for kind in ["packs", "segments", "snapshots"] {
        let lab = Lab::filled(Layout::Subdirectory, few_entries);
        drill(&lab);
        let before = lab.stored(kind);
        fs::write(lab.volume().join("later"), support::random_bytes(5, 300_000)).unwrap();
        lab.backup();
        let snapshots = lab.snapshots();
        for path in lab.stored(kind).iter().filter(|path| !before.contains(path)) {
            spoil(path);
        }
        let unchanged = changes(&lab);
        lab.exits(12, &["drill"]).says(&["hint"]);
        assert_nothing_is_left(&lab, kind);
        assert_eq!(changes(&lab), unchanged, "{kind}");
        let last = last(&lab);
        assert_eq!(last["proved"], false, "{kind}: {last}");
        assert!(last["reason"].is_string(), "{kind}: {last}");
        lab.run(&["status"]).says(&["last drill", "failed"]);
        let target = lab.path("older");
        lab.ok(&["restore", &snapshots[0], "--target", target.to_str().unwrap()]);
        support::same(&lab.reference(), &target);
    }
}

const PAGE: &str = "{command: [sh, -c, 'pwd >> $LAB/where; echo $VOLKEEP_VOLUME >> $LAB/where; if grep -q bad page; then \
                    echo the page is bad; exit 1; fi']}";

#[test]
fn checks_look_at_what_came_back_and_not_at_the_volume() {
    let lab = lab(&format!("{PAGE}\n{{exists: deep/other}}\n{{manifest: true}}"), "");
    fs::write(lab.volume().join("page"), "bad\n").unwrap();
    lab.backup();
    fs::write(lab.volume().join("page"), "good\n").unwrap();
    let before = changes(&lab);
    lab.exits(1, &["drill"]).says(&["did not come back whole", "the page is bad", "hint", "not touched"]);
    assert_nothing_is_left(&lab, "after a bad one");
    assert_eq!(changes(&lab), before);
    let tree = lab.state_dir().join("drill/tree");
    assert_eq!(lab.words("where"), [tree.to_str().unwrap(), tree.to_str().unwrap()]);
    assert_eq!(last(&lab)["snapshot"], lab.snapshots()[1].as_str());
    assert!(
        lab.ok(&["snapshots", "--json"]).json().as_array().unwrap().iter().all(|row| row["proved"].is_null())
    );
    // What came back stays for a look, until the next one.
    lab.exits(1, &["drill", "--keep"]).says(&["kept, until the next drill"]);
    assert_eq!(fs::read_to_string(tree.join("page")).unwrap(), "bad\n");
    lab.backup();
    assert_eq!(drill(&lab)["checks"], 3);
    assert_nothing_is_left(&lab, "after the next one");
}

#[test]
fn checks_of_which_none_can_tell_prove_nothing() {
    let silent = "{command: [no-such-program-here]}";
    let lab = lab(silent, "");
    lab.exits(1, &["drill"]).says(&["none of the checks could tell", "no-such-program-here"]);
    assert_eq!(last(&lab)["proved"], false);
    configure(&lab, &format!("{silent}\n{{exists: page, level: quick}}"), "");
    let told = drill(&lab);
    assert_eq!((&told["checks"], told["undecided"].as_array().unwrap().len()), (&1.into(), 1), "{told}");
    lab.ok(&["drill"]).says(&["1 check passed", "could not tell: command no-such-program-here"]);
}

#[test]
fn where_there_is_nothing_to_bring_back_nothing_is_proved() {
    let lab = Lab::new(Layout::Subdirectory);
    lab.exits(10, &["drill"]).says(&["no repository"]);
    lab.ok(&["repository", "init"]);
    lab.exits(10, &["drill"]).says(&["no snapshot"]);
    // Directories and empty files come back from an empty repository just as well.
    fs::create_dir(lab.volume().join("deep")).unwrap();
    fs::write(lab.volume().join("deep/empty"), "").unwrap();
    lab.adopt();
    lab.backup();
    lab.exits(1, &["drill"]).says(&["no file with content", "proves nothing"]);
    remove_all(&lab.volume().join("deep"));
    fs::create_dir(lab.volume().join("dir")).unwrap();
    lab.ok(&["backup", "--allow-shrink"]);
    lab.exits(1, &["drill"]).says(&["proves nothing"]);
    assert_nothing_is_left(&lab, "after nothing");
}

#[test]
fn too_little_room_is_said_before_anything_is_written() {
    let lab = lab("", "drill: {directory: $LAB/small}");
    fs::write(lab.volume().join("large"), support::random_bytes(7, 3 << 20)).unwrap();
    lab.backup();
    fs::create_dir(lab.path("small")).unwrap();
    let script = "mount -t tmpfs -o size=4m tmpfs \"$LAB/small\"; code=0; \"$@\" || code=$?
                  test -z \"$(ls -A \"$LAB/small\")\"; exit $code";
    let outcome = lab.inside_mounts(script, &["drill"]).expect_code(1);
    outcome.says(&[
        "small/volkeep-drill-laboratory has",
        "the drill needs",
        "drill.directory",
        "quarantine is not dropped",
    ]);
    // There is enough of it elsewhere, and a file system of another kind is no problem.
    let script = "mount -t tmpfs tmpfs \"$LAB/small\"; \"$@\"; test -z \"$(ls -A \"$LAB/small\")\"";
    lab.inside_mounts(script, &["drill", "--json"]).expect_code(0);
    assert_eq!(last(&lab)["proved"], true);
}

#[test]
fn only_a_directory_of_its_own_is_used() {
    let lab = lab("", "");
    let (volume, elsewhere) = (lab.volume(), lab.path("elsewhere"));
    fs::create_dir_all(elsewhere.join("kept/tree")).unwrap();
    for inside in [volume.clone(), volume.join("deep"), lab.state_dir()] {
        lab.exits(16, &["drill", "--target", inside.to_str().unwrap()]).says(&["lies in the volume"]);
    }
    lab.exits(1, &["drill", "--target", lab.path("missing").to_str().unwrap()]).says(&["missing"]);
    let place = elsewhere.to_str().unwrap();
    let own = elsewhere.join("volkeep-drill-laboratory");
    std::os::unix::fs::symlink("kept", &own).unwrap();
    lab.exits(16, &["drill", "--target", place]).says(&["not ours"]);
    assert!(elsewhere.join("kept/tree").exists());
    fs::remove_file(&own).unwrap();
    let told = one(&lab.ok(&["drill", "--target", place, "--keep", "--json"]));
    assert_eq!(told["kept"], own.join("tree").to_str().unwrap());
    support::same(&lab.reference(), &own.join("tree"));
    lab.ok(&["drill", "--target", place]);
    assert!(!own.exists() && elsewhere.join("kept/tree").exists());
    configure(&lab, "", "drill: {directory: relative}");
    lab.exits(78, &["drill"]).says(&["drill.directory", "not an absolute path"]);
}

fn written(lab: &Lab, text: &str) -> PathBuf {
    let path = lab.path("other.yaml");
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn wherever_it_is_killed_the_next_one_leaves_nothing() {
    let (elsewhere, here) = (Some("elsewhere"), None);
    for (calls, at_least, place) in [
        (RENAMES, AtLeast(3), here),
        (DIRECTORIES, AtLeast(4), here),
        (REMOVALS, AtLeast(4), here),
        (RENAMES, AtLeast(3), elsewhere),
        (REMOVALS, AtLeast(4), elsewhere),
    ] {
        let lab = lab("{exists: page}", "");
        let target = lab.path("elsewhere");
        fs::create_dir(&target).unwrap();
        let mut arguments = vec!["drill"];
        if place.is_some() {
            arguments.extend(["--target", target.to_str().unwrap()]);
        }
        let before = changes(&lab);
        let deaths = kill_at_each(1, 1, |step| {
            let outcome = killed_at(&lab, &arguments, calls, step);
            let context = format!("killed at step {step} of {calls} {place:?}");
            assert_eq!(changes(&lab), before, "{context}");
            if !outcome.was_killed() {
                assert!(outcome.code == 0, "{context}: {outcome}");
                assert_nothing_is_left(&lab, &context);
                return false;
            }
            lab.ok(&arguments);
            assert_nothing_is_left(&lab, &context);
            assert_eq!(fs::read_dir(&target).unwrap().count(), 0, "{context}");
            assert_eq!(last(&lab)["proved"], true, "{context}");
            true
        });
        report("drill", calls, deaths, &at_least);
        assert_eq!(changes(&lab), before);
        lab.assert_back();
    }
}

#[test]
fn what_a_killed_one_left_makes_way_for_a_restore() {
    let lab = lab("", "");
    fs::create_dir_all(lab.state_dir().join("drill/tree/left")).unwrap();
    remove_all(&lab.volume());
    lab.ok(&["init"]);
    lab.assert_back();
    assert_nothing_is_left(&lab, "after a restore");
}

#[test]
fn told_to_stop_it_ends_what_it_runs_and_tidies_up() {
    let lab = lab(
        "{command: [sh, -c, 'echo $$ > $LAB/child; echo up > $LAB/meet; exec sleep 600'], timeout: 10m}",
        "",
    );
    let meet = lab.fifo("meet");
    let child = start(&mut lab.command(&["drill"]));
    meet.await_line();
    assert!(lab.state_dir().join("drill/tree/page").exists());
    // A backup does not wait for it, and another drill does.
    lab.backup();
    let hurried = lab.command(&["drill"]).env("VOLKEEP_VOLUME_LOCK_WAIT", "0s").output().unwrap();
    assert_eq!(hurried.status.code(), Some(11));
    kill_process(pid(child.id()), Signal::TERM).unwrap();
    finish(child).expect_code(1);
    assert!(!is_alive(&fs::read_to_string(lab.path("child")).unwrap()));
    assert_nothing_is_left(&lab, "after TERM");
    assert_eq!(last(&lab), Value::Null, "what was stopped says nothing about the snapshot");
}

#[test]
fn a_plain_user_proves_it_too_and_says_what_he_cannot_set() {
    let lab = Lab::filled(Layout::Subdirectory, |volume| {
        few_entries(volume);
        fs::write(volume.join("closed"), "closed").unwrap();
        shell("chmod 000 \"$1\"", &[volume.join("closed").as_os_str()]);
    });
    let outcome = run(&mut lab.command_of_plain_user(&["drill", "--json"])).expect_code(3);
    let told = one(&outcome);
    assert!(told["problem_count"].as_u64() > Some(0) && told["bytes"].as_u64() > Some(0), "{told}");
    assert!(outcome.stderr.contains("owner not restored"), "{outcome}");
    assert!(outcome.stderr.contains("1 of the files cannot be read back"), "{outcome}");
    assert_eq!(last(&lab)["proved"], true);
}

#[test]
fn a_snapshot_in_git_is_proved_as_well() {
    let lab = Lab::filled_in(Home::GitDirectory, Layout::MountPoint, odd_tree);
    let told = drill(&lab);
    let row = lab.ok(&["snapshots", "--json"]).json()[0].clone();
    for key in ["entries", "files", "bytes"] {
        assert_eq!(told[key], row[key], "{key}: {told}");
    }
    assert_eq!((&row["proved"], &told["problem_count"]), (&told["time"], &0.into()), "{told}");
    assert_nothing_is_left(&lab, "after one from git");
}

#[test]
fn each_repository_has_its_turn_if_that_is_wanted() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries);
    let second = lab.path("second");
    let config = |which: &str| {
        format!(
            "repositories: [{{url: '{}'}}, {{url: 'file://{}'}}]\ndrill: {{repositories: {which}}}\n",
            lab.url(),
            second.display()
        )
    };
    let path = written(&lab, &config("each"));
    let with = |command: &str| {
        let mut command = lab.command(&[command, "--json", "--config", path.to_str().unwrap()]);
        command.env_remove("VOLKEEP_REPOSITORY");
        run(&mut command)
    };
    let mut init = lab.command(&["repository", "init", "--config", path.to_str().unwrap()]);
    run(init.env_remove("VOLKEEP_REPOSITORY")).expect_code(0);
    with("backup").expect_code(0);
    let told = with("drill").expect_code(0).json();
    assert_eq!(told.as_array().unwrap().len(), 2, "{told}");
    assert_ne!(told[0]["repository"], told[1]["repository"]);
    let status = with("status").expect_code(0).json();
    assert_eq!(status["drill"]["proved"].as_array().unwrap().len(), 2, "{status}");
    // What the first has does not help the second.
    shell("find \"$1/packs\" -type f -delete", &[second.as_os_str()]);
    let outcome = with("drill").expect_code(12);
    assert_eq!(outcome.json().as_array().unwrap().len(), 1, "{outcome}");
    outcome.says(&["1 of 2 repositories failed", "second"]);
    fs::write(&path, config("first")).unwrap();
    assert_eq!(with("drill").expect_code(0).json().as_array().unwrap().len(), 1);
}

#[test]
fn a_sidecar_drills_beside_its_backups_and_shows_what_was_proved() {
    let wait = "{command: [sh, -c, 'test -e $LAB/quick || { echo up > $LAB/meet; read line < $LAB/hold; }']}";
    let jobs = "jobs:\n  drill: {retries: 0}\n  backup: {retries: 0}\n";
    let lab = lab(wait, jobs);
    let (meet, hold) = (lab.fifo("meet"), lab.fifo("hold"));
    let sidecar = lab.sidecar();
    let asked = start(&mut lab.command(&["run", "drill", "--json"]));
    meet.await_line();
    lab.ok(&["run", "backup"]);
    hold.go();
    let told = finish(asked).expect_code(0).json();
    let snapshots = lab.snapshots();
    assert_eq!(told["figures"]["snapshot"], snapshots[0].as_str(), "{told}");
    assert_eq!((&told["figures"]["restored_files"], &told["outcome"]), (&2.into(), &"done".into()), "{told}");
    let bytes = told["figures"]["restored_bytes"].as_f64().unwrap();
    let status =
        sidecar.await_status("the proof", |status| status["drill"]["proved"][0]["snapshot"].is_string());
    let proof = status["drill"]["proved"][0].clone();
    assert_eq!(proof["snapshot"], snapshots[0].as_str());
    assert_eq!(job(&status, "drill")["kind"], "drill");
    let metric =
        |name: &str| sidecar.metric(&format!("volkeep_drill_{name}{{repository={}}}", proof["repository"]));
    assert!((metric("last_success_bytes") - bytes).abs() < 0.5);
    assert!(metric("snapshot_timestamp_seconds") < metric("last_success_timestamp_seconds"));
    assert!(metric("last_success_duration_seconds") > 0.0);
    // One that fails is a failed job, and what was proved before is still known.
    fs::write(lab.path("quick"), "").unwrap();
    for path in lab.stored("packs") {
        spoil(&path);
    }
    lab.exits(12, &["run", "drill"]).says(&["drill:", "hint"]);
    let status = sidecar.await_status("the failure", |status| status["drill"]["last"]["proved"] == false);
    assert_eq!(status["drill"]["proved"][0], proof);
    assert_eq!(job(&status, "drill")["last"]["outcome"], "failed");
    sidecar.end_well();
    assert_nothing_is_left(&lab, "after the sidecar");
}
