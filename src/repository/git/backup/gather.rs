//! The walk beside what was known before: what is unchanged keeps its row, everything else is read by workers. Rows
//! come out in the order of the walk, and only so many are under way.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::base::threads;
use crate::repository::git::backup::job::{Job, Outcome, Shared, row_of, work};
use crate::repository::git::known::{Row, RowReader, RowWriter, Rows};
use crate::repository::git::layout::Layout;
use crate::repository::git::oid::Oid;
use crate::repository::git::sink::Sink;
use crate::repository::scan::{Problems, StatRow, bare_directory, settle};
use crate::repository::{BackupRequest, RepositoryError, Totals};
use crate::snapshot::{Entry, Kind, NamedEntry, RelativePath};
use crate::tree::{EntryReader, FileKind, Found, Root, Walk};

/// Rows under way.
const WINDOW: usize = 512;
/// Paths named when files are too large.
const NAMED: usize = 20;

#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// What was known before.
    pub known: Option<&'a Rows>,
    /// It is of a pack that was not pushed.
    pub left_over: bool,
    /// In bytes; 0 is without a limit.
    pub largest_file: u64,
}

#[derive(Debug, Default)]
pub struct Gathered {
    pub totals: Totals,
    pub files_read: u64,
    pub bytes_read: u64,
    pub problems: Problems,
    pub too_large: Vec<String>,
    pub too_large_count: u64,
}

/// The totals, if everything is as it was. `None` at the first thing that is not.
pub fn totals_if_unchanged(
    root: &Root,
    request: &BackupRequest<'_>,
    known: &Rows,
) -> Result<Option<Totals>, RepositoryError> {
    let Ok(mut rows) = known.read() else { return Ok(None) };
    let mut totals = Totals::default();
    for found in Walk::new(root, request.walk.clone()) {
        if request.cancel.is_cancelled() {
            return Err(RepositoryError::Cancelled);
        }
        let (Ok(found), Ok(Some(row))) = (found, rows.next()) else { return Ok(None) };
        if row.path != found.path || !row.is_unchanged(&found) {
            return Ok(None);
        }
        count(&mut totals, &row);
    }
    let over = matches!(rows.next(), Ok(None));
    Ok(over.then_some(totals))
}

fn count(totals: &mut Totals, row: &Row) {
    totals.entries += 1;
    if row.kind == FileKind::File {
        totals.files += 1;
        totals.bytes += row.size;
        totals.data_bytes += row.data_bytes;
    }
}

/// Gives every entry of the tree to the layout and the rows, and every content to the sink.
pub fn gather<'s, 'a>(
    request: &BackupRequest<'_>,
    root: &Root,
    sources: &Sources<'_>,
    sink: &'s Sink<'a>,
    layout: &mut Layout<'s, 'a>,
    rows: &mut RowWriter,
) -> Result<Gathered, RepositoryError> {
    let shared = Shared {
        root,
        sink,
        clock: request.clock,
        read_retries: request.read_retries,
        cancel: request.cancel,
        files_read: AtomicU64::new(0),
        bytes_read: AtomicU64::new(0),
    };
    let threads = request.workers.threads.max(1);
    let mut gathered = thread::scope(|scope| {
        let (jobs, queue) = bounded(threads * 2);
        let shared = &shared;
        threads::start(scope, threads, move || work(shared, &queue))
            .map_err(|error| RepositoryError::Worker(format!("starting a thread: {error}")))?;
        let known = sources.known.and_then(|known| known.read().ok());
        let mut run = Run {
            request,
            sources,
            sink,
            layout,
            rows,
            reader: EntryReader::new(root),
            jobs,
            known,
            waiting: VecDeque::new(),
            links: HashMap::new(),
            gathered: Gathered::default(),
        };
        for found in Walk::new(root, request.walk.clone()) {
            run.found(found)?;
        }
        while run.settle_one()? {}
        Ok::<_, RepositoryError>(run.gathered)
    })?;
    gathered.files_read = shared.files_read.load(Ordering::Relaxed);
    gathered.bytes_read = shared.bytes_read.load(Ordering::Relaxed);
    Ok(gathered)
}

struct Run<'r, 's, 'a> {
    request: &'r BackupRequest<'r>,
    sources: &'r Sources<'r>,
    sink: &'r Sink<'a>,
    layout: &'r mut Layout<'s, 'a>,
    rows: &'r mut RowWriter,
    reader: EntryReader<'r>,
    jobs: Sender<Job>,
    known: Option<RowReader>,
    waiting: VecDeque<Slot>,
    links: HashMap<(u64, u64), Group>,
    gathered: Gathered,
}

/// An entry on its way, in the order of the walk.
enum Slot {
    Ready {
        row: Box<Row>,
        group: Option<(u64, u64)>,
    },
    Reading {
        found: Found,
        result: Receiver<Outcome>,
        group: Option<(u64, u64)>,
    },
    /// Another name of something that comes before it.
    Linked {
        found: Found,
        before: Option<Box<Row>>,
        group: (u64, u64),
    },
}

/// Names of one inode. Links outside the volume are never seen.
struct Group {
    /// The first name, when it is known what became of it.
    first: Option<Box<Row>>,
    left: u32,
}

impl Run<'_, '_, '_> {
    fn found(&mut self, found: Result<Found, crate::tree::Problem>) -> Result<(), RepositoryError> {
        if self.request.cancel.is_cancelled() {
            return Err(RepositoryError::Cancelled);
        }
        let found = match found {
            Ok(found) => found,
            // Without the root there is nothing to back up, and "nothing" must not become a snapshot.
            Err(problem) if problem.path.is_root() => return Err(problem.error.into()),
            Err(problem) => {
                self.gathered.problems.add(&problem.path, &problem.error.to_string());
                return Ok(());
            }
        };
        if found.path.is_root() && !found.stat.is_directory() {
            return Err(RepositoryError::Local {
                operation: "back up",
                path: self.request.root.to_owned(),
                source: std::io::ErrorKind::NotADirectory.into(),
            });
        }
        if found.mount_point {
            tracing::warn!(path = %found.path, "another file system is mounted here; its content is left out");
        }
        let is_file = found.stat.kind == FileKind::File;
        self.request.progress.add(1, found.stat.size * u64::from(is_file));
        if is_file && self.sources.largest_file > 0 && found.stat.size > self.sources.largest_file {
            self.too_large(&found.path, found.stat.size);
            return Ok(());
        }
        while self.waiting.len() >= WINDOW {
            self.settle_one()?;
        }
        self.take(found)
    }

    fn too_large(&mut self, path: &RelativePath, size: u64) {
        self.gathered.too_large_count += 1;
        if self.gathered.too_large.len() < NAMED {
            self.gathered.too_large.push(format!("{path} ({size} bytes)"));
        }
    }

    fn take(&mut self, found: Found) -> Result<(), RepositoryError> {
        // What cannot be read of them is as good as not known.
        let before = match &mut self.known {
            Some(known) => known.find(&found.path).ok().flatten(),
            None => None,
        };
        let before = before.filter(|row| row.is_unchanged(&found)).map(Box::new);
        let mut group = None;
        if found.stat.links > 1 && !found.stat.is_directory() {
            let inode = found.stat.identity();
            match self.links.get_mut(&inode) {
                Some(_) => {
                    self.waiting.push_back(Slot::Linked { found, before, group: inode });
                    return Ok(());
                }
                None => {
                    self.links.insert(inode, Group { first: None, left: found.stat.links - 1 });
                    group = Some(inode);
                }
            }
        }
        let slot = match before.filter(|row| row.hard_link.is_none()) {
            Some(row) => Slot::Ready { row, group },
            None if found.stat.kind == FileKind::File => self.read(found, group)?,
            None => match self.other(&found)? {
                Some(row) => Slot::Ready { row: Box::new(row), group },
                None => {
                    group.map(|group| self.links.remove(&group));
                    return Ok(());
                }
            },
        };
        self.waiting.push_back(slot);
        Ok(())
    }

    fn read(&self, found: Found, group: Option<(u64, u64)>) -> Result<Slot, RepositoryError> {
        let (reply, result) = bounded(1);
        // With a file that is too large nothing will be stored: it is enough to find the others.
        if self.gathered.too_large_count > 0 {
            drop(reply.send(Outcome::Vanished));
        } else {
            self.jobs
                .send(Job { found: found.clone(), reply })
                .map_err(|_| RepositoryError::Worker("no worker is left".to_owned()))?;
        }
        Ok(Slot::Reading { found, result, group })
    }

    /// Everything that has no content git would not hold.
    fn other(&mut self, found: &Found) -> Result<Option<Row>, RepositoryError> {
        let trusted = settle(self.request.clock, &found.stat);
        let stat = StatRow { inode: found.stat.inode, ctime: found.stat.ctime, trusted };
        let (entry, stat) = match self.reader.entry(found) {
            Ok(entry) => (entry, stat),
            Err(error) if found.stat.is_directory() => {
                // What is below it comes all the same, and an entry without its directory could not be restored.
                let why = format!("its attributes are left out: {error}");
                self.gathered.problems.add(&found.path, &why);
                (bare_directory(found), StatRow::default())
            }
            Err(error) => {
                self.gathered.problems.add(&found.path, &error.to_string());
                return Ok(None);
            }
        };
        let content = match &entry.kind {
            Kind::Symlink { target } => Some(self.sink.put(target.as_bytes())?),
            _ => None,
        };
        row_of(entry, stat, found.stat.kind, content).map(Some)
    }

    /// The oldest on its way. `false`: there is none.
    fn settle_one(&mut self) -> Result<bool, RepositoryError> {
        let Some(slot) = self.waiting.pop_front() else { return Ok(false) };
        match slot {
            Slot::Ready { row, group } => {
                self.settle_group(group, Some(&row));
                self.put(&row)?;
            }
            Slot::Reading { found, result, group } => {
                let row = self.received(&found, &result)?;
                self.settle_group(group, row.as_deref());
                if let Some(row) = row {
                    self.put(&row)?;
                }
            }
            Slot::Linked { found, before, group } => self.linked(found, before, group)?,
        }
        Ok(true)
    }

    fn received(
        &mut self,
        found: &Found,
        result: &Receiver<Outcome>,
    ) -> Result<Option<Box<Row>>, RepositoryError> {
        let outcome = result.recv().map_err(|_| RepositoryError::Worker("it gave no answer".to_owned()))?;
        let problem = match outcome {
            Outcome::Read { row, unsteady } => {
                if unsteady {
                    let why = "it kept changing while it was read; the copy may be torn";
                    self.gathered.problems.add(&found.path, why);
                }
                return Ok(Some(row));
            }
            Outcome::Vanished if self.gathered.too_large_count > 0 => return Ok(None),
            Outcome::Vanished => "it vanished while it was to be read".to_owned(),
            Outcome::Failed(reason) => reason,
            Outcome::Over(error) => return Err(error),
        };
        self.gathered.problems.add(&found.path, &problem);
        Ok(None)
    }

    /// What became of the first name. What was read may be another file by now: its name was given to a new one.
    fn settle_group(&mut self, group: Option<(u64, u64)>, row: Option<&Row>) {
        let Some(inode) = group else { return };
        match row.filter(|row| row.stat.inode == inode.1) {
            Some(row) => {
                if let Some(group) = self.links.get_mut(&inode) {
                    group.first = Some(Box::new(row.clone()));
                }
            }
            None => drop(self.links.remove(&inode)),
        }
    }

    fn linked(
        &mut self,
        found: Found,
        before: Option<Box<Row>>,
        inode: (u64, u64),
    ) -> Result<(), RepositoryError> {
        let Some(first) = self.links.get(&inode).and_then(|group| group.first.clone()) else {
            // The one before it was not what it seemed; this one takes its place.
            self.links.insert(inode, Group { first: None, left: found.stat.links - 1 });
            let row = if found.stat.kind == FileKind::File {
                let Slot::Reading { result, .. } = self.read(found.clone(), None)? else { return Ok(()) };
                self.received(&found, &result)?
            } else {
                self.other(&found)?.map(Box::new)
            };
            self.settle_group(Some(inode), row.as_deref());
            return row.map_or(Ok(()), |row| self.put(&row));
        };
        let row = match before.filter(|row| row.hard_link.as_ref() == Some(&first.path)) {
            Some(row) => row,
            None => Box::new(another_name(&first, found.path)?),
        };
        if let Some(group) = self.links.get_mut(&inode) {
            group.left = group.left.saturating_sub(1);
            if group.left == 0 {
                self.links.remove(&inode);
            }
        }
        self.put(&row)
    }

    fn put(&mut self, row: &Row) -> Result<(), RepositoryError> {
        count(&mut self.gathered.totals, row);
        if self.sources.left_over
            && let Some((_, oid)) = row.content
        {
            self.sink.take_left_over(oid);
        }
        self.rows.push(row).map_err(RepositoryError::local("write", "the rows of the cache"))?;
        self.layout.push(&row.path, row.kind == FileKind::Directory, row.content, &row.line)
    }
}

fn another_name(first: &Row, path: RelativePath) -> Result<Row, RepositoryError> {
    let named: NamedEntry =
        serde_json::from_slice(&first.line).map_err(|error| RepositoryError::Worker(error.to_string()))?;
    let entry = Entry { path, hard_link: Some(first.path.clone()), ..named.entry };
    row_of(entry, first.stat, first.kind, first.content.map(|(_, oid): (_, Oid)| oid))
}
