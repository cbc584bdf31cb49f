//! Packets that are whole, and all kinds that are not.

use super::*;
use proptest::prelude::*;

fn all(mut bytes: &[u8]) -> Result<Vec<Option<Vec<u8>>>, RepositoryError> {
    let mut packets = Packets::new(&mut bytes, "there");
    let mut found = Vec::new();
    while let Some(packet) = packets.next()? {
        found.push(match packet {
            Packet::Data(data) => Some(data.to_vec()),
            Packet::Flush => None,
        });
    }
    Ok(found)
}

#[test]
fn what_is_written_can_be_read() {
    let mut bytes = Vec::new();
    line(&mut bytes, "want\n", "there").unwrap();
    flush(&mut bytes);
    line(&mut bytes, "", "there").unwrap();
    let longest = "x".repeat(LONGEST - LENGTH);
    line(&mut bytes, &longest, "there").unwrap();
    assert!(bytes.starts_with(b"0009want\n00000004fff0xxx"));
    let found = all(&bytes).unwrap();
    assert_eq!(found, [Some(b"want\n".to_vec()), None, Some(Vec::new()), Some(longest.into_bytes())]);
    assert!(line(&mut bytes, &"x".repeat(LONGEST), "there").is_err());
}

#[test]
fn what_is_no_packet_is_an_error_that_shows_it() {
    for (bytes, part) in [
        (&b"000"[..], "ended in the middle"),
        (b"0009wan", "ended in the middle"),
        (b"0001", "packet of 1 bytes"),
        (b"fff1", "packet of 65521 bytes"),
        (b"Welcome to \x1b[1mthe\x1b[0m server\nand more", "`Welcome to [1mthe[0m server`"),
        (b"+123", "`+123`"),
    ] {
        let error = all(bytes).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn no_byte_is_read_beyond_a_packet() {
    let mut bytes = &b"0005a0000rest"[..];
    let mut packets = Packets::new(&mut bytes, "there");
    assert_eq!(packets.next().unwrap(), Some(Packet::Data(b"a")));
    assert_eq!(packets.next().unwrap(), Some(Packet::Flush));
    assert_eq!(bytes, b"rest");
}

#[test]
fn bands_are_told_apart() {
    let mut bands = Bands::default();
    assert_eq!(bands.sort(b"\x01data", "there").unwrap(), b"data");
    assert_eq!(bands.sort(b"\x02hook: ", "there").unwrap(), b"");
    assert_eq!(bands.sort(b"\x02no\n", "there").unwrap(), b"");
    assert_eq!(bands.sort(b"", "there").unwrap(), b"");
    let fatal = bands.sort(b"\x03disk full", "there").unwrap_err().to_string();
    assert!(fatal.contains("hook: no; disk full"), "{fatal}");
    assert!(
        bands.sort(b"ERR upload-pack: not our ref", "there").unwrap_err().to_string().contains("not our ref")
    );
    assert!(bands.sort(b"\x04", "there").is_err());
}

proptest! {
    #[test]
    fn nothing_that_comes_is_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = all(&bytes);
        let _ = Bands::default().sort(&bytes, "there");
    }
}
