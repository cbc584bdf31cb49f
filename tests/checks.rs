//! What `init` makes of each kind of check: good data stays and nothing is done, damaged data comes back from the
//! snapshot, and what cannot be told is a warning. Databases and repositories are those of the real programs, whose own
//! verdict is asked beside ours.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod checks_support;
mod steps_support;
mod support;

#[path = "checks_support/files.rs"]
mod files;
#[path = "checks_support/git.rs"]
mod git;
#[path = "checks_support/http.rs"]
mod http;
#[path = "checks_support/postgres.rs"]
mod postgres;
