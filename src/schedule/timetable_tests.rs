//! The timetable through starts, stops, changes and wrong clocks; last, a year of everything at random.

use std::collections::BTreeSet;

use super::*;
use crate::schedule::Zone;

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap_or_else(|| panic!("{text}"))
}

fn job(name: &str, schedule: &str, catch_up: bool) -> Job {
    let schedule = Schedule::parse(schedule, Zone::UTC).unwrap();
    Job { name: name.to_owned(), schedule, jitter: Duration::ZERO, catch_up }
}

fn both(schedule: &str) -> Vec<Job> {
    vec![job("makes-up", schedule, true), job("does-not", schedule, false)]
}

fn new(jobs: Vec<Job>, now: &str) -> Timetable {
    Timetable::new("wiki", jobs, &BTreeMap::new(), at(now))
}

/// As after a stop of the process: what was durable, and nothing else.
fn restart(timetable: &Timetable, jobs: Vec<Job>, now: &str) -> Timetable {
    let records = timetable.records().map(|(name, record)| {
        let text = serde_json::to_string(record).unwrap();
        (name.to_owned(), serde_json::from_str(&text).unwrap())
    });
    Timetable::new("wiki", jobs, &records.collect(), at(now))
}

/// In short: `makes-up scheduled 03:00`, with the first instant if there were several.
fn due(timetable: &mut Timetable, now: &str) -> Vec<String> {
    let short = |time: Timestamp| time.to_rfc3339()[5..16].replace('T', " ");
    let span = |first: Timestamp, latest: Timestamp| match first == latest {
        true => short(latest),
        false => format!("{} from {}", short(latest), short(first)),
    };
    let say = |event| match event {
        Event::Run { job, scheduled, first, trigger } => {
            format!("{job} {trigger:?} {}", span(first, scheduled))
        }
        Event::Missed { job, first, latest } => format!("{job} missed {}", span(first, latest)),
        Event::ClockSetBack { job, settled } => format!("{job} set back from {}", settled.to_rfc3339()),
    };
    timetable.due(at(now)).into_iter().map(say).collect()
}

#[test]
fn a_job_runs_at_each_instant_and_not_between() {
    let mut timetable = new(vec![job("backup", "@hourly", false)], "2026-03-01T02:30:00Z");
    assert_eq!(timetable.next_wake(at("2026-03-01T02:30:00Z")), Some(at("2026-03-01T03:00:00Z")));
    assert_eq!(due(&mut timetable, "2026-03-01T02:30:00Z"), [""; 0]);
    assert_eq!(due(&mut timetable, "2026-03-01T02:59:59.999Z"), [""; 0]);
    assert_eq!(due(&mut timetable, "2026-03-01T03:00:00Z"), ["backup Scheduled 03-01 03:00"]);
    assert_eq!(due(&mut timetable, "2026-03-01T03:00:00Z"), [""; 0]);
    assert_eq!(due(&mut timetable, "2026-03-01T04:00:03Z"), ["backup Scheduled 03-01 04:00"]);
    assert_eq!(timetable.next_wake(at("2026-03-01T04:00:03Z")), Some(at("2026-03-01T05:00:00Z")));
    assert_eq!(timetable.next("backup", at("2026-03-01T04:00:03Z")).unwrap().at, at("2026-03-01T05:00:00Z"));
    assert_eq!(timetable.next("other", at("2026-03-01T04:00:03Z")), None);
}

#[test]
fn nothing_was_missed_before_the_first_start() {
    let mut timetable = new(both("03:00"), "2026-03-01T12:00:00Z");
    assert_eq!(due(&mut timetable, "2026-03-01T12:00:00Z"), [""; 0]);
    // But after it, even if nothing had run by then.
    let mut again = restart(&timetable, both("03:00"), "2026-03-02T12:00:00Z");
    assert_eq!(
        due(&mut again, "2026-03-02T12:00:00Z"),
        ["makes-up CatchUp 03-02 03:00", "does-not missed 03-02 03:00"]
    );
}

#[test]
fn of_many_missed_runs_one_is_made_up_for() {
    let timetable = new(both("@hourly"), "2026-03-01T00:10:00Z");
    let mut again = restart(&timetable, both("@hourly"), "2026-03-04T12:00:01Z");
    assert_eq!(again.next_wake(at("2026-03-04T12:00:01Z")), Some(at("2026-03-01T01:00:00Z")));
    assert_eq!(
        due(&mut again, "2026-03-04T12:00:01Z"),
        ["makes-up CatchUp 03-04 12:00 from 03-01 01:00", "does-not missed 03-04 12:00 from 03-01 01:00"]
    );
    let mut third = restart(&again, both("@hourly"), "2026-03-04T12:00:02Z");
    assert_eq!(due(&mut third, "2026-03-04T12:00:02Z"), [""; 0]);
    assert_eq!(due(&mut third, "2026-03-04T13:00:00Z").len(), 2);
}

#[test]
fn an_instant_at_the_very_start_is_not_missed() {
    let timetable = new(both("03:00"), "2026-03-01T00:00:00Z");
    let mut again = restart(&timetable, both("03:00"), "2026-03-01T03:00:00Z");
    assert_eq!(
        due(&mut again, "2026-03-01T03:00:00.5Z"),
        ["makes-up Scheduled 03-01 03:00", "does-not Scheduled 03-01 03:00"]
    );
}

#[test]
fn a_jump_forward_is_like_a_time_of_absence() {
    let mut timetable = new(both("*/15 * * * *"), "2026-03-01T00:00:00Z");
    assert_eq!(due(&mut timetable, "2026-03-01T00:15:00Z").len(), 2);
    assert_eq!(
        due(&mut timetable, "2026-03-08T00:07:00Z"),
        ["makes-up CatchUp 03-08 00:00 from 03-01 00:30", "does-not missed 03-08 00:00 from 03-01 00:30"]
    );
    // A few minutes are not worth losing a run for.
    assert_eq!(
        due(&mut timetable, "2026-03-08T00:19:00Z"),
        ["makes-up Scheduled 03-08 00:15", "does-not Scheduled 03-08 00:15"]
    );
}

#[test]
fn who_looks_late_learns_of_one_run() {
    let mut timetable = new(vec![job("backup", "*/10 * * * * *", false)], "2026-03-01T00:00:00Z");
    assert_eq!(
        due(&mut timetable, "2026-03-01T00:08:21Z"),
        ["backup Scheduled 03-01 00:08 from 03-01 00:00"]
    );
    assert_eq!(due(&mut timetable, "2026-03-01T00:08:29Z"), [""; 0]);
}

#[test]
fn a_clock_put_back_runs_nothing_again() {
    let mut timetable = new(vec![job("backup", "@hourly", true)], "2026-03-01T00:30:00Z");
    assert_eq!(due(&mut timetable, "2026-03-01T12:00:00Z").len(), 1);
    for now in ["2026-03-01T11:59:59Z", "2026-03-01T02:00:00Z", "2026-03-01T12:30:00Z"] {
        assert_eq!(due(&mut timetable, now), [""; 0], "{now}");
        assert_eq!(timetable.next_wake(at(now)), Some(at("2026-03-01T13:00:00Z")), "{now}");
        let mut again = restart(&timetable, vec![job("backup", "@hourly", true)], now);
        assert_eq!(due(&mut again, now), [""; 0], "{now}");
    }
    assert_eq!(due(&mut timetable, "2026-03-01T13:00:00Z"), ["backup Scheduled 03-01 13:00"]);
}

#[test]
fn a_clock_that_was_years_ahead_silences_nothing() {
    let jobs = || vec![job("backup", "@hourly", true)];
    let mut timetable = new(jobs(), "2026-03-01T00:30:00Z");
    assert_eq!(due(&mut timetable, "2031-03-01T00:00:00Z").len(), 1);
    for mut timetable in [timetable.clone(), restart(&timetable, jobs(), "2026-03-01T01:10:00Z")] {
        let now = at("2026-03-01T01:10:00Z");
        assert_eq!(timetable.next("backup", now).unwrap().at, at("2026-03-01T02:00:00Z"));
        assert_eq!(
            due(&mut timetable, "2026-03-01T01:10:00Z"),
            ["backup set back from 2031-03-01T00:00:00Z"]
        );
        assert_eq!(due(&mut timetable, "2026-03-01T01:10:00Z"), [""; 0]);
        assert_eq!(due(&mut timetable, "2026-03-01T02:00:00Z"), ["backup Scheduled 03-01 02:00"]);
    }
}

#[test]
fn a_changed_schedule_has_missed_nothing() {
    let timetable = new(both("@monthly"), "2026-03-01T00:10:00Z");
    let mut again = restart(&timetable, both("@daily"), "2026-03-21T12:00:00Z");
    assert_eq!(due(&mut again, "2026-03-21T12:00:00Z"), [""; 0]);
    assert_eq!(due(&mut again, "2026-03-22T00:00:00Z").len(), 2);
    // Nor is an instant run twice that both schedules have, though the clock was put back between them.
    let mut changed = restart(&again, both("0 */6 * * *"), "2026-03-21T23:00:00Z");
    assert_eq!(due(&mut changed, "2026-03-22T00:00:01Z"), [""; 0]);
    assert_eq!(due(&mut changed, "2026-03-22T06:00:00Z").len(), 2);
}

#[test]
fn jobs_are_replaced_without_losing_a_run() {
    let mut timetable = new(both("@hourly"), "2026-03-01T00:10:00Z");
    assert_eq!(due(&mut timetable, "2026-03-01T00:10:00Z"), [""; 0]);
    let mut jobs = both("@hourly");
    jobs[0] = job("makes-up", "30 * * * *", true);
    jobs.push(job("new", "@hourly", true));
    // At an instant that nobody has looked at yet.
    timetable.replace(jobs, at("2026-03-01T01:00:02Z"));
    assert_eq!(due(&mut timetable, "2026-03-01T01:00:02Z"), ["does-not Scheduled 03-01 01:00"]);
    assert_eq!(due(&mut timetable, "2026-03-01T01:30:00Z"), ["makes-up Scheduled 03-01 01:30"]);
    timetable.replace(vec![], at("2026-03-01T01:30:00Z"));
    assert_eq!(timetable.next_wake(at("2026-03-01T01:30:00Z")), None);
}

#[test]
fn jitter_delays_a_run_by_the_same_time_each_day() {
    let jobs = || vec![Job { jitter: Duration::from_secs(3600), ..job("backup", "03:00", false) }];
    let delay = jitter::delay("wiki", "backup", Duration::from_secs(3600));
    assert!(delay > Duration::from_secs(60));
    let mut timetable = new(jobs(), "2026-03-01T00:00:00Z");
    for day in 1..4 {
        let scheduled = at(&format!("2026-03-0{day}T03:00:00Z"));
        let next = Next { scheduled, at: scheduled.plus(delay) };
        // Between the instant and its run, a restart misses nothing.
        for now in [scheduled, scheduled.plus(delay - Duration::from_millis(1))] {
            timetable = restart(&timetable, jobs(), &now.to_rfc3339());
            assert_eq!(timetable.due(now), []);
            assert_eq!(timetable.next("backup", now), Some(next));
            assert_eq!(timetable.next_wake(now), Some(next.at));
        }
        let event =
            Event::Run { job: "backup".into(), scheduled, first: scheduled, trigger: Trigger::Scheduled };
        assert_eq!(timetable.due(next.at), [event]);
    }
}

#[test]
fn no_time_is_too_odd() {
    let ends = [i64::MIN, -62_167_219_200, -1, 0, 4_102_444_800, 253_402_300_800, i64::MAX];
    for first in ends {
        for second in ends {
            let (first, second) = (Timestamp::new(first, 999_999_999), Timestamp::new(second, 0));
            let jobs = || {
                vec![Job { jitter: Duration::MAX, ..job("a", "@hourly", true) }, job("b", "@every 1s", true)]
            };
            let mut timetable = Timetable::new("wiki", jobs(), &BTreeMap::new(), first);
            timetable.due(first);
            timetable.due(second);
            timetable.next_wake(first);
            timetable.next("a", second);
            // Whatever the clock shows, what is written down can be read.
            restart(&timetable, jobs(), "2026-03-01T00:00:00Z");
        }
    }
}

/// Splitmix64: the same numbers each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most
    }
}

/// A year in which the process stops and starts, its clock is put right and wrong, and it looks late. Kept up beside
/// it: what the wall clock has shown while it was there, which alone says what must have run.
#[test]
fn a_year_of_restarts_and_jumps_runs_each_instant_once() {
    let zone: Zone = "Europe/Berlin".parse().unwrap();
    for (seed, text) in ["*/30 * * * *", "@hourly", "02:30", "30 1-4 * * *", "0 3 * * MON-FRI", "@every 7h"]
        .iter()
        .enumerate()
    {
        for catch_up in [true, false] {
            for jitter in [0, 600] {
                let schedule = Schedule::parse(text, zone).unwrap();
                let jitter = Duration::from_secs(jitter);
                let job = Job { name: "backup".into(), schedule, jitter, catch_up };
                let missed: usize = (0..2).map(|year| a_year(&job, seed as u64 * 2 + year)).sum();
                assert!(missed > 0, "{text}: nothing was ever missed");
            }
        }
    }
}

/// How often something was missed.
fn a_year(job: &Job, seed: u64) -> usize {
    let mut dice = Dice(seed);
    let delay = jitter::delay("wiki", &job.name, job.jitter);
    let own = job.schedule.clone().of_job("wiki", &job.name);
    let start = at("2024-01-01T00:00:00Z");
    let (mut now, end) = (start, at("2025-01-01T00:00:00Z"));
    let mut timetable = Timetable::new("wiki", vec![job.clone()], &BTreeMap::new(), now);
    let mut ran = BTreeSet::new();
    // All instants up to here had their turn.
    let mut seen = start;
    let mut misses = 0;
    while now < end {
        let (stopped, jumped) = match dice.below(40) {
            // Stopped, for minutes or for days.
            0 => {
                now = now.plus(Duration::from_secs(600 + dice.below(3 * 86_400)));
                let records = timetable.records().map(|(name, record)| (name.to_owned(), record.clone()));
                timetable = Timetable::new("wiki", vec![job.clone()], &records.collect(), now);
                (true, false)
            }
            // The clock jumps ahead.
            1 => {
                now = now.plus(LATE + delay + Duration::from_secs(1 + dice.below(2 * 86_400)));
                (false, true)
            }
            // It is put back, altogether by less than a day.
            2 => {
                let back = earlier(now, Duration::from_secs(dice.below(20 * 3600)));
                now = back.max(earlier(seen, Duration::from_secs(20 * 3600)));
                (false, false)
            }
            // Stopped and started at once.
            3 => {
                let records = timetable.records().map(|(name, record)| (name.to_owned(), record.clone()));
                timetable = Timetable::new("wiki", vec![job.clone()], &records.collect(), now);
                (false, false)
            }
            // Waits until something is due, and wakes a little late.
            _ => {
                let wake = timetable.next_wake(now).unwrap();
                now = wake.plus(Duration::from_millis(dice.below(5000)));
                (false, false)
            }
        };
        let until = earlier(now, delay);
        let mut came = Vec::new();
        while let Some(next) = own.next_after(seen).filter(|next| *next <= until) {
            came.push(next);
            seen = next;
        }
        let events = timetable.due(now);
        let context = format!("{} at {}, seed {seed}: {came:?} {events:?}", job.schedule, now.to_rfc3339());
        let Some((first, latest)) = came.first().copied().zip(came.last().copied()) else {
            assert!(events.is_empty(), "{context}");
            continue;
        };
        assert_eq!(events.len(), 1, "{context}");
        let at = latest.plus(delay);
        let missed = stopped && at < now || jumped && now.since(at) > LATE;
        misses += usize::from(missed);
        match &events[0] {
            Event::Run { scheduled, first: from, trigger, .. } => {
                assert!(ran.insert(*scheduled), "twice: {context}");
                assert_eq!((*from, *scheduled), (first, latest), "{context}");
                assert_eq!(*trigger == Trigger::CatchUp, missed, "{context}");
                assert!(!missed || job.catch_up, "{context}");
            }
            Event::Missed { latest: passed, .. } => {
                assert!(missed && !job.catch_up, "{context}");
                assert_eq!(*passed, latest, "{context}");
            }
            Event::ClockSetBack { .. } => panic!("{context}"),
        }
    }
    assert!(ran.len() > 10, "{} runs", ran.len());
    misses
}
