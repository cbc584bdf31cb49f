use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

fn candidates(times: &[&str]) -> Vec<Candidate> {
    times.iter().map(|time| candidate(at(time))).collect()
}

fn candidate(time: Timestamp) -> Candidate {
    let id = SnapshotId(format!("{}-0123456789abcdef", time.to_compact()));
    Candidate { id, time, held: None }
}

fn policy(short: &str) -> Policy {
    Policy { rules: short.parse().unwrap(), ..Policy::default() }
}

/// The kept ones, as the positions in `times`.
fn kept(policy: &Policy, times: &[&str]) -> Vec<usize> {
    let verdicts = decide(policy, &candidates(times));
    verdicts.iter().enumerate().filter(|(_, verdict)| verdict.keep).map(|(at, _)| at).collect()
}

const WEEK: [&str; 8] = [
    "2026-11-14T23:30:00Z",
    "2026-11-15T08:00:00Z",
    "2026-11-16T08:00:00Z",
    "2026-11-18T08:00:00Z",
    "2026-11-18T20:00:00Z",
    "2026-11-19T08:00:00Z",
    "2026-11-20T08:00:00Z",
    "2026-11-20T08:15:00Z",
];

#[test]
fn each_rule_keeps_the_newest_of_its_periods() {
    assert_eq!(kept(&policy("last=3"), &WEEK), [5, 6, 7]);
    // Days without a snapshot do not count.
    assert_eq!(kept(&policy("4d"), &WEEK), [2, 4, 5, 7]);
    assert_eq!(kept(&policy("2h"), &WEEK), [5, 7]);
    // Monday to Sunday: the 15th is a Sunday.
    assert_eq!(kept(&policy("2w"), &WEEK), [1, 7]);
    assert_eq!(kept(&policy("last=2,3d"), &WEEK), [4, 5, 6, 7]);
    assert_eq!(kept(&policy("within=24h"), &WEEK), [6, 7]);
    assert_eq!(kept(&policy("within=25h"), &WEEK), [5, 6, 7]);
}

#[test]
fn a_rule_that_has_not_kept_as_many_keeps_the_oldest() {
    assert_eq!(kept(&policy("12m"), &WEEK), [0, 7]);
    assert_eq!(kept(&policy("1m"), &WEEK), [7]);
    let verdicts = decide(&policy("12m"), &candidates(&WEEK));
    assert_eq!(verdicts[0].reasons, [Reason::Oldest]);
    assert_eq!(verdicts[7].reasons, [Reason::Monthly, Reason::Newest]);
}

#[test]
fn years_of_weeks_are_those_of_iso() {
    // The first of January of 2027 belongs to week 53 of 2026.
    let times = ["2026-12-20T00:00:00Z", "2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z"];
    assert_eq!(kept(&policy("2w"), &times), [0, 2]);
    assert_eq!(kept(&policy("1y"), &times), [2]);
    assert_eq!(kept(&policy("2y"), &times), [1, 2]);
}

#[test]
fn days_begin_where_the_zone_says() {
    let times = ["2026-11-20T12:00:00Z", "2026-11-20T23:30:00Z", "2026-11-21T01:00:00Z"];
    assert_eq!(kept(&policy("2d"), &times), [1, 2]);
    let berlin = Policy { zone: Tz::Europe__Berlin, ..policy("2d") };
    assert_eq!(kept(&berlin, &times), [0, 2]);
}

#[test]
fn without_a_policy_nothing_is_forgotten() {
    assert_eq!(kept(&Policy::default(), &WEEK).len(), WEEK.len());
    assert_eq!(kept(&policy("keep_at_least=1"), &WEEK).len(), WEEK.len());
    assert_eq!(kept(&policy("last=0,0d"), &WEEK).len(), WEEK.len());
    assert!(decide(&policy("last=1"), &[]).is_empty());
}

#[test]
fn pinned_held_and_a_minimum_stay() {
    let mut pinning = policy("last=1");
    pinning.pinned = vec!["20261116".to_owned(), "20300101".to_owned()];
    assert_eq!(kept(&pinning, &WEEK), [2, 7]);
    assert_eq!(unknown_pins(&pinning, &candidates(&WEEK)), ["20300101"]);
    assert_eq!(kept(&policy("last=1,keep_at_least=3"), &WEEK), [5, 6, 7]);

    // What is held takes nobody's place.
    let mut some = candidates(&WEEK);
    some[7].held = Some(Reason::Unsettled);
    some[0].held = Some(Reason::Damaged);
    let verdicts = decide(&policy("last=1"), &some);
    let kept: Vec<usize> = (0..8).filter(|at| verdicts[*at].keep).collect();
    assert_eq!(kept, [0, 6, 7]);
}

#[test]
fn the_short_form_is_read_and_its_bad_part_named() {
    let rules: Rules = "last=5, 24h,7d,4w,12m,3y,within=30d,keep_at_least=2".parse().unwrap();
    let expected = Rules {
        last: 5,
        hourly: 24,
        daily: 7,
        weekly: 4,
        monthly: 12,
        yearly: 3,
        within: Some(Duration::from_secs(30 * 86_400)),
        keep_at_least: 2,
    };
    assert_eq!(rules, expected);
    assert_eq!("daily=7".parse::<Rules>(), "7d".parse::<Rules>());
    for (text, bad) in [
        ("last=5,7x", "`7x`"),
        ("last=5,", "``"),
        ("5", "`5`"),
        ("7days", "`7days`"),
        ("last=many", "`many`"),
        ("within=30m", "`30m`"),
        ("weekly=-1", "`-1`"),
        ("7d,8d", "`8d`"),
        ("7d,daily=8", "`daily=8`"),
        ("", "``"),
    ] {
        let error = text.parse::<Rules>().unwrap_err();
        assert!(error.contains(bad) && error.contains("last=5,7d,4w,12m"), "{text}: {error}");
    }
}

proptest! {
    #[test]
    fn the_newest_stays_and_what_was_forgotten_stays_forgotten(
        seconds in proptest::collection::vec(1_700_000_000i64..1_800_000_000, 1..60),
        counts in proptest::array::uniform6(0u32..4),
    ) {
        let [last, hourly, daily, weekly, monthly, yearly] = counts;
        let rules = Rules { last, hourly, daily, weekly, monthly, yearly, ..Rules::default() };
        let policy = Policy { rules, ..Policy::default() };
        let all: Vec<Candidate> = seconds.iter().map(|time| candidate(Timestamp::new(*time, 0))).collect();
        let verdicts = decide(&policy, &all);
        prop_assert!(verdicts.last().is_some_and(|newest| newest.keep));
        prop_assert!(verdicts.iter().all(|verdict| verdict.keep != verdict.reasons.is_empty()));
        // A second run right after the first forgets nothing more.
        let left: Vec<Candidate> = verdicts
            .iter()
            .filter(|verdict| verdict.keep)
            .map(|verdict| Candidate { id: verdict.id.clone(), time: verdict.time, held: None })
            .collect();
        prop_assert!(decide(&policy, &left).iter().all(|verdict| verdict.keep));
    }
}
