//! Where the data of a sparse member belongs in the file: the maps of GNU tar, checked before anything is
//! written by them.

/// A run of data at an offset in the file; the runs follow each other in the archive without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// A map of more runs than this is an attack, not a file.
pub(super) const MOST_RUNS: usize = 4 << 20;

/// From offset and length in turn. `stored` is how much data the archive has, `size` what the file gets.
pub(super) fn runs(numbers: &[u64], stored: u64, size: u64) -> Option<Vec<Run>> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let mut at = 0;
    let mut total: u64 = 0;
    let mut runs = Vec::with_capacity(pairs.len());
    for [offset, length] in pairs {
        let end = offset.checked_add(*length)?;
        if *offset < at || end > size {
            return None;
        }
        total = total.checked_add(*length)?;
        at = end;
        if *length > 0 {
            runs.push(Run { offset: *offset, length: *length });
        }
    }
    (total == stored).then_some(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_must_fit_the_file_and_the_data() {
        let run = |offset, length| Run { offset, length };
        assert_eq!(runs(&[0, 5, 10, 5, 20, 0], 10, 20), Some(vec![run(0, 5), run(10, 5)]));
        assert_eq!(runs(&[], 0, 20), Some(vec![]));
        for (numbers, stored) in
            [(&[0, 5, 4, 5][..], 10), (&[0, 5], 6), (&[0, 21], 21), (&[0], 0), (&[u64::MAX, 2], 2)]
        {
            assert_eq!(runs(numbers, stored, 20), None, "{numbers:?}");
        }
    }
}
