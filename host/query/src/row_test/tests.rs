use std::collections::HashMap;

use arrow_array::{Array, ArrayRef, Date32Array, Float64Array, Int32Array, StringArray, TimestampMicrosecondArray};
use arrow_schema::{Field, TimeUnit};
use iceberg::spec::{FormatVersion, PartitionSpec, SortOrder, TableMetadataBuilder};
use lakehost_pipeline::ports::TableName;

use super::*;

/// Five rows: VendorID 1, 2, null, 4, 5.
fn batch() -> RecordBatch {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("VendorID", Arc::new(Int32Array::from(vec![Some(1), Some(2), None, Some(4), Some(5)]))),
        ("fare", Arc::new(Float64Array::from(vec![Some(-1.0), Some(f64::NAN), Some(2.5), None, Some(0.0)]))),
        ("flag", Arc::new(StringArray::from(vec![Some("Y"), Some("it's"), None, Some("N"), Some("")]))),
        ("at", Arc::new(TimestampMicrosecondArray::from_iter_values((0..5).map(|day| day * 86_400_000_000)))),
        ("day", Arc::new(Date32Array::from_iter_values(0..5))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn columns() -> Schema {
    Schema::new(vec![
        Field::new("VendorID", DataType::Int32, true),
        Field::new("fare", DataType::Float64, true),
        Field::new("flag", DataType::Utf8, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("day", DataType::Date32, true),
    ])
}

fn table() -> TableState {
    let schema = iceberg::spec::Schema::builder().build().unwrap();
    let spec = PartitionSpec::unpartition_spec();
    let order = SortOrder::unsorted_order();
    let metadata =
        TableMetadataBuilder::new(schema, spec, order, "/w/t".into(), FormatVersion::V2, HashMap::new()).unwrap();
    TableState {
        name: TableName::parse("raw.trips").unwrap(),
        metadata: Arc::new(metadata.build().unwrap().metadata),
        metadata_location: String::new(),
    }
}

/// Positions of the rows that are meant, and what bounds are asked.
fn answer(sql: &str) -> std::result::Result<(Vec<usize>, String), Fault> {
    let condition = Condition::parse(sql)?;
    let table = table();
    let bound = condition.bind(&table, &columns())?;
    // Columns in another order, and more of them, are found by name.
    let batch = batch();
    let mask = bound.rows(&batch.project(&[4, 3, 2, 1, 0]).unwrap())?;
    let rows = (0..batch.num_rows()).filter(|row| mask.is_valid(*row) && mask.value(*row)).collect();
    let bounds = match bound.bounds() {
        None => "none".to_owned(),
        Some((filter, exact)) => format!("{}{}", if exact { "" } else { "part: " }, shown(filter)),
    };
    Ok((rows, bounds))
}

fn shown(filter: &RowFilter) -> String {
    let all = |parts: &[RowFilter], word: &str| parts.iter().map(shown).collect::<Vec<_>>().join(word);
    match filter {
        RowFilter::And(parts) => format!("({})", all(parts, " and ")),
        RowFilter::Or(parts) => format!("({})", all(parts, " or ")),
        RowFilter::Not(inner) => format!("not {}", shown(inner)),
        RowFilter::Compare { column, op, value } => format!("{column} {op:?} {value}"),
        RowFilter::In { column, values } => format!("{column} in {}", values.len()),
        RowFilter::IsNull { column } => format!("{column} null"),
    }
}

#[test]
fn a_condition_means_what_it_means_in_a_query() {
    let mut wrong = Vec::new();
    for (sql, rows, bounds) in [
        ("vendorid > 2", vec![3, 4], "VendorID Greater 2"),
        ("not (VendorID > 2)", vec![0, 1], "VendorID LessEq 2"),
        ("2 >= \"VendorID\"", vec![0, 1], "VendorID LessEq 2"),
        ("raw.trips.vendorid = 4 or trips.flag = 'Y'", vec![0, 3], "(VendorID Eq 4 or flag Eq 'Y')"),
        ("vendorid in (1, 5, 9)", vec![0, 4], "((VendorID Eq 1 or VendorID Eq 5) or VendorID Eq 9)"),
        ("vendorid in (1, 2, 5, 9)", vec![0, 1, 4], "VendorID in 4"),
        ("vendorid not in (1, 2, 5, 9)", vec![3], "not VendorID in 4"),
        ("vendorid between 2 and 4", vec![1, 3], "(VendorID GreaterEq 2 and VendorID LessEq 4)"),
        // A quotient has no bounds; the rest of a conjunction does.
        ("vendorid / 2 = 2 and day < '1970-01-05'", vec![3], "part: day Less day 4"),
        ("vendorid / 2 = 2 or day < '1970-01-02'", vec![0, 3, 4], "none"),
        ("flag is null", vec![2], "flag null"),
        ("flag is not null and flag like 'i%'", vec![1], "part: not flag null"),
        ("flag = 'it''s'", vec![1], "flag Eq 'it\\'\\'s'"),
        ("at >= timestamp '1970-01-04'", vec![3, 4], "at GreaterEq microsecond 259200000000"),
        ("at < '1970-01-02T12:00:00'", vec![0, 1], "at Less microsecond 129600000000"),
        ("cast(at as date) = date '1970-01-03'", vec![2], "none"),
        // NaN is the greatest; null is neither.
        ("fare < 0", vec![0], "none"),
        ("fare > 1e9", vec![1], "none"),
        ("fare is null or not (fare >= 0)", vec![0, 3], "none"),
        ("true", vec![0, 1, 2, 3, 4], "()"),
        (" TRUE ", vec![0, 1, 2, 3, 4], "()"),
        ("false", vec![], "()"),
        ("null", vec![], "()"),
        ("vendorid = null", vec![], "()"),
        ("coalesce(vendorid, 0) = 0", vec![2], "none"),
        ("length(flag) = 0", vec![4], "none"),
        ("at < now()", vec![0, 1, 2, 3, 4], "at"),
    ] {
        let (found, asked) = answer(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(found, rows, "{sql}");
        // The present moment is no constant of this test, and how it is compared is the engine's.
        if asked != bounds && !sql.contains("now") {
            wrong.push(format!("{sql}: {asked}, not {bounds}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn what_is_no_condition_is_refused_by_name() {
    for (sql, message) in [
        ("", "the condition is empty"),
        ("fare <", "the condition cannot be parsed"),
        ("fare < 0; drop table raw.trips", "the condition cannot be parsed"),
        ("fare < 0 as x", "the condition ends at `x`"),
        ("true) or (true", "the condition cannot be parsed"),
        ("1 = 1", "`1 = 1` is true for every row"),
        ("fare", "`fare` is Float64, and not true or false"),
        ("fares < 0", "no column `fares`"),
        ("vendorid in (select 1)", "the condition has a query in it"),
        ("exists (select 1)", "the condition has a query in it"),
        ("random() < 0.5", "random() is another value each time"),
        ("sum(fare) > 1", "sum() is about many rows"),
        ("row_number() over () = 1", "a window function is about many rows"),
        ("nope(fare) > 1", "no function `nope`"),
        ("1 / (vendorid - 1) = 1", "`1 / (vendorid - 1) = 1` cannot be worked out for every row"),
    ] {
        let error = answer(sql).expect_err(sql);
        assert_eq!(error.code().0, "LH0107", "{sql}: {error}");
        assert!(error.to_string().starts_with(message), "{sql}: {error}");
    }
}
