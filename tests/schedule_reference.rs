//! Schedules against a library of another language, which follows Debian's cron: all instants of two years, in zones
//! with every kind of change. Where both differ on purpose, the difference is listed, instant by instant.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may panic as tests do")]

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use volkeep::base::timestamp::Timestamp;
use volkeep::schedule::{Schedule, Zone};

/// What is written here, and the same as the reference writes it.
type Pair = (&'static str, &'static [&'static str]);

/// Two years, with and without a 29 February, with all changes of the clock that lie in them.
const YEARS: [&str; 2] = ["2023-12-31T12:00:00Z", "2026-01-01T12:00:00Z"];

const ZONES: [&str; 14] = [
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "America/Sao_Paulo",
    "Asia/Kolkata",
    // By half an hour.
    "Australia/Lord_Howe",
    // Around Ramadan, and the other way round.
    "Africa/Casablanca",
    "Europe/Dublin",
    // At midnight, at or over it.
    "America/Havana",
    "Africa/Cairo",
    "Asia/Gaza",
    "America/Nuuk",
    "Pacific/Chatham",
];

const EVERYWHERE: &[Pair] = &[
    ("@daily", &["0 0 * * *"]),
    ("@midnight", &["0 0 * * *"]),
    ("@weekly", &["0 0 * * 0"]),
    ("@monthly", &["0 0 1 * *"]),
    ("@yearly", &["0 0 1 1 *"]),
    ("@annually", &["0 0 1 1 *"]),
    ("00:00", &["0 0 * * *"]),
    ("02:30", &["30 2 * * *"]),
    ("03:00", &["0 3 * * *"]),
    ("1:59", &["59 1 * * *"]),
    ("02:00,02:45,14:15", &["0 2 * * *", "45 2 * * *", "15 14 * * *"]),
    ("30 0 * * *", &["30 0 * * *"]),
    ("59 23 * * *", &["59 23 * * *"]),
    ("30 23 * * *", &["30 23 * * *"]),
    ("0 1 * * *", &["0 1 * * *"]),
    ("30 1 * * *", &["30 1 * * *"]),
    ("15 2 * * *", &["15 2 * * *"]),
    ("0,30 2 * * *", &["0,30 2 * * *"]),
    ("30 1-3 * * *", &["30 1-3 * * *"]),
    ("0 0-4 * * *", &["0 0-4 * * *"]),
    ("5,35 0,1,2,3,23 * * *", &["5,35 0,1,2,3,23 * * *"]),
    ("45 2 * * SUN", &["45 2 * * SUN"]),
    ("15 3 * * MON-FRI", &["15 3 * * MON-FRI"]),
    ("15 3 * * fri-sun", &["15 3 * * 5-7"]),
    ("0 4 * * 7", &["0 4 * * 7"]),
    ("0 2 1 * *", &["0 2 1 * *"]),
    ("0 2 L * *", &["0 2 L * *"]),
    ("0 2 1,L * *", &["0 2 1,L * *"]),
    ("30 2 31 * *", &["30 2 31 * *"]),
    ("0 0 29 2 *", &["0 0 29 2 *"]),
    ("0 12 * JAN,jul *", &["0 12 * JAN,JUL *"]),
    ("0 12 1-7/2 3-11/4 *", &["0 12 1-7/2 3-11/4 *"]),
    ("0 3 13 * FRI", &["0 3 13 * FRI"]),
    ("0 3 * * FRI#2", &["0 3 * * FRI#2"]),
    ("0 3 * * MON#1,MON#3", &["0 3 * * MON#1,MON#3"]),
    ("0 2 * * SUN#L", &["0 2 * * 0L"]),
    ("0 2 * * SUNL", &["0 2 * * 0L"]),
    ("0 3 */5 * *", &["0 3 */5 * *"]),
    ("0 */2 * * *", &["0 */2 * * *"]),
    ("30 */3 * * *", &["30 */3 * * *"]),
    ("*/30 2 * * *", &["*/30 2 * * *"]),
    ("*/20 1-3 * * *", &["*/20 1-3 * * *"]),
    ("*/45 */4 1 * *", &["*/45 */4 1 * *"]),
    ("*/30 9,17 * * MON-FRI", &["*/30 9,17 * * MON-FRI"]),
    ("0 0 */2 * * *", &["0 0 */2 * * *"]),
    ("*/20 */30 2 * * SUN", &["*/20 */30 2 * * SUN"]),
    // Both days given: here one of them is enough unless one is a plain `*`, as POSIX has it; the reference wants both
    // if one merely begins with it. A step of the whole range is the same to both.
    ("0 3 */10 * MON", &["0 3 1-31/10 * MON"]),
    ("0 3 1 * */2", &["0 3 1 * 0-7/2"]),
];

/// So many instants that one year of them is enough, in the zones with the oddest changes.
const DENSE: &[Pair] = &[
    ("@hourly", &["0 * * * *"]),
    ("20 * * * *", &["20 * * * *"]),
    ("*/15 * * * *", &["*/15 * * * *"]),
    ("0-59/25 * * * *", &["0-59/25 * * * *"]),
    ("*/4 1-3 * * *", &["*/4 1-3 * * *"]),
    ("30 15 * * * *", &["30 15 * * * *"]),
    ("10,40 */20 1-3 * * *", &["10,40 */20 1-3 * * *"]),
];
const DENSE_ZONES: [&str; 4] = ["Europe/Berlin", "Australia/Lord_Howe", "America/Nuuk", "America/Havana"];

/// A day that never was, in December 2011.
const SAMOA: [&str; 2] = ["2010-12-31T00:00:00Z", "2012-12-31T00:00:00Z"];

/// Where ours and theirs differ.
struct Difference {
    text: &'static str,
    zone: &'static str,
    ours_alone: &'static [&'static str],
    theirs_alone: &'static [&'static str],
}

/// In the two years, and nowhere else.
const DIFFERENCES: &[Difference] = &[
    // A step goes on and on, also within a range, so it keeps its distance through both changes. To the reference only
    // what begins with `*` does.
    Difference {
        text: "30 0-23/2 * * *",
        zone: "Europe/Berlin",
        ours_alone: &["2024-10-27T01:30:00Z", "2025-10-26T01:30:00Z"],
        theirs_alone: &["2024-03-31T01:00:00Z", "2025-03-30T01:00:00Z"],
    },
    // All hours are all hours, however they are written: none is missing in autumn.
    Difference {
        text: "0 0-23 * * *",
        zone: "Europe/Berlin",
        ours_alone: &["2024-10-27T01:00:00Z", "2025-10-26T01:00:00Z"],
        theirs_alone: &[],
    },
    // A fixed time with a second is a fixed time. The reference keeps its rules for these to five fields.
    Difference {
        text: "15 30 2 * * *",
        zone: "Europe/Berlin",
        ours_alone: &["2024-03-31T01:00:00Z", "2025-03-30T01:00:00Z"],
        theirs_alone: &["2024-10-27T01:30:15Z", "2025-10-26T01:30:15Z"],
    },
    // The clock goes from 02:00 back to 01:30, so it shows 02:00 once, half an hour later. The reference steps by whole
    // hours there, and steps over it.
    Difference {
        text: "0 */2 * * *",
        zone: "Australia/Lord_Howe",
        ours_alone: &["2024-04-06T15:30:00Z", "2025-04-05T15:30:00Z"],
        theirs_alone: &[],
    },
    Difference {
        text: "0 0 */2 * * *",
        zone: "Australia/Lord_Howe",
        ours_alone: &["2024-04-06T15:30:00Z", "2025-04-05T15:30:00Z"],
        theirs_alone: &[],
    },
    Difference {
        text: "*/30 2 * * *",
        zone: "Australia/Lord_Howe",
        ours_alone: &["2024-04-06T15:30:00Z", "2025-04-05T15:30:00Z"],
        theirs_alone: &[],
    },
    Difference {
        text: "*/20 */30 2 * * SUN",
        zone: "Australia/Lord_Howe",
        ours_alone: &[
            "2024-04-06T15:30:00Z",
            "2024-04-06T15:30:20Z",
            "2024-04-06T15:30:40Z",
            "2025-04-05T15:30:00Z",
            "2025-04-05T15:30:20Z",
            "2025-04-05T15:30:40Z",
        ],
        theirs_alone: &[],
    },
];

struct Case {
    text: &'static str,
    zone: &'static str,
    reference: Vec<&'static str>,
    between: [&'static str; 2],
}

#[test]
#[ignore = "needs python's cronsim: tests/run"]
fn two_years_of_instants_equal_the_reference() {
    let cases = cases();
    let answers = reference(&cases);
    assert_eq!(answers.len(), cases.len());
    let mut wrong = Vec::new();
    let mut compared = 0;
    for (case, theirs) in cases.iter().zip(&answers) {
        let ours: BTreeSet<i64> = instants(case).into_iter().collect();
        let theirs: BTreeSet<i64> = theirs.iter().copied().collect();
        compared += ours.len();
        assert!(ours.len() > 1 || case.text.contains("29 2"), "{} in {}: hardly any", case.text, case.zone);
        let alone = [&ours - &theirs, &theirs - &ours]
            .map(|alone| alone.into_iter().map(written).collect::<Vec<_>>());
        let [ours_alone, theirs_alone] = &alone;
        if *ours_alone != case.expected(|difference| difference.ours_alone)
            || *theirs_alone != case.expected(|difference| difference.theirs_alone)
        {
            let some =
                |list: &[String]| format!("{} {:?}", list.len(), list.iter().take(5).collect::<Vec<_>>());
            let (ours, theirs) = (some(ours_alone), some(theirs_alone));
            wrong.push(format!("{} in {}: ours alone {ours}, theirs alone {theirs}", case.text, case.zone));
        }
    }
    println!("{} schedules, {compared} instants", cases.len());
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(cases.len() > 700 && compared > 1_000_000, "{} schedules, {compared} instants", cases.len());
}

impl Case {
    fn expected(&self, side: impl Fn(&Difference) -> &'static [&'static str]) -> Vec<String> {
        let differs = |difference: &&Difference| difference.text == self.text && difference.zone == self.zone;
        let times = DIFFERENCES.iter().find(differs).map(side).unwrap_or_default();
        times.iter().map(|time| (*time).to_owned()).collect()
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |text, zone, reference: &[&'static str], between| {
        cases.push(Case { text, zone, reference: reference.to_vec(), between });
    };
    for (text, reference) in EVERYWHERE {
        for zone in ZONES {
            add(text, zone, reference, YEARS);
        }
        add(text, "Pacific/Apia", reference, SAMOA);
    }
    for (text, reference) in DENSE {
        for zone in DENSE_ZONES {
            add(text, zone, reference, ["2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"]);
        }
    }
    for Difference { text, zone, .. } in DIFFERENCES {
        if !EVERYWHERE.iter().any(|(known, _)| known == text) {
            add(text, zone, &[text], YEARS);
        }
    }
    cases
}

/// From each instant to the next; and from anywhere between two, the second is next too.
fn instants(case: &Case) -> Vec<i64> {
    let zone: Zone = case.zone.parse().unwrap();
    let schedule = Schedule::parse(case.text, zone).unwrap();
    let [mut time, until] = case.between.map(at);
    let mut found = Vec::new();
    while let Some(next) = schedule.next_after(time).filter(|next| *next <= until) {
        let between = time.seconds + (next.seconds - time.seconds) * (found.len() as i64 % 7) / 7;
        for from in [between, next.seconds - 1] {
            assert_eq!(
                schedule.next_after(Timestamp::new(from, 0)),
                Some(next),
                "{} {}",
                case.text,
                case.zone
            );
        }
        found.push(next.seconds);
        time = next;
    }
    found
}

fn reference(cases: &[Case]) -> Vec<Vec<i64>> {
    let python = std::env::var("VOLKEEP_TEST_CRONSIM").unwrap_or_else(|_| {
        panic!("the reference is missing: run tests/run, or eval \"$(tests/reference/cronsim)\" first")
    });
    let question: Vec<Value> = cases
        .iter()
        .map(|case| {
            let [after, until] = case.between.map(|time| at(time).seconds);
            json!({"expressions": case.reference, "zone": case.zone, "after": after, "until": until})
        })
        .collect();
    let mut child = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference/instants.py"))
        // The zones of the package, not those of the machine.
        .env("PYTHONTZPATH", "")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It answers when it has read everything.
    child.stdin.take().unwrap().write_all(json!({ "cases": question }).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the reference failed, see above");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap_or_else(|| panic!("{text}"))
}

fn written(seconds: i64) -> String {
    Timestamp::new(seconds, 0).to_rfc3339()
}
