//! Starting threads where the system may refuse some of them. Must not know what they do.

use std::io;
use std::thread::{Builder, Scope};

/// Starts `count` threads, at least one, that all do `work`. If the system gives fewer, fewer have to do: a
/// container's limit on processes must not keep a restore from running. An error only if there is none.
pub fn start<'scope, F>(scope: &'scope Scope<'scope, '_>, count: usize, work: F) -> io::Result<()>
where
    F: FnOnce() + Clone + Send + 'scope,
{
    Builder::new().spawn_scoped(scope, work.clone())?;
    for number in 1..count {
        if let Err(error) = Builder::new().spawn_scoped(scope, work.clone()) {
            tracing::debug!(%error, started = number, wanted = count, "fewer threads than wanted");
            break;
        }
    }
    Ok(())
}
