//! Checks files against a list of their hashes, as `sha256sum` and its kin write it. What the list says is believed only
//! where it can be read for certain: a line that cannot is no damage of what it may speak of.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use data_encoding::HEXLOWER_PERMISSIVE;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::files::{judge, real_volume, resolve};
use super::limit::{Limit, Tally, limited, open_file};
use super::{Level, Verdict};
use crate::snapshot::RelativePath;

const LONGEST_LINE: u64 = 64 << 10;

/// With which the hashes were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    Sha1,
    Sha256,
    Sha512,
    /// As `b3sum` writes it.
    Blake3,
}

pub(super) fn run(
    volume: &Path,
    path: &RelativePath,
    algorithm: Option<Algorithm>,
    level: Level,
    span: Duration,
) -> Verdict {
    let (volume, path) = (volume.to_owned(), path.clone());
    limited(span, move |limit| {
        let read = resolve(&volume, &path).and_then(|list| {
            let volume = real_volume(&volume)?;
            let mut tally = Tally::default();
            // A list that ends early has said what it has said.
            if let Err(error) = each_line(&list, &volume, algorithm, level, limit, &mut tally) {
                tally.unknown(error.to_string());
            }
            Ok(tally.verdict())
        });
        judge(read)
    })
}

fn each_line(
    list: &Path,
    volume: &Path,
    algorithm: Option<Algorithm>,
    level: Level,
    limit: &Limit,
    tally: &mut Tally,
) -> io::Result<()> {
    let mut lines = BufReader::new(open_file(list)?);
    let directory = list.parent().unwrap_or(volume);
    let (mut number, mut listed) = (0, 0);
    while !tally.is_full() {
        limit.check()?;
        let mut line = Vec::new();
        if (&mut lines).take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        number += 1;
        let ended = line.pop_if(|last| *last == b'\n').is_some();
        if !ended && line.len() as u64 == LONGEST_LINE {
            tally.unknown(format!("line {number} is longer than any that is read"));
            break;
        }
        if line.is_empty() || line.first() == Some(&b'#') {
            continue;
        }
        match understand(&line, algorithm) {
            Some(listed_file) => {
                listed += 1;
                one(&listed_file, directory, volume, level, limit, tally)?;
            }
            None => tally.unknown(format!("line {number} cannot be read")),
        }
    }
    if listed == 0 && tally.is_whole() {
        tally.unknown("it lists no file");
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Listed {
    hash: Vec<u8>,
    algorithm: Algorithm,
    name: Vec<u8>,
}

fn understand(line: &[u8], wanted: Option<Algorithm>) -> Option<Listed> {
    let (escaped, line) = match line.strip_prefix(b"\\") {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let (tag, hash, name) = tagged(line).or_else(|| plain(line))?;
    let hash = HEXLOWER_PERMISSIVE.decode(hash).ok()?;
    let by_length = match hash.len() {
        20 => Algorithm::Sha1,
        32 => Algorithm::Sha256,
        64 => Algorithm::Sha512,
        _ => return None,
    };
    let algorithm = tag.or(wanted).unwrap_or(by_length);
    let fits = algorithm == by_length || (algorithm, by_length) == (Algorithm::Blake3, Algorithm::Sha256);
    // A carriage return in a name is escaped: this one comes from a list that was written for Windows.
    let returns = name.contains(&b'\r');
    let name = if escaped { unescape(name)? } else { name.to_owned() };
    let odd = returns || name.is_empty() || name.contains(&0);
    (fits && !odd && wanted.is_none_or(|wanted| wanted == algorithm)).then_some(Listed {
        hash,
        algorithm,
        name,
    })
}

/// `hash  name`, or with `*` for the second space.
fn plain(line: &[u8]) -> Option<(Option<Algorithm>, &[u8], &[u8])> {
    let at = line.iter().position(|byte| *byte == b' ')?;
    let (hash, rest) = line.split_at_checked(at)?;
    let name = rest.strip_prefix(b"  ").or_else(|| rest.strip_prefix(b" *"))?;
    Some((None, hash, name))
}

/// `SHA256 (name) = hash`.
fn tagged(line: &[u8]) -> Option<(Option<Algorithm>, &[u8], &[u8])> {
    let tags: [(&[u8], Algorithm); 4] = [
        (b"SHA1 (", Algorithm::Sha1),
        (b"SHA256 (", Algorithm::Sha256),
        (b"SHA512 (", Algorithm::Sha512),
        (b"BLAKE3 (", Algorithm::Blake3),
    ];
    let (rest, algorithm) =
        tags.iter().find_map(|(tag, algorithm)| Some((line.strip_prefix(*tag)?, *algorithm)))?;
    let end = b") = ";
    let at = rest.windows(end.len()).rposition(|window| window == end)?;
    Some((Some(algorithm), rest.get(at + end.len()..)?, rest.get(..at)?))
}

fn unescape(name: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next()? {
                b'\\' => b'\\',
                b'n' => b'\n',
                b'r' => b'\r',
                _ => return None,
            },
            byte => *byte,
        });
    }
    Some(plain)
}

fn one(
    listed: &Listed,
    directory: &Path,
    volume: &Path,
    level: Level,
    limit: &Limit,
    tally: &mut Tally,
) -> io::Result<()> {
    let shown = String::from_utf8_lossy(&listed.name).into_owned();
    let place = directory.join(OsStr::from_bytes(&listed.name));
    if !lies_below(&place, volume) {
        tally.unknown(format!("{shown} leads out of the volume"));
        return Ok(());
    }
    let real = match std::fs::canonicalize(&place) {
        Ok(real) if real.starts_with(volume) => real,
        Ok(_) => {
            tally.unknown(format!("{shown} leads out of the volume"));
            return Ok(());
        }
        // A link may lead to what is missing outside.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !dangles(&place) => {
            tally.damaged(format!("{shown} is missing"));
            return Ok(());
        }
        Err(error) => {
            tally.unknown(format!("{shown}: {error}"));
            return Ok(());
        }
    };
    if level == Level::Quick {
        return Ok(());
    }
    let found = open_file(&real).and_then(|file| hash(file, listed.algorithm, limit));
    match found {
        Ok(found) if found == listed.hash => {}
        Ok(_) => tally.damaged(format!("{shown} has another content than is listed")),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(error),
        Err(error) => tally.unknown(format!("{shown}: {error}")),
    }
    Ok(())
}

/// Whether it, or a directory on the way to it, is a link to what is not there.
fn dangles(place: &Path) -> bool {
    let is_link = |path: &Path| std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    place.ancestors().any(|path| is_link(path) && std::fs::metadata(path).is_err())
}

/// By its text alone: `..` is taken back.
fn lies_below(place: &Path, volume: &Path) -> bool {
    let mut plain = PathBuf::new();
    for part in place.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain.starts_with(volume)
}

fn hash(mut file: std::fs::File, algorithm: Algorithm, limit: &Limit) -> io::Result<Vec<u8>> {
    fn digest<D: Digest>(file: &mut dyn Read, limit: &Limit) -> io::Result<Vec<u8>> {
        let mut digest = D::new();
        limit.stream(file, u64::MAX, &mut |piece| digest.update(piece))?;
        Ok(digest.finalize().to_vec())
    }
    match algorithm {
        Algorithm::Sha1 => digest::<Sha1>(&mut file, limit),
        Algorithm::Sha256 => digest::<Sha256>(&mut file, limit),
        Algorithm::Sha512 => digest::<Sha512>(&mut file, limit),
        Algorithm::Blake3 => {
            let mut hasher = blake3::Hasher::new();
            limit.stream(&mut file, u64::MAX, &mut |piece| {
                hasher.update(piece);
            })?;
            Ok(hasher.finalize().as_bytes().to_vec())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_are_written() {
        let hex = "ab".repeat(32);
        let read =
            |line: String| understand(line.as_bytes(), None).map(|listed| (listed.algorithm, listed.name));
        let sha256 = |name: &str| Some((Algorithm::Sha256, name.as_bytes().to_vec()));
        assert_eq!(read(format!("{hex}  a b")), sha256("a b"));
        assert_eq!(read(format!("{hex} *a")), sha256("a"));
        assert_eq!(read(format!("\\{hex}  a\\nb\\\\c")), sha256("a\nb\\c"));
        assert_eq!(read(format!("SHA256 (a) = b) = {hex}")), sha256("a) = b"));
        assert_eq!(read(format!("{}  a", hex.to_uppercase())), sha256("a"));
        assert_eq!(read(format!("{hex}{hex}  a")).unwrap().0, Algorithm::Sha512);
        assert_eq!(read(format!("{}  a", &hex[..40])).unwrap().0, Algorithm::Sha1);
        for line in [
            "".to_owned(),
            hex.clone(),
            format!("{hex}  "),
            format!("{hex}  a\r"),
            format!("{hex} a"),
            format!("{}  a", &hex[..32]),
            format!("\\{hex}  a\\x"),
            format!("SHA512 (a) = {hex}"),
            format!("MD5 (a) = {hex}"),
            "\0\0\0".to_owned(),
        ] {
            assert_eq!(read(line.clone()), None, "{line:?}");
        }
        let blake3 = understand(format!("{hex}  a").as_bytes(), Some(Algorithm::Blake3)).unwrap();
        assert_eq!(blake3.algorithm, Algorithm::Blake3);
        assert_eq!(understand(format!("SHA256 (a) = {hex}").as_bytes(), Some(Algorithm::Sha512)), None);
    }

    #[test]
    fn names_lead_nowhere_else() {
        let volume = Path::new("/srv/data");
        assert!(lies_below(Path::new("/srv/data/a/../b"), volume));
        assert!(!lies_below(Path::new("/srv/data/a/../../b"), volume));
        assert!(!lies_below(Path::new("/etc/passwd"), volume));
    }
}
