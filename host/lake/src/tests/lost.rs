//! Answers that are lost while others are at work: no live file is deleted, no row is there twice.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use iceberg::TableRequirement;
use lakehost_pipeline::ports::{Committed, Lake, TableName, WriteMode};

use super::support::*;
use crate::IcebergLake;
use crate::catalog::{Base, Catalog, CatalogEntry, CatalogRef, Outcome, TableChange, TableState};
use crate::core::Core;
use crate::error::{Error, Result};

/// What others do between the first request and the next look at the table.
type Meanwhile = Box<dyn FnOnce() + Send>;

/// A catalog whose first answer is lost.
struct Losing {
    inner: CatalogRef,
    /// Whether the first request is carried out.
    arrives: bool,
    meanwhile: Mutex<Option<Meanwhile>>,
}

impl std::fmt::Debug for Losing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Losing")
    }
}

#[async_trait]
impl Catalog for Losing {
    async fn load(&self, table: &TableName) -> Result<Option<TableState>> {
        self.inner.load(table).await
    }

    async fn list_namespaces(&self) -> Result<Vec<String>> {
        self.inner.list_namespaces().await
    }

    async fn list_tables(&self, namespace: Option<&str>) -> Result<Vec<CatalogEntry>> {
        self.inner.list_tables(namespace).await
    }

    async fn create_namespace(&self, namespace: &str) -> Result<()> {
        self.inner.create_namespace(namespace).await
    }

    async fn commit(&self, changes: &[TableChange]) -> Result<Outcome> {
        let Some(meanwhile) = self.meanwhile.lock().unwrap().take() else { return self.inner.commit(changes).await };
        if self.arrives {
            assert!(matches!(self.inner.commit(changes).await?, Outcome::Landed));
        }
        // Others block on the runtime, which this thread is already in.
        std::thread::spawn(meanwhile).join().unwrap();
        Ok(Outcome::Unknown(Error::Internal("no answer".to_owned())))
    }

    async fn drop_table(&self, state: &TableState) -> Result<bool> {
        self.inner.drop_table(state).await
    }
}

fn losing(world: &World, arrives: bool, meanwhile: impl FnOnce() + Send + 'static) -> IcebergLake {
    let lake = world.lake();
    let core = Core {
        warehouse: lake.core.warehouse.clone(),
        store: Arc::clone(&lake.core.store),
        io: lake.core.io.clone(),
        catalog: Arc::new(Losing {
            inner: Arc::clone(&lake.core.catalog),
            arrives,
            meanwhile: Mutex::new(Some(Box::new(meanwhile))),
        }),
        clock: Arc::clone(&lake.core.clock),
        fail_points: lake.core.fail_points.clone(),
        process: lake.core.process.clone(),
        runtime: lake.core.runtime.clone(),
        keys_at_once: lake.core.keys_at_once,
    };
    IcebergLake { core: Arc::new(core) }
}

/// Removes all snapshots but the head.
fn expire(lake: &IcebergLake) {
    let state = lake.state(&table()).unwrap();
    let head = state.main().unwrap().snapshot_id();
    let old: Vec<i64> =
        state.metadata.snapshots().map(|snapshot| snapshot.snapshot_id()).filter(|id| *id != head).collect();
    let change = TableChange::build(&table(), Base::Existing(state), Vec::new(), uuid::Uuid::new_v4(), |builder| {
        Ok(builder.remove_snapshots(&old))
    })
    .unwrap();
    assert!(matches!(lake.core.block_on(lake.core.catalog.commit(&[change])).unwrap(), Outcome::Landed));
}

#[test]
fn a_load_that_landed_is_found_though_its_snapshot_has_expired() {
    for mode in [WriteMode::ReplaceWindow, WriteMode::Append] {
        // The property is taken over as well when the same owner adds more: then only the manifests tell.
        for taken_over in [false, true] {
            let world = World::new();
            Job::month("2023-12", 100..110).land(&world.lake());
            let other = world.lake();
            let lake = losing(&world, true, move || {
                let month = if taken_over { "2024-01" } else { "2024-02" };
                let mode = if taken_over { WriteMode::Append } else { WriteMode::ReplaceWindow };
                Job::month(month, 50..60).mode(mode).land(&other);
                expire(&other);
            });
            let job = Job::month("2024-01", 0..10).mode(mode);
            let ended = job.run(&lake).unwrap();
            assert!(matches!(ended, Committed::Landed { attempts: 1, .. }), "{ended:?}");
            let lake = world.lake();
            assert_eq!(rows(&world, &lake)["2024-01"], if taken_over { 20 } else { 10 });
            world.orphans(&lake);
            assert!(!world.files().iter().any(|name| name.starts_with("_lakehost/intents/")));
        }
    }
}

#[test]
fn nothing_that_a_lost_request_names_is_deleted() {
    let world = World::new();
    Job::month("2024-01", 100..110).land(&world.lake());
    let other = world.lake();
    let lake = losing(&world, false, move || {
        Job::month("2024-01", 50..60).land(&other);
    });
    let job = Job::month("2024-01", 0..10);
    // Another load was quicker; were the table rolled back now, the request that is still on its way could land.
    assert_eq!(job.run(&lake).unwrap_err().code().0, "LH0602");
    let kept = world.orphans(&world.lake());
    assert!(kept.contains(&format!("raw/trips/data/2024-01/{}-0.parquet", job.run_id)), "{kept:?}");
    assert!(kept.iter().any(|name| name.contains(&format!("metadata/{}-", job.run_id))), "{kept:?}");
    assert!(!kept.iter().any(|name| name.starts_with("_lakehost/")), "nothing is left to resolve: {kept:?}");
}

#[test]
fn loads_that_were_added_to_one_window_stand_side_by_side() {
    for window in [Some("2024-01"), None] {
        let world = World::new();
        let lake = world.lake();
        let job = |owner: &str, ids: std::ops::Range<i64>| {
            let mut job = Job::month("2024-01", ids).mode(WriteMode::Append);
            job.target.owner.owner = owner.to_owned();
            if window.is_none() {
                job.target.window = None;
                job.target.schema = Arc::new(schema().project(&[0, 1, 2]).unwrap());
            }
            job
        };
        let (first, second, third) = (job("tlc/a", 0..10), job("tlc/b", 10..20), job("tlc/a", 20..30));
        for job in [&first, &second, &third] {
            job.land(&lake);
        }
        let key = window.unwrap_or("all");
        for (owner, last) in [("tlc/a", &third), ("tlc/b", &second)] {
            let record = lake.last_load_by(&table(), key, owner, WriteMode::Append).unwrap().unwrap();
            assert_eq!(record.load_id, last.load_id);
        }
        assert!(lake.last_load_by(&table(), key, "tlc/c", WriteMode::Append).unwrap().is_none());
        let added = second.clone();
        for (number, job) in [first, second, third].into_iter().enumerate() {
            let again = Job { run_id: format!("again-{number}"), ..job };
            assert!(matches!(again.run(&lake).unwrap(), Committed::AlreadyLoaded { .. }), "{number}");
        }
        let state = lake.state(&table()).unwrap();
        assert_eq!(counter(&state, "total-records"), Some(30));
        world.check_no_orphans(&lake);
        if window.is_some() {
            // Who replaces the window takes all of them away, and then each may come again.
            let mut replace = Job::month("2024-01", 0..1);
            replace.target.owner.owner = "tlc/a".to_owned();
            replace.land(&lake);
            assert!(lake.last_load_by(&table(), key, "tlc/b", WriteMode::Append).unwrap().is_none());
            let again = Job { run_id: "later".to_owned(), ..added };
            assert!(matches!(again.run(&lake).unwrap(), Committed::Landed { .. }));
        }
    }
}

#[test]
fn every_change_is_bound_to_the_table_it_was_made_for() {
    let world = World::new();
    let lake = world.lake();
    Job::month("2024-01", 0..10).land(&lake);
    let state = lake.state(&table()).unwrap();
    let uuid = state.metadata.uuid();
    let change = TableChange::build(&table(), Base::Existing(state), Vec::new(), uuid::Uuid::new_v4(), Ok).unwrap();
    assert_eq!(change.requirements, [TableRequirement::UuidMatch { uuid }]);
}
