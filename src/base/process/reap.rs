//! The duty of process 1: processes whose parents have died become its children, and stay as zombies until it
//! collects them. Our own children are left to those who wait for them.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::thread;

use rustix::process::{Pid, WaitOptions, getpid, waitpid};
use signal_hook::consts::SIGCHLD;

use super::children;

/// It does next to nothing.
const STACK: usize = 128 << 10;

/// Whether orphans come to us.
pub fn is_our_duty() -> bool {
    getpid().is_init()
}

/// Collects orphans as they end, for the rest of the process's life, in a thread that sleeps until a child ends.
/// Does nothing unless we are process 1. To be called once.
pub fn keep_reaping() -> io::Result<()> {
    if !is_our_duty() {
        return Ok(());
    }
    let (mut woken, wakes) = UnixStream::pair()?;
    signal_hook::low_level::pipe::register(SIGCHLD, wakes)?;
    thread::Builder::new().name("reaper".to_owned()).stack_size(STACK).spawn(move || {
        let mut signals = [0u8; 64];
        loop {
            // Who ended before the signal was registered is found as well.
            match orphans() {
                Ok(0) => {}
                Ok(count) => tracing::debug!(count, "collected processes that others left behind"),
                Err(error) => tracing::warn!(%error, "cannot collect processes that others left behind"),
            }
            match woken.read(&mut signals) {
                Ok(0) => return,
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return,
                _ => {}
            }
        }
    })?;
    Ok(())
}

/// Collects the orphans that have ended, and says how many. Processes of our own process group stay: a library
/// that starts a process of its own leaves it in our group and waits for it, while each of ours, with all it starts,
/// is in a group of its own.
pub fn orphans() -> io::Result<usize> {
    let own = children::own();
    let us = getpid();
    if std::fs::read_link("/proc/self")?.to_str() != Some(us.to_string().as_str()) {
        return Err(io::Error::other("/proc is not that of our PID namespace"));
    }
    // Process 1 of a container may be in a group from outside the namespace, which is then 0 to everybody here;
    // `getpgrp` has no answer for that.
    let group = std::fs::read_to_string("/proc/self/stat")?;
    let group = Process::of_stat(&group).map_or(0, |process| process.group);
    let mut count = 0;
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // Whoever is gone by now was somebody else's.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let Some(process) = Process::of_stat(&stat) else { continue };
        let ours = u32::try_from(pid).is_ok_and(|pid| own.contains(&pid));
        let orphan =
            process.state == 'Z' && process.parent == us.as_raw_nonzero().get() && process.group != group;
        if orphan
            && !ours
            && let Some(pid) = Pid::from_raw(pid)
            && let Ok(Some(_)) = waitpid(Some(pid), WaitOptions::NOHANG)
        {
            count += 1;
        }
    }
    Ok(count)
}

/// Of `/proc/<pid>/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// `Z` for one that has ended and was not collected yet.
    pub state: char,
    pub parent: i32,
    pub group: i32,
}

impl Process {
    pub fn of_stat(stat: &str) -> Option<Self> {
        // The name is in parentheses and may hold anything, parentheses too.
        let (_, rest) = stat.rsplit_once(')')?;
        let mut words = rest.split_whitespace();
        Some(Self {
            state: words.next()?.chars().next()?,
            parent: words.next()?.parse().ok()?,
            group: words.next()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::process::{CommandSpec, run};
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::{PidfdFlags, pidfd_open, set_child_subreaper};
    use std::time::Duration;

    #[test]
    fn names_may_hold_anything() {
        let process = Process::of_stat("42 (a) Z 7 (b) S 1 2 3 4").unwrap();
        assert_eq!(process, Process { state: 'S', parent: 1, group: 2 });
        assert_eq!(Process::of_stat("42"), None);
    }

    #[test]
    fn orphans_are_collected_and_own_children_are_not() {
        set_child_subreaper(Some(getpid())).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut spec = CommandSpec {
            argv: ["sh", "-c", "mkfifo go; (read line < go; exit 5) > /dev/null 2>&1 & echo $!"]
                .map(str::to_owned)
                .to_vec(),
            directory: Some(dir.path().to_owned()),
            timeout: Duration::from_secs(60),
            ..CommandSpec::default()
        };
        let orphan: i32 = run(&spec).unwrap().output.parse().unwrap();
        let handle = pidfd_open(Pid::from_raw(orphan).unwrap(), PidfdFlags::empty()).unwrap();
        std::fs::write(dir.path().join("go"), "go\n").unwrap();
        poll(&mut [PollFd::new(&handle, PollFlags::IN)], None).unwrap();
        orphans().unwrap();
        assert!(!std::path::Path::new(&format!("/proc/{orphan}")).exists());
        // While somebody collects orphans all the time, each status still comes to who waits for it.
        spec.argv = ["sh", "-c", "exit 7"].map(str::to_owned).to_vec();
        let stop = crate::base::cancel::Cancel::new();
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.is_cancelled() {
                    orphans().unwrap();
                }
            });
            for _ in 0..20 {
                assert_eq!(run(&spec).unwrap().code, 7);
            }
            stop.cancel();
        });
    }

    /// Runs the test below as process 1 of a namespace of its own.
    #[test]
    fn process_1_collects_orphans() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let this = std::env::current_exe().unwrap();
        let mut argv = ["unshare", "-p", "-f", "--mount-proc", "--kill-child"].map(str::to_owned).to_vec();
        argv.push(this.to_str().unwrap().to_owned());
        argv.extend(
            ["--ignored", "--exact", "base::process::reap::tests::inside_a_namespace"].map(str::to_owned),
        );
        let timeout = Duration::from_secs(60);
        let finished = run(&CommandSpec { argv, timeout, ..CommandSpec::default() }).unwrap();
        assert_eq!(finished.code, 0, "{}", finished.output);
        assert!(finished.output.contains("1 passed"), "{}", finished.output);
    }

    #[test]
    #[ignore = "to be process 1: process_1_collects_orphans runs it"]
    fn inside_a_namespace() {
        if !is_our_duty() {
            return;
        }
        keep_reaping().unwrap();
        let spec = |script: &str| CommandSpec {
            argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
            timeout: Duration::from_secs(60),
            ..CommandSpec::default()
        };
        let orphan = run(&spec("(exit 5) > /dev/null 2>&1 & echo $!")).unwrap().output;
        let place = std::path::Path::new("/proc").join(orphan);
        let started = std::time::Instant::now();
        while place.exists() {
            assert!(started.elapsed() < Duration::from_secs(30), "{} was not collected", place.display());
            assert_eq!(run(&spec("exit 3")).unwrap().code, 3);
        }
    }
}
