//! Reads what a service says of itself before it is asked anything: references and capabilities. Knows nothing of
//! the way it comes, but for the line that comes before it over http.

use super::packet::{Packet, Packets, trimmed};
use super::said::clean;
use super::trouble::{self, Meaning};
use super::{Advertisement, Service};
use crate::repository::RepositoryError;
use crate::repository::git::oid::Oid;

/// In bytes: more than half a million references. What is longer is an attack rather than a repository.
const LONGEST: usize = 64 << 20;
/// Digits of a name by SHA-256.
const LONG: usize = 64;

/// `None` when the server says that there is no such repository. Ends before the first byte that is not part of it.
pub(super) fn read(packets: &mut Packets<'_>) -> Result<Option<Advertisement>, RepositoryError> {
    read_lines(packets)
}

/// As it comes over http: behind a line that names the service.
pub(super) fn read_over_http(
    packets: &mut Packets<'_>,
    service: Service,
) -> Result<Option<Advertisement>, RepositoryError> {
    let location = packets.location();
    let expected = format!("# service={}", service.word());
    match packets.next()? {
        Some(Packet::Data(line)) if trimmed(line) == expected.as_bytes() => {}
        Some(Packet::Data(line)) => return failure(line, location),
        _ => return Err(trouble::protocol(location, "this is not the smart protocol of git")),
    }
    match packets.next()? {
        Some(Packet::Flush) => read_lines(packets),
        _ => Err(trouble::protocol(location, "the line that names the service is not alone")),
    }
}

fn read_lines(packets: &mut Packets<'_>) -> Result<Option<Advertisement>, RepositoryError> {
    let location = packets.location();
    let mut found = Advertisement::default();
    let mut first = true;
    let mut total = 0;
    loop {
        let line = match packets.next()? {
            Some(Packet::Data(line)) => trimmed(line),
            Some(Packet::Flush) => break,
            None if first => return Err(trouble::temporary(location, "it ended before it said anything")),
            None => return Err(trouble::temporary(location, "the list of references ended in the middle")),
        };
        total += line.len();
        if total > LONGEST {
            return Err(trouble::protocol(location, "the list of references is too long"));
        }
        if first && (line == b"version 1" || line.is_empty()) {
            continue;
        }
        let mut parts = line.splitn(2, |byte| *byte == 0);
        let entry = parts.next().unwrap_or_default();
        if let Some(capabilities) = parts.next().filter(|_| first) {
            let words = String::from_utf8_lossy(capabilities);
            found.capabilities = words.split_whitespace().map(str::to_owned).collect();
        }
        first = false;
        if entry.starts_with(b"ERR ") {
            return failure(entry, location);
        }
        entry_into(&mut found, entry, location)?;
    }
    let format = found.capabilities.iter().find_map(|word| word.strip_prefix("object-format="));
    match format {
        None | Some("sha1") => Ok(Some(found)),
        Some(other) => Err(other_names(location, &other.to_uppercase())),
    }
}

fn entry_into(found: &mut Advertisement, entry: &[u8], location: &str) -> Result<(), RepositoryError> {
    let strange = || trouble::protocol(location, format!("this is no reference: `{}`", clean(entry)));
    let text = String::from_utf8_lossy(entry);
    // Where the history of the server itself ends is nothing to us.
    if text.starts_with("shallow ") {
        return Ok(());
    }
    let (digits, name) = text.split_once(' ').ok_or_else(strange)?;
    if digits.len() == LONG && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(other_names(location, "SHA256"));
    }
    let oid: Oid = digits.parse().map_err(|_| strange())?;
    // An empty repository, the object behind a tag, and what the server has from elsewhere.
    let no_reference = name == "capabilities^{}" || name.ends_with("^{}") || name == ".have";
    // What is no text cannot be asked for, and hides nothing that we look for.
    if !no_reference && !name.contains(|sign: char| sign.is_control() || sign == char::REPLACEMENT_CHARACTER)
    {
        found.references.insert(name.to_owned(), oid);
    }
    Ok(())
}

fn other_names(location: &str, format: &str) -> RepositoryError {
    let what = format!("the repository names its objects by {format}, and this program knows SHA1 alone");
    trouble::protocol(location, what)
}

fn failure(line: &[u8], location: &str) -> Result<Option<Advertisement>, RepositoryError> {
    match line.strip_prefix(b"ERR ").map(clean) {
        Some(words) if trouble::meaning(&words) == Meaning::NoRepository => Ok(None),
        Some(words) => Err(trouble::refused(location, &words)),
        None => {
            Err(trouble::protocol(location, format!("this is not the smart protocol: `{}`", clean(line))))
        }
    }
}

#[cfg(test)]
#[path = "advertisement_tests.rs"]
mod tests;
