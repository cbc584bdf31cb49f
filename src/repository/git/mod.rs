//! The git repository: a commit a snapshot, on one branch of a bare repository in a directory or behind a git
//! server. `docs/format.md` describes what is stored.

mod message;
mod name;
mod object;
pub mod oid;
pub mod options;
mod pack;
pub mod wire;

pub use options::{GitOptions, HttpsOptions, Place, SshOptions};
