//! The git servers that `tests/run` starts, and repositories in them of a test's own. What git itself says and does is
//! asked of the command line.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use volkeep::base::secret::{Secret, SecretSource};
use volkeep::repository::git::oid::Oid;
use volkeep::repository::git::{GitOptions, HttpsOptions, Place, SshOptions};

use super::s3::unique;

/// OpenSSH and nginx over the same repositories.
#[derive(Clone, Debug)]
pub struct GitServer {
    pub user: String,
    pub ssh_port: u16,
    pub https_port: u16,
    /// Where the repositories are.
    pub repositories: PathBuf,
    /// Keys, known hosts, authority and passwords.
    pub files: PathBuf,
}

impl GitServer {
    #[track_caller]
    pub fn running() -> Self {
        let variable = |name: &str| {
            std::env::var(name).unwrap_or_else(|_| {
                panic!("{name} is not set: this test needs a git server, which tests/run starts; docs/working.md says how to do so by hand")
            })
        };
        let ssh = variable("VOLKEEP_TEST_GIT_SSH");
        let https = variable("VOLKEEP_TEST_GIT_HTTPS");
        let port = |address: &str| address.rsplit_once(':').unwrap().1.parse().unwrap();
        let user = ssh.strip_prefix("ssh://").unwrap().split_once('@').unwrap().0;
        Self {
            user: user.to_owned(),
            ssh_port: port(&ssh),
            https_port: port(&https),
            repositories: PathBuf::from(variable("VOLKEEP_TEST_GIT_DIR")),
            files: PathBuf::from(variable("VOLKEEP_TEST_GIT_FILES")),
        }
    }

    /// An empty one; its name.
    pub fn new_repository(&self) -> String {
        let name = format!("{}.git", unique("wiki"));
        git(&self.repositories, &["init", "--quiet", "--bare", "-b", "main", &name]);
        name
    }

    /// Where it is on this machine.
    pub fn path(&self, name: &str) -> PathBuf {
        self.repositories.join(name)
    }

    /// A setting of the server for one repository.
    pub fn set(&self, name: &str, key: &str, value: &str) {
        git(&self.path(name), &["config", key, value]);
    }

    /// A hook in sh; without the first line.
    pub fn hook(&self, name: &str, hook: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name).join("hooks").join(hook);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// With one of the keys in `files`.
    pub fn ssh_with(&self, name: &str, key: &str) -> SshOptions {
        SshOptions {
            host: "127.0.0.1".to_owned(),
            port: self.ssh_port,
            user: self.user.clone(),
            path: self.path(name).display().to_string(),
            key: Some(SecretSource::File(self.files.join(key))),
            passphrase: None,
            agent: None,
            known_hosts: vec![self.files.join("known_hosts")],
        }
    }

    /// As one of the users in `files`.
    pub fn https_as(&self, name: &str, user: &str) -> HttpsOptions {
        HttpsOptions {
            host: "127.0.0.1".to_owned(),
            port: self.https_port,
            path: format!("/{name}"),
            user: Some(SecretSource::Value(Secret::new(user))),
            token: Some(SecretSource::File(self.files.join(format!("{user}.password")))),
            ca_file: Some(self.files.join("ca.pem")),
        }
    }

    pub fn ssh(&self, name: &str) -> GitOptions {
        self.by_ssh(self.ssh_with(name, "ed25519"))
    }

    pub fn https(&self, name: &str) -> GitOptions {
        self.by_https(self.https_as(name, "writer"))
    }

    pub fn ways(&self, name: &str) -> [GitOptions; 2] {
        [self.ssh(name), self.https(name)]
    }

    /// Both ways, at other ports; the host's key is known there, too.
    pub fn ways_at(&self, name: &str, ports: [u16; 2], known_hosts: &Path) -> [GitOptions; 2] {
        let line = fs::read_to_string(self.files.join("known_hosts")).unwrap();
        let key = line.split_once(' ').unwrap().1;
        fs::write(known_hosts, format!("[127.0.0.1]:{} {key}", ports[0])).unwrap();
        let mut ssh = self.ssh_with(name, "ed25519");
        (ssh.port, ssh.known_hosts) = (ports[0], vec![known_hosts.to_owned()]);
        let mut https = self.https_as(name, "writer");
        https.port = ports[1];
        [self.by_ssh(ssh), self.by_https(https)]
    }

    pub fn by_ssh(&self, ssh: SshOptions) -> GitOptions {
        self.options(Place::Ssh(Box::new(ssh)))
    }

    pub fn by_https(&self, https: HttpsOptions) -> GitOptions {
        self.options(Place::Https(Box::new(https)))
    }

    /// Nothing is tried again, and whatever takes long here is a mistake.
    fn options(&self, place: Place) -> GitOptions {
        let cache = self.repositories.join("../caches").join(unique("cache"));
        GitOptions {
            connect_timeout: Duration::from_secs(60),
            stall_timeout: Duration::from_secs(60),
            retry_deadline: Duration::ZERO,
            ..GitOptions::new(place, cache)
        }
    }
}

/// A work tree, to make commits in.
#[derive(Debug)]
pub struct Work {
    dir: TempDir,
}

impl Work {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        git(dir.path(), &["init", "--quiet", "-b", "main"]);
        Self { dir }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn commit(&self, name: &str, content: &[u8]) -> Oid {
        fs::write(self.path().join(name), content).unwrap();
        git(self.path(), &["add", "."]);
        git(self.path(), &["commit", "--quiet", "-m", name]);
        git(self.path(), &["rev-parse", "HEAD"]).parse().unwrap()
    }

    /// Of what belongs to a commit, without what belongs to another.
    pub fn pack(&self, new: Oid, old: Oid) -> File {
        let mut list = tempfile::tempfile().unwrap();
        writeln!(list, "{new}").unwrap();
        if !old.is_zero() {
            writeln!(list, "^{old}").unwrap();
        }
        list.rewind().unwrap();
        let mut pack = tempfile::tempfile().unwrap();
        let status = command(self.path())
            .args(["pack-objects", "--quiet", "--revs", "--stdout"])
            .stdin(list)
            .stdout(pack.try_clone().unwrap())
            .status()
            .unwrap();
        assert!(status.success());
        pack.rewind().unwrap();
        pack
    }
}

/// An agent with one key, for the time of a test.
#[derive(Debug)]
pub struct Agent {
    pub socket: PathBuf,
    child: Child,
    _dir: TempDir,
}

impl Agent {
    pub fn start(key: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent");
        let child =
            Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().unwrap();
        let agent = Self { socket, child, _dir: dir };
        let limit = Instant::now() + Duration::from_secs(60);
        while !agent.add(&[key.as_os_str()]) {
            assert!(Instant::now() < limit, "the agent did not come up");
            thread::yield_now();
        }
        agent
    }

    fn add(&self, arguments: &[&OsStr]) -> bool {
        let mut command = Command::new("ssh-add");
        command.env("SSH_AUTH_SOCK", &self.socket).arg("-q").args(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }

    pub fn forget_all(&self) {
        assert!(self.add(&["-D".as_ref()]));
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The kinds of objects in a pack, such as `blob blob commit tree`. Git checks all of it.
pub fn kinds(pack: File) -> String {
    let dir = tempfile::tempdir().unwrap();
    git(dir.path(), &["init", "--quiet", "--bare"]);
    let index = command(dir.path()).args(["index-pack", "--stdin"]).stdin(pack).output().unwrap();
    assert!(index.status.success(), "{}", String::from_utf8_lossy(&index.stderr));
    let all = git(dir.path(), &["cat-file", "--batch-all-objects", "--batch-check=%(objecttype)"]);
    let mut kinds: Vec<&str> = all.lines().collect();
    kinds.sort_unstable();
    kinds.join(" ")
}

/// What it prints, without the last line break. It must succeed.
#[track_caller]
pub fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = try_git(dir, arguments);
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

pub fn try_git(dir: &Path, arguments: &[&str]) -> Output {
    command(dir).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// The command line of git, whatever the machine has configured.
pub fn command(dir: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(dir).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "Test").env(format!("GIT_{role}_EMAIL"), "test@example.org");
    }
    command
}
