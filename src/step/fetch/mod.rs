//! Brings a file, or what is in an archive, from elsewhere onto the volume: whole or not at all, only when it has
//! changed, and checked if there is a checksum. Must not know what sources there are, or where the volume keeps what
//! was replaced.

mod arriving;
#[cfg(feature = "s3")]
mod bucket;
mod file;
mod http;
mod memory;
mod one_file;
mod same;
mod tree;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::fs::free_space;
use crate::snapshot::RelativePath;
use crate::step::error::{FetchError, Trouble};
use crate::step::perform::{Means, Outcome};
use crate::step::source::{Content, Opened, Source};

use arriving::Arriving;
#[cfg(feature = "s3")]
pub use bucket::BucketSource;
pub use file::FileSource;
pub use http::HttpSource;
use memory::{Memory, Remembered};

/// What a file system needs besides the data.
const SPARE_BYTES: u64 = 4 << 20;

#[derive(Clone, Debug)]
pub struct Fetch {
    pub source: Arc<dyn Source>,
    /// Below the volume.
    pub to: RelativePath,
    pub form: Form,
    /// Of what comes from the source, in hex digits.
    pub sha256: Option<String>,
    /// In bytes, of what comes from the source; of what an archive becomes as well.
    pub largest: u64,
    /// As `base::process::user` understands it; `None`: as we are, or as the archive says.
    pub owner: Option<String>,
    /// Whether what is there will do as long as the source does not answer.
    pub keep: bool,
}

#[derive(Clone, Debug)]
pub enum Form {
    File {
        mode: u32,
    },
    /// What is in an archive; `from`: the directory in it that is taken.
    Tree {
        from: RelativePath,
    },
}

/// What is at the place already.
enum Present {
    Nothing,
    /// With the checksum of what it was made of, if that is known for certain. Mode and owner are right then.
    Something(Option<String>),
}

impl Present {
    fn sha256(&self) -> Option<&String> {
        match self {
            Self::Something(sha256) => sha256.as_ref(),
            Self::Nothing => None,
        }
    }
}

impl Fetch {
    /// Whether nothing is to be done, and why. Asks the source if it has to, and changes nothing.
    pub(super) fn is_settled(&self, limit: Duration, means: &Means<'_>) -> Result<Option<Outcome>, Trouble> {
        let memory = self.memory(means);
        let remembered = memory.recall();
        let present = self.look(remembered.as_ref(), means.volume)?;
        if self.is_as_wanted(&present) {
            return Ok(Some(Outcome::Unchanged));
        }
        // Where nothing is known that could have changed, all of it would come.
        if self.known(&present, remembered.as_ref()).is_none() {
            return Ok(None);
        }
        match self.ask(&present, remembered.as_ref(), limit, means)? {
            Asked::Settled(outcome) => Ok(Some(outcome)),
            Asked::Comes(_) => Ok(None),
        }
    }

    pub(super) fn bring(&self, limit: Duration, means: &Means<'_>) -> Result<Outcome, Trouble> {
        let started = Instant::now();
        let memory = self.memory(means);
        let remembered = memory.recall();
        let present = self.look(remembered.as_ref(), means.volume)?;
        let content = match self.ask(&present, remembered.as_ref(), limit, means)? {
            Asked::Settled(outcome) => return Ok(outcome),
            Asked::Comes(content) => content,
        };
        self.check_size(&content, means.volume)?;
        let tag = content.tag.clone();
        let clock = (started, limit);
        let arriving = Arriving::new(content, self.source.place(), self.largest, clock, means.cancel);
        let trouble = arriving.trouble();
        let brought = match &self.form {
            Form::File { mode } => one_file::bring(self, *mode, arriving, means.volume),
            Form::Tree { from } => tree::bring(self, from, arriving, &memory, means),
        };
        let brought = brought.map_err(|error| match trouble.take() {
            Some(first) => first.into(),
            None => error,
        })?;
        memory.keep(brought.sha256, tag, brought.placed);
        Ok(if brought.changed { Outcome::Done } else { Outcome::Unchanged })
    }

    fn memory(&self, means: &Means<'_>) -> Memory {
        let form = match &self.form {
            Form::File { .. } => "file".to_owned(),
            Form::Tree { from } => format!("tree {from}"),
        };
        let source = format!("{form} {}", self.source.identity());
        Memory::new(&means.memory, &means.data, &self.to, &source)
    }

    fn look(&self, remembered: Option<&Remembered>, volume: &Path) -> Result<Present, Trouble> {
        match &self.form {
            Form::File { mode } => one_file::look(self, *mode, remembered, volume),
            Form::Tree { .. } => tree::look(self, remembered, volume),
        }
    }

    /// By its checksum.
    fn is_as_wanted(&self, present: &Present) -> bool {
        present.sha256().is_some() && present.sha256() == self.sha256.as_ref()
    }

    /// What the source can be asked by whether it has something else.
    fn known<'r>(&self, present: &Present, remembered: Option<&'r Remembered>) -> Option<&'r str> {
        let remembered = remembered.filter(|remembered| Some(&remembered.sha256) == present.sha256())?;
        // What is there, and is not what is wanted, is of no use.
        remembered.tag.as_deref().filter(|_| self.sha256.is_none())
    }

    fn ask(
        &self,
        present: &Present,
        remembered: Option<&Remembered>,
        limit: Duration,
        means: &Means<'_>,
    ) -> Result<Asked, Trouble> {
        if self.is_as_wanted(present) {
            return Ok(Asked::Settled(Outcome::Unchanged));
        }
        match self.source.open(self.known(present, remembered), limit, means.cancel) {
            Ok(Opened::Same) => Ok(Asked::Settled(Outcome::Unchanged)),
            Ok(Opened::Content(content)) => Ok(Asked::Comes(content)),
            Err(error) if error.is_unreachable() && self.keep && !matches!(present, Present::Nothing) => {
                tracing::warn!(%error, to = %self.to, "going on with what is there");
                Ok(Asked::Settled(Outcome::Kept))
            }
            Err(error) => Err(FetchError::from(error).into()),
        }
    }

    /// Refuses before anything is written what is known to be too much.
    fn check_size(&self, content: &Content, volume: &Path) -> Result<(), Trouble> {
        let Some(size) = content.size else { return Ok(()) };
        let place = self.source.place();
        if size > self.largest {
            return Err(FetchError::TooLarge { place, limit: self.largest }.into());
        }
        let free =
            free_space(volume).map_err(|source| FetchError::Space { path: volume.to_owned(), source })?;
        match free.bytes < size.saturating_add(SPARE_BYTES) {
            true => Err(FetchError::NoSpace { place, size, free: free.bytes }.into()),
            false => Ok(()),
        }
    }

    /// Whether what came is what was to come.
    fn verify(&self, found: &str) -> Result<(), Trouble> {
        match &self.sha256 {
            Some(expected) if expected != found => Err(FetchError::Checksum {
                place: self.source.place(),
                expected: expected.clone(),
                found: found.to_owned(),
            }
            .into()),
            _ => Ok(()),
        }
    }
}

enum Asked {
    Settled(Outcome),
    Comes(Content),
}

/// What is at the place now.
struct Brought {
    changed: bool,
    sha256: String,
    placed: Option<memory::Placed>,
}
