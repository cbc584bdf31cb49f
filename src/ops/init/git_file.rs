//! A file out of a git repository, as a source of the step `fetch`: any repository and branch, read by the same means as
//! a repository of snapshots.

use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::clock::SystemClock;
use crate::repository::RepositoryError;
use crate::repository::git::{Git, GitOptions};
use crate::snapshot::RelativePath;
use crate::step::{Content, Opened, Source, SourceError};

/// What a file begins with whose content is elsewhere, by the specification of Git LFS.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

#[derive(Debug)]
pub struct GitFile {
    pub options: GitOptions,
    pub path: RelativePath,
}

impl Source for GitFile {
    fn place(&self) -> String {
        self.options.location()
    }

    fn identity(&self) -> String {
        format!("{} {}", self.options.location(), self.path)
    }

    fn open(&self, known: Option<&str>, limit: Duration, cancel: &Cancel) -> Result<Opened, SourceError> {
        let retry_deadline = self.options.retry_deadline.min(limit);
        let options = GitOptions { cancel: cancel.clone(), retry_deadline, ..self.options.clone() };
        let git = Git::new(options, Arc::new(SystemClock::default()));
        let tag = git.tip_name().map_err(sort)?;
        if known == Some(tag.as_str()) {
            return Ok(Opened::Same);
        }
        let other = |reason| SourceError::Other { reason, passing: false };
        let found = git.file_at_tip(&self.path, cancel).map_err(sort)?;
        let mut file =
            found.ok_or_else(|| other(format!("there is no file {} in {}", self.path, self.place())))?;
        let mut begin = Vec::with_capacity(POINTER.len());
        let read = file.by_ref().take(POINTER.len() as u64).read_to_end(&mut begin);
        let size = read.and_then(|_| file.seek(SeekFrom::Start(0))).and_then(|_| file.metadata());
        let size = size.map_err(|error| other(error.to_string()))?.len();
        if begin == POINTER {
            let reason =
                format!("{} in {} is a pointer of Git LFS, which is not followed", self.path, self.place());
            return Err(other(reason));
        }
        Ok(Opened::Content(Content { reader: Box::new(file), size: Some(size), tag: Some(tag) }))
    }
}

fn sort(error: RepositoryError) -> SourceError {
    match error {
        RepositoryError::Store(error) => error.into(),
        RepositoryError::Cancelled => SourceError::Stopped,
        error => SourceError::Other { passing: error.retryable(), reason: error.to_string() },
    }
}
