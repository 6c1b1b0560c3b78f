//! Every kind of check over a real Iceberg table of two windows: passing, failing, nulls, no rows at all, and names that are no identifiers.

use std::sync::Arc;

use arrow_array::{ArrayRef, Date32Array, Float64Array, Int32Array, StringArray, TimestampMicrosecondArray};
use iceberg::spec::{PrimitiveType, Schema};
use iceberg::{Catalog, TableCreation};
use lakehost_pipeline::Granularity;
use lakehost_pipeline::checks::Severity;
use serde_json::json;

use super::*;
use crate::test_tables::{append, catalog, field, runtime};

/// A name that would end a string, an identifier and a statement.
const HOSTILE: &str = "a\"; drop table 'x' -- .b $1";
/// 2024-01-01 and 2024-02-01.
const WINDOWS: [i32; 2] = [19_723, 19_754];

struct World {
    table: Table,
    snapshot_id: i64,
    _folder: tempfile::TempDir,
}

/// Rows of a window: id, hostile number, code, time.
type Row = (Option<i32>, Option<f64>, Option<&'static str>);

fn january() -> Vec<Row> {
    vec![(Some(1), Some(1.0), Some("AA")), (Some(2), Some(2.0), Some("BB"))]
}

fn february() -> Vec<Row> {
    vec![(Some(3), Some(3.0), Some("AA")), (Some(4), None, None), (None, Some(f64::NAN), Some("b1"))]
}

fn world(windows: &[(i32, Vec<Row>)]) -> World {
    let runtime = runtime();
    let folder = tempfile::tempdir().unwrap();
    let table = runtime.block_on(async {
        let (catalog, namespace) = catalog(folder.path()).await?;
        let schema = Schema::builder()
            .with_fields([
                field(1, "Id", PrimitiveType::Int),
                field(2, HOSTILE, PrimitiveType::Double),
                field(3, "code", PrimitiveType::String),
                field(4, "at", PrimitiveType::Timestamp),
                field(5, WINDOW_COLUMN, PrimitiveType::Date),
            ])
            .build()?;
        let creation = TableCreation::builder().name("trips".to_owned()).schema(schema).build();
        let mut table = catalog.create_table(&namespace, creation).await?;
        for (number, (window, rows)) in windows.iter().enumerate() {
            let day = 86_400_000_000i64;
            let columns: Vec<ArrayRef> = vec![
                Arc::new(rows.iter().map(|row| row.0).collect::<Int32Array>()),
                Arc::new(rows.iter().map(|row| row.1).collect::<Float64Array>()),
                Arc::new(rows.iter().map(|row| row.2).collect::<StringArray>()),
                Arc::new(
                    rows.iter()
                        .map(|row| row.2.map(|_| i64::from(*window) * day))
                        .collect::<TimestampMicrosecondArray>(),
                ),
                Arc::new(Date32Array::from_value(*window, rows.len())),
            ];
            table = append(&catalog, table, &format!("f{number}"), columns).await?;
        }
        Ok::<_, iceberg::Error>(table)
    });
    let table = table.unwrap();
    let snapshot_id = table.metadata().current_snapshot_id().unwrap();
    World { table, snapshot_id, _folder: folder }
}

/// Only the other table: the checked one comes from the staged snapshot.
struct Others<'a>(&'a World);

impl Tables for Others<'_> {
    fn open(&self, name: &TableName) -> Result<Option<OpenTable>> {
        // The catalog still has the first month alone.
        let snapshot = self.0.table.metadata().snapshots().min_by_key(|snapshot| snapshot.sequence_number());
        let snapshot_id = snapshot.map(|snapshot| snapshot.snapshot_id());
        let known = ["raw.other", "raw.trips"].contains(&name.to_string().as_str());
        Ok(known.then(|| OpenTable { table: self.0.table.clone(), snapshot_id }))
    }

    fn names(&self) -> Result<Vec<TableName>> {
        Ok(vec![TableName::parse("raw.other").unwrap()])
    }
}

fn look(world: &World, window: Option<&str>, kind: CheckKind) -> Result<CheckOutcome> {
    let window = window.map(|label| Window::parse(Granularity::Month, label).unwrap());
    let checked = Checked {
        name: &TableName::parse("raw.trips").unwrap(),
        table: world.table.clone(),
        snapshot_id: world.snapshot_id,
        window: window.as_ref(),
        now_ms: i64::from(WINDOWS[1]) * 86_400_000 + 3_600_000,
    };
    let check = Check { name: kind.default_name(), kind, severity: Severity::Error };
    run_checks(Others(world), None, &checked, &[check]).map(|mut found| found.remove(0))
}

fn told(found: Result<CheckOutcome>) -> String {
    match found {
        Ok(found) => format!("{} {} [{}]", found.failed, found.detail, found.sample.len()),
        Err(fault) => format!("{}: {fault}; {}", fault.code(), fault.hint().unwrap_or_default()),
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn range(column: &str, min: Option<Value>, max: Option<Value>) -> CheckKind {
    CheckKind::Range { column: column.to_owned(), min, max }
}

fn accepted(column: &str, values: Vec<Value>) -> CheckKind {
    CheckKind::AcceptedValues { column: column.to_owned(), values }
}

fn regex(column: &str, pattern: &str) -> CheckKind {
    CheckKind::Regex { column: column.to_owned(), pattern: pattern.to_owned() }
}

fn foreign(column: &str, to: &str) -> CheckKind {
    CheckKind::ForeignKey {
        column: column.to_owned(),
        table: TableName::parse("raw.other").unwrap(),
        to: to.to_owned(),
    }
}

fn fresh(column: &str, hours: i64) -> CheckKind {
    CheckKind::Freshness { column: column.to_owned(), max_age_ms: hours * 3_600_000 }
}

#[test]
fn each_kind_passes_and_fails() {
    let world = world(&[(WINDOWS[0], january()), (WINDOWS[1], february())]);
    let feb = Some("2024-02");
    let table = [
        (Some("2024-01"), CheckKind::NotNull(owned(&["Id", HOSTILE])), "0 every row passes [0]".to_owned()),
        (feb, CheckKind::NotNull(owned(&["Id", HOSTILE])), format!("2 2 rows without Id or {HOSTILE} [2]")),
        (None, CheckKind::NotNull(owned(&["code"])), "1 1 row without code [1]".to_owned()),
        (feb, accepted("code", vec![json!("AA"), json!("b1")]), "0 every row passes [0]".to_owned()),
        (feb, accepted("code", vec![json!("AA")]), "1 1 row with another value of code [1]".to_owned()),
        (feb, accepted("Id", vec![json!(3), json!(4.5)]), "1 1 row with another value of Id [1]".to_owned()),
        (Some("2024-01"), range(HOSTILE, Some(json!(0)), Some(json!(2))), "0 every row passes [0]".to_owned()),
        // 3 is above, NaN is nowhere, null passes.
        (
            feb,
            range(HOSTILE, Some(json!(0.5)), Some(json!(2))),
            format!("2 2 rows with a {HOSTILE} outside 0.5 to 2 [2]"),
        ),
        (feb, range(HOSTILE, Some(json!(0)), None), format!("1 1 row with a {HOSTILE} below 0 [1]")),
        (feb, range("Id", None, Some(json!(3.5))), "1 1 row with a Id above 3.5 [1]".to_owned()),
        (feb, range("at", Some(json!("2024-02-01")), Some(json!("2024-02-29"))), "0 every row passes [0]".to_owned()),
        (feb, regex("code", "^[A-Z]+$"), "1 1 row with a code that does not match ^[A-Z]+$ [1]".to_owned()),
        (Some("2024-01"), regex("code", "^[A-Z]+$"), "0 every row passes [0]".to_owned()),
        (feb, CheckKind::Unique(owned(&["Id"])), "0 every key is there once [0]".to_owned()),
        // AA is in both months, and February brings one of them.
        (feb, CheckKind::Unique(owned(&["code"])), "1 1 row with the code of another row [1]".to_owned()),
        (feb, CheckKind::Unique(owned(&["code", HOSTILE])), "0 every key is there once [0]".to_owned()),
        (feb, CheckKind::RowCount { within: 0.5 }, "0 3 rows, and 2 in the window before [0]".to_owned()),
        (
            feb,
            CheckKind::RowCount { within: 0.2 },
            "1 3 rows, and 2 in the window before: more than 20% apart [0]".to_owned(),
        ),
        (
            Some("2024-01"),
            CheckKind::RowCount { within: 0.0 },
            "0 2 rows, and none before to compare with [0]".to_owned(),
        ),
        (
            None,
            CheckKind::RowCount { within: 1.0 },
            "1 5 rows, and 2 in the table before: more than 100% apart [0]".to_owned(),
        ),
        (feb, fresh("at", 2), "0 the newest at is 1706745600000000 [0]".to_owned()),
        (Some("2024-01"), fresh(WINDOW_COLUMN, 1), format!("0 the newest {WINDOW_COLUMN} is 2024-02-01 [0]")),
        // The other table has the ids of January.
        (Some("2024-01"), foreign("Id", "Id"), "0 every row passes [0]".to_owned()),
        (feb, foreign("Id", "Id"), "2 2 rows with a Id that raw.other does not have as Id [2]".to_owned()),
        (feb, foreign(HOSTILE, "Id"), format!("2 2 rows with a {HOSTILE} that raw.other does not have as Id [2]")),
        (None, CheckKind::Sql("select * from {table} where id > 9".to_owned()), "0 no row came back [0]".to_owned()),
        // The staged rows, although the catalog has the first month only; other tables as they are.
        (
            None,
            CheckKind::Sql(
                "select t.id from {table} t left join raw.other o on t.id = o.id where o.id is null".to_owned(),
            ),
            "3 3 rows came back [3]".to_owned(),
        ),
    ];
    for (window, kind, expected) in table {
        let shown = format!("{kind:?} {window:?}");
        assert_eq!(told(look(&world, window, kind)), expected, "{shown}");
    }
    let old = told(look(&world, None, fresh("at", 0)));
    assert!(old.starts_with("1 the newest at is") && old.ends_with("older than 0 days [0]"), "{old}");
}

#[test]
fn a_sample_shows_the_rows_that_do_not_pass() {
    let world = world(&[(WINDOWS[1], february())]);
    let found = look(&world, Some("2024-02"), CheckKind::NotNull(owned(&["code"]))).unwrap();
    let row = BTreeMap::from([
        ("Id".to_owned(), json!(4)),
        (HOSTILE.to_owned(), Value::Null),
        ("code".to_owned(), Value::Null),
        ("at".to_owned(), Value::Null),
    ]);
    assert_eq!(found.sample, [row]);
    let many: Vec<Row> = (0..50).map(|_| (Some(7), None, None)).collect();
    let world = self::world(&[(WINDOWS[1], many)]);
    let found = look(&world, Some("2024-02"), CheckKind::Unique(owned(&["Id"]))).unwrap();
    assert_eq!((found.failed, &found.sample[0]["rows"]), (49, &json!("50")));
    let found = look(&world, Some("2024-02"), CheckKind::NotNull(owned(&["code"]))).unwrap();
    assert_eq!((found.failed, found.sample.len()), (50, SAMPLE_ROWS));
}

#[test]
fn a_window_without_rows_passes_but_for_freshness() {
    let world = world(&[(WINDOWS[0], january())]);
    let window = Some("2024-03");
    for kind in [
        CheckKind::NotNull(owned(&["Id"])),
        CheckKind::Unique(owned(&["Id"])),
        accepted("code", vec![json!("AA")]),
        range(HOSTILE, Some(json!(0)), None),
        regex("code", "x"),
        foreign("Id", "Id"),
    ] {
        let shown = format!("{kind:?}");
        assert_eq!(look(&world, window, kind).unwrap().failed, 0, "{shown}");
    }
    assert_eq!(look(&world, window, CheckKind::RowCount { within: 0.5 }).unwrap().failed, 1);
    let nothing = self::world(&[(WINDOWS[0], vec![(Some(1), None, None)])]);
    assert_eq!(told(look(&nothing, None, fresh("at", 1))), "1 no row has a at [0]");
}

#[test]
fn checks_that_cannot_be_are_named() {
    let world = world(&[(WINDOWS[0], january())]);
    for (kind, expected) in [
        (CheckKind::NotNull(owned(&["id"])), "LH0102: no column `id`; did you mean `Id`?"),
        (
            range("Id", Some(json!("low")), None),
            "LH0102: \"low\" is not a value of column Id, which is Int32; correct the check in lakehost.toml",
        ),
        (regex("Id", "1"), "LH0102: regex looks at text, and column Id is Int32; correct the check in lakehost.toml"),
        (
            fresh("code", 1),
            "LH0102: freshness looks at dates and times, and column code is Utf8; correct the check in lakehost.toml",
        ),
        (
            CheckKind::Sql("select * from raw.trips_".to_owned()),
            "LH0107: no table `raw.trips_`; did you mean `raw.other`?",
        ),
        (CheckKind::Sql("drop table {table}".to_owned()), "LH0107: `query` only reads: DROP is not a query"),
    ] {
        let shown = format!("{kind:?}");
        let got = told(look(&world, None, kind));
        assert!(got.starts_with(expected), "{shown}: {got}");
    }
    let bad = told(look(&world, None, regex("code", "(")));
    assert!(bad.starts_with("LH0102: `(` is not a regular expression"), "{bad}");
}
