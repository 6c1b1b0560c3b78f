//! Rows to JSON and back, value by value.

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, ListArray,
    TimestampMicrosecondArray,
};

use super::*;

fn sample() -> RecordBatch {
    let columns: [(&str, ArrayRef); 11] = [
        ("i", Arc::new(Int32Array::from(vec![Some(7), None, Some(-1)]))),
        ("l", Arc::new(Int64Array::from(vec![Some(9_007_199_254_740_993), Some(i64::MIN), None]))),
        (
            "d",
            Arc::new(
                Decimal128Array::from(vec![Some(12_345), Some(-5), None]).with_precision_and_scale(20, 3).unwrap(),
            ),
        ),
        ("f", Arc::new(Float64Array::from(vec![Some(0.1), Some(f64::NAN), Some(f64::NEG_INFINITY)]))),
        ("b", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        ("day", Arc::new(Date32Array::from(vec![Some(19_723), Some(-1), None]))),
        ("at", Arc::new(TimestampMicrosecondArray::from(vec![Some(1_704_067_200_000_001), Some(-1), None]))),
        (
            "seen",
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(1_704_067_200_000_000), None, Some(0)]).with_timezone("UTC"),
            ),
        ),
        ("text", Arc::new(StringArray::from(vec![Some("a\"b\\\n\u{1b}[31m é"), Some(""), None]))),
        ("raw", Arc::new(BinaryArray::from(vec![Some(&b"\x00\xff"[..]), None, Some(&b""[..])]))),
        (
            "list",
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([
                Some(vec![Some(1), None]),
                None,
                Some(vec![]),
            ])),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

#[test]
fn what_json_numbers_cannot_hold_is_text() {
    let rows = rows_as_json(&sample()).unwrap();
    assert_eq!(
        rows.value(0),
        "{\"i\":7,\"l\":\"9007199254740993\",\"d\":\"12.345\",\"f\":0.1,\"b\":true,\"day\":\"2024-01-01\",\
         \"at\":\"2024-01-01T00:00:00.000001\",\"seen\":\"2024-01-01T00:00:00Z\",\
         \"text\":\"a\\\"b\\\\\\n\\u001b[31m é\",\"raw\":\"00ff\",\"list\":[1,null]}"
    );
    for row in rows.iter().flatten() {
        serde_json::from_str::<serde_json::Value>(row).unwrap();
    }
    assert!(rows.value(1).contains("\"f\":\"NaN\"") && rows.value(1).contains("\"i\":null"), "{}", rows.value(1));
}

#[test]
fn times_are_written_as_the_library_writes_them() {
    let micros = [
        0,
        1,
        -1,
        999_000,
        1_704_067_200_000_001,
        951_782_399_999_000,
        253_402_300_799_999_999,
        -62_167_219_200_000_000,
        -62_135_596_800_000_000,
        4_107_542_400_000_000,
    ];
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(micros.to_vec()));
    let ours = rows_as_json(&RecordBatch::try_from_iter([("t", times.clone())]).unwrap()).unwrap();
    let mut theirs = Vec::new();
    let mut writer = arrow::json::LineDelimitedWriter::new(&mut theirs);
    writer.write(&RecordBatch::try_from_iter([("t", times)]).unwrap()).unwrap();
    writer.finish().unwrap();
    let theirs = String::from_utf8(theirs).unwrap();
    assert_eq!(ours.iter().flatten().collect::<Vec<_>>(), theirs.lines().collect::<Vec<_>>());
    // What only the library can write is left to it, whatever stands below a null.
    let odd: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![Some(0), None, Some(i64::MAX / 4)]));
    let odd = rows_as_json(&RecordBatch::try_from_iter([("t", odd)]).unwrap()).unwrap();
    assert!(odd.value(0) == "{\"t\":\"1970-01-01T00:00:00\"}" && odd.value(2).contains("{\"t\":\"+"), "{odd:?}");
}

#[test]
fn rows_come_back_as_they_were() {
    let batch = sample();
    let rows = rows_as_json(&batch).unwrap();
    let back = rows_from_json(&batch.schema(), &rows.iter().flatten().collect::<Vec<_>>()).unwrap();
    assert_eq!(back.num_rows(), 3);
    for (field, (before, after)) in batch.schema().fields().iter().zip(batch.columns().iter().zip(back.columns())) {
        // NaN equals nothing by ==, so the text is compared.
        assert_eq!(format!("{before:?}"), format!("{after:?}"), "{}", field.name());
    }
    assert!(rows_from_json(&batch.schema(), &["{\"i\":\"seven\"}"]).is_err());
    assert_eq!(rows_from_json(&batch.schema(), &[]).unwrap().num_rows(), 0);
}

#[test]
fn tables_of_rejected_rows_are_told_by_their_name() {
    let main = TableName::parse("clean.yellow_trips").unwrap();
    let rejected = table_of(&main).unwrap();
    assert_eq!(rejected.to_string(), "clean.yellow_trips__rejected");
    assert_eq!(main_of(&rejected), Some(main.clone()));
    assert_eq!(main_of(&main), None);
    assert!(table_of(&TableName { namespace: "a".to_owned(), name: "t".repeat(120) }).is_err());
}

#[test]
fn the_window_stands_first_when_there_is_one() {
    let names = |granularity| schema(granularity).fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
    assert_eq!(
        names(Granularity::Month),
        ["_lakehost_window", "load_id", "run_id", "plugin", "rule", "reason", "source_row", "source_file", "row"]
    );
    assert_eq!(names(Granularity::None).len(), 8);
    assert_eq!(schema(Granularity::Hour).field(0).data_type(), &DataType::Timestamp(TimeUnit::Microsecond, None));
}
