//! Small helpers that know nothing of volumes, repositories or snapshots: time, hashes, ids, file-system
//! and process primitives. Must not import any other module of the crate.

pub mod action;
pub mod budget;
pub mod bytes_text;
pub mod cancel;
pub mod clock;
pub mod dial;
pub mod environment;
pub mod fs;
pub mod hash;
pub mod http;
pub mod id;
pub mod large;
pub mod pause;
pub mod process;
pub mod progress;
pub mod sealed;
pub mod secret;
pub mod text;
pub mod threads;
pub mod timestamp;
pub mod units;
pub mod within;
