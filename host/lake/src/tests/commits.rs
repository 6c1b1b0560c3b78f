//! One writer: what each write mode leaves behind.

use iceberg::spec::{ManifestStatus, Operation};
use lakehost_columnar::Transform;
use lakehost_pipeline::ports::{Committed, Lake, LoadState, WriteMode};
use lakehost_pipeline::{Granularity, Window};

use super::support::*;

fn windows(pairs: &[(&str, usize)]) -> std::collections::BTreeMap<String, usize> {
    pairs.iter().map(|(label, rows)| ((*label).to_owned(), *rows)).collect()
}

#[test]
fn a_table_is_born_with_its_first_load_and_its_windows_are_replaced_one_by_one() {
    let world = World::new();
    let lake = world.lake();
    assert!(Lake::table(&lake, &table()).unwrap().is_none());
    let first = Job::month("2024-01", 0..100).land(&lake);
    let state = lake.state(&table()).unwrap();
    assert_eq!(state.metadata.snapshots().len(), 1, "created and loaded in one step");
    assert_eq!(state.main().unwrap().summary().operation, Operation::Append);
    assert!(state.metadata_location.contains("/metadata/00000-"));

    Job::month("2024-02", 100..150).land(&lake);
    assert_eq!(rows(&world, &lake), windows(&[("2024-01", 100), ("2024-02", 50)]));

    let again = Job { files: vec![(0..30).collect(), (30..70).collect()], ..Job::month("2024-01", 0..1) };
    let third = again.land(&lake);
    assert_eq!(rows(&world, &lake), windows(&[("2024-01", 70), ("2024-02", 50)]));
    let state = lake.state(&table()).unwrap();
    let head = state.main().unwrap();
    assert_eq!((head.snapshot_id(), head.sequence_number()), (third, 3));
    assert_eq!(head.summary().operation, Operation::Overwrite);
    for (name, wanted) in [
        ("added-data-files", Some(2)),
        ("added-records", Some(70)),
        ("deleted-data-files", Some(1)),
        ("deleted-records", Some(100)),
        ("total-data-files", Some(3)),
        ("total-records", Some(120)),
        ("total-delete-files", Some(0)),
        ("changed-partition-count", Some(1)),
        ("added-delete-files", None),
        ("lakehost.rows-written", Some(70)),
    ] {
        assert_eq!(counter(&state, name), wanted, "{name}");
    }
    let total: u64 = counter(&state, "total-files-size").unwrap();
    assert_eq!(
        total,
        world
            .files()
            .iter()
            .filter(|name| name.contains(&format!("/2024-01/{}-", again.run_id)) || name.contains("/2024-02/"))
            .map(|name| std::fs::metadata(world.folder.path().join("warehouse").join(name)).unwrap().len())
            .sum::<u64>()
    );
    assert_eq!(
        entries(&world, &lake, &state),
        [
            (ManifestStatus::Added, 30, true, Some(3)),
            (ManifestStatus::Added, 40, true, Some(3)),
            (ManifestStatus::Added, 50, false, Some(2)),
            (ManifestStatus::Deleted, 100, true, Some(1)),
        ]
    );
    // The deletion belongs to that snapshot alone.
    Job::month("2024-03", 200..201).land(&lake);
    let state = lake.state(&table()).unwrap();
    assert!(entries(&world, &lake, &state).iter().all(|entry| entry.0 != ManifestStatus::Deleted));
    assert!(state.is_on_main(first));
    world.check_no_orphans(&lake);
}

#[test]
fn a_table_may_be_partitioned_further() {
    let world = World::new();
    let lake = world.lake();
    let mut job = Job::month("2024-01", 0..1).partition("id", Transform::Identity);
    job.files = vec![vec![1], vec![2]];
    job.land(&lake);
    assert_eq!(lake.describe(&table()).unwrap().partition, ["identity(_lakehost_window)", "identity(id)"]);
    let mut job = Job::month("2024-02", 0..1);
    job.files = vec![vec![3]];
    job.land(&lake);
    let mut job = Job::month("2024-01", 0..1);
    job.files = vec![vec![9]];
    job.land(&lake);
    assert_eq!(rows(&world, &lake), windows(&[("2024-01", 1), ("2024-02", 1)]));
}

#[test]
fn a_window_is_replaced_in_every_partition_spec() {
    let world = World::new();
    let lake = world.lake();
    Job::month("2024-01", 0..10).land(&lake);
    Job::month("2024-02", 10..20).land(&lake);
    let mut job = Job::month("2024-01", 0..1).partition("id", Transform::Identity);
    job.files = vec![vec![7], vec![8]];
    job.land(&lake);
    assert_eq!(rows(&world, &lake), windows(&[("2024-01", 2), ("2024-02", 10)]));
    let state = lake.state(&table()).unwrap();
    assert_eq!(state.metadata.partition_specs_iter().len(), 2);
    assert_eq!(counter(&state, "deleted-records"), Some(10));
    // Without a wish of its own a load takes the table's fields.
    let mut job = Job::month("2024-02", 0..1);
    job.files = vec![vec![5]];
    job.land(&lake);
    assert_eq!(rows(&world, &lake), windows(&[("2024-01", 2), ("2024-02", 1)]));
    world.check_no_orphans(&lake);
}

#[test]
fn append_adds_and_full_refresh_starts_over() {
    let world = World::new();
    let lake = world.lake();
    Job::month("2024-01", 0..10).mode(WriteMode::Append).land(&lake);
    Job::month("2024-01", 10..15).mode(WriteMode::Append).land(&lake);
    Job::month("2024-02", 20..25).mode(WriteMode::Append).land(&lake);
    assert_eq!(rows(&world, &lake), windows(&[("2024-01", 15), ("2024-02", 5)]));
    Job::month("2024-03", 30..33).mode(WriteMode::FullRefresh).land(&lake);
    assert_eq!(rows(&world, &lake), windows(&[("2024-03", 3)]));
    let state = lake.state(&table()).unwrap();
    assert_eq!((counter(&state, "deleted-records"), counter(&state, "total-records")), (Some(20), Some(3)));
    assert!(lake.last_load(&table(), "2024-01").unwrap().is_none(), "nothing of it is loaded any more");
    assert!(lake.last_load(&table(), "2024-03").unwrap().is_some());
}

#[test]
fn an_empty_load_empties_its_window_alone() {
    let world = World::new();
    let lake = world.lake();
    let empty = Job { files: Vec::new(), ..Job::month("2024-01", 0..0) };
    empty.land(&lake);
    assert_eq!(counter(&lake.state(&table()).unwrap(), "total-records"), Some(0));
    Job::month("2024-01", 0..10).land(&lake);
    Job::month("2024-02", 10..20).land(&lake);
    Job { load_id: "empty".into(), run_id: "empty".into(), ..empty }.land(&lake);
    assert_eq!(rows(&world, &lake), windows(&[("2024-02", 10)]));
    assert_eq!(lake.state(&table()).unwrap().main().unwrap().summary().operation, Operation::Delete);
}

#[test]
fn hours_and_loads_without_windows() {
    let world = World::new();
    let lake = world.lake();
    let mut job = Job::month("2024-01", 0..5);
    job.target.window = Some(Window::parse(Granularity::Hour, "2024-01-31T13").unwrap());
    let mut fields: Vec<_> = schema().fields().iter().cloned().collect();
    fields[3] = std::sync::Arc::new(fields[3].as_ref().clone().with_data_type(schema().field(2).data_type().clone()));
    job.target.schema = std::sync::Arc::new(arrow_schema::Schema::new(fields));
    job.files = Vec::new();
    job.land(&lake);
    assert_eq!(lake.describe(&table()).unwrap().columns[3].data_type, "timestamp");

    let mut job = Job::month("2024-01", 0..5).mode(WriteMode::FullRefresh);
    job.target.window = None;
    job.target.table.name = "whole".into();
    job.target.schema = std::sync::Arc::new(schema().project(&[0, 1, 2]).unwrap());
    job.land(&lake);
    assert_eq!(lake.last_load(&job.target.table, "all").unwrap().unwrap().load_id, job.load_id);
    assert!(world.files().iter().any(|name| name.starts_with("raw/whole/data/all/run-")));
}

#[test]
fn the_same_load_twice_changes_nothing() {
    let world = World::new();
    let lake = world.lake();
    let job = Job::month("2024-01", 0..10);
    let snapshot_id = job.land(&lake);
    let before = world.files();
    let twin = Job { run_id: "twin".into(), ..job.clone() };
    assert_eq!(twin.run(&lake).unwrap(), Committed::AlreadyLoaded { snapshot_id });
    assert_eq!(world.files(), before);
    let record = lake.last_load(&table(), "2024-01").unwrap().unwrap();
    assert_eq!((record.load_id, record.snapshot_id, record.state), (job.load_id, snapshot_id, LoadState::Present));
    assert_eq!(record.objects.len(), 1);
    assert_eq!(record.plugins, format!("tlc@0.1.0={}", "11".repeat(32)));
    assert!(lake.last_load(&table(), "2024-02").unwrap().is_none());
}

#[test]
fn loads_that_were_added_are_all_present() {
    let world = World::new();
    let lake = world.lake();
    let added: Vec<Job> =
        (0..3).map(|number| Job::month("2024-01", number * 10..number * 10 + 5).mode(WriteMode::Append)).collect();
    for job in &added {
        job.land(&lake);
    }
    let beside = Job::month("2024-02", 50..55);
    beside.land(&lake);
    let ids = |jobs: &[&Job]| jobs.iter().map(|job| job.load_id.clone()).collect::<std::collections::BTreeSet<_>>();
    let all: Vec<&Job> = added.iter().chain([&beside]).collect();
    assert_eq!((ids(&all).len(), lake.present_loads(&table()).unwrap()), (4, ids(&all)));
    let other = Job::month("2024-01", 0..9);
    other.land(&lake);
    assert_eq!(lake.present_loads(&table()).unwrap(), ids(&[&beside, &other]));
}

#[test]
fn an_abandoned_load_leaves_nothing() {
    let world = World::new();
    let lake = world.lake();
    Job::month("2024-01", 0..10).land(&lake);
    let before = world.files();
    let load = Job::month("2024-02", 0..10).begin(&lake).unwrap();
    let (_, mut sink) = load.sinks().create().unwrap();
    sink.write_all(b"half a file").unwrap();
    sink.finish().unwrap();
    assert!(world.files().len() > before.len());
    drop(load);
    assert_eq!(world.files(), before);
}

#[test]
fn what_does_not_fit_the_table_is_refused_before_a_byte_is_written() {
    let world = World::new();
    let lake = world.lake();
    Job::month("2024-01", 0..10).land(&lake);
    let before = world.files();
    let refused = |change: &dyn Fn(&mut Job)| {
        let mut job = Job::month("2024-02", 0..10);
        change(&mut job);
        let fault = job.begin(&lake).err().unwrap();
        format!("{} {fault}: {}", fault.code(), fault.cause().unwrap_or_default())
    };
    let with = |column: usize, field: arrow_schema::Field| {
        let mut fields: Vec<_> = schema().fields().iter().cloned().collect();
        fields[column] = std::sync::Arc::new(field);
        std::sync::Arc::new(arrow_schema::Schema::new(fields))
    };
    use arrow_schema::{DataType, Field};
    assert_eq!(
        refused(&|job| job.target.schema = with(0, Field::new("id", DataType::Float64, true))),
        "LH0401 column id of the load does not fit table raw.trips: the load brings double, the table has long"
    );
    assert_eq!(
        refused(&|job| job.target.schema = with(1, Field::new("fee", DataType::Float64, true))),
        "LH0401 column fee of the load does not fit table raw.trips: the load brings double, the table has no such column"
    );
    assert_eq!(
        refused(&|job| job.target.owner.owner = "tlc/other".into()),
        "LH0106 table raw.trips belongs to another load: its lakehost.owner is `tlc/trips`, this load has `tlc/other`"
    );
    assert_eq!(
        refused(&|job| job.target.owner.cleaners = "trip_cleaner".into()),
        "LH0106 table raw.trips belongs to another load: its lakehost.cleaners is `-`, this load has `trip_cleaner`"
    );
    assert_eq!(
        refused(&|job| {
            job.target.window = None;
            job.target.mode = WriteMode::Append;
        }),
        "LH0603 table raw.trips is split into windows, and this load has none: "
    );
    assert!(refused(&|job| *job = job.clone().partition("nope", Transform::Day)).starts_with("LH0401 column nope"));
    assert!(refused(&|job| job.run_id = "../up".into()).starts_with("LH0901"));
    // Appending is allowed to anyone whose columns fit.
    let mut guest = Job::month("2024-02", 20..25).mode(WriteMode::Append);
    guest.target.owner.owner = "tlc/other".into();
    assert_eq!(world.files(), before);
    guest.land(&lake);
}

#[test]
fn rows_that_are_not_accounted_for_are_not_committed() {
    let world = World::new();
    let lake = world.lake();
    let job = Job::month("2024-01", 0..10);
    let load = job.begin(&lake).unwrap();
    let request = lakehost_pipeline::ports::CommitRequest {
        load_id: "l".into(),
        run_id: job.run_id.clone(),
        pipeline: None,
        objects: Vec::new(),
        plugins: Vec::new(),
        config_sha256: String::new(),
        config: String::new(),
        rows_read: 3,
        rows_written: 1,
        rows_rejected: 1,
        rejected_by: Default::default(),
        values_discarded: Default::default(),
        checks: Vec::new(),
        progress: None,
        files: Vec::new(),
    };
    assert_eq!(load.commit(request).unwrap_err().code().0, "LH0403");
    assert!(Lake::table(&lake, &table()).unwrap().is_none());
}
