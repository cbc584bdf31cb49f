//! What every store promises, checked once for each implementation and for each wrapper around it.

// The helpers of a test are tests too, which the lint cannot see here.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use bytes::Bytes;
use volkeep::base::clock::{Clock, ManualClock};
use volkeep::base::timestamp::Timestamp;
use volkeep::store::limit::{LimitStore, Limits};
use volkeep::store::retry::{RetryPolicy, RetryStore};
use volkeep::store::{
    FaultyStore, Key, LocalStore, MemoryStore, ObjectInfo, ObjectStore, Presence, Put, Replace, StoreError,
    StoreOptions, wrap,
};

use support::s3::{Server, unique};

type Store = Arc<dyn ObjectStore>;

/// Now, and standing still: the local store takes its times from the file system.
fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from(std::time::SystemTime::now())))
}

/// A store that was not created yet, and what must live as long.
fn local() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(LocalStore::new(dir.path().join("deep/below/backup")));
    (dir, store)
}

fn memory() -> ((), Store) {
    ((), Arc::new(MemoryStore::new(clock())))
}

/// A part of a bucket that has no objects yet.
fn prefix_of(server: Server) -> ((), Store) {
    let bucket = server.shared_bucket();
    ((), server.store(&bucket, &unique("conformance")))
}

/// A bucket that was not created yet.
fn bucket_of(server: Server) -> ((), Store) {
    ((), server.store(&unique("conformance"), "below/it"))
}

fn ceph() -> ((), Store) {
    prefix_of(Server::real())
}

fn ceph_bucket() -> ((), Store) {
    bucket_of(Server::real())
}

fn rclone() -> ((), Store) {
    prefix_of(Server::sloppy())
}

fn rclone_bucket() -> ((), Store) {
    bucket_of(Server::sloppy())
}

fn retrying(inner: Store) -> Store {
    Arc::new(RetryStore::new(inner, RetryPolicy::default(), clock()))
}

fn limited(inner: Store) -> Store {
    let limits = Limits { connections: 2, upload: 1 << 30, download: 1 << 30, ..Limits::default() };
    Arc::new(LimitStore::new(inner, limits, clock()))
}

fn faulty(inner: Store) -> Store {
    Arc::new(FaultyStore::new(inner, clock()))
}

fn wrapped(inner: Store) -> Store {
    wrap(inner, &StoreOptions::default(), clock())
}

/// The store fails half the time, and nobody above notices.
fn rough(inner: Store) -> Store {
    use volkeep::store::faulty::{Failure, Fault, Rule};
    let clock = clock();
    let store = Arc::new(FaultyStore::new(inner, clock.clone()));
    store.inject(Rule::any("*", Fault::Slow(Duration::from_millis(1))).always());
    for round in 0..50 {
        store.inject(Rule::any("*", Fault::Fail(Failure::Temporary)).after(round * 2 % 5));
        store.inject(Rule::any("*", Fault::LostResponse).after(round % 3));
    }
    let options = StoreOptions { retry_deadline: Duration::from_secs(3600), ..StoreOptions::default() };
    wrap(store, &options, clock)
}

macro_rules! conformance {
    ($($name:ident: $make:expr, $around:expr;)*) => {$(
        mod $name {
            use super::*;
            conformance!(@tests [] $make, $around;
                presence_is_absent_then_present,
                a_store_that_is_not_there_is_unreachable,
                objects_come_back_as_they_went,
                ranges_are_exact,
                listings_are_sorted_and_keep_to_their_prefix,
                a_listing_ends_with_the_error_of_its_visitor,
                a_visitor_may_use_the_store,
                put_replaces,
                delete_may_come_twice,
                what_is_not_there_is_not_found,
                put_if_absent_never_replaces,
                one_of_many_racers_creates,
                replace_keeps_what_it_did_not_expect,
                one_of_many_racers_replaces,
                many_are_deleted_at_once,
                readers_see_whole_objects_only
            );
        }
    )*};
    // A server's objects are not in a container of their own, unless the test is about the container.
    (@server $($name:ident: $bucket:expr, $prefix:expr, $around:expr; $($test:ident),*;)*) => {$(
        mod $name {
            use super::*;
            conformance!(@tests [#[ignore = "needs an S3 server: tests/run"]] $bucket, $around;
                presence_is_absent_then_present,
                a_store_that_is_not_there_is_unreachable
            );
            conformance!(@tests [#[ignore = "needs an S3 server: tests/run"]] $prefix, $around; $($test),*);
        }
    )*};
    (@tests $attributes:tt $make:expr, $around:expr; $($test:ident),*) => {$(
        conformance!(@test $attributes $make, $around; $test);
    )*};
    (@test [$($attribute:tt)*] $make:expr, $around:expr; $test:ident) => {
        #[test]
        $($attribute)*
        fn $test() {
            let (_guard, store) = $make();
            let store: Store = $around(store);
            super::$test(store.as_ref());
        }
    };
}

conformance! {
    plain_local: local, |store| store;
    plain_memory: memory, |store| store;
    retry_local: local, retrying;
    retry_memory: memory, retrying;
    limit_local: local, limited;
    limit_memory: memory, limited;
    faulty_local: local, faulty;
    faulty_memory: memory, faulty;
    wrapped_local: local, wrapped;
    wrapped_memory: memory, wrapped;
    rough_local: local, rough;
    rough_memory: memory, rough;
}

conformance! { @server
    plain_ceph: ceph_bucket, ceph, |store| store;
        objects_come_back_as_they_went,
        ranges_are_exact,
        listings_are_sorted_and_keep_to_their_prefix,
        a_listing_ends_with_the_error_of_its_visitor,
        a_visitor_may_use_the_store,
        put_replaces,
        delete_may_come_twice,
        what_is_not_there_is_not_found,
        put_if_absent_never_replaces,
        one_of_many_racers_creates,
        replace_keeps_what_it_did_not_expect,
        one_of_many_racers_replaces,
        many_are_deleted_at_once,
        readers_see_whole_objects_only;
    wrapped_ceph: ceph_bucket, ceph, wrapped;
        objects_come_back_as_they_went,
        ranges_are_exact,
        listings_are_sorted_and_keep_to_their_prefix,
        a_listing_ends_with_the_error_of_its_visitor,
        a_visitor_may_use_the_store,
        put_replaces,
        delete_may_come_twice,
        what_is_not_there_is_not_found,
        put_if_absent_never_replaces,
        one_of_many_racers_creates,
        replace_keeps_what_it_did_not_expect,
        one_of_many_racers_replaces,
        many_are_deleted_at_once,
        readers_see_whole_objects_only;
}

// Left out for rclone, because it takes a request with a condition for one without:
// - `put_if_absent_never_replaces`, `one_of_many_racers_creates`: it overwrites and says that it created;
// - `replace_keeps_what_it_did_not_expect`, `one_of_many_racers_replaces`: it replaces whatever is there.
// And because it writes into the file that others are reading:
// - `readers_see_whole_objects_only`: they see parts and mixtures. What is stored is named by its hash and never
//   written twice, or carries one, so a repository notices.
conformance! { @server
    plain_rclone: rclone_bucket, rclone, |store| store;
        objects_come_back_as_they_went,
        ranges_are_exact,
        listings_are_sorted_and_keep_to_their_prefix,
        a_listing_ends_with_the_error_of_its_visitor,
        a_visitor_may_use_the_store,
        put_replaces,
        delete_may_come_twice,
        what_is_not_there_is_not_found,
        many_are_deleted_at_once;
    wrapped_rclone: rclone_bucket, rclone, wrapped;
        objects_come_back_as_they_went,
        ranges_are_exact,
        listings_are_sorted_and_keep_to_their_prefix,
        a_listing_ends_with_the_error_of_its_visitor,
        a_visitor_may_use_the_store,
        put_replaces,
        delete_may_come_twice,
        what_is_not_there_is_not_found,
        many_are_deleted_at_once;
}

fn presence_is_absent_then_present(store: &dyn ObjectStore) {
    assert_eq!(store.presence().unwrap(), Presence::Absent);
    store.create().unwrap();
    assert_eq!(store.presence().unwrap(), Presence::Present);
    store.put(&key("a"), &Bytes::from_static(b"x")).unwrap();
    store.create().unwrap();
    assert_eq!(store.get(&key("a")).unwrap(), b"x", "creating twice takes nothing away");
    assert!(!store.location().is_empty());
}

fn a_store_that_is_not_there_is_unreachable(store: &dyn ObjectStore) {
    let key = key("repository.json");
    let refused = [
        store.get(&key).map(drop),
        store.get_range(&key, 0, 1).map(drop),
        store.size(&key).map(drop),
        store.put(&key, &Bytes::from_static(b"x")),
        store.put_if_absent(&key, &Bytes::from_static(b"x")).map(drop),
        store.replace(&key, &Bytes::new(), &Bytes::from_static(b"x")).map(drop),
        store.delete(&key),
        store.delete_many(std::slice::from_ref(&key)),
        store.list("", &mut |_| Ok(())),
    ];
    for outcome in refused {
        assert!(matches!(outcome, Err(StoreError::Unreachable { .. })), "{outcome:?}");
    }
    assert_eq!(store.presence().unwrap(), Presence::Absent, "nothing was made by the way");
}

fn objects_come_back_as_they_went(store: &dyn ObjectStore) {
    store.create().unwrap();
    for (name, length) in [("empty", 0), ("packs/one", 1), ("packs/ab/large", 9 << 20)] {
        let bytes = pattern(length);
        store.put(&key(name), &bytes).unwrap();
        assert!(store.get(&key(name)).unwrap() == bytes, "{name}");
        assert_eq!(store.size(&key(name)).unwrap(), length as u64);
    }
}

fn ranges_are_exact(store: &dyn ObjectStore) {
    store.create().unwrap();
    let bytes = pattern(100_000);
    let key = key("packs/a");
    store.put(&key, &bytes).unwrap();
    for (offset, length) in [(0, 10), (50_000, 40_000), (99_990, 10), (0, 100_000), (7, 0), (100_000, 0)] {
        let expected = bytes.slice(offset..offset + length);
        assert!(
            store.get_range(&key, offset as u64, length as u64).unwrap() == expected,
            "{offset}+{length}"
        );
    }
    for (offset, length) in [(99_990, 11), (100_000, 1), (100_001, 0), (1 << 40, 1), (1, u64::MAX)] {
        let outcome = store.get_range(&key, offset, length);
        assert!(matches!(outcome, Err(StoreError::ShortRead { .. })), "{offset}+{length}");
    }
}

fn listings_are_sorted_and_keep_to_their_prefix(store: &dyn ObjectStore) {
    store.create().unwrap();
    assert!(keys(store, "").is_empty() && keys(store, "packs").is_empty());
    // `-` and `.` sort before the slash, `0` after it: a naive walk by directories gets these wrong.
    let names =
        ["packs-b", "packs.b", "packs/0a", "packs/ab/x", "packs/ab0", "packs0", "repository.json", "s/t"];
    for (number, name) in names.iter().enumerate().rev() {
        store.put(&key(name), &vec![0; number].into()).unwrap();
    }
    assert_eq!(keys(store, ""), names);
    for prefix in ["packs", "packs/"] {
        assert_eq!(keys(store, prefix), ["packs/0a", "packs/ab/x", "packs/ab0"], "{prefix}");
    }
    assert_eq!(keys(store, "packs/ab"), ["packs/ab/x"]);
    for nothing in ["pack", "none/at/all", "repository.json"] {
        assert!(keys(store, nothing).is_empty(), "{nothing}");
    }
    for bad in ["/", "../", "packs//"] {
        assert!(matches!(store.list(bad, &mut |_| Ok(())), Err(StoreError::BadKey { .. })), "{bad}");
    }
    let now = clock().now();
    for (number, info) in infos(store, "").into_iter().enumerate() {
        assert_eq!(info.size, number as u64);
        let age = now.since(info.modified).max(info.modified.since(now));
        assert!(age < Duration::from_secs(3600), "{info:?}");
    }
}

fn a_listing_ends_with_the_error_of_its_visitor(store: &dyn ObjectStore) {
    store.create().unwrap();
    for name in ["a", "b", "c"] {
        store.put(&key(name), &Bytes::from_static(b"x")).unwrap();
    }
    let mut seen = Vec::new();
    let outcome = store.list("", &mut |info| {
        seen.push(info.key.to_string());
        if seen.len() < 2 { Ok(()) } else { Err(StoreError::ReadOnly { location: "mine".to_owned() }) }
    });
    assert!(matches!(outcome, Err(StoreError::ReadOnly { .. })), "{outcome:?}");
    assert_eq!(seen, ["a", "b"]);
}

fn a_visitor_may_use_the_store(store: &dyn ObjectStore) {
    store.create().unwrap();
    for name in ["t/a", "t/b", "t/c"] {
        store.put(&key(name), &Bytes::from_static(b"x")).unwrap();
    }
    store
        .list("t", &mut |info| store.get(&info.key).map(drop).and_then(|()| store.delete(&info.key)))
        .unwrap();
    assert!(keys(store, "").is_empty());
}

fn put_replaces(store: &dyn ObjectStore) {
    store.create().unwrap();
    for bytes in [b"first, and longer".as_slice(), b"second", b""] {
        store.put(&key("a/b"), &Bytes::from_static(bytes)).unwrap();
        assert_eq!(store.get(&key("a/b")).unwrap(), bytes);
    }
    assert_eq!(keys(store, ""), ["a/b"]);
}

fn delete_may_come_twice(store: &dyn ObjectStore) {
    store.create().unwrap();
    store.put(&key("a/b"), &Bytes::from_static(b"x")).unwrap();
    for _ in 0..2 {
        store.delete(&key("a/b")).unwrap();
    }
    store.delete(&key("never/was")).unwrap();
    assert!(keys(store, "").is_empty());
    store.put(&key("a/b"), &Bytes::from_static(b"y")).unwrap();
    assert_eq!(store.get(&key("a/b")).unwrap(), b"y");
}

fn what_is_not_there_is_not_found(store: &dyn ObjectStore) {
    store.create().unwrap();
    store.put(&key("packs/a"), &Bytes::from_static(b"x")).unwrap();
    for name in ["b", "packs", "packs/b", "packs/a/b", "none/at/all"] {
        let missing = key(name);
        let outcomes = [
            store.get(&missing).map(drop),
            store.get_range(&missing, 0, 0).map(drop),
            store.size(&missing).map(drop),
        ];
        for outcome in outcomes {
            assert!(matches!(&outcome, Err(StoreError::NotFound { key }) if *key == missing), "{outcome:?}");
        }
    }
}

fn put_if_absent_never_replaces(store: &dyn ObjectStore) {
    store.create().unwrap();
    assert_eq!(store.put_if_absent(&key("leases/1"), &Bytes::from_static(b"first")).unwrap(), Put::Created);
    assert_eq!(store.put_if_absent(&key("leases/1"), &Bytes::from_static(b"second")).unwrap(), Put::Exists);
    assert_eq!(store.get(&key("leases/1")).unwrap(), b"first");
    store.delete(&key("leases/1")).unwrap();
    assert_eq!(store.put_if_absent(&key("leases/1"), &Bytes::from_static(b"third")).unwrap(), Put::Created);
    assert_eq!(keys(store, ""), ["leases/1"]);
}

fn one_of_many_racers_creates(store: &dyn ObjectStore) {
    store.create().unwrap();
    for round in 0..20 {
        let lease = key(&format!("leases/{round}"));
        let start = Barrier::new(8);
        let winners: Vec<Bytes> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8u8)
                .map(|racer| {
                    let (lease, start) = (&lease, &start);
                    scope.spawn(move || {
                        let bytes = Bytes::from(vec![racer; 1000]);
                        start.wait();
                        (store.put_if_absent(lease, &bytes).unwrap() == Put::Created).then_some(bytes)
                    })
                })
                .collect();
            racers.into_iter().filter_map(|racer| racer.join().unwrap()).collect()
        });
        assert_eq!(winners.len(), 1, "round {round}");
        assert!(store.get(&lease).unwrap() == winners[0], "round {round}");
    }
}

fn replace_keeps_what_it_did_not_expect(store: &dyn ObjectStore) {
    store.create().unwrap();
    let [first, second, third] = ["first", "second", "third"].map(|text| Bytes::from_static(text.as_bytes()));
    let lease = key("leases/1");
    assert_eq!(store.replace(&lease, &first, &second).unwrap(), Replace::Changed, "nothing is there");
    store.put(&lease, &first).unwrap();
    assert_eq!(store.replace(&lease, &second, &third).unwrap(), Replace::Changed);
    assert_eq!(store.get(&lease).unwrap(), first);
    let replaced = store.replace(&lease, &first, &second).unwrap();
    match replaced {
        Replace::Done => assert_eq!(store.get(&lease).unwrap(), second),
        Replace::Unsupported => assert_eq!(store.get(&lease).unwrap(), first),
        Replace::Changed => assert_eq!(replaced, Replace::Done, "nobody changed it"),
    }
}

fn one_of_many_racers_replaces(store: &dyn ObjectStore) {
    store.create().unwrap();
    let lease = key("leases/1");
    let (first, probe) = (Bytes::from_static(b"first"), Bytes::from_static(b"probe"));
    store.put(&lease, &probe).unwrap();
    if store.replace(&lease, &probe, &first).unwrap() == Replace::Unsupported {
        return;
    }
    for round in 0..10u8 {
        let before = Bytes::from(store.get(&lease).unwrap());
        let start = Barrier::new(8);
        let winners: Vec<Bytes> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8u8)
                .map(|racer| {
                    let (lease, start, before) = (&lease, &start, &before);
                    scope.spawn(move || {
                        let bytes = Bytes::from(vec![round, racer]);
                        start.wait();
                        (store.replace(lease, before, &bytes).unwrap() == Replace::Done).then_some(bytes)
                    })
                })
                .collect();
            racers.into_iter().filter_map(|racer| racer.join().unwrap()).collect()
        });
        assert_eq!(winners.len(), 1, "round {round}");
        assert_eq!(store.get(&lease).unwrap(), winners[0], "round {round}");
    }
}

fn many_are_deleted_at_once(store: &dyn ObjectStore) {
    store.create().unwrap();
    store.delete_many(&[]).unwrap();
    // More than S3 takes in one request.
    let names: Vec<Key> = (0..1_203).map(|number| key(&format!("packs/{number:04}"))).collect();
    for name in &names {
        store.put(name, &Bytes::from_static(b"x")).unwrap();
    }
    let (gone, kept) = names.split_at(1_200);
    let gone: Vec<Key> = gone.iter().cloned().chain([key("never/was")]).collect();
    store.delete_many(&gone).unwrap();
    assert_eq!(keys(store, ""), kept.iter().map(Key::to_string).collect::<Vec<_>>());
}

fn readers_see_whole_objects_only(store: &dyn ObjectStore) {
    const LENGTH: usize = 300_000;
    store.create().unwrap();
    let key = key("state");
    store.put(&key, &vec![0; LENGTH].into()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=40u8 {
                // Of changing length: a part of one object must not pass for another.
                store.put(&key, &vec![round; LENGTH - usize::from(round)].into()).unwrap();
            }
            done.store(true, Ordering::Release);
        });
        for _ in 0..2 {
            scope.spawn(|| {
                let mut highest = 0;
                while !done.load(Ordering::Acquire) {
                    let bytes = store.get(&key).unwrap();
                    let round = bytes[0];
                    assert!(bytes.iter().all(|byte| *byte == round), "a mixture");
                    assert_eq!(bytes.len(), LENGTH - usize::from(round), "a part");
                    assert!(round >= highest, "an old object came back");
                    highest = round;
                    assert_eq!(keys(store, ""), ["state"]);
                }
            });
        }
    });
    assert_eq!(store.get(&key).unwrap()[0], 40);
}

#[test]
fn names_that_would_leave_the_store_are_no_keys() {
    for text in ["", "/etc/passwd", "..", "a/../../b", "a//b", "a/", "./a", "ü", ".tmp-a", "a/.tmp-b/c"] {
        assert!(matches!(Key::new(text), Err(StoreError::BadKey { .. })), "{text:?}");
    }
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn infos(store: &dyn ObjectStore, prefix: &str) -> Vec<ObjectInfo> {
    let mut infos = Vec::new();
    store
        .list(prefix, &mut |info| {
            infos.push(info);
            Ok(())
        })
        .unwrap();
    infos
}

fn keys(store: &dyn ObjectStore, prefix: &str) -> Vec<String> {
    infos(store, prefix).into_iter().map(|info| info.key.to_string()).collect()
}

/// Bytes that differ at neighbouring places and do not repeat every power of two.
fn pattern(length: usize) -> Bytes {
    (0..length).map(|at| (at % 251) as u8).collect()
}
