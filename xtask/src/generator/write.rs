//! The file as the TLC writes it: V1 pages, dictionaries that give way to plain values at 1 MiB, row groups of 1,048,576 rows.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use arrow_array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, LargeStringArray, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};

use crate::dataset::Dataset;
use crate::sample::Trip;

const ROW_GROUP: usize = 1_048_576;
const BATCH: usize = 65_536;
const MIB: usize = 1 << 20;

fn properties(dataset: Dataset) -> Result<WriterProperties> {
    Ok(WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(dataset.compression()?)
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .set_data_page_size_limit(MIB)
        .set_data_page_row_count_limit(usize::MAX)
        .set_dictionary_page_size_limit(MIB)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by("tlc-months".to_owned())
        .build())
}

/// Writes the trips and gives the file's size in bytes. The name is there only when the file is whole.
pub fn write(path: &Path, dataset: Dataset, trips: impl Iterator<Item = Trip>) -> Result<u64> {
    let unfinished = path.with_extension("parquet.new");
    let file = File::create(&unfinished).with_context(|| format!("cannot write {}", unfinished.display()))?;
    let schema = dataset.schema();
    let mut writer = ArrowWriter::try_new(file, schema.clone(), Some(properties(dataset)?))?;
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
    let columns = schema.fields().iter().map(|field| column(field, trips)).collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

fn column(field: &Field, trips: &[Trip]) -> Result<ArrayRef> {
    let int = |get: fn(&Trip) -> i32| -> ArrayRef { Arc::new(Int32Array::from_iter_values(trips.iter().map(get))) };
    let double =
        |get: fn(&Trip) -> Option<f64>| -> ArrayRef { Arc::new(trips.iter().map(get).collect::<Float64Array>()) };
    // Whole numbers are doubles in green files.
    let whole = |get: fn(&Trip) -> Option<i64>| -> ArrayRef {
        match field.data_type() {
            DataType::Float64 => {
                Arc::new(trips.iter().map(|trip| get(trip).map(|value| value as f64)).collect::<Float64Array>())
            }
            _ => Arc::new(trips.iter().map(get).collect::<Int64Array>()),
        }
    };
    let time = |get: fn(&Trip) -> i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(trips.iter().map(get)))
    };
    Ok(match field.name().as_str() {
        "VendorID" => int(|trip| trip.vendor),
        "tpep_pickup_datetime" | "lpep_pickup_datetime" => time(|trip| trip.pickup),
        "tpep_dropoff_datetime" | "lpep_dropoff_datetime" => time(|trip| trip.dropoff),
        "passenger_count" => whole(|trip| trip.passengers),
        "trip_distance" => double(|trip| Some(trip.distance)),
        "RatecodeID" => whole(|trip| trip.rate_code),
        "store_and_fwd_flag" => {
            let stored = trips.iter().map(|trip| trip.stored.map(|stored| if stored { "Y" } else { "N" }));
            match field.data_type() {
                DataType::LargeUtf8 => Arc::new(stored.collect::<LargeStringArray>()),
                _ => Arc::new(stored.collect::<StringArray>()),
            }
        }
        "PULocationID" => int(|trip| trip.pickup_zone),
        "DOLocationID" => int(|trip| trip.dropoff_zone),
        "payment_type" => whole(|trip| trip.payment),
        "trip_type" => whole(|trip| trip.kind),
        "fare_amount" => double(|trip| Some(trip.money[0])),
        "extra" => double(|trip| Some(trip.money[1])),
        "mta_tax" => double(|trip| Some(trip.money[2])),
        "tip_amount" => double(|trip| Some(trip.money[3])),
        "tolls_amount" => double(|trip| Some(trip.money[4])),
        "improvement_surcharge" => double(|trip| Some(trip.money[5])),
        "total_amount" => double(|trip| Some(trip.money[6])),
        "ehail_fee" => double(|_| None),
        "congestion_surcharge" => double(|trip| trip.congestion),
        "Airport_fee" => double(|trip| trip.airport),
        other => bail!("no value for the column {other}"),
    })
}
