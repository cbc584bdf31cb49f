//! Repositories that git made, packed and broke; what it finds in them itself is asked of `git fsck`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::checks_support::{FULL, QUICK, check, comes_back, expect, verdict};
use super::support::{Lab, Layout, remove_all, run, shell};

/// `$1` is a bare repository that is made: three commits, a large file that changes, directories, tags; all of it in one
/// pack, and two commits more that are not packed.
const MAKE: &str = r#"
    export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
    tree="$1".work; git init -q -b main "$tree"; cd "$tree"
    for n in 1 2 3 4 5; do
        mkdir -p docs/deep; echo "page $n" > docs/deep/page; seq $((n * 100)) $((n * 100 + 20000)) > large; echo $n > "file $n"
        git add .; git commit -qm "commit $n"
        if [ $n = 1 ]; then git tag -am "a tag" v1; git branch old; fi
        if [ $n = 3 ]; then git clone -q --bare . "$1"; git -C "$1" gc -q --prune=now; fi
    done
    git push -q "$1" main
    cd /; rm -rf "$tree"
"#;

fn make(at: &Path) {
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    shell(MAKE, &[at.as_os_str()]);
}

/// A volume as that of a Gitea, with one repository, backed up.
fn lab() -> Lab {
    let mut lab = Lab::filled(Layout::Subdirectory, |volume| {
        make(&volume.join("git/repositories/alice/wiki.git"));
        fs::write(volume.join("app.ini"), "x").unwrap();
    });
    check(&mut lab, "{git: git/repositories}");
    lab
}

fn repository(lab: &Lab) -> PathBuf {
    lab.volume().join("git/repositories/alice/wiki.git")
}

/// A script in the repository. `$loose` is the directory of an object that is not packed and reachable, `$pack` the
/// name of the pack without its end.
fn change(at: &Path, script: &str) {
    let prelude = "export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
        cd \"$1\"
        path_of() { local name; name=$(git rev-parse \"$1\"); echo \"objects/${name:0:2}/${name:2}\"; }
        pack=$(ls objects/pack/*.pack 2>/dev/null | head -n 1); pack=${pack%.pack}
        flip() { chmod u+w \"$1\"; printf '\\x5a\\xa5' | dd of=\"$1\" bs=1 seek=\"$2\" conv=notrunc status=none; }
        chmod -R u+w objects
        rm -f HEAD.lock packed-refs.lock refs/heads/main.lock
        ";
    shell(&format!("{prelude}{script}"), &[at.as_os_str()]);
}

fn fsck_is_content(at: &Path) -> bool {
    let mut fsck = Command::new("git");
    fsck.env("GIT_CONFIG_GLOBAL", "/dev/null").arg("-C").arg(at).args(["fsck", "--full", "--strict"]);
    run(&mut fsck).code == 0
}

#[test]
fn good_repositories_are_left_alone() {
    let lab = lab();
    let at = repository(&lab);
    for script in [
        "true",
        // Left by a crash.
        "touch HEAD.lock packed-refs.lock refs/heads/main.lock objects/pack/tmp_pack_x objects/12345; mkdir -p objects/ab; touch objects/ab/tmp_obj_x",
        "git gc -q --prune=now",
        "git pack-refs --all && git repack -q -a -d",
        "git pack-refs --all; git update-ref refs/heads/old $(git rev-parse main)",
        "echo dangling | git hash-object -w --stdin",
        "git update-ref --no-deref HEAD $(git rev-parse old)",
        "git symbolic-ref HEAD refs/heads/not-there",
        "git tag tree $(git rev-parse 'main^{tree}'); git tag blob $(git rev-parse main:large); git tag -am nested nested v1",
        "git repack -q -a -d -m --write-bitmap-index; git commit-graph write --reachable",
        // A commit of another repository in a tree.
        "tree=$(printf '160000 commit %s\\tsub\\n' $(git rev-parse old) | git mktree); git update-ref refs/heads/sub $(git commit-tree -m x $tree)",
    ] {
        change(&at, script);
        assert!(fsck_is_content(&at), "{script}");
        for level in [QUICK, FULL] {
            let (word, said) = verdict(&lab, level);
            assert_eq!(word, "good", "{level} {script}: {said}");
        }
    }
    // Nothing in it yet, and one that git has never gone through.
    shell("git init -q --bare \"$1\"/empty.git", &[lab.volume().join("git/repositories").as_os_str()]);
    expect(&lab, FULL, "good", "");
    assert_eq!(lab.ok(&["init", "--json"]).json()["action"], "nothing");
}

#[test]
fn repositories_that_are_not_whole_on_purpose_are_no_damage() {
    let lab = lab();
    let (at, all) = (repository(&lab), lab.volume().join("git/repositories"));
    shell(
        "export GIT_CONFIG_GLOBAL=/dev/null
        git -C \"$1\" config uploadpack.allowFilter true
        git clone -q --bare --depth 1 \"file://$1\" \"$2\"/shallow.git
        git clone -q --bare --filter=blob:none \"file://$1\" \"$2\"/partial.git
        git clone -q --bare --shared \"$1\" \"$2\"/fork.git",
        &[at.as_os_str(), all.as_os_str()],
    );
    assert!(fs::read_to_string(all.join("fork.git/objects/info/alternates")).unwrap().contains("wiki.git"));
    expect(&lab, FULL, "good", "");
    // What it borrows is elsewhere, where nothing is known about it.
    shell("echo /nowhere/objects > \"$1\"/fork.git/objects/info/alternates", &[all.as_os_str()]);
    expect(&lab, QUICK, "good", "");
    expect(&lab, FULL, "unknown", "fork.git: ");
    remove_all(&all.join("fork.git"));
    shell("git init -q --bare --object-format=sha256 \"$1\"/new.git", &[all.as_os_str()]);
    expect(&lab, FULL, "unknown", "sha256");
}

#[test]
fn what_git_finds_is_found() {
    let lab = lab();
    let (at, whole) = (repository(&lab), lab.path("whole"));
    shell("cp -a \"$1\" \"$2\"", &[at.as_os_str(), whole.as_os_str()]);
    for (script, quick, part) in [
        // What a power cut leaves.
        (": > refs/heads/main", true, "refs/heads/main is empty"),
        ("head -c 41 /dev/zero > refs/heads/main", true, "refs/heads/main holds NUL"),
        (": > HEAD", true, "HEAD is empty"),
        ("echo nonsense > HEAD", true, "HEAD names no object"),
        ("rm HEAD", true, "HEAD is missing"),
        ("rm -r refs", true, "refs is missing"),
        ("rm -r objects", true, "objects is missing"),
        ("head -c 100 /dev/zero > packed-refs", true, "packed-refs"),
        ("head -c 100 /dev/zero > config", true, "config holds NUL"),
        ("flip $pack.pack 0", true, "does not begin as a pack does"),
        ("truncate -s -100 $pack.pack", true, "does not end as its index says"),
        (": > $pack.pack", true, "0 bytes"),
        (": > $pack.idx", true, "0 bytes"),
        ("truncate -s -40 $pack.idx", true, "bytes for"),
        ("flip $pack.pack 4000", false, "does not have the checksum that it names"),
        ("flip $pack.idx 1500", false, "does not have the checksum that it names"),
        ("rm $(path_of main)", false, "that refs/heads/main names is missing"),
        ("rm $(path_of 'main^{tree}')", false, "the tree"),
        ("rm $(path_of main:large)", false, "the blob"),
        ("rm $(path_of main~1)", false, "is missing"),
        ("f=$(path_of main:large); truncate -s -10 $f", false, "the object"),
        ("f=$(path_of main:docs/deep/page); chmod u+w $f; : > $f", false, "is empty"),
        ("cp $(path_of main~1) $(path_of main)", false, "another content than its name says"),
        ("rm $pack.idx", false, "is missing"),
        ("rm $pack.pack", false, "is missing"),
        (
            "echo $(git rev-parse main | tr 0-9a-f 1-9a-f0) > refs/heads/wrong",
            false,
            "refs/heads/wrong names is missing",
        ),
    ] {
        remove_all(&at);
        shell("cp -a \"$2\" \"$1\"", &[at.as_os_str(), whole.as_os_str()]);
        change(&at, script);
        assert!(!fsck_is_content(&at), "git finds nothing: {script}");
        let (word, said) = verdict(&lab, QUICK);
        assert_eq!(word == "damaged", quick, "{script}: {said}");
        expect(&lab, FULL, "damaged", part);
        expect(&lab, FULL, "damaged", "alice/wiki.git: ");
    }
    fs::write(at.join("refs/heads/main"), "").unwrap();
    comes_back(&lab, "refs/heads/main is empty");
}

#[test]
fn what_a_crash_leaves_without_need_is_a_warning() {
    let lab = lab();
    let at = repository(&lab);
    // An object of a push that never came to its end.
    change(
        &at,
        "f=$(echo dangling | git hash-object -w --stdin); f=objects/${f:0:2}/${f:2}; chmod u+w $f; : > $f",
    );
    expect(&lab, QUICK, "good", "");
    expect(&lab, FULL, "unknown", "no ref is known to lead there");
    change(&at, "cp $pack.pack objects/pack/pack-1234.pack");
    expect(&lab, QUICK, "unknown", "pack-1234.pack has no index");
}

#[test]
fn what_made_way_is_not_judged_again() {
    let mut lab = Lab::filled(Layout::MountPoint, |volume| make(&volume.join("alice/wiki.git")));
    check(&mut lab, "{git: .}");
    expect(&lab, FULL, "good", "");
    fs::write(lab.volume().join("alice/wiki.git/HEAD"), "").unwrap();
    // In the quarantine, which lies in the volume, is the broken one.
    comes_back(&lab, "alice/wiki.git: HEAD is empty");
    expect(&lab, FULL, "good", "");
}

#[test]
fn repositories_are_found_wherever_they_are() {
    let mut lab = lab();
    let all = lab.volume().join("git/repositories");
    make(&all.join("a/b/c/d/deep.git"));
    symlink(all.join("a"), all.join("again")).unwrap();
    symlink("/", all.join("out")).unwrap();
    expect(&lab, FULL, "good", "");
    fs::write(all.join("a/b/c/d/deep.git/refs/heads/main"), "").unwrap();
    expect(&lab, QUICK, "damaged", "a/b/c/d/deep.git: refs/heads/main is empty");
    let (_, said) = verdict(&lab, QUICK);
    assert!(!said.contains("again"), "{said}");
    // One by its own path.
    check(&mut lab, "{git: git/repositories/alice/wiki.git}");
    expect(&lab, FULL, "good", "");
    // The first repository of a server may be yet to come; the directory is there by then.
    remove_all(&all);
    fs::create_dir(&all).unwrap();
    check(&mut lab, "{git: git/repositories}");
    expect(&lab, FULL, "unknown", "there is no git repository in it");
    fs::create_dir_all(all.join("alice/wiki.git")).unwrap();
    expect(&lab, QUICK, "unknown", "alice/wiki.git is not a git repository");
    remove_all(&all);
    comes_back(&lab, "git git/repositories");
    check(&mut lab, "{git: /git}");
    let refused = lab.exits(78, &["init"]);
    assert!(refused.stderr.contains("init.checks") && refused.stderr.contains("absolute"), "{refused}");
}
