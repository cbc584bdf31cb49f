//! Any bytes as a prune's note on packs that are worth emptying.
#![no_main]

use libfuzzer_sys::fuzz_target;
use volkeep::repository::packed::fuzzing::{Reading, mostly_dead};

fuzz_target!(|bytes: &[u8]| assert_ne!(mostly_dead(bytes), Reading::Different));
