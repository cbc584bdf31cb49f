//! Any bytes as a volume's marker and as the note in a quarantine, as they are and with their checksum put right:
//! what was read must survive being written again, or the next run finds a damaged marker.
#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use volkeep::base::sealed;
use volkeep::volume::{Marker, Note};

const FORMAT: u64 = 1;

fuzz_target!(|bytes: &[u8]| {
    let resealed = serde_json::from_slice::<Map<String, Value>>(bytes)
        .ok()
        .and_then(|fields| sealed::seal(&fields, FORMAT).ok());
    for bytes in [Some(bytes), resealed.as_deref()].into_iter().flatten() {
        if let Some(marker) = survives::<Marker>(bytes) {
            let _ = (marker.knew_at(), marker.had_data(), marker.phase.target(), marker.knows("s"));
        }
        survives::<Note>(bytes);
    }
});

fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let document: T = sealed::open(bytes, FORMAT).ok()?;
    let written = sealed::seal(&document, FORMAT).expect("what was read can be written");
    let again: T = sealed::open(&written, FORMAT).expect("what was written can be read");
    assert_eq!(document, again);
    Some(document)
}
