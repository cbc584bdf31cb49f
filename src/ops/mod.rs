//! The operations: each takes options, makes a plan that is printed by a dry run, carries it out and returns a
//! report. Deciding is pure and apart from doing. Must not know the command line or the configuration file.

pub mod backup;
pub mod bring;
pub mod check;
pub mod compare;
pub mod copy;
pub mod error;
pub mod export;
pub mod health;
pub mod init;
<<<<<<< HEAD
pub mod lease;
=======
pub mod prune;
>>>>>>> ed0c9c2 (Add volkeep prune with its configuration)
pub mod reach;
pub mod restore;
pub mod scope;
pub mod status;
pub mod wait;

pub use error::OpsError;
pub use scope::Scope;
