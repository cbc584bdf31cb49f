//! The spread of a fleet: how much later than written a job runs, the same each time on one volume. Must not know
//! schedules.

use std::time::Duration;

use crate::base::hash::Hash;

/// A share of `most`, from nothing to just below it, in whole milliseconds. Follows from the identity and the
/// job's name alone, so it is the same after every start, and differs between volumes and between jobs.
pub fn delay(identity: &str, job: &str, most: Duration) -> Duration {
    // The lengths keep `a` + `bc` apart from `ab` + `c`.
    let seed = format!("volkeep jitter 1\n{} {}\n{identity}{job}", identity.len(), job.len());
    let share = u128::from(Hash::of(seed.as_bytes()).prefix());
    let milliseconds = (share.saturating_mul(most.as_millis().min(u128::from(u64::MAX)))) >> 64;
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_stays_the_same_and_below_its_bound() {
        let most = Duration::from_secs(30);
        assert_eq!(delay("wiki", "backup", most), Duration::from_millis(WIKI_BACKUP));
        assert_ne!(delay("wiki", "backup", most), delay("wiki", "prune", most));
        assert_ne!(delay("ab", "c", most), delay("a", "bc", most));
        for bound in [0, 1, 2, 1000] {
            assert!(
                delay("wiki", "backup", Duration::from_millis(bound)).as_millis() < u128::from(bound.max(1))
            );
        }
        assert!(delay("wiki", "backup", Duration::MAX) < Duration::MAX);
    }

    /// Another version must not move the jobs of a fleet.
    const WIKI_BACKUP: u64 = 8_050;

    #[test]
    fn a_fleet_is_spread_evenly() {
        let mut tenths = [0u32; 10];
        for number in 0..10_000 {
            let delay = delay(&format!("wiki-{number}"), "backup", Duration::from_secs(100));
            tenths[usize::try_from(delay.as_secs() / 10).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|count| (900..1100).contains(count)), "{tenths:?}");
    }
}
