//! The contract against every kind of drift.

use std::sync::Arc;

use arrow_array::{Int64Array, StringArray};

use super::*;
use crate::diagnostic::Diagnostic;

fn schema(fields: &[(&str, DataType)]) -> Schema {
    Schema::new(fields.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect::<Vec<_>>())
}

/// What becomes of a split with these columns, over a table of `id int`, `fee double`.
fn settle(contract: OnDrift, found: &[(&str, DataType)]) -> String {
    let known = schema(&[("id", DataType::Int32), ("fee", DataType::Float64)]);
    let table = TableName::parse("raw.t").unwrap();
    let sides = Sides {
        table: &table,
        promised: &known,
        present: &schema(&[("id", DataType::Int32), ("fee", DataType::Float64), (WINDOW_COLUMN, DataType::Date32)]),
        written: &[],
        found: &schema(found),
        file: "a.parquet",
    };
    match sides.settle(&Contract::all(contract)) {
        Ok(settled) => format!(
            "{} {}/{}/{}",
            if settled.evolve { "evolve" } else { "fits" },
            settled.reject.join(","),
            settled.discard.join(","),
            settled.forgive.join(",")
        ),
        Err(error) => {
            format!("{}: {error}; {}", error.code(), error.cause().unwrap_or_default())
        }
    }
}

#[test]
fn every_drift_has_one_answer() {
    use DataType as T;
    use OnDrift::{DiscardRow, DiscardValue, Evolve, Freeze};
    let same = [("id", T::Int32), ("fee", T::Float64)];
    let new = [("id", T::Int32), ("fee", T::Float64), ("extra", T::Utf8)];
    let wide = [("id", T::Int64), ("fee", T::Float64)];
    let narrow = [("id", T::Int16), ("fee", T::Float32)];
    let text = [("id", T::Utf8), ("fee", T::Float64)];
    let less = [("id", T::Int32)];
    let null = [("id", T::Int32), ("fee", T::Float64), ("extra", T::Null)];
    let refused = |column: &str, contract: &str, cause: &str| {
        format!("LH0405: column {column} of a.parquet differs from raw.t, and the contract is {contract}; {cause}")
    };
    let table = [
        (Freeze, &same[..], "fits //".to_owned()),
        (Evolve, &same, "fits //".to_owned()),
        (DiscardValue, &same, "fits //id,fee".to_owned()),
        (Freeze, &new, refused("extra", "freeze", "the file has Utf8, the table has no such column")),
        (Evolve, &new, "evolve //".to_owned()),
        (DiscardRow, &new, "fits extra//".to_owned()),
        (DiscardValue, &new, "fits /extra/id,fee".to_owned()),
        (Freeze, &wide, refused("id", "freeze", "the file has Int64, the table has Int32")),
        (Evolve, &wide, "evolve //".to_owned()),
        (DiscardRow, &wide, "fits //".to_owned()),
        (DiscardValue, &wide, "fits //id,fee".to_owned()),
        (Freeze, &narrow, refused("id", "freeze", "the file has Int16, the table has Int32")),
        (Evolve, &narrow, "fits //".to_owned()),
        (Evolve, &text, refused("id", "evolve", "the file has Utf8, the table has Int32")),
        (DiscardValue, &text, refused("id", "discard_value", "the file has Utf8, the table has Int32")),
        (Freeze, &less, refused("fee", "freeze", "the file has no such column, the table has Float64")),
        (Evolve, &less, "fits //".to_owned()),
        (Evolve, &null, "fits //".to_owned()),
        (Freeze, &null, refused("extra", "freeze", "the file has Null, the table has no such column")),
    ];
    for (contract, found, expected) in table {
        assert_eq!(settle(contract, found), expected, "{contract} {found:?}");
    }
    let own = settle(Evolve, &[("id", T::Int32), ("fee", T::Float64), (WINDOW_COLUMN, T::Date32)]);
    assert!(own.starts_with("LH0401"), "{own}");
}

#[test]
fn types_widen_only_where_no_value_changes() {
    use DataType as T;
    for (from, to, expected) in [
        (T::Int32, T::Int64, true),
        (T::Float32, T::Float64, true),
        (T::Decimal128(9, 2), T::Decimal128(12, 2), true),
        (T::Decimal128(9, 2), T::Decimal128(12, 3), false),
        (T::Decimal128(12, 2), T::Decimal128(9, 2), false),
        (T::Int64, T::Float64, false),
        (T::Int64, T::Int32, false),
        (T::Utf8, T::Int64, false),
    ] {
        assert_eq!(widens(&from, &to), expected, "{from} {to}");
    }
}

#[test]
fn rejected_rows_and_discarded_values_are_told_apart() {
    let chain = Chain::bind(&[], &Arc::new(schema(&[("id", DataType::Int64)])), None).unwrap();
    let settled = Settled { reject: vec!["a".to_owned()], discard: vec!["b".to_owned()], ..Settled::default() };
    let guarded = Guarded::new(&chain, &settled);
    assert_eq!(guarded.reads(), ["a", "b"]);
    let batch = RecordBatch::try_from_iter([
        ("a", Arc::new(StringArray::from(vec![None, Some("x"), None, Some("y")])) as ArrayRef),
        ("b", Arc::new(Int64Array::from(vec![Some(1), Some(2), None, Some(4)])) as ArrayRef),
    ])
    .unwrap();
    let mut codes = [0, 0, 0, 1];
    guarded.apply(&batch, 0, &mut codes).unwrap();
    let names: Vec<String> =
        codes.iter().map(|code| if *code == 0 { "kept".to_owned() } else { guarded.rule_name(*code) }).collect();
    assert_eq!(names, ["kept", "contract:a", "kept", "cast:id"]);
    assert_eq!(guarded.reason(codes[1]).0, None);
    assert_eq!(guarded.into_discarded(), BTreeMap::from([("b".to_owned(), 1)]));
}
