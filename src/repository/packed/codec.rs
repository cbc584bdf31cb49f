//! The codecs and the two ways to hide bytes in a compressed file that plain `zstd -dc` and `zcat` pass over.
//! Knows bytes only. Decoding never yields more than it is told to expect.

use std::io::{self, Read, Write};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How frames are compressed. Each frame decodes alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    #[default]
    Zstd,
    /// For places where only zlib is at hand: one gzip member a frame.
    Gzip,
    None,
}

/// A skippable frame, RFC 8878 §3.1.2: magic, length, content.
const ZSTD_SKIPPABLE: [u8; 4] = [0x50, 0x2a, 0x4d, 0x18];
/// An empty gzip member, RFC 1952 §2.3, up to its extra field: deflate, FEXTRA, no time, unknown system.
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255];
/// The subfield that holds our bytes.
const GZIP_SUBFIELD: [u8; 2] = *b"VK";
/// A final deflate block without content, then CRC and length of nothing.
const GZIP_TAIL: [u8; 10] = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// The extra field's length is 16 bits wide and counts the subfield's head of 4.
const GZIP_ROOM: usize = 65_535 - 4;

impl Codec {
    pub fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::None => "none",
        }
    }

    /// 1 for both: on the machines this runs on the level below the default costs a tenth of the size and
    /// halves the time.
    pub fn default_level(self) -> i32 {
        match self {
            Self::Zstd | Self::Gzip => 1,
            Self::None => 0,
        }
    }

    pub fn levels(self) -> std::ops::RangeInclusive<i32> {
        match self {
            Self::Zstd => 1..=19,
            Self::Gzip => 1..=9,
            Self::None => 0..=0,
        }
    }

    /// One self-contained frame. What does not shrink is stored: both formats have blocks for that.
    pub fn encode(self, level: i32, plain: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::None => Ok(plain.to_vec()),
            Self::Zstd => zstd::bulk::compress(plain, level),
            Self::Gzip => {
                let level = u32::try_from(level).unwrap_or(1);
                let packed = gzip(plain, level)?;
                if packed.len() < plain.len() {
                    return Ok(packed);
                }
                // Two results at once would be held for nothing.
                drop(packed);
                gzip(plain, 0)
            }
        }
    }

    /// For one frame whose content comes piece by piece. What does not shrink grows a little.
    pub(super) fn encoder(self, level: i32) -> io::Result<Encoder> {
        Ok(match self {
            Self::None => Encoder::None(Vec::new()),
            Self::Zstd => Encoder::Zstd(zstd::Encoder::new(Vec::new(), level)?),
            Self::Gzip => {
                let level = flate2::Compression::new(u32::try_from(level).unwrap_or(1));
                Encoder::Gzip(flate2::write::GzEncoder::new(Vec::new(), level))
            }
        })
    }

    /// The content of one frame, which must be exactly `length` bytes.
    pub fn decode(self, stored: &[u8], length: usize) -> io::Result<Vec<u8>> {
        let plain = match self {
            Self::None => stored.to_vec(),
            Self::Zstd => zstd::bulk::decompress(stored, length)?,
            Self::Gzip => {
                // A byte more than expected tells an overlong frame without decoding all of it.
                let mut plain = Vec::with_capacity(length.saturating_add(1));
                flate2::read::GzDecoder::new(stored).take(length as u64 + 1).read_to_end(&mut plain)?;
                plain
            }
        };
        if plain.len() == length {
            Ok(plain)
        } else {
            Err(invalid(format!("{} bytes where {length} were expected", plain.len())))
        }
    }

    /// `hidden` wrapped so that this codec's plain decoder yields nothing for it.
    pub fn hide(self, hidden: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(hidden.len() + 32);
        match self {
            Self::Zstd => {
                let length = u32::try_from(hidden.len()).map_err(|_| invalid("too much to hide"))?;
                bytes.extend(ZSTD_SKIPPABLE);
                bytes.extend(length.to_le_bytes());
                bytes.extend(hidden);
            }
            Self::Gzip => {
                let data = u16::try_from(hidden.len()).ok().filter(|n| usize::from(*n) <= GZIP_ROOM);
                let data = data.ok_or_else(|| invalid("too much to hide"))?;
                bytes.extend(GZIP_HEAD);
                bytes.extend((data + 4).to_le_bytes());
                bytes.extend(GZIP_SUBFIELD);
                bytes.extend(data.to_le_bytes());
                bytes.extend(hidden);
                bytes.extend(GZIP_TAIL);
            }
            Self::None => bytes.extend(hidden),
        }
        Ok(bytes)
    }

    /// How many bytes [`Codec::hide`] puts before and after what it hides.
    pub fn wrapping(self) -> (usize, usize) {
        match self {
            Self::Zstd => (8, 0),
            Self::Gzip => (GZIP_HEAD.len() + 6, GZIP_TAIL.len()),
            Self::None => (0, 0),
        }
    }

    /// The most that can be hidden.
    pub fn room(self) -> usize {
        match self {
            Self::Gzip => GZIP_ROOM,
            Self::Zstd | Self::None => 1 << 24,
        }
    }
}

/// One frame being made.
pub(super) enum Encoder {
    None(Vec<u8>),
    Zstd(zstd::Encoder<'static, Vec<u8>>),
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
}

impl Encoder {
    pub fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::None(bytes) => Ok(bytes),
            Self::Zstd(encoder) => encoder.finish(),
            Self::Gzip(encoder) => encoder.finish(),
        }
    }
}

impl Write for Encoder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(all) => all.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gzip(plain: &[u8], level: u32) -> io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(
        Vec::with_capacity(plain.len() / 2 + 64),
        flate2::Compression::new(level),
    );
    encoder.write_all(plain)?;
    encoder.finish()
}

fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Codec; 3] = [Codec::Zstd, Codec::Gzip, Codec::None];

    proptest! {
        #[test]
        fn frames_decode_to_what_was_encoded(plain in proptest::collection::vec(any::<u8>(), 0..4096)) {
            for codec in ALL {
                let stored = codec.encode(codec.default_level(), &plain).unwrap();
                prop_assert_eq!(&codec.decode(&stored, plain.len()).unwrap(), &plain);
                prop_assert!(codec.decode(&stored, plain.len() + 1).is_err());
                let mut encoder = codec.encoder(codec.default_level()).unwrap();
                plain.chunks(7).for_each(|piece| encoder.write_all(piece).unwrap());
                let stored = encoder.finish().unwrap();
                prop_assert_eq!(&codec.decode(&stored, plain.len()).unwrap(), &plain);
            }
        }

        #[test]
        fn damaged_frames_never_panic_nor_overrun(stored in proptest::collection::vec(any::<u8>(), 0..512), length in 0usize..2048) {
            for codec in ALL {
                if let Ok(plain) = codec.decode(&stored, length) {
                    prop_assert_eq!(plain.len(), length);
                }
            }
        }
    }

    #[test]
    fn what_does_not_shrink_is_stored() {
        let noise: Vec<u8> =
            (0..100_000u32).flat_map(|n| Hash::of(&n.to_le_bytes()).0.into_iter().take(1)).collect();
        for codec in ALL {
            let stored = codec.encode(codec.default_level(), &noise).unwrap();
            assert!(stored.len() < noise.len() + 128, "{codec:?}: {}", stored.len());
        }
    }

    #[test]
    fn hidden_bytes_lie_where_the_wrapping_says() {
        for codec in ALL {
            let wrapped = codec.hide(b"contents").unwrap();
            let (before, after) = codec.wrapping();
            assert_eq!(&wrapped[before..wrapped.len() - after], b"contents");
        }
        assert!(Codec::Gzip.hide(&vec![0; GZIP_ROOM + 1]).is_err());
    }

    use crate::base::hash::Hash;
}
