//! Leases and the choice of the newest snapshot, one instant at a time: what happens between two requests is put there
//! by a hook, and requests are counted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop"
)]

mod fencing_support;

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fencing_support::{IDENTITY, Pod, server, workers};
use volkeep::base::cancel::Cancel;
use volkeep::base::progress::Progress;
use volkeep::ops::Scope;
use volkeep::ops::init::decide::Policy;
use volkeep::ops::init::{self, InitOptions};
use volkeep::ops::reach::{pick, pick_again, pick_once};
use volkeep::ops::scope::SourceOptions;
use volkeep::repository::{Presence, Repository, RepositoryError};
use volkeep::snapshot::summary::Wanted;
use volkeep::store::faulty::{Failure, Fault, Operation, Rule};
use volkeep::store::{Key, ObjectStore};
use volkeep::volume::{Volume, VolumeOptions};

const DAY: Duration = Duration::from_secs(86_400);

/// A pod whose first backup is stored.
fn former(server: &Arc<dyn ObjectStore>, ahead: Duration) -> Pod {
    let pod = Pod::new("former", server, ahead);
    pod.repository.create(IDENTITY).unwrap();
    pod.write("0");
    pod.backup(None).unwrap();
    pod
}

/// Does `once` before the first request of `pod` that is of this operation and below `prefix`.
fn before_the_first(
    pod: &Pod,
    operation: Operation,
    prefix: &'static str,
    once: impl FnOnce() + Send + 'static,
) {
    let once = Mutex::new(Some(once));
    pod.store.before_each(move |asked, key| {
        if asked == operation && key.starts_with(prefix) {
            let once = once.lock().unwrap().take();
            if let Some(once) = once {
                once();
            }
        }
    });
}

#[test]
fn what_is_committed_while_another_takes_over_is_withdrawn() {
    let server = server();
    let pod = former(&server, DAY);
    let before = pod.repository.names().unwrap();
    let successor = Pod::new("successor", &server, Duration::ZERO);
    before_the_first(&pod, Operation::PutIfAbsent, "snapshots/", move || {
        successor.repository.take_over(&successor.writer).unwrap();
    });
    pod.write("1");
    let error = pod.backup(Some(1)).unwrap_err();
    assert!(matches!(error, RepositoryError::Fenced { epoch: 2, .. }), "{error}");
    assert!(error.to_string().contains("nothing was committed"), "{error}");
    assert_eq!(pod.repository.names().unwrap(), before);
}

#[test]
fn what_cannot_be_withdrawn_is_said_and_passed_over() {
    let server = server();
    let pod = former(&server, DAY);
    let successor = Pod::new("successor", &server, Duration::ZERO);
    pod.store.inject(Rule::new(Operation::Delete, "snapshots/*", Fault::Fail(Failure::Denied)).always());
    before_the_first(&pod, Operation::PutIfAbsent, "snapshots/", move || {
        let epoch = successor.repository.take_over(&successor.writer).unwrap();
        successor.write("of the successor");
        successor.backup(Some(epoch)).unwrap();
    });
    pod.write("1");
    // A millisecond would be enough for the late name to be the last.
    pod.clock.advance(DAY);
    let error = pod.backup(Some(1)).unwrap_err();
    let RepositoryError::NotWithdrawn { id, epoch: 2, .. } = &error else { panic!("{error}") };
    assert_eq!(pod.repository.newest().unwrap().as_ref(), Some(id), "by its name it is the newest");
    let newest = pick(pod.repository.as_ref(), &Wanted::Latest).unwrap();
    assert_eq!(newest.volume_id, "successor");
    // Who asks for it by name gets it.
    assert_eq!(pick(pod.repository.as_ref(), &Wanted::Named(id.0.clone())).unwrap().id, *id);
}

#[test]
fn where_leases_were_removed_by_hand_numbers_go_on_rising() {
    let server = server();
    let pod = former(&server, Duration::ZERO);
    pod.repository.take_over(&pod.writer).unwrap();
    pod.write("1");
    assert_eq!(pod.backup(Some(2)).unwrap().epoch, 2);
    for number in 1..=2 {
        server.delete(&Key::new(format!("leases/{number:012}.json")).unwrap()).unwrap();
    }
    pod.write("2");
    assert_eq!(pod.backup(Some(2)).unwrap().epoch, 3);
}

/// Bytes that do not compress and of which no two chunks are alike.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(step).collect()
}

#[test]
fn a_long_backup_refreshes_its_lease_and_stops_soon_when_it_has_lost_it() {
    let server = server();
    let pod = former(&server, Duration::ZERO);
    // Packs of 4 MiB, each of which takes 100 s.
    pod.write(noise(24 << 20));
    let (clock, packs) = (pod.clock.clone(), Arc::new(AtomicU64::new(0)));
    let count = |and_then: Box<dyn Fn(u64) + Send + Sync>| {
        let (clock, packs) = (clock.clone(), packs.clone());
        move |operation, key: &str| {
            if operation == Operation::Put && key.starts_with("packs/") {
                clock.advance(Duration::from_secs(100));
                and_then(packs.fetch_add(1, Ordering::Relaxed) + 1);
            }
        }
    };
    pod.store.reset_counts();
    pod.store.before_each(count(Box::new(|_| {})));
    pod.backup(Some(1)).unwrap();
    let (all, refreshed) = (packs.swap(0, Ordering::Relaxed), pod.store.counts().of(Operation::Replace));
    assert!(all >= 5, "{all}");
    assert!(refreshed >= 2 && refreshed < all, "{refreshed} refreshes with {all} packs");
    let lease = pod.repository.lease().unwrap().unwrap();
    assert_eq!((lease.epoch, lease.volume_id.as_str()), (1, "former"));
    assert!(lease.until.unwrap() > lease.since.plus(Duration::from_secs(800)), "{lease:?}");

    let successor = Pod::new("successor", &server, Duration::ZERO);
    pod.store.before_each(count(Box::new(move |pack| {
        if pack == 1 {
            successor.repository.take_over(&successor.writer).unwrap();
        }
    })));
    let mut other = noise(24 << 20);
    other.iter_mut().for_each(|byte| *byte ^= 0x55);
    pod.write(other);
    let error = pod.backup(Some(1)).unwrap_err();
    assert!(matches!(error, RepositoryError::Fenced { epoch: 2, .. }), "{error}");
    assert!(packs.load(Ordering::Relaxed) <= 3, "{packs:?} packs for nothing");
    let error = pod.repository.refresh(&pod.writer, 1).unwrap_err();
    assert!(matches!(error, RepositoryError::Fenced { epoch: 2, .. }), "{error}");
}

#[test]
fn one_of_fifty_snapshots_is_found_by_few_requests() {
    let server = server();
    let pod = former(&server, Duration::ZERO);
    for number in 1..50 {
        pod.write(number.to_string());
        pod.clock.advance(Duration::from_secs(60));
        pod.backup(Some(1)).unwrap();
    }
    let names = pod.repository.names().unwrap();
    assert_eq!(names.len(), 50);
    let snapshots_read = Arc::new(AtomicU64::new(0));
    let fresh = || {
        let pod = Pod::new("fresh", &server, Duration::ZERO);
        let read = snapshots_read.clone();
        read.store(0, Ordering::Relaxed);
        pod.store.before_each(move |operation, key| {
            read.fetch_add(
                u64::from(operation == Operation::Get && key.starts_with("snapshots/")),
                Ordering::Relaxed,
            );
        });
        pod
    };
    let cases = [
        (Wanted::Latest, 49),
        (Wanted::At(names[20].time().unwrap()), 20),
        (Wanted::At(names[20].time().unwrap().plus(Duration::from_secs(59))), 20),
        (Wanted::Named(names[7].0.rsplit_once('-').unwrap().1.to_owned()), 7),
    ];
    for (wanted, expected) in cases {
        let pod = fresh();
        let picked = pick(pod.repository.as_ref(), &wanted).unwrap();
        assert_eq!(picked.id, names[expected], "{wanted:?}");
        let counts = pod.store.counts();
        assert_eq!(
            (snapshots_read.load(Ordering::Relaxed), counts.of(Operation::List)),
            (1, 1),
            "{wanted:?}"
        );
        pod.restore(&picked.id).unwrap();
        assert_eq!(pod.content(), expected.to_string());
        assert_eq!(snapshots_read.load(Ordering::Relaxed), 2, "{wanted:?}");
    }
    // As init does it: once to see that there is something, then the lease, then the choice.
    let pod = fresh();
    let before = pick_once(pod.repository.as_ref(), &Wanted::Latest).unwrap();
    pod.repository.take_over(&pod.writer).unwrap();
    let picked = pick_again(pod.repository.as_ref(), before).unwrap();
    pod.restore(&picked.summary.id).unwrap();
    assert_eq!(snapshots_read.load(Ordering::Relaxed), 2);

    let pod = fresh();
    assert_eq!(pod.repository.probe().unwrap(), Presence::Ready);
    assert_eq!(pod.store.counts().total(), 3, "presence, descriptor, listing");
    pod.repository.identity().unwrap();
    pod.repository.newest().unwrap();
    assert_eq!(pod.store.counts().total(), 4, "only the listing is asked for again");
    assert_eq!(snapshots_read.load(Ordering::Relaxed), 0);
}

#[test]
fn a_damaged_newest_snapshot_is_not_passed_over() {
    let server = server();
    let pod = former(&server, Duration::ZERO);
    pod.write("1");
    pod.clock.advance(DAY);
    let second = pod.backup(Some(1)).unwrap().snapshot.unwrap();
    let key = Key::new(format!("snapshots/{}.json", second.id)).unwrap();
    server.put(&key, &bytes::Bytes::from_static(b"{}")).unwrap();
    let error = pick(pod.repository.as_ref(), &Wanted::Latest).unwrap_err();
    assert!(error.is_damage() && error.to_string().contains("unasked"), "{error}");
    let error = pick(pod.repository.as_ref(), &Wanted::Named(second.id.0.clone())).unwrap_err();
    assert!(error.is_damage(), "{error}");
    // Asked for by time, what is younger does not matter.
    let before = second.time.plus(Duration::ZERO);
    let just_before = Wanted::At(volkeep::base::timestamp::Timestamp::new(before.seconds - 1, 0));
    assert_eq!(pick(pod.repository.as_ref(), &just_before).unwrap().files, 1);
}

#[test]
fn a_repository_that_vanished_is_not_answered_from_memory() {
    let server = server();
    let pod = former(&server, Duration::ZERO);
    assert_eq!(pod.repository.probe().unwrap(), Presence::Ready);
    let mut keys = Vec::new();
    server
        .list("", &mut |object| {
            keys.push(object.key);
            Ok(())
        })
        .unwrap();
    server.delete_many(&keys).unwrap();
    assert!(matches!(pod.repository.newest(), Err(RepositoryError::Absent(_))));
    assert!(matches!(pod.repository.snapshots(), Err(RepositoryError::Absent(_))));
    assert!(matches!(pod.repository.probe().unwrap(), Presence::Absent(_)));
    assert!(matches!(pod.backup(Some(1)), Err(RepositoryError::Absent(_))));
    // Another one is made there: its own descriptor counts from then on.
    let other = Pod::new("other", &server, Duration::ZERO);
    other.repository.create("another").unwrap();
    pod.repository.probe().unwrap();
    assert_eq!(pod.repository.identity().unwrap(), "another");
}

/// A snapshot is withdrawn while `init` begins to read it.
#[test]
fn init_chooses_again_when_its_choice_is_withdrawn() {
    let server = server();
    let before = former(&server, Duration::ZERO);
    before.write("withdrawn");
    before.clock.advance(DAY);
    let withdrawn = before.backup(Some(1)).unwrap().snapshot.unwrap();

    let pod = Pod::new("successor", &server, Duration::ZERO);
    let volume = pod.dir.path().join("volume");
    fs::create_dir(&volume).unwrap();
    let repository: Arc<dyn Repository> = pod.repository.clone();
    let scope = Scope {
        volume: Volume::new(VolumeOptions::new(volume.join("data"), volume.join(".volkeep"), IDENTITY))
            .unwrap(),
        repositories: vec![repository],
        source: SourceOptions::default(),
        workers: workers(),
        pod: "successor".into(),
        host: "host".into(),
        clock: pod.clock.clone(),
        progress: Progress::default(),
        cancel: Cancel::new(),
    };
    let options = InitOptions {
        policy: Policy::default(),
        timeout: Duration::from_secs(1),
        stale_timeout: Duration::from_secs(60),
        checks: Vec::new(),
        repair: None,
        archive: None,
        hooks: volkeep::hook::Hooks::default(),
        steps: Vec::new(),
        dry_run: false,
    };
    let to_go = Key::new(format!("snapshots/{}.json", withdrawn.id)).unwrap();
    let (gone, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    pod.store.before_each(move |operation, asked| {
        // Read when it was chosen; gone when it is to be restored.
        if operation == Operation::Get
            && asked == to_go.as_str()
            && reads.fetch_add(1, Ordering::Relaxed) == 1
            && !gone.swap(true, Ordering::Relaxed)
        {
            server.delete(&to_go).unwrap();
        }
    });
    let report = init::run(&scope, &options).unwrap();
    let brought = report.brought.unwrap();
    assert_ne!(brought.snapshot, withdrawn.id.0);
    assert_eq!(fs::read_to_string(volume.join("data/file")).unwrap(), "0");
}
