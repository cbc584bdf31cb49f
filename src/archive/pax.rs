//! The extended headers of POSIX: records `length key=value\n` in any bytes, and the ones other tools put
//! there. What is not known here and loses nothing is passed over.

use crate::base::bytes_text::BytesText;
use crate::base::timestamp::Timestamp;
use crate::snapshot::Attribute;

const ATTRIBUTE: &[u8] = b"SCHILY.xattr.";
const SPARSE: &[u8] = b"GNU.sparse.";

/// What extended headers say of a member.
#[derive(Clone, Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Timestamp>,
    pub(super) attributes: Vec<Attribute>,
    /// ACLs as text, which name users instead of numbers.
    pub(super) has_text_acl: bool,
    pub(super) sparse: SparseRecords,
}

/// The three ways of GNU tar to say in a PAX header where the data of a sparse file lies.
#[derive(Clone, Debug, Default)]
pub(super) struct SparseRecords {
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
    /// 1.0: the map is at the beginning of the data.
    pub(super) is_inline: bool,
    /// 0.0 and 0.1: offset and length in turn.
    pub(super) numbers: Option<Vec<u64>>,
}

impl Pax {
    /// `Err` says what is wrong.
    pub(super) fn read(&mut self, mut records: &[u8]) -> Result<(), String> {
        while !records.is_empty() {
            let (key, value, rest) = record(records).ok_or("a malformed extended header")?;
            self.take(key, value).ok_or_else(|| {
                format!("a bad value of `{}` in an extended header", String::from_utf8_lossy(key))
            })?;
            records = rest;
        }
        Ok(())
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"path" => self.path = text(value),
            b"linkpath" => self.link_path = text(value),
            b"size" => self.size = number(value)?,
            b"uid" => self.uid = number(value)?,
            b"gid" => self.gid = number(value)?,
            b"mtime" => self.mtime = if value.is_empty() { None } else { Some(time(value)?) },
            b"SCHILY.acl.access" | b"SCHILY.acl.default" => self.has_text_acl = true,
            _ => {
                if let Some(name) = key.strip_prefix(ATTRIBUTE) {
                    let name = BytesText(percent_decoded(name));
                    self.attributes.retain(|attribute| attribute.name != name);
                    self.attributes.push(Attribute { name, value: value.into() });
                } else if let Some(key) = key.strip_prefix(SPARSE) {
                    return self.sparse.take(key, value);
                }
            }
        }
        Some(())
    }
}

impl SparseRecords {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"name" => self.name = text(value),
            b"realsize" | b"size" => self.real_size = number(value)?,
            b"major" => self.is_inline = number(value)? == Some(1),
            b"offset" | b"numbytes" => {
                self.numbers.get_or_insert_default().push(number(value)??);
            }
            b"map" => {
                let numbers = value.split(|byte| *byte == b',').map(|part| number(part)?);
                self.numbers =
                    Some(if value.is_empty() { Vec::new() } else { numbers.collect::<Option<_>>()? });
            }
            _ => {}
        }
        Some(())
    }
}

/// Appends one record to an extended header.
pub(super) fn push(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // The length counts its own digits.
    let bare = key.len() + value.len() + 3;
    let mut length = bare + 1;
    while bare + length.to_string().len() != length {
        length = bare + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

pub(super) fn push_attribute(records: &mut Vec<u8>, attribute: &Attribute) {
    let mut key = ATTRIBUTE.to_vec();
    for byte in attribute.name.as_bytes() {
        match byte {
            b'%' => key.extend_from_slice(b"%25"),
            b'=' => key.extend_from_slice(b"%3D"),
            other => key.push(*other),
        }
    }
    push(records, &key, attribute.value.as_bytes());
}

/// Decimal seconds, below zero with a sign in front of it all.
pub(super) fn time_text(time: Timestamp) -> String {
    if time.seconds >= 0 || time.nanoseconds == 0 {
        return format!("{}.{:09}", time.seconds, time.nanoseconds);
    }
    let whole = time.seconds.saturating_add(1).unsigned_abs();
    format!("-{whole}.{:09}", 1_000_000_000_u32.saturating_sub(time.nanoseconds))
}

fn record(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = records.iter().position(|byte| *byte == b' ')?;
    let length = usize::try_from(number(records.get(..space)?)??).ok()?;
    let body = records.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    Some((body.get(..equals)?, body.get(equals + 1..)?, records.get(length..)?))
}

/// An empty value takes back what an earlier header said.
fn text(value: &[u8]) -> Option<Vec<u8>> {
    (!value.is_empty()).then(|| value.to_vec())
}

#[allow(clippy::option_option, reason = "the outer is an error, the inner an empty value")]
fn number(value: &[u8]) -> Option<Option<u64>> {
    if value.is_empty() {
        return Some(None);
    }
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok().map(Some)
}

fn time(value: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(value).ok()?;
    let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let nanoseconds: u32 = format!("{:0<9.9}", fraction).parse().ok()?;
    Some(match (is_negative, nanoseconds) {
        (false, _) => Timestamp::new(whole, nanoseconds),
        (true, 0) => Timestamp::new(-whole, 0),
        (true, _) => Timestamp::new(-whole - 1, 1_000_000_000 - nanoseconds),
    })
}

fn percent_decoded(name: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, tail)) = rest.split_first() {
        let (byte, tail) = match rest {
            [b'%', b'2', b'5', tail @ ..] => (b'%', tail),
            [b'%', b'3', b'D' | b'd', tail @ ..] => (b'=', tail),
            _ => (*first, tail),
        };
        decoded.push(byte);
        rest = tail;
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_any_bytes_come_back() {
        let mut records = Vec::new();
        let attribute = Attribute { name: "user.a=b%".into(), value: (&b"\n\x00=12 x\n"[..]).into() };
        push(&mut records, b"path", &[b'n'; 91]);
        push(&mut records, b"path", &[b'n'; 92]);
        push(&mut records, b"path", b"new\nline \xff");
        push_attribute(&mut records, &attribute);
        let mut pax = Pax::default();
        pax.read(&records).unwrap();
        assert_eq!(pax.path.unwrap(), b"new\nline \xff");
        assert_eq!(pax.attributes, [attribute]);
    }

    #[test]
    fn times_keep_nanoseconds_on_both_sides_of_1970() {
        for (seconds, nanoseconds, expected) in [
            (5, 6, "5.000000006"),
            (-1, 999_999_999, "-0.000000001"),
            (-2, 500_000_000, "-1.500000000"),
            (-3, 0, "-3.000000000"),
        ] {
            let text = time_text(Timestamp::new(seconds, nanoseconds));
            assert_eq!(text, expected);
            assert_eq!(time(text.as_bytes()), Some(Timestamp::new(seconds, nanoseconds)));
        }
        assert_eq!(time(b"7.1234567899"), Some(Timestamp::new(7, 123_456_789)));
        assert_eq!(time(b"7"), Some(Timestamp::new(7, 0)));
    }

    #[test]
    fn nonsense_is_refused() {
        for records in [
            &b"5 a=b\n"[..],
            b"x a=b\n",
            b"99 a=b\n",
            b"6 ab\n\n",
            b"0 ",
            b"18446744073709551615 a=b\n",
            b"12 mtime=-x\n",
            b"9 uid=-\n",
        ] {
            assert!(Pax::default().read(records).is_err(), "{records:?}");
        }
    }
}
