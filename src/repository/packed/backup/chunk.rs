//! Cuts a large file into chunks: at places that its content chooses, so that an insertion moves few of them,
//! or at fixed ones for files that are written in place. Holes are never read.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use fastcdc::v2020::FastCDC;

use crate::repository::packed::descriptor::Chunker;
use crate::repository::packed::frame::LONGEST_FRAME;

/// FastCDC, the variant of 2020: half a MiB at least, one on average, eight at most.
pub const MIN: u32 = 512 << 10;
pub const AVERAGE: u32 = 1 << 20;
pub const MAX: u32 = LONGEST_FRAME;

/// Half a chunk beyond the longest: little memory, and no byte is moved more than twice.
const BUFFER: usize = MAX as usize / 2 * 3;

/// What `repository.json` records.
pub fn description() -> Chunker {
    Chunker { name: "fastcdc-2020".to_owned(), min: MIN, average: AVERAGE, max: MAX }
}

/// Calls `each` with every chunk of the runs `ranges` of `file`, in order; a chunk never spans two runs.
pub fn cut<E: From<io::Error>>(
    file: &mut File,
    ranges: &[(u64, u64)],
    fixed: bool,
    mut each: impl FnMut(u64, Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let mut buffer = Vec::new();
    for (offset, length) in ranges {
        file.seek(SeekFrom::Start(*offset))?;
        cut_run(Read::by_ref(file).take(*length), &mut buffer, fixed, |at, data| each(offset + at, data))?;
    }
    Ok(())
}

/// One run of data. The buffer holds more than the longest chunk, and what is left is moved to its front only
/// when less than that remains.
fn cut_run<E: From<io::Error>>(
    mut run: impl Read,
    buffer: &mut Vec<u8>,
    fixed: bool,
    mut each: impl FnMut(u64, Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    buffer.clear();
    let (mut start, mut at, mut ended) = (0, 0u64, false);
    loop {
        if !ended && buffer.len() - start < MAX as usize {
            buffer.drain(..start);
            start = 0;
            let room = (BUFFER - buffer.len()) as u64;
            ended = Read::by_ref(&mut run).take(room).read_to_end(buffer)? as u64 != room;
        }
        let rest = buffer.get(start..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        let length = match fixed {
            true => rest.len().min(AVERAGE as usize),
            false => FastCDC::new(rest, MIN as usize, AVERAGE as usize, MAX as usize).cut(0, rest.len()).1,
        };
        each(at, rest.get(..length).unwrap_or_default().to_vec())?;
        start += length;
        at += length as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastcdc::v2020::StreamCDC;
    use std::io::Write;

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 7u64;
        (0..length)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect()
    }

    #[test]
    fn cuts_are_those_of_the_library_and_lose_nothing() {
        for length in [0, 1, MIN as usize, (20 << 20) + 17, 40 << 20] {
            let mut content = noise(length);
            // A stretch without any natural cut.
            let flat = content.len() / 3..content.len() / 2;
            content[flat].fill(0);
            let expected: Vec<usize> =
                StreamCDC::new(&content[..], MIN as usize, AVERAGE as usize, MAX as usize)
                    .map(|chunk| chunk.unwrap().length)
                    .collect();
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&content).unwrap();
            let mut found = Vec::new();
            let mut joined = Vec::new();
            cut::<io::Error>(&mut file, &[(0, length as u64)], false, |at, data| {
                assert_eq!(at, joined.len() as u64);
                found.push(data.len());
                joined.extend(data);
                Ok(())
            })
            .unwrap();
            assert_eq!(found, expected);
            assert!(joined == content);
        }
    }

    #[test]
    fn fixed_chunks_stay_where_they_are() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&noise((9 << 20) + 5)).unwrap();
        let mut places = Vec::new();
        cut::<io::Error>(&mut file, &[(0, 3 << 20), (5 << 20, 100)], true, |at, data| {
            places.push((at, data.len()));
            Ok(())
        })
        .unwrap();
        let mib = 1 << 20;
        assert_eq!(places, [(0, mib), (1 << 20, mib), (2 << 20, mib), (5 << 20, 100)]);
    }
}
