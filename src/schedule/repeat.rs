//! From times on the wall to instants, through changes of the clock. `croner` says which times on the wall match;
//! what a time means that is skipped or shown twice is decided here.
//!
//! `croner` 4.0 has rules of its own for that, which are not used: it takes only a single hour and minute for a
//! fixed time, so that `30 1-3 * * *` loses its run in spring and has one too many in autumn; it gives up where the
//! clock was put forward by more than two hours; and it drops a run that is carried over midnight.

use chrono::NaiveDateTime;
use croner::Cron;

use crate::schedule::zone::{Wall, Zone};

/// 0001-01-03 and 4999-01-01: within what `croner` and the calendar can count, whatever the zone.
pub const FIRST: i64 = -62_135_424_000;
pub const LAST: i64 = 95_585_875_200;

/// Fixed times: each time on the wall that matches has one instant. Shown twice, it is the first; skipped, it is
/// the first instant after the gap, which several may share. Returns the first instant after `after`, in seconds.
pub fn next_fixed(cron: &Cron, zone: Zone, after: i64) -> Option<i64> {
    let after = within(after)?;
    // An earlier time on the wall never means a later instant, so the search can begin here.
    let mut wall = zone.wall(after)?;
    loop {
        wall = matching(cron, wall, false)?;
        let instant = match zone.meaning(wall) {
            Wall::Once(instant) | Wall::Twice(instant, _) => instant,
            Wall::Skipped { at, .. } => at,
            Wall::Unknown => continue,
        };
        if instant > after {
            return Some(instant);
        }
    }
}

/// What goes on and on: every instant whose time on the wall matches. So hours that are shown twice have all runs
/// twice, and hours that are skipped have none: the runs keep their distance.
pub fn next_repeating(cron: &Cron, zone: Zone, after: i64) -> Option<i64> {
    let after = within(after)?;
    let ahead = search(cron, zone, zone.wall(after)?, false, after);
    // The wall goes back within these hours, which a search on the wall alone cannot see.
    let Some(change) = zone.second_pass(after) else { return ahead };
    let again = search(cron, zone, zone.wall(change)?, true, change - 1);
    match (ahead, again) {
        (Some(ahead), Some(again)) => Some(ahead.min(again)),
        (one, other) => one.or(other),
    }
}

fn search(cron: &Cron, zone: Zone, from: NaiveDateTime, inclusive: bool, after: i64) -> Option<i64> {
    let (mut wall, mut inclusive) = (from, inclusive);
    loop {
        wall = matching(cron, wall, inclusive)?;
        inclusive = false;
        match zone.meaning(wall) {
            Wall::Once(instant) | Wall::Twice(instant, _) if instant > after => return Some(instant),
            Wall::Twice(_, instant) if instant > after => return Some(instant),
            // Not time by time: some gaps are a day long.
            Wall::Skipped { shows, .. } => (wall, inclusive) = (shows, true),
            _ => {}
        }
    }
}

fn matching(cron: &Cron, from: NaiveDateTime, inclusive: bool) -> Option<NaiveDateTime> {
    cron.find_next_occurrence(&from, inclusive).ok()
}

fn within(instant: i64) -> Option<i64> {
    (instant < LAST).then_some(instant.max(FIRST))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use chrono_tz::Tz;

    use super::*;

    fn ours(text: &str, zone: &str, after: &str) -> String {
        let after = DateTime::parse_from_rfc3339(after).unwrap().timestamp();
        let next = next_fixed(&text.parse().unwrap(), zone.parse().unwrap(), after).unwrap();
        DateTime::from_timestamp(next, 0).unwrap().format("%FT%H:%M").to_string()
    }

    fn theirs(text: &str, zone: &str, after: &str) -> Option<String> {
        let after = DateTime::parse_from_rfc3339(after).unwrap().with_timezone(&zone.parse::<Tz>().unwrap());
        let next = text.parse::<Cron>().unwrap().find_next_occurrence(&after, false).ok()?;
        Some(next.to_utc().format("%FT%H:%M").to_string())
    }

    /// Why `croner` is asked for times on the wall only. Where it has learned better, the head of this file is out of
    /// date.
    #[test]
    fn croner_has_other_rules_for_changes_of_the_clock() {
        for (text, zone, after, expected, instead) in [
            (
                "30 1-3 * * *",
                "Europe/Berlin",
                "2024-03-31T00:30:00Z",
                "2024-03-31T01:00",
                Some("2024-03-31T01:30"),
            ),
            (
                "30 1-3 * * *",
                "Europe/Berlin",
                "2024-10-27T00:30:00Z",
                "2024-10-27T02:30",
                Some("2024-10-27T01:30"),
            ),
            ("0 3 * * *", "Pacific/Apia", "2011-12-29T20:00:00Z", "2011-12-30T10:00", None),
            (
                "30 23 30 3 *",
                "America/Nuuk",
                "2024-03-30T20:00:00Z",
                "2024-03-31T01:00",
                Some("2025-03-31T00:30"),
            ),
        ] {
            assert_eq!(ours(text, zone, after), expected, "{text} in {zone}");
            assert_eq!(theirs(text, zone, after).as_deref(), instead, "{text} in {zone}");
        }
    }
}
