//! The fields of a cron expression: which values each can take, and what to say about one that it cannot. Must not
//! know instants: `croner` computes those from the text that is let through here.

use crate::schedule::error::ScheduleError;

/// Names of months and weekdays, in the order of their numbers.
const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

struct Field {
    name: &'static str,
    low: u8,
    high: u8,
    names: &'static [&'static str],
    /// What to write instead, in general.
    help: &'static str,
}

const FIELDS: [Field; 6] = [
    Field { name: "second", low: 0, high: 59, names: &[], help: "write 0 to 59, `0-30`, `*/10` or `*`" },
    Field { name: "minute", low: 0, high: 59, names: &[], help: "write 0 to 59, `0-30`, `*/15` or `*`" },
    Field { name: "hour", low: 0, high: 23, names: &[], help: "write 0 to 23, `8-18`, `*/2` or `*`" },
    Field { name: "day of month", low: 1, high: 31, names: &[], help: "write 1 to 31, `1-7`, `L` or `*`" },
    Field { name: "month", low: 1, high: 12, names: &MONTHS, help: "write 1 to 12, `JAN` to `DEC` or `*`" },
    Field {
        name: "weekday",
        low: 0,
        high: 7,
        names: &WEEKDAYS,
        help: "write 0 to 7 (0 and 7 are Sunday), `SUN` to `SAT`, `MON-FRI`, `MON#1`, `FRI#L` or `*`",
    },
];

/// What a checked expression is.
pub struct Checked {
    /// Six fields, in capitals, names as numbers.
    pub pattern: String,
    /// Whether seconds, minutes or hours go on and on: by `*`, by a step, or because all values are named.
    pub repeats: bool,
    pub day: String,
    pub month: String,
}

/// `text` has 5 or 6 fields.
pub fn check(text: &str) -> Result<Checked, ScheduleError> {
    let mut given: Vec<String> = text.split_whitespace().map(str::to_ascii_uppercase).collect();
    match given.len() {
        5 => given.insert(0, "0".to_owned()),
        6 => {}
        count => return Err(ScheduleError::Count { text: text.to_owned(), count }),
    }
    let mut pattern = Vec::new();
    let mut repeats = false;
    for (number, (field, value)) in FIELDS.iter().zip(&given).enumerate() {
        let reading = field.read(value).map_err(|fault| ScheduleError::Field {
            text: text.to_owned(),
            field: field.name,
            value: value.clone(),
            cause: fault.cause,
            way_out: fault.way_out.unwrap_or_else(|| field.help.to_owned()),
        })?;
        repeats |= number < 3 && reading.repeats;
        pattern.push(reading.plain);
    }
    let field = |number: usize| given.get(number).cloned().unwrap_or_default();
    Ok(Checked { pattern: pattern.join(" "), repeats, day: field(3), month: field(4) })
}

struct Reading {
    plain: String,
    repeats: bool,
}

struct Fault {
    cause: String,
    way_out: Option<String>,
}

fn fault<T>(cause: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { cause: cause.into(), way_out: None })
}

fn fault_with<T>(cause: impl Into<String>, way_out: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { cause: cause.into(), way_out: Some(way_out.into()) })
}

impl Field {
    fn read(&self, value: &str) -> Result<Reading, Fault> {
        if value == "?" {
            // Where `?` comes from, weekdays are counted differently: this must not pass unseen.
            return fault_with("`?` is not known", "write `*`, and weekdays by name: numbers may differ");
        }
        let mut plain = Vec::new();
        let mut stepped = false;
        let mut seen = 0u64;
        for item in value.split(',') {
            let (text, values) = self.item(item)?;
            stepped |= item.contains('/') || item == "*";
            seen |= values;
            plain.push(text);
        }
        if plain.len() > 1 && plain.iter().any(|item| item == "*") {
            return fault_with("`*` in a list is everything already", "write `*` alone, or take it out");
        }
        let all = (self.low..=self.high).fold(0u64, |all, value| all | 1 << value);
        Ok(Reading { plain: plain.join(","), repeats: stepped || seen == all })
    }

    /// One item of a list as `croner` reads it, and its values as bits.
    fn item(&self, item: &str) -> Result<(String, u64), Fault> {
        if item.is_empty() {
            return fault("an item of the list is empty");
        }
        match (self.name, item) {
            ("day of month", "L") => return Ok(("L".to_owned(), 0)),
            ("weekday", _) if item.ends_with('L') || item.contains('#') => return self.nth(item),
            _ => {}
        }
        let (range, step) = match item.split_once('/') {
            None => (item, None),
            Some((range, step)) => (range, Some(self.step(range, step)?)),
        };
        let (low, high) = match range.split_once('-') {
            _ if range == "*" => (self.low, self.high),
            None => self.value(range).map(|value| (value, value))?,
            Some((from, to)) => self.range(from, to)?,
        };
        let bits = (low..=high).step_by(step.unwrap_or(1).into()).fold(0u64, |bits, value| bits | 1 << value);
        let text = match (range, step) {
            ("*", None) => "*".to_owned(),
            ("*", Some(step)) => format!("*/{step}"),
            (_, None) if low == high => low.to_string(),
            (_, None) => format!("{low}-{high}"),
            (_, Some(step)) => format!("{low}-{high}/{step}"),
        };
        Ok((text, bits))
    }

    fn step(&self, range: &str, step: &str) -> Result<u8, Fault> {
        let number: u8 = match step.parse() {
            Ok(0) => return fault_with("a step of 0 leads nowhere", "write a step of at least 1"),
            Ok(number) => number,
            Err(_) => return fault(format!("`{step}` is not a step")),
        };
        if number > self.high - self.low {
            return fault_with(
                format!(
                    "a step of {number} is longer than the field, which has {} to {}",
                    self.low, self.high
                ),
                "name the value itself, or use `@every`",
            );
        }
        // Some read `5/15` as `5-59/15`, some as `5`.
        match range == "*" || range.contains('-') {
            true => Ok(number),
            false => fault_with(
                format!("a step needs a range, and `{range}` is none"),
                match self.value(range) {
                    Ok(low) => format!("write `{low}-{}/{number}`", self.high),
                    Err(_) => format!("write `*/{number}`"),
                },
            ),
        }
    }

    fn range(&self, from: &str, to: &str) -> Result<(u8, u8), Fault> {
        let (low, mut high) = (self.value(from)?, self.value(to)?);
        if self.name == "weekday" && high == 0 && low > 0 {
            // The week ends on Sunday too.
            high = 7;
        }
        match low <= high {
            true => Ok((low, high)),
            false => fault_with(
                format!("the range runs backwards, from {from} to {to}"),
                format!("write `{from}-{},{}-{to}`", self.last(), self.low),
            ),
        }
    }

    /// The highest value that is not another name of the lowest.
    fn last(&self) -> u8 {
        if self.name == "weekday" { 6 } else { self.high }
    }

    /// `MON#2`, `5#L`, `FRIL`.
    fn nth(&self, item: &str) -> Result<(String, u64), Fault> {
        let (day, which) = item.split_once('#').unwrap_or((item.trim_end_matches('L'), "L"));
        let day = self.value(day)? % 7;
        match which {
            "1" | "2" | "3" | "4" | "5" | "L" => Ok((format!("{day}#{which}"), 0)),
            _ => fault_with(
                format!("`#{which}` is not the place of a week in a month"),
                "write `#1` to `#5`, or `#L`",
            ),
        }
    }

    fn value(&self, text: &str) -> Result<u8, Fault> {
        if let Some(place) = self.names.iter().position(|name| *name == text) {
            return Ok(u8::try_from(place).unwrap_or(0) + u8::from(self.names.len() == 12));
        }
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return fault(format!("`{text}` is not a value of this field"));
        }
        match text.parse::<u8>() {
            Ok(value) if value < self.low => fault(format!("{value} is less than {}", self.low)),
            Ok(value) if value <= self.high => Ok(value),
            _ => fault(format!("{text} is more than {}", self.high)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        match check(text) {
            Ok(checked) => panic!("`{text}` is let through as {}", checked.pattern),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_is_let_through_is_written_plainly() {
        for (text, pattern) in [
            ("*/15 8-18 * jan,7 mon-fri", "0 */15 8-18 * 1,7 1-5"),
            ("5 0 3 l * sun", "5 0 3 L * 0"),
            ("0 03 1-7/2 * SAT-SUN", "0 0 3 1-7/2 * 6-7"),
            ("0 3 * * fri#l,MONL,tue#2", "0 0 3 * * 5#L,1#L,2#2"),
            ("0 3 * * 7", "0 0 3 * * 7"),
            ("0 3 * * 7#1", "0 0 3 * * 0#1"),
        ] {
            assert_eq!(check(text).unwrap().pattern, pattern, "{text}");
        }
    }

    #[test]
    fn what_goes_on_and_on_is_told_from_fixed_times() {
        let whole_day: Vec<String> = (0..24).map(|hour| hour.to_string()).collect();
        let whole_day = format!("0 {} * * *", whole_day.join(","));
        for text in [
            "* * * * *",
            "0 * * * *",
            "*/30 2 * * *",
            "0 8-20/2 * * *",
            "*/5 0 2 * * *",
            "0 0-23 * * *",
            &whole_day,
        ] {
            assert!(check(text).unwrap().repeats, "{text}");
        }
        for text in ["0 3 * * *", "0,30 2 * * *", "0 1-4 * * *", "0 3 */2 */2 *", "5 0 3 * * 1-5"] {
            assert!(!check(text).unwrap().repeats, "{text}");
        }
    }

    #[test]
    fn a_refusal_names_the_field_the_cause_and_the_way_out() {
        for (text, expected) in [
            (
                "60 * * * *",
                "schedule `60 * * * *`: minute `60`: 60 is more than 59; write 0 to 59, `0-30`, `*/15` or `*`",
            ),
            ("0 24 * * *", "hour `24`: 24 is more than 23; write 0 to 23"),
            ("0 0 0 * *", "day of month `0`: 0 is less than 1; write 1 to 31"),
            ("0 0 * 13 *", "month `13`: 13 is more than 12"),
            ("0 0 * * 8", "weekday `8`: 8 is more than 7; write 0 to 7 (0 and 7 are Sunday)"),
            ("0 0 * * MO", "weekday `MO`: `MO` is not a value of this field"),
            ("0 MON * * *", "hour `MON`: `MON` is not a value of this field"),
            ("*/0 * * * *", "minute `*/0`: a step of 0 leads nowhere; write a step of at least 1"),
            (
                "*/90 * * * *",
                "minute `*/90`: a step of 90 is longer than the field, which has 0 to 59; name the value itself, or use `@every`",
            ),
            ("5/15 * * * *", "minute `5/15`: a step needs a range, and `5` is none; write `5-59/15`"),
            ("0 22-2 * * *", "hour `22-2`: the range runs backwards, from 22 to 2; write `22-23,0-2`"),
            ("0 0 * * FRI-MON", "from FRI to MON; write `FRI-6,0-MON`"),
            ("0 0 ? * MON", "day of month `?`: `?` is not known; write `*`"),
            ("0 0 * * MON#6", "`#6` is not the place of a week in a month; write `#1` to `#5`, or `#L`"),
            ("1,,2 * * * *", "minute `1,,2`: an item of the list is empty"),
            ("*,5 * * * *", "minute `*,5`: `*` in a list is everything already"),
            ("-5 * * * *", "minute `-5`: `` is not a value"),
            ("0 0 1W * *", "day of month `1W`: `1W` is not a value"),
            ("99999999999999999999 * * * *", "99999999999999999999 is more than 59"),
            (
                "* * * *",
                "a cron expression has 5 fields (minute, hour, day of month, month, weekday) or 6 (seconds first), and this has 4; write",
            ),
            ("* * * * * * 2026", "and this has 7"),
        ] {
            let message = message(text);
            assert!(message.contains(expected), "{text}: {message}");
            assert!(message.starts_with(&format!("schedule `{text}`: ")), "{message}");
        }
    }
}
