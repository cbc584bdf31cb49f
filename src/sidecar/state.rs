//! The records of the jobs on the volume: one sealed file each below the state directory, so that one that is
//! damaged costs no other. Must not know what a run does.

use std::io;
use std::path::{Path, PathBuf};

use crate::base::fs::{read_if_present, write_atomic};
use crate::base::sealed;
use crate::sidecar::record::Record;

const FORMAT: u64 = 1;
const MODE: u32 = 0o660;
const DIRECTORY: &str = "jobs";

/// The record of what init did is kept beside those of the jobs; no job can have this name.
pub const INIT: &str = "init";

#[derive(Clone, Debug)]
pub struct States {
    directory: PathBuf,
}

impl States {
    pub fn below(state_dir: &Path) -> Self {
        Self { directory: state_dir.join(DIRECTORY) }
    }

    /// What is damaged counts as nothing, and says so in the log: a job that runs once too often is better than a
    /// sidecar that does not start.
    pub fn load(&self, job: &str) -> io::Result<Record> {
        let path = self.path(job);
        let Some(bytes) = read_if_present(&path)? else { return Ok(Record::default()) };
        Ok(sealed::open(&bytes, FORMAT).unwrap_or_else(|error| {
            tracing::warn!(job, %error, path = %path.display(), "the state of this job is lost; it begins anew");
            Record::default()
        }))
    }

    /// Durable when it returns.
    pub fn save(&self, job: &str, record: &Record) -> io::Result<()> {
        make_directory(&self.directory)?;
        let bytes = sealed::seal(record, FORMAT).map_err(io::Error::other)?;
        write_atomic(&self.path(job), &bytes, MODE)
    }

    /// Names of jobs are checked by the configuration: they hold no slash.
    fn path(&self, job: &str) -> PathBuf {
        self.directory.join(format!("{job}.json"))
    }
}

/// As open to others as the directory that it is in.
fn make_directory(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        other => other?,
    }
    if let Some(parent) = path.parent() {
        std::fs::set_permissions(path, std::fs::metadata(parent)?.permissions())?;
        crate::base::fs::sync_dir(parent)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::timestamp::Timestamp;
    use crate::schedule;

    #[test]
    fn records_come_back_and_damage_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let states = States::below(dir.path());
        assert_eq!(states.load("backup").unwrap(), Record::default());
        let timing =
            schedule::Record { schedule: "UTC @daily".into(), settled: Timestamp::new(1_795_217_400, 0) };
        let record = Record { timing: Some(timing), runs: 3, ..Record::default() };
        states.save("backup", &record).unwrap();
        assert_eq!(states.load("backup").unwrap(), record);
        assert_eq!(states.load("prune").unwrap(), Record::default());
        std::fs::write(dir.path().join("jobs/backup.json"), b"{\"runs\": 4").unwrap();
        assert_eq!(states.load("backup").unwrap(), Record::default());
    }
}
