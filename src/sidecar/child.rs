//! Runs one task in a child process of the same program and reads its answer. The child gets the very
//! configuration that is in force here, whatever has become of the file meanwhile.

use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use thiserror::Error;

use crate::base::cancel::Cancel;
use crate::base::process::children;
use crate::base::secret::Secret;
use crate::sidecar::task::{Task, TaskReport};

/// An answer is a few lines; more than this is none.
const LONGEST_ANSWER: u64 = 1 << 20;
/// How long a child has after TERM: it gives up what it does in order, which may include a request that hangs.
const TERM_GRACE: Duration = Duration::from_secs(10);
/// How often the wish to end is looked at while a child works.
const LOOK: Duration = Duration::from_millis(100);

/// How the child is called.
#[derive(Clone, Debug)]
pub struct Program {
    pub path: PathBuf,
    /// In front of the task's own.
    pub arguments: Vec<String>,
    /// Goes to its stdin, where the arguments say that the configuration is.
    pub configuration: Secret,
    /// How long it has to give up in order when the sidecar ends; then it is killed, which is as safe.
    pub patience: Duration,
}

#[derive(Debug, Error)]
pub enum ChildError {
    #[error("cannot start a process: {0}")]
    Start(#[source] io::Error),
    #[error("it was not done within {} s and was ended", .0.as_secs())]
    TimedOut(Duration),
    #[error("it was ended before it was done")]
    Cancelled,
    /// Killed from outside, such as for want of memory, or it broke.
    #[error("its process ended without an answer ({0}); the log says more")]
    Died(String),
}

/// Blocks until the child has ended. `limit` is `None` where only `cancel` ends it.
pub fn run(
    program: &Program,
    task: Task,
    limit: Option<Duration>,
    cancel: &Cancel,
) -> Result<TaskReport, ChildError> {
    let mut command = Command::new(&program.path);
    command.args(&program.arguments).args(task.arguments());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
    // As process 1 we collect orphans all the time: whoever is not known as ours would be taken for one.
    let mut child = children::spawn(&mut command).map_err(ChildError::Start)?;
    let configuration = program.configuration.clone();
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    // A pipe takes 64 KiB before somebody reads, so that writing must not hold up the rest.
    thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(configuration.reveal().as_bytes())));
    let (sender, answer) = mpsc::channel();
    thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stdout.map(|stdout| stdout.take(LONGEST_ANSWER).read_to_end(&mut text));
        sender.send(text)
    });
    let deadline = limit.map(|limit| Instant::now() + limit);
    let mut ended_by_us = None;
    let text = loop {
        match answer.recv_timeout(LOOK) {
            Ok(text) => break text,
            Err(RecvTimeoutError::Disconnected) => break Vec::new(),
            // Somebody whom it started keeps its stdout open.
            Err(RecvTimeoutError::Timeout) if children::has_ended(&child).unwrap_or(false) => {
                break answer.recv_timeout(LOOK).unwrap_or_default();
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        let late = limit.filter(|_| deadline.is_some_and(|deadline| Instant::now() >= deadline));
        if let Some(error) =
            late.map(ChildError::TimedOut).or(cancel.is_cancelled().then_some(ChildError::Cancelled))
        {
            signal(&child, Signal::TERM);
            let patience = match error {
                ChildError::Cancelled => program.patience,
                _ => TERM_GRACE,
            };
            ended_by_us = Some(error);
            match answer.recv_timeout(patience) {
                Ok(text) => break text,
                Err(_) => {
                    signal(&child, Signal::KILL);
                    break Vec::new();
                }
            }
        }
    };
    // Whatever it started goes with it; after an answer nothing is left to be done.
    let status = end(&mut child);
    let report = serde_json::from_slice::<TaskReport>(&text).ok();
    match (report, ended_by_us) {
        // It was done just when it was told to end.
        (Some(report), _) if report.code == 0 => Ok(report),
        (_, Some(error)) => Err(error),
        (Some(report), None) => Ok(report),
        (None, None) => Err(ChildError::Died(describe(status))),
    }
}

fn signal(child: &Child, signal: Signal) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, signal);
    }
}

/// Its stdout is closed or its time is over: it has a moment to be gone by itself.
fn end(child: &mut Child) -> Option<ExitStatus> {
    let patience = Instant::now() + Duration::from_secs(1);
    while Instant::now() < patience {
        match children::has_ended(child) {
            Ok(false) => thread::sleep(Duration::from_millis(5)),
            Ok(true) => break,
            Err(_) => return None,
        }
    }
    // Not collected yet, so that its group is still its own.
    signal(child, Signal::KILL);
    children::wait(child).ok()
}

fn describe(status: Option<ExitStatus>) -> String {
    match status {
        Some(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => status.to_string(),
        },
        None => "nobody knows how".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        Program {
            path: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            configuration: Secret::new("answer: 42\n"),
            patience: Duration::from_secs(5),
        }
    }

    fn run_it(script: &str, limit: Option<Duration>) -> Result<TaskReport, ChildError> {
        run(&shell(script), Task::Backup, limit, &Cancel::new())
    }

    #[test]
    fn the_answer_comes_back_and_the_configuration_arrives() {
        let report = run_it(r#"read line; echo "{\"code\": 13, \"reason\": \"$line\"}""#, None).unwrap();
        assert_eq!((report.code, report.reason.as_deref()), (13, Some("answer: 42")));
    }

    #[test]
    fn a_child_that_is_killed_has_not_done_its_work() {
        let error = run_it("kill -9 $$", None).unwrap_err();
        assert!(matches!(&error, ChildError::Died(how) if how == "signal 9"), "{error}");
        let error = run_it("exit 7", None).unwrap_err();
        assert!(matches!(&error, ChildError::Died(how) if how == "exit code 7"), "{error}");
    }

    #[test]
    fn whoever_a_dead_child_left_behind_is_not_waited_for() {
        let error = run_it("sleep 600 & exit 7", None).unwrap_err();
        assert!(matches!(&error, ChildError::Died(how) if how == "exit code 7"), "{error}");
    }

    #[test]
    fn a_child_that_hangs_is_ended_with_all_that_it_started() {
        let limit = Duration::from_millis(200);
        let started = Instant::now();
        let error = run_it("sleep 600 & wait", Some(limit)).unwrap_err();
        assert!(matches!(error, ChildError::TimedOut(_)), "{error}");
        assert!(started.elapsed() < Duration::from_secs(9));
    }

    #[test]
    fn one_that_does_not_heed_the_end_is_killed_in_time() {
        let program =
            Program { patience: Duration::from_millis(100), ..shell("trap '' TERM; sleep 600 & wait; wait") };
        let cancel = Cancel::new();
        cancel.cancel();
        let started = Instant::now();
        let error = run(&program, Task::Backup, None, &cancel).unwrap_err();
        assert!(matches!(error, ChildError::Cancelled), "{error}");
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn what_was_done_when_the_end_came_is_done() {
        let cancel = Cancel::new();
        cancel.cancel();
        let script = r#"trap 'echo "{\"code\": 0}"; exit' TERM; sleep 600 & wait"#;
        // Told to end before the trap is set, the shell dies of it: both are right.
        match run(&shell(script), Task::Backup, None, &cancel) {
            Ok(report) => assert_eq!(report.code, 0),
            Err(error) => assert!(matches!(error, ChildError::Cancelled), "{error}"),
        }
    }
}
