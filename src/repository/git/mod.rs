//! The git repository: a commit a snapshot, on one branch of a bare repository in a directory or behind a git
//! server. `docs/format.md` describes what is stored.

mod contents;
mod known;
mod layout;
mod message;
mod name;
mod object;
mod objects;
pub mod oid;
pub mod options;
mod pack;
mod sink;
pub mod wire;

pub use options::{GitOptions, HttpsOptions, Place, SshOptions};
