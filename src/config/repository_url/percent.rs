//! Percent-encoding, as far as addresses need it.

/// `None` for a `%` without two hex digits, a zero byte, or what is not UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                u8::try_from(digit(rest.next()?)? * 16 + digit(rest.next()?)?)
                    .ok()
                    .filter(|byte| *byte != 0)?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// With the ASCII characters `special` written as `%XX`.
pub(super) fn encode(text: &str, special: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for character in text.chars() {
        match special.contains(character) {
            true => encoded.push_str(&format!("%{:02X}", u32::from(character))),
            false => encoded.push(character),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_decodes_to_the_same() {
        assert_eq!(encode("a b/100%?ä", "%?#"), "a b/100%25%3Fä");
        assert_eq!(decode("a b/100%25%3Fä").as_deref(), Some("a b/100%?ä"));
        for text in ["%", "%2", "%zz", "%00", "%ff"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
