//! Out of a file of this machine: of the image, of a ConfigMap, of another volume.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::OFlags;

use crate::base::cancel::Cancel;
use crate::step::source::{Content, Opened, Source, SourceError};
use crate::tree::{FileKind, Stat};

#[derive(Debug)]
pub struct FileSource {
    pub path: PathBuf,
}

impl Source for FileSource {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn identity(&self) -> String {
        format!("file {}", self.path.display())
    }

    fn open(&self, known: Option<&str>, _: Duration, _: &Cancel) -> Result<Opened, SourceError> {
        let failed = |source| SourceError::File { path: self.path.clone(), source };
        // A pipe would be waited for until somebody writes into it.
        let waits_for_nobody = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let file =
            File::options().read(true).custom_flags(waits_for_nobody).open(&self.path).map_err(failed)?;
        let stat = Stat::of(&file).map_err(|error| failed(error.into()))?;
        if stat.kind != FileKind::File {
            return Err(failed(io::Error::other("it is no regular file")));
        }
        let time = stat.mtime;
        let tag = format!("{} {} {}.{}", stat.inode, stat.size, time.seconds, time.nanoseconds);
        match known == Some(tag.as_str()) {
            true => Ok(Opened::Same),
            false => {
                let content = Content { reader: Box::new(file), size: Some(stat.size), tag: Some(tag) };
                Ok(Opened::Content(content))
            }
        }
    }
}
