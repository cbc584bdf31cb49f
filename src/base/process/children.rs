//! Which processes we started ourselves and wait for. One list for the process, because the kernel has one list
//! of children for it: whoever collects orphans must leave these alone. Every child in a process group of its own is
//! to be started and collected here.

use std::collections::BTreeSet;
use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

static OWN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Nobody looks for orphans between the start of the child and its being known as ours.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    let mut own = own();
    let child = command.spawn()?;
    own.insert(child.id());
    Ok(child)
}

/// The status of a child that has ended. From here on its number may belong to somebody else. A child that has not
/// ended is left to whoever collects orphans: an error of the kind `TimedOut`.
pub(super) fn collect(child: &mut Child) -> io::Result<ExitStatus> {
    let mut own = own();
    own.remove(&child.id());
    child.try_wait()?.ok_or_else(|| io::ErrorKind::TimedOut.into())
}

/// Whether the child has ended, without collecting it: its number, and so that of its group, stays taken.
pub fn has_ended(child: &Child) -> io::Result<bool> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    loop {
        match waitid(WaitId::Pid(pid), options) {
            Ok(ended) => return Ok(ended.is_some()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Blocks until the child has ended, and collects it.
pub fn wait(child: &mut Child) -> io::Result<ExitStatus> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
    // Without collecting it and without the list: others go on starting theirs meanwhile.
    while let Err(error) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
        if error != Errno::INTR {
            return Err(error.into());
        }
    }
    collect(child)
}

/// Nobody starts or collects a child as long as this is held.
pub(super) fn own() -> MutexGuard<'static, BTreeSet<u32>> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}
