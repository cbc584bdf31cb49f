//! Which processes we started ourselves and wait for. One list for the process, because the kernel has one list
//! of children for it: whoever collects orphans must leave these alone.

use std::collections::BTreeSet;
use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};

static OWN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Nobody looks for orphans between the start of the child and its being known as ours.
pub(super) fn spawn(command: &mut Command) -> io::Result<Child> {
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

/// Nobody starts or collects a child as long as this is held.
pub(super) fn own() -> MutexGuard<'static, BTreeSet<u32>> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}
