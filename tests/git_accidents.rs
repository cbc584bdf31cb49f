//! Accidents around a git repository: it is not there or another's, caches are gone, commands share one, a backup is
//! killed while it pushes, servers say no, git tidies up meanwhile; and content that git would do something to.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]
#![allow(clippy::print_stdout, reason = "how often a backup failed is worth knowing")]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use support::crash::{LINKS, RENAMES, kill_at_each};
use support::git::git;
use support::life::{finish, start};
use support::person::{
    ANYTHING, FILTERS, Gate, Person, Place, another, assert_in_history, assert_sound, files, hook,
    make_repository, remove_hook, restored, tip, two_files,
};
use support::{Home, Lab, copy, few_entries, made_tree, random_bytes, remove_all, same, shell, wrap};

macro_rules! in_each_place {
    ($($test:ident)*) => {
        mod in_a_directory {
            in_each_place! { @all GitDirectory &[]; [] $($test)* }
        }
        on_each_server! { $($test)* }
    };
    (@all $home:ident $allows:expr; $attributes:tt $($test:ident)*) => {
        $(in_each_place! { @one $home $allows; $attributes $test })*
    };
    (@one $home:ident $allows:expr; [$($attribute:tt)*] $test:ident) => {
        #[test]
        $($attribute)*
        fn $test() {
            super::$test(super::Place { home: super::Home::$home, allows: $allows });
        }
    };
}
macro_rules! on_each_server {
    ($($test:ident)*) => {
        mod over_ssh {
            on_each_server! { @all GitSsh &[]; $($test)* }
        }
        mod over_ssh_with_filters {
            on_each_server! { @all GitSsh super::FILTERS; $($test)* }
        }
        mod over_https {
            on_each_server! { @all GitHttps &[]; $($test)* }
        }
        mod over_https_with_all_rights {
            on_each_server! { @all GitHttps super::ANYTHING; $($test)* }
        }
    };
    (@all $home:ident $allows:expr; $($test:ident)*) => {
        $(
            #[test]
            #[ignore = "needs a git server: tests/run"]
            fn $test() {
                super::$test(super::Place { home: super::Home::$home, allows: $allows });
            }
        )*
    };
}

in_each_place! {
    what_is_missing_is_told_apart
    everything_works_after_a_restore_with_and_without_a_cache
    commands_share_a_cache
    content_is_what_it_was_whatever_git_makes_of_it
    nothing_changed_is_nothing_committed
    files_that_are_too_large_are_all_named
}

/// What only servers have: hooks, and a cache of what was to be sent.
mod on_a_server {
    use super::{
        ANYTHING, FILTERS, Home, Place, a_hook_that_refuses_is_heard,
        a_push_that_arrived_unheard_is_no_trouble, damaged_left_overs_cost_time_only,
        left_overs_of_another_repository_do_no_harm, of_two_that_push_at_once_one_is_refused,
        what_was_read_for_a_killed_push_is_not_read_again,
    };

    on_each_server! {
        what_was_read_for_a_killed_push_is_not_read_again
        damaged_left_overs_cost_time_only
        left_overs_of_another_repository_do_no_harm
        a_push_that_arrived_unheard_is_no_trouble
        of_two_that_push_at_once_one_is_refused
        a_hook_that_refuses_is_heard
    }
}

fn what_is_missing_is_told_apart(place: Place) {
    let lab = place.empty();
    let said = |code| {
        let outcome = lab.exits(code, &["init"]);
        assert!(files(&lab.volume()).is_empty());
        // Lines of the log begin with a time.
        outcome.stderr.lines().filter(|line| !line.starts_with("20")).collect::<Vec<_>>().join("\n")
    };
    remove_all(&lab.repository());
    let missing = said(10);
    assert!(!lab.repository().exists(), "nobody asked for a repository");
    make_repository(&lab);
    let empty = said(10);
    let person = Person::with_clone(&lab);
    person.git(&["checkout", "--quiet", "-B", "other"]);
    person.write("page", "elsewhere");
    person.commit("Add a page");
    person.git(&["push", "--quiet", "origin", "other"]);
    let no_branch = said(10);
    person.git(&["push", "--quiet", "origin", "other:main"]);
    let no_repository = said(10);
    git(&lab.repository(), &["update-ref", "-d", "refs/heads/main"]);
    let other = another(&lab).with("VOLKEEP_IDENTITY", "another");
    other.ok(&["repository", "init"]);
    let mismatch = said(15);
    assert!(mismatch.contains("another") && mismatch.contains("laboratory"), "{mismatch}");
    let all = [missing, empty, no_branch, no_repository, mismatch];
    for (at, one) in all.iter().enumerate() {
        assert!(!one.is_empty() && !all[..at].contains(one), "said twice: {one}");
    }
    assert_eq!(tip(&lab), git(&lab.repository(), &["rev-parse", "main"]));
}

fn everything_works_after_a_restore_with_and_without_a_cache(place: Place) {
    let old = place.filled(two_files);
    let first = old.snapshots().pop().unwrap();
    for round in 2..=3 {
        fs::write(old.volume().join("a"), format!("round {round}")).unwrap();
        old.ok(&["backup"]);
    }
    let person = Person::with_clone(&old);
    person.write("page", "added");
    person.commit("Add a page");
    person.push();
    let mut last = "round 3".to_owned();
    for with_cache in [true, false] {
        let lab = another(&old).with("VOLKEEP_RETENTION", "last=4");
        lab.ok(&["init"]);
        assert_eq!(files(&lab.volume()), [&format!("a: {last}"), "d/b: two", "page: added"]);
        let target = lab.path("target");
        let commands: [&[&str]; 7] = [
            &["snapshots"],
            &["ls", &first],
            &["diff", &first, "latest"],
            &["restore", &first, "--target", target.to_str().unwrap()],
            &["check", "--verify"],
            &["prune", "--dry-run"],
            &["backup"],
        ];
        for command in commands {
            if !with_cache {
                remove_all(&lab.state_dir().join("cache"));
            }
            lab.ok(command);
        }
        assert_eq!(files(&target), ["a: one", "d/b: two"]);
        if !with_cache {
            remove_all(&lab.state_dir().join("cache"));
        }
        last = format!("with a cache: {with_cache}");
        fs::write(lab.volume().join("a"), &last).unwrap();
        lab.ok(&["backup"]);
        assert!(lab.snapshots().contains(&first));
        if !with_cache {
            remove_all(&lab.state_dir().join("cache"));
            lab.ok(&["prune"]);
            assert_eq!(lab.snapshots().len(), 4);
            lab.ok(&["check", "--verify"]);
        }
        assert_sound(&old);
    }
}

fn commands_share_a_cache(place: Place) {
    let lab = place.filled(|root| {
        made_tree(root, 300, 7);
        fs::write(root.join("large"), random_bytes(8, 4_000_000)).unwrap();
    });
    let first = lab.snapshots().pop().unwrap();
    for round in 0..3u64 {
        if round == 1 {
            remove_all(&lab.state_dir().join("cache"));
        }
        fs::write(lab.volume().join("changing"), random_bytes(round, 300_000)).unwrap();
        let targets: Vec<_> = (0..3).map(|at| lab.path(&format!("target-{round}-{at}"))).collect();
        let mut running: Vec<_> = Vec::new();
        for (at, target) in targets.iter().enumerate() {
            let what = if at == 0 { "latest" } else { first.as_str() };
            running.push(start(&mut lab.command(&["restore", what, "--target", target.to_str().unwrap()])));
            let beside: &[&str] = match at {
                0 => &["backup"],
                1 => &["snapshots"],
                _ => &["ls", "latest"],
            };
            running.push(start(&mut lab.command(beside)));
        }
        running.push(start(&mut lab.command(&["ls", &first])));
        for child in running {
            finish(child).expect_code(0);
        }
        same(&lab.reference(), &targets[1]);
        same(&lab.reference(), &targets[2]);
    }
    lab.ok(&["check", "--verify"]);
}

/// What git and its hosts would convert, follow, ignore or refuse.
fn what_git_minds(root: &Path) {
    fs::create_dir_all(root.join("nested/.git/objects")).unwrap();
    fs::create_dir_all(root.join("links")).unwrap();
    fs::create_dir_all(root.join("deep/.volkeep")).unwrap();
    let dressed = OsStr::from_bytes(b".g\xe2\x80\x8cit");
    let ordinary: [(&str, &[u8]); 8] = [
        ("windows.txt", b"one\r\ntwo\r\n"),
        ("mixed.txt", b"one\r\ntwo\nthree\r"),
        ("ident.txt", b"$Id$\n"),
        ("large.bin", b"version https://git-lfs.github.com/spec/v1\n"),
        (".gitignore", b"*\n!.gitignore\n"),
        ("ignored", b"all the same"),
        ("nested/.gitkeep", b""),
        ("100%", b"%.git"),
    ];
    let special: [(&str, &[u8]); 11] = [
        (".gitattributes", b"*.txt text eol=lf ident\n*.bin filter=lfs diff=lfs merge=lfs -text\n"),
        (".gitmodules", b"[submodule \"x\"]\n\tpath = -x\n\turl = --upload-pack=touch\n"),
        ("nested/.git/HEAD", b"ref: refs/heads/main\n"),
        ("nested/.git/config", b"[core]\n\tfsmonitor = touch /tmp/never\n"),
        ("links/.git", b"gitdir: ../nested/.git\n"),
        ("GIT~1", b"short"),
        ("a\\.git", b"behind"),
        (".GIT ", b"loud"),
        (".git::$INDEX_ALLOCATION", b"stream"),
        ("%.git", b"as if it were stored"),
        ("deep/.volkeep/marker.json", b"not ours"),
    ];
    for (name, content) in ordinary.into_iter().chain(special) {
        fs::write(root.join(name), content).unwrap();
    }
    fs::write(root.join(dressed), "dressed").unwrap();
    symlink("/etc/passwd", root.join("links/.gitmodules")).unwrap();
    symlink("elsewhere", root.join("links/.gitattributes")).unwrap();
    symlink("elsewhere", root.join("links/.gitignore")).unwrap();
    symlink(".git", root.join("nested/link")).unwrap();
}

fn content_is_what_it_was_whatever_git_makes_of_it(place: Place) {
    let lab = place.empty();
    if place.home == Home::GitDirectory {
        make_repository(&lab);
    }
    for key in ["receive.fsckObjects", "transfer.fsckObjects", "receive.denyNonFastForwards"] {
        git(&lab.repository(), &["config", key, "true"]);
    }
    what_git_minds(&lab.volume());
    lab.first_backup();
    fs::write(lab.volume().join("mixed.txt"), "one\rtwo\r\nthree\n").unwrap();
    lab.ok(&["backup"]);
    lab.keep_reference();
    lab.wipe();
    lab.ok(&["init"]);
    lab.assert_back();
    lab.ok(&["check", "--verify"]);
    assert_sound(&lab);

    let person = Person::with_clone(&lab);
    let (ours, theirs) = (files(&lab.volume()), files(person.root()));
    let is_ordinary = |line: &&String| {
        [
            "windows",
            "mixed",
            "ident",
            "large",
            ".gitignore",
            "ignored",
            "nested/.gitkeep",
            "nested/link",
            "100%",
        ]
        .iter()
        .any(|name| line.starts_with(name))
    };
    let ordinary: Vec<_> = ours.iter().filter(is_ordinary).collect();
    assert_eq!(ordinary.len(), 9, "{ours:#?}");
    assert_eq!(theirs.iter().filter(is_ordinary).collect::<Vec<_>>(), ordinary);
    assert_eq!(person.git(&["status", "--porcelain"]), "", "git wants to convert something");
}

fn nothing_changed_is_nothing_committed(place: Place) {
    let lab = place.filled(few_entries);
    let before = tip(&lab);
    for round in 0..3 {
        if round > 0 {
            // Its time of change moves with it, so the files are read again.
            shell(
                "find \"$1\" -print0 | xargs -0 touch -a -h -d @$2",
                &[lab.volume().as_os_str(), OsStr::new(&format!("{round}00000000"))],
            );
        }
        if round > 1 {
            remove_all(&lab.state_dir().join("cache"));
        }
        lab.ok(&["backup"]);
        assert_eq!(tip(&lab), before, "round {round}");
    }
    lab.assert_back();
    lab.wipe();
    lab.ok(&["init"]);
    let restored = tip(&lab);
    lab.ok(&["backup"]);
    lab.ok(&["backup"]);
    assert_eq!(tip(&lab), restored);
    assert_eq!(lab.snapshots().len(), 1);
}

fn files_that_are_too_large_are_all_named(place: Place) {
    let lab = place.filled(two_files).with("VOLKEEP_REPOSITORY_LARGEST_FILE", "10KiB");
    let before = (tip(&lab), objects(&lab));
    for (name, size) in
        [("d/too-large", 10_241), ("another", 50_000), ("just-right", 10_240), ("the-last", 20_000)]
    {
        fs::write(lab.volume().join(name), random_bytes(size as u64, size)).unwrap();
    }
    for _ in 0..2 {
        let outcome = lab.exits(1, &["backup"]).says(&["d/too-large", "another", "the-last", "10240"]);
        assert!(!outcome.stderr.contains("just-right"), "{outcome}");
        assert_eq!((tip(&lab), objects(&lab)), before, "something was sent");
    }
    for name in ["d/too-large", "another", "the-last"] {
        fs::remove_file(lab.volume().join(name)).unwrap();
    }
    lab.ok(&["backup"]);
}

/// The names of all objects in the repository.
fn objects(lab: &Lab) -> String {
    git(&lab.repository(), &["cat-file", "--batch-all-objects", "--batch-check=%(objectname)"])
}

/// A backup is killed when all it has to say is at the server, and the server has not answered yet.
fn kill_while_pushing(lab: &Lab) -> Gate {
    let gate = Gate::at(lab);
    let mut backup = start(&mut lab.command(&["backup"]));
    gate.wait();
    backup.kill().unwrap();
    assert!(finish(backup).was_killed());
    gate
}

fn left_overs(lab: &Lab) -> Vec<PathBuf> {
    let found = shell("find \"$1\" -name 'left-over*' | sort", &[lab.state_dir().join("cache").as_os_str()]);
    found.lines().map(PathBuf::from).collect()
}

/// Asked for by somebody who has no cache, and who does not want to write.
#[track_caller]
fn comes_back(lab: &Lab) {
    let reader = another(lab);
    let target = reader.path("target");
    reader.ok(&["restore", "latest", "--target", target.to_str().unwrap()]);
    same(&lab.volume(), &target);
    lab.ok(&["check", "--verify"]);
    assert_sound(lab);
}

fn what_was_read_for_a_killed_push_is_not_read_again(place: Place) {
    let lab = place.filled(few_entries);
    let before = tip(&lab);
    made_tree(&lab.volume().join("more"), 200, 5);
    fs::write(lab.volume().join("large"), random_bytes(6, 2_000_000)).unwrap();
    let _gate = kill_while_pushing(&lab).refuse();
    assert_eq!(tip(&lab), before);
    assert!(!left_overs(&lab).is_empty(), "nothing is left over");
    let report = lab.backup();
    assert_eq!((&report["files_read"], &report["bytes_read"]), (&0.into(), &0.into()), "{report}");
    assert_eq!(left_overs(&lab), Vec::<PathBuf>::new());
    comes_back(&lab);

    // One more file is all there is to read.
    fs::write(lab.volume().join("large"), random_bytes(9, 2_000_000)).unwrap();
    let _gate = kill_while_pushing(&lab).refuse();
    fs::write(lab.volume().join("later"), "later").unwrap();
    let report = lab.backup();
    assert_eq!((&report["files_read"], &report["bytes_read"]), (&1.into(), &5.into()), "{report}");
    comes_back(&lab);
}

fn damaged_left_overs_cost_time_only(place: Place) {
    let lab = place.filled(two_files);
    let ways: [fn(&mut Vec<u8>); 4] = [
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
        },
        Vec::clear,
        |bytes| *bytes = random_bytes(1, bytes.len() + 3),
    ];
    let mut damaged = 0;
    for round in 0..2 {
        let mut number = 0;
        loop {
            let seed = (round * 100 + number) as u64;
            fs::write(lab.volume().join("large"), random_bytes(seed, 300_000)).unwrap();
            fs::write(lab.volume().join("d/small"), random_bytes(seed + 50, 3000)).unwrap();
            let _gate = kill_while_pushing(&lab).refuse();
            let found = left_overs(&lab);
            assert!(!found.is_empty(), "nothing is left over");
            let Some(path) = found.get(number) else { break };
            let mut bytes = fs::read(path).unwrap();
            ways[(round * 2 + number) % 4](&mut bytes);
            // It may be read-only.
            fs::remove_file(path).unwrap();
            fs::write(path, bytes).unwrap();
            let outcome = lab.run(&["backup"]);
            assert!(outcome.code == 0, "{}, round {round}: {outcome}", path.display());
            (number, damaged) = (number + 1, damaged + 1);
        }
        lab.ok(&["backup"]);
        comes_back(&lab);
    }
    assert!(damaged >= 6, "only {damaged} files were there to be damaged");
}

fn left_overs_of_another_repository_do_no_harm(place: Place) {
    let lab = place.filled(few_entries);
    fs::write(lab.volume().join("large"), random_bytes(6, 2_000_000)).unwrap();
    let gate = kill_while_pushing(&lab).refuse();
    remove_all(&lab.repository());
    make_repository(&lab);
    for key in place.allows {
        git(&lab.repository(), &["config", key, "true"]);
    }
    drop(gate);
    lab.exits(10, &["backup"]);
    lab.ok(&["repository", "init"]);
    lab.ok(&["backup"]);
    comes_back(&lab);
    fs::write(lab.volume().join("later"), "later").unwrap();
    lab.ok(&["backup"]);
    comes_back(&lab);
}

/// The server did what it was told, after the one who told it was dead.
fn a_push_that_arrived_unheard_is_no_trouble(place: Place) {
    let lab = place.filled(two_files);
    let before = tip(&lab);
    fs::write(lab.volume().join("a"), "edited").unwrap();
    let _gate = kill_while_pushing(&lab).let_pass();
    // The next one may come before or after the branch has moved.
    fs::write(lab.volume().join("later"), "later").unwrap();
    let outcome = lab.run(&["backup"]);
    assert!(matches!(outcome.code, 0 | 11), "{outcome}");
    lab.ok(&["init"]);
    lab.ok(&["backup"]);
    assert_in_history(&lab, &before);
    comes_back(&lab);
}

fn of_two_that_push_at_once_one_is_refused(place: Place) {
    let first = place.filled(two_files);
    fs::write(first.volume().join("a"), "of the first").unwrap();
    let gate = Gate::at(&first);
    let held = start(&mut first.command(&["backup"]));
    gate.wait();
    let second = another(&first);
    second.ok(&["init"]);
    assert_eq!(files(&second.volume()), ["a: one", "d/b: two"]);
    fs::write(second.volume().join("a"), "of the second").unwrap();
    second.ok(&["backup"]);
    let commit = tip(&first);
    let _gate = gate.let_pass();
    finish(held).expect_code(11);
    assert_eq!(tip(&first), commit);
    let snapshots = second.snapshots();
    assert_eq!(snapshots.len(), 2);
    assert_eq!(restored(&second, &snapshots[1]), ["a: of the second", "d/b: two"]);

    let first = first.with("VOLKEEP_INIT_ON_STALE", "keep");
    first.ok(&["init"]);
    first.ok(&["backup"]);
    assert_in_history(&first, &commit);
    comes_back(&first);
}

fn a_hook_that_refuses_is_heard(place: Place) {
    let lab = place.filled(two_files);
    let before = tip(&lab);
    fs::write(lab.volume().join("a"), "edited").unwrap();
    hook(&lab, "echo 'no work on Sundays' >&2; exit 1");
    for _ in 0..2 {
        lab.exits(1, &["backup"]).says(&["no work on Sundays"]);
        assert_eq!(tip(&lab), before);
    }
    remove_hook(&lab);
    lab.ok(&["backup"]);
    comes_back(&lab);
}

/// Git throws away what nothing refers to, whenever it likes.
#[test]
fn git_tidies_up_between_and_during_backups() {
    let lab = Place { home: Home::GitDirectory, allows: &[] }.filled(few_entries);
    let mut known = vec![(lab.snapshots().pop().unwrap(), lab.reference())];
    let mut failed = 0;
    let tidy = || {
        git(&lab.repository(), &["gc", "--quiet", "--prune=now"]);
    };
    for round in 0..8u64 {
        fs::write(lab.volume().join("changing"), random_bytes(round, 500_000)).unwrap();
        fs::write(lab.volume().join("one/file-1"), random_bytes(round, 100)).unwrap();
        made_tree(&lab.volume().join(format!("round-{round}")), 100, round);
        let backup = start(&mut lab.command(&["backup"]));
        tidy();
        // What nobody refers to yet may be thrown away under its hands: then it says so, and the next one does it.
        let outcome = finish(backup);
        failed += usize::from(outcome.code != 0);
        if outcome.code != 0 {
            assert_eq!(outcome.code, 1, "{outcome}");
            assert_sound(&lab);
            lab.ok(&["backup"]);
        }
        assert_sound(&lab);
        let state = lab.path(&format!("state-{round}"));
        copy(&lab.volume(), &state);
        known.push((lab.snapshots().pop().unwrap(), state));
        if round % 2 == 0 {
            tidy();
            assert_sound(&lab);
        }
    }
    let target = lab.path("target");
    for (id, state) in &known {
        remove_all(&target);
        lab.ok(&["restore", id, "--target", target.to_str().unwrap()]);
        same(state, &target);
    }
    lab.ok(&["check", "--verify"]);
    assert_eq!(lab.snapshots().len(), known.len());
    println!("{failed} of 8 backups failed");
}

/// A backup is held after each step that changes names, git throws away what nothing refers to, and the backup goes on:
/// what it then calls stored is there.
#[test]
fn git_tidies_up_at_any_step_of_a_backup() {
    let lab = Place { home: Home::GitDirectory, allows: &[] }.filled(two_files);
    for calls in [RENAMES, LINKS] {
        let steps = kill_at_each(1, 1, |step| {
            fs::write(lab.volume().join("a"), format!("{calls}, step {step}")).unwrap();
            let log = lab.path("strace");
            fs::write(&log, "").unwrap();
            let mut strace = Command::new("strace");
            strace.args(["-f", "-o"]).arg(&log).arg("-e").arg(format!("trace={calls}"));
            strace.arg("-e").arg(format!("inject={calls}:signal=SIGSTOP:when={step}"));
            let mut backup = start(wrap(&mut strace, &lab.command(&["backup"])));
            let stopped = stopped_process(&log, &mut backup);
            if let Some(process) = &stopped {
                git(&lab.repository(), &["gc", "--quiet", "--prune=now"]);
                shell("kill -CONT \"$1\"", &[OsStr::new(process)]);
            }
            let outcome = finish(backup);
            let context = format!("held at step {step} of {calls}: {outcome}");
            assert_sound(&lab);
            if outcome.code != 0 {
                assert_eq!(outcome.code, 1, "{context}");
                lab.ok(&["backup"]);
            }
            assert_eq!(restored(&lab, "latest"), files(&lab.volume()), "{context}");
            stopped.is_some()
        });
        println!("held {steps} times at {calls}");
    }
}

/// Its number, as soon as it is held. `None`: it came to its end.
fn stopped_process(log: &Path, child: &mut Child) -> Option<String> {
    loop {
        let ended = child.try_wait().unwrap().is_some();
        let said = fs::read_to_string(log).unwrap();
        if let Some(line) = said.lines().find(|line| line.contains("stopped by SIGSTOP")) {
            return line.split_whitespace().next().map(str::to_owned);
        }
        if ended {
            return None;
        }
        std::thread::yield_now();
    }
}
