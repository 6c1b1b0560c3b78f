//! Rows that a run drops: kept whole on every path, or forgiven.

use super::*;

/// Dropped rows as text, by their position in the source.
#[derive(Default)]
struct Kept(std::sync::Mutex<BTreeMap<u64, (u16, String)>>);

impl RejectSink for Kept {
    fn take(&self, first_row: u64, rows: &[u32], codes: &[u16], columns: RecordBatch) -> Result<()> {
        assert_eq!((rows.len(), codes.len()), (columns.num_rows(), columns.num_rows()));
        for (at, (row, code)) in rows.iter().zip(codes).enumerate() {
            let text = |column: &ArrayRef| match column.is_null(at) {
                true => "-".to_owned(),
                false => arrow_cast::display::array_value_to_string(column, at).unwrap(),
            };
            let cells: Vec<String> = columns.columns().iter().map(text).collect();
            let before = self.0.lock().unwrap().insert(first_row + u64::from(*row), (*code, cells.join("|")));
            assert!(before.is_none(), "row {row} behind {first_row} came twice");
        }
        Ok(())
    }
}

/// The rows that a run drops, kept on the way.
fn kept(rows: Rows, output: &OutputSchema, options: &WriteOptions, step: Option<&dyn RowStep>, path: Path) -> Kept {
    let (sinks, kept) = (MemorySinks::default(), Kept::default());
    let run = Transcoder { output, options, step, sinks: &sinks, observer: &NoObserver, path, rejects: Some(&kept) };
    let outcome = run.run(rows).unwrap();
    assert_eq!(outcome.rejected.values().sum::<u64>() as usize, kept.0.lock().unwrap().len());
    kept
}

#[test]
fn dropped_rows_are_kept_whole_on_every_path() {
    let zstd = Compression::ZSTD(ZstdLevel::default());
    let source = sample(70_000);
    let cell = |column: &ArrayRef, row: usize| match column.is_null(row) {
        true => "-".to_owned(),
        false => arrow_cast::display::array_value_to_string(column, row).unwrap(),
    };
    let expected: BTreeMap<u64, (u16, String)> = (0..70_000usize)
        .filter(|row| row % 7 == 0 || row % 5 == 0)
        .map(|row| {
            let cells: Vec<String> = source.columns().iter().map(|column| cell(column, row)).collect();
            (row as u64, (if row % 7 == 0 { 2 } else { 3 }, cells.join("|")))
        })
        .collect();
    // The table lacks two of the source's columns, which are kept all the same.
    let mut output = sample_table();
    let fields = output.schema.fields().iter().filter(|field| !["flag", "name"].contains(&field.name().as_str()));
    output.schema = Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()));
    let day = vec![PartitionField { column: "at".to_owned(), transform: Transform::Day }];
    for (partition, groups) in [(Vec::new(), 70_000), (day, 33_000)] {
        let bytes = file_of(
            &source,
            parquet::file::properties::WriterProperties::builder()
                .set_compression(zstd)
                .set_max_row_group_row_count(Some(groups))
                .build(),
        );
        for threads in [1, 3] {
            for path in [Path::Arrow, Path::Auto] {
                let options = WriteOptions { threads, partition: partition.clone(), ..WriteOptions::default() };
                let rows = Rows::Scan(scan(bytes.clone(), None));
                let kept = kept(rows, &output, &options, Some(&Halve::new()), path);
                let found = kept.0.into_inner().unwrap();
                assert_eq!(found.len(), expected.len(), "{path:?} {threads}");
                for (row, wanted) in &expected {
                    assert_eq!(found.get(row), Some(wanted), "{path:?} {threads} row {row}");
                }
            }
        }
    }
}

#[test]
fn a_row_that_could_not_be_cast_is_kept_with_the_value_of_its_file() {
    let (bytes, output) = unfit();
    for promised in [Some(output.schema.clone()), None] {
        for path in [Path::Arrow, Path::Auto] {
            let rows = Rows::Scan(scan(bytes.clone(), promised.clone()));
            let kept = kept(rows, &output, &WriteOptions::default(), None, path).0.into_inner().unwrap();
            let found: Vec<(u64, &str)> = kept.iter().map(|(row, (_, text))| (*row, text.as_str())).collect();
            assert_eq!(found, [(1, "1099511627776|2.0"), (3, "4|4.5")], "{path:?}");
        }
    }
}

/// Row logic that lets values of one column go.
struct Forgives(std::sync::atomic::AtomicU64);

impl RowStep for Forgives {
    fn reads(&self) -> &[String] {
        &[]
    }

    fn writes(&self) -> &[FieldRef] {
        &[]
    }

    fn apply(&self, _: &RecordBatch, _: u64, _: &mut [u16]) -> std::result::Result<Vec<ArrayRef>, BoxError> {
        Ok(Vec::new())
    }

    fn cast_rule(&self, _column: &str) -> u16 {
        5
    }

    fn forgives(&self, column: &str) -> bool {
        column == "id"
    }

    fn forgiven(&self, column: &str, values: u64) {
        assert_eq!(column, "id");
        self.0.fetch_add(values, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn a_forgiven_value_becomes_null_and_keeps_its_row() {
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(arrow_array::Int64Array::from(vec![1, 1 << 40, 3, 1 << 41])) as ArrayRef),
        ("amount", Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0, 4.5])) as ArrayRef),
    ])
    .unwrap();
    let bytes = file_of(&batch, parquet::file::properties::WriterProperties::default());
    let output = table(&[("id", DataType::Int32), ("amount", DataType::Int64)], Vec::new());
    for promised in [Some(output.schema.clone()), None] {
        let step = Forgives(Default::default());
        let rows = Rows::Scan(scan(bytes.clone(), promised));
        let run = Run::of(rows, &output, &WriteOptions::default(), Some(&step), Path::Auto).unwrap();
        let [(_, found)] = run.partitions().try_into().unwrap();
        assert_eq!(found["id"].as_primitive::<Int32Type>().iter().collect::<Vec<_>>(), [Some(1), None, Some(3)]);
        // The other column's value is not forgiven; both values that went are counted.
        assert_eq!(run.outcome.rejected, BTreeMap::from([(5, 1)]));
        assert_eq!(step.0.into_inner(), 2);
    }
}
