//! Requests that are still under way when somebody looks after a run whose process is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use lakehost_server::{Match, Proxy, ProxyFault};

use super::support::*;
use crate::resolve::Resolution;
use crate::{CatalogOptions, IcebergLake, LakeOptions, RestOptions};

const LATE: Duration = Duration::from_secs(600);

/// A lake on a REST catalog behind `url`, whose requests may arrive for ten minutes, at a time of the test's own.
fn open(world: &World, url: &str, process: bool, clock: &Arc<AtomicI64>) -> IcebergLake {
    let clock = Arc::clone(clock);
    let gone = world.doomed("none", 1).core.process.clone();
    let options = world.options();
    let rest =
        RestOptions { timeout: Duration::from_millis(400), late: LATE, ..RestOptions::new(url.parse().unwrap()) };
    IcebergLake::open(LakeOptions {
        catalog: CatalogOptions::Rest(Box::new(rest)),
        process: if process { options.process.clone() } else { gone },
        clock: Arc::new(move || clock.fetch_add(1, Ordering::Relaxed)),
        ..options
    })
    .unwrap()
}

#[test]
fn files_of_a_request_that_may_still_arrive_at_a_rest_catalog_are_kept() {
    for (existing, arrives) in [(false, true), (true, true), (false, false), (true, false)] {
        let world = RestWorld::new();
        let clock = Arc::new(AtomicI64::new(1_717_200_000_000));
        let url = world.server().url();
        if existing {
            Job::month("2023-12", 100..110).land(&open(&world, &url, true, &clock));
        }
        // The commit is on its way, its client hears nothing of it or of anything after it, and goes.
        let proxy = Proxy::start(&url).unwrap();
        let commits = world.server().commits();
        let dead = open(&world, &proxy.url(), false, &clock);
        let job = Job::month("2024-01", 0..10);
        let load = job.begin(&dead).unwrap();
        let commit = || Match::method("POST").on("/tables/trips");
        proxy.rule(commit().times(1), ProxyFault::HoldRequest(Duration::from_secs(5)));
        if !arrives {
            world.server().trouble([Trouble::Refuse(500, "")]);
        }
        let fault = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !proxy
                    .seen()
                    .iter()
                    .any(|request| request.path.ends_with("/tables/trips") && request.method == "POST")
                {
                    std::thread::sleep(Duration::from_millis(2));
                }
                proxy.rule(Match::method("GET"), ProxyFault::Status(503, String::new()));
            });
            job.finish(load).unwrap_err()
        });
        assert_eq!(fault.code().0, "LH0651", "{fault}");

        let lake = open(&world, &url, true, &clock);
        let look = |run: &str| lake.resolve(Some(run)).unwrap().into_iter().next().map(|run| run.resolution);
        let before = world.files();
        let Some(Resolution::Waiting { until_ms }) = look(&job.run_id) else { panic!("not waited for") };
        assert!((until_ms - clock.load(Ordering::Relaxed) - 600_000).abs() < 10_000);
        // Nor does the next run tidy up behind it.
        drop(Job::month("2024-05", 0..1).begin(&lake).unwrap());
        assert_eq!(world.files(), before);
        while world.server().commits() == commits {
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(Duration::from_millis(500));
        if arrives {
            assert!(matches!(look(&job.run_id), Some(Resolution::Landed { .. })));
            assert_eq!(rows(&world, &lake)["2024-01"], 10);
        } else {
            clock.fetch_add(600_000, Ordering::Relaxed);
            assert!(matches!(look(&job.run_id), Some(Resolution::NotLanded { files_deleted }) if files_deleted > 0));
        }
        assert!(look(&job.run_id).is_none());
        assert!(world.files().iter().all(|name| !name.starts_with("_lakehost/intents")), "{:?}", world.files());
        world.check_no_orphans(&lake);
    }
}
