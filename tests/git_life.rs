//! The life of a volume whose repository is in git: what `tests/life.rs` shows, and what git and people with git see of
//! it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod support;

use support::life;
use support::{Home, Layout};

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
            super::$test(super::Home::$home);
        }
    };
}

in_each_home! {
    every_odd_thing_comes_back_in_a_subdirectory
    every_odd_thing_comes_back_in_a_mount_point
    a_second_init_changes_nothing
    the_first_backup_after_a_restore_reads_no_file
    an_unchanged_volume_is_backed_up_without_reading_a_file
    a_volume_that_was_overtaken_says_so
    two_inits_at_once_both_end_well
    init_beside_a_backup_ends_well
}

fn every_odd_thing_comes_back_in_a_subdirectory(home: Home) {
    life::every_odd_thing_comes_back(home, Layout::Subdirectory);
}

fn every_odd_thing_comes_back_in_a_mount_point(home: Home) {
    life::every_odd_thing_comes_back(home, Layout::MountPoint);
}

fn a_second_init_changes_nothing(home: Home) {
    life::a_second_init_changes_nothing(home);
}

fn the_first_backup_after_a_restore_reads_no_file(home: Home) {
    life::the_first_backup_after_a_restore_reads_no_file(home);
}

fn an_unchanged_volume_is_backed_up_without_reading_a_file(home: Home) {
    life::an_unchanged_volume_is_backed_up_without_reading_a_file(home);
}

fn a_volume_that_was_overtaken_says_so(home: Home) {
    life::a_volume_that_was_overtaken_says_so(home);
}

fn two_inits_at_once_both_end_well(home: Home) {
    life::two_inits_at_once_both_end_well(home);
}

fn init_beside_a_backup_ends_well(home: Home) {
    life::init_beside_a_backup_ends_well(home);
}
