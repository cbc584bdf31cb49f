//! Any bytes as a snapshot file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use volkeep::repository::packed::fuzzing::{Reading, snapshot};

fuzz_target!(|bytes: &[u8]| assert_ne!(snapshot(bytes), Reading::Different));
