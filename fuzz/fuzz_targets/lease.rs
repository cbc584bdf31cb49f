//! Any bytes as the newest lease, which somebody then takes over.
#![no_main]

use libfuzzer_sys::fuzz_target;
use volkeep::repository::packed::fuzzing::{Reading, lease};

fuzz_target!(|bytes: &[u8]| assert_ne!(lease(bytes), Reading::Different));
