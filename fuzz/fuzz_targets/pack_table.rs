//! Any bytes as a pack, and as the table of contents in one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use volkeep::repository::packed::fuzzing::{Reading, pack_table};

fuzz_target!(|bytes: &[u8]| assert_ne!(pack_table(bytes), Reading::Different));
