//! JSON documents that notice damage: every small file that decisions rest on (marker, repository.json,
//! leases) carries the BLAKE3 of itself. Fields a reader does not know are covered as well.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::base::hash::Hash;

const SEAL: &str = "checksum";

#[derive(Debug, Error)]
pub enum SealError {
    #[error("it is empty")]
    Empty,
    #[error("it is not whole JSON ({0})")]
    Syntax(serde_json::Error),
    #[error("its checksum does not match its content")]
    Checksum,
    #[error("it was written by a newer version (format {found}, this program reads up to {known})")]
    Newer { found: u64, known: u64 },
    #[error("its fields are not those of its format ({0})")]
    Fields(serde_json::Error),
    #[error("it cannot be written as JSON ({0})")]
    Write(serde_json::Error),
}

/// `document` as a JSON object with `format` and the checksum added, ending in a newline.
pub fn seal<T: Serialize>(document: &T, format: u64) -> Result<Vec<u8>, SealError> {
    let mut fields = match serde_json::to_value(document).map_err(SealError::Write)? {
        Value::Object(fields) => fields,
        other => Map::from_iter([("value".to_owned(), other)]),
    };
    fields.insert("format".to_owned(), Value::from(format));
    fields.remove(SEAL);
    let checksum = checksum(&fields)?;
    fields.insert(SEAL.to_owned(), Value::from(checksum));
    let mut bytes = serde_json::to_vec_pretty(&fields).map_err(SealError::Write)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The document in `bytes`, if it is whole and of a format up to `known`.
pub fn open<T: DeserializeOwned>(bytes: &[u8], known: u64) -> Result<T, SealError> {
    if bytes.iter().all(|byte| byte.is_ascii_whitespace() || *byte == 0) {
        return Err(SealError::Empty);
    }
    let mut fields: Map<String, Value> = serde_json::from_slice(bytes).map_err(SealError::Syntax)?;
    let found = fields.remove(SEAL);
    if found.as_ref().and_then(Value::as_str) != Some(checksum(&fields)?.as_str()) {
        return Err(SealError::Checksum);
    }
    match fields.remove("format").as_ref().and_then(Value::as_u64) {
        Some(format) if format > known => return Err(SealError::Newer { found: format, known }),
        _ => {}
    }
    serde_json::from_value(Value::Object(fields)).map_err(SealError::Fields)
}

/// `serde_json` keeps object keys sorted, so the compact form is canonical; with its feature `float_roundtrip` it
/// also reads every number as it was written.
fn checksum(fields: &Map<String, Value>) -> Result<String, SealError> {
    Ok(Hash::of(&serde_json::to_vec(fields).map_err(SealError::Write)?).to_hex())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Note {
        text: String,
        number: u64,
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let note = Note { text: "kept".into(), number: 7 };
        let bytes = seal(&note, 1).unwrap();
        assert_eq!(open::<Note>(&bytes, 1).unwrap(), note);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                // A bit may turn white space into other white space: then the document is still the same.
                if let Ok(read) = open::<Note>(&damaged, 1) {
                    assert_eq!(read, note);
                }
            }
            if at + 1 < bytes.len() {
                assert!(open::<Note>(&bytes[..at], 1).is_err());
            }
        }
    }

    /// A later version may add a field of any kind, and what this one does not know is read and written again.
    #[test]
    fn numbers_with_a_fraction_keep_their_checksum() {
        for number in 1..10_000u32 {
            let value = (f64::from(number) * 0.123_456_789).exp() / 3.0;
            let bytes = seal(&serde_json::json!({ "later": value }), 1).unwrap();
            let read: Map<String, Value> = open(&bytes, 1).unwrap();
            assert_eq!(read.get("later"), Some(&Value::from(value)));
        }
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let bytes = seal(&Note { text: String::new(), number: 0 }, 9).unwrap();
        assert!(matches!(open::<Note>(&bytes, 1), Err(SealError::Newer { found: 9, known: 1 })));
    }
}
