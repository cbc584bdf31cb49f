//! Any bytes as what the cache keeps of each entry's times.
#![no_main]

use libfuzzer_sys::fuzz_target;
use volkeep::repository::packed::fuzzing::{Reading, stat_rows};

fuzz_target!(|bytes: &[u8]| assert_ne!(stat_rows(bytes), Reading::Different));
