//! Cuts a large file into chunks: at places that its content chooses, so that an insertion moves few of them,
//! or at fixed ones for files that are written in place. Holes are never read.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use fastcdc::v2020::StreamCDC;

use crate::repository::packed::descriptor::Chunker;
use crate::repository::packed::frame::LONGEST_FRAME;

/// FastCDC, the variant of 2020: half a MiB at least, one on average, eight at most.
pub const MIN: u32 = 512 << 10;
pub const AVERAGE: u32 = 1 << 20;
pub const MAX: u32 = LONGEST_FRAME;

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
    for (offset, length) in ranges {
        file.seek(SeekFrom::Start(*offset))?;
        let mut run = Read::by_ref(file).take(*length);
        let mut at = *offset;
        if fixed {
            loop {
                let mut data = Vec::new();
                Read::by_ref(&mut run).take(u64::from(AVERAGE)).read_to_end(&mut data)?;
                if data.is_empty() {
                    break;
                }
                let next = at + data.len() as u64;
                each(at, data)?;
                at = next;
            }
        } else {
            for chunk in StreamCDC::new(&mut run, MIN as usize, AVERAGE as usize, MAX as usize) {
                let chunk = chunk.map_err(io::Error::from)?;
                each(at + chunk.offset as u64, chunk.data)?;
            }
        }
    }
    Ok(())
}
