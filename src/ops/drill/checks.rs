//! The configured checks, made of a tree that was restored: all of them, as thoroughly as they can be. Tells what they
//! said; what follows from it is for the drill.

use std::path::{Path, PathBuf};
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
        let fits = outcome.undecided.is_empty() && outcome.unfit.is_empty();
        good += u64::from(outcome.findings.is_empty() && fits);
        all.findings.extend(outcome.findings);
        all.undecided.extend(outcome.undecided);
        // What is whole came back, whatever it is configured to be.
        let unfit = outcome.unfit.into_iter();
        all.undecided.extend(unfit.map(|found| Undecided { check: found.check, reason: found.message }));
    }
    (all, good)
}

/// A check that is for quick looks only is made as such.
fn one(tree: &Path, check: &CheckSpec, cancel: &Cancel) -> CheckOutcome {
    let level = if check.is_due(Level::Full) { Level::Full } else { Level::Quick };
    let checks = [check.clone()];
    if let CheckKind::Command { .. } = check.kind {
        // Ends with all it started before anything is removed under it.
        return check::run_at(tree, &nowhere(tree), &checks, level, cancel);
    }
    let (place, wish) = (tree.to_owned(), cancel.clone());
    let limit = check.time_limit() + SLACK;
    within_unless(limit, cancel, move || check::run_at(&place, &nowhere(&place), &checks, level, &wish))
        .unwrap_or_else(|| {
            let reason = format!("not done within {} s", limit.as_secs());
            CheckOutcome {
                undecided: vec![Undecided { check: check.name(), reason }],
                ..CheckOutcome::default()
            }
        })
}

/// A tree that was restored has no state directory in it.
fn nowhere(tree: &Path) -> PathBuf {
    tree.join(".volkeep")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::RelativePath;
    use crate::volume::check::LevelFilter;

    #[test]
    fn quick_ones_are_made_too_and_the_manifest_counts() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("page"), "x").unwrap();
        let check = |kind, level| CheckSpec { kind, level, timeout: None };
        let exists = |path: &str| CheckKind::Exists(RelativePath::new(path).unwrap());
        let checks = [
            check(exists("page"), Some(LevelFilter::Quick)),
            check(CheckKind::Manifest, None),
            check(exists("page/below"), None),
            check(exists("no"), None),
        ];
        let (outcome, good) = run(dir.path(), &checks, &Cancel::new());
        assert_eq!((good, outcome.findings.len(), outcome.undecided.len()), (2, 1, 1), "{outcome:?}");
        let stopped = Cancel::new();
        stopped.cancel();
        assert_eq!(run(dir.path(), &checks, &stopped).1, 0);
    }
}
