//! What `init` does about the state it finds: a pure function, tested cell by cell.

use serde::Serialize;

use crate::ops::error::{Refusal, findings_line};
use crate::volume::{Finding, Phase, RestoreTarget, State};

/// What to do with data of unknown origin while backups exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnForeign {
    #[default]
    Fail,
    Adopt,
    Restore,
}

/// What to do when another volume wrote a later snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStale {
    #[default]
    Fail,
    Keep,
    Restore,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    pub create_repository: bool,
    pub on_foreign: OnForeign,
    pub on_stale: OnStale,
    /// There is an archive with the first content.
    pub archive: bool,
}

/// What the repositories offer, as far as it matters here. `Unasked` is for states that need no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Unasked,
    Snapshots,
    Nothing,
    Absent,
    OutOfReach,
}

/// The facts. `state` already says `Corrupt` when the due checks found something and `Stale` when the
/// repository has something newer.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub state: &'a State,
    /// With `Empty`: there was data.
    pub lost: bool,
    pub seen: Seen,
    pub sidecar: bool,
    /// Whether there is anything on the volume now.
    pub holds_data: bool,
    /// Whole, and not what is configured.
    pub unfit: &'a [Finding],
    /// The damage was there right after the restore of this, the newest, snapshot.
    pub distrusted: Option<&'a str>,
}

impl<'a> Facts<'a> {
    /// A state, and nothing else that is known.
    pub fn of(state: &'a State) -> Self {
        Self {
            state,
            lost: false,
            seen: Seen::Unasked,
            sidecar: false,
            holds_data: false,
            unfit: &[],
            distrusted: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum Action {
    /// The volume is good as it is.
    Nothing,
    /// Keep the data although another volume wrote a later snapshot.
    Keep,
    /// Restore the newest snapshot; data that is there goes to quarantine.
    Restore,
    /// Go on with the restore that was interrupted.
    Resume {
        snapshot: String,
    },
    /// Everything is staged and verified: make it live.
    FinishCommit {
        snapshot: String,
    },
    /// Unpack the archive with the first content.
    Unpack,
    StartEmpty,
    /// Make the repository, as was consented to, then start empty or from the archive.
    CreateRepository {
        unpack: bool,
    },
    /// Take the data for ours if the full checks pass.
    Adopt,
    Fail {
        why: Failure,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    Refused(#[serde(serialize_with = "as_text")] Refusal),
    Mismatch {
        found: String,
        expected: String,
    },
    RepositoryAbsent,
    /// Unreachable, denied or damaged: the error itself says which.
    OutOfReach,
    InUse,
}

fn as_text<S: serde::Serializer>(refusal: &Refusal, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(refusal)
}

/// Whether the repository has to be asked before `decide` can answer.
pub fn needs_repository(state: &State) -> bool {
    match state {
        State::Healthy | State::Dirty | State::Mismatch { .. } | State::Stale => false,
        State::Interrupted { phase } => matches!(phase, Phase::Restoring { .. }),
        State::Empty | State::Corrupt(_) | State::Foreign => true,
    }
}

pub fn decide(facts: &Facts<'_>, policy: &Policy) -> Action {
    use Action::{
        Adopt, CreateRepository, Fail, FinishCommit, Keep, Nothing, Restore, Resume, StartEmpty, Unpack,
    };
    let refuse = |refusal| Fail { why: Failure::Refused(refusal) };
    let absent = Fail { why: Failure::RepositoryAbsent };
    let out_of_reach = Fail { why: Failure::OutOfReach };
    if facts.sidecar && !matches!(facts.state, State::Healthy | State::Mismatch { .. }) {
        return Fail { why: Failure::InUse };
    }
    // The app that runs beside a sidecar has started on it already.
    let unfit = !facts.unfit.is_empty() && !facts.sidecar;
    match (facts.state, facts.seen) {
        (State::Mismatch { found, expected }, _) => {
            Fail { why: Failure::Mismatch { found: found.clone(), expected: expected.clone() } }
        }
        (State::Healthy | State::Dirty, _) if unfit => {
            refuse(Refusal::Unfit { findings: findings_line(facts.unfit) })
        }
        (State::Healthy | State::Dirty, _) => Nothing,

        (State::Empty, Seen::Snapshots) => Restore,
        (State::Empty, Seen::OutOfReach | Seen::Unasked) => out_of_reach,
        (State::Empty, Seen::Nothing | Seen::Absent) if facts.lost => refuse(Refusal::LostWithoutSnapshot),
        (State::Empty, Seen::Nothing) if policy.archive => Unpack,
        (State::Empty, Seen::Nothing) => StartEmpty,
        (State::Empty, Seen::Absent) if policy.create_repository => {
            CreateRepository { unpack: policy.archive }
        }
        (State::Empty, Seen::Absent) => absent,

        (State::Interrupted { phase }, seen) => match (phase, seen) {
            (Phase::Staged { target } | Phase::Committing { target, .. }, _) => {
                FinishCommit { snapshot: target.snapshot.clone() }
            }
            // In this phase nothing of the volume has been moved: what is there is what was there before. An
            // archive that somebody named by hand is not to be replaced by a snapshot nobody asked for.
            (Phase::Restoring { target }, _) if is_archive(target) && facts.holds_data => {
                refuse(Refusal::HalfRestored { snapshot: target.snapshot.clone() })
            }
            (Phase::Restoring { target }, Seen::Snapshots) if is_archive(target) => Restore,
            (Phase::Restoring { target }, Seen::Snapshots) => Resume { snapshot: target.snapshot.clone() },
            // An archive needs no repository.
            (Phase::Restoring { target }, Seen::Nothing) if policy.archive && is_archive(target) => Unpack,
            (Phase::Restoring { target }, Seen::Nothing) => {
                refuse(Refusal::HalfRestored { snapshot: target.snapshot.clone() })
            }
            (Phase::Restoring { .. }, Seen::Absent) => absent,
            (Phase::Restoring { .. }, Seen::OutOfReach | Seen::Unasked) => out_of_reach,
            (Phase::Ready, _) => Nothing,
        },

        (State::Corrupt(findings), Seen::Snapshots) => match facts.distrusted {
            // Restoring it again would fill the quarantine and end here once more.
            Some(snapshot) => refuse(Refusal::SnapshotFailsChecks {
                snapshot: snapshot.to_owned(),
                findings: findings_line(findings),
            }),
            None => Restore,
        },
        (State::Corrupt(findings), Seen::Nothing) => {
            refuse(Refusal::CorruptWithoutSnapshot { findings: findings_line(findings) })
        }
        (State::Corrupt(_), Seen::Absent) => absent,
        (State::Corrupt(_), Seen::OutOfReach | Seen::Unasked) => out_of_reach,

        (State::Foreign, Seen::Snapshots) => match policy.on_foreign {
            OnForeign::Fail => refuse(Refusal::Foreign),
            OnForeign::Adopt => Adopt,
            OnForeign::Restore => Restore,
        },
        (State::Foreign, _) => Adopt,

        (State::Stale, _) => match policy.on_stale {
            // The snapshot's name is filled in by whoever saw it.
            OnStale::Fail => refuse(Refusal::Stale { snapshot: String::new(), host: String::new() }),
            OnStale::Keep if unfit => refuse(Refusal::Unfit { findings: findings_line(facts.unfit) }),
            OnStale::Keep => Keep,
            OnStale::Restore => Restore,
        },
    }
}

fn is_archive(target: &RestoreTarget) -> bool {
    target.snapshot.starts_with("archive-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Progress;

    const ALL_SEEN: [Seen; 4] = [Seen::Snapshots, Seen::Nothing, Seen::Absent, Seen::OutOfReach];

    fn facts(state: &State, seen: Seen) -> Facts<'_> {
        Facts { seen, ..Facts::of(state) }
    }

    fn code(action: &Action) -> &'static str {
        match action {
            Action::Nothing => "nothing",
            Action::Keep => "keep",
            Action::Restore => "restore",
            Action::Resume { .. } => "resume",
            Action::FinishCommit { .. } => "commit",
            Action::Unpack => "unpack",
            Action::StartEmpty => "empty",
            Action::CreateRepository { unpack: false } => "create",
            Action::CreateRepository { unpack: true } => "create+unpack",
            Action::Adopt => "adopt",
            Action::Fail { why: Failure::Refused(_) } => "refuse",
            Action::Fail { why: Failure::Mismatch { .. } } => "mismatch",
            Action::Fail { why: Failure::RepositoryAbsent } => "absent",
            Action::Fail { why: Failure::OutOfReach } => "reach",
            Action::Fail { why: Failure::InUse } => "in use",
        }
    }

    fn states() -> Vec<(&'static str, State)> {
        let target = RestoreTarget { repository: "r".into(), snapshot: "s".into() };
        let archive = RestoreTarget { repository: "/a.tar".into(), snapshot: "archive-1".into() };
        let progress = Progress::Clearing { quarantine: "q".into() };
        let finding = Finding { check: "exists a".into(), message: "gone".into() };
        vec![
            ("empty", State::Empty),
            ("healthy", State::Healthy),
            ("dirty", State::Dirty),
            ("restoring", State::Interrupted { phase: Phase::Restoring { target: target.clone() } }),
            ("unpacking", State::Interrupted { phase: Phase::Restoring { target: archive } }),
            ("staged", State::Interrupted { phase: Phase::Staged { target: target.clone() } }),
            (
                "committing",
                State::Interrupted { phase: Phase::Committing { target, progress, loosened: Vec::new() } },
            ),
            ("corrupt", State::Corrupt(vec![finding])),
            ("foreign", State::Foreign),
            ("stale", State::Stale),
            ("mismatch", State::Mismatch { found: "a".into(), expected: "b".into() }),
        ]
    }

    /// Columns: snapshots, nothing, absent, out of reach.
    #[test]
    fn every_cell_with_the_default_policy() {
        let expected = [
            ("empty", ["restore", "empty", "absent", "reach"]),
            ("healthy", ["nothing", "nothing", "nothing", "nothing"]),
            ("dirty", ["nothing", "nothing", "nothing", "nothing"]),
            ("restoring", ["resume", "refuse", "absent", "reach"]),
            ("unpacking", ["restore", "refuse", "absent", "reach"]),
            ("staged", ["commit", "commit", "commit", "commit"]),
            ("committing", ["commit", "commit", "commit", "commit"]),
            ("corrupt", ["restore", "refuse", "absent", "reach"]),
            ("foreign", ["refuse", "adopt", "adopt", "adopt"]),
            ("stale", ["refuse", "refuse", "refuse", "refuse"]),
            ("mismatch", ["mismatch", "mismatch", "mismatch", "mismatch"]),
        ];
        for ((name, state), (row, cells)) in states().iter().zip(expected) {
            assert_eq!(*name, row);
            for (seen, cell) in ALL_SEEN.into_iter().zip(cells) {
                assert_eq!(code(&decide(&facts(state, seen), &Policy::default())), cell, "{name} {seen:?}");
            }
        }
    }

    /// Columns: healthy, all other states.
    #[test]
    fn beside_a_sidecar_only_a_healthy_volume_is_let_through() {
        for (name, state) in states() {
            for seen in ALL_SEEN {
                let action = decide(&Facts { sidecar: true, ..facts(&state, seen) }, &Policy::default());
                let expected = match name {
                    "healthy" => "nothing",
                    "mismatch" => "mismatch",
                    _ => "in use",
                };
                assert_eq!(code(&action), expected, "{name} {seen:?}");
            }
        }
    }

    #[test]
    fn no_app_starts_on_data_that_is_not_what_is_configured() {
        let unfit = [Finding { check: "postgres .".into(), message: "of 16".into() }];
        let policy = |on_stale| Policy { on_stale, ..Policy::default() };
        for (name, state) in states() {
            for seen in ALL_SEEN {
                for (on_stale, sidecar) in [
                    (OnStale::Fail, false),
                    (OnStale::Keep, false),
                    (OnStale::Restore, false),
                    (OnStale::Keep, true),
                ] {
                    let facts = Facts { sidecar, ..facts(&state, seen) };
                    let fit = decide(&facts, &policy(on_stale));
                    let decided = decide(&Facts { unfit: &unfit, ..facts }, &policy(on_stale));
                    // Nothing else than a start is kept from happening, least of all a restore.
                    let refused = matches!(fit, Action::Nothing | Action::Keep) && !sidecar;
                    match decided {
                        Action::Fail { why: Failure::Refused(Refusal::Unfit { findings }) } => {
                            assert!(
                                refused && findings == "postgres .: of 16",
                                "{name} {seen:?} {on_stale:?}"
                            );
                        }
                        other => assert!(!refused && other == fit, "{name} {seen:?} {on_stale:?}"),
                    }
                }
            }
        }
    }

    #[test]
    fn policies_change_only_their_own_cells() {
        let defaults: Vec<_> = states()
            .into_iter()
            .flat_map(|(name, state)| ALL_SEEN.map(|seen| (name, state.clone(), seen)))
            .map(|(name, state, seen)| {
                let action = decide(&facts(&state, seen), &Policy::default());
                (name, state, seen, action)
            })
            .collect();
        type Changed<'a> = &'a [(&'a str, Seen, &'a str)];
        let cases: [(Policy, Changed<'_>); 7] = [
            (Policy { create_repository: true, ..Policy::default() }, &[("empty", Seen::Absent, "create")]),
            (
                Policy { on_foreign: OnForeign::Adopt, ..Policy::default() },
                &[("foreign", Seen::Snapshots, "adopt")],
            ),
            (
                Policy { on_foreign: OnForeign::Restore, ..Policy::default() },
                &[("foreign", Seen::Snapshots, "restore")],
            ),
            (
                Policy { on_stale: OnStale::Keep, ..Policy::default() },
                &[
                    ("stale", Seen::Snapshots, "keep"),
                    ("stale", Seen::Nothing, "keep"),
                    ("stale", Seen::Absent, "keep"),
                    ("stale", Seen::OutOfReach, "keep"),
                ],
            ),
            (
                Policy { on_stale: OnStale::Restore, ..Policy::default() },
                &[
                    ("stale", Seen::Snapshots, "restore"),
                    ("stale", Seen::Nothing, "restore"),
                    ("stale", Seen::Absent, "restore"),
                    ("stale", Seen::OutOfReach, "restore"),
                ],
            ),
            (
                Policy { archive: true, ..Policy::default() },
                &[("empty", Seen::Nothing, "unpack"), ("unpacking", Seen::Nothing, "unpack")],
            ),
            (
                Policy { archive: true, create_repository: true, ..Policy::default() },
                &[
                    ("empty", Seen::Nothing, "unpack"),
                    ("unpacking", Seen::Nothing, "unpack"),
                    ("empty", Seen::Absent, "create+unpack"),
                ],
            ),
        ];
        for (policy, changed) in cases {
            for (name, state, seen, default) in &defaults {
                let action = decide(&facts(state, *seen), &policy);
                match changed.iter().find(|(row, column, _)| row == name && column == seen) {
                    Some((.., expected)) => {
                        assert_eq!(code(&action), *expected, "{name} {seen:?} {policy:?}");
                    }
                    None => assert_eq!(action, *default, "{name} {seen:?} {policy:?}"),
                }
            }
        }
    }

    #[test]
    fn a_volume_that_lost_its_data_is_never_started_empty() {
        let permissive = Policy { create_repository: true, archive: true, ..Policy::default() };
        for (seen, expected) in ALL_SEEN.into_iter().zip(["restore", "refuse", "refuse", "reach"]) {
            let action = decide(&Facts { lost: true, ..facts(&State::Empty, seen) }, &permissive);
            assert_eq!(code(&action), expected, "{seen:?}");
        }
    }

    #[test]
    fn an_interrupted_archive_never_costs_the_data_that_is_there() {
        let states = states();
        let (_, unpacking) = states.iter().find(|(name, _)| *name == "unpacking").unwrap();
        for seen in ALL_SEEN {
            let action = decide(&Facts { holds_data: true, ..facts(unpacking, seen) }, &Policy::default());
            assert_eq!(code(&action), "refuse", "{seen:?}");
        }
    }

    #[test]
    fn a_snapshot_that_fails_the_checks_is_not_restored_again_and_again() {
        let corrupt = State::Corrupt(Vec::new());
        let facts = Facts { distrusted: Some("s"), ..facts(&corrupt, Seen::Snapshots) };
        assert_eq!(code(&decide(&facts, &Policy::default())), "refuse");
    }
}
