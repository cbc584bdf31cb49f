//! Any bytes as a note on a pack that an interrupted backup uploaded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use volkeep::repository::packed::fuzzing::{Reading, uploaded_pack};

fuzz_target!(|bytes: &[u8]| assert_ne!(uploaded_pack(bytes), Reading::Different));
