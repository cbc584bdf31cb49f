//! The git repository: a commit a snapshot, on one branch of a bare repository in a directory or behind a git
//! server. `docs/format.md` describes what is stored.

pub mod oid;
pub mod options;
pub mod wire;

pub use options::{GitOptions, HttpsOptions, Place, SshOptions};
