//! Bodies that break, and what may be made of their halves.

use super::*;
use lakehost_server::Fault;

#[test]
fn a_broken_body_is_continued_where_it_broke() {
    let world = World::new();
    let bytes = world.file("a", 1_000_000);
    world.server.fault_times("a", 1, Fault::CutAfter(300_000));
    world.server.fault_after("a", 1, 1, Fault::CutAfter(300_000));
    let spool = world.fetch("a").unwrap();
    assert_eq!(spool.read_at(0, 100).unwrap(), bytes[..100]);
    assert_holds(&spool, &bytes);
    assert_eq!(world.ranges(), [None, Some("bytes=300000-".to_owned()), Some("bytes=600000-".to_owned())]);
    let requests = world.server.requests();
    assert_eq!(requests[1].header("if-range").map(str::to_owned), spool.etag());
    assert_eq!(requests[1].header("accept-encoding"), Some("identity"));
}

#[test]
fn every_cut_of_a_body_heals() {
    let world = World::new();
    let bytes = world.file("a", 5_000);
    for cut in [0, 1, 2, 2_500, 4_998, 4_999] {
        for (chunked, validators) in [(false, true), (true, true), (false, false), (true, false)] {
            world.server.clear_faults();
            world.server.fault_times("a", 1, Fault::CutAfter(cut));
            if chunked {
                world.server.fault("a", Fault::NoContentLength);
            }
            if !validators {
                world.server.fault("a", Fault::NoValidators);
            }
            let spool = world.fetch("a").unwrap();
            assert_eq!(
                spool.wait_complete(),
                Ok(summary_of(&bytes)),
                "cut {cut}, chunked {chunked}, validators {validators}"
            );
        }
    }
}

#[test]
fn a_body_that_always_breaks_is_truncated_and_says_how_far() {
    let world = World::new();
    world.file("a", 100_000);
    world.server.fault("a", Fault::CutAfter(10_000));
    let spool = world.fetch("a").unwrap();
    let Err(Error::Truncated { received_bytes, expected_bytes, url, .. }) = spool.wait_complete() else { panic!() };
    assert_eq!((received_bytes, expected_bytes, url), (50_000, Some(100_000), world.server.url_of("a")));
    assert_eq!(world.server.requests().len(), 5);
    let error = spool.read_at(99_999, 1).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert!(spool.read_at(0, 1).is_err());
}

#[test]
fn a_changed_source_starts_over_only_while_nobody_looked() {
    for look in ["", "bytes", "tag", "length"] {
        let world = World::new();
        world.file("a", 100_000);
        let changed = noise(90_000).into_iter().rev().collect::<Vec<u8>>();
        world.server.fault_times("a", 1, Fault::CutAfter(50_000));
        world.server.fault_after("a", 1, 9, Fault::Body(changed.clone()));
        world.server.fault("a", Fault::ChangeEtagAfter(1));
        // The break is noticed only after a look, or the look comes too late.
        world.server.fault_times("a", 1, Fault::StallAfter(40_000, Duration::from_millis(500)));
        let spool = world.fetch("a").unwrap();
        match look {
            "bytes" => assert!(spool.read_at(0, 10).is_ok()),
            "tag" => assert!(spool.etag().is_some()),
            "length" => assert!(spool.content_length().is_some()),
            _ => {}
        }
        if look.is_empty() {
            assert_holds(&spool, &changed);
            assert!(spool.etag().unwrap().starts_with("\"changed-"));
        } else {
            let error = spool.wait_complete().unwrap_err();
            assert!(matches!(&error, Error::Changed { .. }), "{look}: {error}");
            assert!(error.is_transient());
        }
    }
}

#[test]
fn a_server_without_ranges_sends_again_and_the_beginning_is_proven() {
    for faults in [
        vec![Fault::NoRange],
        vec![Fault::NoValidators],
        vec![Fault::WeakEtag],
        vec![Fault::NoRange, Fault::NoValidators, Fault::NoContentLength],
    ] {
        let world = World::new();
        let bytes = world.file("a", 200_000);
        world.server.fault_times("a", 1, Fault::CutAfter(120_000));
        faults.iter().for_each(|fault| world.server.fault("a", fault.clone()));
        let spool = world.fetch("a").unwrap();
        assert_eq!(spool.read_at(100_000, 10).unwrap(), bytes[100_000..100_010]);
        assert_holds(&spool, &bytes);
    }
}

#[test]
fn other_bytes_under_the_same_tag_never_join() {
    // The server lies: same tag, or none, and other bytes. What was read must be what the hash is of.
    for honest in [false, true] {
        let world = World::new();
        let bytes = world.file("a", 200_000);
        let mut other = bytes.clone();
        other[10] ^= 1;
        world.server.fault("a", Fault::NoRange);
        if honest {
            world.server.fault("a", Fault::NoValidators);
        }
        world.server.fault_times("a", 1, Fault::CutAfter(120_000));
        world.server.fault_after("a", 1, 9, Fault::Body(other));
        let spool = world.fetch("a").unwrap();
        assert_eq!(spool.read_at(0, 20).unwrap(), bytes[..20]);
        assert!(matches!(spool.wait_complete(), Err(Error::Changed { .. })));
    }
}

#[test]
fn a_wrong_range_is_not_appended() {
    let world = World::new();
    let bytes = world.file("a", 200_000);
    world.server.fault_times("a", 1, Fault::CutAfter(120_000));
    world.server.fault("a", Fault::WrongContentRange);
    let spool = world.fetch("a").unwrap();
    assert_eq!(spool.read_at(0, 20).unwrap(), bytes[..20]);
    assert_holds(&spool, &bytes);
    assert_eq!(world.ranges(), [None, Some("bytes=120000-".to_owned()), None], "ranges are given up after a wrong one");
}

#[test]
fn a_tag_that_changes_within_the_range_is_not_appended() {
    let world = World::new();
    let bytes = world.file("a", 200_000);
    world.server.fault_times("a", 1, Fault::CutAfter(120_000));
    // A server that ignores If-Range and continues another file.
    let head = vec![
        ("Content-Range".to_owned(), "bytes 120000-199999/200000".to_owned()),
        ("ETag".to_owned(), "\"other\"".to_owned()),
    ];
    world.server.fault_after("a", 1, 1, Fault::Status(206, head, "x".repeat(80_000)));
    let spool = world.fetch("a").unwrap();
    assert_eq!(spool.read_at(0, 20).unwrap(), bytes[..20]);
    assert_holds(&spool, &bytes);
}

#[test]
fn a_cut_exactly_at_the_end_is_whole() {
    let world = World::new();
    let bytes = world.file("a", 50_000);
    // Chunked, all bytes sent, the closing chunk missing: the server says 416 to "from 50000 on", which proves the end.
    world.server.fault_times("a", 1, Fault::NoContentLength);
    world.server.fault_times("a", 1, Fault::StallAfter(50_000, Duration::from_millis(50)));
    world.server.fault_times("a", 1, Fault::CutAfter(50_000));
    assert_holds(&world.fetch("a").unwrap(), &bytes);
}

#[test]
fn the_way_back_may_be_rough() {
    let world = World::new();
    let bytes = world.file("a", 200_000);
    world.server.fault_times("a", 1, Fault::CutAfter(120_000));
    world.server.fault_after("a", 1, 1, Fault::status(503));
    world.server.fault_after("a", 2, 1, Fault::Hangup);
    world.server.fault_after("a", 3, 1, Fault::retry_after(429, "0"));
    assert_holds(&world.fetch("a").unwrap(), &bytes);

    // What is gone when the download comes back is gone.
    world.server.clear_faults();
    world.server.fault_times("a", 1, Fault::CutAfter(120_000));
    world.server.fault_after("a", 1, 9, Fault::status(404));
    assert!(matches!(world.fetch("a").unwrap().wait_complete(), Err(Error::Status { status: 404, .. })));
}
