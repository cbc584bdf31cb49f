//! People work in the repository beside volkeep: they edit, merge, amend, rewind and force, by git's command line.
//! Whatever they do, a fresh volume gets what stands in the tree, a volume that does not know of it overwrites
//! nothing, and no snapshot is lost that somebody did not mean to lose.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use support::git::git;
use support::person::{
    ANYTHING, FILTERS, Person, Place, another, assert_in_history, assert_sound, files, is_refused,
    make_repository, restored, tip, two_files,
};
use support::{Home, Lab, few_entries, same, shell};

const ON_STALE: &str = "VOLKEEP_INIT_ON_STALE";

macro_rules! in_each_place {
    ($($test:ident)*) => {
        mod in_a_directory {
            in_each_place! { @all GitDirectory &[]; [] $($test)* }
        }
        mod over_ssh {
            in_each_place! { @all GitSsh &[]; [#[ignore = "needs a git server: tests/run"]] $($test)* }
        }
        mod over_ssh_with_filters {
            in_each_place! {
                @all GitSsh super::FILTERS; [#[ignore = "needs a git server: tests/run"]] $($test)*
            }
        }
        mod over_https {
            in_each_place! { @all GitHttps &[]; [#[ignore = "needs a git server: tests/run"]] $($test)* }
        }
        mod over_https_with_all_rights {
            in_each_place! {
                @all GitHttps super::ANYTHING; [#[ignore = "needs a git server: tests/run"]] $($test)*
            }
        }
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

in_each_place! {
    what_a_person_changed_is_what_volumes_get
    it_does_not_matter_what_time_a_person_has
    who_keeps_the_volume_keeps_the_work_of_people_in_the_history
    a_merge_hides_no_snapshot
    an_amended_commit_is_not_overwritten
    a_snapshot_that_was_picked_again_is_not_overwritten
    a_rebased_history_is_not_overwritten
    after_a_rewind_the_later_volume_is_cut_off
    no_app_is_started_empty_beside_the_work_of_people
    hard_links_have_what_stands_in_the_tree
    attributes_that_a_person_added_win
    of_two_volumes_the_second_is_told_who_wrote
    who_keeps_the_volume_once_is_cut_off_later_all_the_same
}

/// Names and what they are done to; the same in a clone and in a copy of the volume.
fn edit(root: &Path) {
    fs::write(root.join("one/file-1"), "edited").unwrap();
    fs::write(root.join("one/page"), "added").unwrap();
    fs::create_dir(root.join("new")).unwrap();
    fs::write(root.join("new/page"), "added as well").unwrap();
    fs::remove_file(root.join("one/two/file-6")).unwrap();
    fs::set_permissions(root.join("file-4"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_file(root.join("link")).unwrap();
    symlink("new/page", root.join("link")).unwrap();
}

const EDITED: [&str; 5] = ["one/file-1", "one/page", "new/page", "link", "new"];

/// Long before anything here was backed up.
const WHEN: &str = "2020-02-02T02:02:02Z";

/// The reference becomes what a volume should get: what was edited has the time of the commit, all else is as it was.
fn edit_reference(lab: &Lab) {
    edit(&lab.reference());
    for name in EDITED {
        let path = lab.reference().join(name);
        shell("touch -h -d \"$1\" -- \"$2\"", &[WHEN.as_ref(), path.as_os_str()]);
    }
    // Directories that were there have their times back.
    shell(
        "rsync -dlptgorAX --numeric-ids --existing --modify-window=-1 --exclude=/new --include='*/' --exclude='*' \
         \"$1/\" \"$2/\"",
        &[lab.volume().as_os_str(), lab.reference().as_os_str()],
    );
}

fn what_a_person_changed_is_what_volumes_get(place: Place) {
    let old = place.filled(few_entries);
    let person = Person::with_clone(&old);
    edit(person.root());
    assert!(person.commit_at("Mend some words", WHEN));
    let commit = person.push();

    old.exits(16, &["init"]);
    old.assert_back();
    let fresh = another(&old);
    fresh.ok(&["init"]);
    edit_reference(&old);
    same(&old.reference(), &fresh.volume());
    assert_in_history(&old, &commit);

    fs::write(old.volume().join("mine"), "mine").unwrap();
    is_refused(&old);
    let old = old.with(ON_STALE, "restore");
    old.ok(&["init"]);
    same(&old.reference(), &old.volume());
}

fn it_does_not_matter_what_time_a_person_has(place: Place) {
    let now: fn(&Lab) -> String = |lab| git(&lab.repository(), &["log", "-1", "--format=@%ct +0000", "main"]);
    type Time = fn(&Lab) -> String;
    let times: [(&str, Time); 5] = [
        ("years back", |_| "2001-02-03T04:05:06Z".to_owned()),
        ("years ahead", |_| "2031-01-01T00:00:00Z".to_owned()),
        ("the same second", now),
        ("the first moment of the year 10000", |_| "@253402300800 +0000".to_owned()),
        ("the year 99999", |_| "@3093496473600 +0000".to_owned()),
    ];
    // What a time means is not decided on the way to a server.
    let count = if place.home == Home::GitDirectory { times.len() } else { 1 };
    for (what, time) in times.into_iter().take(count) {
        let old = place.filled(two_files);
        let person = Person::with_clone(&old);
        person.write("a", "edited");
        if !person.commit_at("Mend a word", &time(&old)) {
            assert!(what.contains("the year "), "git refuses {what}");
            continue;
        }
        let commit = person.push();
        fs::write(old.volume().join("mine"), "mine").unwrap();
        old.exits(16, &["init"]);
        is_refused(&old);
        assert_eq!(tip(&old), commit, "{what}");

        let fresh = another(&old);
        fresh.ok(&["init"]);
        assert_eq!(files(&fresh.volume()), ["a: edited", "d/b: two"], "{what}");
        fs::write(fresh.volume().join("a"), "edited again").unwrap();
        fresh.ok(&["backup"]);
        assert_in_history(&old, &commit);
        is_refused(&old);
        assert_eq!(fresh.snapshots().len(), 3, "{what}");

        let last = another(&old);
        last.ok(&["init"]);
        assert_eq!(files(&last.volume()), ["a: edited again", "d/b: two"], "{what}");
        let old = old.with(ON_STALE, "restore");
        old.ok(&["init"]);
        assert_eq!(files(&old.volume()), ["a: edited again", "d/b: two"], "{what}");
        fs::write(old.volume().join("mine"), "mine").unwrap();
        old.ok(&["backup"]);
        is_refused(&{
            fs::write(last.volume().join("yours"), "yours").unwrap();
            last
        });
    }
}

fn who_keeps_the_volume_keeps_the_work_of_people_in_the_history(place: Place) {
    let old = place.filled(two_files);
    let person = Person::with_clone(&old);
    person.write("a", "edited");
    person.commit("Mend a word");
    let commit = person.push();

    fs::write(old.volume().join("mine"), "mine").unwrap();
    let mut old = old.with(ON_STALE, "keep");
    old.ok(&["init"]);
    old.ok(&["backup"]);
    assert_in_history(&old, &commit);
    let snapshots = old.snapshots();
    assert_eq!(snapshots.len(), 3);

    // From now on it is the one that writes.
    old.unset(ON_STALE);
    fs::write(old.volume().join("mine"), "mine again").unwrap();
    old.ok(&["init"]);
    old.ok(&["backup"]);
    let fresh = another(&old);
    fresh.ok(&["init"]);
    assert_eq!(files(&fresh.volume()), ["a: one", "d/b: two", "mine: mine again"]);
    let kept: Vec<_> = snapshots.iter().map(|id| restored(&fresh, id)).collect();
    assert!(kept.contains(&vec!["a: edited".to_owned(), "d/b: two".to_owned()]), "{kept:?}");
}

/// `git pull` makes a merge whose first parent is the person's.
fn a_merge_hides_no_snapshot(place: Place) {
    for ago in if place.home == Home::GitDirectory { &["300", "0"][..] } else { &["300"] } {
        let old = place.filled(two_files);
        let person = Person::with_clone(&old);
        let mut known = BTreeMap::new();
        known.insert(old.snapshots().pop().unwrap(), files(&old.volume()));
        for round in 1..=3 {
            fs::write(old.volume().join("a"), format!("round {round}")).unwrap();
            old.ok(&["backup"]);
            known.insert(old.snapshots().pop().unwrap(), files(&old.volume()));
        }
        person.write("page", "added");
        let time = shell("echo \"@$(($(date +%s) - $1)) +0000\"", &[ago.as_ref()]);
        assert!(person.commit_at("Add a page", time.trim()));
        person.git(&["pull", "--quiet", "--no-rebase", "--no-edit", "origin", "main"]);
        let merge = person.push();

        fs::write(old.volume().join("mine"), "mine").unwrap();
        old.exits(16, &["init"]);
        is_refused(&old);
        assert_all_there(&old, &known);
        let fresh = another(&old);
        fresh.ok(&["init"]);
        assert_eq!(files(&fresh.volume()), ["a: round 3", "d/b: two", "page: added"]);
        assert_all_there(&fresh, &known);
        is_refused(&old);
        fs::write(fresh.volume().join("a"), "round 4").unwrap();
        fresh.ok(&["backup"]);
        assert_in_history(&fresh, &merge);
        known.insert(fresh.snapshots().pop().unwrap(), files(&fresh.volume()));
        assert_all_there(&fresh, &known);
        for (id, content) in &known {
            assert_eq!(restored(&fresh, id), *content, "{id}");
        }

        nothing_is_lost_by_a_prune(fresh, &known);
        is_refused(&old);
        old.ok(&["check"]);
    }
}

#[track_caller]
fn assert_all_there(lab: &Lab, known: &BTreeMap<String, Vec<String>>) {
    let there = lab.snapshots();
    for id in known.keys() {
        assert!(there.contains(id), "{id} is not among {there:#?}");
    }
}

fn nothing_is_lost_by_a_prune(lab: Lab, known: &BTreeMap<String, Vec<String>>) {
    let before: BTreeSet<String> = lab.snapshots().into_iter().collect();
    let lab = lab.with("VOLKEEP_RETENTION", "last=3");
    let report = lab.ok(&["prune", "--json"]).json();
    let forgotten: BTreeSet<String> =
        report["forgotten"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    let after: BTreeSet<String> = lab.snapshots().into_iter().collect();
    assert_eq!(before.difference(&forgotten).cloned().collect::<BTreeSet<_>>(), after, "{report}");
    assert_eq!(after.len(), 3, "{report}");
    for id in &after {
        let content = restored(&lab, id);
        assert!(known.get(id).is_none_or(|expected| *expected == content), "{id}: {content:?}");
    }
    lab.ok(&["check", "--verify"]);
    assert_sound(&lab);
    let fresh = another(&lab);
    fresh.ok(&["init"]);
    assert_eq!(files(&fresh.volume()), files(&lab.volume()));
}

fn an_amended_commit_is_not_overwritten(place: Place) {
    let old = place.filled(two_files);
    let person = Person::with_clone(&old);
    person.write("a", "edited");
    person.write("c", "added");
    person.git(&["add", "--all"]);
    person.git(&["commit", "--quiet", "--amend", "--no-edit"]);
    person.force_push();
    as_the_person_left_it(old, &["a: edited", "c: added", "d/b: two"]);
}

/// With the words of an older commit of ours on top of a newer one.
fn a_snapshot_that_was_picked_again_is_not_overwritten(place: Place) {
    let old = place.filled(two_files);
    let first = tip(&old);
    fs::write(old.volume().join("a"), "later").unwrap();
    old.ok(&["backup"]);
    let person = Person::with_clone(&old);
    person.git(&["rm", "--quiet", "-r", "."]);
    person.git(&["checkout", "--quiet", &first, "--", "."]);
    person.git(&["commit", "--quiet", "--reuse-message", &first]);
    person.push();
    as_the_person_left_it(old, &["a: one", "d/b: two"]);
}

fn a_rebased_history_is_not_overwritten(place: Place) {
    let old = place.filled(two_files);
    let first = tip(&old);
    fs::write(old.volume().join("e"), "later").unwrap();
    old.ok(&["backup"]);
    let person = Person::with_clone(&old);
    person.git(&["checkout", "--quiet", "-B", "main", &first]);
    person.write("page", "added");
    person.commit("Add a page");
    // What is said of the data in between cannot be merged line by line: theirs is the newer.
    person.git(&["cherry-pick", "--strategy-option=theirs", "origin/main"]);
    person.force_push();
    as_the_person_left_it(old, &["a: one", "d/b: two", "e: later", "page: added"]);
}

/// The volume that wrote before does not write over it, and others get it.
fn as_the_person_left_it(old: Lab, expected: &[&str]) {
    let commit = tip(&old);
    fs::write(old.volume().join("mine"), "mine").unwrap();
    is_refused(&old);
    let fresh = another(&old);
    fresh.ok(&["init"]);
    assert_eq!(files(&fresh.volume()), expected);
    is_refused(&old);
    fs::write(fresh.volume().join("a"), "after it").unwrap();
    fresh.ok(&["backup"]);
    assert_in_history(&fresh, &commit);
    let contents: Vec<_> = fresh.snapshots().iter().map(|id| restored(&fresh, id)).collect();
    assert!(contents.iter().any(|content| content == expected), "{contents:#?}");
    let old = old.with(ON_STALE, "restore");
    old.ok(&["init"]);
    assert_eq!(files(&old.volume()), files(&fresh.volume()));
}

fn after_a_rewind_the_later_volume_is_cut_off(place: Place) {
    let first = place.filled(two_files);
    let good = tip(&first);
    let later = another(&first);
    later.ok(&["init"]);
    for content in ["bad", "worse"] {
        fs::write(later.volume().join("a"), content).unwrap();
        later.ok(&["backup"]);
    }
    let person = Person::with_clone(&first);
    person.git(&["reset", "--quiet", "--hard", &good]);
    person.force_push();

    let fresh = another(&first);
    fresh.ok(&["init"]);
    assert_eq!(files(&fresh.volume()), ["a: one", "d/b: two"]);
    fs::write(later.volume().join("a"), "worst").unwrap();
    is_refused(&later);
    fs::write(fresh.volume().join("a"), "good").unwrap();
    fresh.ok(&["backup"]);
    is_refused(&later);
    later.exits(16, &["init"]);
    fs::write(first.volume().join("a"), "first").unwrap();
    is_refused(&first);

    fs::write(fresh.volume().join("a"), "better").unwrap();
    fresh.ok(&["backup"]);
    let later = later.with(ON_STALE, "restore");
    later.ok(&["init"]);
    assert_eq!(files(&later.volume()), ["a: better", "d/b: two"]);
    later.ok(&["check", "--verify"]);
}

fn no_app_is_started_empty_beside_the_work_of_people(place: Place) {
    let lab = place.empty();
    if place.home == Home::GitDirectory {
        make_repository(&lab);
    }
    let person = Person::with_clone(&lab);
    person.write("page", "precious");
    person.commit("Add a page");
    let commit = person.push();

    let lab = lab.with("VOLKEEP_INIT_CREATE_REPOSITORY", "true");
    for _ in 0..2 {
        lab.exits(10, &["init"]).says(&["the commits on that branch are not volkeep's"]);
        assert_eq!((files(&lab.volume()), tip(&lab)), (Vec::new(), commit.clone()));
        assert_ne!(lab.state(), "healthy");
    }

    lab.ok(&["repository", "init"]);
    assert_in_history(&lab, &commit);
    lab.ok(&["init"]);
    assert_eq!(files(&lab.volume()), ["page: precious"]);
    fs::write(lab.volume().join("more"), "more").unwrap();
    lab.ok(&["backup"]);
    assert_in_history(&lab, &commit);
    let fresh = another(&lab);
    fresh.ok(&["init"]);
    assert_eq!(files(&fresh.volume()), ["more: more", "page: precious"]);
    let kept: Vec<_> = fresh.snapshots().iter().map(|id| restored(&fresh, id)).collect();
    assert!(kept.contains(&vec!["page: precious".to_owned()]), "{kept:?}");
}

/// Three names of one file, and another file that is nobody's link.
fn three_names(root: &Path) {
    fs::write(root.join("a"), "linked").unwrap();
    fs::hard_link(root.join("a"), root.join("b")).unwrap();
    fs::create_dir(root.join("d")).unwrap();
    fs::hard_link(root.join("a"), root.join("d/c")).unwrap();
    fs::write(root.join("other"), "secret").unwrap();
}

fn hard_links_have_what_stands_in_the_tree(place: Place) {
    type Deed = fn(&Path);
    let deeds: [(Deed, &[&str]); 6] = [
        (|root| fs::remove_file(root.join("a")).unwrap(), &["b: linked", "d/c: linked", "other: secret"]),
        (
            |root| {
                fs::remove_file(root.join("a")).unwrap();
                symlink("other", root.join("a")).unwrap();
            },
            &["a -> other", "b: linked", "d/c: linked", "other: secret"],
        ),
        (
            |root| fs::write(root.join("a"), "edited").unwrap(),
            &["a: edited", "b: linked", "d/c: linked", "other: secret"],
        ),
        (
            |root| fs::write(root.join("b"), "edited").unwrap(),
            &["a: linked", "b: edited", "d/c: linked", "other: secret"],
        ),
        (
            |root| {
                fs::remove_file(root.join("a")).unwrap();
                fs::create_dir(root.join("a")).unwrap();
                fs::write(root.join("a/a"), "inside").unwrap();
            },
            &["a/a: inside", "b: linked", "d/c: linked", "other: secret"],
        ),
        (
            |root| {
                fs::write(root.join("b"), "edited").unwrap();
                fs::remove_file(root.join("d/c")).unwrap();
                symlink("../other", root.join("d/c")).unwrap();
            },
            &["a: linked", "b: edited", "d/c -> ../other", "other: secret"],
        ),
    ];
    // Which links there are is not decided on the way to a server.
    let count = if place.home == Home::GitDirectory { deeds.len() } else { 2 };
    for (deed, expected) in deeds.into_iter().take(count) {
        let old = place.filled(three_names);
        let person = Person::with_clone(&old);
        deed(person.root());
        person.commit("Something about links");
        person.push();
        let fresh = another(&old);
        fresh.ok(&["init"]);
        assert_eq!(files(&fresh.volume()), expected);
        // To write into one name is to write into no other that was parted from it.
        let inode = |name: &str| {
            fs::symlink_metadata(fresh.volume().join(name)).ok().filter(|m| m.is_file()).map(|m| m.ino())
        };
        if expected.contains(&"a: edited") || expected.contains(&"b: edited") {
            assert_ne!(inode("a"), inode("b"), "{expected:?}");
        }
        fresh.ok(&["check", "--verify"]);
        fs::write(fresh.volume().join("later"), "later").unwrap();
        fresh.ok(&["backup"]);
        let last = another(&old);
        last.ok(&["init"]);
        same(&fresh.volume(), &last.volume());
    }
}

fn attributes_that_a_person_added_win(place: Place) {
    let old = place.filled(|root| fs::write(root.join(".gitattributes"), "of the volume").unwrap());
    let first = old.snapshots().pop().unwrap();
    let person = Person::with_clone(&old);
    assert_eq!(fs::read(person.root().join("%.gitattributes")).unwrap(), b"of the volume");
    person.write(".gitattributes", "*.png -text\n");
    person.commit("Leave pictures alone");
    let commit = person.push();

    let fresh = another(&old);
    fresh.ok(&["init"]).says(&["warn", ".gitattributes"]);
    let got = |lab: &Lab| fs::read_to_string(lab.volume().join(".gitattributes")).unwrap();
    assert_eq!(got(&fresh), "*.png -text\n");
    fs::write(fresh.volume().join("later"), "later").unwrap();
    fresh.ok(&["backup"]);
    assert_in_history(&fresh, &commit);
    let last = another(&old);
    last.ok(&["init"]);
    assert_eq!(got(&last), "*.png -text\n");
    assert_eq!(restored(&last, &first), [".gitattributes: of the volume"]);
}

fn of_two_volumes_the_second_is_told_who_wrote(place: Place) {
    let first = place.filled(two_files);
    let second = another(&first);
    second.ok(&["init"]);
    let status = second.ok(&["status", "--json"]).json();
    let volume =
        status["volume_id"].as_str().unwrap_or_else(|| panic!("no volume_id in {status}")).to_owned();
    let host = git(&first.repository(), &["log", "-1", "--format=%B", "main"]);
    let host = host.lines().find_map(|line| line.strip_prefix("Volkeep-Host: ")).unwrap().to_owned();

    // Nothing newer is there, and yet another volume has the word.
    fs::write(first.volume().join("a"), "of the first").unwrap();
    let before = tip(&first);
    first.exits(11, &["backup"]).says(&[&volume, &host]);
    assert_eq!(tip(&first), before);

    fs::write(second.volume().join("a"), "of the second").unwrap();
    second.ok(&["backup"]);
    let (theirs, before) = (second.snapshots().pop().unwrap(), tip(&first));
    is_refused(&first).says(&[&host]);
    assert_eq!(restored(&first, &theirs), ["a: of the second", "d/b: two"]);

    let first = first.with(ON_STALE, "keep");
    first.ok(&["init"]);
    first.ok(&["backup"]);
    assert_in_history(&first, &before);
    assert_eq!(restored(&first, &theirs), ["a: of the second", "d/b: two"]);
    fs::write(second.volume().join("a"), "of the second again").unwrap();
    is_refused(&second);
    let fresh = another(&first);
    fresh.ok(&["init"]);
    assert_eq!(files(&fresh.volume()), ["a: of the first", "d/b: two"]);
}

/// To keep the data once, with nothing to store, is no right to overwrite what comes later.
fn who_keeps_the_volume_once_is_cut_off_later_all_the_same(place: Place) {
    let first = place.filled(two_files);
    let second = another(&first);
    second.ok(&["init"]);
    let mut first = first.with(ON_STALE, "keep");
    first.ok(&["init"]);
    first.ok(&["backup"]);
    first.unset(ON_STALE);

    fs::write(second.volume().join("a"), "of the second").unwrap();
    let stored = second.run(&["backup"]);
    fs::write(first.volume().join("a"), "of the first").unwrap();
    if stored.code == 0 {
        is_refused(&first);
    } else {
        is_refused(&second);
        first.ok(&["backup"]);
    }
}
