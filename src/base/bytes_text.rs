//! Bytes that are nearly always text: file names, link targets, attribute values. In JSON they are a plain
//! string when they are valid UTF-8 and `{"b64": "…"}` when they are not, so that no name is lost.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use data_encoding::BASE64;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BytesText(pub Vec<u8>);

impl BytesText {
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }
}

impl From<&[u8]> for BytesText {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl From<Vec<u8>> for BytesText {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&str> for BytesText {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl fmt::Display for BytesText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for BytesText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", OsStr::from_bytes(&self.0))
    }
}

impl Serialize for BytesText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("b64", &BASE64.encode(&self.0))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for BytesText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrBase64;

        impl<'de> Visitor<'de> for TextOrBase64 {
            type Value = BytesText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, or {\"b64\": \"…\"}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<BytesText, E> {
                Ok(BytesText::from(text))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<BytesText, E> {
                Ok(BytesText(text.into_bytes()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BytesText, A::Error> {
                let Some((key, value)) = map.next_entry::<String, String>()? else {
                    return Err(de::Error::custom("an empty object where bytes were expected"));
                };
                if key != "b64" {
                    return Err(de::Error::unknown_field(&key, &["b64"]));
                }
                BASE64.decode(value.as_bytes()).map(BytesText).map_err(de::Error::custom)
            }
        }

        deserializer.deserialize_any(TextOrBase64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_string_survives_json() {
        for bytes in [&b""[..], b"plain", "h\u{e9}".as_bytes(), b"\xff\xfe\x00", b"a\nb\"c"] {
            let text = serde_json::to_string(&BytesText::from(bytes)).unwrap();
            assert_eq!(serde_json::from_str::<BytesText>(&text).unwrap().as_bytes(), bytes, "{text}");
        }
    }

    #[test]
    fn text_stays_readable() {
        assert_eq!(serde_json::to_string(&BytesText::from("a/b")).unwrap(), "\"a/b\"");
    }
}
