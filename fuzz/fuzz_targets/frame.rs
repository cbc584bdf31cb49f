//! Any bytes as a stored frame, with each codec.
#![no_main]

use libfuzzer_sys::fuzz_target;
use volkeep::repository::packed::fuzzing::{Reading, frame};

fuzz_target!(|bytes: &[u8]| assert_ne!(frame(bytes), Reading::Different));
