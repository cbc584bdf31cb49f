//! Runs a command under a time limit: the child gets its own process group, so that at the limit nothing it
//! started survives it. Output is kept up to a bound.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use thiserror::Error;

/// How much of the output is kept for messages; the rest is read and dropped, so that the child never blocks.
const OUTPUT_KEPT: usize = 64 * 1024;
/// How long the output of a command that has ended is waited for.
const OUTPUT_GRACE: Duration = Duration::from_millis(500);
/// How long a child has after TERM before KILL.
const TERM_GRACE: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, Default)]
pub struct CommandSpec {
    /// The program and its arguments; no shell is involved.
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub directory: Option<PathBuf>,
    pub timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The exit code, or 128 + the signal that ended it, as shells count.
    pub code: i32,
    /// stdout and stderr, cut at a bound, without a trailing newline.
    pub output: String,
}

#[derive(Debug, Error)]
pub enum ProcessError {
    #[error("no command given")]
    Empty,
    #[error("cannot start `{program}`: {source}")]
    Start { program: String, source: io::Error },
    #[error("`{program}` did not end within {} s and was killed", timeout.as_secs_f32())]
    TimedOut { program: String, timeout: Duration },
    #[error("lost track of `{program}`: {source}")]
    Wait { program: String, source: io::Error },
}

pub fn run(spec: &CommandSpec) -> Result<Finished, ProcessError> {
    let (program, arguments) = spec.argv.split_first().ok_or(ProcessError::Empty)?;
    let mut command = Command::new(OsStr::new(program));
    command
        .args(arguments)
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if let Some(directory) = &spec.directory {
        command.current_dir(directory);
    }
    let mut child =
        command.spawn().map_err(|source| ProcessError::Start { program: program.clone(), source })?;
    let readers = [child.stdout.take().map(in_background), child.stderr.take().map(in_background)];
    let ended = wait_until(&mut child, Instant::now() + spec.timeout)
        .map_err(|source| ProcessError::Wait { program: program.clone(), source })?;
    let Some(status) = ended else {
        end_group(&mut child);
        return Err(ProcessError::TimedOut { program: program.clone(), timeout: spec.timeout });
    };
    let mut output = Vec::new();
    for reader in readers.into_iter().flatten() {
        // Whoever the command left behind may hold the pipe open for ever; what it says then is not waited for.
        output.extend(reader.recv_timeout(OUTPUT_GRACE).unwrap_or_default());
    }
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(Finished { code, output: String::from_utf8_lossy(&output).trim_end().to_owned() })
}

fn in_background(pipe: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || drop(sender.send(read_bounded(pipe))));
    receiver
}

fn read_bounded(mut pipe: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0u8; 8192];
    while let Ok(count) = pipe.read(&mut buffer) {
        if count == 0 {
            break;
        }
        let room = OUTPUT_KEPT.saturating_sub(kept.len());
        kept.extend(buffer.iter().take(count.min(room)));
    }
    kept
}

fn wait_until(child: &mut Child, deadline: Instant) -> io::Result<Option<std::process::ExitStatus>> {
    // Quick commands are the rule: the pause grows from half a millisecond, so they cost next to nothing.
    let mut pause = Duration::from_micros(500);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

fn end_group(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::TERM);
        if matches!(wait_until(child, Instant::now() + TERM_GRACE), Ok(Some(_))) {
            // The leader is gone; whoever of the group ignored TERM goes now.
            let _ = kill_process_group(group, Signal::KILL);
            return;
        }
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
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
    fn code_and_output_come_back() {
        let finished =
            run(&spec(&["sh", "-c", "echo out; echo err >&2; exit 3"], Duration::from_secs(10))).unwrap();
        assert_eq!(finished, Finished { code: 3, output: "out\nerr".into() });
    }

    #[test]
    fn the_time_limit_ends_the_whole_group() {
        let started = Instant::now();
        let error = run(&spec(&["sh", "-c", "sleep 600 & wait"], Duration::from_millis(50))).unwrap_err();
        assert!(matches!(error, ProcessError::TimedOut { .. }), "{error}");
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn who_is_left_behind_is_not_waited_for() {
        let started = Instant::now();
        let finished = run(&spec(&["sh", "-c", "sleep 600 & exit 0"], Duration::from_secs(60))).unwrap();
        assert_eq!(finished.code, 0);
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&spec(&["/no/such/program"], Duration::from_secs(1))).unwrap_err();
        assert!(error.to_string().contains("/no/such/program"), "{error}");
    }
}
