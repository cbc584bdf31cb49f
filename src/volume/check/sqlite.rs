//! Checks a database file of SQLite without changing it or its log. Only damage that SQLite itself names is a
//! finding: a database that is busy, locked or in the middle of a transaction says nothing.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::files::{judge, resolve};
use super::{Level, Verdict};
use crate::snapshot::RelativePath;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const HEADER: usize = 100;
/// SQLite stops looking after so many errors; one is enough to know.
const MOST_ERRORS: u32 = 10;
const BUSY_WAIT: Duration = Duration::from_millis(500);
const INTERRUPT_EVERY: Duration = Duration::from_millis(20);

pub(super) fn run(volume: &Path, path: &RelativePath, level: Level, limit: Duration) -> Verdict {
    let place = match resolve(volume, path) {
        Ok(place) => place,
        Err(error) => return judge(Err(error)),
    };
    match (judge(look_at_header(&place)), level) {
        (Verdict::Good, Level::Full) => check_integrity(&place, limit),
        (verdict, _) => verdict,
    }
}

/// Bytes and figures as in SQLite's description of its file format, section 1.3.
fn look_at_header(place: &Path) -> io::Result<Verdict> {
    let damaged = |text: String| Ok(Verdict::Damaged(text));
    // Opening a pipe would wait for ever.
    if !std::fs::metadata(place)?.is_file() {
        return damaged("it is not a file".to_owned());
    }
    let file = File::open(place)?;
    let size = file.metadata()?.len();
    if size == 0 {
        return damaged("it is empty".to_owned());
    }
    let mut header = Vec::new();
    (&file).take(HEADER as u64).read_to_end(&mut header)?;
    if !header.starts_with(MAGIC) {
        return damaged("it is not an SQLite database".to_owned());
    }
    if header.len() < HEADER {
        return damaged(format!("it ends in its header, after {size} bytes"));
    }
    let two = |at: usize| {
        u64::from(header.get(at).copied().unwrap_or(0)) << 8
            | u64::from(header.get(at + 1).copied().unwrap_or(0))
    };
    let four = |at: usize| two(at) << 16 | two(at + 2);
    let page = if two(16) == 1 { 65_536 } else { two(16) };
    if !(512..=65_536).contains(&page) || !page.is_power_of_two() {
        return damaged(format!("its header names an impossible page size of {page} bytes"));
    }
    // The count of pages is valid only if the last writer was one that keeps it (3.7.0 and later), and may be
    // ahead of the file while there is a log or a journal to be played in.
    let pages = four(28);
    let settled = !has_content(&beside(place, "-wal"))? && !has_content(&beside(place, "-journal"))?;
    if pages > 0 && four(24) == four(92) && settled && size < pages.saturating_mul(page) {
        return damaged(format!("it is cut off: {size} bytes instead of {}", pages.saturating_mul(page)));
    }
    Ok(Verdict::Good)
}

/// How the database can be opened without writing to it.
enum Access {
    /// Nobody can have it open: no lock is needed, and no file appears beside it.
    Untouched,
    /// Under SQLite's own locks, for reading.
    ReadOnly,
    /// A log that nobody has open. Its index is kept in memory, and the log is not played in at the end.
    Recovering,
    /// A transaction was cut off: SQLite would roll it back, which is for the app to do.
    HotJournal,
}

fn check_integrity(place: &Path, limit: Duration) -> Verdict {
    let checked = match access(place) {
        Ok(Access::HotJournal) => {
            return Verdict::Unknown("an unfinished transaction waits to be rolled back".to_owned());
        }
        Ok(access) => open(place, &access).and_then(|connection| ask(&connection, limit)),
        Err(error) => return Verdict::Unknown(error.to_string()),
    };
    match checked {
        Ok(lines) if lines.iter().all(|line| line == "ok") => Verdict::Good,
        Ok(lines) => Verdict::Damaged(lines.join("; ")),
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Verdict::Damaged(error.to_string()),
            Some(ErrorCode::OperationInterrupted) => {
                Verdict::Unknown(format!("it was not done within {} s", limit.as_secs_f32()))
            }
            _ => Verdict::Unknown(error.to_string()),
        },
    }
}

fn access(place: &Path) -> io::Result<Access> {
    if is_hot(&beside(place, "-journal"))? {
        return Ok(Access::HotJournal);
    }
    let mut versions = [0u8; 2];
    File::open(place)?.read_exact_at(&mut versions, 18)?;
    let logged = versions.contains(&2);
    let (log, index) = (beside(place, "-wal").try_exists()?, beside(place, "-shm").try_exists()?);
    Ok(match (logged, log, index) {
        (true, false, false) => Access::Untouched,
        (true, true, false) => Access::Recovering,
        _ => Access::ReadOnly,
    })
}

fn open(place: &Path, access: &Access) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let (flags, query) = match access {
        Access::Untouched => (flags | OpenFlags::SQLITE_OPEN_READ_ONLY, "?immutable=1"),
        Access::Recovering => (flags | OpenFlags::SQLITE_OPEN_READ_WRITE, ""),
        Access::ReadOnly | Access::HotJournal => (flags | OpenFlags::SQLITE_OPEN_READ_ONLY, ""),
    };
    let connection = Connection::open_with_flags(uri(place) + query, flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.busy_timeout(BUSY_WAIT)?;
    if matches!(access, Access::Recovering) {
        // Before the first access: then SQLite keeps the log's index in memory and makes no `-shm` file.
        connection.execute_batch("PRAGMA locking_mode=EXCLUSIVE; PRAGMA wal_autocheckpoint=0;")?;
    }
    connection.execute_batch("PRAGMA query_only=1;")?;
    Ok(connection)
}

fn ask(connection: &Connection, limit: Duration) -> rusqlite::Result<Vec<String>> {
    let handle = connection.get_interrupt_handle();
    let (done, waiting) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut wait = limit;
            // Again and again: an interrupt that comes between two statements is lost.
            while waiting.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                handle.interrupt();
                wait = INTERRUPT_EVERY;
            }
        });
        let ask = || {
            let mut statement = connection.prepare(&format!("PRAGMA integrity_check({MOST_ERRORS})"))?;
            let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
            lines.collect::<rusqlite::Result<Vec<_>>>()
        };
        let lines = ask();
        drop(done);
        lines
    })
}

/// A journal whose first byte is zero has been finished and left for the next transaction.
fn is_hot(journal: &Path) -> io::Result<bool> {
    let mut first = [0u8; 1];
    match File::open(journal) {
        Ok(mut file) => Ok(file.read(&mut first)? == 1 && first != [0]),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn has_content(path: &Path) -> io::Result<bool> {
    Ok(crate::base::fs::metadata_if_present(path)?.is_some_and(|metadata| metadata.len() > 0))
}

fn beside(place: &Path, suffix: &str) -> PathBuf {
    let mut name = place.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// `file:` with every byte escaped that could mean something in it.
fn uri(place: &Path) -> String {
    use std::fmt::Write;
    use std::os::unix::ffi::OsStrExt;
    let mut text = String::from("file://");
    for byte in place.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => {
                text.push(char::from(*byte));
            }
            // Writing to a string cannot fail.
            _ => drop(write!(text, "%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn database(dir: &Path, mode: &str) -> PathBuf {
        let place = dir.join("app data?.db");
        let connection = Connection::open(&place).unwrap();
        connection.execute_batch(&format!("PRAGMA journal_mode={mode};")).unwrap();
        connection.execute_batch("CREATE TABLE t(x TEXT); CREATE INDEX i ON t(x);").unwrap();
        for number in 0..300 {
            connection.execute("INSERT INTO t VALUES (?1)", [format!("{number:0200}")]).unwrap();
        }
        place
    }

    fn check(place: &Path, level: Level, limit: Duration) -> Verdict {
        let name = place.file_name().unwrap().to_str().unwrap();
        run(place.parent().unwrap(), &RelativePath::new(name).unwrap(), level, limit)
    }

    fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut all: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect();
        all.sort();
        all
    }

    #[test]
    fn good_databases_pass_untouched() {
        for mode in ["DELETE", "WAL", "PERSIST", "TRUNCATE"] {
            let dir = tempfile::tempdir().unwrap();
            let place = database(dir.path(), mode);
            let before = contents(dir.path());
            for level in [Level::Quick, Level::Full] {
                assert!(matches!(check(&place, level, LIMIT), Verdict::Good), "{mode} {level:?}");
            }
            assert!(contents(dir.path()) == before, "{mode}");
        }
    }

    #[test]
    fn a_log_left_by_a_crash_is_read_and_left_as_it_is() {
        let (live, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let place = database(live.path(), "WAL");
        let connection = Connection::open(&place).unwrap();
        connection.execute_batch("PRAGMA wal_autocheckpoint=0; CREATE TABLE only_in_the_log(x);").unwrap();
        for suffix in ["", "-wal"] {
            let from = beside(&place, suffix);
            std::fs::copy(&from, crashed.path().join(from.file_name().unwrap())).unwrap();
        }
        let copy = crashed.path().join(place.file_name().unwrap());
        let before = contents(crashed.path());
        assert_eq!(before.len(), 2);
        assert!(matches!(check(&copy, Level::Full, LIMIT), Verdict::Good));
        assert!(contents(crashed.path()) == before);
        // The app is still at it here: its locks and its index are used, its files stay.
        assert!(matches!(check(&place, Level::Full, LIMIT), Verdict::Good));
        connection.execute_batch("INSERT INTO only_in_the_log VALUES (1);").unwrap();
    }

    #[test]
    fn damage_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let place = database(dir.path(), "DELETE");
        let good = std::fs::read(&place).unwrap();
        for level in [Level::Quick, Level::Full] {
            for cut in [0, 50, 3000, good.len() - 1] {
                std::fs::write(&place, &good[..cut]).unwrap();
                assert!(matches!(check(&place, level, LIMIT), Verdict::Damaged(_)), "{level:?} {cut}");
            }
            let mut other = good.clone();
            other[..6].copy_from_slice(b"Sqlite");
            std::fs::write(&place, &other).unwrap();
            assert!(matches!(check(&place, level, LIMIT), Verdict::Damaged(_)));
        }
        let mut scribbled = good;
        for byte in &mut scribbled[8192..24576] {
            *byte ^= 0x5a;
        }
        std::fs::write(&place, &scribbled).unwrap();
        assert!(matches!(check(&place, Level::Full, LIMIT), Verdict::Damaged(_)));
    }

    #[test]
    fn what_is_busy_unfinished_or_too_slow_is_not_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let place = database(dir.path(), "DELETE");
        assert!(matches!(check(&place, Level::Full, Duration::ZERO), Verdict::Good | Verdict::Unknown(_)));
        let connection = Connection::open(&place).unwrap();
        connection.execute_batch("PRAGMA cache_size=1; BEGIN EXCLUSIVE; DELETE FROM t;").unwrap();
        assert!(matches!(check(&place, Level::Full, LIMIT), Verdict::Unknown(_)));
        drop(connection);
        std::fs::write(beside(&place, "-journal"), "\u{d9}\u{d5}unfinished").unwrap();
        assert!(matches!(check(&place, Level::Full, LIMIT), Verdict::Unknown(_)));
    }
}
