//! Processes with a PID namespace of their own: they die together, by one signal, as those of a container do.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::wrap;

#[derive(Debug)]
pub struct Container(Child);

impl Container {
    /// What they say on stderr goes to the end of a file.
    pub fn start(inner: &Command, log: &Path) -> Self {
        Self(surrounding(inner, log).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }

    /// Comes back when it has said a line on stdout, which means that it is up.
    #[track_caller]
    pub fn start_waiting(inner: &Command, log: &Path) -> Self {
        let mut outer = surrounding(inner, log);
        let mut child = outer.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let length = said.read_line(&mut String::new()).unwrap();
        assert!(length > 0, "it did not start: {outer:?}\n{}", std::fs::read_to_string(log).unwrap());
        Self(child)
    }
}

impl Drop for Container {
    /// By KILL. When this is over none of them is left: the kernel lets the first go last.
    fn drop(&mut self) {
        let outer = self.0.id();
        let children = std::fs::read_to_string(format!("/proc/{outer}/task/{outer}/children"));
        let first = children.ok().and_then(|text| text.split_whitespace().next()?.parse().ok());
        match first.and_then(Pid::from_raw) {
            Some(first) => drop(kill_process(first, Signal::KILL)),
            None => drop(self.0.kill()),
        }
        let _ = self.0.wait();
    }
}

fn surrounding(inner: &Command, log: &Path) -> Command {
    // A test that is killed takes it along.
    let mut outer = Command::new("setpriv");
    outer.args([
        "--pdeathsig",
        "KILL",
        "unshare",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--ipc",
    ]);
    outer.stderr(OpenOptions::new().create(true).append(true).open(log).unwrap());
    wrap(&mut outer, inner);
    outer
}
