//! Any bytes as an archive, as they are and with the checksums of their headers put right: unpacked into an empty
//! directory, nothing may appear beside it, and what was unpacked can be removed again.
#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use volkeep::archive::{Limits, unpack};
use volkeep::snapshot::RelativePath;
use volkeep::tree::TreeWriter;

const LIMITS: Limits = Limits { bytes: 1 << 20, entries: 50 };
const BLOCK: usize = 512;
const CHECKSUM: std::ops::Range<usize> = 148..156;

fuzz_target!(|bytes: &[u8]| {
    let base = tempfile::tempdir().expect("a temporary directory");
    let target = base.path().join("target");
    fs::create_dir(&target).expect("an empty directory");
    for archive in [bytes.to_vec(), mended(bytes)] {
        let writer = TreeWriter::open(&target).expect("the directory opens");
        let _ = unpack(archive.as_slice(), &writer, &LIMITS);
        assert_eq!(fs::read_dir(base.path()).expect("it can be listed").count(), 1, "only the target");
        writer.remove_tree(&RelativePath::root()).expect("what was made can be removed");
    }
});

/// Without this hardly any input would get past its first header. A block is taken for a header when it says
/// `ustar`, as all do but the oldest.
fn mended(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for block in bytes.chunks_exact_mut(BLOCK).filter(|block| block[257..].starts_with(b"ustar")) {
        block[CHECKSUM].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    bytes
}
