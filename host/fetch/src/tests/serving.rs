//! Bodies that arrive as they should, and answers that are no success.

use std::time::{Duration, Instant};

use super::*;
use crate::{Outcome, Stat};
use lakehost_server::Fault;

#[test]
fn a_body_is_readable_at_any_offset() {
    let world = World::new();
    let bytes = world.file("a.bin", 3_000_000);
    let spool = world.fetch("a.bin").unwrap();
    assert_eq!((spool.status(), spool.content_length()), (200, Some(3_000_000)));
    assert_eq!(spool.header("Content-Type").as_deref(), Some("application/octet-stream"));
    assert!(spool.etag().unwrap().starts_with('"'));
    for (offset, len) in [(2_999_990, 100), (0, 10), (1_234_567, 65_536), (3_000_000, 5), (9_000_000, 5), (5, 0)] {
        let start = bytes.len().min(offset as usize);
        let end = bytes.len().min(start + len);
        assert_eq!(spool.read_at(offset, len).unwrap(), bytes[start..end], "{len} bytes at {offset}");
    }
    assert_holds(&spool, &bytes);
    assert_eq!((spool.available(), spool.error()), (3_000_000, None));
}

#[test]
fn empty_and_unannounced_bodies_are_whole_bodies() {
    let world = World::new();
    let empty = world.file("empty", 0);
    assert_holds(&world.fetch("empty").unwrap(), &empty);

    let bytes = world.file("chunked", 500_000);
    world.server.fault("chunked", Fault::NoContentLength);
    let spool = world.fetch("chunked").unwrap();
    assert_eq!(spool.read_at(499_999, 10).unwrap(), bytes[499_999..]);
    assert_holds(&spool, &bytes);

    world.file("unframed", 100);
    world.server.fault("unframed", Fault::Unframed);
    assert!(matches!(world.fetch("unframed"), Err(Error::BadResponse { .. })));
}

#[test]
fn the_head_is_enough_for_an_answer_and_readers_wait_for_the_rest() {
    let world = World::new();
    let bytes = world.file("slow", 60_000);
    world.server.fault("slow", Fault::StallAfter(20_000, Duration::from_millis(1_000)));
    let began = Instant::now();
    let spool = world.fetch("slow").unwrap();
    assert_eq!(spool.read_at(0, 20_000).unwrap(), bytes[..20_000]);
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    world.runtime.block_on(spool.ready(50_000, 10)).unwrap();
    assert!(began.elapsed() >= Duration::from_millis(950));
    std::thread::scope(|scope| {
        for part in 0..8 {
            let (spool, bytes) = (&spool, &bytes);
            scope.spawn(move || {
                assert_eq!(spool.read_at(part * 7_500, 7_500).unwrap(), bytes[part as usize * 7_500..][..7_500])
            });
        }
    });
    assert_eq!(world.runtime.block_on(spool.complete()), Ok(summary_of(&bytes)));
}

#[test]
fn a_missing_file_is_a_status_and_asked_for_once() {
    for (options, status, body) in [
        (Options { missing_is_forbidden_xml: true, ..Options::default() }, 403, "<Code>AccessDenied</Code>"),
        (Options::default(), 404, "not found"),
    ] {
        let world = World::with(|_| {}, options);
        let Err(Error::Status { status: found, url, body_excerpt }) = world.fetch("green_2099-01.parquet?sig=s3cret")
        else {
            panic!()
        };
        assert_eq!((found, url), (status, world.server.url_of("green_2099-01.parquet")));
        assert!(body_excerpt.contains(body) && body_excerpt.chars().count() <= 201, "{body_excerpt}");
        assert_eq!(world.server.requests().len(), 1);
        assert!(matches!(
            world.runtime.block_on(world.fetcher.stat(&world.server.url_of("x"))),
            Err(Error::Status { .. })
        ));
    }
}

#[test]
fn hostile_bodies_of_refusals_are_inert() {
    let world = World::new();
    let body = format!("\u{1b}]52;c;evil\u{7}\r\n{}", "x".repeat(100_000));
    world.server.fault("a", Fault::Status(400, Vec::new(), body));
    let Err(error @ Error::Status { .. }) = world.fetch("a") else { panic!() };
    let message = error.to_string();
    assert!(message.len() < 400 && !message.contains(|character: char| character.is_control()), "{message}");
}

#[test]
fn transient_statuses_are_tried_again() {
    for status in [408, 429, 500, 502, 503, 504] {
        let world = World::new();
        let bytes = world.file("a", 1_000);
        world.server.fault_times("a", 3, Fault::status(status));
        assert_holds(&world.fetch("a").unwrap(), &bytes);
        assert_eq!(world.server.requests().len(), 4, "{status}");
    }
    let world = World::new();
    world.server.fault("a", Fault::Status(503, Vec::new(), "overloaded".to_owned()));
    let Err(Error::Status { status: 503, body_excerpt, .. }) = world.fetch("a") else { panic!() };
    assert_eq!((body_excerpt.as_str(), world.server.requests().len()), ("overloaded", 5));
}

#[test]
fn retry_after_is_honoured() {
    let world = World::new();
    let bytes = world.file("a", 1_000);
    world.server.fault_times("a", 1, Fault::retry_after(503, "1"));
    let began = Instant::now();
    assert_holds(&world.fetch("a").unwrap(), &bytes);
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());

    // A date is read against the server's clock, and one that has passed means now.
    world.server.fault_times("a", 1, Fault::retry_after(429, "Sun, 06 Nov 1994 08:49:37 GMT"));
    assert_holds(&world.fetch("a").unwrap(), &bytes);

    // What is longer than a request may wait is its caller's to decide.
    let before = world.server.requests().len();
    world.server.fault_times("a", 1, Fault::retry_after(429, "3600"));
    let error = world.fetch("a").unwrap_err();
    let url = world.server.url_of("a");
    assert_eq!(error, Error::RateLimited { url, status: 429, after_ms: 3_600_000 });
    assert!(error.is_transient());
    assert_eq!(world.server.requests().len(), before + 1);
}

#[test]
fn a_dead_server_is_tried_and_named() {
    let world = World::new();
    let bytes = world.file("a", 1_000);
    world.server.fault_times("a", 2, Fault::Hangup);
    assert_holds(&world.fetch("a").unwrap(), &bytes);
    world.server.fault("a", Fault::Hangup);
    assert!(matches!(world.fetch("a"), Err(Error::Connect { .. })));

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let fetcher = world.fetcher_with(&[&format!("http://{closed}/")], &[]);
    let error = world.runtime.block_on(fetcher.fetch(Request::get(format!("http://{closed}/x")))).unwrap_err();
    assert!(matches!(&error, Error::Connect { url, .. } if *url == format!("http://{closed}/x")), "{error}");
    assert_eq!(fetcher.ledger().entries().len(), 5);
    assert!(fetcher.ledger().entries().iter().all(|entry| matches!(entry.outcome, Outcome::Failed { .. })));
}

#[test]
fn silence_and_eternity_end() {
    let world = World::with_limits(|limits| {
        limits.read_timeout = Duration::from_millis(100);
        limits.tries = 2;
    });
    world.file("a", 100_000);
    world.server.fault("a", Fault::ExtraDelay(Duration::from_secs(20)));
    assert!(matches!(world.fetch("a"), Err(Error::Timeout { after_ms: 100, .. })));
    world.server.clear_faults();
    world.server.fault("a", Fault::StallAfter(5_000, Duration::from_secs(20)));
    let spool = world.fetch("a").unwrap();
    assert!(matches!(spool.wait_complete(), Err(Error::Timeout { after_ms: 100, .. })));

    // One byte now and then is not silence; the deadline ends it.
    let world = World::with_limits(|limits| limits.deadline = Duration::from_millis(400));
    world.file("a", 100_000);
    world.server.fault("a", Fault::SlowBody { bytes_per_second: 1_000 });
    let spool = world.fetch("a").unwrap();
    assert!(matches!(spool.wait_complete(), Err(Error::Timeout { after_ms: 400, .. })));
}

#[test]
fn long_bodies_are_refused_as_early_as_possible() {
    let world = World::new();
    world.file("a", 100_000);
    let limited = |bytes| Request { max_bytes: Some(bytes), ..Request::get(world.server.url_of("a")) };
    let error = world.send(limited(99_999)).unwrap_err();
    assert_eq!(
        error,
        Error::TooLarge { url: world.server.url_of("a"), limit_bytes: 99_999, found_bytes: Some(100_000) }
    );
    assert!(world.send(limited(100_000)).unwrap().wait_complete().is_ok());
    world.server.fault("a", Fault::NoContentLength);
    let spool = world.send(limited(99_999)).unwrap();
    assert!(matches!(spool.wait_complete(), Err(Error::TooLarge { found_bytes: None, .. })));
    assert!(spool.read_at(0, 1).is_err(), "a body that failed hands out nothing more");
}

#[test]
fn a_spool_folder_that_cannot_be_used_is_named_and_is_no_missing_file() {
    let world = World::new();
    world.file("a", 1_000);
    let dir = world.spool_dir();
    std::fs::remove_dir(&dir).unwrap();
    let error = world.fetch("a").expect_err("nowhere to put it");
    let Error::Spool { dir: named, kind, .. } = &error else { panic!("{error:?}") };
    assert_eq!((named.as_str(), *kind), (dir.to_str().unwrap(), io::ErrorKind::NotFound));
    assert!(error.to_string().starts_with(&format!("downloads cannot be spooled to {named}: ")), "{error}");
    assert!(!error.is_transient());
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::Other);
    let full = Error::Spool { dir: String::new(), kind: io::ErrorKind::StorageFull, detail: String::new() };
    assert_eq!(io::Error::from(full).kind(), io::ErrorKind::StorageFull);
}

#[test]
fn bodies_that_are_held_share_a_budget() {
    let world = World::with_limits(|limits| limits.spool_bytes = 150_000);
    world.file("a", 100_000);
    let first = world.fetch("a").unwrap();
    first.wait_complete().unwrap();
    let second = world.fetch("a").unwrap();
    assert!(matches!(second.wait_complete(), Err(Error::SpoolFull { limit_bytes: 150_000, .. })));
    drop((first, second));
    // The budget is free as soon as the last writer has noticed.
    let began = Instant::now();
    while let Err(error) = world.fetch("a").unwrap().wait_complete() {
        assert!(matches!(error, Error::SpoolFull { .. }) && began.elapsed() < Duration::from_secs(10), "{error}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn answers_that_contradict_themselves_are_not_trusted() {
    let two_lengths = [Fault::Header("Content-Length".into(), "5".into())];
    let length_and_chunks = [Fault::NoContentLength, Fault::Header("Content-Length".into(), "5".into())];
    for faults in [&two_lengths[..], &length_and_chunks] {
        let world = World::new();
        world.file("a", 1_000);
        faults.iter().for_each(|fault| world.server.fault("a", fault.clone()));
        let outcome = world.fetch("a").and_then(|spool| spool.wait_complete());
        assert!(outcome.is_err(), "{faults:?}: {outcome:?}");
    }
    // A part that nobody asked for.
    let world = World::new();
    let head = vec![("Content-Range".to_owned(), "bytes 0-4/10".to_owned())];
    world.server.fault("a", Fault::Status(206, head, "12345".to_owned()));
    assert!(matches!(world.fetch("a"), Err(Error::BadResponse { .. })));
}

#[test]
fn stat_tells_size_and_tag_without_the_body() {
    let world = World::new();
    world.file("a", 12_345);
    world.file("empty", 0);
    let stat = |path: &str| world.runtime.block_on(world.fetcher.stat(&world.server.url_of(path))).unwrap();
    let by_head = stat("a?token=1");
    assert_eq!((by_head.url.as_str(), by_head.size), (world.server.url_of("a").as_str(), 12_345));
    let tag = world.fetch("a").unwrap().etag();
    assert!(tag.is_some());
    assert_eq!(by_head.etag, tag);

    for status in [405, 501] {
        for (path, size) in [("a", 12_345), ("empty", 0)] {
            world.server.clear_faults();
            world.server.fault_times(path, 1, Fault::status(status));
            assert_eq!(stat(path).size, size, "{path} after {status}");
        }
    }
    world.server.fault_times("a", 1, Fault::status(405));
    world.server.fault("a", Fault::NoRange);
    assert_eq!(stat("a"), Stat { url: world.server.url_of("a"), size: 12_345, etag: tag });
    world.server.fault_times("a", 1, Fault::status(403));
    assert!(matches!(
        world.runtime.block_on(world.fetcher.stat(&world.server.url_of("a"))),
        Err(Error::Status { status: 403, .. })
    ));
}

#[test]
fn head_post_and_conditions() {
    let world = World::new();
    let bytes = world.file("a", 1_000);
    let url = world.server.url_of("a");
    let head = world.send(Request { method: "HEAD".into(), ..Request::get(&url) }).unwrap();
    assert_eq!(head.header("content-length").as_deref(), Some("1000"));
    assert_eq!(head.wait_complete(), Ok(summary_of(b"")));

    let post = Request { method: "POST".into(), body: Some(bytes::Bytes::from_static(b"query")), ..Request::get(&url) };
    assert_holds(&world.send(post.clone()).unwrap(), &bytes);
    assert_eq!(world.server.requests().last().unwrap().body, b"query");
    // A request that may have been acted on is not sent twice.
    world.server.clear_requests();
    world.server.fault_times("a", 1, Fault::status(500));
    assert!(matches!(world.send(post.clone()), Err(Error::Status { status: 500, .. })));
    world.server.fault_times("a", 1, Fault::CutAfter(10));
    assert!(matches!(world.send(post).unwrap().wait_complete(), Err(Error::Truncated { .. })));
    assert_eq!(world.server.requests().len(), 2);

    let etag = world.fetch("a").unwrap().etag().unwrap();
    let headers = vec![("If-None-Match".to_owned(), etag)];
    let unchanged = world.send(Request { headers, ..Request::get(&url) }).unwrap();
    assert_eq!((unchanged.status(), unchanged.wait_complete()), (304, Ok(summary_of(b""))));
    for method in ["PUT", "DELETE", "get", "GET\r\n"] {
        assert!(matches!(
            world.send(Request { method: method.into(), ..Request::get(&url) }),
            Err(Error::MethodRefused { .. })
        ));
    }
}

#[test]
fn html_instead_of_data_arrives_as_it_is() {
    // Whether HTML is wrong is for who reads it; the header is there to say so.
    let world = World::new();
    world.file("a.parquet", 1_000);
    world.server.fault("a.parquet", Fault::HtmlBody);
    let spool = world.fetch("a.parquet").unwrap();
    assert_eq!(spool.header("content-type").as_deref(), Some("text/html; charset=utf-8"));
    assert!(spool.wait_complete().unwrap().length > 0);
}

#[test]
fn nothing_is_left_on_disk_or_in_the_background() {
    let world = World::new();
    world.file("a", 2_000_000);
    world.server.fault("a", Fault::SlowBody { bytes_per_second: 100_000 });
    let spool = world.fetch("a").unwrap();
    assert_eq!(std::fs::read_dir(world.spool_dir()).unwrap().count(), 0, "spool files have no name");
    spool.read_at(0, 100).unwrap();
    drop(spool);
    let done = || world.fetcher.ledger().entries().iter().all(|entry| entry.outcome != Outcome::Open);
    let began = Instant::now();
    while !done() && began.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let entry = world.fetcher.ledger().entries().remove(0);
    assert!(entry.received_bytes < 2_000_000 && done(), "{entry:?}");
}

#[test]
fn cancelling_wakes_readers() {
    let world = World::new();
    world.file("a", 100_000);
    world.server.fault("a", Fault::StallAfter(1_000, Duration::from_secs(20)));
    let spool = world.fetch("a").unwrap();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| spool.read_at(50_000, 10));
        let waiter = scope.spawn(|| spool.wait_complete());
        std::thread::sleep(Duration::from_millis(50));
        spool.cancel();
        let error = reader.join().unwrap().unwrap_err();
        assert_eq!(Error::from_io(&error), Some(&Error::Cancelled));
        assert_eq!(waiter.join().unwrap(), Err(Error::Cancelled));
    });
    // A runtime that goes away takes its downloads along, and readers hear of it.
    let spool = world.fetch("a").unwrap();
    let World { runtime, server, .. } = world;
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| spool.wait_complete());
        runtime.shutdown_timeout(Duration::from_secs(5));
        assert_eq!(waiter.join().unwrap(), Err(Error::Cancelled));
    });
    drop(server);
}

#[test]
fn the_ledger_holds_what_went_out() {
    let world = World::new();
    world.file("a", 5_000);
    world.fetch("a?token=s3cret").unwrap().wait_complete().unwrap();
    world.refused("http://127.0.0.1:1/x?token=s3cret");
    let began = Instant::now();
    while world.fetcher.ledger().summary().total.requests < 2 && began.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let entries = world.fetcher.ledger().entries();
    let first = &entries[0];
    assert_eq!((first.method.as_str(), first.url.as_str()), ("GET", world.server.url_of("a").as_str()));
    assert_eq!((first.status, first.received_bytes, first.address), (Some(200), 5_000, Some(world.server.addr)));
    assert_eq!(first.outcome, Outcome::Done);
    assert!(matches!(entries[1].outcome, Outcome::Refused { .. }));
    assert!(entries.iter().all(|entry| !entry.url.contains("s3cret")));
    let summary = world.fetcher.ledger().summary();
    assert_eq!((summary.total.requests, summary.total.refused, summary.total.received_bytes), (2, 1, 5_000));
}

#[test]
fn any_executor_may_ask() {
    let world = World::new();
    let bytes = world.file("a", 1_000);
    let spool = futures::executor::block_on(world.fetcher.fetch(Request::get(world.server.url_of("a")))).unwrap();
    assert_eq!(futures::executor::block_on(spool.complete()), Ok(summary_of(&bytes)));
}
