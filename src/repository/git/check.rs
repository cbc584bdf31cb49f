//! Looks for damage: whether every snapshot is there with all it refers to, and whether contents are what their names
//! say. A server is asked for all of its history when contents are to be read, else for the newest snapshot.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::repository::git::Git;
use crate::repository::git::branch::Part;
use crate::repository::git::contents::Contents;
use crate::repository::git::history::Link;
use crate::repository::git::objects::Reader;
use crate::repository::git::oid::{Kind, Oid};
use crate::repository::request::NAMED_PATHS;
use crate::repository::{CheckReport, CheckRequest, Finding, RepairReport, RepairRequest, RepositoryError};
use crate::snapshot::{RelativePath, SnapshotId};

pub(super) fn run(git: &Git, request: &CheckRequest) -> Result<CheckReport, RepositoryError> {
    let tip = git.tip(std::time::Duration::ZERO)?;
    let mut report = CheckReport::default();
    let chain = match git.chain(tip) {
        Ok(chain) => chain,
        Err(error) => {
            note(&mut report, error, None)?;
            return Ok(report);
        }
    };
    let remote = git.branch.is_remote();
    let newest = chain.first().filter(|_| remote && request.verify_percent == 0);
    let objects = match newest {
        Some(newest) => git.objects(newest.wanted(), Part::Whole, &request.progress, &request.cancel),
        None => git.branch.everything(tip, &request.progress, &request.cancel),
    };
    let objects = match objects {
        Ok(objects) => objects,
        // The server itself found out, or what it sent is no pack.
        Err(error) => {
            note(&mut report, error, None)?;
            return Ok(report);
        }
    };
    let reader = objects.reader()?;
    let mut blobs = Blobs::default();
    for link in &chain {
        if request.cancel.is_cancelled() {
            return Err(RepositoryError::Cancelled);
        }
        // Of a server that was asked for the newest only, that is all there is.
        if remote && request.verify_percent == 0 && link.oid != tip {
            break;
        }
        let newest_only = remote && request.verify_percent == 0;
        let id = if newest_only { link.newest().map(|newest| newest.id) } else { link.snapshot_id() };
        let Some(id) = id else { continue };
        report.snapshots += 1;
        report.whole.push(id.clone());
        if let Err(error) = blobs.collect(&reader, link, &id, &mut report) {
            note(&mut report, error, Some(&id))?;
        }
    }
    blobs.verify(&reader, request, &mut report)?;
    let hit: HashSet<SnapshotId> =
        report.findings.iter().flat_map(|finding| finding.snapshots.iter().cloned()).collect();
    report.whole.retain(|id| !hit.contains(id));
    report.whole.reverse();
    if remote {
        git.branch.forget_fetched();
    }
    Ok(report)
}

/// How a git repository is mended, which is not for us to do: its objects are shared with whoever else has a clone.
const BY_HAND: &str = "git's own tools mend it: `git fsck --full` in a clone with all of the history names what is \
                       missing or broken; `git fetch` from another clone, or a copy of its files below objects/, brings \
                       it back; and where no clone has it, `volkeep backup` makes a new commit from the volume";

/// Looks, changes nothing, and says who mends.
pub(super) fn instead_of_repair(
    git: &Git,
    request: &RepairRequest<'_>,
) -> Result<RepairReport, RepositoryError> {
    let check = CheckRequest {
        verify_percent: request.verify_percent,
        verify_turn: None,
        cache: None,
        workers: request.workers.clone(),
        cancel: request.cancel.clone(),
        progress: request.progress.clone(),
    };
    let found = run(git, &check)?;
    let by_hand = (!found.findings.is_empty()).then_some(BY_HAND);
    Ok(RepairReport { found, by_hand, ..RepairReport::default() })
}

/// Each content once, with who needs it.
#[derive(Default)]
struct Blobs {
    seen: HashSet<Oid>,
    needed: BTreeMap<Oid, (SnapshotId, Vec<RelativePath>)>,
    missing: HashMap<Oid, usize>,
}

impl Blobs {
    fn collect(
        &mut self,
        reader: &Reader,
        link: &Link,
        id: &SnapshotId,
        report: &mut CheckReport,
    ) -> Result<(), RepositoryError> {
        let mut contents = Contents::open(reader, link.commit.tree, link.commit.seconds)?;
        report.segments += 1;
        while let Some(item) = contents.next()? {
            let Some(oid) = item.content else { continue };
            if !self.seen.insert(oid) {
                if let Some(at) = self.missing.get(&oid) {
                    add(report, *at, id, &item.entry.path);
                }
                continue;
            }
            if reader.has(oid) {
                self.needed.insert(oid, (id.clone(), vec![item.entry.path]));
            } else {
                let RepositoryError::Damaged { object, reason, .. } =
                    reader.damaged(Kind::Blob, oid, "it is missing")
                else {
                    continue;
                };
                self.missing.insert(oid, report.findings.len());
                report.findings.push(Finding::of(object, reason, Vec::new()));
                add(report, report.findings.len() - 1, id, &item.entry.path);
            }
        }
        Ok(())
    }

    fn verify(
        self,
        reader: &Reader,
        request: &CheckRequest,
        report: &mut CheckReport,
    ) -> Result<(), RepositoryError> {
        let percent = u64::from(request.verify_percent.min(100));
        let parts = 100u64.div_ceil(percent.max(1));
        let part = request.verify_turn.unwrap_or(0) % parts;
        request.progress.expect(self.needed.len() as u64, 0);
        for (oid, (id, paths)) in &self.needed {
            if request.cancel.is_cancelled() {
                return Err(RepositoryError::Cancelled);
            }
            // By the name, which is as good as random: the parts stay the same whatever comes and goes.
            let number = oid.0.iter().take(8).fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
            report.packs += 1;
            if percent == 0 || number % parts != part {
                continue;
            }
            let mut size = 0;
            let read = reader.pieces(*oid, &mut |piece| {
                size += piece.len() as u64;
                Ok(())
            });
            match read {
                Ok(()) => {
                    report.verified_packs += 1;
                    report.verified_bytes += size;
                    request.progress.add(1, size);
                }
                Err(error) => {
                    note(report, error, None)?;
                    let at = report.findings.len().saturating_sub(1);
                    paths.iter().for_each(|path| add(report, at, id, path));
                }
            }
        }
        Ok(())
    }
}

fn add(report: &mut CheckReport, at: usize, id: &SnapshotId, path: &RelativePath) {
    let Some(finding) = report.findings.get_mut(at) else { return };
    if !finding.snapshots.contains(id) {
        finding.snapshots.push(id.clone());
    }
    // One content is at few paths.
    let path = path.to_string();
    if finding.paths.contains(&path) {
        return;
    }
    finding.path_count += 1;
    if finding.paths.len() < NAMED_PATHS {
        finding.paths.push(path);
    }
}

/// Damage is a finding; a server that does not answer ends the check.
fn note(
    report: &mut CheckReport,
    error: RepositoryError,
    id: Option<&SnapshotId>,
) -> Result<(), RepositoryError> {
    let RepositoryError::Damaged { object, reason, .. } = error else { return Err(error) };
    if let Some(finding) = report.findings.iter_mut().find(|finding| finding.object == object) {
        finding.snapshots.extend(id.filter(|id| !finding.snapshots.contains(id)).cloned());
        return Ok(());
    }
    let snapshots = id.cloned().into_iter().collect();
    report.findings.push(Finding::of(object, reason, snapshots));
    Ok(())
}
