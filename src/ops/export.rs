//! Writes a snapshot as a plain archive: whoever has it needs nothing of ours to read it.

use std::io::Write;

use crate::archive::{ArchiveError, ArchiveWriter, Codec, WriteReport};
use crate::ops::compare::find;
use crate::ops::{OpsError, Scope};
use crate::repository::RepositoryError;
use crate::snapshot::Summary;
use crate::snapshot::selector::Selector;
use crate::snapshot::summary::Wanted;

/// Everything the snapshot holds goes to `output`; sockets, which archives do not know, are reported.
pub fn run(
    scope: &Scope,
    wanted: &Wanted,
    codec: Codec,
    output: impl Write,
) -> Result<(Summary, WriteReport), OpsError> {
    let (repository, summary) = find(scope, wanted)?;
    scope.progress.expect(summary.entries, summary.bytes);
    let failed = |source: ArchiveError| OpsError::Archive { path: "(output)".into(), source };
    let mut writer = ArchiveWriter::new(output, codec).map_err(failed)?;
    let mut failure = None;
    let read = repository.read(&summary.id, &Selector::everything(), &mut |entry, content| {
        writer.entry(entry, content).map_err(|error| {
            // The repository's own error, if it has one, is the better one; this stands in for the rest.
            failure.get_or_insert(error);
            RepositoryError::Cancelled
        })?;
        scope.progress.add(1, entry.size());
        Ok(())
    });
    match (read, failure) {
        (Err(RepositoryError::Cancelled), Some(error)) => return Err(failed(error)),
        (Err(error), _) => return Err(error.into()),
        (Ok(()), _) => {}
    }
    let (mut output, report) = writer.finish().map_err(failed)?;
    output.flush().map_err(OpsError::io("write", "(output)"))?;
    Ok((summary, report))
}
