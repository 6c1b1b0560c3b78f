//! Every action as PyIceberg and DuckDB find it afterwards: rows, counters, entry statuses, field ids, bounds, file sizes.
//!
//! One table goes through all of them and each state gets a tag, so that one start of the readers sees the whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use lakehost_columnar::NoObserver;
use lakehost_pipeline::filter::{CompareOp, FilterValue, RowFilter};
use lakehost_pipeline::ports::WriteMode;

use super::readers;
use super::support::*;
use crate::history::AsOf;
use crate::{CompactOptions, ExpireOptions, IcebergLake, LakeOptions, RefKind};

/// Id and month of each row.
type Rows = BTreeSet<(i64, &'static str)>;

fn ids(range: std::ops::Range<i64>, month: &'static str) -> Rows {
    range.map(|id| (id, month)).collect()
}

fn tag(lake: &IcebergLake, name: &str) {
    lake.set_ref(&table(), name, RefKind::Tag, None, None).unwrap();
}

/// Operation and entry statuses (existing 0, added 1, deleted 2) of the head that an action leaves, in the order of the tags' names.
const WANTED: &[(&str, &str, &[i64])] = &[
    ("s1-first", "append", &[1, 1]),
    ("s2-append", "append", &[1]),
    ("s3-replace", "overwrite", &[1, 2, 2]),
    ("s4-merge", "overwrite", &[1, 1, 2]),
    ("s5-delete", "delete", &[2]),
    ("s6-compact", "replace", &[1, 2, 2]),
    ("s7-refresh", "overwrite", &[1, 2, 2]),
    ("main", "overwrite", &[]),
];

#[test]
fn every_action_reads_back_in_other_engines() {
    let world = World::new();
    // A tag gives the table the time of this machine, which must then be the lake's too.
    let clock: crate::Clock = Arc::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        i64::try_from(since.as_millis()).unwrap()
    });
    let lake = IcebergLake::open(LakeOptions { clock, ..world.options() }).unwrap();
    let mut wanted: BTreeMap<&str, Rows> = BTreeMap::new();
    let files = |label: &str, files: &[std::ops::Range<i64>]| Job {
        files: files.iter().map(|ids| ids.clone().collect()).collect(),
        ..Job::month(label, 0..1)
    };

    files("2024-01", &[0..10, 10..15]).land(&lake);
    tag(&lake, "s1-first");
    wanted.insert("s1-first", ids(0..15, "2024-01-01"));
    // Without a tag: the snapshot that expires.
    Job::month("2024-02", 20..25).mode(WriteMode::Append).land(&lake);
    let expires = lake.state(&table()).unwrap().main().unwrap().snapshot_id();
    Job::month("2024-02", 25..30).mode(WriteMode::Append).land(&lake);
    tag(&lake, "s2-append");
    let february = ids(20..30, "2024-02-01");
    wanted.insert("s2-append", &ids(0..15, "2024-01-01") | &february);
    Job::month("2024-01", 0..7).land(&lake);
    tag(&lake, "s3-replace");
    wanted.insert("s3-replace", &ids(0..7, "2024-01-01") | &february);
    // 3 moves to March, 40 is new; 0, 1, 2, 4, 5 and 6 are written anew.
    let mut merge = Job::month("2024-03", 0..1).mode(WriteMode::Merge);
    merge.files = vec![vec![3, 40]];
    merge.target.key = vec!["id".to_owned()];
    merge.land(&lake);
    tag(&lake, "s4-merge");
    let march: Rows = [(3, "2024-03-01"), (40, "2024-03-01")].into();
    let january: Rows = &ids(0..3, "2024-01-01") | &ids(4..7, "2024-01-01");
    wanted.insert("s4-merge", &(&january | &february) | &march);
    let id = |op, value| RowFilter::Compare { column: "id".to_owned(), op, value: FilterValue::Int(value) };
    let filter = RowFilter::And(vec![id(CompareOp::Less, 7), id(CompareOp::NotEq, 3)]);
    lake.delete_where(&table(), &filter, &crate::DeleteOptions::default()).unwrap();
    tag(&lake, "s5-delete");
    wanted.insert("s5-delete", &february | &march);
    let before_compact = lake.state(&table()).unwrap().main().unwrap().snapshot_id();
    let options = CompactOptions { min_files: 2, ..CompactOptions::default() };
    assert_eq!(lake.compact(&table(), &options, &NoObserver).unwrap().files_before, 2);
    tag(&lake, "s6-compact");
    wanted.insert("s6-compact", &february | &march);
    Job::month("2024-04", 50..53).mode(WriteMode::FullRefresh).land(&lake);
    tag(&lake, "s7-refresh");
    wanted.insert("s7-refresh", ids(50..53, "2024-04-01"));
    lake.rollback(&table(), &AsOf::Snapshot(before_compact)).unwrap();
    wanted.insert("main", &february | &march);
    let now = ExpireOptions { older_than_ms: 0, keep: 1, dry_run: false };
    std::thread::sleep(std::time::Duration::from_millis(5));
    assert_eq!(lake.expire(&table(), &now).unwrap().snapshots, [expires]);
    world.check_no_orphans(&lake);

    let read = readers::read(&world, "raw.trips");
    let refs = read["refs"].as_object().unwrap();
    assert_eq!(refs.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    for (name, operation, statuses) in WANTED {
        let found = &refs[*name];
        let rows: BTreeSet<(i64, &str)> = found["duckdb"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (row[0].as_str().unwrap().parse().unwrap(), row[3].as_str().unwrap()))
            .collect();
        assert_eq!(rows, wanted[name], "{name}");
        assert_eq!(found["problems"], serde_json::json!([]), "{name}");
        assert!(found["audited"].as_u64().unwrap() > 0, "{name}: no file was looked at");
        if *name != "main" {
            assert_eq!(found["operation"], *operation, "{name}");
            // Those of this snapshot; what stays is carried over.
            let own: Vec<i64> = found["entries"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|entry| entry[1] == found["snapshot"])
                .map(|entry| entry[0].as_i64().unwrap())
                .collect();
            assert_eq!(own, *statuses, "{name}");
        }
    }
}
