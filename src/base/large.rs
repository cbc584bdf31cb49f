//! Memory for large buffers, got from the system and given back to it at once. The general allocator keeps what it
//! was given back between smaller pieces: buffers of many MiB that come and go leave more behind than they hold.

use std::io;
use std::ops::Deref;

use bytes::Bytes;
use memmap2::MmapMut;

/// A buffer that grows at its end.
#[derive(Debug)]
pub struct LargeBuffer {
    map: MmapMut,
    length: usize,
}

impl LargeBuffer {
    /// With room for `capacity` bytes. What is not written to takes no memory.
    pub fn new(capacity: usize) -> io::Result<Self> {
        Ok(Self { map: MmapMut::map_anon(capacity.max(1))?, length: 0 })
    }

    /// Beyond its capacity the buffer moves to a larger one.
    pub fn extend(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = self.length.checked_add(bytes.len()).ok_or(io::ErrorKind::OutOfMemory)?;
        if length > self.map.len() {
            let mut larger = Self::new(length.max(self.map.len().saturating_mul(2)))?;
            larger.extend(self)?;
            self.map = larger.map;
        }
        if let Some(room) = self.map.get_mut(self.length..length) {
            room.copy_from_slice(bytes);
        }
        self.length = length;
        Ok(())
    }
}

impl Deref for LargeBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.get(..self.length).unwrap_or_default()
    }
}

impl AsRef<[u8]> for LargeBuffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl io::Write for LargeBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Shares the memory; it goes back when the last who has it lets go.
impl From<LargeBuffer> for Bytes {
    fn from(buffer: LargeBuffer) -> Self {
        Self::from_owner(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_comes_out() {
        let mut buffer = LargeBuffer::new(0).unwrap();
        assert!(buffer.is_empty() && Bytes::from(LargeBuffer::new(7).unwrap()).is_empty());
        let mut expected = Vec::new();
        for number in 0..100u8 {
            let piece = vec![number; usize::from(number) * 100];
            buffer.extend(&piece).unwrap();
            expected.extend(piece);
        }
        assert_eq!(buffer.len(), expected.len());
        assert_eq!(Bytes::from(buffer), expected);
    }
}
