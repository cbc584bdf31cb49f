//! The files of the log (WAL) that a server reads first when it starts: those with its last checkpoint and with the
//! place that this begins at. Reads a page's header, and no records.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::super::Verdict;
use super::super::limit::open_file;
use super::control::{Control, number};

/// Bytes of a record's header.
const RECORD: u64 = 24;

pub(super) fn look(directory: &Path, control: &Control) -> io::Result<Verdict> {
    let missing = |message: String| match control.has_its_own_log() {
        true => Verdict::Damaged(message),
        false => Verdict::Unknown(message),
    };
    let log = directory.join("pg_wal");
    for (place, what) in [(control.checkpoint, "the last checkpoint"), (control.redo, "its beginning")] {
        let name = segment(place, control.log_segment);
        let Some((file, found)) = find(&log, &name)? else {
            return Ok(missing(format!("pg_wal has no file …{name} with {what}")));
        };
        let offset = place % u64::from(control.log_segment);
        let size = file.metadata()?.len();
        if size < offset + RECORD {
            return Ok(missing(format!("pg_wal/{found} is cut off before {what}, after {size} bytes")));
        }
        // Each page names its own place: the file may hold what was there before, or nothing.
        let page = offset - offset % u64::from(control.log_page);
        let mut header = [0; 16];
        file.read_exact_at(&mut header, page)?;
        let (low, high) = match cfg!(target_endian = "little") {
            true => (number(&header, 8), number(&header, 12)),
            false => (number(&header, 12), number(&header, 8)),
        };
        let named = u64::from(high) << 32 | u64::from(low);
        if named != place - place % u64::from(control.log_page) {
            return Ok(missing(format!("pg_wal/{found} does not hold the log where {what} is")));
        }
    }
    Ok(Verdict::Good)
}

/// The name of the file without the timeline.
fn segment(place: u64, size: u32) -> String {
    let size = u64::from(size.max(1));
    let (number, in_one) = (place / size, (1 << 32) / size);
    format!("{:08X}{:08X}", number / in_one, number % in_one)
}

/// Of any timeline.
fn find(log: &Path, name: &str) -> io::Result<Option<(File, String)>> {
    for entry in std::fs::read_dir(log)? {
        let file_name = entry?.file_name();
        let Some(text) = file_name.to_str() else { continue };
        if text.len() == 24 && text.ends_with(name) {
            match open_file(&log.join(text)) {
                Ok(file) => return Ok(Some((file, text.to_owned()))),
                // Removed since.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_files_as_the_server_names_them() {
        assert_eq!(segment(0x0000_0001_0400_0028, 16 << 20), "0000000100000004");
        assert_eq!(segment(0x0000_0003_FF00_0000, 1 << 20), "0000000300000FF0");
    }
}
