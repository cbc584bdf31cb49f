//! The control file of a PostgreSQL cluster: what it says, and whether it is whole. Layout and figures are those of
//! `pg_control.h` of versions 12 to 18, where numbers of 64 bits lie at multiples of 8.

use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::super::limit::read_start;

const SIZE: u64 = 8192;
/// Versions, the number of their layout, and where the checksum of all before it lies.
const LAYOUTS: [(u32, u32, usize); 7] = [
    (12, 1201, 288),
    (13, 1300, 288),
    (14, 1300, 288),
    (15, 1300, 288),
    (16, 1300, 288),
    (17, 1300, 288),
    (18, 1800, 292),
];
/// Where the checksum may be in layouts that are not known, such as those of other machines.
const ANYWHERE: std::ops::Range<usize> = 200..480;
/// A server that runs writes the file in place, and who reads meanwhile may see a part of that.
const LOOKS: u32 = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Control {
    state: u32,
    /// Where the last checkpoint is in the log, and where the log has to be read from.
    pub(super) checkpoint: u64,
    pub(super) redo: u64,
    time: u64,
    pub(super) page: u32,
    /// Pages in one file of a relation.
    pub(super) file_pages: u32,
    pub(super) log_page: u32,
    pub(super) log_segment: u32,
    /// 0: pages have none.
    pub(super) checksums: u32,
}

pub(super) enum Reading {
    Known(Control),
    /// Nothing is known about it.
    Strange(String),
    Damaged(String),
}

impl Control {
    pub(super) fn is_shut_down(&self) -> bool {
        matches!(self.state, 1 | 2)
    }

    /// A server in the middle of a recovery from an archive, or a standby, is given its log from there.
    pub(super) fn has_its_own_log(&self) -> bool {
        matches!(self.state, 1 | 3 | 4 | 6)
    }
}

pub(super) fn is_known(major: u32) -> bool {
    LAYOUTS.iter().any(|(known, ..)| *known == major)
}

pub(super) fn read(path: &Path, major: u32) -> io::Result<Reading> {
    let mut before = None;
    for _ in 0..LOOKS {
        let bytes = match read_start(path, SIZE + 1) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Reading::Damaged("global/pg_control is missing".to_owned()));
            }
            read => read?,
        };
        let reading = understand(&bytes, major);
        // Twice the same is not what is seen in the middle of a write.
        if !matches!(reading, Reading::Damaged(_)) || before.as_ref() == Some(&bytes) {
            return Ok(reading);
        }
        before = Some(bytes);
        thread::sleep(BETWEEN_LOOKS);
    }
    Ok(Reading::Strange("global/pg_control changes all the time".to_owned()))
}

fn understand(bytes: &[u8], major: u32) -> Reading {
    let damaged = |message: String| Reading::Damaged(format!("global/pg_control {message}"));
    if (bytes.len() as u64) < SIZE {
        return damaged(format!("has {} bytes instead of {SIZE}", bytes.len()));
    }
    let four = |at: usize| number(bytes, at);
    let eight =
        |at: usize| bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes);
    let layout = four(8);
    let of_major = LAYOUTS.iter().find(|(known, ..)| *known == major);
    if LAYOUTS.iter().any(|(_, known, _)| known.swap_bytes() == layout) {
        return Reading::Strange("it was made on a machine with another order of bytes".to_owned());
    }
    let is_right = |at: usize| crc(bytes.get(..at).unwrap_or_default()) == four(at);
    let Some((_, expected, at)) = of_major else {
        return Reading::Strange(format!("what PostgreSQL {major} writes is not known here"));
    };
    if !is_right(*at) {
        return match LAYOUTS.iter().map(|(.., at)| *at).chain(ANYWHERE.step_by(4)).any(is_right) {
            true if LAYOUTS.iter().any(|(_, known, at)| *known == layout && is_right(*at)) => {
                mixed(major, layout)
            }
            true => Reading::Strange("global/pg_control has a layout that is not known here".to_owned()),
            false => damaged("has a wrong checksum".to_owned()),
        };
    }
    if layout != *expected {
        return match LAYOUTS.iter().any(|(_, known, _)| *known == layout) {
            true => mixed(major, layout),
            false => {
                Reading::Strange(format!("global/pg_control is of layout {layout}, which is not known here"))
            }
        };
    }
    let control = Control {
        state: four(16),
        time: eight(24),
        checkpoint: eight(32),
        redo: eight(40),
        page: four(216),
        file_pages: four(220),
        log_page: four(224),
        log_segment: four(228),
        checksums: four(252),
    };
    let sizes = [(control.page, 1 << 15), (control.log_page, 1 << 16), (control.log_segment, 1 << 30)];
    let sane = |(size, most): &(u32, u32)| size.is_power_of_two() && (1024..=*most).contains(size);
    if !sizes.iter().all(sane) || control.file_pages == 0 {
        return Reading::Strange("global/pg_control names sizes that are not known here".to_owned());
    }
    Reading::Known(control)
}

fn mixed(major: u32, layout: u32) -> Reading {
    Reading::Damaged(format!(
        "PG_VERSION says {major}, and global/pg_control is that of another version (layout {layout})"
    ))
}

pub(super) fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

/// CRC-32C, bit by bit: there are some hundred bytes.
fn crc(bytes: &[u8]) -> u32 {
    let crc =
        bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 }
            })
        });
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole, of a cluster that was shut down.
    fn made(layout: u32, at: usize) -> Vec<u8> {
        let mut bytes = vec![0; 8192];
        let mut put = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        let fields =
            [(8, layout), (16, 1), (216, 8192), (220, 131_072), (224, 8192), (228, 16 << 20), (252, 1)];
        fields.into_iter().for_each(|(at, value)| put(at, value));
        let sum = crc(&bytes[..at]);
        bytes[at..at + 4].copy_from_slice(&sum.to_ne_bytes());
        bytes
    }

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(crc(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn all_versions_are_told_apart() {
        for (major, layout, at) in LAYOUTS {
            let Reading::Known(control) = understand(&made(layout, at), major) else { panic!("{major}") };
            assert!(control.is_shut_down() && control.checksums == 1);
        }
        let is_damaged = |bytes: &[u8], major| matches!(understand(bytes, major), Reading::Damaged(_));
        assert!(is_damaged(&made(1201, 288), 17));
        assert!(is_damaged(&made(1800, 292), 17));
        assert!(is_damaged(&made(1300, 288), 18));
        assert!(is_damaged(&made(1300, 288)[..4096], 17));
        assert!(is_damaged(&vec![0; 8192], 17));
        let mut flipped = made(1300, 288);
        flipped[40] ^= 1;
        assert!(is_damaged(&flipped, 17));
    }

    #[test]
    fn what_is_not_known_is_no_damage() {
        let is_strange = |bytes: &[u8], major| matches!(understand(bytes, major), Reading::Strange(_));
        assert!(is_strange(&made(1300, 288), 19));
        assert!(is_strange(&made(1100, 296), 17));
        assert!(is_strange(&made(1300, 276), 17), "of a machine that aligns in another way");
        assert!(is_strange(&made(1300_u32.swap_bytes(), 288), 17));
        assert!(is_strange(&vec![0; 8192], 19));
    }
}
