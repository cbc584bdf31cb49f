//! People who work beside volkeep in a git repository, by git's command line alone; and servers that hold a push.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::compare::listing;
use super::git::{command, git, try_git};
use super::lab::{Home, Lab, Layout, remove_all};
use super::process::{Outcome, run, shell};

/// Where the repository is, and what clients may ask of its server beyond the defaults.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub home: Home,
    pub allows: &'static [&'static str],
}

pub const FILTERS: &[&str] = &["uploadpack.allowFilter"];
pub const ANYTHING: &[&str] = &["uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"];

impl Place {
    /// A volume with this content, backed up once; its content lies in `reference` as well.
    #[track_caller]
    pub fn filled(self, fill: impl Fn(&Path)) -> Lab {
        let lab = self.empty();
        fill(&lab.volume());
        lab.first_backup();
        lab
    }

    #[track_caller]
    pub fn empty(self) -> Lab {
        let lab = Lab::new_in(self.home, Layout::Subdirectory);
        for key in self.allows {
            git(&lab.repository(), &["config", key, "true"]);
        }
        lab
    }
}

/// Another volume of the same repository, with nothing on it.
pub fn another(lab: &Lab) -> Lab {
    Lab::new(Layout::Subdirectory).sharing(lab)
}

/// A bare repository without any commit, where the lab's is to be.
pub fn make_repository(lab: &Lab) {
    let path = lab.repository();
    remove_all(&path);
    git(path.parent().unwrap(), &["init", "--quiet", "--bare", "-b", "main", &path.display().to_string()]);
}

/// The newest commit.
#[track_caller]
pub fn tip(lab: &Lab) -> String {
    git(&lab.repository(), &["rev-parse", "refs/heads/main"])
}

/// It is in the history of the branch.
#[track_caller]
pub fn assert_in_history(lab: &Lab, commit: &str) {
    let answer = try_git(&lab.repository(), &["merge-base", "--is-ancestor", commit, "refs/heads/main"]);
    assert!(answer.status.success(), "{commit} is not in the history of the branch any more");
}

/// Nothing is wrong with the repository, to the strictest eye of git.
#[track_caller]
pub fn assert_sound(lab: &Lab) {
    git(&lab.repository(), &["fsck", "--strict", "--full"]);
}

/// Something newer is there: what this volume has is not to become the newest.
#[track_caller]
pub fn is_refused(lab: &Lab) -> Outcome {
    let before = tip(lab);
    let outcome = lab.run(&["backup"]);
    assert!(matches!(outcome.code, 11 | 16), "expected exit code 11 or 16 of {outcome}");
    assert_eq!(tip(lab), before, "the branch was moved by {outcome}");
    outcome
}

/// A line for each file and symlink: `name: content` or `name -> target`.
pub fn files(root: &Path) -> Vec<String> {
    let line = |path: &PathBuf, target: Option<&std::ffi::OsString>| {
        let name = path.display();
        match target {
            Some(target) => format!("{name} -> {}", target.to_string_lossy()),
            None => format!("{name}: {}", String::from_utf8_lossy(&fs::read(root.join(path)).unwrap())),
        }
    };
    let nodes = listing(root);
    let shown = nodes.iter().filter(|(_, node)| matches!(node.kind, '-' | 'l'));
    shown.map(|(path, node)| line(path, node.target.as_ref())).collect()
}

/// What a snapshot holds, as `files` tells it.
#[track_caller]
pub fn restored(lab: &Lab, snapshot: &str) -> Vec<String> {
    let target = lab.path("restored");
    remove_all(&target);
    lab.ok(&["restore", snapshot, "--target", target.to_str().unwrap()]);
    files(&target)
}

/// Two files, one of them in a directory.
pub fn two_files(root: &Path) {
    fs::create_dir_all(root.join("d")).unwrap();
    fs::write(root.join("a"), "one").unwrap();
    fs::write(root.join("d/b"), "two").unwrap();
}

/// Somebody with a clone of the repository.
pub struct Person {
    dir: TempDir,
}

impl Person {
    #[track_caller]
    pub fn with_clone(lab: &Lab) -> Self {
        let dir = tempfile::tempdir().unwrap();
        git(dir.path(), &["clone", "--quiet", &lab.repository().display().to_string(), "."]);
        Self { dir }
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    #[track_caller]
    pub fn git(&self, arguments: &[&str]) -> String {
        git(self.root(), arguments)
    }

    #[track_caller]
    pub fn write(&self, name: &str, content: &str) {
        fs::write(self.root().join(name), content).unwrap();
    }

    /// Everything as it stands; the name of the commit.
    #[track_caller]
    pub fn commit(&self, words: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "-m", words]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// With a clock of the person's own. `false`: git refuses such a time.
    pub fn commit_at(&self, words: &str, time: &str) -> bool {
        self.git(&["add", "--all"]);
        let mut commit = command(self.root());
        commit.env("GIT_AUTHOR_DATE", time).env("GIT_COMMITTER_DATE", time);
        run(commit.args(["commit", "--quiet", "-m", words])).code == 0
    }

    /// The name of what is the newest commit then.
    #[track_caller]
    pub fn push(&self) -> String {
        self.git(&["push", "--quiet", "origin", "main"]);
        self.git(&["rev-parse", "main"])
    }

    #[track_caller]
    pub fn force_push(&self) -> String {
        self.git(&["push", "--quiet", "--force", "origin", "main"]);
        self.git(&["rev-parse", "main"])
    }
}

/// A hook of the server that holds the first push that comes, before anything of it counts, until it is let go.
pub struct Gate {
    reached: PathBuf,
    hold: File,
}

impl Gate {
    pub fn at(lab: &Lab) -> Self {
        let scratch = lab.path("gate");
        remove_all(&scratch);
        fs::create_dir(&scratch).unwrap();
        let (reached, hold) = (scratch.join("reached"), scratch.join("hold"));
        shell("mkfifo \"$1\" \"$2\"", &[reached.as_os_str(), hold.as_os_str()]);
        hook(
            lab,
            "cd \"$1\" && mkdir first 2>/dev/null || exit 0\necho here >reached\nread verdict <hold\nexit \"$verdict\""
                .replace("\"$1\"", &format!("'{}'", scratch.display()))
                .as_str(),
        );
        // For both: whoever opens it next does not wait.
        let hold = OpenOptions::new().read(true).write(true).open(hold).unwrap();
        Self { reached, hold }
    }

    /// Until a push is there.
    #[track_caller]
    pub fn wait(&self) {
        run(Command::new("timeout").args(["60", "head", "-n", "1"]).arg(&self.reached)).expect_code(0);
    }

    pub fn let_pass(mut self) -> Self {
        self.hold.write_all(b"0\n").unwrap();
        self
    }

    pub fn refuse(mut self) -> Self {
        self.hold.write_all(b"1\n").unwrap();
        self
    }
}

/// What the server does with a push, in sh.
pub fn hook(lab: &Lab, script: &str) {
    let path = hook_path(lab);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

pub fn remove_hook(lab: &Lab) {
    fs::remove_file(hook_path(lab)).unwrap();
}

fn hook_path(lab: &Lab) -> PathBuf {
    lab.repository().join("hooks/pre-receive")
}
