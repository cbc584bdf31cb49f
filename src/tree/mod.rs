//! Directory trees by handle: walking, reading and writing them with all their metadata. Nothing here leaves
//! the directory it was given, whatever the names or links in it. Must not know volumes or repositories.

pub mod error;
pub mod excludes;
pub mod root;
pub mod stat;
pub mod walk;

pub use error::TreeError;
pub use excludes::{ExcludeError, Excludes};
pub use root::Root;
pub use stat::{FileKind, Stat};
pub use walk::{Found, Problem, Walk, WalkOptions};
