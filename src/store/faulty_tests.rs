//! The script does what it says, when it says so.

use bytes::Bytes;

use super::*;
use crate::base::clock::ManualClock;
use crate::base::timestamp::Timestamp;
use crate::store::MemoryStore;

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn store() -> (Arc<ManualClock>, FaultyStore) {
    let clock = Arc::new(ManualClock::at(Timestamp::default()));
    let memory = Arc::new(MemoryStore::new(clock.clone()));
    memory.create().unwrap();
    (clock.clone(), FaultyStore::new(memory, clock))
}

#[test]
fn patterns_take_stars() {
    for (pattern, text, expected) in [
        ("a/b", "a/b", true),
        ("a/b", "a/bc", false),
        ("*", "", true),
        ("packs/*", "packs/ab/cd", true),
        ("*/cd", "packs/ab/cd", true),
        ("p*b*d", "packs/ab/cd", true),
        ("p*b*x", "packs/ab/cd", false),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
    }
}

#[test]
fn failures_come_as_often_as_told_and_to_whom_told() {
    let (_, store) = store();
    store.inject(Rule::new(Operation::Put, "packs/*", Fault::Fail(Failure::Full)).after(1).times(2));
    store.put(&key("segments/a"), &Bytes::from_static(b"x")).unwrap();
    store.put(&key("packs/a"), &Bytes::from_static(b"x")).unwrap();
    for _ in 0..2 {
        assert!(matches!(
            store.put(&key("packs/a"), &Bytes::from_static(b"y")),
            Err(StoreError::Full { .. })
        ));
    }
    assert_eq!(store.get(&key("packs/a")).unwrap(), b"x");
    store.put(&key("packs/a"), &Bytes::from_static(b"y")).unwrap();
    store.inject(Rule::any("*", Fault::Fail(Failure::Unreachable)).always());
    assert!(matches!(store.presence(), Err(StoreError::Unreachable { .. })));
    assert!(matches!(store.get(&key("packs/a")), Err(StoreError::Unreachable { .. })));
    store.heal();
    assert_eq!(store.get(&key("packs/a")).unwrap(), b"y");
}

#[test]
fn a_lost_response_is_done_all_the_same() {
    let (_, store) = store();
    store.inject(Rule::new(Operation::PutIfAbsent, "a", Fault::LostResponse));
    assert!(matches!(
        store.put_if_absent(&key("a"), &Bytes::from_static(b"x")),
        Err(StoreError::Temporary { .. })
    ));
    assert_eq!(store.get(&key("a")).unwrap(), b"x");
}

#[test]
fn damage_hits_reads_and_writes() {
    let (_, store) = store();
    store.put(&key("a"), &Bytes::from_static(b"abcd")).unwrap();
    store.inject(Rule::new(Operation::Get, "a", Fault::Truncated));
    store.inject(Rule::new(Operation::Get, "a", Fault::FlippedBit));
    assert_eq!(store.get(&key("a")).unwrap(), b"ab");
    assert_eq!(store.get(&key("a")).unwrap(), b"absd");
    assert_eq!(store.get(&key("a")).unwrap(), b"abcd");
    store.inject(Rule::new(Operation::GetRange, "a", Fault::Truncated).times(2));
    assert_eq!(store.get_range(&key("a"), 0, 2).unwrap(), b"ab");
    let error = store.get_range(&key("a"), 1, 2).unwrap_err();
    assert!(matches!(error, StoreError::ShortRead { expected: 3, found: 2, .. }), "{error}");
    store.inject(Rule::new(Operation::Put, "b", Fault::Truncated));
    store.put(&key("b"), &Bytes::from_static(b"abcd")).unwrap();
    assert_eq!(store.get(&key("b")).unwrap(), b"ab");
}

#[test]
fn slow_answers_move_the_clock_and_still_fail() {
    let (clock, store) = store();
    store.inject(Rule::any("*", Fault::Slow(Duration::from_secs(30))).always());
    store.inject(Rule::new(Operation::Create, "", Fault::Fail(Failure::Denied)));
    assert!(matches!(store.create(), Err(StoreError::Denied { .. })));
    assert_eq!(clock.elapsed(), Duration::from_secs(30));
}

#[test]
fn calls_and_bytes_are_counted_and_the_hook_runs_first() {
    let (_, store) = store();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    store.before_each(move |operation, subject| lock(&log).push((operation, subject.to_owned())));
    store.put(&key("a"), &Bytes::from_static(b"abc")).unwrap();
    store.get(&key("a")).unwrap();
    assert!(store.get(&key("b")).is_err());
    let counts = store.counts();
    assert_eq!((counts.of(Operation::Get), counts.total()), (2, 3));
    assert_eq!((counts.uploaded, counts.downloaded), (3, 3));
    assert_eq!(lock(&seen).first(), Some(&(Operation::Put, "a".to_owned())));
    store.reset_counts();
    assert_eq!(store.counts(), Counts::default());
}
