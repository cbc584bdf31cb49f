//! The leases over the sidecar's life: a child takes them at the start and refreshes them, and what it said is
//! kept here. Must not know repositories.

use std::thread;
use std::time::{Duration, Instant};

use crate::base::cancel::Cancel;
use crate::base::timestamp::Timestamp;
use crate::ops::lease::{Held, LeaseKept};
use crate::sidecar::child::{self, ChildError, Program};
use crate::sidecar::status::LeaseStatus;
use crate::sidecar::task::{Task, TaskReport};

/// Leases look abandoned ten minutes after the last refresh: two refreshes may fail.
const PERIOD: Duration = Duration::from_secs(200);
/// Where something is not as it should be.
const SHORT_PERIOD: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_secs(90);
/// A lease that nobody confirmed for so long does not count as held.
const TERM: Duration = Duration::from_secs(600);

pub type Kept = Result<TaskReport, ChildError>;

#[derive(Debug, Default)]
pub struct Tenure {
    under_way: bool,
    due: Option<Instant>,
    leases: Vec<LeaseStatus>,
    stop: Cancel,
}

impl Tenure {
    /// Sends a child out if it is time. Not while somebody runs who holds the locks that it needs and keeps the lease
    /// himself. `started` is when the sidecar did.
    pub fn send(
        &mut self,
        program: &Program,
        started: Timestamp,
        report: impl FnOnce(Kept) + Send + 'static,
    ) {
        if self.under_way || self.due.is_some_and(|due| Instant::now() < due) {
            return;
        }
        let (program, task) = (program.clone(), Task::Lease { since: started });
        let stop = self.stop.clone();
        let sent = thread::Builder::new()
            .name("lease".to_owned())
            .spawn(move || report(child::run(&program, task, Some(LIMIT), &stop)));
        match sent {
            Ok(_) => self.under_way = true,
            Err(error) => tracing::warn!(%error, "the lease cannot be kept"),
        }
    }

    pub fn back(&mut self, kept: Kept, now: Timestamp) {
        self.under_way = false;
        let (all_well, leases) = match kept {
            Ok(report) if report.code == 0 => {
                (report.leases.iter().all(|lease| lease.held == Held::Yes), report.leases)
            }
            Ok(report) => (false, self.unknown(&report.reason.unwrap_or_default())),
            Err(error) => (false, self.unknown(&error.to_string())),
        };
        for lease in &leases {
            self.note(lease, now);
        }
        self.due = Some(Instant::now() + if all_well { PERIOD } else { SHORT_PERIOD });
    }

    /// Has the child that is under way give up: the volume cannot be called clean as long as it holds a lock.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    pub fn is_under_way(&self) -> bool {
        self.under_way
    }

    /// A backup was stored, so the leases are held.
    pub fn confirmed(&mut self, now: Timestamp) {
        for lease in &mut self.leases {
            (lease.held, lease.reason, lease.seen) = (true, None, Some(now));
        }
    }

    /// Look again now: something has changed.
    pub fn hurry(&mut self) {
        self.due = None;
    }

    pub fn leases(&self) -> &[LeaseStatus] {
        &self.leases
    }

    /// Why the sidecar may not call itself ready. `writing`: a run is under way that keeps the leases itself and fails
    /// if it cannot, so that nothing is heard of them until its end.
    pub fn troubles(&self, now: Timestamp, writing: bool) -> Vec<String> {
        let trouble = |lease: &LeaseStatus| {
            let reason = lease.reason.as_deref().unwrap_or("nothing was heard of it");
            let fresh = writing || lease.seen.is_some_and(|seen| now.since(seen) < TERM);
            (!lease.held || !fresh)
                .then(|| format!("the lease of {} is not held: {reason}", lease.repository))
        };
        match self.leases.is_empty() {
            true => vec!["the lease has not been taken yet".to_owned()],
            false => self.leases.iter().filter_map(trouble).collect(),
        }
    }

    /// Nothing is known of any, so what was known before stays, with the reason.
    fn unknown(&self, reason: &str) -> Vec<LeaseKept> {
        let unknown = |lease: &LeaseStatus| LeaseKept {
            repository: lease.repository.clone(),
            held: Held::Unknown,
            epoch: lease.epoch,
            reason: Some(reason.to_owned()),
        };
        tracing::warn!(reason, "the lease could not be kept");
        self.leases.iter().map(unknown).collect()
    }

    fn note(&mut self, kept: &LeaseKept, now: Timestamp) {
        let position = self.leases.iter().position(|lease| lease.repository == kept.repository);
        let before = position.map(|position| self.leases.swap_remove(position));
        let was_held = before.as_ref().is_some_and(|lease| lease.held);
        let seen = before.as_ref().and_then(|lease| lease.seen);
        if kept.held != Held::Yes && before.as_ref().is_none_or(|lease| lease.reason != kept.reason) {
            tracing::warn!(
                repository = kept.repository,
                reason = kept.reason.as_deref().unwrap_or_default(),
                "the lease is not held"
            );
        }
        let (held, seen) = match kept.held {
            Held::Yes => (true, Some(now)),
            Held::No | Held::Nothing => (false, Some(now)),
            // Not being heard is not being lost: the term says when it is.
            Held::Unknown => (was_held, seen),
        };
        self.leases.push(LeaseStatus {
            repository: kept.repository.clone(),
            held,
            epoch: kept.epoch,
            reason: kept.reason.clone(),
            seen,
        });
        self.leases.sort_by(|one, other| one.repository.cmp(&other.repository));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;

    fn kept(seen: Timestamp) -> Tenure {
        let mut tenure = Tenure::default();
        let lease = LeaseKept { repository: "r".into(), held: Held::Yes, epoch: Some(1), reason: None };
        tenure.back(Ok(TaskReport { leases: vec![lease], ..TaskReport::default() }), seen);
        tenure
    }

    #[test]
    fn a_long_backup_is_no_reason_not_to_be_ready() {
        let noon = Timestamp::new(1_790_000_000, 0);
        let tenure = kept(noon);
        assert!(tenure.troubles(noon, false).is_empty());
        let later = noon.plus(TERM * 10);
        assert!(!tenure.troubles(later, false).is_empty());
        assert!(tenure.troubles(later, true).is_empty());
    }

    #[test]
    fn a_child_that_hangs_does_not_hold_up_the_end() {
        let program = Program {
            path: "/bin/sh".into(),
            arguments: vec!["-c".into(), "sleep 600".into()],
            configuration: Secret::new(""),
            patience: Duration::from_secs(5),
        };
        let (sender, ended) = std::sync::mpsc::channel();
        let mut tenure = Tenure::default();
        tenure.send(&program, Timestamp::default(), move |kept| drop(sender.send(kept)));
        assert!(tenure.is_under_way());
        tenure.stop();
        let kept = ended.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(matches!(kept, Err(ChildError::Cancelled)), "{kept:?}");
        tenure.back(kept, Timestamp::default());
        assert!(!tenure.is_under_way());
    }
}
