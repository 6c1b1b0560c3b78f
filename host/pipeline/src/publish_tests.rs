//! What stands between rows that are read and rows that are published: the contract, rejected rows, checks.

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Int64Type};
use arrow_schema::FieldRef;

use super::*;
use crate::checks::{CheckKind, Severity};
use crate::contract::OnDrift;
use crate::report::Status;

/// Rejects multiples of a number.
struct Sieve(PluginId);
struct Bound(Vec<Rule>, Vec<String>);

impl Cleaner for Sieve {
    fn plugin(&self) -> &PluginId {
        &self.0
    }
    fn config(&self) -> &str {
        "{}"
    }
    fn bind(&self, _schema: &SchemaRef, _window: Option<&Window>) -> Result<Box<dyn BoundCleaner>, Fault> {
        let rule = Rule { id: "third".to_owned(), description: "a multiple of three".to_owned() };
        Ok(Box::new(Bound(vec![rule], vec!["n".to_owned()])))
    }
}

impl BoundCleaner for Bound {
    fn rules(&self) -> &[Rule] {
        &self.0
    }
    fn reads(&self) -> &[String] {
        &self.1
    }
    fn writes(&self) -> &[FieldRef] {
        &[]
    }
    fn clean(&self, batch: &RecordBatch) -> Result<Patch, Fault> {
        let values = batch.column(0).as_primitive::<Int64Type>().values();
        Ok(Patch { codes: Some(values.iter().map(|value| u16::from(value % 3 == 0)).collect()), columns: vec![] })
    }
}

/// One month of 1..=9, cleaned by the sieve.
fn sieved() -> World {
    let mut world = world("2024-01");
    world.source.upstream.insert("2024-01", ((1..=9).collect(), Some("v1")));
    let id = PluginId { name: "sieve".to_owned(), version: "2".to_owned(), sha256: String::new() };
    world.cleaners = vec![Box::new(Sieve(id))];
    world.plan.quarantine = true;
    world
}

fn demand(world: &mut World, failed: u64, severity: Severity) {
    let kind = CheckKind::NotNull(vec!["n".to_owned()]);
    let name = kind.default_name();
    world.plan.checks.push(Check { name: name.clone(), kind, severity });
    let detail = format!("{failed} rows are null");
    world.outcomes.push(CheckOutcome { name, severity, failed, detail, sample: Vec::new(), columns: Vec::new() });
}

#[test]
fn rejected_rows_are_kept_with_their_load() {
    let mut world = sieved();
    let report = world.check("loaded", 1);
    let window = &report.windows[0];
    assert_eq!((window.rows_read, window.rows_written, window.rows_rejected["third"]), (9, 6, 3));
    let batches = world.lake.rejected.lock().unwrap().clone();
    let [batch] = batches.as_slice() else { panic!("{} batches", batches.len()) };
    assert_eq!(batch.schema(), crate::rejects::schema(Granularity::Month));
    let text = |column: &str, row: usize| batch[column].as_string::<i32>().value(row).to_owned();
    assert_eq!(batch["_lakehost_window"].as_primitive::<Date32Type>().values(), &[19_723; 3]);
    assert_eq!(batch["source_row"].as_primitive::<Int64Type>().values(), &[2, 5, 8]);
    assert_eq!(Some(text("load_id", 1)), window.load_id);
    let row = ["run_id", "plugin", "rule", "reason", "source_file", "row"].map(|column| text(column, 1));
    assert_eq!(row, ["run", "sieve@2", "third", "a multiple of three", "memory@1", "{\"n\":\"6\"}"]);
    // Without a quarantine they are counted and gone.
    let mut world = sieved();
    world.plan.quarantine = false;
    world.check("loaded", 1);
    assert!(world.lake.rejected.lock().unwrap().is_empty());
}

#[test]
fn too_many_rejected_rows_stop_everything_before_it_is_written() {
    let mut world = sieved();
    world.plan.max_rejected = Some(0.3);
    demand(&mut world, 0, Severity::Error);
    let report = world.check("failed", 1);
    assert_eq!(report.fault().map(Fault::code), Some(codes::DATA_REJECTED));
    assert!(world.lake.rejected.lock().unwrap().is_empty() && world.lake.loads.lock().unwrap().is_empty());
    assert_eq!(*world.lake.abandoned.lock().unwrap(), 1);
    world.plan.max_rejected = Some(0.34);
    world.check("loaded", 2);
}

#[test]
fn more_rejected_rows_than_memory_holds_are_spooled_without_their_load() {
    let mut world = sieved();
    world.plan.memory_bytes = 16;
    world.lake.spools = true;
    let report = world.check("loaded", 1);
    assert_eq!(report.windows[0].rows_rejected["third"], 3);
    let batches = world.lake.rejected.lock().unwrap().clone();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
    for batch in &batches {
        assert_eq!(arrow_array::Array::null_count(&batch["load_id"]), batch.num_rows(), "nobody knows it yet");
        assert_eq!(batch["rule"].as_string::<i32>().value(0), "third");
        assert_eq!(batch["run_id"].as_string::<i32>().value(0), "run");
    }
}

#[test]
fn more_rejected_rows_than_memory_holds_are_said_so() {
    let mut world = sieved();
    world.plan.memory_bytes = 16;
    let report = world.check("failed", 1);
    assert_eq!(report.fault().map(Fault::code), Some(codes::MACHINE_MEMORY));
    // That most rows are bad comes first.
    world.plan.max_rejected = Some(0.1);
    let report = world.check("failed", 2);
    assert_eq!(report.fault().map(Fault::code), Some(codes::DATA_REJECTED));
}

#[test]
fn a_failed_check_publishes_nothing_and_keeps_the_rows_on_a_branch() {
    let mut world = sieved();
    demand(&mut world, 0, Severity::Error);
    demand(&mut world, 2, Severity::Error);
    let report = world.check("failed", 1);
    let fault = report.fault().unwrap();
    assert_eq!((fault.code(), fault.code().exit()), (codes::DATA_CHECK, 5));
    assert_eq!(fault.to_string(), "1 of 2 checks failed on raw.memory, and nothing was published");
    assert_eq!(fault.cause().as_deref(), Some("not_null(n): 2 rows are null"));
    assert!(fault.hint().unwrap().contains("lakehost table publish raw.memory audit/run"), "{:?}", fault.hint());
    let window = &report.windows[0];
    assert_eq!((window.branch.as_deref(), window.checks.len(), window.rows_written), (Some("audit/run"), 2, 0));
    assert!(world.lake.loads.lock().unwrap().is_empty());
    assert_eq!(world.lake.branches.lock().unwrap().keys().collect::<Vec<_>>(), ["audit/run"]);
    // Nothing is loaded: the next run reads it again.
    world.outcomes[1].failed = 0;
    world.check("loaded", 2);
    assert_eq!(*world.lake.checked.lock().unwrap(), ["2 passed"]);
}

#[test]
fn each_window_of_a_range_has_its_own_branch() {
    let mut world = world("2024-01..2024-02");
    world.plan.keep_going = true;
    for label in ["2024-01", "2024-02"] {
        world.source.upstream.insert(label, (vec![1], Some("v1")));
    }
    demand(&mut world, 1, Severity::Error);
    world.check("failed failed", 2);
    let branches: Vec<String> = world.lake.branches.lock().unwrap().keys().cloned().collect();
    assert_eq!(branches, ["audit/run/2024-01", "audit/run/2024-02"]);
}

#[test]
fn a_warning_is_published_and_said() {
    let mut world = sieved();
    demand(&mut world, 2, Severity::Warn);
    let report = world.check("loaded", 1);
    assert_eq!(report.windows[0].note.as_deref(), Some("not_null(n): 2 rows are null"));
    assert_eq!(*world.lake.checked.lock().unwrap(), ["1 warned"]);
}

#[test]
fn a_check_of_no_column_is_refused_before_any_download() {
    let mut world = sieved();
    let kind = CheckKind::Unique(vec!["N".to_owned()]);
    world.plan.checks.push(Check { name: "keys".to_owned(), kind, severity: Severity::Warn });
    let report = world.check("failed", 0);
    let fault = report.fault().unwrap();
    assert_eq!((fault.code(), fault.hint().as_deref()), (codes::CONFIG_FILE, Some("did you mean `n`?")));
}

#[test]
fn a_new_column_does_what_the_contract_says() {
    let load = |contract: OnDrift| {
        let mut world = sieved();
        world.source.extra = Some("fee");
        world.plan.contract = Contract::all(contract);
        let report = world.run();
        let rejected = world.lake.rejected.lock().unwrap().clone();
        (report, rejected)
    };
    let (report, _) = load(OnDrift::Freeze);
    let fault = report.fault().unwrap();
    assert_eq!(fault.code(), codes::DATA_CONTRACT);
    assert_eq!(fault.to_string(), "column fee of memory@1 differs from raw.memory, and the contract is freeze");
    assert_eq!(fault.cause().as_deref(), Some("the file has Utf8, the table has no such column"));

    let (report, _) = load(OnDrift::Evolve);
    let window = &report.windows[0];
    assert_eq!((window.status, window.note.as_deref()), (Status::Loaded, Some("new column fee (Utf8)")));

    // 2, 4, 6 and 8 have a value there; of the others 3 and 9 are the sieve's.
    let (report, rejected) = load(OnDrift::DiscardRow);
    let window = &report.windows[0];
    let counts: Vec<(&str, u64)> = window.rows_rejected.iter().map(|(rule, rows)| (rule.as_str(), *rows)).collect();
    assert_eq!((window.rows_written, counts), (3, vec![("contract:fee", 4), ("third", 2)]));
    let plugins: Vec<&str> = rejected[0]["plugin"].as_string::<i32>().iter().flatten().collect();
    assert_eq!(plugins, ["lakehost", "sieve@2", "lakehost", "lakehost", "lakehost", "sieve@2"]);
    assert_eq!(rejected[0]["row"].as_string::<i32>().value(0), "{\"n\":\"2\",\"fee\":\"2\"}");

    let (report, _) = load(OnDrift::DiscardValue);
    let window = &report.windows[0];
    // 6 is the sieve's.
    assert_eq!((window.rows_written, window.values_discarded["fee"]), (6, 3));
}

#[test]
fn what_a_contract_takes_out_is_part_of_the_load() {
    let load_id = |contract: OnDrift| {
        let mut world = sieved();
        world.plan.contract = Contract::all(contract);
        world.run().windows[0].load_id.clone()
    };
    assert_eq!(load_id(OnDrift::Freeze), load_id(OnDrift::Evolve));
    assert_ne!(load_id(OnDrift::Freeze), load_id(OnDrift::DiscardRow));
    assert_ne!(load_id(OnDrift::DiscardValue), load_id(OnDrift::DiscardRow));
}
