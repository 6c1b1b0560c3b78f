//! Whole statements over a real Iceberg table: two appends of three rows, written by the iceberg crate's own writer.

use std::cell::RefCell;
use std::sync::Arc;

use arrow::util::pretty::pretty_format_batches;
use arrow_array::{ArrayRef, Float64Array, Int32Array, RecordBatch, StringArray};
use iceberg::spec::{PrimitiveType, Schema};
use iceberg::table::Table;
use iceberg::{Catalog, TableCreation};
use lakehost_pipeline::ports::TableName;

use super::*;
use crate::test_tables::{append, catalog, field, runtime};

struct Fixture {
    table: Table,
    first_snapshot: i64,
    /// Reads the state of the first snapshot instead of the current one.
    as_of_first: bool,
    opened: RefCell<Vec<String>>,
    _folder: tempfile::TempDir,
}

impl Tables for &Fixture {
    fn open(&self, name: &TableName) -> Result<Option<OpenTable>> {
        self.opened.borrow_mut().push(name.to_string());
        let snapshot_id = self.as_of_first.then_some(self.first_snapshot);
        Ok((name.to_string() == "raw.trips").then(|| OpenTable { table: self.table.clone(), snapshot_id }))
    }

    fn names(&self) -> Result<Vec<TableName>> {
        Ok(["raw.trips", "raw.Zones"].iter().filter_map(|name| TableName::parse(name).ok()).collect())
    }
}

fn fixture() -> Fixture {
    let runtime = runtime();
    let folder = tempfile::tempdir().unwrap();
    let made = runtime.block_on(async {
        let (catalog, namespace) = catalog(folder.path()).await?;
        let schema = Schema::builder()
            .with_fields([
                field(1, "VendorID", PrimitiveType::Int),
                field(2, "fare", PrimitiveType::Double),
                field(3, "flag", PrimitiveType::String),
            ])
            .build()?;
        let creation = TableCreation::builder().name("trips".to_owned()).schema(schema).build();
        let table = catalog.create_table(&namespace, creation).await?;
        let table = append(&catalog, table, "a", trips([Some(1), Some(2), None])).await?;
        let first_snapshot = table.metadata().current_snapshot_id();
        let table = append(&catalog, table, "b", trips([Some(3), Some(4), Some(5)])).await?;
        Ok::<_, iceberg::Error>((table, first_snapshot.unwrap_or_default()))
    });
    let (table, first_snapshot) = made.unwrap();
    // The runtime that the table came with is gone before the first query.
    Fixture { table, first_snapshot, as_of_first: false, opened: RefCell::default(), _folder: folder }
}

fn trips(vendors: [Option<i32>; 3]) -> Vec<ArrayRef> {
    vec![
        Arc::new(Int32Array::from(vendors.to_vec())),
        Arc::new(Float64Array::from(vec![Some(1.5), None, Some(f64::NAN)])),
        Arc::new(StringArray::from(vec![Some("Y"), Some("N"), None])),
    ]
}

fn answer(fixture: &Fixture, sql: &str) -> String {
    let session = Session::new(fixture, None).unwrap();
    let rows = session.query(sql).and_then(|rows| rows.collect::<Result<Vec<RecordBatch>>>());
    match rows {
        Ok(batches) => {
            let text = pretty_format_batches(&batches).unwrap().to_string();
            let lines = text.lines().filter(|line| line.starts_with('|'));
            lines.map(|line| line.split_whitespace().collect::<String>()).collect::<Vec<_>>().join(" ")
        }
        Err(fault) => format!("{}: {fault}; {}", fault.code(), fault.hint().unwrap_or_default()),
    }
}

#[test]
fn statements_are_answered() {
    let fixture = fixture();
    let table = [
        ("select count(*) as n from raw.trips", "|n| |6|"),
        ("select count(*) as n from lakehost.raw.trips where fare > 1", "|n| |4|"),
        ("select sum(\"VendorID\") as s from raw.trips where \"VendorID\" >= 3", "|s| |12|"),
        ("select vendorid from raw.trips where VendorID in (2, 4) order by 1", "|VendorID| |2| |4|"),
        ("select count(*) as n from raw.trips t where t.vendorId is null", "|n| |1|"),
        ("with x as (select flag from raw.trips) select count(*) as n from x where flag = 'Y'", "|n| |2|"),
        (
            "select flag, VendorID from raw.trips where VendorID between 3 and 4 order by vendorid limit 1",
            "|flag|VendorID| |Y|3|",
        ),
        ("select 1 + 1 as two", "|two| |2|"),
    ];
    for (sql, expected) in table {
        assert_eq!(answer(&fixture, sql), expected, "{sql}");
    }
}

#[test]
fn only_named_tables_are_opened() {
    let fixture = fixture();
    answer(&fixture, "select 1");
    answer(&fixture, "with raw2 as (select * from raw.trips) select * from raw2 a join raw.trips b on a.fare = b.fare");
    assert_eq!(*fixture.opened.borrow(), ["raw.trips"]);
}

#[test]
fn an_older_state_is_read() {
    let mut fixture = fixture();
    fixture.as_of_first = true;
    assert_eq!(answer(&fixture, "select count(*) as n, max(vendorid) as m from raw.trips"), "|n|m| |3|2|");
}

#[test]
fn mistakes_are_named() {
    let fixture = fixture();
    let table = [
        ("select * from raw.trisp", "LH0107: no table `raw.trisp`; did you mean `raw.trips`?"),
        ("select * from trips", "LH0107: no table `trips`; did you mean `raw.trips`?"),
        ("select * from raw.zones", "LH0107: no table `raw.zones`; did you mean `raw.\"Zones\"`?"),
        ("select * from other.raw.trips", "LH0107: no table `other.raw.trips`; did you mean `raw.trips`?"),
        ("select * from trisp", "LH0107: no table `trisp`; did you mean `raw.trips`?"),
        ("select cont(*) from raw.trips", "LH0107: no function `cont`; did you mean `count`?"),
        (
            "selekt 1",
            "LH0107: the SQL statement cannot be parsed: an SQL statement is expected, and there is `selekt` (line 1, column 1); did you mean SELECT where `selekt` stands?",
        ),
        ("select fares from raw.trips", "LH0107: no column `fares`; did you mean `fare`?"),
        ("select venderid from raw.trips", "LH0107: no column `venderid`; did you mean `\"VendorID\"`?"),
    ];
    for (sql, expected) in table {
        assert_eq!(answer(&fixture, sql), expected, "{sql}");
    }
    for sql in ["selekt 1", "select 1; select 2", "", "select 1/0", "select cast('x' as int)"] {
        let got = answer(&fixture, sql);
        assert!(got.starts_with("LH0107: "), "{sql}: {got}");
    }
    for (sql, word, way) in [
        ("drop table raw.trips", "DROP", "`lakehost table drop raw.trips` removes a table"),
        (
            "insert into raw.trips values (1, 2.0, 'x')",
            "INSERT",
            "rows come and go by `lakehost run`, window by window",
        ),
        ("create table t as select 1", "CREATE", "tables are made by `lakehost run --table NAMESPACE.NAME`"),
        ("set x = 1", "SET", "`--memory` and `--as-of` are what a query can be given"),
        ("describe raw.trips", "DESCRIBE", "`lakehost table show raw.trips` shows its columns"),
        (
            "show tables",
            "SHOW",
            "`lakehost table list` shows the tables, `lakehost table show NAMESPACE.NAME` the columns of one",
        ),
        ("show columns from raw.trips", "SHOW", "`lakehost table show raw.trips` shows its columns"),
    ] {
        let expected = format!(
            "LH0107: `query` only reads: {word} is not a query; {way}; `query` reads: a statement begins with SELECT, WITH, VALUES or EXPLAIN"
        );
        assert_eq!(answer(&fixture, sql), expected, "{sql}");
    }
}

#[test]
fn a_lost_file_is_told_apart() {
    let fixture = fixture();
    let data = fixture._folder.path().join("raw/trips/data");
    for entry in std::fs::read_dir(data).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let got = answer(&fixture, "select sum(fare) from raw.trips");
    assert!(got.starts_with("LH0502: table raw.trips cannot be read"), "{got}");
    assert_eq!(answer(&fixture, "select 1 as one"), "|one| |1|");
}
