//! The laboratory for tests that drive the built binary: a volume and a repository in a temporary directory,
//! trees to fill it with, and comparisons by tools that are not ours.
#![allow(dead_code, unused_imports, reason = "no test file uses all of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod compare;
pub mod crash;
pub mod git;
mod http;
mod lab;
pub mod life;
pub mod manifests;
pub mod page;
pub mod person;
mod process;
pub mod proxy;
pub mod s3;
pub mod sidecar;
mod trees;
pub mod tunnel;

pub use compare::{copy, differences, listing, same, same_content};
pub use lab::{Home, Lab, Layout, PLAIN_USER, is_root, remove_all, report};
pub use process::{Outcome, run, run_until, shell, spawn_waiting_for, wrap};
pub use trees::{Random, few_entries, made_tree, odd_tree, random_bytes};
