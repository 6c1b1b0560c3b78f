//! A bucket behind a proxy that breaks things: files arrive whole or not at all, and nothing is left behind.

use std::io::{ErrorKind, Write};

use lakehost_pipeline::ports::{Committed, Lake};
use lakehost_server::{Match, Proxy, ProxyFault};

use super::support::{Job, S3World, rows, table};
use crate::store::PART_BYTES;
use crate::{IcebergLake, LakeOptions, S3Options, S3Store, Store};

const INTERNAL: &str = "<Error><Code>InternalError</Code><Message>try again</Message></Error>";
const SLOW: &str = "<Error><Code>SlowDown</Code><Message>please reduce your request rate</Message></Error>";
const DENIED: &str = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
const FULL: &str = "<Error><Code>XMinioStorageFull</Code><Message>no space</Message></Error>";

/// A world, a proxy before its bucket, and how to reach the bucket through it.
fn world() -> Option<(S3World, Proxy, S3Options)> {
    let world = S3World::new();
    let options = world.bucket.as_ref()?.0.clone();
    let proxy = Proxy::start(options.endpoint.as_ref().unwrap()).unwrap();
    let options = S3Options { endpoint: Some(proxy.url()), ..options };
    Some((world, proxy, options))
}

#[test]
fn a_load_outlives_what_passes_and_leaves_nothing_of_what_does_not() {
    let Some((world, proxy, s3)) = world() else { return };
    let lake = IcebergLake::open(LakeOptions { s3, ..world.options() }).unwrap();
    Job::month("2023-12", 100..110).land(&lake);
    let put = |on: &str| Match::method("PUT").on(on);
    // Rule, and the code of the failure if it ends in one.
    let cases = [
        (put("/data/").times(2), ProxyFault::Status(503, SLOW.into()), None),
        (put("/data/").times(1), ProxyFault::AnswerWith(500, INTERNAL.into()), None),
        (put("/metadata/").times(1), ProxyFault::DropAnswer, None),
        (put("/metadata/").after(1).times(1), ProxyFault::DropRequest, None),
        (Match::method("GET").on("/metadata/").times(1), ProxyFault::CutAnswerAfter(100), None),
        (Match::method("GET").times(1), ProxyFault::Status(500, INTERNAL.into()), None),
        (put("/data/"), ProxyFault::Status(403, DENIED.into()), Some("LH0503")),
        (put(".avro"), ProxyFault::Status(403, DENIED.into()), Some("LH0503")),
        (put(".metadata.json"), ProxyFault::Status(507, FULL.into()), Some("LH1001")),
    ];
    let mut from = 1_000;
    for (number, (of, fault, wanted)) in cases.into_iter().enumerate() {
        let before = world.files();
        proxy.rule(of, fault.clone());
        from += 10;
        let job = Job::month(&format!("2024-{:02}", number + 1), from..from + 10);
        // A failure of a file is one of the writer, which carries it as it came.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job.run(&lake)));
        let hits = proxy.clear();
        match (wanted, ended) {
            (None, Ok(ended)) => {
                assert!(matches!(ended, Ok(Committed::Landed { .. })), "{fault:?}: {ended:?}");
                assert!(rows(&world, &lake).contains_key(&format!("2024-{:02}", number + 1)));
            }
            (Some(code), Ok(ended)) => {
                assert_eq!(ended.unwrap_err().code().0, code, "{fault:?}");
                assert_eq!(world.files(), before, "{fault:?}");
            }
            // The test's own writer does not take errors of a file.
            (Some(_), Err(_)) => assert_eq!(world.files(), before, "{fault:?}"),
            (None, Err(_)) => panic!("{fault:?}"),
        }
        assert!(hits > 0, "{fault:?} was never met");
    }
    world.check_no_orphans(&lake);
    assert!(Lake::table(&lake, &table()).unwrap().is_some());
}

#[test]
fn an_upload_in_parts_is_whole_or_given_up() {
    let Some((world, proxy, s3)) = world() else { return };
    let store = S3Store::new(s3).unwrap();
    let root = &world.bucket.as_ref().unwrap().1;
    let whole: Vec<u8> = (0..3 * PART_BYTES + 99).map(|value| (value % 253) as u8).collect();
    let part = |number: u32| Match::method("PUT").on(&format!("partNumber={number}"));
    let complete = || Match::method("POST").on("uploadId=");
    let cases = [
        (part(2).times(1), ProxyFault::Status(503, SLOW.into()), None),
        (part(3).times(1), ProxyFault::DropAnswer, None),
        (complete().times(1), ProxyFault::AnswerWith(200, INTERNAL.into()), None),
        (complete().times(1), ProxyFault::DropAnswer, None),
        (part(3), ProxyFault::Status(403, DENIED.into()), Some(ErrorKind::PermissionDenied)),
        (part(4), ProxyFault::Status(507, FULL.into()), Some(ErrorKind::StorageFull)),
        (complete(), ProxyFault::Status(403, DENIED.into()), Some(ErrorKind::NotFound)),
    ];
    for (number, (of, fault, wanted)) in cases.into_iter().enumerate() {
        let location = format!("{root}/data/{number}.parquet");
        proxy.rule(of, fault.clone());
        let mut sink = store.create(&location).unwrap();
        let ended = sink.write_all(&whole).and_then(|()| sink.finish());
        assert!(proxy.clear() > 0, "{fault:?}");
        match wanted {
            None => {
                ended.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
                assert!(store.get(&location).unwrap() == whole, "{fault:?}");
            }
            Some(kind) => {
                let error = ended.unwrap_err();
                assert!(error.kind() == kind || error.kind() == ErrorKind::PermissionDenied, "{fault:?}: {error:?}");
                assert_eq!(store.size(&location).unwrap(), None, "{fault:?}");
                assert!(store.uploads(&location).unwrap().is_empty(), "{fault:?}");
            }
        }
    }
}
