//! Where a sparse file has data and where it has holes. A file system that cannot tell says "all data".

use std::os::fd::AsFd;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::snapshot::Hole;
use crate::tree::stat::Stat;

/// Whether asking for holes can be worth a call.
pub fn may_have_holes(stat: &Stat) -> bool {
    stat.blocks.saturating_mul(512) < stat.size
}

/// The runs of data in the first `size` bytes as `(offset, length)`, in order. Moves the file's position.
pub fn data_ranges(fd: impl AsFd, size: u64) -> Result<Vec<(u64, u64)>, Errno> {
    let fd = fd.as_fd();
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match seek(fd, SeekFrom::Data(at)) {
            Ok(start) => start.min(size),
            // No data behind `at`, or the file became shorter.
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(vec![(0, size)]),
            Err(error) => return Err(error),
        };
        let end = match seek(fd, SeekFrom::Hole(start)) {
            Ok(end) => end.min(size),
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error),
        };
        if end <= start {
            break;
        }
        ranges.push((start, end - start));
        at = end;
    }
    Ok(ranges)
}

/// The gaps between `ranges`, which must be sorted and apart, up to `size`.
pub fn holes_between(ranges: &[(u64, u64)], size: u64) -> Vec<Hole> {
    let mut holes = Vec::new();
    let mut at = 0;
    for (offset, length) in ranges {
        if *offset > at {
            holes.push(Hole { offset: at, length: offset - at });
        }
        at = offset.saturating_add(*length);
    }
    if size > at {
        holes.push(Hole { offset: at, length: size - at });
    }
    holes
}

/// The other way round: what is left of `size` bytes between `holes`, which must be sorted and apart.
pub fn data_between(holes: &[Hole], size: u64) -> Vec<(u64, u64)> {
    let ranges: Vec<_> = holes.iter().map(|hole| (hole.offset, hole.length)).collect();
    holes_between(&ranges, size).into_iter().map(|hole| (hole.offset, hole.length)).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn holes_and_data_are_complements() {
        let dir = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(dir.path().join("f")).unwrap();
        file.write_all_at(&[1; 4096], 1 << 20).unwrap();
        file.set_len(3 << 20).unwrap();
        let stat = Stat::of(&file).unwrap();
        assert!(may_have_holes(&stat));
        let ranges = data_ranges(&file, stat.size).unwrap();
        let (offset, length) = ranges[0];
        assert!(ranges.len() == 1 && offset <= 1 << 20 && offset + length >= (1 << 20) + 4096);
        let holes = holes_between(&ranges, stat.size);
        assert_eq!(holes.len(), 2);
        assert_eq!(data_between(&holes, stat.size), ranges);
        assert_eq!(data_ranges(&file, 0).unwrap(), []);
    }

    #[test]
    fn a_file_of_one_hole_and_one_without() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        let ranges = data_ranges(&file, 1 << 20).unwrap();
        assert_eq!(holes_between(&ranges, 1 << 20), [Hole { offset: 0, length: 1 << 20 }]);
        assert_eq!(holes_between(&[(0, 5)], 5), []);
    }
}
