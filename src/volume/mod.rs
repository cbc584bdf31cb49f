//! The truth about a volume: whose it is, what state it is in, who works on it, and how restored data becomes
//! live. Blocking; must not know repositories, what snapshots hold, or the configuration file.

mod commit;
mod error;
mod inspect;
mod keep_copy;
mod layout;
mod lock;
mod loosen;
mod marker;
mod moving;
mod options;
mod quarantine;
mod readiness;
mod removal;
mod replacement;
mod root_metadata;
mod scratch;
mod stage;
mod swap;

pub mod check;

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::clock::Clock;
use crate::base::fs::{TEMPORARY_PREFIX, metadata_if_present, remove_if_present, sync_parent};
use crate::base::timestamp::Timestamp;

pub use check::{CheckOutcome, CheckSpec, Finding, Level};
pub use commit::{BeforeStep, CommitReport};
pub use error::VolumeError;
pub use inspect::{Inspection, State};
pub use keep_copy::Copying;
pub use layout::Layout;
pub use lock::{Holder, LockGuard, LockKind};
pub use loosen::Loosened;
pub use marker::{Damage, Dealings, LastBackup, Marker, Origin, Phase, Progress, RestoreTarget};
pub use options::{QuarantineOptions, VolumeOptions};
pub use quarantine::{Note, Quarantined};
pub use readiness::{NotYet, readiness};
pub use scratch::Scratch;
pub use stage::{Begun, Staging};
pub use swap::Swap;

/// A temporary file that is younger may belong to somebody who is just writing it.
const LEFT_OVER_AFTER: Duration = Duration::from_secs(3600);

/// Paths and options; holds nothing open.
#[derive(Clone, Debug)]
pub struct Volume {
    options: VolumeOptions,
    places: layout::Places,
}

/// What a sweep removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Names of quarantines.
    pub quarantines: Vec<String>,
    pub temporary_files: u64,
    pub stale_staging: bool,
    /// Of a drill that was killed.
    pub left_scratch: bool,
}

impl Volume {
    /// Looks at the options only.
    pub fn new(options: VolumeOptions) -> Result<Self, VolumeError> {
        let places = layout::Places::of(&options)?;
        Ok(Self { options, places })
    }

    pub fn path(&self) -> &Path {
        &self.places.path
    }

    pub fn state_dir(&self) -> &Path {
        &self.places.state_dir
    }

    pub fn identity(&self) -> &str {
        &self.options.identity
    }

    pub fn layout(&self) -> Layout {
        self.places.layout
    }

    /// For whatever can be made anew; nothing in it is a truth.
    pub fn cache_dir(&self) -> PathBuf {
        self.places.cache()
    }

    /// Makes the state directory and what is in it, and refuses what could not be committed later.
    pub fn prepare(&self) -> Result<(), VolumeError> {
        let places = &self.places;
        let (path, state_dir) = (&places.path, &places.state_dir);
        let home = state_dir.parent().unwrap_or(Path::new("/"));
        for needed in [places.parent(), home] {
            if metadata_if_present(needed).map_err(VolumeError::io("look at", needed))?.is_none() {
                return Err(VolumeError::Missing { path: needed.to_owned() });
            }
        }
        inspect::data_at(places)?;
        make_state_dir(home, state_dir).map_err(VolumeError::io("create", state_dir))?;
        for directory in [places.staging(), places.quarantine(), places.cache()] {
            quarantine::make_directory(&directory).map_err(VolumeError::io("create", &directory))?;
        }
        let is_read_only = || -> io::Result<bool> {
            let flags = rustix::fs::statvfs(state_dir)?.f_flag;
            Ok(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY))
        };
        if is_read_only().map_err(VolumeError::io("look at", state_dir))? {
            return Err(VolumeError::ReadOnly { path: state_dir.clone() });
        }
        let anchor = match places.layout {
            Layout::MountPoint => path.as_path(),
            Layout::Subdirectory => {
                commit::refuse_mount(path)?;
                places.parent()
            }
        };
        self.refuse_other_mount(anchor)?;
        self.refuse_hidden_nesting(anchor)?;
        sync_parent(state_dir).map_err(VolumeError::io("sync", state_dir))
    }

    /// Takes the volume's lock, waiting up to `lock_wait`; `on_wait` is told whom it waits for.
    pub fn lock(
        &self,
        kind: LockKind,
        who: &Holder,
        clock: &dyn Clock,
        on_wait: &mut dyn FnMut(Option<&Holder>),
    ) -> Result<LockGuard, VolumeError> {
        lock::acquire(&self.places.lock(), kind, who, self.options.lock_wait, clock, on_wait)
    }

    /// The sidecar beside this volume, if one runs. Looks only; a sidecar without a name is shown as such.
    pub fn sidecar_running(&self) -> Result<Option<Holder>, VolumeError> {
        let nameless = || Holder {
            mode: "sidecar".to_owned(),
            pod: "an unknown pod".to_owned(),
            host: "an unknown host".to_owned(),
            since: Timestamp::default(),
        };
        Ok(lock::held_by(&self.places.sidecar_lock())?.map(|holder| holder.unwrap_or_else(nameless)))
    }

    /// For the life of a sidecar: a second one cannot have it, and a restore into the live path is refused.
    pub fn hold_sidecar_lock(&self, who: &Holder, clock: &dyn Clock) -> Result<LockGuard, VolumeError> {
        let (path, wait) = (self.places.sidecar_lock(), self.options.lock_wait);
        lock::acquire(&path, LockKind::Exclusive, who, wait, clock, &mut |_| ())
    }

    /// One backup at a time: two would race for the marker and the cache. Beside the lock of the volume, which
    /// backups share with other readers.
    pub fn hold_backup_lock(&self, who: &Holder, clock: &dyn Clock) -> Result<LockGuard, VolumeError> {
        let (path, wait) = (self.places.backup_lock(), self.options.lock_wait);
        lock::acquire(&path, LockKind::Exclusive, who, wait, clock, &mut |_| ())
    }

    /// `None` only if there is no marker.
    pub fn read_marker(&self) -> Result<Option<Marker>, VolumeError> {
        marker::read(&self.places.marker())
    }

    /// Durable when it returns. Time and version of writing are put in.
    pub fn write_marker(&self, marker: &Marker, clock: &dyn Clock) -> Result<(), VolumeError> {
        marker::write(&self.places.marker(), marker, clock)
    }

    /// Changes nothing, and needs no `prepare` before.
    pub fn inspect(&self) -> Result<Inspection, VolumeError> {
        inspect::inspect(&self.places, &self.options.identity)
    }

    /// `level` decides which checks run and how thorough they are. Findings mean corrupt; undecided ones do not.
    pub fn run_checks(&self, checks: &[CheckSpec], level: Level) -> CheckOutcome {
        check::run(&self.places.path, &self.places.state_dir, checks, level)
    }

    /// Whether a sweep could find something: quarantine, or what is left of a copy that was cut off.
    pub fn may_be_swept(&self) -> Result<bool, VolumeError> {
        let path = self.places.quarantine();
        match std::fs::read_dir(&path) {
            Ok(mut entries) => Ok(entries.next().is_some()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(VolumeError::io("read the directory", &path)(error)),
        }
    }

    /// Oldest first.
    pub fn quarantined(&self) -> Result<Vec<Quarantined>, VolumeError> {
        quarantine::list(&self.places.quarantine())
    }

    /// Removes what is over: expired quarantine, left-over temporary files, staging of a finished restore.
    /// While the journal is open only the temporary files are. Call it with the exclusive lock held.
    pub fn sweep(&self, clock: &dyn Clock) -> Result<SweepReport, VolumeError> {
        let state_dir = &self.places.state_dir;
        let mut report = SweepReport::default();
        if metadata_if_present(state_dir).map_err(VolumeError::io("look at", state_dir))?.is_none() {
            return Ok(report);
        }
        report.temporary_files = sweep_temporary_files(state_dir, clock)
            .map_err(VolumeError::io("remove temporary files in", state_dir))?;
        let ready = self.read_marker()?.is_some_and(|marker| marker.phase == Phase::Ready);
        if !ready {
            return Ok(report);
        }
        let staging = self.places.staging();
        report.stale_staging = empty_directory(&staging).map_err(VolumeError::io("clear", &staging))?;
        report.left_scratch = self.drop_left_scratch()?;
        report.quarantines = self.sweep_quarantine(0, clock)?;
        Ok(report)
    }

    /// Before `bytes` are written: drops what a killed drill left, and old quarantine as if they were there already, never
    /// the newest one. Returns the names dropped; whether it was enough is the caller's to see.
    pub fn make_room(&self, bytes: u64, clock: &dyn Clock) -> Result<Vec<String>, VolumeError> {
        let scratch = self.drop_left_scratch()?.then(|| "a killed drill".to_owned());
        // A commit that was cut off may still put entries into the quarantine it has begun.
        let phase = self.read_marker()?.map(|marker| marker.phase);
        match phase {
            Some(Phase::Committing { .. }) => Ok(scratch.into_iter().collect()),
            _ => Ok(scratch.into_iter().chain(self.sweep_quarantine(bytes, clock)?).collect()),
        }
    }

    fn sweep_quarantine(&self, expected: u64, clock: &dyn Clock) -> Result<Vec<String>, VolumeError> {
        let quarantine = self.places.quarantine();
        match metadata_if_present(&quarantine).map_err(VolumeError::io("look at", &quarantine))? {
            Some(_) => quarantine::sweep(&quarantine, &self.options.quarantine, expected, clock),
            None => Ok(Vec::new()),
        }
    }

    fn refuse_other_mount(&self, anchor: &Path) -> Result<(), VolumeError> {
        let of = |path: &Path| {
            let real = std::fs::canonicalize(path).map_err(VolumeError::io("look at", path))?;
            moving::Mount::of(&real).map_err(VolumeError::io("look at", path))
        };
        let (data, state) = (of(anchor)?, of(&self.places.state_dir)?);
        let same_device = crate::base::fs::same_file_system(anchor, &self.places.state_dir)
            .map_err(VolumeError::io("look at", anchor))?;
        if data.same(&state) && same_device {
            return Ok(());
        }
        Err(VolumeError::OtherFileSystem {
            path: self.places.path.clone(),
            state_dir: self.places.state_dir.clone(),
        })
    }

    /// Two paths that look apart may meet through a link; the wrong layout would then move our own directory.
    fn refuse_hidden_nesting(&self, anchor: &Path) -> Result<(), VolumeError> {
        let real = |path: &Path| std::fs::canonicalize(path).map_err(VolumeError::io("look at", path));
        let state = real(&self.places.state_dir)?;
        let data = match self.places.layout {
            Layout::MountPoint => real(anchor)?,
            Layout::Subdirectory => real(anchor)?.join(self.places.path.file_name().unwrap_or_default()),
        };
        let nested = state.parent() == Some(&data) && self.places.layout == Layout::MountPoint;
        let apart = !state.starts_with(&data) && !data.starts_with(&state);
        if nested || (apart && self.places.layout == Layout::Subdirectory) {
            return Ok(());
        }
        Err(VolumeError::Options(format!(
            "{} and {} are, behind links, {} and {}: name them as they are",
            self.places.path.display(),
            self.places.state_dir.display(),
            data.display(),
            state.display()
        )))
    }
}

/// Who may work in the directory beside it may work in ours: several users under one group, as pods have it.
/// Nobody else looks in: quarantine and cache hold the app's data.
fn make_state_dir(home: &Path, state_dir: &Path) -> io::Result<()> {
    let mode = 0o700 | (std::fs::metadata(home)?.permissions().mode() & 0o2070);
    if !quarantine::make_directory(state_dir)? {
        std::fs::set_permissions(state_dir, PermissionsExt::from_mode(mode))?;
    }
    match metadata_if_present(state_dir)? {
        Some(found) if found.is_dir() => Ok(()),
        _ => Err(io::ErrorKind::NotADirectory.into()),
    }
}

fn sweep_temporary_files(directory: &Path, clock: &dyn Clock) -> io::Result<u64> {
    let mut removed = 0;
    for (path, metadata) in inspect::entries(directory)? {
        let ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY_PREFIX));
        let age = clock.now().since(Timestamp::from(metadata.modified()?));
        if ours && metadata.is_file() && age >= LEFT_OVER_AFTER {
            remove_if_present(&path)?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn empty_directory(directory: &Path) -> io::Result<bool> {
    removal::remove_leftover_trees(directory)?;
    if metadata_if_present(directory)?.is_none() {
        return Ok(false);
    }
    let entries = inspect::entries(directory)?;
    for (path, _) in &entries {
        removal::remove_tree(path)?;
    }
    Ok(!entries.is_empty())
}
