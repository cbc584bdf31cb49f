//! The schedule of attempts, on a clock that stands still.

use bytes::Bytes;

use super::*;
use crate::base::clock::ManualClock;
use crate::base::timestamp::Timestamp;
use crate::store::MemoryStore;
use crate::store::faulty::{Failure, Fault, FaultyStore, Operation, Rule};

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

struct Bench {
    clock: Arc<ManualClock>,
    faulty: Arc<FaultyStore>,
    store: RetryStore,
    cancel: Cancel,
}

fn bench(deadline: u64) -> Bench {
    let clock = Arc::new(ManualClock::at(Timestamp::default()));
    let memory = Arc::new(MemoryStore::new(clock.clone()));
    memory.create().unwrap();
    let faulty = Arc::new(FaultyStore::new(memory, clock.clone()));
    let cancel = Cancel::new();
    let policy = RetryPolicy {
        deadline: Duration::from_secs(deadline),
        seed: Some(7),
        cancel: cancel.clone(),
        ..RetryPolicy::default()
    };
    let store = RetryStore::new(faulty.clone(), policy, clock.clone());
    Bench { clock, faulty, store, cancel }
}

#[test]
fn what_fails_for_the_moment_is_tried_until_it_works() {
    let bench = bench(120);
    bench.faulty.inject(Rule::new(Operation::Put, "a", Fault::Fail(Failure::Temporary)).times(4));
    bench.store.put(&key("a"), &Bytes::from_static(b"x")).unwrap();
    assert_eq!(bench.faulty.counts().of(Operation::Put), 5);
    // The bounds of four pauses are 0.2, 0.4, 0.8 and 1.6 s.
    let waited = bench.clock.elapsed();
    assert!(waited > Duration::ZERO && waited <= Duration::from_secs(3), "{waited:?}");
}

#[test]
fn the_deadline_ends_it_with_the_last_error() {
    let bench = bench(90);
    bench.faulty.inject(Rule::any("*", Fault::Fail(Failure::Unreachable)).always());
    let error = bench.store.get(&key("a")).unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
    assert_eq!(bench.clock.elapsed(), Duration::from_secs(90));
    let attempts = bench.faulty.counts().of(Operation::Get);
    assert!((8..40).contains(&attempts), "{attempts}");
}

#[test]
fn slow_attempts_use_up_the_deadline() {
    let bench = bench(60);
    bench.faulty.inject(Rule::any("*", Fault::Slow(Duration::from_secs(61))).always());
    bench.faulty.inject(Rule::any("*", Fault::Fail(Failure::Temporary)).always());
    assert!(bench.store.get(&key("a")).is_err());
    assert_eq!(bench.faulty.counts().of(Operation::Get), 1);
}

#[test]
fn pauses_grow_to_the_bound_and_are_spread() {
    let bench = bench(120);
    let mut attempts = Attempts::start(bench.store.terms(), "test", "");
    let pauses: Vec<Duration> = (0..200).map(|_| attempts.next_pause()).collect();
    assert!(pauses[0] <= Duration::from_millis(200) && pauses[1] <= Duration::from_millis(400));
    let late = &pauses[10..];
    assert!(late.iter().all(|pause| *pause <= Duration::from_secs(20)));
    assert!(late.iter().any(|pause| *pause > Duration::from_secs(15)));
    assert!(late.iter().any(|pause| *pause < Duration::from_secs(5)));
    let again = self::bench(120);
    let mut attempts = Attempts::start(again.store.terms(), "test", "");
    assert_eq!(attempts.next_pause(), pauses[0], "the seed fixes the schedule");
}

#[test]
fn what_will_not_pass_is_not_tried_again() {
    let bench = bench(120);
    for failure in [Failure::Denied, Failure::Full, Failure::ReadOnly, Failure::Io, Failure::NotFound] {
        bench.faulty.reset_counts();
        bench.faulty.inject(Rule::new(Operation::Put, "a", Fault::Fail(failure)));
        assert!(bench.store.put(&key("a"), &Bytes::from_static(b"x")).is_err());
        assert_eq!(bench.faulty.counts().total(), 1, "{failure:?}");
    }
    assert_eq!(bench.clock.elapsed(), Duration::ZERO);
}

#[test]
fn a_cancelled_wait_ends_with_the_error() {
    let bench = bench(120);
    bench.faulty.inject(Rule::any("*", Fault::Fail(Failure::Temporary)).always());
    bench.cancel.cancel();
    assert!(matches!(bench.store.get(&key("a")), Err(StoreError::Temporary { .. })));
    assert_eq!(bench.faulty.counts().total(), 1);
}

#[test]
fn our_own_object_after_a_lost_response_counts_as_created() {
    let bench = bench(120);
    bench.faulty.inject(Rule::new(Operation::PutIfAbsent, "*", Fault::LostResponse).times(2));
    assert_eq!(bench.store.put_if_absent(&key("a"), &Bytes::from_static(b"ours")).unwrap(), Put::Created);
    assert_eq!(
        bench.store.put_if_absent(&key("a"), &Bytes::from_static(b"ours")).unwrap(),
        Put::Exists,
        "nothing was lost"
    );
}

#[test]
fn another_object_after_a_failed_attempt_is_not_ours() {
    let bench = bench(120);
    bench.faulty.put(&key("a"), &Bytes::from_static(b"theirs")).unwrap();
    bench.faulty.inject(Rule::new(Operation::PutIfAbsent, "*", Fault::Fail(Failure::Temporary)));
    assert_eq!(bench.store.put_if_absent(&key("a"), &Bytes::from_static(b"ours")).unwrap(), Put::Exists);
    assert_eq!(bench.store.get(&key("a")).unwrap(), b"theirs");
}

#[test]
fn the_look_after_a_lost_response_is_tried_again_too() {
    let bench = bench(120);
    bench.faulty.inject(Rule::new(Operation::PutIfAbsent, "*", Fault::LostResponse));
    bench.faulty.inject(Rule::new(Operation::Get, "*", Fault::Fail(Failure::Temporary)).times(3));
    assert_eq!(bench.store.put_if_absent(&key("a"), &Bytes::from_static(b"ours")).unwrap(), Put::Created);
}

#[test]
fn a_listing_goes_on_where_it_broke_off() {
    let bench = bench(120);
    for name in ["a", "b", "c"] {
        bench.faulty.put(&key(name), &Bytes::from_static(name.as_bytes())).unwrap();
    }
    bench.faulty.inject(Rule::new(Operation::List, "", Fault::Fail(Failure::Temporary)));
    bench.faulty.inject(Rule::new(Operation::List, "", Fault::LostResponse));
    let mut seen = Vec::new();
    bench
        .store
        .list("", &mut |info| {
            seen.push(info.key);
            Ok(())
        })
        .unwrap();
    assert_eq!(seen, ["a", "b", "c"].map(key));
    assert_eq!(bench.faulty.counts().of(Operation::List), 3);
}

#[test]
fn an_error_of_the_visitor_is_returned_as_it_is() {
    let bench = bench(120);
    bench.faulty.put(&key("a"), &Bytes::from_static(b"x")).unwrap();
    let mut calls = 0;
    let error = bench.store.list("", &mut |_| {
        calls += 1;
        Err(StoreError::Temporary { location: String::new(), reason: "mine".to_owned() })
    });
    assert!(error.unwrap_err().to_string().contains("mine"));
    assert_eq!(calls, 1);
}
