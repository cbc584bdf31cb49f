//! What can be wrong with an archive, apart from the tree it is unpacked into. `Read` and `Write` may pass when
//! tried again; the others will not.

use std::io;

use thiserror::Error;

use crate::base::bytes_text::BytesText;
use crate::snapshot::{PathError, RelativePath};
use crate::tree::TreeError;

#[derive(Debug, Error)]
pub enum ArchiveError {
    #[error("this is not a tar archive, plain or compressed with gzip or zstd")]
    NotAnArchive,
    /// Whoever made or sent it stopped early; what was unpacked so far is not all.
    #[error("the archive is cut off after {position} bytes (decompressed)")]
    Truncated { position: u64 },
    #[error("the archive is damaged {position} bytes in (decompressed): {reason}")]
    Damaged { position: u64, reason: String },
    #[error("the archive's member {member:?} would lie outside the target: {source}")]
    Unsafe { member: BytesText, source: PathError },
    #[error("the archive's member {member:?} can not be unpacked: {reason}")]
    Unsupported { member: BytesText, reason: String },
    #[error("the archive holds more than {limit} {unit}, which is the limit")]
    TooLarge { limit: u64, unit: &'static str },
    #[error("cannot read the archive: {0}")]
    Read(io::Error),
    #[error("cannot write the archive: {0}")]
    Write(io::Error),
    #[error("cannot read the content of {path}: {source}")]
    Content { path: RelativePath, source: io::Error },
    #[error(transparent)]
    Tree(#[from] TreeError),
}
