//! Looks at the volume from time to time, in a thread of its own: a disk that hangs must not stop the sidecar from
//! answering. Tells what it saw and changes nothing.

use std::thread;
use std::time::{Duration, Instant};

use crate::base::timestamp::Timestamp;
use crate::hook;
use crate::ops::Scope;
use crate::ops::drill::record::DrillRecord;
use crate::ops::status::Drills;
use crate::sidecar::record::Record;
use crate::sidecar::state::{INIT, States};
use crate::sidecar::status::Frozen;
use crate::volume::{Inspection, State};

/// How often it looks.
const PERIOD: Duration = Duration::from_secs(30);
/// After so long without an answer the volume counts as one that hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is there to see.
#[derive(Clone, Debug)]
pub struct Look {
    /// One of the names of the volume's states, or why it cannot be told.
    pub state: Result<&'static str, String>,
    pub last_backup: Option<Timestamp>,
    pub init: Record,
    pub frozen: Vec<Frozen>,
    pub drill: Option<Drills>,
}

#[derive(Debug, Default)]
pub struct Lookout {
    begun: Option<Instant>,
    ended: Option<Instant>,
    pub last: Option<Look>,
}

impl Lookout {
    /// Sends one out if it is time and none is under way.
    pub fn send(&mut self, scope: &Scope, report: impl FnOnce(Look) + Send + 'static) {
        if !self.is_due() {
            return;
        }
        let scope = scope.clone();
        let sent = thread::Builder::new().name("lookout".to_owned()).spawn(move || report(look(&scope)));
        match sent {
            Ok(_) => self.begun = Some(Instant::now()),
            Err(error) => tracing::warn!(%error, "the volume cannot be looked at"),
        }
    }

    pub fn is_due(&self) -> bool {
        self.begun.is_none() && self.ended.is_none_or(|ended| ended.elapsed() >= PERIOD)
    }

    pub fn back(&mut self, look: Look) {
        self.begun = None;
        self.ended = Some(Instant::now());
        self.last = Some(look);
    }

    /// Have it look again now.
    pub fn hurry(&mut self) {
        self.ended = None;
    }

    pub fn volume_hangs(&self) -> bool {
        self.begun.is_some_and(|begun| begun.elapsed() >= PATIENCE)
    }
}

/// Damage that an init has found is there until full checks have passed, however clean the marker is otherwise.
fn state(found: &Inspection) -> &'static str {
    match (&found.state, &found.marker) {
        (State::Healthy | State::Dirty, Some(marker)) if marker.damage.is_some() => "corrupt",
        (state, _) => state.name(),
    }
}

fn look(scope: &Scope) -> Look {
    let inspection = scope.volume.inspect();
    let last_backup = inspection
        .as_ref()
        .ok()
        .and_then(|inspection| inspection.marker.as_ref()?.last_backup.as_ref().map(|backup| backup.time));
    let frozen = hook::left_behind(scope.state_dir()).unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot tell what is frozen");
        Vec::new()
    });
    Look {
        state: inspection.map(|found| state(&found)).map_err(|error| error.to_string()),
        last_backup,
        init: States::below(scope.state_dir()).load(INIT).unwrap_or_default(),
        drill: DrillRecord::load(scope.state_dir()).ok().as_ref().and_then(Drills::of),
        frozen: frozen.into_iter().map(|left| Frozen { job: left.job, since: left.since }).collect(),
    }
}
