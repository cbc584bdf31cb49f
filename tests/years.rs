//! Years of a volume in minutes: hundreds of backups of a tree that goes on changing, pruned now and then under a
//! policy as people have it, with an injected clock on a store in memory. After each prune
//!
//! - every snapshot that stays is read as a whole through the reader that exports use, and compared with what the volume
//!   held then; after some of the prunes three of them are restored as well;
//! - what is stored is less than one and a half times what is needed: the distinct pieces of packs that these snapshots
//!   refer to, each counted once, and their segments. Of a frame of small files only those count that are needed. What
//!   has a tombstone, or is too young for one, is counted apart, and what lies in two places is printed;
//! - nothing is there that no snapshot referred to a grace time ago.
//!
//! The figures are computed here, from the stored lines, and not taken from the program. Left to itself it is small.
//! `YEARS_FILES` and `YEARS_BACKUPS` say how many, `YEARS_SEED` repeats the chances of an earlier run:
//!
//! ```sh
//! YEARS_FILES=20000 cargo test --release --test years -- --nocapture
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop"
)]
#![allow(clippy::print_stdout, reason = "how much was covered is worth knowing")]

mod fencing_support;
mod pruning_support;
mod years_support;

use std::time::{Duration, Instant};

use pruning_support::Random;
use years_support::Life;

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3_600);
/// Backups between two prunes.
const PRUNED_EVERY: usize = 20;
/// Prunes between two restores to disk.
const RESTORED_EVERY: usize = 5;
/// Until the first snapshots have been forgotten there is nothing to tell.
const SETTLED: usize = 60;

#[test]
fn a_year_and_a_half_leaves_little_waste() {
    live(number("YEARS_FILES", 500), number("YEARS_BACKUPS", 500));
}

fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Hours follow each other mostly, and now and then nobody works.
fn pause(random: &mut Random) -> Duration {
    match random.below(10) {
        0..4 => HOUR,
        4..6 => HOUR * 6,
        6..8 => DAY,
        _ => DAY * 5,
    }
}

fn live(files: usize, backups: usize) {
    let seed = number("YEARS_SEED", 4711) as u64;
    let (mut random, began) = (Random(seed), Instant::now());
    let mut life = Life::new(files, &mut random);
    let start = life.world.now();
    let (mut worst, mut moved, mut prunes, mut kept_most) = (0.0f64, 0u64, 0usize, 0usize);
    for round in 1..=backups {
        moved += life.backup(round % 50 == 49).moved_bytes;
        life.change(&mut random);
        life.world.pass(pause(&mut random));
        if round % PRUNED_EVERY > 0 {
            continue;
        }
        let report = life.prune();
        prunes += 1;
        let kept = life.kept();
        assert!(!report.blind && report.damaged.is_empty(), "{report:?}");
        kept_most = kept_most.max(kept.len());
        life.assert_read_back(&kept);
        if prunes % RESTORED_EVERY == 0 {
            for number in [0, kept.len() / 2, kept.len() - 1] {
                life.assert_restores(&kept[number]);
            }
        }
        let ratio = life.assert_little_waste(&kept, round >= SETTLED, &report);
        if round >= SETTLED {
            worst = worst.max(ratio);
        }
        life.assert_no_orphans(&kept);
        println!("{round:4}: {} kept, ratio {ratio:.3}, moved {moved}, {:?}", kept.len(), report.waste);
    }
    let days = life.world.now().since(start).as_secs() / DAY.as_secs();
    println!(
        "{backups} backups of {files} files in {days} days, {prunes} prunes, {kept_most} snapshots kept at most: stored \
         {worst:.3} times what is needed at worst, {moved} bytes stored anew; {} s",
        began.elapsed().as_secs()
    );
    assert!(days > backups as u64 && prunes == backups / PRUNED_EVERY, "{days} {prunes}");
    assert!(backups < 400 || kept_most > 30, "{kept_most}");
    assert!(moved > 0, "nothing was ever compacted");
}
