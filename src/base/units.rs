//! Sizes, durations and percentages as people write them: `64MiB`, `10m`, `50%`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Bytes. Written with a binary unit (`64MiB`, `1.5GiB`; `K`, `M`, `G` mean the same) or as a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(with = "String", extend("title" = "size"))]
pub struct ByteSize(pub u64);

/// A length of time such as `90s`, `10m`, `1h30m`, `7d`. A plain number is seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(with = "String", extend("title" = "time"))]
pub struct Span(pub Duration);

/// A whole percentage from 0 to 100, with or without the sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(with = "String", extend("title" = "percentage"))]
pub struct Percent(pub u8);

const SIZES: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
const SPANS: [(&str, u64); 6] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{text}` is not a size such as 64MiB");
        let trimmed = text.trim();
        let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(digits);
        let unit = unit.trim();
        let factor = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "ki" | "kib" => 1 << 10,
            "m" | "mi" | "mib" => 1 << 20,
            "g" | "gi" | "gib" => 1 << 30,
            "t" | "ti" | "tib" => 1 << 40,
            _ => return Err(refuse()),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let whole: u64 = whole.parse().map_err(|_| refuse())?;
        let mut bytes = whole.checked_mul(factor).ok_or_else(refuse)?;
        if !fraction.is_empty() {
            let digits = u32::try_from(fraction.len()).ok().filter(|n| *n <= 6).ok_or_else(refuse)?;
            let part: u64 = fraction.parse().map_err(|_| refuse())?;
            let more = u128::from(part) * u128::from(factor) / 10u128.pow(digits);
            bytes = bytes.checked_add(u64::try_from(more).map_err(|_| refuse())?).ok_or_else(refuse)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, factor) in SIZES {
            if self.0 >= factor {
                return match self.0 % factor {
                    0 => write!(f, "{}{unit}", self.0 / factor),
                    rest => {
                        let tenths = u128::from(rest) * 10 / u128::from(factor);
                        write!(f, "{}.{tenths}{unit}", self.0 / factor)
                    }
                };
            }
        }
        write!(f, "{}B", self.0)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{text}` is not a duration such as 90s, 10m or 1h30m");
        let mut rest = text.trim();
        if let Ok(seconds) = rest.parse::<u64>() {
            return Ok(Self(Duration::from_secs(seconds)));
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(refuse)?;
            let (number, tail) = rest.split_at(digits);
            let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let factor = SPANS.iter().find(|(name, _)| *name == unit).ok_or_else(refuse)?.1;
            let part = number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).ok_or_else(refuse)?;
            total = total.checked_add(part).ok_or_else(refuse)?;
            rest = tail;
        }
        match text.trim() {
            "" => Err(refuse()),
            _ => Ok(Self(Duration::from_millis(total))),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, factor) in SPANS.iter().rev() {
            if rest >= *factor {
                write!(f, "{}{unit}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.trim().trim_end_matches('%').trim_end();
        match number.parse::<u8>() {
            Ok(percent) if percent <= 100 => Ok(Self(percent)),
            _ => Err(format!("`{text}` is not a percentage from 0% to 100%")),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

macro_rules! serde_as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(Deserialize)]
                #[serde(untagged)]
                enum TextOrNumber {
                    Number(u64),
                    Text(String),
                }
                let text = match TextOrNumber::deserialize(deserializer)? {
                    TextOrNumber::Number(number) => number.to_string(),
                    TextOrNumber::Text(text) => text,
                };
                text.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

serde_as_text!(ByteSize, Span, Percent);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_read_back_as_written() {
        for (text, bytes) in [("64MiB", 64 << 20), ("1.5GiB", 3 << 29), ("17B", 17)] {
            assert_eq!(text.parse::<ByteSize>().unwrap(), ByteSize(bytes));
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
        for (text, milliseconds) in [("10m", 600_000), ("1h30m", 5_400_000), ("250ms", 250), ("0s", 0)] {
            assert_eq!(text.parse::<Span>().unwrap().0.as_millis(), milliseconds);
            assert_eq!(Span(Duration::from_millis(milliseconds as u64)).to_string(), text);
        }
        assert_eq!("50%".parse::<Percent>(), Ok(Percent(50)));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "x", "-1", "1.2.3GiB", "99999999999TiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        for text in ["", "5 minutes", "m", "1h30"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        assert!("101%".parse::<Percent>().is_err());
    }
}
