//! The container engine that tests/run starts, and one project of Compose on it, which goes when the test ends.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Outcome, run};

/// How long anything may take that only has to come up, on a machine with much else to do.
const LIMIT: Duration = Duration::from_secs(120);

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Fails where there is none: a test that needs one must not pass without.
#[track_caller]
pub fn engine() {
    assert!(
        std::env::var_os("VOLKEEP_TEST_CONTAINERS").is_some(),
        "there is no container engine: tests/run starts one, and so does tests/servers/containers"
    );
}

/// Shown whether the test passes or not.
pub fn tell(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "{text}");
}

/// All configurations of volkeep for Compose.
pub fn configurations() -> Vec<PathBuf> {
    let mut found = vec![
        root().join("deploy/compose/config/volkeep.yaml"),
        root().join("deploy/swarm/volkeep.yaml"),
        root().join("deploy/nomad/volkeep.yaml"),
        root().join("deploy/systemd/volkeep.yaml"),
    ];
    for example in directories("deploy/examples") {
        found.extend(
            files(&example.join("config"))
                .into_iter()
                .filter(|file| file.extension().is_some_and(|e| e == "yaml")),
        );
    }
    found
}

/// Each way in which files of `deploy` are used together.
pub fn compose_files() -> Vec<Vec<PathBuf>> {
    let compose = root().join("deploy/compose");
    let mut found = vec![
        vec![compose.join("compose.yaml")],
        vec![compose.join("compose.yaml"), compose.join("compose.s3.yaml")],
        vec![root().join("deploy/examples/blue-green/bucket.yaml")],
    ];
    found
        .extend(directories("deploy/examples").into_iter().map(|example| vec![example.join("compose.yaml")]));
    found
}

/// What Compose makes of some files.
#[track_caller]
pub fn model(files: &[PathBuf]) -> Value {
    let mut command = Command::new("docker");
    command.arg("compose");
    for file in files {
        command.arg("--file").arg(file);
    }
    run(command.args(["--profile", "*", "config", "--format", "json"])).expect_code(0).json()
}

fn directories(below: &str) -> Vec<PathBuf> {
    files(&root().join(below)).into_iter().filter(|path| path.is_dir()).collect()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

pub struct Project {
    name: String,
    directory: PathBuf,
    /// What `.env` would say.
    variables: Vec<(String, String)>,
}

impl Project {
    #[track_caller]
    pub fn new(directory: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        engine();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self {
            name: format!("volkeep-test-{}-{number}", std::process::id()),
            directory: root().join(directory),
            variables: Vec::new(),
        }
    }

    pub fn with(mut self, variable: &str, value: &str) -> Self {
        self.variables.push((variable.to_owned(), value.to_owned()));
        self
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn volume(&self, name: &str) -> String {
        format!("{}_{name}", self.name)
    }

    pub fn compose(&self, arguments: &[&str]) -> Outcome {
        run(self.command().args(arguments))
    }

    pub fn compose_with(&self, variable: &str, value: &str, arguments: &[&str]) -> Outcome {
        run(self.command().args(arguments).env(variable, value))
    }

    pub fn docker(&self, arguments: &[&str]) -> Outcome {
        run(Command::new("docker").args(arguments))
    }

    #[track_caller]
    pub fn up(&self) {
        self.compose(&["up", "--detach"]).expect_code(0);
    }

    #[track_caller]
    pub fn backup(&self) {
        self.compose(&["exec", "-T", "sidecar", "volkeep", "run", "backup"]).expect_code(0);
    }

    /// The name of the newest snapshot.
    #[track_caller]
    pub fn newest(&self) -> String {
        let list =
            self.compose(&["exec", "-T", "sidecar", "volkeep", "snapshots", "--json"]).expect_code(0).json();
        let last = list.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).max();
        last.unwrap().to_owned()
    }

    #[track_caller]
    pub fn put(&self, page: &str, text: &str) {
        self.request(page, &["-X", "PUT", "--data-binary", text]);
    }

    #[track_caller]
    pub fn get(&self, page: &str) -> String {
        self.request(page, &[])
    }

    /// By a container in the network of the project, since nothing else reaches the app.
    #[track_caller]
    fn request(&self, page: &str, arguments: &[&str]) -> String {
        let network = format!("{}_default", self.name);
        let image = format!("volkeep:{}-toolbox", env!("CARGO_PKG_VERSION"));
        let url = format!("http://app:8080/{page}");
        let mut all = vec!["run", "--rm", "--network", &network, "--entrypoint", "curl", &image];
        all.extend(["-sS", "--fail", "--retry", "60", "--retry-connrefused", "--retry-delay", "1", &url]);
        all.extend(arguments);
        self.docker(&all).expect_code(0).stdout
    }

    /// The services that are up.
    pub fn running(&self) -> Vec<String> {
        let list = self.compose(&["ps", "--services", "--status", "running"]).expect_code(0);
        list.stdout.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    pub fn exit_code(&self, service: &str) -> i32 {
        self.inspect(service, "{{.State.ExitCode}}").parse().unwrap()
    }

    pub fn health(&self, service: &str) -> String {
        self.inspect(service, "{{.State.Health.Status}}")
    }

    fn inspect(&self, service: &str, what: &str) -> String {
        let container = self.compose(&["ps", "--all", "--quiet", service]).expect_code(0).stdout;
        self.docker(&["inspect", "--format", what, container.trim()]).expect_code(0).stdout.trim().to_owned()
    }

    #[track_caller]
    pub fn wait_until(&self, what: &str, is: impl Fn() -> bool) {
        let began = Instant::now();
        while !is() {
            assert!(began.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("docker");
        command.args(["compose", "--project-name", &self.name]);
        command.current_dir(&self.directory);
        // Any port that is free.
        command.env("PORT", "0").env("COMPOSE_ANSI", "never").env("COMPOSE_PROGRESS", "plain");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tell(&self.compose(&["logs", "--tail", "40"]).to_string());
        }
        let _ = self.compose(&["down", "--volumes", "--remove-orphans", "--timeout", "5"]);
    }
}
