//! Any bytes as a manifest entry: an error or an entry that survives being written and read again, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use volkeep::snapshot::Entry;

fuzz_target!(|bytes: &[u8]| {
    let Ok(entry) = serde_json::from_slice::<Entry>(bytes) else { return };
    let written = serde_json::to_vec(&entry).expect("an entry that was read can be written");
    let again: Entry = serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(entry, again);
});
