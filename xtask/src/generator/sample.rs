//! Genuine trips to draw from.

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array as _, RecordBatch};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::month::{DAY, HOUR};

/// One trip, with the columns and types of the yellow files of 2024.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trip {
    pub vendor: i32,
    pub pickup: i64,
    pub dropoff: i64,
    pub passengers: Option<i64>,
    pub distance: f64,
    pub rate_code: Option<i64>,
    /// `Y` or `N`.
    pub stored: Option<bool>,
    pub pickup_zone: i32,
    pub dropoff_zone: i32,
    pub payment: i64,
    /// fare, extra, mta_tax, tip, tolls, improvement_surcharge, total.
    pub money: [f64; 7],
    pub congestion: Option<f64>,
    pub airport: Option<f64>,
}

/// Index of the fare in [`Trip::money`].
pub const FARE: usize = 0;
pub const TIP: usize = 3;
pub const TOTAL: usize = 6;

/// Genuine trips, metered ones apart from those that came without a meter's record (null passenger count), and when people ride.
pub struct Sample {
    pub metered: Vec<Trip>,
    pub unmetered: Vec<Trip>,
    /// Trips by hour of the week, Thursday 0 h first, as 1970-01-01 was one. None is zero.
    pub hours: [u32; 168],
}

impl Sample {
    /// Reads every `yellow_*.parquet` of a folder, in order of name.
    pub fn read(folder: &Path) -> Result<Self> {
        let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        files.retain(|file| {
            file.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|n| n.starts_with("yellow_") && n.ends_with(".parquet"))
        });
        files.sort();
        let mut sample = Self { metered: Vec::new(), unmetered: Vec::new(), hours: [1; 168] };
        for file in &files {
            let open = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
            for batch in ParquetRecordBatchReaderBuilder::try_new(open)?.build()? {
                sample.add(&batch?).with_context(|| format!("{} is not a yellow month of 2024", file.display()))?;
            }
        }
        ensure!(!sample.metered.is_empty() && !sample.unmetered.is_empty(), "no yellow sample in {}", folder.display());
        Ok(sample)
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let column = |name: &str| batch.column_by_name(name).with_context(|| format!("no column {name}"));
        let wrong = |name: &str| format!("{name} has another type");
        let int = |name: &str| column(name)?.as_primitive_opt::<Int32Type>().with_context(|| wrong(name));
        let long = |name: &str| column(name)?.as_primitive_opt::<Int64Type>().with_context(|| wrong(name));
        let double = |name: &str| column(name)?.as_primitive_opt::<Float64Type>().with_context(|| wrong(name));
        let time =
            |name: &str| column(name)?.as_primitive_opt::<TimestampMicrosecondType>().with_context(|| wrong(name));
        let (pickup, dropoff) = (time("tpep_pickup_datetime")?, time("tpep_dropoff_datetime")?);
        let (vendor, from, to) = (int("VendorID")?, int("PULocationID")?, int("DOLocationID")?);
        let (passengers, rate_code, payment) = (long("passenger_count")?, long("RatecodeID")?, long("payment_type")?);
        let stored =
            column("store_and_fwd_flag")?.as_string_opt::<i64>().with_context(|| wrong("store_and_fwd_flag"))?;
        let distance = double("trip_distance")?;
        let money = [
            double("fare_amount")?,
            double("extra")?,
            double("mta_tax")?,
            double("tip_amount")?,
            double("tolls_amount")?,
            double("improvement_surcharge")?,
            double("total_amount")?,
        ];
        let (congestion, airport) = (double("congestion_surcharge")?, double("Airport_fee")?);
        for row in 0..batch.num_rows() {
            let optional = |array: &arrow_array::Float64Array| array.is_valid(row).then(|| array.value(row));
            let optional_long = |array: &arrow_array::Int64Array| array.is_valid(row).then(|| array.value(row));
            let trip = Trip {
                vendor: vendor.value(row),
                pickup: pickup.value(row),
                dropoff: dropoff.value(row),
                passengers: optional_long(passengers),
                distance: distance.value(row),
                rate_code: optional_long(rate_code),
                stored: stored.is_valid(row).then(|| stored.value(row) == "Y"),
                pickup_zone: from.value(row),
                dropoff_zone: to.value(row),
                payment: payment.value(row),
                money: money.map(|array| array.value(row)),
                congestion: optional(congestion),
                airport: optional(airport),
            };
            self.hours[hour_of_week(trip.pickup)] += 1;
            if trip.passengers.is_some() { self.metered.push(trip) } else { self.unmetered.push(trip) }
        }
        Ok(())
    }
}

/// 0 to 167.
pub fn hour_of_week(time: i64) -> usize {
    (time.rem_euclid(7 * DAY) / HOUR) as usize
}
