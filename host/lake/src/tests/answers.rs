//! A catalog whose answers are lost, late or wrong.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use lakehost_pipeline::ports::{Committed, Lake, TableName};

use super::support::*;
use crate::catalog::{Abilities, Catalog, CatalogEntry, CatalogRef, Outcome, TableChange, TableState};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::resolve::Resolution;
use crate::{IcebergLake, Process};

/// What happens to one request.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// It is carried out, and the answer is lost.
    LostOnTheWayBack,
    /// It never arrives, and nobody knows.
    LostOnTheWay,
    /// It fails before it is sent.
    Refused,
    /// The catalog says yes and does nothing.
    Lie,
}

#[derive(Debug)]
struct Shaky {
    inner: CatalogRef,
    answers: Mutex<Vec<Answer>>,
    /// No reads after the first request.
    down_after_request: bool,
    down: AtomicBool,
    requests: AtomicU32,
}

fn broken(action: &'static str) -> Error {
    Error::Catalog { action, catalog: "shaky".into(), source: Box::new(sqlx::Error::PoolTimedOut) }
}

#[async_trait]
impl Catalog for Shaky {
    async fn load(&self, table: &TableName) -> Result<Option<TableState>> {
        if self.down.load(Ordering::SeqCst) { Err(broken("read")) } else { self.inner.load(table).await }
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
        self.requests.fetch_add(1, Ordering::SeqCst);
        self.down.store(self.down_after_request, Ordering::SeqCst);
        let next = self.answers.lock().unwrap().pop();
        match next {
            None => self.inner.commit(changes).await,
            Some(Answer::LostOnTheWayBack) => {
                self.inner.commit(changes).await?;
                Ok(Outcome::Unknown(broken("commit to")))
            }
            Some(Answer::LostOnTheWay) => Ok(Outcome::Unknown(broken("commit to"))),
            Some(Answer::Refused) => Err(broken("write to")),
            Some(Answer::Lie) => Ok(Outcome::Landed),
        }
    }

    async fn place(&self, table: &TableName, creation: &crate::Creation) -> Result<Option<crate::Placed>> {
        self.inner.place(table, creation).await
    }

    fn can(&self) -> Abilities {
        self.inner.can()
    }

    fn shown(&self) -> &str {
        self.inner.shown()
    }

    async fn drop_table(&self, state: &TableState) -> Result<bool> {
        self.inner.drop_table(state).await
    }
}

/// A lake of a process that is gone, on a catalog that gives these answers to its first requests.
fn shaky(world: &World, answers: &[Answer], down_after_request: bool) -> (IcebergLake, Arc<Shaky>) {
    let lake = world.lake();
    let current = Process::current();
    let catalog = Arc::new(Shaky {
        inner: Arc::clone(&lake.core.catalog),
        answers: Mutex::new(answers.iter().rev().copied().collect()),
        down_after_request,
        down: AtomicBool::new(false),
        requests: AtomicU32::new(0),
    });
    let core = Core {
        warehouse: lake.core.warehouse.clone(),
        store: Arc::clone(&lake.core.store),
        io: lake.core.io.clone(),
        catalog: catalog.clone(),
        clock: Arc::clone(&lake.core.clock),
        fail_points: lake.core.fail_points.clone(),
        process: Process { started: current.started.map(|ticks| ticks + 1), ..current },
        runtime: lake.core.runtime.clone(),
        keys_at_once: lake.core.keys_at_once,
    };
    (IcebergLake { core: Arc::new(core) }, catalog)
}

#[test]
fn a_request_is_sent_again_only_while_nothing_has_moved() {
    use Answer::*;
    // Answers, how many requests it takes, and whether the load lands.
    let cases: &[(&[Answer], u32, bool)] = &[
        (&[LostOnTheWayBack], 1, true),
        (&[LostOnTheWay], 2, true),
        (&[LostOnTheWay, LostOnTheWay, LostOnTheWayBack], 3, true),
        (&[LostOnTheWay, Refused], 3, true),
        (&[Refused], 1, false),
    ];
    for existing in [false, true] {
        for (answers, requests, lands) in cases {
            let world = World::new();
            world.lake();
            if existing {
                Job::month("2023-12", 100..110).land(&world.lake());
            }
            let before = world.files();
            let (lake, catalog) = shaky(&world, answers, false);
            let ended = Job::month("2024-01", 0..10).run(&lake);
            assert_eq!(catalog.requests.load(Ordering::SeqCst), *requests, "{answers:?}");
            if *lands {
                assert!(matches!(ended.unwrap(), Committed::Landed { attempts, .. } if attempts == *requests));
                assert_eq!(rows(&world, &lake)["2024-01"], 10);
                assert_eq!(lake.state(&table()).unwrap().metadata.snapshots().len(), 1 + usize::from(existing));
                world.check_no_orphans(&lake);
            } else {
                assert_eq!(ended.unwrap_err().code().0, "LH0601");
                assert_eq!(world.files(), before, "a certain failure leaves nothing");
            }
        }
    }
}

#[test]
fn an_unknown_outcome_keeps_every_file_until_it_is_resolved() {
    use Answer::*;
    for (answers, down, landed) in
        [(vec![LostOnTheWayBack], true, true), (vec![LostOnTheWay], true, false), (vec![Lie], false, false)]
    {
        let world = World::new();
        Job::month("2023-12", 100..110).land(&world.lake());
        let (lake, _) = shaky(&world, &answers, down);
        let job = Job::month("2024-01", 0..10);
        let fault = job.run(&lake).unwrap_err();
        assert_eq!((fault.code().0, fault.code().exit()), ("LH0651", 9));
        assert_eq!(
            fault.hint().unwrap(),
            format!("all files are kept; `lakehost resolve {}` looks again and finishes", job.run_id)
        );
        let data = format!("raw/trips/data/2024-01/{}-0.parquet", job.run_id);
        assert!(world.files().contains(&data));

        let lake = world.lake();
        let resolved = lake.resolve(Some(&job.run_id)).unwrap();
        assert_eq!(resolved.len(), 1);
        assert_eq!(matches!(resolved[0].resolution, Resolution::Landed { .. }), landed, "{resolved:?}");
        assert_eq!(world.files().contains(&data), landed);
        assert_eq!(lake.last_load(&table(), "2024-01").unwrap().is_some(), landed);
        world.check_no_orphans(&lake);
        assert!(lake.resolve(Some(&job.run_id)).unwrap().is_empty());
        let again = Job { run_id: "again".into(), ..job };
        assert_eq!(matches!(again.run(&lake).unwrap(), Committed::AlreadyLoaded { .. }), landed);
        assert_eq!(rows(&world, &lake)["2024-01"], 10);
    }
}

#[test]
fn a_late_answer_does_not_undo_what_others_did() {
    // The request is lost; meanwhile another writer commits; ours is then built anew on top, not sent again as it was.
    let world = World::new();
    Job::month("2023-12", 100..110).land(&world.lake());
    let (lake, catalog) = shaky(&world, &[Answer::LostOnTheWay], false);
    let job = Job::month("2024-01", 0..10);
    let load = job.begin(&lake).unwrap();
    Job::month("2024-02", 20..30).land(&world.lake());
    assert!(matches!(job.finish(load).unwrap(), Committed::Landed { .. }));
    assert_eq!(catalog.requests.load(Ordering::SeqCst), 2);
    assert_eq!(rows(&world, &lake).len(), 3);
    world.check_no_orphans(&lake);
}
