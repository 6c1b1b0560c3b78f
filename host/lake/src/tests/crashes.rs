//! A process dies at any point of a load; the next one finds the table whole and loads the window once.

use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use lakehost_pipeline::ports::{Committed, Lake};

use super::support::*;
use crate::fail_point::{self, AFTER_SQL_COMMIT, BEFORE_CLEANUP};
use crate::resolve::Resolution;

#[test]
fn a_load_that_died_anywhere_is_finished_by_the_next_run() {
    for existing in [false, true] {
        for point in fail_point::LOAD {
            let world = World::new();
            if existing {
                Job::month("2023-12", 500..510).land(&world.lake());
            }
            let doomed = world.doomed(point, 1);
            let job = Job { files: vec![(0..10).collect(), (10..15).collect()], ..Job::month("2024-01", 0..1) };
            let ended = job.run(&doomed);
            match *point {
                // The answer was lost, not the commit: a look at the table finds it.
                AFTER_SQL_COMMIT => assert!(matches!(ended, Ok(Committed::Landed { .. })), "{point}"),
                _ => assert!(ended.unwrap_err().to_string().contains("fail point"), "{point}"),
            }
            let lake = world.lake();
            let landed = [AFTER_SQL_COMMIT, BEFORE_CLEANUP].contains(point);
            assert_eq!(lake.last_load(&table(), "2024-01").unwrap().is_some(), landed, "{point}");

            let again = Job { run_id: "again".into(), ..job };
            let ended = again.run(&lake).unwrap();
            assert_eq!(matches!(ended, Committed::AlreadyLoaded { .. }), landed, "{point}");
            assert_eq!(rows(&world, &lake)["2024-01"], 15, "{point}");
            assert_eq!(lake.state(&table()).unwrap().metadata.snapshots().len(), 1 + usize::from(existing), "{point}");
            world.check_no_orphans(&lake);
        }
    }
}

#[test]
fn a_living_process_is_left_alone() {
    let world = World::new();
    let lake = world.lake();
    let job = Job::month("2024-01", 0..10);
    let load = job.begin(&lake).unwrap();
    load.sinks().create().unwrap().1.finish().unwrap();
    let before = world.files();
    assert!(before.iter().any(|name| name.starts_with(&format!("_lakehost/intents/{}-", job.run_id))), "{before:?}");
    let other = world.lake();
    let resolved = other.resolve(Some(&job.run_id)).unwrap();
    assert_eq!(resolved[0].resolution, Resolution::InUse);
    assert_eq!(world.files(), before);
    drop(load);
    assert!(other.resolve(None).unwrap().is_empty());
}

#[test]
fn files_that_a_snapshot_has_are_kept_though_the_snapshot_has_expired() {
    let world = World::new();
    let lake = world.lake();
    Job::month("2023-12", 100..110).land(&lake);
    let doomed = world.doomed(BEFORE_CLEANUP, 1);
    let job = Job::month("2024-01", 0..10).mode(lakehost_pipeline::ports::WriteMode::Append);
    job.run(&doomed).unwrap_err();
    let before = world.files();
    let intent = before.iter().find(|name| name.starts_with("_lakehost/intents/")).unwrap().clone();
    let text = std::fs::read(world.folder.path().join("warehouse").join(&intent)).unwrap();
    // The owner's next load of the same window takes the property over; then the first two snapshots expire.
    let append = Job::month("2024-01", 20..30).mode(lakehost_pipeline::ports::WriteMode::Append);
    append.land(&lake);
    std::fs::write(world.folder.path().join("warehouse").join(&intent), text).unwrap();
    let state = lake.state(&table()).unwrap();
    let head = state.main().unwrap().snapshot_id();
    let old: Vec<i64> =
        state.metadata.snapshots().map(|snapshot| snapshot.snapshot_id()).filter(|id| *id != head).collect();
    let expire = crate::TableChange::build(
        &table(),
        crate::Base::Existing(state),
        Vec::new(),
        uuid::Uuid::new_v4(),
        |builder| Ok(builder.remove_snapshots(&old)),
    )
    .unwrap();
    world.runtime.block_on(lake.core.catalog.commit(&[expire])).unwrap();
    let resolved = lake.resolve(Some(&job.run_id)).unwrap();
    assert!(matches!(resolved[0].resolution, Resolution::Landed { .. }), "{resolved:?}");
    assert_eq!(rows(&world, &lake)["2024-01"], 20);
    assert_eq!(
        lake.last_load(&table(), "2023-12").unwrap().unwrap().state,
        lakehost_pipeline::ports::LoadState::Expired
    );
}

#[test]
fn an_unreadable_record_is_reported_and_kept() {
    let world = World::new();
    let lake = world.lake();
    let folder = world.folder.path().join("warehouse/_lakehost/intents");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("torn.json"), b"{\"version\": 1, \"run_id\"").unwrap();
    let resolved = lake.resolve(None).unwrap();
    assert!(matches!(&resolved[0].resolution, Resolution::Unsure { .. }));
    Job::month("2024-01", 0..10).land(&lake);
    assert!(folder.join("torn.json").exists());
}

#[test]
fn a_catalog_that_cannot_be_read_after_the_request_keeps_every_file() {
    let world = World::new();
    if !world.has_files_of_its_own() {
        return;
    }
    let lake = world.lake();
    Job::month("2024-01", 0..10).land(&lake);
    let job = Job::month("2024-02", 10..20);
    let load = job.begin(&lake).unwrap();
    // The table's row is there, but the metadata it points to cannot be read by the look before the request.
    let state = lake.state(&table()).unwrap();
    let metadata = crate::location::local_path(&state.metadata_location);
    let hidden = metadata.with_extension("hidden");
    std::fs::rename(&metadata, &hidden).unwrap();
    let other = world.lake();
    assert_eq!(Lake::table(&other, &table()).unwrap_err().code().0, "LH0502");
    // This lake has read it before, so its commit goes on.
    assert!(matches!(job.finish(load).unwrap(), Committed::Landed { .. }));
    std::fs::rename(&hidden, &metadata).unwrap();
    assert_eq!(rows(&world, &other).len(), 2);
}

#[test]
fn a_record_that_was_not_named_yet_goes_when_it_is_old() {
    let world = World::new();
    Job::month("2023-12", 500..510).land(&world.lake());
    let folder = world.folder.path().join("warehouse/_lakehost/intents");
    // All tests move one clock on, so that the young one has to stay young for long.
    let now_ms = CLOCK.load(Ordering::Relaxed);
    for (name, modified_ms) in
        [(".old.json.1.draft", now_ms - 11 * 60_000), (".young.json.1.draft", now_ms + 365 * 86_400_000)]
    {
        let draft = std::fs::File::create(folder.join(name)).unwrap();
        let modified = UNIX_EPOCH + Duration::from_millis(u64::try_from(modified_ms).unwrap());
        draft.set_modified(modified).unwrap();
    }
    Job::month("2024-01", 0..10).land(&world.lake());
    let left: Vec<String> =
        world.files().into_iter().filter_map(|name| Some(name.split_once("intents/")?.1.to_owned())).collect();
    assert_eq!(left, [".young.json.1.draft"]);
}
