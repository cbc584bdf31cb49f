//! What every repository must do, in git: in a directory, and on a real server over ssh and https.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod repository_support;

use repository_support::Home;
use repository_support::suite;

macro_rules! in_each_home {
    ($($test:ident)*) => {
        mod in_a_directory {
            in_each_home! { @all GitDirectory [] $($test)* }
        }
        mod over_ssh {
            in_each_home! { @all GitSsh [#[ignore = "needs a git server: tests/run"]] $($test)* }
        }
        mod over_https {
            in_each_home! { @all GitHttps [#[ignore = "needs a git server: tests/run"]] $($test)* }
        }
    };
    (@all $home:ident $attributes:tt $($test:ident)*) => {
        $(in_each_home! { @one $home $attributes $test })*
    };
    (@one $home:ident [$($attribute:tt)*] $test:ident) => {
        #[test]
        $($attribute)*
        fn $test() {
            super::suite::$test(super::Home::$home);
        }
    };
}

in_each_home! {
    a_tree_comes_back_as_it_was
    an_unchanged_tree_is_not_read_again
    changes_are_found_and_old_snapshots_stay_as_they_were
    exports_read_what_restores_write
    without_its_cache_a_backup_reads_but_stores_nothing_twice
    renamed_and_copied_content_is_not_stored_again
    after_a_restore_the_first_backup_reads_nothing
    an_interrupted_restore_is_resumed
    a_part_is_restored_with_the_way_to_it
    a_dry_run_stores_nothing
    a_writer_that_was_cut_off_commits_nothing
    a_guard_that_refuses_leaves_the_repository_as_it_was
    another_identity_is_refused
}
