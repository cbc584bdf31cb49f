//! The operations: each takes options, makes a plan that is printed by a dry run, carries it out and returns a
//! report. Deciding is pure and apart from doing. Must not know the command line or the configuration file.

pub mod backup;
pub mod bring;
pub mod check;
pub mod compare;
mod content;
pub mod copy;
pub mod drill;
pub mod error;
pub mod export;
pub mod health;
pub mod init;
pub mod lease;
pub mod prune;
pub mod reach;
pub mod repair;
pub mod restore;
pub mod scope;
pub mod scrub;
pub mod status;
pub mod wait;

pub use error::OpsError;
pub use scope::Scope;
