//! Sends a signal for a hook, to processes found by name or by a file with their number. Each is held by a handle
//! while it is looked at, so that a number that was given away meanwhile hits nobody else.

use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;

use rustix::process::{Pid, PidfdFlags, Signal, getpid, kill_process, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::action::SignalAction;
use super::error::HookError;
use super::perform::Call;
use super::process::{has_name, named, parent_if_running};

/// A signal by its name, with or without `SIG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalName(&'static str);

const SIGNALS: [(&str, Signal); 12] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("KILL", Signal::KILL),
    ("CONT", Signal::CONT),
    ("STOP", Signal::STOP),
    ("TSTP", Signal::TSTP),
    ("WINCH", Signal::WINCH),
];

impl SignalName {
    fn signal(self) -> Option<Signal> {
        SIGNALS.iter().find(|(name, _)| *name == self.0).map(|(_, signal)| *signal)
    }
}

impl FromStr for SignalName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let upper = text.trim().to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        SIGNALS.iter().find(|(known, _)| *known == name).map(|(known, _)| Self(known)).ok_or_else(|| {
            let known = SIGNALS.map(|(name, _)| name).join(", ");
            format!("`{text}` is none of the signals {known}")
        })
    }
}

impl Serialize for SignalName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl<'de> Deserialize<'de> for SignalName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl fmt::Display for SignalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

pub(super) fn run(action: &SignalAction, call: &Call<'_>) -> Result<(), HookError> {
    let hook = || call.hook.clone();
    let none = |reason: String| HookError::NoProcess { hook: hook(), reason };
    let name = action.process.as_deref();
    let targets = match (&action.pid_file, name) {
        (Some(path), _) => vec![in_file(path).map_err(|error| match error {
            InFile::Unreadable(source) => HookError::Unreadable { hook: hook(), path: path.clone(), source },
            InFile::Nobody(reason) => none(format!("{}: {reason}", path.display())),
        })?],
        (None, Some(name)) => named(name).map_err(|source| HookError::Unreadable {
            hook: hook(),
            path: "/proc".into(),
            source,
        })?,
        (None, None) => return Err(none("it names no process".to_owned())),
    };
    let mut reached = 0;
    for pid in targets {
        let sent = send(pid, action.signal, name);
        let sent =
            sent.map_err(|source| HookError::Signal { hook: hook(), signal: action.signal.0, pid, source });
        if sent? {
            tracing::debug!(job = call.job, hook = call.hook, pid, signal = %action.signal, "sent");
            reached += 1;
        }
    }
    if reached > 0 {
        return Ok(());
    }
    match (name, &action.pid_file) {
        (Some(name), Some(path)) => {
            Err(none(format!("no process `{name}` runs with the number in {}", path.display())))
        }
        (None, Some(path)) => Err(none(format!("no process runs with the number in {}", path.display()))),
        (name, None) => Err(none(format!(
            "no process `{}` is in sight; those of other containers are only where they share the PID namespace",
            name.unwrap_or_default()
        ))),
    }
}

enum InFile {
    Unreadable(io::Error),
    Nobody(String),
}

fn in_file(path: &Path) -> Result<i32, InFile> {
    let text = std::fs::read_to_string(path).map_err(InFile::Unreadable)?;
    let line = text.lines().next().unwrap_or_default().trim();
    let pid: i32 = line
        .parse()
        .map_err(|_| InFile::Nobody("its first line is not the number of a process".to_owned()))?;
    if pid == getpid().as_raw_nonzero().get() {
        return Err(InFile::Nobody("that is the number of volkeep itself".to_owned()));
    }
    // 0 and below mean whole groups, or everybody.
    if pid < 1 { Err(InFile::Nobody(format!("{pid} is not the number of one process"))) } else { Ok(pid) }
}

/// Whether there was somebody to send it to.
fn send(pid: i32, name: SignalName, must_be: Option<&str>) -> io::Result<bool> {
    let (Some(target), Some(signal)) = (Pid::from_raw(pid), name.signal()) else { return Ok(false) };
    let handle = match pidfd_open(target, PidfdFlags::empty()) {
        Ok(handle) => Some(handle),
        Err(rustix::io::Errno::SRCH) => return Ok(false),
        // A kernel before 5.3: the number has to do.
        Err(rustix::io::Errno::NOSYS) => None,
        Err(error) => return Err(error.into()),
    };
    // The handle is of whoever has the number now, so this is looked at after it was opened.
    if parent_if_running(pid).is_none() || must_be.is_some_and(|name| !has_name(pid, name)) {
        return Ok(false);
    }
    let sent = match handle {
        Some(handle) => pidfd_send_signal(handle, signal),
        None => kill_process(target, signal),
    };
    match sent {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::SRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::cancel::Cancel;
    use std::os::unix::process::ExitStatusExt;
    use std::path::PathBuf;
    use std::process::{Child, Command};

    fn run_it(signal: &str, process: Option<&str>, pid_file: Option<PathBuf>) -> Result<(), HookError> {
        let action =
            SignalAction { signal: signal.parse().unwrap(), process: process.map(str::to_owned), pid_file };
        run(&action, &Call::new("test", "before[0]", &[], &Cancel::new()))
    }

    /// A process with a name that no other test looks for.
    fn sleeper(dir: &Path, name: &str) -> Child {
        let program = dir.join(name);
        std::fs::copy("/bin/sleep", &program).unwrap();
        Command::new(program).arg("600").spawn().unwrap()
    }

    #[test]
    fn a_process_is_found_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let name = "a-server-with-quite-a-long-name";
        let mut child = sleeper(dir.path(), name);
        run_it("SIGUSR1", Some(name), None).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(10));
        let error = run_it("USR1", Some(name), None).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }

    #[test]
    fn a_process_is_found_by_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = sleeper(dir.path(), "by-file");
        let file = dir.path().join("pid");
        std::fs::write(&file, format!("{}\nmore\n", child.id())).unwrap();
        let other = run_it("HUP", Some("somebody-else"), Some(file.clone())).unwrap_err();
        assert!(other.to_string().contains("somebody-else"), "{other}");
        run_it("hup", Some("by-file"), Some(file.clone())).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(1));
        assert!(run_it("HUP", None, Some(file)).is_err());
    }

    #[test]
    fn nobody_signals_himself_or_everybody() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        for pid in ["0", "-1", "1x", "", &std::process::id().to_string()] {
            std::fs::write(&file, pid).unwrap();
            let error = run_it("KILL", None, Some(file.clone())).unwrap_err();
            assert!(matches!(error, HookError::NoProcess { .. }), "{pid}: {error}");
        }
        assert!("SIGNAL".parse::<SignalName>().is_err());
    }
}
