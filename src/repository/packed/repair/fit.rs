//! Frames of an exact length: a pack that is made again must have each frame where the manifests say. Knows codecs and
//! bytes only.

use std::io;

use crate::repository::packed::codec::Codec;

/// `plain` as one frame of exactly `stored` bytes. What another level or another version of the compressor makes too
/// short is filled up with what decodes to nothing. `None`: there is no such frame.
pub fn encode(codec: Codec, level: i32, plain: &[u8], stored: usize) -> io::Result<Option<Vec<u8>>> {
    let others = codec.levels().filter(|other| *other != level);
    for level in std::iter::once(level).chain(others) {
        let mut frame = codec.encode(level, plain)?;
        let Some(missing) = stored.checked_sub(frame.len()) else { continue };
        if missing > 0 {
            match filler(codec, missing) {
                // Zeros behind it would be content.
                Some(filler) if codec != Codec::None => frame.extend(filler),
                _ => continue,
            }
        }
        // Whoever reads it must get the same; a codec that fails this has no frame of that length.
        if codec.decode(&frame, plain.len()).is_ok_and(|decoded| decoded == plain) {
            return Ok(Some(frame));
        }
    }
    Ok(None)
}

/// The shortest that there is, and the longest that one gzip member holds in a name. More takes several.
const SHORTEST_SKIPPABLE: usize = 8;
const SHORTEST_MEMBER: usize = 20;
const LONGEST_MEMBER: usize = 32 << 10;

/// So many bytes that the codec's plain decoder yields nothing for; for no codec, zeros.
pub fn filler(codec: Codec, length: usize) -> Option<Vec<u8>> {
    match codec {
        Codec::None => Some(vec![0; length]),
        Codec::Zstd => {
            // RFC 8878 §3.1.2: magic, length, content.
            let mut bytes = vec![0x50, 0x2a, 0x4d, 0x18];
            let content = length.checked_sub(SHORTEST_SKIPPABLE)?;
            bytes.extend(u32::try_from(content).ok()?.to_le_bytes());
            bytes.resize(length, 0);
            Some(bytes)
        }
        Codec::Gzip => {
            let mut bytes = Vec::with_capacity(length);
            while bytes.len() < length {
                let left = length - bytes.len();
                // The rest must not be too short for a member of its own.
                let size = match left {
                    left if left <= LONGEST_MEMBER => left,
                    left => LONGEST_MEMBER.min(left - SHORTEST_MEMBER),
                };
                bytes.extend(empty_member(size)?);
            }
            Some(bytes)
        }
    }
}

/// RFC 1952 §2.3: a member without content, as long as the name in it makes it.
fn empty_member(length: usize) -> Option<Vec<u8>> {
    let name = length.checked_sub(SHORTEST_MEMBER)?;
    let flags = if name > 0 { 8 } else { 0 };
    let mut bytes = vec![0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 255];
    if let Some(letters) = name.checked_sub(1) {
        bytes.resize(bytes.len() + letters, b'-');
        bytes.push(0);
    }
    // A final block without content, then the checksum and the length of nothing.
    bytes.extend([3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    const ALL: [Codec; 3] = [Codec::Zstd, Codec::Gzip, Codec::None];

    fn text() -> Vec<u8> {
        (0..20_000u32)
            .flat_map(|n| format!("{} {}\n", n, n.wrapping_mul(2_654_435_761)).into_bytes())
            .collect()
    }

    #[test]
    fn another_level_is_found_and_what_is_too_short_is_filled_up() {
        let plain = text();
        for codec in ALL {
            let shortest =
                codec.levels().map(|level| codec.encode(level, &plain).unwrap().len()).min().unwrap();
            for level in codec.levels().take(3) {
                let stored = codec.encode(level, &plain).unwrap().len();
                let again = encode(codec, codec.default_level(), &plain, stored).unwrap().unwrap();
                assert_eq!(again.len(), stored);
                assert_eq!(codec.decode(&again, plain.len()).unwrap(), plain);
            }
            let filled = encode(codec, codec.default_level(), &plain, shortest + 100_000).unwrap();
            match codec {
                Codec::None => assert!(filled.is_none()),
                _ => assert_eq!(codec.decode(&filled.unwrap(), plain.len()).unwrap(), plain),
            }
            assert!(encode(codec, codec.default_level(), &plain, shortest / 2).unwrap().is_none());
        }
    }

    #[test]
    fn filler_is_as_long_as_asked_and_plain_tools_pass_over_it() {
        for (codec, shortest, tool) in
            [(Codec::Zstd, 8, ["zstd", "-dcq"]), (Codec::Gzip, 20, ["gzip", "-dc"])]
        {
            assert!(filler(codec, shortest - 1).is_none());
            for length in [shortest, shortest + 1, 1000, 40_000, 100_000, (32 << 10) + 1, (32 << 10) + 20] {
                let bytes = filler(codec, length).unwrap();
                assert_eq!(bytes.len(), length);
                assert_eq!(codec.decode(&bytes, 0).unwrap(), b"", "{codec:?} {length}");
                let mut all = codec.encode(1, b"before").unwrap();
                all.extend(bytes);
                all.extend(codec.encode(1, b" and behind").unwrap());
                let mut child = Command::new(tool[0])
                    .arg(tool[1])
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap();
                child.stdin.take().unwrap().write_all(&all).unwrap();
                let output = child.wait_with_output().unwrap();
                assert!(output.status.success());
                assert_eq!(output.stdout, b"before and behind", "{codec:?} {length}");
            }
        }
    }
}
