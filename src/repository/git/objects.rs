//! Reads objects of a bare repository on this machine, whoever packed them and how. Every object is held against its
//! name.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Once, OnceLock};

use git2::{ErrorClass, ErrorCode, ObjectType};

use crate::repository::RepositoryError;
use crate::repository::git::branch::Held;
use crate::repository::git::layout;
use crate::repository::git::object::{TreeEntry, decode_tree};
use crate::repository::git::oid::{Hasher, Kind, Oid};
use crate::repository::git::whole::{Packs, Unpacker};

/// Room that is made for an object before anything of it was seen.
const AT_ONCE: usize = 1 << 20;

/// A repository whose objects can be read. Each thread opens a reader of its own.
#[derive(Clone, Debug)]
pub struct Objects {
    directory: PathBuf,
    /// Of the cache: keeps others from removing it.
    held: Option<Arc<Held>>,
    /// Of the repository they belong to, for messages.
    location: String,
    packs: Arc<OnceLock<Packs>>,
}

pub struct Reader {
    repository: git2::Repository,
    objects: Objects,
    unpacker: Unpacker,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("location", &self.objects.location).finish_non_exhaustive()
    }
}

impl Objects {
    pub fn new(directory: PathBuf, location: String) -> Self {
        Self { directory, location, held: None, packs: Arc::default() }
    }

    /// Of the cache.
    pub fn fetched(held: Held, location: String) -> Self {
        Self { directory: held.path.clone(), location, held: Some(Arc::new(held)), packs: Arc::default() }
    }

    /// What is fetched is kept under this name from now on; whoever uses it has it no longer.
    pub fn rename(self, name: &str) {
        if let Some(held) = &self.held {
            held.rename(name);
        }
    }

    /// What is fetched is not to be used again.
    pub fn spoil(&self) {
        if let Some(held) = &self.held {
            held.spoil();
        }
    }

    pub fn reader(&self) -> Result<Reader, RepositoryError> {
        // `read` does this itself, several times as fast.
        static OWN_VERIFICATION: Once = Once::new();
        OWN_VERIFICATION.call_once(|| git2::opts::strict_hash_verification(false));
        let repository = git2::Repository::open_bare(&self.directory)
            .map_err(|error| damaged(&self.location, "the git repository".to_owned(), error.message()))?;
        Ok(Reader { repository, objects: self.clone(), unpacker: Unpacker::new() })
    }

    fn packs(&self) -> &Packs {
        self.packs.get_or_init(|| Packs::open(&self.directory))
    }
}

impl Reader {
    pub fn read(&self, kind: Kind, oid: Oid) -> Result<Vec<u8>, RepositoryError> {
        self.with(kind, oid, |bytes| Ok(bytes.to_vec()))
    }

    /// Without a copy: for what may be large.
    pub fn with<T>(
        &self,
        kind: Kind,
        oid: Oid,
        work: impl FnOnce(&[u8]) -> Result<T, RepositoryError>,
    ) -> Result<T, RepositoryError> {
        if let Some(bytes) = self.whole(kind, oid) {
            return work(&bytes);
        }
        let odb = self.odb()?;
        let object = odb.read(name(oid)).map_err(|error| self.sort(kind, oid, &error))?;
        match object.kind() == type_of(kind) {
            true if Oid::of(kind, object.data()) == oid => work(object.data()),
            true => Err(self.damaged(kind, oid, "its content is not what its name says")),
            false => Err(self.damaged(kind, oid, "it is of another kind")),
        }
    }

    /// If it stands so in a pack, and is what its name says.
    fn whole(&self, kind: Kind, oid: Oid) -> Option<Vec<u8>> {
        let place = self.objects.packs().find(oid).filter(|place| place.kind == kind)?;
        let mut bytes = Vec::with_capacity(usize::try_from(place.size).unwrap_or(0).min(AT_ONCE));
        let read = self.unpacker.pieces::<io::Error>(place, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        });
        read.is_ok().then_some(bytes).filter(|bytes| Oid::of(kind, bytes) == oid)
    }

    /// A blob piece by piece. Whether it is what its name says is known at the end only. Meanwhile nothing else can be
    /// read.
    pub fn pieces(
        &self,
        oid: Oid,
        take: &mut dyn FnMut(&[u8]) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        let place = self.objects.packs().find(oid).filter(|place| place.kind == Kind::Blob);
        let Some(place) = place else { return self.with(Kind::Blob, oid, |bytes| take(bytes)) };
        let mut hasher = Hasher::new(Kind::Blob, place.size);
        let read = self.unpacker.pieces(place, |piece| {
            hasher.update(piece);
            take(piece).map_err(Unread::Taking)
        });
        match read {
            Ok(()) if hasher.finish() == oid => Ok(()),
            Ok(()) => Err(self.damaged(Kind::Blob, oid, "its content is not what its name says")),
            Err(Unread::Unpacking(error)) => Err(self.damaged(Kind::Blob, oid, &error.to_string())),
            Err(Unread::Taking(error)) => Err(error),
        }
    }

    /// Whether `pieces` holds no more than a piece of it at a time.
    pub fn comes_in_pieces(&self, oid: Oid) -> bool {
        self.objects.packs().find(oid).is_some()
    }

    /// Of a blob, without reading it.
    pub fn size(&self, oid: Oid) -> Result<u64, RepositoryError> {
        if let Some(place) = self.objects.packs().find(oid).filter(|place| place.kind == Kind::Blob) {
            return Ok(place.size);
        }
        match self.odb()?.read_header(name(oid)).map_err(|error| self.sort(Kind::Blob, oid, &error))? {
            (size, ObjectType::Blob) => Ok(size as u64),
            _ => Err(self.damaged(Kind::Blob, oid, "it is of another kind")),
        }
    }

    pub fn has(&self, oid: Oid) -> bool {
        self.odb().is_ok_and(|odb| odb.exists(name(oid)))
    }

    pub fn tree(&self, oid: Oid) -> Result<Vec<TreeEntry>, RepositoryError> {
        let bytes = self.read(Kind::Tree, oid)?;
        decode_tree(&bytes).map_err(|why| self.damaged(Kind::Tree, oid, why))
    }

    /// Whether what stands beside the data is of a format that is known here.
    pub fn check_format(&self, descriptor: Oid) -> Result<(), RepositoryError> {
        let bytes = self.read(Kind::Blob, descriptor)?;
        match layout::format_of(&bytes) {
            Some(layout::FORMAT) => Ok(()),
            Some(found) if found > layout::FORMAT => Err(RepositoryError::Newer {
                location: self.objects.location.clone(),
                object: "the commit".to_owned(),
                found,
                known: layout::FORMAT,
            }),
            _ => Err(self.damaged(Kind::Blob, descriptor, "it does not say of which format the commit is")),
        }
    }

    pub fn damaged(&self, kind: Kind, oid: Oid, reason: &str) -> RepositoryError {
        damaged(&self.objects.location, format!("the {} {oid}", kind.word()), reason)
    }

    fn odb(&self) -> Result<git2::Odb<'_>, RepositoryError> {
        self.repository.odb().map_err(|error| {
            damaged(&self.objects.location, "the object database".to_owned(), error.message())
        })
    }

    fn sort(&self, kind: Kind, oid: Oid, error: &git2::Error) -> RepositoryError {
        match (error.code(), error.class()) {
            (ErrorCode::NotFound, _) => self.damaged(kind, oid, "it is missing"),
            (_, ErrorClass::Os | ErrorClass::NoMemory) => RepositoryError::Local {
                operation: "read the git objects of",
                path: PathBuf::from(&self.objects.location),
                source: io::Error::other(error.message().to_owned()),
            },
            _ => self.damaged(kind, oid, error.message()),
        }
    }
}

enum Unread {
    Unpacking(io::Error),
    Taking(RepositoryError),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Unpacking(error)
    }
}

fn damaged(location: &str, object: String, reason: &str) -> RepositoryError {
    RepositoryError::Damaged { location: location.to_owned(), object, reason: reason.to_owned() }
}

fn type_of(kind: Kind) -> ObjectType {
    match kind {
        Kind::Commit => ObjectType::Commit,
        Kind::Tree => ObjectType::Tree,
        Kind::Blob => ObjectType::Blob,
    }
}

/// As the library writes it. Twenty bytes are always a name.
pub fn name(oid: Oid) -> git2::Oid {
    git2::Oid::from_bytes(&oid.0).unwrap_or(git2::Oid::ZERO_SHA1)
}

pub fn oid(name: git2::Oid) -> Oid {
    Oid::from_bytes(name.as_bytes()).unwrap_or_default()
}
