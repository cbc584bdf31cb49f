//! Which bytes of the source's packs are asked for at once. Pure.

use std::collections::HashMap;

use crate::repository::packed::frame::{Frame, PackId};

/// Bytes that nobody needs but that are cheaper to fetch than to skip by another request.
const GAP: u64 = 128 << 10;

/// A frame and its number in the segment that needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub number: usize,
    pub frame: Frame,
}

/// One request: neighbouring frames of one pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    pub pack: PackId,
    pub offset: u64,
    pub length: u64,
    pub frames: Vec<Wanted>,
    /// The most memory it takes: all that is fetched, all of it decoded, and maybe encoded again.
    pub cost: u64,
}

/// In the order in which the packs are first needed, which is that of the walk. None costs more than `longest`,
/// unless a single frame does.
pub fn fetches(mut wanted: Vec<Wanted>, longest: u64, encode: bool) -> Vec<Fetch> {
    let mut order: HashMap<PackId, usize> = HashMap::new();
    for Wanted { frame, .. } in &wanted {
        let next = order.len();
        order.entry(frame.pack).or_insert(next);
    }
    wanted.sort_unstable_by_key(|w| (order.get(&w.frame.pack).copied(), w.frame.offset, w.number));
    let mut all: Vec<Fetch> = Vec::new();
    for one in wanted {
        let frame = one.frame;
        let plain = u64::from(frame.plain) * if encode { 2 } else { 1 };
        if let Some(last) = all.last_mut()
            && last.pack == frame.pack
            && frame.offset <= last.offset.saturating_add(last.length).saturating_add(GAP)
        {
            let length = last.length.max(frame.end().saturating_sub(last.offset));
            let cost = last.cost + (length - last.length) + plain;
            if cost <= longest {
                (last.length, last.cost) = (length, cost);
                last.frames.push(one);
                continue;
            }
        }
        let (pack, offset, length) = (frame.pack, frame.offset, u64::from(frame.stored));
        all.push(Fetch { pack, offset, length, frames: vec![one], cost: length + plain });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hash::Hash;

    #[test]
    fn neighbours_are_fetched_together_up_to_what_they_take_in_memory() {
        let [a, b] = ["a", "b"].map(|digit| PackId::parse(&digit.repeat(32)).unwrap());
        let wanted = |number: usize, pack, offset, stored| Wanted {
            number,
            frame: Frame { pack, offset, stored, plain: 100, hash: Hash::of(b"") },
        };
        let frames = vec![
            wanted(0, b, 50, 50),
            wanted(1, a, 0, 50),
            wanted(2, b, 0, 50),
            wanted(3, b, 100, 50),
            wanted(4, b, 1 << 30, 50),
        ];
        let found: Vec<_> = fetches(frames, 300, false)
            .iter()
            .map(|f| (f.pack, f.offset, f.length, f.cost, f.frames.iter().map(|w| w.number).collect()))
            .collect();
        let expected: Vec<(PackId, u64, u64, u64, Vec<usize>)> = vec![
            (b, 0, 100, 300, vec![2, 0]),
            (b, 100, 50, 150, vec![3]),
            (b, 1 << 30, 50, 150, vec![4]),
            (a, 0, 50, 150, vec![1]),
        ];
        assert_eq!(found, expected);
    }
}
