//! Which exit code and which hint belong to which error. Only here is the way out put into words.

use crate::base::action::ActionError;
use crate::base::process::ProcessError;
use crate::cli::exit::{Exit, Failure};
use crate::cli::{git_hints, hints};
use crate::hook::HookError;
use crate::ops::OpsError;
use crate::ops::drill::DRILL;
use crate::ops::error::Refusal;
use crate::repository::RepositoryError;
use crate::step::{FetchError, Trouble};
use crate::store::StoreError;
use crate::tree::TreeError;
use crate::volume::VolumeError;

/// For files of the volume that a scrub found damaged.
pub const DECAYED: &str = "look at the disk. `volkeep scrub --repair` brings the content of the last snapshot back, with the app stopped";

impl From<OpsError> for Failure {
    fn from(error: OpsError) -> Self {
        Self::of_ops(&error)
    }
}

impl Failure {
    pub fn of_ops(error: &OpsError) -> Self {
        let failure = Self::of(exit(error), error);
        match hint(error) {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

fn exit(error: &OpsError) -> Exit {
    match error {
        OpsError::Volume(error) => volume(error),
        OpsError::Repository(error) => repository(error),
        OpsError::Pick { .. }
        | OpsError::NeverStored
        | OpsError::RepositoryAbsent { .. }
        | OpsError::SourceAbsent(_)
        | OpsError::TargetAbsent(_) => Exit::NoSnapshot,
        OpsError::NoRepository => Exit::Configuration,
        OpsError::Mismatch { .. } => Exit::Identity,
        OpsError::InUse { .. } => Exit::InUse,
        OpsError::Refused { .. } => Exit::Refused,
        OpsError::Step(error) if error.trouble.is_configuration() => Exit::Configuration,
        OpsError::Step(_) => Exit::Failed,
        OpsError::Each { first, .. } => exit(first),
        OpsError::Partly { failures, .. } => failures.first().map_or(Exit::Failed, exit),
        OpsError::Archive { .. }
        | OpsError::Hook(_)
        | OpsError::NoSuchPath { .. }
        | OpsError::NoSpace { .. }
        | OpsError::DrillFailed { .. }
        | OpsError::DrillUndecided { .. }
        | OpsError::NothingProved { .. }
        | OpsError::ChangedMeanwhile
        | OpsError::RepairStopped
        | OpsError::Io { .. }
        | OpsError::TimedOut { .. } => Exit::Failed,
    }
}

fn volume(error: &VolumeError) -> Exit {
    match error {
        VolumeError::Options(_) | VolumeError::OtherFileSystem { .. } | VolumeError::OwnMount { .. } => {
            Exit::Configuration
        }
        VolumeError::Locked { .. } => Exit::InUse,
        VolumeError::MarkerDamaged { .. }
        | VolumeError::MarkerNewer { .. }
        | VolumeError::NotEmpty { .. }
        | VolumeError::MountInside { .. }
        | VolumeError::NotOurs { .. }
        | VolumeError::NoExchange { .. }
        | VolumeError::StagingMissing { .. }
        | VolumeError::JournalUnclear { .. } => Exit::Refused,
        VolumeError::Missing { .. }
        | VolumeError::NotADirectory { .. }
        | VolumeError::ReadOnly { .. }
        | VolumeError::Phase { .. }
        | VolumeError::Io { .. } => Exit::Failed,
    }
}

fn repository(error: &RepositoryError) -> Exit {
    match error {
        RepositoryError::Absent(_) | RepositoryError::NoSnapshot { .. } => Exit::NoSnapshot,
        RepositoryError::Store(error) => store(error),
        RepositoryError::Damaged { .. } | RepositoryError::Newer { .. } | RepositoryError::Content { .. } => {
            Exit::Damaged
        }
        RepositoryError::Identity { .. } => Exit::Identity,
        RepositoryError::Fenced { .. }
        | RepositoryError::LeaseElsewhere { .. }
        | RepositoryError::NotWithdrawn { .. } => Exit::InUse,
        RepositoryError::Refused(_) => Exit::Refused,
        RepositoryError::HostKey { .. } => Exit::Denied,
        RepositoryError::Rejected { .. } | RepositoryError::TooLarge { .. } => Exit::Failed,
        RepositoryError::Tree(_)
        | RepositoryError::Local { .. }
        | RepositoryError::Cancelled
        | RepositoryError::Worker(_) => Exit::Failed,
    }
}

fn store(error: &StoreError) -> Exit {
    match error {
        StoreError::NotFound { .. } | StoreError::ShortRead { .. } => Exit::Damaged,
        StoreError::Unreachable { .. } | StoreError::Temporary { .. } => Exit::Unreachable,
        StoreError::Denied { .. } | StoreError::ReadOnly { .. } => Exit::Denied,
        StoreError::Full { .. } | StoreError::Io { .. } | StoreError::BadKey { .. } => Exit::Failed,
    }
}

fn hint(error: &OpsError) -> Option<String> {
    let text = match error {
        OpsError::RepositoryAbsent { places } => return places.first().map(hints::absent),
        OpsError::SourceAbsent(_) => "is the address right, and its disk mounted?",
        OpsError::TargetAbsent(_) => "if the address is right, `--create` makes the repository",
        OpsError::Pick { .. } => "`volkeep snapshots` lists what is there",
        OpsError::Mismatch { .. } => {
            "is the right volume mounted? volume.identity says which application's data is expected"
        }
        OpsError::InUse { .. } => "stop what works beside the app first",
        OpsError::NoSpace { doing: DRILL, .. } => {
            "make room, or give the drill a directory on another file system by drill.directory or --target. Nothing was \
             written, and quarantine is not dropped for a drill"
        }
        OpsError::NoSpace { .. } => {
            "make room or enlarge the volume; the next run goes on where this one stopped. Replaced data is kept \
             in the quarantine directory of the state directory"
        }
        OpsError::Refused { reason } => refusal(reason),
        OpsError::Each { first, .. } => return hint(first),
        OpsError::Partly { failures, .. } => return failures.first().and_then(hint),
        OpsError::Volume(error) => volume_hint(error)?,
        OpsError::Repository(RepositoryError::Absent(absent)) => return Some(hints::absent(absent)),
        OpsError::Repository(RepositoryError::Store(error)) => return hints::store(error),
        OpsError::Repository(RepositoryError::HostKey { host, trouble, .. }) => {
            return Some(git_hints::host_key(host, *trouble));
        }
        OpsError::Repository(error) => repository_hint(error)?,
        OpsError::NoRepository => {
            "set VOLKEEP_REPOSITORY or repositories, such as file:///backups/wiki, s3://bucket/wiki or \
             git+ssh://git@host/wiki.git"
        }
        OpsError::NoSuchPath { .. } => "`volkeep ls SNAPSHOT` lists what it holds",
        OpsError::Hook(error) => hook_hint(error)?,
        OpsError::Step(error) => step_hint(&error.trouble)?,
        OpsError::DrillFailed { .. } => {
            "the data on the volume was not touched. `volkeep drill --keep` leaves what came back to be looked at; make a new \
             backup, and see by `volkeep drill` whether that one can be relied on"
        }
        OpsError::DrillUndecided { .. } => {
            "the checks are to work on any copy of the data: relative paths, and VOLKEEP_VOLUME for where it is"
        }
        OpsError::NeverStored => "make a backup first: `volkeep backup`",
        OpsError::ChangedMeanwhile => "run it again",
        OpsError::NothingProved { .. } => "make a backup of a volume that holds data first",
        OpsError::RepairStopped => "the next `volkeep init` makes the full checks before anything else",
        OpsError::Archive { .. } | OpsError::Io { .. } | OpsError::TimedOut { .. } => return None,
    };
    Some(text.to_owned())
}

fn refusal(reason: &Refusal) -> &'static str {
    match reason {
        Refusal::Foreign => {
            "look at the data, then choose: init.on_foreign `adopt` keeps it, `restore` moves it to quarantine and \
             restores the newest snapshot"
        }
        Refusal::Stale { .. } => {
            "choose: init.on_stale `restore` takes the newer snapshot and keeps this data in quarantine, `keep` \
             starts with what is here"
        }
        Refusal::Corrupt { .. } => "run `volkeep init`: it repairs or restores the volume",
        Refusal::Damaged { .. } => {
            "run `volkeep init`: it makes the full checks, and restores the volume if need be"
        }
        Refusal::CorruptWithoutSnapshot { .. } => "repair the data by hand, or restore from elsewhere",
        Refusal::SnapshotFailsChecks { .. } => {
            "choose an older one: `volkeep snapshots`, then `volkeep restore --force SNAPSHOT`"
        }
        Refusal::Unfit { .. } => {
            "nothing is wrong with the data, and it stays as it is: start the version of the app that it is of, or \
             upgrade it by the app's own means. If the configuration is wrong, put the check right in init.checks"
        }
        Refusal::LostWithoutSnapshot => {
            "is the right volume mounted, and the right repository named? To start anew, remove the state directory"
        }
        Refusal::HalfRestored { .. } => {
            "run `volkeep init` where its repository can be reached, or choose what to restore by \
             `volkeep restore --force SNAPSHOT`"
        }
        Refusal::EmptyVolume => "run `volkeep init` to bring the data back, or set backup.allow_empty",
        Refusal::NeverBackedUp => {
            "prune and repair where the backups are made; with `--dry-run` both work anywhere"
        }
        Refusal::NothingToMendFrom => {
            "`volkeep check` names the snapshots that are whole; restore one of them first"
        }
        Refusal::Shrunk(_) => "if that is right, say it once: `volkeep backup --allow-shrink`",
        Refusal::LiveData => {
            "`--force` does it and keeps the present data in quarantine; `--target DIR` restores beside it"
        }
        Refusal::TargetIsLive(_) => {
            "name a directory apart, or leave --target out to restore the volume itself"
        }
        Refusal::TargetNotEmpty(_) => "name an empty directory, or use --force to replace files in it",
        Refusal::NewestDamaged(_) => {
            "`volkeep check` says more; `volkeep restore --at TIME` takes an older one"
        }
    }
}

fn step_hint(trouble: &Trouble) -> Option<&'static str> {
    Some(match trouble {
        Trouble::Action(ActionError::Failed { .. }) => "what it said is in the log, with the step's name",
        Trouble::Action(ActionError::Process(ProcessError::TimedOut { .. })) => {
            "its `timeout` says how long one attempt may take"
        }
        Trouble::Action(ActionError::Status { status: 401 | 403, .. }) => {
            "look at the user, the password and what that user may do; such a request is not tried again"
        }
        Trouble::Action(ActionError::Status { .. }) => {
            "its `expect` says which statuses are success, `already` which say that it was done before"
        }
        Trouble::NotThere { .. } => "its `timeout` says how long it is waited for",
        Trouble::Template { .. } => {
            "each name in the template needs a value: `values`, `values_env`, `values_file` and `values_downward` give them"
        }
        Trouble::NoVariable { .. } => "set it where volkeep runs; volkeep does not guess",
        Trouble::NoFile { .. } => {
            "nothing but a file is replaced: move it out of the way, or name another `to`"
        }
        Trouble::NoDirectory { .. } => {
            "nothing but a directory gives way to what is in an archive: move it out of the way, or name another `to`"
        }
        Trouble::Fetch(error) => return fetch_hint(error),
        Trouble::Owner(_) => {
            "only root gives files away; without `owner` they are of the user that volkeep runs as"
        }
        _ => return None,
    })
}

fn fetch_hint(error: &FetchError) -> Option<&'static str> {
    Some(match error {
        FetchError::Checksum { .. } => {
            "if what is there was changed on purpose, configure its new `sha256`; else do not use it"
        }
        FetchError::TooLarge { .. } => "its `max_size` says how much may come",
        FetchError::NotInArchive { .. } => {
            "its `from` names the directory as the archive does; `tar -t` shows it"
        }
        FetchError::NoSpace { .. } => "make room on the volume",
        FetchError::Source(error) if error.is_unreachable() => {
            "with `retries` it is tried again; with `on_unreachable: keep` what is there will do"
        }
        _ => return None,
    })
}

fn hook_hint(error: &HookError) -> Option<&'static str> {
    let HookError::Action { source, .. } = error else { return None };
    Some(match source {
        ActionError::Failed { .. } => "what it said is in the log, with the hook's name",
        ActionError::Process(ProcessError::TimedOut { .. }) => "its `timeout` says how long it may take",
        ActionError::Status { .. } => "its `expect` says which statuses are success",
        _ => return None,
    })
}

fn volume_hint(error: &VolumeError) -> Option<&'static str> {
    Some(match error {
        VolumeError::MarkerDamaged { .. } => {
            "if the data is known to be good, move the marker away: the next init then judges it by init.on_foreign"
        }
        VolumeError::MarkerNewer { .. } => "use the newer volkeep",
        VolumeError::OtherFileSystem { .. } => {
            "put volume.state_dir on the same file system as the data: beside it, or directly below volume.path"
        }
        VolumeError::Locked { .. } => "wait for it to end, or wait longer by volume.lock_wait",
        VolumeError::ReadOnly { .. } => "mount the volume writable",
        VolumeError::NoExchange { .. } => {
            "stop the app, and copy the files over by hand: `volkeep restore --target DIR --path PATH`"
        }
        VolumeError::NotOurs { .. } => {
            "nothing that somebody else put there is used or removed: remove it, or name another directory"
        }
        VolumeError::MountInside { .. } => "unmount it, or move it out of the volume",
        _ => return None,
    })
}

fn repository_hint(error: &RepositoryError) -> Option<&'static str> {
    Some(match error {
        RepositoryError::NoSnapshot { .. } => "`volkeep snapshots` lists what is there",
        RepositoryError::Damaged { .. } | RepositoryError::Content { .. } => {
            "`volkeep check --verify` names everything that is damaged and what it takes down; `volkeep check --repair` \
             mends what the volume still has; other snapshots may be whole"
        }
        RepositoryError::Newer { .. } => "use the newer volkeep",
        RepositoryError::Identity { .. } => {
            "is this the right repository? volume.identity must be the one it was made for"
        }
        RepositoryError::NotWithdrawn { .. } => {
            "another pod has taken over; this one must not go on. Delete that snapshot's file with a key that may"
        }
        RepositoryError::LeaseElsewhere { .. } => {
            "prune and repair where the backups are made; with `--dry-run` both work anywhere"
        }
        RepositoryError::Rejected { .. } => git_hints::REJECTED,
        RepositoryError::TooLarge { .. } => git_hints::TOO_LARGE,
        RepositoryError::Fenced { .. } => "another pod has taken over; this one must not go on",
        RepositoryError::Tree(TreeError::Full { .. }) => {
            "make room; the next run goes on where this one stopped"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::HostKeyTrouble;

    #[test]
    fn what_a_git_server_refuses_says_what_to_do() {
        let location = || "git+ssh://git@host/wiki.git".to_owned();
        let host_key = |trouble| RepositoryError::HostKey {
            host: "host".to_owned(),
            trouble,
            fingerprint: "SHA256:abc".to_owned(),
        };
        let (files, reason) = (vec!["a.iso".to_owned()], "non-fast-forward".to_owned());
        for (error, exit, part) in [
            (
                RepositoryError::Rejected { location: location(), reason },
                Exit::Failed,
                "init.on_stale `keep`",
            ),
            (
                RepositoryError::TooLarge { location: location(), limit: 100, files, count: 1 },
                Exit::Failed,
                "`largest_file`",
            ),
            (host_key(HostKeyTrouble::Unknown), Exit::Denied, "`ssh-keyscan host`"),
            (host_key(HostKeyTrouble::Changed), Exit::Denied, "somebody may stand between"),
        ] {
            let failure = Failure::from(OpsError::from(error));
            assert_eq!(failure.exit, exit);
            assert!(failure.hint.as_ref().is_some_and(|hint| hint.contains(part)), "{failure:?}");
        }
    }
}
