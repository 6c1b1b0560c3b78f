//! Looking at tables, dropping and adopting them.

use lakehost_pipeline::Granularity;
use lakehost_pipeline::ports::{Owner, TableName, WriteMode};

use super::support::*;
use crate::history::{AsOf, snapshot_as_of};
use crate::location::local_path;

#[test]
fn history_and_points_in_time() {
    let world = World::new();
    let lake = world.lake();
    let ids: Vec<i64> = ["2024-01", "2024-02", "2024-01"]
        .iter()
        .enumerate()
        .map(|(number, label)| {
            let from = number as i64 * 10;
            Job::month(label, from..from + 10 + number as i64).land(&lake)
        })
        .collect();
    let found = lake.snapshots(&table()).unwrap();
    assert_eq!(found.iter().map(|snapshot| snapshot.snapshot_id).collect::<Vec<_>>(), ids);
    let shown: Vec<_> = found
        .iter()
        .map(|s| {
            (s.operation.as_str(), s.rows, s.rows_added, s.rows_deleted, s.files, s.load["window"].as_str(), s.on_main)
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("append", Some(10), 10, 0, Some(1), "2024-01", true),
            ("append", Some(21), 11, 0, Some(2), "2024-02", true),
            ("overwrite", Some(23), 12, 10, Some(2), "2024-01", true),
        ]
    );
    assert_eq!(found[1].parent_id, Some(ids[0]));
    let opened = lake.open_table(&table()).unwrap();
    let at = |as_of| snapshot_as_of(&opened, &as_of).ok();
    assert_eq!(at(AsOf::Time(found[1].timestamp_ms)), Some(ids[1]));
    assert_eq!(at(AsOf::Time(found[2].timestamp_ms - 1)), Some(ids[1]));
    assert_eq!(at(AsOf::Time(i64::MAX)), Some(ids[2]));
    assert_eq!(at(AsOf::Time(found[0].timestamp_ms - 1)), None);
    assert_eq!(at(AsOf::Snapshot(ids[0])), Some(ids[0]));
    assert_eq!(at(AsOf::Snapshot(1)), None);
    assert_eq!(at(AsOf::Reference("main".into())), Some(ids[2]));
    assert_eq!(at(AsOf::Reference("nope".into())), None);
}

#[test]
fn list_show_adopt_drop() {
    let world = World::new();
    let lake = world.lake();
    let missing = lake.describe(&table()).unwrap_err();
    assert_eq!(lakehost_pipeline::Diagnostic::code(&missing).0, "LH0604");
    Job::month("2024-01", 0..10).land(&lake);
    let mut other = Job::month("2024-01", 0..10);
    other.target.table = TableName::parse("clean.trips").unwrap();
    other.land(&lake);
    let names = |namespace| lake.table_names(namespace).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(None), ["clean.trips", "raw.trips"]);
    assert_eq!(names(Some("raw")), ["raw.trips"]);
    assert_eq!(lake.namespaces().unwrap(), ["clean", "raw"]);
    let details = lake.describe(&table()).unwrap();
    assert_eq!(
        details.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(),
        ["id", "name", "at", "_lakehost_window"]
    );
    assert_eq!(details.partition, ["identity(_lakehost_window)"]);
    assert_eq!(details.properties["lakehost.owner"], "tlc/trips");

    let owner = Owner { owner: "tlc/new".into(), granularity: Granularity::Month, cleaners: "x".into() };
    lake.adopt(&table(), &owner).unwrap();
    let mut job = Job::month("2024-01", 0..3);
    assert_eq!(job.begin(&lake).err().unwrap().code().0, "LH0106");
    job.target.owner = owner;
    job.land(&lake);

    // A table whose metadata is gone does not hide the others.
    let broken = lake.state(&other.target.table).unwrap();
    std::fs::remove_file(local_path(&broken.metadata_location)).unwrap();
    let lake = world.lake();
    let lines = lake.list(None).unwrap();
    assert!(lines[0].problem.is_some() && lines[1].problem.is_none());
    assert_eq!(lines[1].head.as_ref().unwrap().rows, Some(3));

    assert!(lake.drop_table(&table()).unwrap().files_deleted);
    assert_eq!(names(None), ["clean.trips"]);
    assert!(!world.files().iter().any(|name| name.starts_with("raw/")));
    Job::month("2024-01", 0..10).mode(WriteMode::Append).land(&lake);
    assert_eq!(rows(&world, &lake)["2024-01"], 10);
}

#[test]
fn a_folder_of_two_tables_stays_though_they_spell_it_differently() {
    let world = World::new();
    let lake = world.lake();
    Job::month("2024-01", 0..10).land(&lake);
    let state = lake.state(&table()).unwrap();
    assert!(state.metadata.location().starts_with("file:///"), "{}", state.metadata.location());
    // The same table once more, as earlier builds would have told of it.
    let told = std::fs::read_to_string(local_path(&state.metadata_location)).unwrap();
    let file =
        local_path(&state.metadata_location).with_file_name(format!("00001-{}.metadata.json", uuid::Uuid::nil()));
    std::fs::write(&file, told.replace("file://", "")).unwrap();
    let twin = TableName { namespace: "raw".to_owned(), name: "twin".to_owned() };
    world.runtime.block_on(lake.catalog().register_table(&twin, file.to_str().unwrap())).unwrap();
    assert_eq!(lake.state(&twin).unwrap().metadata.location(), local_path(state.metadata.location()).to_str().unwrap());

    assert!(!lake.drop_table(&table()).unwrap().files_deleted, "they are the other's too");
    assert_eq!(lake.snapshots(&twin).unwrap().len(), 1);
    // A table stays at what it was born with, and loads go on there.
    let mut job = Job::month("2024-02", 20..25);
    job.target.table = twin.clone();
    job.land(&lake);
    let state = lake.state(&twin).unwrap();
    assert!(!state.metadata_location.contains("file:"), "{}", state.metadata_location);
    assert!(lake.drop_table(&twin).unwrap().files_deleted);
}

#[test]
fn a_warehouse_that_cannot_be_written_can_be_read() {
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    let world = World::new();
    Job::month("2024-01", 0..10).land(&world.lake());
    let folder = world.folder.path().join("warehouse");
    let wal = folder.join("catalog.db-wal");
    // The pool closes its connections in the background.
    (0..100).take_while(|_| wal.exists()).for_each(|_| std::thread::sleep(Duration::from_millis(20)));
    let set = |mode: u32| {
        set_permissions(folder.join("catalog.db"), Permissions::from_mode(mode & 0o666)).unwrap();
        set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
    };
    set(0o555);
    // Nothing is forbidden to root.
    if write(folder.join("probe"), "").is_err() {
        let lake = world.lake();
        assert_eq!(rows(&world, &lake)["2024-01"], 10);
        assert_eq!(lake.snapshots(&table()).unwrap().len(), 1);
        let fault = Job::month("2024-02", 10..20).begin(&lake).err().unwrap();
        assert_eq!(fault.code().0, "LH0501");
        let root = folder.canonicalize().unwrap();
        assert_eq!(fault.to_string(), format!("the warehouse {} cannot be written", root.display()));
    }
    set(0o755);
}

#[test]
fn partition_fields_of_a_new_table_are_checked() {
    use lakehost_columnar::Transform;

    let world = World::new();
    let lake = world.lake();
    let refused = |column: &str, transform| {
        let fault = Job::month("2024-01", 0..10).partition(column, transform).begin(&lake).err().unwrap();
        format!("{} {fault}: {}", fault.code(), fault.hint().unwrap_or_default())
    };
    assert_eq!(
        refused("idd", Transform::Day),
        "LH0101 the partition field day(idd) names no column: did you mean `id`?"
    );
    assert!(refused("id", Transform::Day).starts_with("LH0101 day() does not take column id of type Int64: name"));
}

/// Rows of a metadata table, some columns of each as text.
fn metadata(lake: &crate::IcebergLake, which: crate::MetadataTable, columns: &[&str]) -> Vec<String> {
    use arrow_cast::display::{ArrayFormatter, FormatOptions};

    let batch = lake.metadata_batch(&table(), which, None).unwrap();
    let options = FormatOptions::new().with_null("-");
    let shown: Vec<ArrayFormatter<'_>> = columns
        .iter()
        .map(|name| ArrayFormatter::try_new(batch.column_by_name(name).unwrap(), &options).unwrap())
        .collect();
    (0..batch.num_rows())
        .map(|row| shown.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn metadata_tables_show_what_a_table_consists_of() {
    use crate::MetadataTable as M;

    let world = World::new();
    let lake = world.lake();
    let first = Job::month("2024-01", 0..10).land(&lake);
    let second = Job { files: vec![vec![1, 2], vec![3]], ..Job::month("2024-02", 0..1) }.land(&lake);
    lake.set_ref(&table(), "v1", crate::RefKind::Tag, Some(&AsOf::Snapshot(first)), None).unwrap();
    assert_eq!(
        metadata(&lake, M::Snapshots, &["snapshot_id", "parent_id", "rows", "growth", "window", "on_main"]),
        [format!("{first} - 10 10 2024-01 true"), format!("{second} {first} 13 3 2024-02 true")]
    );
    assert_eq!(
        metadata(
            &lake,
            M::Partitions,
            &["partition", "window", "record_count", "file_count", "last_updated_snapshot_id"]
        ),
        [
            format!("_lakehost_window=2024-01-01 2024-01 10 1 {first}"),
            format!("_lakehost_window=2024-02-01 2024-02 3 2 {second}"),
        ]
    );
    let mut files = metadata(&lake, M::Files, &["content", "window", "record_count", "snapshot_id", "sequence_number"]);
    files.sort();
    assert_eq!(
        files,
        [
            format!("data 2024-01 10 {first} 1"),
            format!("data 2024-02 1 {second} 2"),
            format!("data 2024-02 2 {second} 2"),
        ]
    );
    assert!(metadata(&lake, M::Files, &["metrics"])[0].contains("\"id\":{\"bytes\":"));
    assert_eq!(
        metadata(&lake, M::Refs, &["name", "type", "snapshot_id"]),
        [format!("main branch {second}"), format!("v1 tag {first}")]
    );
    assert_eq!(
        metadata(&lake, M::History, &["snapshot_id", "is_current_ancestor", "expired"]),
        [format!("{first} true false"), format!("{second} true false")]
    );
    let mut manifests = metadata(&lake, M::Manifests, &["content", "added_files", "added_rows", "partitions"]);
    manifests.sort();
    assert_eq!(
        manifests,
        ["data 1 10 _lakehost_window 2024-01-01..2024-01-01", "data 2 3 _lakehost_window 2024-02-01..2024-02-01"]
    );
    let early = lake.metadata_batch(&table(), M::Files, Some(&AsOf::Reference("v1".into()))).unwrap();
    assert_eq!(early.num_rows(), 1);
    let missing = lake.metadata_batch(&table(), M::Files, Some(&AsOf::Snapshot(1))).unwrap_err();
    assert!(missing.to_string().contains("has no snapshot"), "{missing}");
    for which in M::ALL {
        assert_eq!(M::parse(which.word()), Some(which));
    }
}

#[test]
fn a_difference_is_told_by_window() {
    use lakehost_columnar::NoObserver;

    let world = World::new();
    let lake = world.lake();
    let first = Job { files: (0..5).map(|id| vec![id]).collect(), ..Job::month("2024-01", 0..1) }.land(&lake);
    Job::month("2024-02", 0..7).land(&lake);
    let third = Job::month("2024-03", 0..3).land(&lake);
    let last = Job::month("2024-02", 0..4).land(&lake);
    let diff = lake.diff(&table(), &AsOf::Snapshot(first), &AsOf::Snapshot(last)).unwrap();
    let shown = |diff: &crate::Diff| -> Vec<String> {
        let one = |w: &crate::WindowDelta| {
            format!("{} {}→{} +{} -{}", w.window, w.rows_before, w.rows_after, w.files_added, w.files_removed)
        };
        diff.windows.iter().map(one).collect()
    };
    assert_eq!(shown(&diff), ["2024-02 0→4 +1 -0", "2024-03 0→3 +1 -0"]);
    assert_eq!((diff.rows_before, diff.rows_after, diff.same_rows), (5, 12, false));
    let diff = lake.diff(&table(), &AsOf::Snapshot(third), &AsOf::Reference("main".into())).unwrap();
    assert_eq!(shown(&diff), ["2024-02 7→4 +1 -1"]);
    assert_eq!((diff.windows[0].rows_added, diff.windows[0].rows_removed), (4, 7));
    lake.compact(&table(), &crate::CompactOptions::default(), &NoObserver).unwrap();
    let diff = lake.diff(&table(), &AsOf::Snapshot(last), &AsOf::Reference("main".into())).unwrap();
    assert_eq!(shown(&diff), ["2024-01 5→5 +1 -5"]);
    assert!(diff.same_rows);
    let same = lake.diff(&table(), &AsOf::Snapshot(first), &AsOf::Snapshot(first)).unwrap();
    assert_eq!((same.windows.len(), same.same_rows), (0, true));
}

#[test]
fn a_snapshot_tells_where_its_rows_came_from() {
    let world = World::new();
    let lake = world.lake();
    let job = Job::month("2024-01", 0..10);
    let id = job.land(&lake);
    let found = lake.provenance(&table(), &AsOf::Snapshot(id)).unwrap();
    assert_eq!(found.objects[0].url, "https://example.com/a.parquet");
    assert_eq!((found.plugins[0].to_string().as_str(), found.plugins[0].sha256.len()), ("tlc@0.1.0", 64));
    assert_eq!(found.snapshot.load["run-id"], job.run_id);
    assert!(found.run.is_none() && found.objects_digest.is_none());
    let runs = world.folder.path().join("warehouse/_lakehost/runs");
    std::fs::create_dir_all(&runs).unwrap();
    std::fs::write(runs.join(format!("{}.json", job.run_id)), r#"{"run_id":"x"}"#).unwrap();
    let found = lake.provenance(&table(), &AsOf::Reference("main".into())).unwrap();
    assert_eq!(found.run.unwrap()["run_id"], "x");
}
