//! What a snapshot is made of, as pure data: entries, their order, summaries, selection. Must not touch a
//! file system, a store or a clock.

pub mod entry;
pub mod path;
pub mod retention;
mod row;
pub mod selector;
pub mod summary;

pub use entry::{Attribute, Entry, Extent, Hole, Kind};
pub use path::{PathError, RelativePath};
pub use row::NamedEntry;
pub use summary::{CopiedFrom, SnapshotId, Summary};
