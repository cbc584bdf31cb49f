//! Where things lie: which of the two layouts it is, the names inside the state directory, and what at the top
//! of the volume is not data. Looks at texts only, never at the disk.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use crate::volume::error::VolumeError;
use crate::volume::options::VolumeOptions;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The data directory can be renamed: it is replaced as a whole.
    Subdirectory,
    /// The data directory is where the volume is mounted: its entries are moved one by one.
    MountPoint,
}

#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) layout: Layout,
    pub(crate) path: PathBuf,
    pub(crate) state_dir: PathBuf,
    ignorable: Vec<OsString>,
}

impl Places {
    pub(crate) fn of(options: &VolumeOptions) -> Result<Self, VolumeError> {
        let path = checked("the volume", &options.path)?;
        let state_dir = checked("the state directory", &options.state_dir)?;
        if path == state_dir {
            return refuse(format!("{} cannot be both the volume and its state directory", path.display()));
        }
        if path.starts_with(&state_dir) {
            return refuse(format!(
                "the volume {} lies inside its state directory {}",
                path.display(),
                state_dir.display()
            ));
        }
        let layout = match state_dir.strip_prefix(&path) {
            Err(_) => Layout::Subdirectory,
            Ok(inside) if inside.components().count() == 1 => Layout::MountPoint,
            // Whatever else lay beside it in the directory between would be neither data nor ours.
            Ok(_) => {
                return refuse(format!(
                    "the state directory {} must lie directly in {} or outside it",
                    state_dir.display(),
                    path.display()
                ));
            }
        };
        Ok(Self { layout, path, state_dir, ignorable: options.ignorable.clone() })
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.state_dir.join("lock")
    }

    pub(crate) fn sidecar_lock(&self) -> PathBuf {
        self.state_dir.join("sidecar.lock")
    }

    pub(crate) fn backup_lock(&self) -> PathBuf {
        self.state_dir.join("backup.lock")
    }

    pub(crate) fn drill_lock(&self) -> PathBuf {
        self.state_dir.join("drill.lock")
    }

    pub(crate) fn drill(&self) -> PathBuf {
        self.state_dir.join("drill")
    }

    pub(crate) fn marker(&self) -> PathBuf {
        self.state_dir.join("marker.json")
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.state_dir.join("staging")
    }

    pub(crate) fn staging_tree(&self) -> PathBuf {
        self.staging().join("tree")
    }

    pub(crate) fn quarantine(&self) -> PathBuf {
        self.state_dir.join("quarantine")
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.state_dir.join("cache")
    }

    /// The directory that holds `path`. `checked` has refused `/`, so the fallback is never taken.
    pub(crate) fn parent(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// Whether the entry `name` at the top of the volume is neither data nor ever moved. Only directories are
    /// ignorable: a file called `lost+found` is somebody's data.
    pub(crate) fn ignores(&self, name: &OsStr, is_directory: bool) -> bool {
        self.layout == Layout::MountPoint
            && is_directory
            && (self.state_dir.file_name() == Some(name) || self.ignorable.iter().any(|other| other == name))
    }
}

fn checked(what: &str, path: &Path) -> Result<PathBuf, VolumeError> {
    if !path.is_absolute() {
        return refuse(format!("{what} `{}` is not an absolute path", path.display()));
    }
    // Collecting drops doubled and trailing slashes and `.`, so that equal places are equal texts.
    let clean: PathBuf = path.components().collect();
    if clean.components().any(|part| part == Component::ParentDir) {
        return refuse(format!("{what} `{}` must not contain `..`", path.display()));
    }
    if clean.parent().is_none() {
        return refuse(format!("{what} cannot be `/`"));
    }
    Ok(clean)
}

fn refuse<T>(text: String) -> Result<T, VolumeError> {
    Err(VolumeError::Options(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(path: &str, state_dir: &str) -> Option<Layout> {
        Places::of(&VolumeOptions::new(path, state_dir, "app")).ok().map(|places| places.layout)
    }

    #[test]
    fn the_layout_follows_from_the_two_paths() {
        assert_eq!(layout("/data", "/data/.volkeep"), Some(Layout::MountPoint));
        assert_eq!(layout("/data/", "/data//./.volkeep/"), Some(Layout::MountPoint));
        assert_eq!(layout("/volume/data", "/volume/.volkeep"), Some(Layout::Subdirectory));
        assert_eq!(layout("/data", "/data-state"), Some(Layout::Subdirectory));
    }

    #[test]
    fn what_could_not_work_is_refused() {
        for (path, state_dir) in [
            ("/data", "/data"),
            ("/state/data", "/state"),
            ("/data", "/data/a/b"),
            ("data", "/state"),
            ("/data", "state"),
            ("/a/../data", "/state"),
            ("/", "/state"),
        ] {
            assert_eq!(layout(path, state_dir), None, "{path} {state_dir}");
        }
    }

    #[test]
    fn only_directories_at_a_mount_point_are_ignorable() {
        let mount = Places::of(&VolumeOptions::new("/data", "/data/.volkeep", "app")).unwrap();
        assert!(mount.ignores(OsStr::new("lost+found"), true) && mount.ignores(OsStr::new(".volkeep"), true));
        assert!(!mount.ignores(OsStr::new("lost+found"), false) && !mount.ignores(OsStr::new("x"), true));
        let sub = Places::of(&VolumeOptions::new("/v/data", "/v/.volkeep", "app")).unwrap();
        assert!(!sub.ignores(OsStr::new("lost+found"), true));
    }
}
