//! Any bytes as the lines of a segment.
#![no_main]

use libfuzzer_sys::fuzz_target;
use volkeep::repository::packed::fuzzing::{Reading, segment};

fuzz_target!(|bytes: &[u8]| assert_ne!(segment(bytes), Reading::Different));
