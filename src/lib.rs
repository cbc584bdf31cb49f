//! volkeep keeps a data volume: it brings the data back before the app starts, and backs it up. The library
//! holds everything but the process itself; `docs/working.md` tells which module may import which.

pub mod archive;
pub mod base;
pub mod cli;
pub mod config;
pub mod hook;
pub mod notice;
pub mod ops;
pub mod repository;
pub mod schedule;
pub mod sidecar;
pub mod snapshot;
pub mod step;
pub mod store;
pub mod tree;
pub mod volume;
