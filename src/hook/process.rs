//! Finds processes by name in `/proc`, which shows those of our PID namespace: the app's only where the pod shares
//! one. Looks, and sends nothing.

use std::path::Path;

use rustix::process::getpid;

use crate::base::process::reap::Process;

/// The kernel keeps no more of a name.
const LONGEST_COMM: usize = 15;

/// A process that runs now, with its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) pid: i32,
    parent: i32,
}

/// Processes whose executable has this name, without us, and without those whose parent has the name as well: a
/// server hands a signal on to its workers if it wants to.
pub(super) fn named(name: &str) -> std::io::Result<Vec<i32>> {
    let us = getpid().as_raw_nonzero().get();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?.file_name();
        let Some(pid) = entry.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if pid != us
            && let Some(parent) = parent_if_running(pid)
            && has_name(pid, name)
        {
            found.push(Found { pid, parent });
        }
    }
    Ok(topmost(&found))
}

/// A process that vanished meanwhile has no name.
pub(super) fn has_name(pid: i32, name: &str) -> bool {
    let place = Path::new("/proc").join(pid.to_string());
    // Of other users only root may see where the executable is.
    if let Ok(executable) = std::fs::read_link(place.join("exe")) {
        let executable = executable.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if executable.strip_suffix(" (deleted)").unwrap_or(&executable) == name {
            return true;
        }
    }
    let started_as = std::fs::read(place.join("cmdline")).unwrap_or_default();
    let first = started_as.split(|byte| *byte == 0).next().unwrap_or_default();
    let first = String::from_utf8_lossy(first).into_owned();
    if Path::new(&first).file_name().is_some_and(|first| first == name) {
        return true;
    }
    let comm = std::fs::read_to_string(place.join("comm")).unwrap_or_default();
    let short: String = name.chars().take(LONGEST_COMM).collect();
    !short.is_empty() && comm.trim_end_matches('\n') == short
}

/// `None` for one that has ended, also if nobody has collected it yet.
pub(super) fn parent_if_running(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Process::of_stat(&stat)
        .filter(|process| !matches!(process.state, 'Z' | 'X'))
        .map(|process| process.parent)
}

fn topmost(found: &[Found]) -> Vec<i32> {
    let of_name = |pid: i32| found.iter().any(|other| other.pid == pid);
    found.iter().filter(|process| !of_name(process.parent)).map(|process| process.pid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_left_to_their_server() {
        let found = [(10, 1), (11, 10), (12, 11), (20, 1)].map(|(pid, parent)| Found { pid, parent });
        assert_eq!(topmost(&found), [10, 20]);
    }

    #[test]
    fn we_never_find_ourselves() {
        let us = getpid().as_raw_nonzero().get();
        let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
        assert!(has_name(us, comm.trim_end()));
        assert!(!named(comm.trim_end()).unwrap().contains(&us));
    }
}
