//! Reads the content of a file to its hash, and stops when somebody wants it to. Knows nothing of why.

use std::io::{self, Read};

use crate::base::cancel::Cancel;
use crate::base::hash::Hash;

const BUFFER: usize = 256 << 10;

/// The hash of all that `reader` gives, and how many bytes that was; `None` when it was told to stop.
pub(super) fn hash_of(mut reader: impl Read, cancel: &Cancel) -> io::Result<Option<(Hash, u64)>> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0u8; BUFFER];
    let mut bytes = 0u64;
    while !cancel.is_cancelled() {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(Some((Hash::finish(&hasher), bytes))),
            Ok(count) => {
                hasher.update(buffer.get(..count).unwrap_or_default());
                bytes += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_is_read_unless_nobody_wants_that() {
        let bytes = vec![7u8; BUFFER + 3];
        let cancel = Cancel::new();
        assert_eq!(hash_of(bytes.as_slice(), &cancel).unwrap(), Some((Hash::of(&bytes), bytes.len() as u64)));
        cancel.cancel();
        assert_eq!(hash_of(bytes.as_slice(), &cancel).unwrap(), None);
    }
}
