//! What a sidecar works with: its options, the volume, and how children are called. All of it comes anew with a
//! new configuration.

use std::sync::Arc;

use crate::base::timestamp::Timestamp;
use crate::ops::Scope;
use crate::sidecar::child::Program;
use crate::sidecar::options::SidecarOptions;

#[derive(Clone, Debug)]
pub struct Means {
    pub options: Arc<SidecarOptions>,
    /// For what the sidecar itself does with the volume; its repositories are the children's.
    pub scope: Scope,
    pub program: Arc<Program>,
    /// When the configuration was read.
    pub configured: Timestamp,
}

/// Reads the configuration again. The error is for people; the old configuration then stays in force.
pub type Reload = Arc<dyn Fn() -> Result<Means, String> + Send + Sync>;

impl Means {
    /// What cannot change under a running sidecar, in words. Locks, marker and records belong to the volume.
    pub fn needs_restart(&self, new: &Self) -> Option<String> {
        let (old, new) = (&self.scope.volume, &new.scope.volume);
        let changes = [
            ("volume.path", old.path() != new.path()),
            ("volume.state_dir", old.state_dir() != new.state_dir()),
            ("volume.identity", old.identity() != new.identity()),
        ];
        let changed: Vec<&str> =
            changes.iter().filter(|(_, changed)| *changed).map(|(name, _)| *name).collect();
        (!changed.is_empty()).then(|| format!("{} cannot change under a running sidecar", changed.join(", ")))
    }
}
