//! Many writers on one table at once. `LAKEHOST_FULL` makes it eight with fifty commits each, else two with ten.

use std::time::Instant;

use lakehost_pipeline::ports::{Committed, WriteMode};

use super::support::*;

#[test]
fn many_writers_make_one_straight_history() {
    let (writers, commits) = if std::env::var_os("LAKEHOST_FULL").is_some() { (8_i64, 50_i64) } else { (2, 10) };
    let world = World::new();
    Job::month("2023-12", 1_000_000..1_000_001).land(&world.lake());
    let began = Instant::now();
    let threads: Vec<_> = (0..writers)
        .map(|writer| {
            // A lake of its own has a connection, a cache and a view of the table of its own, as a process has.
            let lake = world.lake();
            std::thread::spawn(move || {
                let mut requests = 0;
                for number in 0..commits {
                    let id = writer * 1_000 + number;
                    // Half of them append to one month, half replace a month of their own.
                    let job = match number % 2 {
                        0 => Job::month("2024-01", id..id + 1).mode(WriteMode::Append),
                        _ => Job::month(
                            &format!("{}-{:02}", 2025 + writer * 10 + number / 12, number % 12 + 1),
                            id..id + 1,
                        ),
                    };
                    match job.run(&lake).unwrap() {
                        Committed::Landed { attempts, .. } => requests += attempts,
                        Committed::AlreadyLoaded { .. } => panic!("already loaded"),
                    }
                }
                requests
            })
        })
        .collect();
    let requests: u32 = threads.into_iter().map(|writer| writer.join().unwrap()).sum();
    let seconds = began.elapsed().as_secs_f64();
    let total = usize::try_from(writers * commits).unwrap();
    eprintln!("{}: {writers} x {commits} commits in {seconds:.1} s, {requests} requests", world.kind());
    let lake = world.lake();
    let rows = rows(&world, &lake);
    assert_eq!(rows.values().sum::<usize>(), total + 1);
    assert_eq!(rows["2024-01"], total / 2);
    // One line: every snapshot's parent is the one before it.
    let state = lake.state(&table()).unwrap();
    let mut snapshots: Vec<_> = state.metadata.snapshots().cloned().collect();
    snapshots.sort_by_key(|snapshot| snapshot.sequence_number());
    assert_eq!(snapshots.len(), total + 1);
    let mut before = None;
    for (number, snapshot) in (1..).zip(&snapshots) {
        assert_eq!((snapshot.sequence_number(), snapshot.parent_snapshot_id()), (number, before));
        before = Some(snapshot.snapshot_id());
    }
    assert_eq!(state.main().map(|head| head.snapshot_id()), before);
    world.check_no_orphans(&lake);
}
