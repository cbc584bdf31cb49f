//! Scrubs by the built binary, of real decay: the volume is on a file system of its own, whose blocks are changed beneath
//! it while it is not mounted. No program can damage a file in this way, and none can hide it better. Needs root.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop")]

mod support;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use serde_json::Value;
use support::crash::{AtLeast, RENAMES, SYNCS, kill_at_each, report};
use support::{Lab, Layout, Outcome, few_entries, shell};

const BLOCK: u64 = 4096;
/// What is on the volume: two files alone, and one with two names.
const FILL: &str =
    "mkdir -p $VOLUME/deep; printf 'the page\\n' > $VOLUME/page; printf 'the other\\n' > $VOLUME/other
    printf 'linked\\n' > $VOLUME/deep/linked; ln $VOLUME/deep/linked $VOLUME/name
    head -c 300000 /dev/urandom > $VOLUME/deep/large; printf young > $VOLUME/young
    chmod 0640 $VOLUME/page; chown 123:456 $VOLUME/page; setfattr -n user.kept -v yes $VOLUME/page
    find $VOLUME ! -name young -exec touch -h -d '2026-01-02 03:04:05.678' {} +";
const OLD: [&str; 4] = ["page", "other", "deep/linked", "deep/large"];

/// A lab whose volume is in an image.
struct Disk {
    lab: Lab,
}

impl Disk {
    /// Filled, and backed up once. All but `young` was last changed long ago.
    #[track_caller]
    fn new() -> Self {
        let disk = Self { lab: Lab::new(Layout::Subdirectory).with_config("") };
        disk.configure("");
        let image = disk.image();
        shell(
            "truncate -s 16M \"$1\"; mke2fs -q -F -t ext4 -b 4096 \"$1\"; rm -r \"$2\"; mkdir \"$2\"",
            &[image.as_os_str(), disk.lab.path("volume").as_os_str()],
        );
        disk.shell(&format!("mkdir $VOLUME; {FILL}"));
        for path in OLD {
            disk.age(path);
        }
        disk.ok(&["repository", "init"]);
        disk.shell_around("VOLKEEP_INIT_ON_FOREIGN=adopt \"$@\"", &["init"]).expect_code(0);
        disk.ok(&["backup"]);
        disk
    }

    fn configure(&self, jobs: &str) {
        let text =
            format!("repositories: [{{url: '{}'}}]\nsidecar: {{listen: ''}}\n{jobs}\n", self.lab.url());
        fs::write(self.lab.path("config.yaml"), text).unwrap();
    }

    fn image(&self) -> PathBuf {
        self.lab.path("disk.img")
    }

    /// Sets the change time, which nobody but the kernel can, unless beneath it.
    fn age(&self, path: &str) {
        for field in ["ctime 20260102030405", "ctime_extra 0"] {
            self.debug(true, &format!("sif /data/{path} {field}"));
        }
    }

    fn debug(&self, writing: bool, command: &str) -> String {
        let write = if writing { "-w" } else { "-D" };
        shell(
            "debugfs \"$1\" -R \"$2\" \"$3\" 2> /dev/null",
            &[write.as_ref(), command.as_ref(), self.image().as_os_str()],
        )
    }

    /// Flips a bit of the file's first block.
    #[track_caller]
    fn rot(&self, path: &str) {
        let block: u64 = self.debug(false, &format!("bmap /data/{path} 0")).trim().parse().unwrap();
        let image = fs::File::options().read(true).write(true).open(self.image()).unwrap();
        let mut byte = [0];
        image.read_exact_at(&mut byte, block * BLOCK).unwrap();
        image.write_all_at(&[byte[0] ^ 4], block * BLOCK).unwrap();
    }

    /// A script with the volume mounted, and volkeep as `"$@"`.
    fn shell_around(&self, script: &str, arguments: &[&str]) -> Outcome {
        let script = format!(
            "mount -o loop \"$LAB/disk.img\" \"$LAB/volume\"; code=0
             ( {script} ) || code=$?; umount \"$LAB/volume\"; exit $code"
        );
        self.lab.inside_mounts(&script, arguments)
    }

    #[track_caller]
    fn shell(&self, script: &str) -> String {
        self.shell_around(script, &["--version"]).expect_code(0).stdout
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        self.shell_around("\"$@\"", arguments)
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> Outcome {
        self.run(arguments).expect_code(0)
    }

    /// Inode, owner, mode, times and attributes of a file of the volume.
    fn metadata(&self, path: &str) -> (String, String) {
        let both = self.shell(&format!(
            "cd $VOLUME; stat -c '%i' {path}; stat -c '%u:%g %a %y %s' {path}; getfattr -d {path}"
        ));
        let (inode, rest) = both.split_once('\n').unwrap();
        (inode.to_owned(), rest.to_owned())
    }

    fn content(&self, path: &str) -> String {
        self.shell(&format!("cat $VOLUME/{path}"))
    }
}

fn damaged(told: &Value) -> Vec<String> {
    let all = told["damaged"].as_array().unwrap();
    all.iter().map(|one| one["path"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_has_decayed_is_found_and_what_the_app_did_is_not() {
    let disk = Disk::new();
    let told = disk.ok(&["scrub", "--json"]).json();
    assert_eq!(
        (&told["files"], &told["passed_over"], &told["damaged_count"]),
        (&6.into(), &0.into(), &0.into())
    );
    // Somebody writes and sets the times back, as far as he can.
    disk.shell("cp -p $VOLUME/other $LAB/kept; printf 'THE OTHER\\n' > $VOLUME/other; touch -r $LAB/kept $VOLUME/other");
    disk.rot("page");
    disk.rot("deep/linked");
    let outcome = disk.run(&["scrub", "--json"]).expect_code(1);
    let told = outcome.json();
    // Both names of it.
    assert_eq!(damaged(&told), ["deep/linked", "name", "page"], "{told}");
    assert_eq!(
        (&told["damaged_count"], &told["passed_over"], &told["repaired"]),
        (&3.into(), &1.into(), &0.into())
    );
    outcome.says(&["3 files are damaged", "page", "hint", "--repair"]);
    // The checks of a backup that look at the manifest say the same, and the backup reads none of it.
    let before = disk.metadata("page");
    disk.run(&["scrub", "--repair", "--dry-run"]).expect_code(1).says(&["page", "would be replaced"]);
    assert_eq!(disk.metadata("page"), before);
    assert_eq!(disk.content("page"), "phe page\n");
}

#[test]
fn a_repair_brings_content_and_metadata_back_and_keeps_what_was_there() {
    let disk = Disk::new();
    let (page, linked) = (disk.metadata("page"), disk.metadata("name"));
    for path in ["page", "deep/linked", "deep/large"] {
        disk.rot(path);
    }
    let outcome = disk.run(&["scrub", "--repair", "--json"]).expect_code(3);
    let told = outcome.json();
    assert_eq!((&told["damaged_count"], &told["repaired"]), (&4.into(), &4.into()), "{told}");
    assert_eq!(disk.content("page"), "the page\n");
    let now = disk.metadata("page");
    assert_ne!(now.0, page.0, "it is another file");
    assert_eq!(now.1, page.1);
    assert_eq!(
        (disk.metadata("name").0, disk.content("name")),
        (disk.metadata("deep/linked").0, "linked\n".into())
    );
    assert_eq!(disk.metadata("name").1, linked.1);
    let kept = told["quarantine"].as_str().unwrap();
    let aside =
        disk.shell(&format!("cd {kept}/data; cat page deep/linked; stat -c %h name; cat ../note.json"));
    assert!(aside.starts_with("phe page\nhinked\n2\n"), "{aside}");
    assert!(aside.contains("a scrub replaced"), "{aside}");
    disk.run(&["status"]).says(&["quarantine", "damaged files that a scrub replaced"]);
    let told = disk.ok(&["scrub", "--json"]).json();
    assert_eq!((&told["damaged_count"], &told["repaired"]), (&0.into(), &0.into()), "{told}");
    // All of it is what the snapshot says.
    disk.ok(&["backup"]);
    let snapshots: Vec<Value> = disk.ok(&["snapshots", "--json"]).json().as_array().unwrap().clone();
    let ids: Vec<&str> = snapshots.iter().map(|one| one["id"].as_str().unwrap()).collect();
    let differences = disk.ok(&["diff", ids[0], ids[1]]).stdout;
    assert!(differences.lines().all(|line| line.starts_with("m ")), "{differences}");
    disk.ok(&["check", "--verify"]);
}

#[test]
fn wherever_a_repair_is_killed_each_name_has_the_one_or_the_other() {
    let disk = Disk::new();
    for path in ["page", "deep/linked"] {
        disk.rot(path);
    }
    let rotten = disk.lab.path("rotten.img");
    fs::copy(disk.image(), &rotten).unwrap();
    for (calls, at_least) in [(RENAMES, AtLeast(3)), (SYNCS, AtLeast(4))] {
        let deaths = kill_at_each(1, 1, |step| {
            fs::copy(&rotten, disk.image()).unwrap();
            let script = format!(
                "strace -f -qq -o /dev/null -e trace='{calls}' -e inject='{calls}':signal=SIGKILL:when={step} \"$@\""
            );
            let outcome = disk.shell_around(&script, &["scrub", "--repair"]);
            let context = format!("killed at step {step} of {calls}");
            if !outcome.was_killed() {
                assert!(outcome.code == 3, "{context}: {outcome}");
                return false;
            }
            let words = ["the page\n", "phe page\n", "linked\n", "hinked\n"];
            for path in ["page", "name", "deep/linked"] {
                let content = disk.content(path);
                assert!(words.contains(&content.as_str()), "{context}: {path} {content:?}");
            }
            let next = disk.run(&["scrub", "--repair", "--json"]);
            let left = next.json()["damaged_count"].as_u64().unwrap();
            assert_eq!(
                (next.code, next.json()["repaired"].as_u64()),
                (if left > 0 { 3 } else { 0 }, Some(left)),
                "{context}: {next}"
            );
            assert_eq!(disk.content("page"), "the page\n", "{context}");
            let (one, other) = (disk.metadata("name"), disk.metadata("deep/linked"));
            assert_eq!((one.0, disk.content("name").as_str()), (other.0, "linked\n"), "{context}");
            // What was there is in one of the quarantines.
            let aside = disk.shell("cat $STATE/quarantine/*/data/page $STATE/quarantine/*/data/deep/linked");
            assert!(aside.contains("phe page") && aside.contains("hinked"), "{context}: {aside}");
            true
        });
        report("repair of a scrub", calls, deaths, &at_least);
    }
}

#[test]
fn nothing_is_touched_where_the_repository_cannot_help() {
    let disk = Disk::new();
    disk.rot("page");
    shell(
        "find \"$1/packs\" -type f -exec sh -c 'tr \"\\000-\\377\" \"\\001-\\377\\000\" < \"$1\" > \"$1.x\"; mv \"$1.x\" \"$1\"' x {} ';'",
        &[disk.lab.repository().as_os_str()],
    );
    let before = disk.metadata("page");
    disk.run(&["scrub", "--repair"]).expect_code(12).says(&["hint"]);
    assert_eq!((disk.metadata("page"), disk.content("page").as_str()), (before, "phe page\n"));
    assert_eq!(disk.shell("ls $STATE/quarantine"), "");
}

#[test]
fn a_file_with_a_name_that_the_snapshot_does_not_know_is_left() {
    let disk = Disk::new();
    // Excluded, so a backup does not see it. A new name moves the change time, which is set back beneath it.
    disk.shell("ln $VOLUME/page $VOLUME/unknown");
    disk.age("page");
    disk.rot("page");
    let outcome = disk.run(&["scrub", "--repair", "--json"]).expect_code(1);
    let told = outcome.json();
    assert_eq!(told["damaged"][0]["left"], "it has other names, which are not in the snapshot", "{told}");
    assert_eq!(disk.content("page"), "phe page\n");
}

#[test]
fn where_the_volume_remembers_nothing_it_finds_and_does_not_repair() {
    let disk = Disk::new();
    disk.rot("page");
    disk.shell("rm -r $STATE/cache/*");
    let told = disk.run(&["scrub", "--repair", "--json"]).expect_code(1).json();
    // What was written just before the backup cannot be judged.
    assert_eq!((damaged(&told), &told["passed_over"]), (vec!["page".to_owned()], &1.into()), "{told}");
    assert!(told["damaged"][0]["left"].as_str().unwrap().contains("for certain"), "{told}");
    assert_eq!(disk.content("page"), "phe page\n");
}

#[test]
fn it_stops_when_it_is_told_to() {
    let disk = Disk::new();
    let script =
        "strace -f -qq -o /dev/null -e trace=/fadvise -e inject=/fadvise:signal=SIGTERM:when=2 \"$@\"";
    disk.shell_around(script, &["scrub", "--json"]).expect_code(1);
    disk.ok(&["scrub"]);
}

#[test]
fn the_job_reads_a_part_each_time_and_fails_when_there_is_damage() {
    let disk = Disk::new();
    disk.configure("jobs:\n  scrub: {percent: 50%, retries: 0}");
    disk.rot("deep/large");
    let (mut files, mut found) = (0, 0);
    for _ in 0..2 {
        let run = disk.run(&["run", "scrub", "--json"]).json();
        let figures = &run["figures"];
        files += figures["scrubbed_files"].as_u64().unwrap();
        let findings = figures["findings"].as_u64().unwrap();
        assert_eq!(run["outcome"], if findings > 0 { "failed" } else { "done" }, "{run}");
        assert_eq!(findings > 0, run["reason"].as_str().is_some_and(|reason| reason.contains("deep/large")));
        found += findings;
    }
    assert_eq!((files, found), (6, 1), "each file had its turn once");
    disk.configure("jobs:\n  scrub: {retries: 0, repair: true}");
    let run = disk.run(&["run", "scrub", "--json"]).expect_code(3).json();
    assert_eq!((&run["outcome"], &run["figures"]["repaired"]), (&"partial".into(), &1.into()), "{run}");
    let status = disk.run(&["status", "--json"]).json();
    assert_eq!(support::sidecar::job(&status, "scrub")["last"]["figures"]["repaired"], 1, "{status}");
    assert_eq!(disk.run(&["run", "scrub", "--json"]).expect_code(0).json()["figures"]["findings"], 0);
}

#[test]
fn beside_a_sidecar_it_looks_and_does_not_repair() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries).with_jobs("", "scrub: {retries: 0}");
    let sidecar = lab.sidecar();
    let told = lab.ok(&["scrub", "--json"]).json();
    let snapshot = lab.ok(&["snapshots", "--json"]).json();
    let sum = told["passed_over"].as_u64().unwrap() + told["files"].as_u64().unwrap();
    assert_eq!(Some(sum), snapshot[0]["files"].as_u64(), "{told}");
    fs::write(lab.volume().join("one/file-1"), "by the app").unwrap();
    assert!(lab.ok(&["scrub", "--json"]).json()["passed_over"].as_u64() > Some(0));
    lab.exits(11, &["scrub", "--repair"]).says(&["in use by", "stop what works beside the app"]);
    lab.ok(&["run", "scrub"]);
    assert!(sidecar.metric("volkeep_scrub_passed_over_files{job_name=\"scrub\"}") > 0.0);
    sidecar.end_well();
    lab.ok(&["scrub", "--repair"]);
}

#[test]
fn without_a_snapshot_there_is_nothing_to_compare_with() {
    let lab = Lab::new(Layout::Subdirectory);
    lab.exits(10, &["scrub"]).says(&["nothing says what it should be", "volkeep backup"]);
    let lab = Lab::filled(Layout::Subdirectory, few_entries).with_config("");
    lab.configure("", "drill: {repair: true}\n scrub: {percent: 0%}");
    lab.exits(78, &["scrub"]).says(&["jobs.drill.repair", "belongs to `scrub`", "jobs.scrub.percent"]);
}
