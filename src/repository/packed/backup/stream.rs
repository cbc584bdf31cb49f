//! Which content shares a pack: what will go at the same time. A guess that costs space alone when it is wrong.

use std::time::Duration;

use crate::base::timestamp::Timestamp;

/// A pack goes only when all of it is dead. A database that changes every hour, and a photograph that was added in the
/// same hour, would be kept by each other: for months, once a snapshot that stays so long needs the photograph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Of files that change often: as soon as its snapshot is forgotten nobody needs it.
    Often,
    /// New files, and those that change seldom.
    Seldom,
    /// What was stored before, and lasted until its pack was mostly dead: it will go on to last.
    Moved,
}

/// A content that was replaced within this time is expected to be so again: most policies thin out snapshots of one day.
const OFTEN: Duration = Duration::from_secs(86_400);

/// What tells files that change often.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rhythm {
    /// When the snapshot before the parent was made: what was changed since then was in one snapshot only.
    pub grandparent: Option<Timestamp>,
}

impl Stream {
    pub const ALL: [Self; 3] = [Self::Often, Self::Seldom, Self::Moved];
}

impl Rhythm {
    /// The next content of a file lasts about as long as the last one did, by its times of change.
    pub fn of_changed(self, former: Timestamp, now: Timestamp) -> Stream {
        let lasted = now.since(former);
        let one_snapshot = self.grandparent.is_some_and(|grandparent| former > grandparent);
        // Times can be set, also back.
        match !lasted.is_zero() && (lasted <= OFTEN || one_snapshot) {
            true => Stream::Often,
            false => Stream::Seldom,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_replaced_within_a_day_or_by_the_next_snapshot_changes_often() {
        let of = |grandparent: Option<i64>, former, now| {
            let grandparent = grandparent.map(|seconds| Timestamp::new(seconds, 0));
            Rhythm { grandparent }.of_changed(Timestamp::new(former, 0), Timestamp::new(now, 0))
        };
        assert_eq!(of(None, 0, 3_600), Stream::Often);
        assert_eq!(of(None, 0, 86_400), Stream::Often);
        assert_eq!(of(None, 0, 86_401), Stream::Seldom);
        assert_eq!(of(None, 7, 7), Stream::Seldom);
        assert_eq!(of(None, 9_000, 7), Stream::Seldom);
        assert_eq!(of(Some(100), 101, 9_000_000), Stream::Often);
        assert_eq!(of(Some(100), 100, 9_000_000), Stream::Seldom);
        assert_eq!(of(Some(100), 9_000_000, 8_000_000), Stream::Seldom);
    }
}
