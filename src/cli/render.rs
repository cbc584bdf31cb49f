//! Text for people: tables, counts and names that do not disturb a terminal.

use std::borrow::Cow;

use serde::Serialize;

use crate::base::units::ByteSize;
use crate::cli::exit::{Exit, Failure};
use crate::ops::bring::Brought;

/// Pretty JSON with a newline at the end.
pub fn json<T: Serialize>(value: &T) -> Result<String, Failure> {
    let mut text = serde_json::to_string_pretty(value).map_err(|error| Failure::of(Exit::Failed, &error))?;
    text.push('\n');
    Ok(text)
}

/// One JSON object on a line of its own.
pub fn json_line<T: Serialize>(value: &T) -> Result<String, Failure> {
    let mut text = serde_json::to_string(value).map_err(|error| Failure::of(Exit::Failed, &error))?;
    text.push('\n');
    Ok(text)
}

/// What a restore brought, in a few lines.
pub fn describe_brought(brought: &Brought) -> String {
    let restore = &brought.restore;
    let mut text = format!("restored {} from {}", brought.snapshot, brought.repository);
    if restore.entries > 0 {
        text.push_str(&format!(": {}, {}", plural(restore.files, "file", "files"), ByteSize(restore.bytes)));
    }
    if restore.reused_files > 0 {
        text.push_str(&format!(
            ", {} kept from an interrupted run",
            plural(restore.reused_files, "file", "files")
        ));
    }
    text.push('\n');
    if let Some(quarantine) = &brought.quarantine {
        text.push_str(&format!("the data that was there is kept in {}\n", quarantine.display()));
    }
    text
}

/// Metadata that could not be set: never silent.
pub fn warn_of_problems(problems: &[String], count: u64) {
    for problem in problems {
        tracing::warn!("{}", printable(problem));
    }
    if count > problems.len() as u64 {
        tracing::warn!("and {} more like these", grouped(count - problems.len() as u64));
    }
}

/// `1 file`, `12,345 files`.
pub fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// `12,345`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// File names may hold anything: control characters are written out, so that a name cannot drive the terminal.
pub fn printable(text: &str) -> Cow<'_, str> {
    match text.contains(char::is_control) {
        false => Cow::Borrowed(text),
        true => text
            .chars()
            .map(|character| match character.is_control() {
                true => Cow::Owned(character.escape_default().to_string()),
                false => Cow::Owned(character.to_string()),
            })
            .collect::<String>()
            .into(),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// Columns as wide as their widest cell, two spaces between them, a line each.
pub fn table(columns: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&head).chain(rows).collect();
    let width = |column: usize| {
        all.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for row in all {
        let mut line = String::new();
        for ((cell, (_, align)), width) in row.iter().zip(columns).zip(&widths) {
            let cell = match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            };
            line.push_str(&cell);
            line.push_str("  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped() {
        assert_eq!(plural(1, "file", "files"), "1 file");
        assert_eq!(plural(0, "file", "files"), "0 files");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(123), "123");
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".to_owned(), "10".to_owned()], vec!["long".to_owned(), "5".to_owned()]];
        let text = table(&[("name", Align::Left), ("size", Align::Right)], &rows);
        assert_eq!(text, "name  size\na       10\nlong     5\n");
    }

    #[test]
    fn names_cannot_drive_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(printable("übung"), "übung");
    }
}
