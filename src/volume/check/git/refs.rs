//! What names objects in a git repository: `HEAD`, the files below `refs`, `packed-refs`; and the settings that say how
//! all of it is to be read. A name of no object in any of these is damage.

use std::collections::HashSet;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::super::limit::{Limit, Tally, open_file, read_start};
use super::name::Name;

/// Names of refs are paths.
const LONGEST_LINE: u64 = 16 << 10;
const MOST_LEVELS: usize = 64;

pub(super) struct Settings {
    /// Not all objects are meant to be there.
    pub(super) is_partial: bool,
}

/// None, if it cannot be checked here.
pub(super) fn settings(directory: &Path, tally: &mut Tally) -> Option<Settings> {
    let path = directory.join("config");
    let bytes = match read_start(&path, 1 << 20) {
        Ok(bytes) => bytes,
        // Git takes one without settings for one of the first format.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(Settings { is_partial: false }),
        Err(error) => {
            tally.unknown(format!("config: {error}"));
            return None;
        }
    };
    // What a power cut leaves of a file that was just written.
    if bytes.contains(&0) {
        tally.damaged("config holds NUL bytes");
        return None;
    }
    let read = git2::Config::open(&path).and_then(|mut config| {
        let config = config.snapshot()?;
        let text = |name: &str| config.get_str(name).unwrap_or_default().to_ascii_lowercase();
        let (format, storage) = (text("extensions.objectformat"), text("extensions.refstorage"));
        let promised = config.get_bool("remote.origin.promisor").unwrap_or(false);
        Ok((format, storage, promised || !text("extensions.partialclone").is_empty()))
    });
    match read {
        Ok((format, storage, is_partial)) => {
            if !matches!(format.as_str(), "" | "sha1") {
                tally.unknown(format!("names of objects are made by {format}, which is not known here"));
                return None;
            }
            if !matches!(storage.as_str(), "" | "files") {
                tally.unknown(format!("refs are stored as {storage}, which is not known here"));
                return None;
            }
            Some(Settings { is_partial })
        }
        Err(error) => {
            tally.unknown(format!("config: {}", error.message()));
            None
        }
    }
}

/// All that is named, and by what.
#[derive(PartialEq)]
pub(super) struct Refs(pub(super) Vec<(String, Name)>);

enum Content {
    Object(Name),
    /// Another ref, which may not be there yet.
    Ref,
}

impl Refs {
    pub(super) fn read(directory: &Path, limit: &Limit, tally: &mut Tally) -> io::Result<Self> {
        let mut refs = Self(Vec::new());
        let head = directory.join("HEAD");
        match fs::symlink_metadata(&head) {
            // As they were made long ago.
            Ok(metadata) if metadata.is_symlink() => {}
            Ok(_) => match content(&read_start(&head, LONGEST_LINE)?) {
                Ok(Content::Object(name)) => refs.0.push(("HEAD".to_owned(), name)),
                Ok(Content::Ref) => {}
                Err(why) => tally.damaged(format!("HEAD {why}")),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => tally.damaged("HEAD is missing"),
            Err(error) => return Err(error),
        }
        refs.loose(directory, limit, tally)?;
        refs.packed(&directory.join("packed-refs"), limit, tally)?;
        Ok(refs)
    }

    fn loose(&mut self, directory: &Path, limit: &Limit, tally: &mut Tally) -> io::Result<()> {
        let mut open = vec![("refs".to_owned(), 0)];
        while let Some((at, level)) = open.pop() {
            limit.check()?;
            // What is gone again was removed by a program at work.
            let Some(entries) = if_there(fs::read_dir(directory.join(&at)))? else { continue };
            for entry in entries {
                let entry = entry?;
                let Some(name) = entry.file_name().to_str().filter(|name| is_name(name)).map(str::to_owned)
                else {
                    continue;
                };
                let (kind, shown) = (entry.file_type()?, format!("{at}/{name}"));
                if kind.is_dir() && level < MOST_LEVELS {
                    open.push((shown, level + 1));
                } else if kind.is_file() {
                    let Some(bytes) = if_there(read_start(&entry.path(), LONGEST_LINE))? else { continue };
                    match content(&bytes) {
                        Ok(Content::Object(name)) => self.0.push((shown, name)),
                        Ok(Content::Ref) => {}
                        Err(why) => tally.damaged(format!("{shown} {why}")),
                    }
                }
            }
        }
        Ok(())
    }

    /// What stands in a file of its own hides what is packed, which may be long gone.
    fn packed(&mut self, path: &Path, limit: &Limit, tally: &mut Tally) -> io::Result<()> {
        let Some(file) = if_there(open_file(path))? else { return Ok(()) };
        let hidden: HashSet<String> = self.0.iter().map(|(name, _)| name.clone()).collect();
        let mut lines = BufReader::new(file);
        let mut number = 0;
        loop {
            let mut line = Vec::new();
            if (&mut lines).take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            number += 1;
            if number % 1000 == 0 {
                limit.check()?;
            }
            line.pop_if(|last| *last == b'\n');
            let understood = match line.first() {
                Some(b'#') => Some(None),
                // What the tag before leads to.
                Some(b'^') => line.get(1..).and_then(Name::of_hex).map(|_| None),
                _ => packed_line(&line).map(Some),
            };
            match understood {
                None => {
                    tally.damaged(format!("line {number} of packed-refs names no object"));
                    return Ok(());
                }
                Some(Some((name, object))) if !hidden.contains(&name) => self.0.push((name, object)),
                Some(_) => {}
            }
        }
    }
}

fn packed_line(line: &[u8]) -> Option<(String, Name)> {
    let (hex, rest) = line.split_at_checked(40)?;
    let name = rest.strip_prefix(b" ").filter(|name| !name.is_empty() && !name.contains(&0))?;
    Some((String::from_utf8_lossy(name).into_owned(), Name::of_hex(hex)?))
}

/// What is wrong with it, else.
fn content(bytes: &[u8]) -> Result<Content, &'static str> {
    if bytes.is_empty() {
        return Err("is empty");
    }
    if bytes.contains(&0) {
        return Err("holds NUL bytes");
    }
    let text = bytes.trim_ascii();
    if let Some(target) = text.strip_prefix(b"ref:") {
        return match target.trim_ascii_start().starts_with(b"refs/") {
            true => Ok(Content::Ref),
            false => Err("names no ref"),
        };
    }
    let hex = text.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    Name::of_hex(hex).map(Content::Object).ok_or("names no object")
}

/// Others than git put their files there too: those are not refs to git either. A lock is left by a crash.
fn is_name(name: &str) -> bool {
    let odd = |c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    let at_its_ends = name.starts_with('.') || name.ends_with(".lock") || name.ends_with('.');
    let inside = name.contains("..") || name.contains("@{") || name.contains(odd);
    !at_its_ends && !inside
}

pub(super) fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_refs_hold_is_told_apart() {
        let hex = "1234567890".repeat(4);
        assert!(matches!(content(format!("{hex}\n").as_bytes()), Ok(Content::Object(_))));
        assert!(matches!(content(format!("{hex}\tof a fetch\n").as_bytes()), Ok(Content::Object(_))));
        assert!(matches!(content(b"ref: refs/heads/main\n"), Ok(Content::Ref)));
        for bytes in [&b""[..], &[0; 41], b"\n", b"ref: elsewhere", b"12345\n", b"nonsense"] {
            assert!(content(bytes).is_err(), "{bytes:?}");
        }
        assert!(packed_line(format!("{hex} refs/heads/a").as_bytes()).is_some());
        for line in
            [hex.clone(), format!("{hex} "), format!("{hex}refs/heads/a"), "x refs/heads/a".to_owned()]
        {
            assert!(packed_line(line.as_bytes()).is_none(), "{line}");
        }
        assert!(is_name("main") && !is_name("main.lock") && !is_name(".DS_Store"));
    }
}
