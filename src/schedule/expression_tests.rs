//! Expressions and their instants, single cases; `tests/schedule_reference.rs` has whole years of them.

use std::time::Instant;

use proptest::prelude::*;

use super::*;

proptest! {
    /// Whatever is written, it is refused in words or names instants that lead on.
    #[test]
    fn no_text_is_too_odd(text in "[-0-9*/,:@#LW? a-zA-Z\u{e9}]{0,24}|([-0-9*/,#L]{1,4} ){4,5}[-0-9*/,#L]{1,4}") {
        check_any(&text)?;
    }

    #[test]
    fn no_sensible_expression_goes_astray(
        minute in "[0-5]?[0-9](,[0-5][0-9])?|\\*(/[1-9])?|[0-2][0-9]-[3-5][0-9](/[1-9])?",
        hour in "[01]?[0-9]|\\*(/[1-9])?|[0-4]-[5-9](/[1-4])?",
        day in "[12]?[1-9]|\\*|L|\\*/[1-9]",
        weekday in "[0-7]|\\*|MON-FRI|[0-6]#[1-5]",
    ) {
        let text = format!("{minute} {hour} {day} * {weekday}");
        prop_assert!(Schedule::parse(&text, Zone::UTC).is_ok(), "{}", text);
        check_any(&text)?;
    }
}

fn check_any(text: &str) -> Result<(), TestCaseError> {
    for zone in ["Europe/Berlin", "Australia/Lord_Howe"] {
        let Ok(schedule) = Schedule::parse(text, zone.parse().unwrap()) else { return Ok(()) };
        prop_assert_eq!(schedule.to_string(), text.trim());
        // Through the changes of spring and autumn 2024, in either half of the world.
        for start in [1_711_846_000, 1_729_986_000, 1_712_410_000, 1_728_140_000] {
            let mut time = Timestamp::new(start, 0);
            for _ in 0..20 {
                let Some(next) = schedule.next_after(time) else { break };
                prop_assert!(next > time, "{} does not lead on", text);
                // From just before it, it is next as well.
                prop_assert_eq!(
                    schedule.next_after(Timestamp::new(next.seconds - 1, 999_999_999)),
                    Some(next)
                );
                time = next;
            }
        }
    }
    Ok(())
}

fn schedule(text: &str, zone: &str) -> Schedule {
    Schedule::parse(text, zone.parse().unwrap()).unwrap()
}

fn refusal(text: &str) -> String {
    Schedule::parse(text, Zone::UTC).map(|schedule| schedule.to_string()).unwrap_err().to_string()
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap_or_else(|| panic!("{text}"))
}

/// The instants after the first of `between`, up to the second, in UTC.
#[track_caller]
fn assert_instants(text: &str, zone: &str, between: [&str; 2], expected: &[&str]) {
    let schedule = schedule(text, zone);
    let [mut time, end] = between.map(at);
    let mut found = Vec::new();
    while let Some(next) = schedule.next_after(time).filter(|next| *next <= end) {
        assert!(next > time, "{text}: {} does not lead on", time.to_rfc3339());
        found.push(next.to_rfc3339());
        time = next;
    }
    assert_eq!(found, expected, "{text} in {zone}");
}

#[test]
fn names_times_and_intervals_are_read() {
    let between = ["2026-02-28T23:00:00Z", "2026-03-01T15:30:00Z"];
    let midnight = &["2026-03-01T00:00:00Z"][..];
    for name in
        ["@daily", "@midnight", "@weekly", "@monthly", "00:00", "0 0 * * *", "0 0 0 1 MAR *", "@Daily"]
    {
        assert_instants(name, "UTC", between, midnight);
    }
    assert_instants("@yearly", "UTC", between, &[]);
    assert_instants(
        "@annually",
        "UTC",
        ["2026-12-31T00:00:00Z", "2027-12-31T00:00:00Z"],
        &["2027-01-01T00:00:00Z"],
    );
    assert_instants("15:30, 3:00", "UTC", between, &["2026-03-01T03:00:00Z", "2026-03-01T15:30:00Z"]);
    assert_instants("@every 8h", "UTC", between, &["2026-03-01T00:00:00Z", "2026-03-01T08:00:00Z"]);
    let hours: Vec<String> = (0..16).map(|hour| format!("2026-03-01T{hour:02}:00:00Z")).collect();
    assert_instants("@hourly", "UTC", between, &hours.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn a_schedule_reads_as_it_was_written() {
    for text in ["@hourly", "0 3 * * mon-fri", "03:00,15:00", "@every 1h30m"] {
        assert_eq!(schedule(text, "Europe/Berlin").to_string(), text);
    }
    assert_ne!(schedule("@hourly", "UTC").fingerprint(), schedule("@hourly", "Asia/Kolkata").fingerprint());
}

#[test]
fn what_makes_no_sense_is_refused_with_a_way_out() {
    for (text, expected) in [
        (" ", "the schedule is empty"),
        ("@reboot", "schedule `@reboot`: there is no such name; a start is no instant"),
        ("@dayly", "did you mean `@daily`?"),
        ("@sometimes", "there are `@hourly`, "),
        ("@every", "schedule `@every`: interval: `` is not a duration"),
        ("@every 0s", "schedule `@every 0s`: interval: `0s` is too short; write a duration of at least 1s"),
        ("@every 999ms", "`999ms` is too short"),
        ("@every 15 minutes", "`15 minutes` is not a duration"),
        ("@every 3000w", "more than ten years"),
        ("@every15m", "there is no such name"),
        ("24:00", "schedule `24:00`: `24:00` is not a time of day"),
        ("03:60", "`03:60` is not a time of day"),
        ("03:00,", "`` is not a time of day"),
        ("3:0", "is not a time of day"),
        ("03:00:00", "is not a time of day"),
        ("+3:00", "is not a time of day"),
        ("0 0 30 2 *", "schedule `0 0 30 2 *`: day of month `30`: no date in month `2` is such a day"),
        ("0 0 31 4,6,9,11 *", "day of month `31`: no date in month `4,6,9,11`"),
        ("hourly", "and this has 1; write one of those, or `03:00`"),
    ] {
        let message = refusal(text);
        assert!(message.contains(expected), "{message}");
    }
    assert!(Schedule::parse("0 0 29 2 *", Zone::UTC).is_ok());
    assert!(Schedule::parse("0 0 * 2 MON#5", Zone::UTC).is_ok());
    assert!(Schedule::parse("0 0 30 2 MON", Zone::UTC).is_ok());
}

#[test]
fn a_fixed_time_runs_once_in_spring_and_once_in_autumn() {
    // Berlin: 02:00 becomes 03:00 on 31 March, 03:00 becomes 02:00 on 27 October, both at 01:00 UTC.
    let (spring, autumn) =
        (["2024-03-30T12:00:00Z", "2024-04-01T12:00:00Z"], ["2024-10-26T12:00:00Z", "2024-10-28T12:00:00Z"]);
    let zone = "Europe/Berlin";
    for text in ["02:30", "30 2 * * *", "15 30 2 * * *"] {
        let second = if text.starts_with("15") { "15" } else { "00" };
        let times = |list: &[&str]| list.iter().map(|time| time.replace("ss", second)).collect::<Vec<_>>();
        let in_spring = times(&["2024-04-01T00:30:ssZ"]);
        assert_instants(text, zone, spring, &["2024-03-31T01:00:00Z", &in_spring[0]]);
        let in_autumn = times(&["2024-10-27T00:30:ssZ", "2024-10-28T01:30:ssZ"]);
        assert_instants(text, zone, autumn, &[&in_autumn[0], &in_autumn[1]]);
    }
    // Several times in the gap are one run, and so is one that falls on its end.
    assert_instants(
        "0,30 2,3 * * *",
        zone,
        ["2024-03-31T00:00:00Z", "2024-03-31T12:00:00Z"],
        &["2024-03-31T01:00:00Z", "2024-03-31T01:30:00Z"],
    );
    assert_instants(
        "30 1-3 * * *",
        zone,
        ["2024-10-26T22:00:00Z", "2024-10-27T12:00:00Z"],
        &["2024-10-26T23:30:00Z", "2024-10-27T00:30:00Z", "2024-10-27T02:30:00Z"],
    );
}

#[test]
fn a_repeating_job_keeps_its_distance() {
    for (text, minutes) in [("*/15 * * * *", 15), ("@hourly", 60), ("0 */1 * * *", 60), ("30 * * * * *", 1)] {
        for zone in ["Europe/Berlin", "America/New_York", "Asia/Kolkata"] {
            let schedule = schedule(text, zone);
            for start in [
                "2024-03-10T00:00:01Z",
                "2024-03-30T00:00:01Z",
                "2024-10-26T00:00:01Z",
                "2024-11-02T00:00:01Z",
            ] {
                let mut time = schedule.next_after(at(start)).unwrap();
                for _ in 0..(48 * 60 / minutes) {
                    let next = schedule.next_after(time).unwrap();
                    assert_eq!(
                        next.since(time).as_secs(),
                        minutes * 60,
                        "{text} {zone} {}",
                        time.to_rfc3339()
                    );
                    time = next;
                }
            }
        }
    }
}

#[test]
fn a_search_may_begin_anywhere_in_an_hour_that_is_shown_twice() {
    let half_past = schedule("*/30 * * * *", "Europe/Berlin");
    let daily = schedule("02:30", "Europe/Berlin");
    for (after, repeating, fixed) in [
        ("2024-10-27T00:29:59.5Z", "2024-10-27T00:30:00Z", "2024-10-27T00:30:00Z"),
        ("2024-10-27T00:30:00Z", "2024-10-27T01:00:00Z", "2024-10-28T01:30:00Z"),
        ("2024-10-27T00:59:59.999Z", "2024-10-27T01:00:00Z", "2024-10-28T01:30:00Z"),
        ("2024-10-27T01:00:00Z", "2024-10-27T01:30:00Z", "2024-10-28T01:30:00Z"),
        ("2024-10-27T01:29:59Z", "2024-10-27T01:30:00Z", "2024-10-28T01:30:00Z"),
        ("2024-10-27T01:30:00Z", "2024-10-27T02:00:00Z", "2024-10-28T01:30:00Z"),
    ] {
        assert_eq!(half_past.next_after(at(after)), Some(at(repeating)), "{after}");
        assert_eq!(daily.next_after(at(after)), Some(at(fixed)), "{after}");
    }
}

#[test]
fn a_day_that_was_skipped_has_its_run_when_the_next_begins() {
    // Samoa had no 30 December 2011; the gap ends at 10:00 UTC.
    let between = ["2011-12-29T12:00:00Z", "2011-12-31T12:00:00Z"];
    assert_instants(
        "03:00",
        "Pacific/Apia",
        between,
        &["2011-12-29T13:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T13:00:00Z"],
    );
    assert_instants("0 3 30 12 *", "Pacific/Apia", between, &["2011-12-30T10:00:00Z"]);
    assert_instants(
        "0 */12 * * *",
        "Pacific/Apia",
        between,
        &["2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z", "2011-12-31T10:00:00Z"],
    );
    // Greenland puts its clock forward over midnight.
    assert_instants(
        "30 23 30 3 *",
        "America/Nuuk",
        ["2024-03-30T00:00:00Z", "2024-04-30T00:00:00Z"],
        &["2024-03-31T01:00:00Z"],
    );
}

#[test]
fn an_interval_knows_no_zone_and_is_spread_by_the_job() {
    let plain = schedule("@every 90m", "Europe/Berlin");
    assert_eq!(plain.next_after(at("1970-01-01T00:00:00Z")), Some(at("1970-01-01T01:30:00Z")));
    assert_eq!(plain.next_after(at("1969-12-31T23:59:59Z")), Some(at("1970-01-01T00:00:00Z")));
    let own = plain.clone().of_job("wiki", "backup");
    let first = own.next_after(at("2026-01-01T00:00:00Z")).unwrap();
    assert_eq!(Some(first), plain.clone().of_job("wiki", "backup").next_after(at("2026-01-01T00:00:00Z")));
    assert_ne!(Some(first), plain.next_after(at("2026-01-01T00:00:00Z")));
    assert_eq!(own.next_after(first), Some(first.plus(Duration::from_secs(5400))));
    let short = schedule("@every 1500ms", "UTC");
    assert_eq!(short.next_after(Timestamp::new(3, 0)), Some(Timestamp::new(4, 500_000_000)));
}

#[test]
fn the_latest_of_many_is_found_at_once() {
    let (after, until) = (at("2024-01-01T00:00:00Z"), at("2026-05-05T05:05:05.5Z"));
    for (text, latest) in [
        ("* * * * * *", "2026-05-05T05:05:05Z"),
        ("@hourly", "2026-05-05T05:00:00Z"),
        ("@monthly", "2026-05-01T00:00:00Z"),
        ("@every 1001ms", "2026-05-05T05:05:05.324Z"),
    ] {
        let schedule = schedule(text, "UTC");
        let passed = schedule.latest_between(after, until).unwrap();
        assert_eq!(passed.latest.to_rfc3339(), latest, "{text}");
        assert_eq!(Some(passed.first), schedule.next_after(after), "{text}");
        assert_eq!(schedule.latest_between(passed.latest, until), None, "{text}");
    }
    let once = schedule("@yearly", "UTC").latest_between(at("2025-06-01T00:00:00Z"), until).unwrap();
    assert_eq!(once.first, once.latest);
}

#[test]
fn no_instant_is_too_odd() {
    let ends = [
        i64::MIN,
        i64::MIN + 1,
        -62_167_219_200,
        -1,
        0,
        95_585_875_199,
        253_402_300_799,
        i64::MAX - 1,
        i64::MAX,
    ];
    for text in ["@hourly", "03:00", "*/7 * * * * *", "0 0 29 2 *", "@every 15m", "0 0 L * FRI#5"] {
        for zone in ["UTC", "Pacific/Apia", "America/New_York"] {
            let schedule = schedule(text, zone);
            for seconds in ends {
                for nanoseconds in [0, 999_999_999] {
                    let time = Timestamp::new(seconds, nanoseconds);
                    assert!(schedule.next_after(time).is_none_or(|next| next > time), "{text} {time}");
                    let _ = schedule.latest_between(Timestamp::new(i64::MIN, 0), time);
                }
            }
        }
    }
}

#[test]
fn rare_dates_cost_little() {
    for text in ["0 0 29 2 *", "0 0 * 2 MON#5", "@yearly", "* * * * * *", "0 0 31 12 *"] {
        let schedule = schedule(text, "Europe/Berlin");
        let start = Instant::now();
        for day in 0..1000 {
            assert!(schedule.next_after(Timestamp::new(1_700_000_000 + day * 86_400, 0)).is_some());
        }
        let took = start.elapsed() / 1000;
        println!("{text}: {took:?}");
        assert!(took < Duration::from_millis(5), "{text}: {took:?}");
    }
}
