//! The end of a body ahead of the rest.

use std::time::{Duration, Instant};

use super::*;
use lakehost_server::Fault;

const LENGTH: usize = 3_000_000;
const TAIL: usize = 65_536;

fn slow_world(faults: &[Fault]) -> (World, Vec<u8>) {
    let world = World::new();
    let bytes = world.file("a", LENGTH);
    // Only the first request is slow: the tail's is the second.
    world.server.fault_times("a", 1, Fault::StallAfter(100_000, Duration::from_millis(1_000)));
    faults.iter().for_each(|fault| world.server.fault("a", fault.clone()));
    (world, bytes)
}

#[test]
fn a_footer_is_read_before_the_body_is_in() {
    let (world, bytes) = slow_world(&[]);
    let began = Instant::now();
    let spool = world.fetch("a").unwrap();
    assert!(spool.prefetch_tail(TAIL as u64));
    assert!(!spool.prefetch_tail(TAIL as u64), "it is asked for once");
    assert_eq!(spool.read_at((LENGTH - 8) as u64, 8).unwrap(), bytes[LENGTH - 8..]);
    assert_eq!(spool.read_at((LENGTH - TAIL) as u64, TAIL * 2).unwrap(), bytes[LENGTH - TAIL..]);
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    assert!(spool.available() < LENGTH as u64);
    // A range that only begins before the tail waits for the body.
    assert_eq!(spool.read_at((LENGTH - TAIL - 1) as u64, 10).unwrap(), bytes[LENGTH - TAIL - 1..][..10]);
    assert_holds(&spool, &bytes);
    assert_eq!(world.ranges(), [None, Some(format!("bytes={}-{}", LENGTH - TAIL, LENGTH - 1))]);
    assert_eq!(world.server.requests()[1].header("if-range").map(str::to_owned), spool.etag());
}

#[test]
fn a_tail_is_asked_for_only_where_it_is_sound() {
    for faults in [&[Fault::NoRange][..], &[Fault::NoValidators], &[Fault::WeakEtag], &[Fault::NoContentLength]] {
        let (world, bytes) = slow_world(faults);
        let spool = world.fetch("a").unwrap();
        assert!(!spool.prefetch_tail(TAIL as u64), "{faults:?}");
        assert_eq!(spool.read_at((LENGTH - 8) as u64, 8).unwrap(), bytes[LENGTH - 8..]);
        assert_eq!(world.server.requests().len(), 1);
    }
    let world = World::new();
    world.file("small", 10_000);
    assert!(!world.fetch("small").unwrap().prefetch_tail(100), "it is about to arrive anyway");
}

#[test]
fn a_tail_that_cannot_be_had_is_waited_for() {
    for fault in [Fault::status(500), Fault::WrongContentRange, Fault::ChangeEtag, Fault::CutAfter(100), Fault::Hangup]
    {
        let (world, bytes) = slow_world(&[]);
        world.server.fault_after("a", 1, 1, fault.clone());
        let spool = world.fetch("a").unwrap();
        assert!(spool.prefetch_tail(TAIL as u64));
        assert_eq!(spool.read_at((LENGTH - 8) as u64, 8).unwrap(), bytes[LENGTH - 8..], "{fault:?}");
        assert_holds(&spool, &bytes);
    }
}

#[test]
fn a_tail_of_other_bytes_fails_the_body() {
    let (world, _) = slow_world(&[]);
    // The same tag over other bytes of the same length.
    world.server.fault_after("a", 1, 1, Fault::Body(vec![7; LENGTH]));
    let spool = world.fetch("a").unwrap();
    assert!(spool.prefetch_tail(TAIL as u64));
    assert_eq!(spool.read_at((LENGTH - 8) as u64, 8).unwrap()[..], [7; 8]);
    assert!(matches!(spool.wait_complete(), Err(Error::Changed { .. })));
}
