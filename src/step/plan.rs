//! Which steps are due: a pure function of what is configured, how the data came onto the volume, and what is
//! recorded as done.

use std::collections::BTreeMap;

use super::{Step, When};

/// How the data on the volume began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Began {
    Empty,
    /// From the first content.
    Archive,
    Snapshot,
    /// It was there already.
    Adopted,
}

#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub began: Began,
    /// No start has done all its steps on this data yet.
    pub fresh: bool,
    /// The versions recorded, by the names of steps.
    pub done: &'a BTreeMap<String, String>,
}

/// A step with its turn in this start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    pub label: String,
    pub kind: &'static str,
    pub verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Run,
    /// There is nothing old that could be upgraded: the version is recorded, and nothing is run.
    Note,
    Skip(Why),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// This start is not one of those it is for.
    NotNow(When),
    /// Recorded as done, in this version.
    Done(u64),
    /// A later version is recorded: the data is ahead of the configuration.
    Ahead(u64),
}

pub fn plan(steps: &[Step], facts: &Facts<'_>) -> Vec<Planned> {
    steps
        .iter()
        .enumerate()
        .map(|(number, step)| Planned {
            label: step.label(number),
            kind: step.kind.name(),
            verdict: verdict(step, facts),
        })
        .collect()
}

pub fn verdict(step: &Step, facts: &Facts<'_>) -> Verdict {
    let is_time = match step.when {
        When::Always | When::Upgraded => true,
        When::Empty => facts.fresh && facts.began == Began::Empty,
        When::Restored => facts.fresh && facts.began == Began::Snapshot,
        When::FirstBoot => facts.fresh && facts.began != Began::Snapshot,
    };
    let recorded = step
        .name
        .as_ref()
        .filter(|_| step.once)
        .and_then(|name| facts.done.get(name))
        .and_then(|version| version.parse::<u64>().ok());
    match recorded {
        _ if !is_time => Verdict::Skip(Why::NotNow(step.when)),
        Some(recorded) if recorded == step.version => Verdict::Skip(Why::Done(recorded)),
        Some(recorded) if recorded > step.version => Verdict::Skip(Why::Ahead(recorded)),
        // Data that began elsewhere is of a version that nobody knows, so it counts as old.
        None if step.when == When::Upgraded && facts.fresh && facts.began == Began::Empty => Verdict::Note,
        _ => Verdict::Run,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::action::CommandAction;
    use crate::step::Kind;

    fn step(when: When, once: bool, version: u64) -> Step {
        Step {
            name: once.then(|| "schema".to_owned()),
            kind: Kind::Run(CommandAction::default()),
            timeout: Duration::from_secs(1),
            retries: 0,
            backoff: Duration::ZERO,
            when,
            once,
            version,
        }
    }

    fn record(version: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("schema".to_owned(), version.to_owned())])
    }

    #[test]
    fn each_when_has_its_starts() {
        use Began::{Adopted, Archive, Empty, Snapshot};
        let done = BTreeMap::new();
        for (when, fresh_ones) in [
            (When::Always, &[Empty, Archive, Snapshot, Adopted][..]),
            (When::Empty, &[Empty]),
            (When::Restored, &[Snapshot]),
            (When::FirstBoot, &[Empty, Archive, Adopted]),
        ] {
            for began in [Empty, Archive, Snapshot, Adopted] {
                for fresh in [true, false] {
                    let runs = (when == When::Always) || (fresh && fresh_ones.contains(&began));
                    let expected = if runs { Verdict::Run } else { Verdict::Skip(Why::NotNow(when)) };
                    let facts = Facts { began, fresh, done: &done };
                    assert_eq!(verdict(&step(when, false, 1), &facts), expected, "{when:?} {facts:?}");
                }
            }
        }
    }

    #[test]
    fn once_is_once_for_a_version() {
        let run = |done: &BTreeMap<String, String>, version| {
            let facts = Facts { began: Began::Snapshot, fresh: false, done };
            verdict(&step(When::Always, true, version), &facts)
        };
        assert_eq!(run(&BTreeMap::new(), 1), Verdict::Run);
        assert_eq!(run(&record("1"), 1), Verdict::Skip(Why::Done(1)));
        assert_eq!(run(&record("1"), 2), Verdict::Run);
        assert_eq!(run(&record("10"), 9), Verdict::Skip(Why::Ahead(10)));
        // What cannot be read proves nothing.
        assert_eq!(run(&record("x"), 1), Verdict::Run);
        // Without `once` no record counts.
        let done = record("1");
        let facts = Facts { began: Began::Snapshot, fresh: false, done: &done };
        let named = Step { name: Some("schema".to_owned()), ..step(When::Always, false, 1) };
        assert_eq!(verdict(&named, &facts), Verdict::Run);
    }

    #[test]
    fn only_what_may_be_old_is_upgraded() {
        let none = BTreeMap::new();
        let old = record("6");
        for (began, fresh, done, expected) in [
            (Began::Empty, true, &none, Verdict::Note),
            (Began::Empty, false, &none, Verdict::Run),
            (Began::Snapshot, true, &none, Verdict::Run),
            (Began::Adopted, true, &none, Verdict::Run),
            (Began::Archive, true, &none, Verdict::Run),
            (Began::Empty, true, &old, Verdict::Run),
            (Began::Snapshot, false, &old, Verdict::Run),
        ] {
            let facts = Facts { began, fresh, done };
            assert_eq!(verdict(&step(When::Upgraded, true, 7), &facts), expected, "{facts:?}");
        }
    }
}
