//! Going back, branches and tags, and what becomes of a load whose checks failed.

use iceberg::spec::Operation;
use lakehost_pipeline::ports::{Committed, Lake, LoadState, WriteMode};

use super::support::*;
use crate::commit::Prepared;
use crate::history::AsOf;
use crate::refs::{RefKind, references};
use crate::{Error, IcebergLake};

fn code(error: &Error) -> &'static str {
    lakehost_pipeline::Diagnostic::code(error).0
}

fn passes(_: &Prepared) -> Result<(), lakehost_pipeline::Fault> {
    Ok(())
}

/// A load that ends on a branch; its snapshot.
fn quarantine(lake: &IcebergLake, job: &Job, branch: &str) -> i64 {
    let load = job.begin(lake).unwrap();
    let request = job.request(load.as_ref()).unwrap();
    load.quarantine(request, branch).unwrap()
}

fn loaded(lake: &IcebergLake, window: &str) -> Option<LoadState> {
    lake.last_load(&table(), window).unwrap().map(|record| record.state)
}

#[test]
fn rolling_back_restores_rows_and_what_counts_as_loaded() {
    let world = World::new();
    let lake = world.lake();
    let first = Job::month("2024-01", 0..10);
    let one = first.land(&lake);
    Job::month("2024-02", 20..30).land(&lake);
    let three = Job { files: vec![(0..5).collect()], ..Job::month("2024-01", 0..1) };
    let three_id = three.land(&lake);
    let added = Job::month("2024-03", 40..45).mode(WriteMode::Append);
    added.land(&lake);

    assert_eq!(lake.rollback(&table(), &AsOf::Snapshot(one)).unwrap(), one);
    assert_eq!(rows(&world, &lake), [("2024-01".to_owned(), 10)].into());
    let record = lake.last_load(&table(), "2024-01").unwrap().unwrap();
    assert_eq!(
        (record.load_id.as_str(), record.snapshot_id, record.state),
        (first.load_id.as_str(), one, LoadState::Present)
    );
    assert_eq!(loaded(&lake, "2024-02"), None);
    let owner = "tlc/trips";
    assert!(lake.last_load_by(&table(), "2024-03", owner, WriteMode::Append).unwrap().is_none());
    world.check_no_orphans(&lake);

    // What was taken back loads again, added rows too.
    for job in [&three, &added] {
        let again = Job { run_id: format!("{}-again", job.run_id), ..job.clone() };
        assert!(matches!(again.run(&lake).unwrap(), Committed::Landed { .. }));
    }
    assert_eq!(rows(&world, &lake), [("2024-01".to_owned(), 5), ("2024-03".to_owned(), 5)].into());

    // Forward to a snapshot that was once on main, by time as well.
    lake.rollback(&table(), &AsOf::Snapshot(three_id)).unwrap();
    assert_eq!(rows(&world, &lake), [("2024-01".to_owned(), 5), ("2024-02".to_owned(), 10)].into());
    assert_eq!(loaded(&lake, "2024-02"), Some(LoadState::Present));
    assert_eq!(code(&lake.rollback(&table(), &AsOf::Snapshot(7)).unwrap_err()), "LH0101");
    let state = lake.state(&table()).unwrap();
    let listed = world.files();
    lake.rollback(&table(), &AsOf::Snapshot(three_id)).unwrap();
    assert_eq!(lake.state(&table()).unwrap().metadata_location, state.metadata_location, "it is there already");
    assert_eq!(world.files(), listed);
}

#[test]
fn tags_and_branches_come_and_go() {
    let world = World::new();
    let lake = world.lake();
    let one = Job::month("2024-01", 0..10).land(&lake);
    let two = Job::month("2024-02", 20..30).land(&lake);
    assert_eq!(lake.set_ref(&table(), "v1", RefKind::Tag, Some(&AsOf::Snapshot(one)), Some(86_400_000)).unwrap(), one);
    assert_eq!(lake.set_ref(&table(), "dev", RefKind::Branch, None, None).unwrap(), two);
    // Again is fine, to another snapshot is not.
    lake.set_ref(&table(), "v1", RefKind::Tag, Some(&AsOf::Snapshot(one)), Some(86_400_000)).unwrap();
    for (name, kind, at) in
        [("v1", RefKind::Tag, two), ("v1", RefKind::Branch, one), ("main", RefKind::Tag, one), ("7", RefKind::Tag, one)]
    {
        let refused = lake.set_ref(&table(), name, kind, Some(&AsOf::Snapshot(at)), None).unwrap_err();
        assert_eq!(code(&refused), "LH0109", "{name}");
    }
    for name in ["", "a b", "../x", "a\u{1b}", "-x", &"x".repeat(129), "2024-01-01"] {
        assert_eq!(code(&lake.set_ref(&table(), name, RefKind::Tag, None, None).unwrap_err()), "LH0109", "{name}");
    }
    let state = lake.state(&table()).unwrap();
    let names: Vec<String> = references(&state.metadata).unwrap().into_keys().collect();
    assert_eq!(names, ["dev", "main", "v1"]);
    let read = super::readers::read(&world, "raw.trips");
    let seen: Vec<(&str, &str, i64, usize)> = read["refs"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, found)| {
            let rows = found["duckdb"].as_array().unwrap().len();
            (name.as_str(), found["kind"].as_str().unwrap(), found["snapshot"].as_i64().unwrap(), rows)
        })
        .collect();
    assert_eq!(seen, [("dev", "branch", two, 20), ("main", "branch", two, 20), ("v1", "tag", one, 10)]);
    // A load leaves them alone, in memory and in the file.
    Job::month("2024-03", 40..45).land(&lake);
    world.check_no_orphans(&lake);
    let state = lake.state(&table()).unwrap();
    assert_eq!(state.metadata.snapshot_for_ref("v1").unwrap().snapshot_id(), one);
    lake.drop_ref(&table(), "v1").unwrap();
    assert_eq!(code(&lake.drop_ref(&table(), "v1").unwrap_err()), "LH0109");
    assert_eq!(code(&lake.publish(&table(), "nope", &passes).map_err(own).unwrap_err()), "LH0109");
    assert_eq!(code(&lake.publish(&table(), "dev", &passes).map_err(own).unwrap_err()), "LH0109");
    world.check_metadata(&lake);
}

fn own(fault: lakehost_pipeline::Fault) -> Error {
    let code = fault.code().0;
    match code {
        "LH0109" => Error::reference(&table(), fault.to_string()),
        "LH0602" => Error::Conflict { table: table(), what: String::new(), found: None, expected: None },
        _ => Error::Internal(fault.to_string()),
    }
}

#[test]
fn a_load_on_a_branch_is_published_as_it_stands_or_on_the_new_head() {
    for meanwhile in [None, Some("2024-02"), Some("2024-01")] {
        for mode in [WriteMode::ReplaceWindow, WriteMode::Append] {
            let world = World::new();
            let lake = world.lake();
            let old = Job::month("2024-01", 0..10).land(&lake);
            let job = Job::month("2024-01", 100..115).mode(mode);
            let staged = quarantine(&lake, &job, "audit/run");
            // main is as it was, and the window does not count as loaded by it.
            assert_eq!(rows(&world, &lake)["2024-01"], 10);
            assert_eq!(lake.state(&table()).unwrap().main().unwrap().snapshot_id(), old);
            assert!(
                lake.last_load_by(&table(), "2024-01", "tlc/trips", mode)
                    .unwrap()
                    .is_none_or(|r| r.load_id != job.load_id)
            );
            world.check_no_orphans(&lake);
            let between = meanwhile.map(|month| Job::month(month, 50..60).land(&lake));
            let seen = std::cell::Cell::new(0);
            let ended = lake.publish(&table(), "audit/run", &|prepared: &Prepared| {
                seen.set(seen.get() + 1);
                assert!(prepared.table.metadata().current_snapshot_id().is_some_and(|id| Some(id) != between));
                Ok(())
            });
            if meanwhile == Some("2024-01") && mode == WriteMode::ReplaceWindow {
                assert_eq!(ended.unwrap_err().code().0, "LH0602");
                assert_eq!(rows(&world, &lake)["2024-01"], 10);
                assert!(lake.state(&table()).unwrap().metadata.snapshot_for_ref("audit/run").is_some());
                continue;
            }
            let published = ended.unwrap();
            assert_eq!((published == staged, seen.get()), (meanwhile.is_none(), 1));
            let state = lake.state(&table()).unwrap();
            assert_eq!(state.main().unwrap().snapshot_id(), published);
            assert!(state.metadata.snapshot_for_ref("audit/run").is_none());
            let kept = if mode == WriteMode::Append { 10 } else { 0 };
            assert_eq!(rows(&world, &lake)["2024-01"], 15 + kept);
            assert_eq!(rows(&world, &lake).len(), if meanwhile == Some("2024-02") { 2 } else { 1 });
            let wanted = if mode == WriteMode::Append { Operation::Append } else { Operation::Overwrite };
            assert_eq!(state.main().unwrap().summary().operation, wanted);
            let record = lake.last_load_by(&table(), "2024-01", "tlc/trips", mode).unwrap().unwrap();
            assert_eq!((record.load_id.as_str(), record.snapshot_id), (job.load_id.as_str(), published));
            // The same load again finds itself there.
            let again = Job { run_id: "again".into(), ..job };
            assert_eq!(again.run(&lake).unwrap(), Committed::AlreadyLoaded { snapshot_id: published });
            world.check_no_orphans(&lake);
            if meanwhile == Some("2024-02") {
                let read = super::readers::read(&world, "raw.trips");
                let main = &read["refs"]["main"];
                assert_eq!(main["snapshot"].as_i64(), Some(published));
                assert_eq!(main["duckdb"].as_array().unwrap().len(), 25 + kept);
            }
        }
    }
}

#[test]
fn a_check_that_fails_again_leaves_the_branch_and_a_racing_load_repeats_it() {
    let world = World::new();
    let lake = world.lake();
    Job::month("2024-01", 0..10).land(&lake);
    quarantine(&lake, &Job::month("2024-02", 20..30), "audit/run");
    let before = world.files();
    let refused = lake.publish(&table(), "audit/run", &|_| Err(Error::Internal("still bad".into()).into()));
    assert_eq!(refused.unwrap_err().to_string(), "still bad");
    assert_eq!(world.files(), before);
    let rounds = std::cell::Cell::new(0);
    let published = lake
        .publish(&table(), "audit/run", &|_| {
            rounds.set(rounds.get() + 1);
            if rounds.get() == 1 {
                Job::month("2024-03", 40..45).land(&world.lake());
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(rounds.get(), 2, "what was checked is what is published");
    assert_eq!(lake.state(&table()).unwrap().main().unwrap().snapshot_id(), published);
    assert_eq!(rows(&world, &lake).len(), 3);
    world.check_no_orphans(&lake);
}

#[test]
fn a_discarded_branch_takes_its_files_with_it_and_no_others() {
    let world = World::new();
    let lake = world.lake();
    Job::month("2024-01", 0..10).land(&lake);
    let before: Vec<String> = world.files().into_iter().filter(|name| !name.ends_with(".metadata.json")).collect();
    let job = Job { files: vec![vec![1, 2], vec![3]], ..Job::month("2024-01", 0..1) };
    quarantine(&lake, &job, "audit/run");
    // Two data files, two manifests and their list; the manifest of what main has stays.
    assert_eq!(lake.discard(&table(), "audit/run").unwrap(), 5);
    let after: Vec<String> = world.files().into_iter().filter(|name| !name.ends_with(".metadata.json")).collect();
    assert_eq!(before, after);
    assert_eq!(lake.state(&table()).unwrap().metadata.snapshots().len(), 1);
    assert_eq!(code(&lake.discard(&table(), "audit/run").unwrap_err()), "LH0109");
    assert_eq!(rows(&world, &lake)["2024-01"], 10);
    world.check_no_orphans(&lake);
}

#[test]
fn a_table_may_be_born_on_a_branch() {
    let world = World::new();
    let lake = world.lake();
    let job = Job::month("2024-01", 0..10);
    let staged = quarantine(&lake, &job, "audit/run");
    let state = lake.state(&table()).unwrap();
    assert!(state.main().is_none() && state.metadata.snapshot_for_ref("audit/run").is_some());
    assert_eq!(loaded(&lake, "2024-01"), None);
    Job::month("2024-02", 20..30).land(&lake);
    let published = lake.publish(&table(), "audit/run", &passes).unwrap();
    assert_ne!(published, staged);
    assert_eq!(rows(&world, &lake).len(), 2);
    assert_eq!(loaded(&lake, "2024-01"), Some(LoadState::Present));
    world.check_no_orphans(&lake);
}

#[test]
fn what_is_prepared_can_be_read_and_leaves_no_trace() {
    let world = World::new();
    let lake = world.lake();
    Job::month("2024-01", 0..10).land(&lake);
    for (commit, born) in [(false, false), (true, false), (true, true)] {
        let mut job = Job::month("2024-01", 0..3);
        if born {
            job.target.table.name = "born".into();
        }
        let before = world.files();
        let mut load = job.begin(&lake).unwrap();
        let request = job.request(load.as_ref()).unwrap();
        load.prepare(&request).unwrap();
        let staged = load.prepare(&request).unwrap();
        let prepared = staged.handle.downcast_ref::<Prepared>().unwrap();
        assert_eq!(prepared.table.metadata().current_snapshot_id(), Some(staged.snapshot_id));
        assert_eq!(rows_of(&world, &prepared.table), [("2024-01".to_owned(), 3)].into());
        if !born {
            assert_eq!(rows(&world, &lake)["2024-01"], 10);
        }
        if commit {
            assert!(
                matches!(load.commit(request).unwrap(), Committed::Landed { snapshot_id, .. } if snapshot_id == staged.snapshot_id)
            );
            let table = &job.target.table;
            assert_eq!(lake.state(table).unwrap().main().unwrap().snapshot_id(), staged.snapshot_id);
        } else {
            drop(load);
            assert_eq!(world.files(), before);
        }
        world.check_no_orphans(&lake);
    }
}
