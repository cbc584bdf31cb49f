//! Runs a command under a time limit and a wish to stop: the child gets its own process group, so that at either
//! nothing it started survives it. Output goes line by line to whoever listens. Knows nothing of what is run.

pub mod children;
mod output;
pub mod reap;
pub mod user;

use std::ffi::OsStr;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use thiserror::Error;

use crate::base::cancel::Cancel;
use output::Output;
use user::UserError;

/// How long the output of a command that has ended is waited for.
const OUTPUT_GRACE: Duration = Duration::from_millis(500);
/// How long a group has after TERM before KILL, where nothing else is said.
pub const TERM_GRACE: Duration = Duration::from_secs(2);
/// How long a child may take to vanish after KILL: in a system call that hangs it cannot.
const KILL_GRACE: Duration = Duration::from_secs(5);
/// How late a wish to stop may be noticed.
const SLICE: Duration = Duration::from_millis(100);
/// The same, and how late the end of a child, where the kernel has no handles of processes (before 5.3).
const SLICE_WITHOUT_HANDLE: Duration = Duration::from_millis(20);

#[derive(Clone, Debug)]
pub struct CommandSpec {
    /// The program and its arguments; no shell is involved.
    pub argv: Vec<String>,
    /// Comes on top of our own environment.
    pub env: Vec<(String, String)>,
    pub directory: Option<PathBuf>,
    /// As whom it runs, as [`user::find`] understands it; `None`: as we do. Needs root.
    pub user: Option<String>,
    pub timeout: Duration,
    /// How long its group has after TERM before KILL.
    pub grace: Duration,
}

impl Default for CommandSpec {
    fn default() -> Self {
        Self {
            argv: Vec::new(),
            env: Vec::new(),
            directory: None,
            user: None,
            timeout: Duration::ZERO,
            grace: TERM_GRACE,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The exit code, or 128 + the signal that ended it, as shells count.
    pub code: i32,
    /// The last of stdout and stderr, as they came, without a trailing newline; at most 64 KiB.
    pub output: String,
}

#[derive(Debug, Error)]
pub enum ProcessError {
    #[error("no command given")]
    Empty,
    #[error("cannot run `{program}` as another user: {source}")]
    User { program: String, source: UserError },
    #[error("cannot start `{program}`: {source}")]
    Start { program: String, source: io::Error },
    #[error("`{program}` did not end within {} s and was killed", timeout.as_secs_f32())]
    TimedOut { program: String, timeout: Duration },
    #[error("`{program}` was ended, because the work it is part of was stopped")]
    Cancelled { program: String },
    #[error("lost track of `{program}`: {source}")]
    Wait { program: String, source: io::Error },
}

pub fn run(spec: &CommandSpec) -> Result<Finished, ProcessError> {
    run_watched(spec, &Cancel::new(), &mut |_| {})
}

/// As `run`; ends the group at a wish to stop as well, and hands on each line of stdout and stderr as it comes: cut
/// at a bound, without control characters. A listener that blocks holds up the command.
pub fn run_watched(
    spec: &CommandSpec,
    cancel: &Cancel,
    each_line: &mut dyn FnMut(&str),
) -> Result<Finished, ProcessError> {
    let program = spec.argv.first().ok_or(ProcessError::Empty)?.clone();
    let mut running = Running::start(spec)?;
    let lost = |source| ProcessError::Wait { program: program.clone(), source };
    let started = Instant::now();
    loop {
        if running.has_ended().map_err(lost)? {
            break;
        }
        let left = spec.timeout.saturating_sub(started.elapsed());
        let why = if cancel.is_cancelled() {
            ProcessError::Cancelled { program: program.clone() }
        } else if left.is_zero() {
            ProcessError::TimedOut { program: program.clone(), timeout: spec.timeout }
        } else {
            running.wait(left.min(SLICE), true, each_line);
            continue;
        };
        running.end(spec.grace, each_line);
        return Err(why);
    }
    running.hear_out(each_line);
    let status = running.collect().map_err(lost)?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(Finished { code, output: std::mem::take(&mut running.output).into_tail() })
}

/// A child that has not been collected yet. Dropped before its end, its group is killed.
struct Running {
    child: Child,
    /// The group has the number of its leader; nobody else can get it before the leader is collected.
    group: Option<Pid>,
    handle: Option<OwnedFd>,
    pipe: Option<PipeReader>,
    output: Output,
    collected: bool,
}

impl Running {
    fn start(spec: &CommandSpec) -> Result<Self, ProcessError> {
        let (program, arguments) = spec.argv.split_first().ok_or(ProcessError::Empty)?;
        let failed = |source| ProcessError::Start { program: program.clone(), source };
        let mut command = Command::new(OsStr::new(program));
        command.args(arguments).stdin(Stdio::null()).process_group(0);
        if let Some(name) = &spec.user {
            user::apply(&mut command, name)
                .map_err(|source| ProcessError::User { program: program.clone(), source })?;
        }
        command.envs(spec.env.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &spec.directory {
            command.current_dir(directory);
        }
        // One pipe for both, so that what was said first comes first.
        let (reader, writer) = io::pipe().map_err(failed)?;
        set_nonblocking(&reader, true).map_err(failed)?;
        command.stdout(writer.try_clone().map_err(failed)?).stderr(writer);
        let child = children::spawn(&mut command).map_err(failed)?;
        // `command` holds our copies of the pipe's other end: as long as they live the pipe never ends.
        drop(command);
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        // The child is not collected yet, so its number is still its own.
        let handle = group.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        Ok(Self { child, group, handle, pipe: Some(reader), output: Output::default(), collected: false })
    }

    /// Without collecting it: its number, and so that of its group, stays taken.
    fn has_ended(&self) -> io::Result<bool> {
        children::has_ended(&self.child)
    }

    /// Until something is said, or the child ends if `for_child`, or `limit` has passed.
    fn wait(&mut self, limit: Duration, for_child: bool, each_line: &mut dyn FnMut(&str)) {
        let handle = self.handle.as_ref().filter(|_| for_child);
        let blind = for_child && handle.is_none();
        let limit = if blind { limit.min(SLICE_WITHOUT_HANDLE) } else { limit };
        let mut awaited: Vec<PollFd<'_>> = Vec::new();
        awaited.extend(handle.map(|handle| PollFd::from_borrowed_fd(handle.as_fd(), PollFlags::IN)));
        awaited.extend(self.pipe.as_ref().map(|pipe| PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)));
        let limit = Timespec::try_from(limit).ok();
        // An interruption is as good as a time-out: the caller looks again.
        let _ = poll(&mut awaited, limit.as_ref());
        if let Some(pipe) = &mut self.pipe
            && self.output.read(pipe, each_line)
        {
            self.pipe = None;
        }
    }

    /// What a command said before it ended. Whoever it left behind may hold the pipe for ever, and is not waited for.
    fn hear_out(&mut self, each_line: &mut dyn FnMut(&str)) {
        let started = Instant::now();
        while self.pipe.is_some() {
            let left = OUTPUT_GRACE.saturating_sub(started.elapsed());
            if left.is_zero() {
                break;
            }
            self.wait(left, false, each_line);
        }
        self.output.finish(each_line);
        if let Some(mut pipe) = self.pipe.take()
            && set_nonblocking(&pipe, false).is_ok()
        {
            // Without a reader those left behind would die of their next line.
            thread::spawn(move || io::copy(&mut pipe, &mut io::sink()));
        }
    }

    /// TERM to the group, KILL after the grace; those who keep the pipe open have the grace even when their leader
    /// has gone before. The leader is collected last: until then no other group can have its number.
    fn end(&mut self, grace: Duration, each_line: &mut dyn FnMut(&str)) {
        self.signal(Signal::TERM);
        let started = Instant::now();
        loop {
            let ended = self.has_ended().unwrap_or(true);
            let left = grace.saturating_sub(started.elapsed());
            if left.is_zero() || ended && self.pipe.is_none() {
                break;
            }
            self.wait(left.min(SLICE), !ended, each_line);
        }
        self.output.finish(each_line);
        self.kill();
    }

    fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.pipe = None;
        let started = Instant::now();
        while !self.has_ended().unwrap_or(true) && started.elapsed() < KILL_GRACE {
            self.wait(SLICE, true, &mut |_| {});
        }
        let _ = self.collect();
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group.filter(|_| !self.collected) {
            let _ = kill_process_group(group, signal);
        }
    }

    fn collect(&mut self) -> io::Result<ExitStatus> {
        self.collected = true;
        children::collect(&mut self.child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.collected {
            self.kill();
        }
    }
}

fn set_nonblocking(pipe: &PipeReader, wanted: bool) -> io::Result<()> {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    let mut flags = fcntl_getfl(pipe)?;
    flags.set(OFlags::NONBLOCK, wanted);
    Ok(fcntl_setfl(pipe, flags)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(argv: &[&str], timeout: Duration) -> CommandSpec {
        CommandSpec {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            timeout,
            ..Default::default()
        }
    }

    #[test]
    fn code_and_output_come_back_in_order() {
        let finished =
            run(&spec(&["sh", "-c", "echo out; echo err >&2; echo out; exit 3"], Duration::from_secs(10)));
        assert_eq!(finished.unwrap(), Finished { code: 3, output: "out\nerr\nout".into() });
    }

    #[test]
    fn each_line_is_heard_while_the_command_runs() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("go");
        let script = "mkfifo go; echo first; read line < go; printf 'then %s' \"$line\"";
        let mut spec = spec(&["sh", "-c", script], Duration::from_secs(60));
        spec.directory = Some(dir.path().to_owned());
        let mut heard = Vec::new();
        let finished = run_watched(&spec, &Cancel::new(), &mut |line| {
            heard.push(line.to_owned());
            if line == "first" {
                // It goes on only because its first line was heard.
                std::fs::write(&fifo, "second\n").unwrap();
            }
        });
        assert_eq!(finished.unwrap().code, 0);
        assert_eq!(heard, ["first", "then second"]);
    }

    #[test]
    fn the_time_limit_ends_the_whole_group() {
        let started = Instant::now();
        let error = run(&spec(&["sh", "-c", "sleep 600 & wait"], Duration::from_millis(50))).unwrap_err();
        assert!(matches!(error, ProcessError::TimedOut { .. }), "{error}");
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn whoever_ignores_term_is_killed_after_the_grace() {
        let script =
            "trap '' TERM; (trap '' TERM; echo $$; while :; do sleep 600; done) & echo $!; wait; wait";
        let mut spec = spec(&["sh", "-c", script], Duration::from_millis(300));
        spec.grace = Duration::from_millis(100);
        let mut pids = Vec::new();
        let ended = run_watched(&spec, &Cancel::new(), &mut |line| pids.push(line.to_owned()));
        assert!(matches!(ended, Err(ProcessError::TimedOut { .. })));
        assert!(pids.len() >= 2, "{pids:?}");
        for pid in pids {
            // One that was killed may take a moment to be gone.
            let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
            let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
            let limit = Timespec { tv_sec: 30, tv_nsec: 0 };
            let gone = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit)).unwrap();
            assert_eq!(gone, 1, "{pid:?} still runs");
        }
    }

    #[test]
    fn a_wish_to_stop_lets_the_group_end_in_order() {
        let cancel = Cancel::new();
        let script = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 600 & wait; done";
        let mut heard = Vec::new();
        let ended =
            run_watched(&spec(&["sh", "-c", script], Duration::from_secs(60)), &cancel, &mut |line| {
                heard.push(line.to_owned());
                cancel.cancel();
            });
        assert!(matches!(ended, Err(ProcessError::Cancelled { .. })));
        assert_eq!(heard, ["ready", "bye"]);
    }

    #[test]
    fn who_is_left_behind_is_not_waited_for() {
        let started = Instant::now();
        let finished = run(&spec(&["sh", "-c", "sleep 60 & exit 0"], Duration::from_secs(60))).unwrap();
        assert_eq!(finished.code, 0);
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&spec(&["/no/such/program"], Duration::from_secs(1))).unwrap_err();
        assert!(error.to_string().contains("/no/such/program"), "{error}");
    }
}
