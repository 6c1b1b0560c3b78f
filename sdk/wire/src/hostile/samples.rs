//! Columns of every type that crosses the boundary, for tests.

use std::sync::Arc;

use arrow_array::builder::{Int32Builder, ListBuilder, MapBuilder, StringBuilder, StringViewBuilder};
use arrow_array::types::Int32Type;
use arrow_array::*;
use arrow_buffer::{NullBuffer, i256};
use arrow_schema::{DataType, Field, Fields};

/// One nullable column per type, with nulls here and there.
pub(crate) fn columns(rows: usize) -> Vec<(&'static str, ArrayRef)> {
    let index = |row: usize| (row % 7 != 3).then_some(row);
    let numbers = || (0..rows).map(index);
    let words = || (0..rows).map(|row| index(row).map(|row| "wörd ".repeat(row % 5)));
    let mut list = ListBuilder::new(StringBuilder::new());
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    let mut view = StringViewBuilder::new();
    for row in 0..rows {
        for item in 0..row % 4 {
            list.values().append_value(format!("{row}/{item}"));
            map.keys().append_value(format!("k{item}"));
            map.values().append_option((row % 3 > 0).then_some(row as i32));
        }
        list.append(row % 5 != 2);
        map.append(row % 6 != 1).unwrap();
        view.append_option(index(row).map(|row| "a text that is longer than twelve bytes ".repeat(row % 3)));
    }
    let nulls = |every: usize| NullBuffer::from_iter((0..rows).map(|row| row % every != 0));
    let small: ArrayRef = Arc::new(Int16Array::from_iter(numbers().map(|n| n.map(|n| n as i16))));
    let text: ArrayRef = Arc::new(StringArray::from_iter(words()));
    let fields: Fields =
        vec![Field::new("small", DataType::Int16, true), Field::new("text", DataType::Utf8, true)].into();
    vec![
        ("null", Arc::new(NullArray::new(rows))),
        ("bool", Arc::new(BooleanArray::from_iter(numbers().map(|n| n.map(|n| n % 3 == 0))))),
        ("i8", Arc::new(Int8Array::from_iter(numbers().map(|n| n.map(|n| n as i8))))),
        ("i16", small.clone()),
        ("i32", Arc::new(Int32Array::from_iter(numbers().map(|n| n.map(|n| n as i32))))),
        ("i64", Arc::new(Int64Array::from_iter(numbers().map(|n| n.map(|n| n as i64))))),
        ("u64", Arc::new(UInt64Array::from_iter(numbers().map(|n| n.map(|n| n as u64))))),
        ("f32", Arc::new(Float32Array::from_iter(numbers().map(|n| n.map(|n| n as f32))))),
        ("f64", Arc::new(Float64Array::from_iter_values((0..rows).map(|n| n as f64)))),
        ("date", Arc::new(Date32Array::from_iter(numbers().map(|n| n.map(|n| n as i32))))),
        ("time", Arc::new(Time64MicrosecondArray::from_iter(numbers().map(|n| n.map(|n| n as i64))))),
        ("stamp", Arc::new(TimestampMicrosecondArray::from_iter(numbers().map(|n| n.map(|n| n as i64))))),
        (
            "stamp_utc",
            Arc::new(TimestampMicrosecondArray::from_iter(numbers().map(|n| n.map(|n| n as i64))).with_timezone("UTC")),
        ),
        (
            "decimal",
            Arc::new(
                Decimal128Array::from_iter(numbers().map(|n| n.map(|n| n as i128)))
                    .with_precision_and_scale(20, 2)
                    .unwrap(),
            ),
        ),
        (
            "decimal256",
            Arc::new(
                Decimal256Array::from_iter(numbers().map(|n| n.map(|n| i256::from_i128(n as i128))))
                    .with_precision_and_scale(50, 4)
                    .unwrap(),
            ),
        ),
        ("utf8", text.clone()),
        ("large_utf8", Arc::new(LargeStringArray::from_iter(words()))),
        ("binary", Arc::new(BinaryArray::from_iter(words()))),
        ("view", Arc::new(view.finish())),
        (
            "fixed",
            Arc::new(
                FixedSizeBinaryArray::try_from_sparse_iter_with_size(
                    numbers().map(|n| n.map(|n| (n as u32).to_le_bytes())),
                    4,
                )
                .unwrap(),
            ),
        ),
        ("list", Arc::new(list.finish())),
        (
            "fixed_list",
            Arc::new(FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(
                numbers().map(|n| n.map(|n| [Some(n as i32), None, Some(1)])),
                3,
            )),
        ),
        ("map", Arc::new(map.finish())),
        ("struct", Arc::new(StructArray::new(fields, vec![small, text], Some(nulls(4))))),
    ]
}

/// All of them side by side.
pub(crate) fn wide(rows: usize) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns(rows).into_iter().map(|(name, column)| (name, column, true)))
        .unwrap()
}
