//! Makes a staged tree live under the journal. Whatever step a crash comes before, a second call ends where an
//! undisturbed one would, and until the marker says `ready` nobody takes the volume for whole.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::base::bytes_text::BytesText;
use crate::base::clock::Clock;
use crate::base::fs::{metadata_if_present, sync_dir, sync_parent};
use crate::base::id::random_hex;
use crate::base::timestamp::Timestamp;
use crate::volume::Volume;
use crate::volume::error::VolumeError;
use crate::volume::inspect::{data_at, data_entries, entries};
use crate::volume::layout::Layout;
use crate::volume::marker::{Marker, Origin, Phase, Progress, RestoreTarget};
use crate::volume::moving::{Mount, exchange, inode_if_present, is_mount_point, rename_new};
use crate::volume::quarantine::{self, Note};
use crate::volume::removal::remove_tree;
use crate::volume::root_metadata;
use crate::volume::stage::{refused, require_tree};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitReport {
    /// Where the replaced data is now, if there was any.
    pub quarantine: Option<PathBuf>,
    /// Restored entries that were left out, because an ignorable directory of that name is in the volume.
    pub skipped: Vec<PathBuf>,
    /// What of the root's metadata could not be set, with reasons.
    pub problems: Vec<String>,
}

/// Called before each step that changes the disk, with its name; an error ends the commit right there.
pub type BeforeStep<'a> = &'a mut dyn FnMut(&str) -> io::Result<()>;

impl Volume {
    /// From `staged` to `ready`, or from wherever in `committing` an earlier call was cut off. The caller holds
    /// the volume's lock exclusively.
    pub fn commit(&self, marker: &mut Marker, clock: &dyn Clock) -> Result<CommitReport, VolumeError> {
        self.commit_observed(marker, clock, &mut |_| Ok(()))
    }

    /// The same; `before_step` sees, and may forbid, each step. For crash tests.
    pub fn commit_observed(
        &self,
        marker: &mut Marker,
        clock: &dyn Clock,
        before_step: BeforeStep<'_>,
    ) -> Result<CommitReport, VolumeError> {
        let mut commit = Commit { volume: self, marker, clock, before_step, report: CommitReport::default() };
        commit.run()?;
        Ok(commit.report)
    }
}

pub(super) struct Commit<'a> {
    pub(super) volume: &'a Volume,
    pub(super) marker: &'a mut Marker,
    pub(super) clock: &'a dyn Clock,
    before_step: BeforeStep<'a>,
    report: CommitReport,
}

impl Commit<'_> {
    fn run(&mut self) -> Result<(), VolumeError> {
        let (target, mut progress) = match &self.marker.phase {
            Phase::Staged { target } => (target.clone(), None),
            Phase::Committing { target, progress, .. } => (target.clone(), Some(progress.clone())),
            _ => return Err(refused(self.marker, "make a restore live")),
        };
        self.tighten()?;
        loop {
            progress = Some(match progress {
                None => self.begin(&target)?,
                Some(Progress::Replacing { staged_inode, quarantine }) => {
                    self.replace(staged_inode, &quarantine)?;
                    break;
                }
                Some(Progress::Clearing { quarantine }) => self.clear(&target, quarantine)?,
                Some(Progress::Filling { quarantine, names, modified }) => {
                    self.fill(&quarantine, &names, modified)?;
                    break;
                }
            });
        }
        self.finish(target)
    }

    /// Everything that can be refused is refused here, before anything has moved.
    fn begin(&mut self, target: &RestoreTarget) -> Result<Progress, VolumeError> {
        let places = &self.volume.places;
        let (path, tree) = (&places.path, places.staging_tree());
        require_tree(&tree)?;
        data_at(places)?;
        let quarantine =
            quarantine::new_name(self.clock).map_err(VolumeError::io("make a quarantine for", path))?;
        let progress = match places.layout {
            Layout::Subdirectory => {
                refuse_mount(path)?;
                let staged_inode = inode_if_present(&tree).map_err(VolumeError::io("look at", &tree))?;
                let staged_inode =
                    staged_inode.ok_or_else(|| VolumeError::StagingMissing { path: tree.clone() })?;
                Progress::Replacing { staged_inode, quarantine }
            }
            Layout::MountPoint => {
                self.refuse_mounts_inside()?;
                Progress::Clearing { quarantine }
            }
        };
        self.journal(target, progress)
    }

    /// Subdirectory: the restored tree takes the place of the old one, which goes to quarantine.
    fn replace(&mut self, staged_inode: u64, quarantine: &str) -> Result<(), VolumeError> {
        let (path, tree) = (self.volume.places.path.clone(), self.volume.places.staging_tree());
        let look = |path: &Path| inode_if_present(path).map_err(VolumeError::io("look at", path));
        if look(&path)? != Some(staged_inode) {
            match look(&tree)? {
                Some(inode) if inode == staged_inode => self.put_in_place(&path, &tree, quarantine)?,
                Some(_) => return Err(VolumeError::JournalUnclear { path, staging: tree }),
                None => return Err(VolumeError::StagingMissing { path: tree }),
            }
        }
        // Also when an earlier call did the renames: it may not have come as far as this.
        self.sync(&[path.as_path(), &tree])?;
        if look(&tree)?.is_some() {
            self.put_aside(&tree, quarantine, None)?;
        }
        self.sync_quarantine(quarantine)
    }

    fn put_in_place(&mut self, path: &Path, tree: &Path, quarantine: &str) -> Result<(), VolumeError> {
        if !is_absent_or_empty(path)? {
            self.step("make the restored tree live", path)?;
            let options = &self.volume.options;
            if options.exchange
                && self.rename_by(path, tree, exchange)?.map_err(VolumeError::io("replace", path))?
            {
                return Ok(());
            }
            // A crash behind this leaves no tree at `path`, and a journal that says which one belongs there.
            self.put_aside(path, quarantine, None)?;
            self.sync(&[path])?;
            self.sync_quarantine(quarantine)?;
        }
        self.step("rename the restored tree", path)?;
        // Replaces an empty directory; refused if it has got entries since.
        let rename = |from: &Path, to: &Path| std::fs::rename(from, to);
        self.rename_by(tree, path, rename)?.map_err(VolumeError::io("replace", path))
    }

    /// Mount point, first half: what is there goes to quarantine, entry by entry.
    fn clear(&mut self, target: &RestoreTarget, quarantine: String) -> Result<Progress, VolumeError> {
        let places = &self.volume.places;
        let (path, tree) = (places.path.clone(), places.staging_tree());
        require_tree(&tree)?;
        self.refuse_mounts_inside()?;
        for (old, _) in data_entries(places).map_err(VolumeError::io("read the directory", &path))? {
            self.put_aside(&old, &quarantine, old.file_name())?;
        }
        self.step("sync after clearing", &path)?;
        sync_dir(&path).map_err(VolumeError::io("sync", &path))?;
        self.sync_quarantine(&quarantine)?;
        let modified = std::fs::metadata(&tree).and_then(|metadata| metadata.modified());
        let modified = Timestamp::from(modified.map_err(VolumeError::io("look at", &tree))?);
        let staged = entries(&tree).map_err(VolumeError::io("read the directory", &tree))?;
        let names = staged.iter().filter_map(|(path, _)| path.file_name());
        let names = names.map(|name| BytesText::from(name.as_bytes())).collect();
        self.journal(target, Progress::Filling { quarantine, names, modified })
    }

    /// Mount point, second half. A listed name that is gone from staging has been moved by an earlier call.
    fn fill(
        &mut self,
        quarantine: &str,
        names: &[BytesText],
        modified: Timestamp,
    ) -> Result<(), VolumeError> {
        let places = &self.volume.places;
        let (path, tree) = (places.path.clone(), places.staging_tree());
        require_tree(&tree)?;
        for name in names.iter().map(BytesText::as_os_str) {
            self.move_in(&tree.join(name), &path.join(name), quarantine)?;
        }
        // Who came after the clearing is neither of the old data nor of the new.
        let found =
            data_entries(&self.volume.places).map_err(VolumeError::io("read the directory", &path))?;
        let expected: std::collections::HashSet<&OsStr> = names.iter().map(BytesText::as_os_str).collect();
        for (late, _) in found {
            if late.file_name().is_some_and(|name| !expected.contains(name)) {
                self.put_aside(&late, quarantine, late.file_name())?;
            }
        }
        self.step("set the root's metadata", &path)?;
        self.report.problems = root_metadata::copy(&tree, &path, modified)
            .map_err(VolumeError::io("set the metadata of", &path))?;
        self.sync_quarantine(quarantine)?;
        self.step("sync after filling", &path)?;
        sync_dir(&tree).and_then(|()| sync_dir(&path)).map_err(VolumeError::io("sync", &path))
    }

    fn move_in(&mut self, from: &Path, to: &Path, quarantine: &str) -> Result<(), VolumeError> {
        let look = |path: &Path| metadata_if_present(path).map_err(VolumeError::io("look at", path));
        if look(from)?.is_none() {
            return Ok(());
        }
        if let Some(newcomer) = look(to)? {
            if to.file_name().is_some_and(|name| self.volume.places.ignores(name, newcomer.is_dir())) {
                self.report.skipped.push(to.to_owned());
                return Ok(());
            }
            self.put_aside(to, quarantine, to.file_name())?;
        }
        self.step("move an entry in", to)?;
        self.rename_by(from, to, rename_new)?.map_err(VolumeError::io("move the restored entry to", to))
    }

    /// Moves `old` into quarantine, as its data or as the entry `name` of that. An empty directory that is a
    /// whole old tree is not worth a quarantine.
    fn put_aside(&mut self, old: &Path, quarantine: &str, name: Option<&OsStr>) -> Result<(), VolumeError> {
        if name.is_none() && is_absent_or_empty(old)? {
            self.step("remove the empty old tree", old)?;
            return std::fs::remove_dir(old).map_err(VolumeError::io("remove", old));
        }
        self.step("open the quarantine", old)?;
        let directory = self.volume.places.quarantine();
        let data = quarantine::open(&directory, quarantine, || self.note())?;
        let wanted = match name {
            Some(name) => {
                quarantine::make_directory(&data).map_err(VolumeError::io("create", &data))?;
                data.join(name)
            }
            None => data,
        };
        self.report.quarantine = Some(directory.join(quarantine));
        self.step("move into quarantine", old)?;
        let mut moved = self.rename_by(old, &wanted, rename_new)?;
        // Something new has come under the name of what was put aside before.
        if moved.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
            let late = directory.join(quarantine).join(format!("late-{}", self.suffix()?));
            quarantine::make_directory(&late).map_err(VolumeError::io("create", &late))?;
            moved = self.rename_by(old, &late.join(name.unwrap_or(OsStr::new("data"))), rename_new)?;
        }
        moved.map_err(VolumeError::io("move into quarantine", old))
    }

    fn suffix(&self) -> Result<String, VolumeError> {
        random_hex(4).map_err(VolumeError::io("make a name in", &self.volume.places.state_dir))
    }

    fn note(&self) -> Note {
        let target = self.marker.phase.target();
        let snapshot = target.map_or_else(String::new, |target| target.snapshot.clone());
        let time = self.clock.now();
        let repaired = self.marker.damage.as_ref().is_some_and(|damage| damage.repair.is_some());
        Note {
            reason: match repaired {
                true => format!("left by a repair that did not help, and replaced by snapshot {snapshot}"),
                false => format!("replaced by snapshot {snapshot}"),
            },
            path: BytesText::from(self.volume.places.path.as_os_str().as_bytes()),
            origin: self.marker.origin.clone(),
            time,
            expires: time.plus(self.volume.options.quarantine.keep),
            before_repair: false,
            files_only: false,
        }
    }

    fn finish(&mut self, target: RestoreTarget) -> Result<(), VolumeError> {
        let places = &self.volume.places;
        self.step("write the marker: ready", &places.marker())?;
        let mut next = Marker {
            origin: Some(Origin::Snapshot {
                id: target.snapshot,
                repository: target.repository,
                time: self.clock.now(),
            }),
            ready_since: Some(self.clock.now()),
            // The full checks are due: until they have passed, nobody calls this healthy.
            clean: false,
            ..self.marker.clone()
        };
        next.forget_the_data();
        self.volume.advance(&mut next, Phase::Ready, self.clock)?;
        *self.marker = next;
        // An empty directory, or what was skipped. If it stays, the next sweep takes it.
        let _ = remove_tree(&places.staging_tree());
        Ok(())
    }

    fn refuse_mounts_inside(&self) -> Result<(), VolumeError> {
        let places = &self.volume.places;
        let path = &places.path;
        let read = VolumeError::io("read the directory", path);
        let root = std::fs::metadata(path).map_err(VolumeError::io("look at", path))?;
        for (entry, metadata) in data_entries(places).map_err(read)? {
            if is_mount_point(&entry, &metadata, &root).map_err(VolumeError::io("look at", &entry))? {
                return Err(VolumeError::MountInside { path: entry });
            }
        }
        Ok(())
    }

    fn journal(&mut self, target: &RestoreTarget, progress: Progress) -> Result<Progress, VolumeError> {
        self.step("write the marker: committing", &self.volume.places.marker())?;
        let loosened = Vec::new();
        let phase = Phase::Committing { target: target.clone(), progress: progress.clone(), loosened };
        self.volume.advance(self.marker, phase, self.clock)?;
        Ok(progress)
    }

    /// The directories that hold `paths`.
    fn sync(&mut self, paths: &[&Path]) -> Result<(), VolumeError> {
        for path in paths {
            self.step("sync", path)?;
            sync_parent(path).map_err(VolumeError::io("sync the directory of", path))?;
        }
        Ok(())
    }

    /// From the inside out, whatever of it is there.
    fn sync_quarantine(&mut self, quarantine: &str) -> Result<(), VolumeError> {
        let directory = self.volume.places.quarantine();
        let own = directory.join(quarantine);
        if metadata_if_present(&own).map_err(VolumeError::io("look at", &own))?.is_none() {
            return Ok(());
        }
        self.report.quarantine = Some(own.clone());
        self.step("sync the quarantine", &own)?;
        let sync = || {
            for (child, metadata) in entries(&own)? {
                if metadata.is_dir() {
                    sync_dir(&child)?;
                }
            }
            sync_dir(&own)?;
            sync_dir(&directory)
        };
        sync().map_err(VolumeError::io("sync", &own))
    }

    pub(super) fn step(&mut self, name: &str, path: &Path) -> Result<(), VolumeError> {
        (self.before_step)(name).map_err(VolumeError::io("go on with", path))
    }
}

fn is_absent_or_empty(path: &Path) -> Result<bool, VolumeError> {
    match std::fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(VolumeError::io("read the directory", path)(error)),
    }
}

pub(crate) fn refuse_mount(path: &Path) -> Result<(), VolumeError> {
    let found = metadata_if_present(path).map_err(VolumeError::io("look at", path))?;
    if found.is_some() && Mount::of(path).map_err(VolumeError::io("look at", path))?.is_root() {
        return Err(VolumeError::OwnMount { path: path.to_owned() });
    }
    Ok(())
}
