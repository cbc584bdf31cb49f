//! Repair: mends what a check finds damaged, from the tree that is backed up and from what the volume remembers, and puts
//! away the snapshots that cannot be saved.

// Why this makes nothing worse, whoever runs beside it and wherever it is killed.
//
// It takes a lease of its own first, as a prune does, so that whoever else writes is cut off; no backup of this volume
// runs. It looks at the leases before each write.
// - What is put in the place of something was proved before: a segment has its name for a hash, and every frame of a
//   pack decodes to the hash that the manifests name, at the very place that they name. So whoever reads beside this
//   gets the right content or, as before, damage. The names are those of before, which no format allows but this one
//   case: it is the same content.
// - Before anything is replaced or taken away, a copy of it lies in quarantine.
// - Snapshots are put away last, and only if one is left that is whole: a repository that looks empty would let an app
//   start empty.
// - What cannot be mended is condemned before: a backup that comes after a crash stores it anew instead of resting on it.

mod act;
mod assemble;
mod descriptor;
mod fit;
mod gather;
mod live;
mod plan;

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::repository::packed::backup::refresh::Refresher;
use crate::repository::packed::cache::Cache;
use crate::repository::packed::check::{self, Survey};
use crate::repository::packed::descriptor::Descriptor;
use crate::repository::packed::frame::{Frame, PackId};
use crate::repository::packed::lease::{self, Held};
use crate::repository::packed::objects::Objects;
use crate::repository::packed::pack::FinishedPack;
use crate::repository::packed::repair::act::Hands;
use crate::repository::packed::repair::assemble::assemble;
use crate::repository::packed::repair::gather::Wanted;
use crate::repository::packed::repair::live::Live;
use crate::repository::packed::repair::plan::{Facts, Plan, decide};
use crate::repository::packed::tombstone::{self, Condemned, Tombstone};
use crate::repository::packed::{Packed, document, keys};
use crate::repository::{
    CheckReport, CheckRequest, Epoch, Finding, Mended, RepairReport, RepairRequest, RepositoryError,
};
use crate::store::Key;

pub(super) fn run(packed: &Packed, request: &RepairRequest<'_>) -> Result<RepairReport, RepositoryError> {
    let (descriptor, missing) = match packed.open() {
        Ok((descriptor, _)) => (descriptor, None),
        Err(RepositoryError::Damaged { location, object, reason }) => {
            let finding = Finding::of(object.clone(), reason.clone(), Vec::new());
            let damage = RepositoryError::Damaged { location, object, reason };
            (descriptor::rebuild(packed, damage)?, Some(finding))
        }
        Err(error) => return Err(error),
    };
    let (descriptor, objects) = packed.objects_of(descriptor);
    if descriptor.identity != request.writer.identity {
        return Err(RepositoryError::Identity {
            location: objects.location(),
            found: descriptor.identity,
            expected: request.writer.identity.clone(),
        });
    }
    // As it was found: a new one takes its place before anything else is looked at.
    let lease = match lease::newest(&objects) {
        Err(error) => Some(check::damage(error)?),
        Ok(_) => None,
    };
    let held = match request.dry_run {
        true => None,
        false => Some(take_lease(packed, &objects, &descriptor, request)?),
    };
    let refresher = held.as_ref().map(|held| Refresher::new(&objects, held, &packed.clock));
    let mut hands = held.as_ref().zip(refresher.as_ref()).map(|(held, refresher)| Hands {
        objects: &objects,
        held,
        refresher,
        aside: Vec::new(),
    });
    let mut report = RepairReport { epoch: held.as_ref().map_or(0, |held| held.epoch), ..Default::default() };
    if missing.is_some() {
        if let Some(hands) = &mut hands {
            hands.replace(&keys::descriptor()?, &descriptor::bytes(&descriptor)?)?;
            packed.open()?;
        }
        mended(&mut report, descriptor::OBJECT, "from what its snapshots and segments say");
    }

    let cache = Cache::existing(Some(request.cache), &descriptor.id);
    let check = CheckRequest {
        verify_percent: request.verify_percent,
        verify_turn: None,
        cache: None,
        workers: request.workers.clone(),
        cancel: request.cancel.clone(),
        progress: request.progress.clone(),
    };
    let mut survey = Survey::make(&objects, &descriptor.id, &cache, &check)?;
    // What a newer program wrote may be all that is good.
    if let Some(error) = survey.newer.take() {
        return Err(error);
    }
    survey.lease = lease;
    report.found = found(&survey, missing)?;
    let (facts, wanted) = gather::facts(&survey)?;
    let live = Live::open(request.root)?;
    Repair {
        request,
        packed,
        objects: &objects,
        cache: &cache,
        survey: &survey,
        wanted: &wanted,
        live: &live,
    }
    .run(facts, hands, report)
}

/// The leases of others are left to them. One that is damaged says nothing but its number.
fn take_lease(
    packed: &Packed,
    objects: &Objects,
    descriptor: &Descriptor,
    request: &RepairRequest<'_>,
) -> Result<Held, RepositoryError> {
    let mut floor: Epoch = 0;
    for id in document::names(objects)?.iter().rev() {
        if let Ok(document) = document::read(objects, &descriptor.id, id) {
            floor = document.epoch;
            break;
        }
    }
    let now = packed.clock.now();
    match lease::succeed(objects, request.writer, floor, now) {
        Err(error) if error.is_damage() => match lease::newest_epoch(objects)? {
            epoch if epoch == request.epoch => lease::take(objects, request.writer, floor, now),
            epoch => Err(RepositoryError::LeaseElsewhere {
                location: objects.location(),
                by: "a volume that cannot be told, because its lease is damaged,".to_owned(),
                epoch: epoch.unwrap_or(0),
            }),
        },
        other => other,
    }
}

fn found(survey: &Survey<'_>, descriptor: Option<Finding>) -> Result<CheckReport, RepositoryError> {
    let mut found = check::report(survey)?;
    if let Some(mut finding) = descriptor {
        let names = survey.documents.keys().chain(survey.unreadable.keys());
        finding.snapshots = names.cloned().collect::<BTreeSet<_>>().into_iter().collect();
        found.findings.push(finding);
        found.whole.clear();
    }
    Ok(found)
}

fn mended(report: &mut RepairReport, object: impl Into<String>, how: &str) {
    report.mended.push(Mended { object: object.into(), how: how.to_owned() });
}

struct Repair<'a> {
    request: &'a RepairRequest<'a>,
    packed: &'a Packed,
    objects: &'a Objects,
    cache: &'a Cache,
    survey: &'a Survey<'a>,
    wanted: &'a Wanted,
    live: &'a Live,
}

impl Repair<'_> {
    fn run(
        &self,
        mut facts: Facts,
        mut hands: Option<Hands<'_>>,
        mut report: RepairReport,
    ) -> Result<RepairReport, RepositoryError> {
        self.request.progress.expect(self.wanted.len() as u64, 0);
        for (place, wanted) in self.wanted {
            self.go_on()?;
            let stored = self.live.frame(wanted).map(|plain| self.fit(&wanted.frame, &plain)).transpose()?;
            if stored.flatten().is_some() {
                facts.rebuilt.insert(*place);
            }
            self.request.progress.add(1, u64::from(wanted.frame.plain));
        }
        let plan = match &mut hands {
            None => decide(&facts),
            Some(hands) => self.mend_whole_packs(&mut facts, hands, &mut report)?,
        };
        report.lost = gather::lost(self.survey, &facts, &plan.lost)?;
        report.none_left = plan.none_left;
        self.name(&plan, &mut report)?;
        if let Some(mut hands) = hands {
            self.carry_out(&plan, &facts, &mut hands, &mut report)?;
            report.quarantined = hands.aside;
        } else {
            report.quarantined = Vec::new();
        }
        Ok(report)
    }

    /// What of the plan is the same for a dry run.
    fn name(&self, plan: &Plan, report: &mut RepairReport) -> Result<(), RepositoryError> {
        if let Some((object, _)) = &self.survey.lease {
            mended(report, object, "a new lease takes its place");
        }
        for (object, _) in &self.survey.tombstones {
            mended(report, object, "put away: nothing is deleted by it");
        }
        for id in &plan.segments {
            mended(report, format!("{}/{id}", keys::SEGMENTS), "from the volume's cache");
        }
        let failed = |id: &PackId, report: &RepairReport| {
            report.failed.iter().any(|line| line.contains(&id.to_string()))
        };
        for id in plan.packs.iter().filter(|id| !failed(id, report)).collect::<Vec<_>>() {
            let bad = self.survey.damaged.get(id).map_or(0, |damage| damage.bad.len());
            let how = if bad > 0 { "from the volume's data" } else { "a new table of contents" };
            mended(report, format!("{}/{id}", keys::PACKS), how);
        }
        for id in &plan.packs_in_part {
            mended(report, format!("{}/{id}", keys::PACKS), "in part: what whole snapshots need of it");
        }
        let packs = plan.condemned_packs.iter().map(|id| format!("{}/{id}", keys::PACKS));
        let segments = plan.condemned_segments.iter().map(|id| format!("{}/{id}", keys::SEGMENTS));
        report.condemned = packs.chain(segments).collect();
        Ok(())
    }

    /// Packs whose frames can all be had. What the volume does not have any more, although it did a moment ago, counts
    /// as gone from then on, and all is decided again.
    fn mend_whole_packs(
        &self,
        facts: &mut Facts,
        hands: &mut Hands<'_>,
        report: &mut RepairReport,
    ) -> Result<Plan, RepositoryError> {
        let mut done: BTreeSet<PackId> = BTreeSet::new();
        // Notes of an interrupted backup name frames that nothing refers to: they may become filler.
        self.cache.forget_uploaded();
        loop {
            let plan = decide(facts);
            let Some(id) = plan.packs.iter().find(|id| !done.contains(id)) else { return Ok(plan) };
            self.go_on()?;
            match self.assembled(*id, facts)? {
                Ok(pack) => {
                    self.put_pack(hands, &pack, &[])?;
                    done.insert(*id);
                }
                Err(reason) => {
                    let object = format!("{}/{id}", keys::PACKS);
                    tracing::warn!(object, reason, "it cannot be made again");
                    report.failed.push(format!("{object}: {reason}"));
                    let bad = facts.packs.entry(*id).or_default();
                    if bad.bad.is_empty() {
                        // Only its table of contents is bad, which no snapshot needs.
                        done.insert(*id);
                    }
                    facts.rebuilt.retain(|(pack, _)| pack != id);
                }
            }
        }
    }

    /// The order is the point: see above.
    fn carry_out(
        &self,
        plan: &Plan,
        facts: &Facts,
        hands: &mut Hands<'_>,
        report: &mut RepairReport,
    ) -> Result<(), RepositoryError> {
        self.condemn(plan, hands)?;
        for id in &plan.segments {
            let known = self.survey.segments.get(id);
            if let Some(stored) = known.and_then(|known| self.cache.segment(&known.reference)) {
                hands.replace(&keys::segment(id)?, &Bytes::from(stored))?;
            }
        }
        for (object, _) in &self.survey.tombstones {
            hands.put_aside(&Key::new(object.as_str())?)?;
        }
        if !plan.none_left {
            for id in &plan.lost {
                self.go_on()?;
                hands.put_aside(&keys::snapshot(id)?)?;
                tracing::warn!(snapshot = %id, "put away: it cannot be restored");
            }
        }
        for id in &plan.packs_in_part {
            self.go_on()?;
            match self.assembled(*id, facts)? {
                Ok(pack) => {
                    let all = facts.packs.get(id).map(|pack| &pack.bad).into_iter().flatten();
                    let gone: Vec<u64> =
                        all.filter(|offset| !facts.rebuilt.contains(&(*id, **offset))).copied().collect();
                    self.put_pack(hands, &pack, &gone)?;
                }
                Err(reason) => report.failed.push(format!("{}/{id}: {reason}", keys::PACKS)),
            }
        }
        Ok(())
    }

    /// A tombstone for what is damaged for good, unless it has one. One that names only what is whole by now, because it
    /// was stored anew or brought back by somebody, goes.
    fn condemn(&self, plan: &Plan, hands: &mut Hands<'_>) -> Result<(), RepositoryError> {
        let (present, _) = tombstone::read_all(self.objects)?;
        let present: Vec<Tombstone> = present.into_iter().filter(|tombstone| tombstone.damaged).collect();
        let already = Condemned::of(&present);
        let packs = plan.condemned_packs.iter().filter(|id| !already.packs.contains(id)).copied();
        let segments = plan.condemned_segments.iter().filter(|id| !already.segments.contains(id)).copied();
        let (packs, segments): (Vec<_>, Vec<_>) = (packs.collect(), segments.collect());
        if !packs.is_empty() || !segments.is_empty() {
            hands.still()?;
            let now = self.packed.clock.now();
            tombstone::write_damaged(self.objects, hands.held.epoch, now, &packs, &segments)?;
        }
        // Without a look at all of the data nothing is known to be whole.
        for tombstone in present.iter().filter(|_| self.request.verify_percent == 100) {
            let packs = tombstone.packs.iter().filter(|id| self.survey.packs.contains_key(id));
            let whole_packs = packs.map(|id| !plan.condemned_packs.contains(id));
            let segments = tombstone.segments.iter().filter(|id| self.survey.segments.contains_key(id));
            let whole: Vec<bool> =
                whole_packs.chain(segments.map(|id| !plan.condemned_segments.contains(id))).collect();
            if !whole.is_empty() && whole.iter().all(|whole| *whole) {
                hands.still()?;
                self.objects.store.delete(&tombstone.key)?;
            }
        }
        Ok(())
    }

    fn put_pack(
        &self,
        hands: &mut Hands<'_>,
        pack: &FinishedPack,
        gone: &[u64],
    ) -> Result<(), RepositoryError> {
        let Some(needed) = self.survey.packs.get(&pack.id) else { return Ok(()) };
        hands.pack(pack, needed, gone)?;
        tracing::info!(pack = %pack.id, "made again");
        Ok(())
    }

    fn assembled(&self, id: PackId, facts: &Facts) -> Result<Result<FinishedPack, String>, RepositoryError> {
        let (Some(needed), Some(damage)) = (self.survey.packs.get(&id), self.survey.damaged.get(&id)) else {
            return Ok(Err("nothing is known of it".to_owned()));
        };
        let mut changed = false;
        let mut again = |frame: &Frame| -> Result<Option<Vec<u8>>, RepositoryError> {
            let place = (id, frame.offset);
            let Some(wanted) = self.wanted.get(&place).filter(|_| facts.rebuilt.contains(&place)) else {
                return Ok(None);
            };
            let stored = self.live.frame(wanted).map(|plain| self.fit(frame, &plain)).transpose()?.flatten();
            changed |= stored.is_none();
            Ok(stored)
        };
        let pack = assemble(self.objects, id, needed, damage, &mut again)?;
        Ok(if changed { Err("the volume's data changed meanwhile".to_owned()) } else { pack })
    }

    fn fit(&self, frame: &Frame, plain: &[u8]) -> Result<Option<Vec<u8>>, RepositoryError> {
        fit::encode(self.objects.codec, self.objects.level, plain, frame.stored as usize)
            .map_err(|error| RepositoryError::Worker(format!("compressing: {error}")))
    }

    fn go_on(&self) -> Result<(), RepositoryError> {
        if self.request.cancel.is_cancelled() { Err(RepositoryError::Cancelled) } else { Ok(()) }
    }
}
