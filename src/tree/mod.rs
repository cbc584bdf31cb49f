//! Directory trees by handle: walking, reading and writing them with all their metadata. Nothing here leaves
//! the directory it was given, whatever the names or links in it. Must not know volumes or repositories.

mod apply;
pub mod attributes;
mod copy;
pub mod error;
pub mod excludes;
pub mod holes;
pub mod metadata;
pub mod problems;
mod remove;
pub mod root;
pub mod stat;
pub mod walk;
pub mod write;

pub use copy::copy;
pub use error::TreeError;
pub use excludes::{ExcludeError, Excludes};
pub use metadata::EntryReader;
pub use problems::{Aspect, Problems};
pub use root::Root;
pub use stat::{FileKind, Stat};
pub use walk::{Found, Problem, Walk, WalkOptions};
pub use write::{Cursor, FileSink, TreeWriter};

#[cfg(test)]
pub(crate) mod tests;
