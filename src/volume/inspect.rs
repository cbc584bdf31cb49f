//! Finds out what state the volume is in without changing anything. What to do about it is decided elsewhere,
//! and what only a check or a repository can tell (`Corrupt`, `Stale`) is added there.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::fs::metadata_if_present;
use crate::volume::check::Finding;
use crate::volume::error::VolumeError;
use crate::volume::layout::{Layout, Places};
use crate::volume::marker::{self, Marker, Phase};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// No data, apart from what is ignorable.
    Empty,
    Healthy,
    /// Whoever worked beside the app did not end in order: full checks are due.
    Dirty,
    /// The journal is open; `phase` says where.
    Interrupted {
        phase: Phase,
    },
    /// Set by whoever ran the checks.
    Corrupt(Vec<Finding>),
    /// Data, but no marker.
    Foreign,
    /// Set by whoever asked the repository.
    Stale,
    /// The marker belongs to another application.
    Mismatch {
        found: String,
        expected: String,
    },
}

impl State {
    /// The word in `status --json`: a stable interface.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Healthy => "healthy",
            Self::Dirty => "dirty",
            Self::Interrupted { .. } => "interrupted",
            Self::Corrupt(_) => "corrupt",
            Self::Foreign => "foreign",
            Self::Stale => "stale",
            Self::Mismatch { .. } => "mismatch",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    pub state: State,
    pub marker: Option<Marker>,
    /// With `Empty`: there was data here, and it has vanished. It is to be brought back, never started anew.
    pub lost: bool,
}

/// Whose data comes first, then whether a restore is under way (a half-cleared volume is not "empty"), and
/// only then what lies there.
pub(crate) fn inspect(places: &Places, identity: &str) -> Result<Inspection, VolumeError> {
    inspect_any(places, Some(identity))
}

/// The same; with `None` whoever the data belongs to is right.
pub(crate) fn inspect_any(places: &Places, identity: Option<&str>) -> Result<Inspection, VolumeError> {
    let data = data_at(places)?;
    let marker = marker::read(&places.marker())?;
    let mut lost = false;
    let state = match &marker {
        Some(Marker { identity: found, .. }) if identity.is_some_and(|expected| expected != found) => {
            let expected = identity.unwrap_or_default().to_owned();
            State::Mismatch { found: found.clone(), expected }
        }
        Some(Marker { phase, .. }) if *phase != Phase::Ready => State::Interrupted { phase: phase.clone() },
        Some(marker) => match data {
            Data::Some => if_clean(marker),
            Data::None if marker.had_data() => {
                lost = true;
                State::Empty
            }
            // Started empty, and still so; without its directory it is to be started again.
            Data::None => if_clean(marker),
            Data::NoDirectory => {
                lost = marker.had_data();
                State::Empty
            }
        },
        None if data == Data::Some => State::Foreign,
        None => State::Empty,
    };
    Ok(Inspection { state, marker, lost })
}

fn if_clean(marker: &Marker) -> State {
    if marker.clean { State::Healthy } else { State::Dirty }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    Some,
    None,
    NoDirectory,
}

/// Stops at the first entry that counts, so it costs the same for every volume.
pub(crate) fn data_at(places: &Places) -> Result<Data, VolumeError> {
    let path = &places.path;
    let Some(metadata) = metadata_if_present(path).map_err(VolumeError::io("look at", path))? else {
        let parent = places.parent();
        let missing = match places.layout {
            Layout::MountPoint => Some(path.as_path()),
            Layout::Subdirectory => {
                let found = metadata_if_present(parent).map_err(VolumeError::io("look at", parent))?;
                found.is_none().then_some(parent)
            }
        };
        return match missing {
            Some(missing) => Err(VolumeError::Missing { path: missing.to_owned() }),
            None => Ok(Data::NoDirectory),
        };
    };
    // Also for a link to a directory: the commit would replace the link and leave the data where it is.
    if !metadata.is_dir() {
        return Err(VolumeError::NotADirectory { path: path.clone() });
    }
    let found = first_entry(places).map_err(VolumeError::io("read the directory", path))?;
    Ok(if found { Data::Some } else { Data::None })
}

fn first_entry(places: &Places) -> io::Result<bool> {
    for entry in std::fs::read_dir(&places.path)? {
        let entry = entry?;
        if !places.ignores(&entry.file_name(), entry.file_type()?.is_dir()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The entries at the top of the volume that are data, sorted by name.
pub(crate) fn data_entries(places: &Places) -> io::Result<Vec<(PathBuf, Metadata)>> {
    let mut entries = entries(&places.path)?;
    entries.retain(|(path, metadata)| {
        !path.file_name().is_some_and(|name| places.ignores(name, metadata.is_dir()))
    });
    Ok(entries)
}

pub(crate) fn entries(directory: &Path) -> io::Result<Vec<(PathBuf, Metadata)>> {
    let mut entries = std::fs::read_dir(directory)?
        .map(|entry| entry.and_then(|entry| Ok((entry.path(), entry.metadata()?))))
        .collect::<io::Result<Vec<_>>>()?;
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(entries)
}
