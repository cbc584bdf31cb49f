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

#[test]
fn a_volume_that_has_begun_empty_and_still_is_is_not_judged() {
    let mut lab = steps_support::begun();
    checks_support::check(&mut lab, "{exists: PG_VERSION, level: both}");
    // The app was stopped before it wrote anything.
    assert_eq!(lab.ok(&["init", "--json"]).json()["action"], "nothing");
    assert_eq!(lab.state(), "healthy");
    std::fs::write(lab.volume().join("other"), "x").unwrap();
    assert_eq!(lab.state(), "corrupt");
    lab.exits(16, &["init"]);
    // A volume that had data and has none any more is another matter.
    std::fs::write(lab.volume().join("PG_VERSION"), "17").unwrap();
    lab.ok(&["init"]);
    lab.ok(&["backup"]);
    lab.keep_reference();
    support::remove_all(&lab.volume());
    std::fs::create_dir(lab.volume()).unwrap();
    lab.ok(&["init"]);
    lab.assert_back();
}
