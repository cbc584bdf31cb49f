//! The configured checks, made of a tree that was restored: all of them, as thoroughly as they can be. Tells what they
//! said; what follows from it is for the drill.

use std::path::Path;
use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::within::within_unless;
use crate::volume::check::{self, CheckKind, Undecided};
use crate::volume::{CheckOutcome, CheckSpec, Level};

/// Beyond its own limit, which a check keeps by itself unless the disk hangs.
const SLACK: Duration = Duration::from_secs(60);

/// What came of all of them, and how many found the data good. The manifest counts as one that does: it was compared.
pub(super) fn run(tree: &Path, checks: &[CheckSpec], cancel: &Cancel) -> (CheckOutcome, u64) {
    let (mut all, mut good) = (CheckOutcome::default(), 0);
    for check in checks {
        if cancel.is_cancelled() {
            break;
        }
        let outcome = one(tree, check, cancel);
        good += u64::from(outcome.findings.is_empty() && outcome.undecided.is_empty());
        all.findings.extend(outcome.findings);
        all.undecided.extend(outcome.undecided);
    }
    (all, good)
}

/// A check that is for quick looks only is made as such.
fn one(tree: &Path, check: &CheckSpec, cancel: &Cancel) -> CheckOutcome {
    let level = if check.is_due(Level::Full) { Level::Full } else { Level::Quick };
    let checks = [check.clone()];
    if let CheckKind::Command { .. } = check.kind {
        // Ends with all it started before anything is removed under it.
        return check::run_at(tree, &checks, level, cancel);
    }
    let (place, wish) = (tree.to_owned(), cancel.clone());
    let limit = check.time_limit() + SLACK;
    within_unless(limit, cancel, move || check::run_at(&place, &checks, level, &wish)).unwrap_or_else(|| {
        let reason = format!("not done within {} s", limit.as_secs());
        CheckOutcome { undecided: vec![Undecided { check: check.name(), reason }], ..CheckOutcome::default() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_ones_are_made_too_and_the_manifest_counts() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("page"), "x").unwrap();
        let parse = |text: &str| serde_saphyr::from_str::<CheckSpec>(text).unwrap();
        let checks =
            ["{exists: page, level: quick}", "{manifest: true}", "{exists: page/below}", "{exists: no}"];
        let (outcome, good) = run(dir.path(), &checks.map(parse), &Cancel::new());
        assert_eq!((good, outcome.findings.len(), outcome.undecided.len()), (2, 1, 1), "{outcome:?}");
        let stopped = Cancel::new();
        stopped.cancel();
        assert_eq!(run(dir.path(), &checks.map(parse), &stopped).1, 0);
    }
}
