//! Files taken as they are, read back with the parquet crate.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, RecordBatch, TimestampMillisecondArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector};
use parquet::basic::{Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion};

use super::*;
use crate::bytes::FileBytes;
use crate::mapping::{ColumnMap, ParquetScan, Projection, Unlisted};
use crate::observer::NoObserver;
use crate::output::OutputSchema;
use crate::testing::{MemorySinks, file_of, opened, read_back, sample, sample_file};

const WINDOW: i32 = 19_723;

/// The table of `source`: its columns with field ids, the window, and whatever else.
fn table(source: &Schema, more: &[(&str, DataType, Constant)]) -> OutputSchema {
    let mut constants = vec![("_lakehost_window".to_owned(), Constant::Date(WINDOW))];
    let mut fields: Vec<Field> = source.fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.push(Field::new("_lakehost_window", DataType::Date32, true));
    for (name, kind, value) in more {
        fields.push(Field::new(*name, kind.clone(), true));
        constants.push(((*name).to_owned(), value.clone()));
    }
    let id = |index: usize| HashMap::from([("PARQUET:field_id".to_owned(), (index + 1).to_string())]);
    let fields: Vec<Field> = fields
        .into_iter()
        .enumerate()
        .map(|(index, field)| field.with_metadata(id(index)).with_nullable(true))
        .collect();
    OutputSchema { schema: Arc::new(Schema::new(fields)), constants }
}

fn scan(file: &Arc<ParquetFile>, projection: Option<&Projection>) -> ParquetScan {
    ParquetScan::try_new(file.clone(), projection).unwrap()
}

fn write(plan: &AsIs, verify: Verify) -> Result<(WrittenFile, Bytes)> {
    let sinks = MemorySinks::default();
    let file = plan.write(&sinks, verify, 2, &NoObserver)?;
    let bytes = sinks.bytes(&file.location);
    Ok((file, bytes))
}

#[test]
fn rows_are_equal_and_the_window_is_there_whatever_the_file() {
    let zstd = Compression::ZSTD(ZstdLevel::default());
    let none = |properties: WriterPropertiesBuilder| properties.set_statistics_enabled(EnabledStatistics::None);
    let files = [
        sample_file(3_000, |properties| properties),
        sample_file(3_000, |properties| properties.set_compression(zstd).set_max_row_group_row_count(Some(700))),
        sample_file(3_000, |properties| {
            properties.set_compression(Compression::SNAPPY).set_writer_version(WriterVersion::PARQUET_1_0)
        }),
        sample_file(3_000, |properties| {
            properties.set_compression(Compression::GZIP(GzipLevel::default())).set_data_page_row_count_limit(50)
        }),
        sample_file(3_000, none),
        sample_file(3_000, |properties| {
            properties.set_offset_index_disabled(true).set_statistics_enabled(EnabledStatistics::Chunk)
        }),
        sample_file(3_000, |properties| properties.set_bloom_filter_enabled(true)),
    ];
    for (index, bytes) in files.into_iter().enumerate() {
        let file = opened(bytes.clone());
        let loaded = (
            "ingested_at",
            DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
            Constant::TimestampMicrosUtc(5),
        );
        let name = ("source_file", DataType::Utf8, Constant::Utf8("sample.parquet".to_owned()));
        let output = table(file.arrow_schema(), &[loaded, name]);
        let plan = as_is_plan(&scan(&file, None), &output).unwrap();
        for verify in [Verify::Pages, Verify::Footer] {
            let (written, out) = write(&plan, verify).unwrap();
            assert_eq!((written.size_bytes, written.rows), (out.len() as u64, 3_000), "file {index}");
            let body = file.body_bytes() as usize;
            assert_eq!(out[..body], bytes[..body], "the pages are the source's own");
            let (found, expected) = (read_back(out.clone()), sample(3_000));
            for field in expected.schema().fields() {
                assert_eq!(found.column_by_name(field.name()), expected.column_by_name(field.name()), "file {index}");
            }
            assert!(found["_lakehost_window"].as_primitive::<Date32Type>().iter().all(|day| day == Some(WINDOW)));
            assert!(found["ingested_at"].as_primitive::<TimestampMicrosecondType>().iter().all(|at| at == Some(5)));
            assert!(found["source_file"].as_string::<i32>().iter().all(|name| name == Some("sample.parquet")));
            let footer = written.footer.file_metadata();
            let ids: Vec<i32> = footer.schema().get_fields().iter().map(|field| field.get_basic_info().id()).collect();
            assert_eq!(ids, (1..=10).collect::<Vec<_>>());
            assert!(footer.key_value_metadata().is_none());
            assert!(out.len() - body < 24_000, "file {index}: {} bytes of tail", out.len() - body);
        }
    }
}

#[test]
fn page_indexes_of_old_and_new_columns_agree() {
    let bytes = sample_file(4_000, |properties| {
        properties.set_max_row_group_row_count(Some(1_500)).set_data_page_row_count_limit(200).set_write_batch_size(100)
    });
    let file = opened(bytes);
    let plan = as_is_plan(&scan(&file, None), &table(file.arrow_schema(), &[])).unwrap();
    let (_, out) = write(&plan, Verify::Pages).unwrap();
    let options =
        ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required).with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(out, options).unwrap();
    let metadata = builder.metadata().clone();
    let column_index = metadata.column_index().unwrap();
    assert!(
        column_index
            .iter()
            .flatten()
            .all(|index| !matches!(index, parquet::file::page_index::column_index::ColumnIndexMetaData::NONE))
    );
    assert!(metadata.offset_index().unwrap()[0][0].page_locations().len() > 5);
    // Pages in the middle are found through the index.
    let selection =
        RowSelection::from(vec![RowSelector::skip(1_700), RowSelector::select(3), RowSelector::skip(2_297)]);
    let batches: Vec<RecordBatch> =
        builder.with_row_selection(selection).build().unwrap().map(|batch| batch.unwrap()).collect();
    let expected = sample(4_000).slice(1_700, 3);
    assert_eq!(&batches[0]["name"], &expected["name"]);
    assert_eq!(batches[0]["_lakehost_window"].as_primitive::<Date32Type>().value(2), WINDOW);
}

#[test]
fn names_change_through_the_footer_and_absent_columns_stay_away() {
    let file = opened(sample_file(100, |properties| properties));
    let mut fields: Vec<Field> = file.arrow_schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    fields[0] = fields[0].clone().with_name("trip_id");
    fields.push(Field::new("fee", DataType::Float64, true));
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let map = |upstream: &str, name: &str| ColumnMap {
        upstream: vec![upstream.to_owned()],
        name: name.to_owned(),
        optional: true,
    };
    let projection = Projection {
        schema: schema.clone(),
        columns: vec![map("id", "trip_id"), map("fee", "fee")],
        unlisted: Unlisted::Refuse,
        batch_rows: 0,
    };
    let plan = as_is_plan(&scan(&file, Some(&projection)), &table(&schema, &[])).unwrap();
    let (_, out) = write(&plan, Verify::Pages).unwrap();
    let found = read_back(out);
    assert_eq!(&found["trip_id"], &sample(100)["id"]);
    assert!(found.column_by_name("fee").is_none());
}

#[test]
fn what_has_to_change_is_refused_with_its_reason() {
    let check = |bytes: Bytes, change: &dyn Fn(&mut OutputSchema), reason: &str| {
        let file = opened(bytes);
        let mut output = table(file.arrow_schema(), &[]);
        change(&mut output);
        let error = as_is_plan(&scan(&file, None), &output).unwrap_err();
        assert!(error.contains(reason), "{error} / {reason}");
    };
    let same = |_: &mut OutputSchema| {};
    let sample = |change: &dyn Fn(WriterPropertiesBuilder) -> WriterPropertiesBuilder| sample_file(50, change);
    let retype = |name: &'static str, kind: DataType| {
        move |output: &mut OutputSchema| {
            let fields = output.schema.fields().iter().map(|field| match field.name() == name {
                true => field.as_ref().clone().with_data_type(kind.clone()),
                false => field.as_ref().clone(),
            });
            output.schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        }
    };
    let plain = || sample(&|properties| properties);
    check(plain(), &retype("id", DataType::Int32), "column id is Int64, the table has Int32");
    check(plain(), &retype("name", DataType::Binary), "column name is Utf8, the table has Binary");
    check(plain(), &|output| output.constants.push(("day".to_owned(), Constant::Date(1))), "a column day of its own");
    check(
        sample(&|properties| properties.set_compression(Compression::BROTLI(Default::default()))),
        &same,
        "compressed with",
    );
    let delta = |properties: WriterPropertiesBuilder| {
        properties.set_dictionary_enabled(false).set_column_encoding("id".into(), Encoding::DELTA_BINARY_PACKED)
    };
    check(sample(&delta), &same, "encoded as DELTA_BINARY_PACKED");
    check(sample_file(0, |properties| properties), &same, "without rows");
    let drop_column = |output: &mut OutputSchema| {
        let fields: Vec<_> = output.schema.fields().iter().filter(|field| field.name() != "flag").cloned().collect();
        output.schema = Arc::new(Schema::new(fields));
    };
    check(plain(), &drop_column, "column flag is not in the table");
    let millis =
        RecordBatch::try_from_iter([("at", Arc::new(TimestampMillisecondArray::from(vec![1])) as ArrayRef)]).unwrap();
    check(file_of(&millis, WriterProperties::default()), &same, "column at is Timestamp(ms)");
}

#[test]
fn a_damaged_page_is_found_before_the_file_is_finished() {
    let bytes = sample_file(5_000, |properties| properties.set_compression(Compression::ZSTD(ZstdLevel::default())));
    let file = opened(bytes.clone());
    let (start, len) = file.metadata().row_group(0).column(4).byte_range();
    let mut found = 0;
    for position in (start..start + len).step_by(7) {
        let mut damaged = bytes.to_vec();
        damaged[position as usize] ^= 0x55;
        let file = opened(damaged);
        let plan = as_is_plan(&scan(&file, None), &table(file.arrow_schema(), &[])).unwrap();
        match write(&plan, Verify::Pages) {
            Ok(_) => {}
            Err(error) => {
                found += 1;
                assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
                assert!(error.to_string().contains("column name of row group 0"), "{error}");
            }
        }
    }
    assert!(found > 10, "{found}");
}

#[test]
fn a_genuine_month_is_taken_as_it_is() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/nyc_taxi/data/green_tripdata_2024-01.parquet");
    let file = ParquetFile::open(Arc::new(FileBytes::open(path.as_ref()).unwrap())).unwrap();
    assert_eq!(file.rows(), 56_551);
    let plan = as_is_plan(&scan(&file, None), &table(file.arrow_schema(), &[])).unwrap();
    let (written, out) = write(&plan, Verify::Pages).unwrap();
    assert_eq!(written.rows, 56_551);
    let (found, expected) = (read_back(out), read_back(std::fs::read(path).unwrap().into()));
    for field in expected.schema().fields() {
        assert_eq!(found.column_by_name(field.name()), expected.column_by_name(field.name()), "{}", field.name());
    }
    let total: f64 = arrow_array::cast::as_primitive_array::<arrow_array::types::Float64Type>(&found["total_amount"])
        .iter()
        .flatten()
        .sum();
    assert!((total - 1_266_922.59).abs() < 0.01, "{total}");
}
