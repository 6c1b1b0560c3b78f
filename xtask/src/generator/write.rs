//! The file as the TLC writes it: V1 pages, dictionaries that give way to plain values at 1 MiB, ZSTD, row groups of 1,048,576 rows.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use arrow_array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, LargeStringArray, RecordBatch, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};

use crate::sample::Trip;

const ROW_GROUP: usize = 1_048_576;
const BATCH: usize = 65_536;
const MIB: usize = 1 << 20;

/// Columns and types of the genuine yellow files of 2024.
fn schema() -> SchemaRef {
    let time = || DataType::Timestamp(TimeUnit::Microsecond, None);
    let columns = [
        ("VendorID", DataType::Int32),
        ("tpep_pickup_datetime", time()),
        ("tpep_dropoff_datetime", time()),
        ("passenger_count", DataType::Int64),
        ("trip_distance", DataType::Float64),
        ("RatecodeID", DataType::Int64),
        ("store_and_fwd_flag", DataType::LargeUtf8),
        ("PULocationID", DataType::Int32),
        ("DOLocationID", DataType::Int32),
        ("payment_type", DataType::Int64),
        ("fare_amount", DataType::Float64),
        ("extra", DataType::Float64),
        ("mta_tax", DataType::Float64),
        ("tip_amount", DataType::Float64),
        ("tolls_amount", DataType::Float64),
        ("improvement_surcharge", DataType::Float64),
        ("total_amount", DataType::Float64),
        ("congestion_surcharge", DataType::Float64),
        ("Airport_fee", DataType::Float64),
    ];
    Arc::new(Schema::new(columns.map(|(name, kind)| Field::new(name, kind, true)).to_vec()))
}

fn properties() -> Result<WriterProperties> {
    Ok(WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .set_data_page_size_limit(MIB)
        .set_data_page_row_count_limit(usize::MAX)
        .set_dictionary_page_size_limit(MIB)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by("tlc-months".to_owned())
        .build())
}

/// Writes the trips and gives the file's size in bytes. The name is there only when the file is whole.
pub fn write(path: &Path, trips: impl Iterator<Item = Trip>) -> Result<u64> {
    let unfinished = path.with_extension("parquet.new");
    let file = File::create(&unfinished).with_context(|| format!("cannot write {}", unfinished.display()))?;
    let schema = schema();
    let mut writer = ArrowWriter::try_new(file, schema.clone(), Some(properties()?))?;
    let mut batch = Vec::with_capacity(BATCH);
    let mut trips = trips.peekable();
    while trips.peek().is_some() {
        batch.clear();
        batch.extend(trips.by_ref().take(BATCH));
        writer.write(&to_batch(&schema, &batch)?)?;
    }
    writer.close()?;
    std::fs::rename(&unfinished, path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(std::fs::metadata(path)?.len())
}

fn to_batch(schema: &SchemaRef, trips: &[Trip]) -> Result<RecordBatch> {
    let int = |get: fn(&Trip) -> i32| -> ArrayRef { Arc::new(Int32Array::from_iter_values(trips.iter().map(get))) };
    let long = |get: fn(&Trip) -> Option<i64>| -> ArrayRef { Arc::new(trips.iter().map(get).collect::<Int64Array>()) };
    let double =
        |get: fn(&Trip) -> Option<f64>| -> ArrayRef { Arc::new(trips.iter().map(get).collect::<Float64Array>()) };
    let time = |get: fn(&Trip) -> i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(trips.iter().map(get)))
    };
    let stored = trips.iter().map(|trip| trip.stored.map(|stored| if stored { "Y" } else { "N" }));
    let mut columns: Vec<ArrayRef> = vec![
        int(|trip| trip.vendor),
        time(|trip| trip.pickup),
        time(|trip| trip.dropoff),
        long(|trip| trip.passengers),
        double(|trip| Some(trip.distance)),
        long(|trip| trip.rate_code),
        Arc::new(stored.collect::<LargeStringArray>()),
        int(|trip| trip.pickup_zone),
        int(|trip| trip.dropoff_zone),
        long(|trip| Some(trip.payment)),
    ];
    for amount in 0..7 {
        columns.push(Arc::new(Float64Array::from_iter_values(trips.iter().map(|trip| trip.money[amount]))));
    }
    columns.push(double(|trip| trip.congestion));
    columns.push(double(|trip| trip.airport));
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}
