//! Tables with many windows.

use std::time::Instant;

use lakehost_pipeline::ports::WriteMode;

use super::support::*;
use crate::commit::Manifests;
use crate::location::local_path;

fn label(number: usize) -> String {
    format!("{:04}-{:02}", 1950 + number / 12, 1 + number % 12)
}

fn manifests(world: &World, lake: &crate::IcebergLake) -> usize {
    let state = lake.state(&table()).unwrap();
    let reader = Manifests::new(lake.core.io.clone());
    world.runtime.block_on(reader.list(&state.metadata, state.main())).unwrap().len()
}

#[test]
fn manifests_are_merged_and_windows_stay_replaceable() {
    let world = World::new();
    let lake = world.lake();
    for number in 0..125 {
        let id = number as i64 * 10;
        Job::month(&label(number), id..id + 3).land(&lake);
    }
    assert!(manifests(&world, &lake) <= 101, "{}", manifests(&world, &lake));
    let state = lake.state(&table()).unwrap();
    assert_eq!((counter(&state, "total-data-files"), counter(&state, "total-records")), (Some(125), Some(375)));
    Job::month(&label(7), 70..75).land(&lake);
    Job::month(&label(124), 1240..1241).land(&lake);
    let state = lake.state(&table()).unwrap();
    assert_eq!((counter(&state, "total-data-files"), counter(&state, "total-records")), (Some(125), Some(375)));
    let found = rows(&world, &lake);
    assert_eq!((found.len(), found[&label(7)], found[&label(124)], found[&label(8)]), (125, 5, 1, 3));
    let metadata_files = world.files().iter().filter(|name| name.ends_with(".metadata.json")).count();
    assert_eq!(metadata_files, 21, "the present one and 20 before it");
    world.check_no_orphans(&lake);
}

/// P7 by hand: `cargo test --release -p lakehost-lake -p unify --lib -- --ignored --nocapture a_thousand`.
#[test]
#[ignore = "takes a minute; prints times"]
fn a_thousand_snapshots() {
    let world = World::new();
    let durable = std::env::var("DURABLE").is_ok();
    let options = crate::LakeOptions { durable, ..world.options() };
    let lake = crate::IcebergLake::open(options).unwrap();
    let time = |job: Job| {
        let load = job.begin(&lake).unwrap();
        let mut commit_ms = 0.0;
        job.finish_timed(load, &mut commit_ms).unwrap();
        commit_ms
    };
    let ten = |label: &str, from: i64| Job {
        files: (0..10).map(|file| vec![from + file]).collect(),
        ..Job::month(label, 0..1)
    };
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for number in 0..1_000 {
        let ms = time(ten(&label(number), 0));
        if number < 20 {
            first.push(ms)
        }
        if number >= 980 {
            last.push(ms)
        }
    }
    let mean = |times: &[f64]| times.iter().sum::<f64>() / times.len() as f64;
    eprintln!("first 20: {:.1} ms {first:.1?}\nlast 20: {:.1} ms {last:.1?}", mean(&first), mean(&last));
    eprintln!("manifests {}", manifests(&world, &lake));
    let replace: Vec<f64> = [3, 500, 997].into_iter().map(|number| time(ten(&label(number), 0))).collect();
    eprintln!("replace old, middle, new: {replace:.1?} ms");
    eprintln!("append: {:.1} ms", time(ten("2040-01", 0).mode(WriteMode::Append)));
    let state = lake.state(&table()).unwrap();
    eprintln!("metadata {} bytes", std::fs::metadata(local_path(&state.metadata_location)).unwrap().len());
    let other = world.lake();
    let start = Instant::now();
    other.state(&table()).unwrap();
    eprintln!("first look at the table in a new process: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
}
