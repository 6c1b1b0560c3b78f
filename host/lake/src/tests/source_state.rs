//! States of sources: committed with the rows, back with them, and never overtaken.

use lakehost_pipeline::Diagnostic;
use lakehost_pipeline::ports::{Committed, Lake, Progress, WriteMode};

use super::support::*;
use crate::history::AsOf;
use crate::source_state::{CURSOR, STATE};
use crate::{ExpireOptions, IcebergLake};

const OWNER: &str = "tlc/trips";

/// A load that reads on from `before` and leaves `after`.
struct Reading {
    job: Job,
    progress: Progress,
}

fn reading(label: &str, ids: std::ops::Range<i64>, before: Option<&str>, after: &str) -> Reading {
    let progress =
        Progress { before: before.map(str::to_owned), after: Some(after.to_owned()), cursor: Some("at".to_owned()) };
    Reading { job: Job::month(label, ids).mode(WriteMode::Append), progress }
}

impl Reading {
    fn run(&self, lake: &IcebergLake) -> Result<Committed, lakehost_pipeline::Fault> {
        let load = self.job.begin(lake)?;
        let mut request = self.job.request(load.as_ref()).unwrap();
        request.progress = Some(self.progress.clone());
        load.commit(request)
    }

    fn land(&self, lake: &IcebergLake) -> i64 {
        match self.run(lake).unwrap() {
            Committed::Landed { snapshot_id, .. } => snapshot_id,
            Committed::AlreadyLoaded { .. } => panic!("already loaded"),
        }
    }
}

fn state(lake: &IcebergLake) -> Option<String> {
    lake.source_state(&table(), OWNER).unwrap()
}

fn cursor(lake: &IcebergLake) -> String {
    let state = lake.state(&table()).unwrap();
    let text = state.metadata.properties()[&format!("{CURSOR}{OWNER}")].clone();
    serde_json::from_str::<serde_json::Value>(&text).unwrap()["value"].as_str().unwrap().to_owned()
}

#[test]
fn a_state_is_committed_with_the_rows_and_goes_back_with_them() {
    let world = World::new();
    let lake = world.lake();
    assert_eq!(state(&lake), None);
    let long = format!("{{\"seen\": \"{}\"}}", "x".repeat(500_000));
    let first = reading("2024-01", 0..5, None, "{\"at\": 1}").land(&lake);
    assert_eq!(state(&lake).as_deref(), Some("{\"at\": 1}"));
    assert!(cursor(&lake).contains("00:00:00.000004"), "{}", cursor(&lake));
    let second = reading("2024-01", 5..9, Some("{\"at\": 1}"), &long).land(&lake);
    let third = reading("2024-01", 1..3, Some(&long), "{\"at\": 3}").land(&lake);
    // The highest value stays the highest.
    assert!(cursor(&lake).contains("00:00:00.000008"), "{}", cursor(&lake));
    let summary = |id: i64| {
        let state = lake.state(&table()).unwrap();
        let summary = state.metadata.snapshot_by_id(id).unwrap().summary().additional_properties.clone();
        summary.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
    };
    assert!(summary(second) < 16 << 10, "a long state is not in the summary");
    let mut other = reading("2024-01", 20..21, None, "\"other\"");
    other.job.target.owner.owner = "tlc/other".to_owned();
    other.land(&lake);
    assert_eq!(state(&lake).as_deref(), Some("{\"at\": 3}"), "each source has its own");
    for (target, wanted) in [(second, long.as_str()), (first, "{\"at\": 1}"), (third, "{\"at\": 3}")] {
        lake.rollback(&table(), &AsOf::Snapshot(target)).unwrap();
        assert_eq!(state(&lake).as_deref(), Some(wanted));
        assert_eq!(lake.source_state(&table(), "tlc/other").unwrap(), None, "it came later");
    }
    world.check_no_orphans(&lake);
}

#[test]
fn an_expired_snapshot_takes_no_state_with_it_and_one_that_is_not_known_is_not_made_up() {
    let world = World::new();
    let lake = world.lake();
    let fourth = reading("2024-01", 30..31, None, "{\"at\": 4}").land(&lake);
    let plain = Job::month("2024-01", 40..41).mode(WriteMode::Append).land(&lake);
    reading("2024-01", 50..51, Some("{\"at\": 4}"), "{\"at\": 5}").land(&lake);
    let options = ExpireOptions { older_than_ms: 0, keep: 2, ..ExpireOptions::default() };
    lake.expire(&table(), &options).unwrap();
    assert_eq!(state(&lake).as_deref(), Some("{\"at\": 5}"));
    let metadata = lake.state(&table()).unwrap().metadata;
    assert!(metadata.snapshot_by_id(fourth).is_none());
    let refused = lake.rollback(&table(), &AsOf::Snapshot(plain)).unwrap_err();
    assert_eq!(refused.code().0, "LH0109");
    assert!(refused.to_string().contains("how far tlc/trips was read then is not known any more"), "{refused}");
    assert_eq!(state(&lake).as_deref(), Some("{\"at\": 5}"), "nothing has changed");
}

#[test]
fn two_that_read_on_from_one_state_do_not_both_land() {
    for mode in [WriteMode::Append, WriteMode::Merge] {
        let world = World::new();
        let lake = world.lake();
        let with = |mut reading: Reading| {
            reading.job.target.mode = mode;
            reading.job.target.key = vec!["id".to_owned()];
            reading
        };
        with(reading("2024-01", 0..3, None, "1")).land(&lake);
        let slow = with(reading("2024-01", 3..6, Some("1"), "2"));
        let load = slow.job.begin(&lake).unwrap();
        let mut request = slow.job.request(load.as_ref()).unwrap();
        request.progress = Some(slow.progress.clone());
        // The other one sees more of upstream: another load, from the same state.
        with(reading("2024-01", 3..8, Some("1"), "3")).land(&lake);
        let refused = load.commit(request).unwrap_err();
        assert_eq!(refused.code().0, "LH0602");
        assert!(refused.cause().unwrap().contains("how far tlc/trips is read"), "{:?}", refused.cause());
        assert_eq!(state(&lake).as_deref(), Some("3"));
        assert_eq!(rows(&world, &lake)["2024-01"], 8);
        // The very same load of two hosts is one load.
        let twin = with(reading("2024-01", 8..9, Some("3"), "4"));
        twin.land(&lake);
        let mut again = twin;
        again.job.run_id = format!("{}-again", again.job.run_id);
        assert!(matches!(again.run(&lake).unwrap(), Committed::AlreadyLoaded { .. }));
        world.check_no_orphans(&lake);
    }
}

#[test]
fn a_state_without_rows_is_a_snapshot_without_data() {
    let world = World::new();
    let lake = world.lake();
    reading("2024-01", 0..3, None, "1").land(&lake);
    let mut empty = reading("2024-01", 0..0, Some("1"), "2");
    empty.job.files.clear();
    empty.land(&lake);
    let head = lake.state(&table()).unwrap();
    assert_eq!((counter(&head, "added-data-files"), counter(&head, "total-records")), (None, Some(3)));
    assert_eq!(state(&lake).as_deref(), Some("2"));
    world.check_no_orphans(&lake);
}

#[test]
fn a_branch_waits_with_its_state() {
    let world = World::new();
    let lake = world.lake();
    reading("2024-01", 0..3, None, "1").land(&lake);
    let staged = |label: &str, ids: std::ops::Range<i64>, after: &str, branch: &str| {
        let reading = reading(label, ids, Some("1"), after);
        let load = reading.job.begin(&lake).unwrap();
        let mut request = reading.job.request(load.as_ref()).unwrap();
        request.progress = Some(reading.progress.clone());
        load.quarantine(request, branch).unwrap()
    };
    let long = format!("\"{}\"", "y".repeat(9_000));
    staged("2024-01", 3..5, "2", "audit/a");
    staged("2024-01", 3..6, &long, "audit/b");
    assert_eq!(state(&lake).as_deref(), Some("1"), "what waits on a branch is not read yet");
    // Something else lands; the branch comes after it, with its state.
    Job::month("2024-02", 50..52).mode(WriteMode::Append).land(&lake);
    lake.publish(&table(), "audit/b", &|_| Ok(())).unwrap();
    assert_eq!(state(&lake).as_deref(), Some(long.as_str()));
    // The other one began where the source is no more.
    let refused = lake.publish(&table(), "audit/a", &|_| Ok(())).unwrap_err();
    assert_eq!(refused.code().0, "LH0602", "{refused}");
    assert_eq!(rows(&world, &lake).values().sum::<usize>(), 8);
    let properties = lake.state(&table()).unwrap().metadata.properties().clone();
    assert_eq!(properties[&format!("{STATE}{OWNER}")], long);
}
