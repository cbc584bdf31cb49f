//! The container engine that `tests/servers/containers` started, by its command line.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Outcome, run};

/// How long anything may take that is waited for. Nothing does on a machine that is not broken.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub fn docker<A: AsRef<std::ffi::OsStr>>(arguments: &[A]) -> Outcome {
    assert!(
        std::env::var_os("VOLKEEP_TEST_CONTAINERS").is_some(),
        "no container engine: tests/run starts one, or eval \"$(tests/servers/containers start DIR)\""
    );
    run(Command::new("docker").args(arguments))
}

#[track_caller]
pub fn docker_ok<A: AsRef<std::ffi::OsStr>>(arguments: &[A]) -> String {
    docker(arguments).expect_code(0).stdout.trim().to_owned()
}

/// One network with a store, and what runs in it. All of it goes with this value.
#[derive(Debug)]
pub struct Site {
    pub name: String,
    dir: tempfile::TempDir,
}

impl Site {
    /// With a store in the manner of S3 under the name `store`, as `store_host` says.
    pub fn new(name: &str) -> Self {
        let site = Self {
            name: format!("volkeep-{name}-{}", std::process::id()),
            // Not in memory: there are tests with large files.
            dir: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
        };
        docker_ok(&["network", "create", "--internal", &site.name]);
        let data = site.path("store/backups");
        std::fs::create_dir_all(&data).unwrap();
        let keys = format!("{KEY_ID},{SECRET}");
        docker_ok(&[
            "run",
            "--detach",
            "--name",
            &site.container("store"),
            "--network",
            &site.name,
            "--network-alias",
            "store",
            "--volume",
            &format!("{}:/data", site.path("store").display()),
            "rclone/rclone:1.75",
            "serve",
            "s3",
            "--addr",
            ":9000",
            "--auth-key",
            &keys,
            "--vfs-cache-mode",
            "off",
            "/data",
        ]);
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn container(&self, name: &str) -> String {
        format!("{}-{name}", self.name)
    }
}

/// Of the store's only user.
pub const KEY_ID: &str = "AKVOLKEEPTEST";
pub const SECRET: &str = "a-secret-of-the-tests";
pub const ENDPOINT: &str = "http://store:9000";

impl Drop for Site {
    fn drop(&mut self) {
        let all = docker(&["ps", "--all", "--quiet", "--filter", &format!("name=^{}-", self.name)]).stdout;
        for id in all.lines() {
            let _ = docker(&["rm", "--force", "--volumes", id]);
        }
        let _ = docker(&["network", "rm", &self.name]);
    }
}

/// Asks again and again until there is an answer.
#[track_caller]
pub fn await_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let limit = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < limit, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
