//! What is remembered of what was fetched: enough to ask whether it has changed. It is of use as long as the data on
//! the volume is the same; when it is lost, everything is fetched once more.

use std::io;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::base::fs::{read_if_present, write_atomic};
use crate::base::hash::Hash;
use crate::base::sealed;
use crate::snapshot::RelativePath;
use crate::tree::Stat;

const FORMAT: u64 = 1;

/// What was fetched to one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Remembered {
    /// The data that it belongs to.
    data: String,
    /// From where: a hash, since an address may hold a secret.
    source: String,
    /// Of the bytes that came.
    pub(super) sha256: String,
    pub(super) tag: Option<String>,
    /// The file as it was put into its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) placed: Option<Placed>,
}

/// What tells whether somebody has touched a file since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Placed {
    inode: u64,
    size: u64,
    changed: (i64, u32),
}

/// Of one place.
#[derive(Debug)]
pub(super) struct Memory {
    file: PathBuf,
    data: String,
    source: String,
}

impl Placed {
    /// A change of content, mode or owner changes the time; so does another file in its place.
    pub(super) fn of(stat: &Stat) -> Self {
        let changed = (stat.ctime.seconds, stat.ctime.nanoseconds);
        Self { inode: stat.inode, size: stat.size, changed }
    }
}

impl Memory {
    pub(super) fn new(directory: &Path, data: &str, to: &RelativePath, source: &str) -> Self {
        let file = directory.join(format!("{}.json", short(to.as_bytes())));
        Self { file, data: data.to_owned(), source: Hash::of(source.as_bytes()).to_hex() }
    }

    /// Where a tree can grow until it is whole.
    pub(super) fn workshop(&self) -> PathBuf {
        self.file.with_extension("new")
    }

    pub(super) fn recall(&self) -> Option<Remembered> {
        let bytes = read_if_present(&self.file).ok().flatten()?;
        let remembered: Remembered = sealed::open(&bytes, FORMAT).ok()?;
        (remembered.data == self.data && remembered.source == self.source).then_some(remembered)
    }

    /// Not being able to costs the next run a download, and nothing else.
    pub(super) fn keep(&self, sha256: String, tag: Option<String>, placed: Option<Placed>) {
        let (data, source) = (self.data.clone(), self.source.clone());
        let remembered = Remembered { data, source, sha256, tag, placed };
        if self.recall().as_ref() == Some(&remembered) {
            return;
        }
        if let Err(error) = self.write(&remembered) {
            tracing::debug!(%error, path = %self.file.display(), "what was fetched is not remembered");
        }
    }

    fn write(&self, remembered: &Remembered) -> io::Result<()> {
        if let Some(directory) = self.file.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let bytes = sealed::seal(remembered, FORMAT).map_err(io::Error::other)?;
        write_atomic(&self.file, &bytes, 0o600)
    }
}

/// As checksums are written.
pub(super) fn hex(digest: &[u8]) -> String {
    HEXLOWER.encode(digest)
}

fn short(bytes: &[u8]) -> String {
    let hash = Hash::of(bytes).to_hex();
    hash.get(..16).unwrap_or_default().to_owned()
}
