//! Any bytes as `repository.json`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use volkeep::repository::packed::fuzzing::{Reading, descriptor};

fuzz_target!(|bytes: &[u8]| assert_ne!(descriptor(bytes), Reading::Different));
