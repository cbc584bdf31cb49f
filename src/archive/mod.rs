//! Plain tar archives, as they come from and go to other tools: unpacked into a tree without trusting a name
//! in them, and written so that GNU tar reads them. Must not know volumes or repositories.

mod decode;
pub mod error;
mod member;
mod name;
mod pax;
mod sparse;
pub mod unpack;
pub mod write;

pub use error::ArchiveError;
pub use unpack::{Limits, UnpackReport, unpack};
pub use write::{ArchiveWriter, Codec, WriteReport};

/// Of which headers and contents are made.
const BLOCK: usize = 512;

#[cfg(test)]
mod tests;
