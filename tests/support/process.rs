//! Running programs to their end, with all they said at hand when a test fails. Nothing here sleeps: a test waits
//! for the process itself, or for a line it prints.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// What a program did. Signals count as shells count them: 128 + the number.
#[derive(Debug)]
pub struct Outcome {
    pub what: String,
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    pub fn of(what: &Command, output: Output) -> Self {
        let status = output.status;
        Self {
            what: format!("{what:?}"),
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert!(self.code == code, "expected exit code {code} of {self}");
        self
    }

    /// Every word is somewhere in what was printed, whatever its case.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        let all = format!("{}\n{}", self.stdout, self.stderr).to_lowercase();
        for word in words {
            assert!(all.contains(&word.to_lowercase()), "no word of `{word}` by {self}");
        }
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON ({error}) by {self}"))
    }

    /// Killed by SIGKILL, as far as this process or the one between could tell.
    pub fn was_killed(&self) -> bool {
        self.code == 137
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, code, stdout, stderr } = self;
        write!(f, "{what}\n--- exit code {code}\n--- stdout\n{stdout}\n--- stderr\n{stderr}\n---")
    }
}

pub fn run(command: &mut Command) -> Outcome {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}; tests/run installs what is needed"));
    Outcome::of(command, output)
}

/// A script of a few lines, which must succeed. Paths come in as `$1`, `$2`, …
#[track_caller]
pub fn shell(script: &str, arguments: &[&OsStr]) -> String {
    run(Command::new("bash").args(["-euo", "pipefail", "-c", script, "test"]).args(arguments))
        .expect_code(0)
        .stdout
}

/// Starts a program and comes back as soon as a line of its stdout contains `word`: by then it has done what the line
/// says. What it prints later is not read.
pub fn spawn_waiting_for(command: &mut Command, word: &str) -> Child {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap() > 0 {
        if line.contains(word) {
            return child;
        }
        line.clear();
    }
    let status = child.wait().unwrap();
    panic!("{command:?} ended ({status}) without a word of `{word}`");
}

/// Runs a program and sends SIGKILL after `seconds`, unless it ends before.
pub fn run_until(seconds: f64, command: &Command) -> Outcome {
    let mut limited = Command::new("timeout");
    limited.args(["--foreground", "-s", "KILL", &format!("{seconds:.4}")]);
    run(wrap(&mut limited, command))
}

/// Makes `outer` run `inner`, with the environment and directory of `inner`.
pub fn wrap<'a>(outer: &'a mut Command, inner: &Command) -> &'a mut Command {
    outer.arg(inner.get_program()).args(inner.get_args()).env_clear();
    for (name, value) in inner.get_envs() {
        if let Some(value) = value {
            outer.env(name, value);
        }
    }
    if let Some(directory) = inner.get_current_dir() {
        outer.current_dir(directory);
    }
    outer
}
