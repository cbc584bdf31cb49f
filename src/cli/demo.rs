//! `volkeep demo`: plays the whole life of a volume through, on data of its own, with the same operations that
//! the other commands call.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use crate::base::hash::Hash;
use crate::base::id::random_hex;
use crate::base::units::ByteSize;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::render::grouped;
use crate::cli::scope::scope_of;
use crate::config::checks::CheckSpec;
use crate::config::model::{Config, RepositoryConfig};
use crate::config::repository_url::RepositoryUrl;
use crate::ops::{self, OpsError, Scope};
use crate::tree::{EntryReader, FileKind, Root, Walk, WalkOptions};

const FILES: usize = 5_000;
const DATABASE: &str = "app.db";

/// Play a backup, a loss and a restore through, on data made for it
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Play in this new directory and leave it behind, in place of a temporary one
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

pub fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let place = match &arguments.directory {
        Some(directory) => std::path::absolute(directory).map_err(OpsError::io("find", directory))?,
        None => {
            let name = random_hex(4).map_err(|error| Failure::of(Exit::Failed, &error))?;
            std::env::temp_dir().join(format!("volkeep-demo-{name}"))
        }
    };
    fs::create_dir(&place).map_err(OpsError::io("create", &place))?;
    let played = play(&place, context);
    if arguments.directory.is_none() {
        let _ = fs::remove_dir_all(&place);
    }
    played.map(|()| Exit::Done)
}

fn play(place: &Path, context: &mut Context<'_>) -> Result<(), Failure> {
    let config = configuration(place)?;
    let data = config.volume.path.clone();
    let scope = scope_of(&config, context.environment, &context.cancel)?;
    let init = || ops::init::run(&scope, &config.init_options(false)).map_err(Failure::from);
    let backup = || ops::backup::run(&scope, &config.backup_options(false, false)).map_err(Failure::from);
    let mut story = Story { context, number: 0 };

    let (_, took) = timed(init)?;
    story.tell("init on a first boot makes the repository and starts empty", took, "")?;

    let (bytes, took) = timed(|| fill(&data))?;
    let filled = format!("{} files, {}", grouped(FILES as u64 + 1), ByteSize(bytes));
    story.tell("the app writes its data", took, &filled)?;

    let ((stored, _), took) = timed(backup)?;
    let sizes = stored.first().map(|one| {
        format!("{} stored as {}", ByteSize(one.report.added_bytes), ByteSize(one.report.stored_bytes))
    });
    story.tell("backup", took, &sizes.unwrap_or_default())?;

    let ((stored, _), took) = timed(backup)?;
    let read = stored.first().map(|one| format!("{} files read", one.report.files_read));
    story.tell("backup again, nothing changed", took, &read.unwrap_or_default())?;

    let before = picture(&data)?;
    let (_, took) = timed(|| destroy(&scope))?;
    story.tell("disaster: the whole volume is gone", took, "")?;

    let (report, took) = timed(init)?;
    let restored = report.brought.map(|brought| brought.restore.files).unwrap_or_default();
    story.tell(
        "init finds an empty volume and restores it",
        took,
        &format!("{} files", grouped(restored)),
    )?;

    let (after, took) = timed(|| picture(&data))?;
    require(before == after, "the restored tree is not the one that was backed up")?;
    story.tell("compare every name, mode, owner, time and byte", took, "identical")?;

    let (_, took) = timed(|| cut_in_half(&data.join(DATABASE)))?;
    story.tell("disaster: the database is cut in half", took, "")?;

    let (report, took) = timed(init)?;
    let found = format!("state {}; the damaged data is kept in quarantine", report.state);
    story.tell("init finds the damage and restores", took, &found)?;
    require(picture(&data)? == before, "the volume is not as it was backed up")?;

    let (report, took) = timed(init)?;
    require(report.brought.is_none(), "a healthy volume was restored again")?;
    story.tell("init on the healthy volume does nothing", took, "")?;

    let ((stored, _), took) = timed(backup)?;
    let read = stored.first().map(|one| format!("{} files read", one.report.files_read));
    story.tell("backup after the restore", took, &read.unwrap_or_default())?;
    story.context.print("\nThe volume came back twice, byte for byte.\n")
}

struct Story<'s, 'c> {
    context: &'s mut Context<'c>,
    number: u32,
}

impl Story<'_, '_> {
    fn tell(&mut self, what: &str, took: Duration, result: &str) -> Result<(), Failure> {
        self.number += 1;
        let milliseconds = took.as_secs_f64() * 1000.0;
        let line = format!("{:>2}. {what:<58} {milliseconds:>8.1} ms  {result}", self.number);
        self.context.print(&format!("{}\n", line.trim_end()))?;
        self.context.flush()
    }
}

fn timed<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<(T, Duration), Failure> {
    let started = Instant::now();
    let result = work()?;
    Ok((result, started.elapsed()))
}

fn configuration(place: &Path) -> Result<Config, Failure> {
    let mut config = Config::default();
    config.volume.path = place.join("volume/data");
    config.volume.state_dir = place.join("volume/.volkeep");
    config.volume.identity = "demo".to_owned();
    config.init.create_repository = true;
    let check = CheckSpec::sqlite(DATABASE).map_err(|error| Failure::new(Exit::Failed, error))?;
    config.init.checks = vec![check];
    config.repositories =
        vec![RepositoryConfig { url: RepositoryUrl::File(place.join("repository")), ..Default::default() }];
    fs::create_dir(place.join("volume")).map_err(OpsError::io("create", place))?;
    // The first init has nothing to check yet.
    Ok(config)
}

/// Small pages and a database, as a wiki would have them. Returns the bytes written.
fn fill(data: &Path) -> Result<u64, Failure> {
    let mut bytes = 0;
    for number in 0..FILES {
        let directory = data.join(format!("pages/{:02}", number % 50));
        fs::create_dir_all(&directory).map_err(OpsError::io("create", &directory))?;
        let page = directory.join(format!("page-{number}.md"));
        let line = Hash::of(&number.to_le_bytes()).to_hex();
        let text = format!("# Page {number}\n\n{}\n", format!("{line}\n").repeat(number % 60));
        bytes += text.len() as u64;
        fs::write(&page, text).map_err(OpsError::io("write", &page))?;
    }
    let database = data.join(DATABASE);
    make_database(&database).map_err(|error| Failure::of(Exit::Failed, &error))?;
    Ok(bytes + fs::metadata(&database).map_err(OpsError::io("look at", &database))?.len())
}

fn make_database(path: &Path) -> rusqlite::Result<()> {
    let mut connection = rusqlite::Connection::open(path)?;
    connection.execute("CREATE TABLE visit (id INTEGER PRIMARY KEY, page TEXT)", [])?;
    let writing = connection.transaction()?;
    for number in 0..20_000 {
        writing.execute("INSERT INTO visit (page) VALUES (?1)", [format!("page-{}", number % FILES)])?;
    }
    writing.commit()
}

fn destroy(scope: &Scope) -> Result<(), Failure> {
    for path in [scope.volume.path(), scope.volume.state_dir()] {
        fs::remove_dir_all(path).map_err(OpsError::io("remove", path))?;
    }
    Ok(())
}

fn cut_in_half(path: &Path) -> Result<(), Failure> {
    let file = fs::OpenOptions::new().write(true).open(path).map_err(OpsError::io("open", path))?;
    let length = file.metadata().map_err(OpsError::io("look at", path))?.len();
    file.set_len(length / 2).map_err(OpsError::io("cut", path))?;
    Ok(())
}

/// A hash over every name, mode, owner, time and byte of a tree.
fn picture(data: &Path) -> Result<Hash, Failure> {
    let failed = |error: &dyn std::error::Error| Failure::of(Exit::Failed, error);
    let root = Root::open(data).map_err(|error| failed(&error))?;
    let mut reader = EntryReader::new(&root);
    let mut hasher = blake3::Hasher::new();
    for found in Walk::new(&root, WalkOptions::default()) {
        let found = found.map_err(|problem| failed(&problem.error))?;
        let entry = reader.entry(&found).map_err(|error| failed(&error))?;
        hasher.update(&serde_json::to_vec(&entry).map_err(|error| failed(&error))?);
        if found.stat.kind == FileKind::File {
            let file = reader.open(&found.path).map_err(|error| failed(&error))?;
            hasher.update_reader(file).map_err(|error| failed(&error))?;
        }
    }
    Ok(Hash::finish(&hasher))
}

fn require(holds: bool, otherwise: &str) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::new(Exit::Failed, format!("the demo went wrong: {otherwise}"))) }
}
