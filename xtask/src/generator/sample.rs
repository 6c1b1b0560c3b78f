//! Genuine trips to draw from.

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array as _, ArrayRef, Float64Array, RecordBatch};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::dataset::Dataset;
use crate::month::{DAY, HOUR};

/// One trip, with what the files of 2024 say of it.
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
    pub payment: Option<i64>,
    /// Of green trips alone: hailed on the street, or dispatched.
    pub kind: Option<i64>,
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
    /// Reads every file of a data set in a folder, in order of name.
    pub fn read(folder: &Path, dataset: Dataset) -> Result<Self> {
        let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        let prefix = format!("{dataset}_");
        files.retain(|file| {
            let name = file.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(&prefix) && name.ends_with(".parquet"))
        });
        files.sort();
        let mut sample = Self { metered: Vec::new(), unmetered: Vec::new(), hours: [1; 168] };
        for file in &files {
            let open = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
            for batch in ParquetRecordBatchReaderBuilder::try_new(open)?.build()? {
                let wrong = || format!("{} is not a {dataset} month of 2024", file.display());
                sample.add(&batch?, dataset).with_context(wrong)?;
            }
        }
        ensure!(
            !sample.metered.is_empty() && !sample.unmetered.is_empty(),
            "no {dataset} sample in {}",
            folder.display()
        );
        Ok(sample)
    }

    fn add(&mut self, batch: &RecordBatch, dataset: Dataset) -> Result<()> {
        let column = |name: &str| batch.column_by_name(name).with_context(|| format!("no column {name}"));
        let wrong = |name: &str| format!("{name} has another type");
        let int = |name: &str| column(name)?.as_primitive_opt::<Int32Type>().with_context(|| wrong(name));
        let double = |name: &str| column(name)?.as_primitive_opt::<Float64Type>().with_context(|| wrong(name));
        let time =
            |name: &str| column(name)?.as_primitive_opt::<TimestampMicrosecondType>().with_context(|| wrong(name));
        let [pickup, dropoff] = dataset.times();
        let (pickup, dropoff) = (time(pickup)?, time(dropoff)?);
        let (vendor, from, to) = (int("VendorID")?, int("PULocationID")?, int("DOLocationID")?);
        let whole = |name: &str| whole_numbers(column(name)?).with_context(|| wrong(name));
        let (passengers, rate_code, payment) =
            (whole("passenger_count")?, whole("RatecodeID")?, whole("payment_type")?);
        let stored = flags(column("store_and_fwd_flag")?).with_context(|| wrong("store_and_fwd_flag"))?;
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
        let congestion = double("congestion_surcharge")?;
        let (airport, kind) = match dataset {
            Dataset::Yellow => (Some(double("Airport_fee")?), None),
            Dataset::Green => (None, Some(whole("trip_type")?)),
        };
        for row in 0..batch.num_rows() {
            let optional = |array: &Float64Array| array.is_valid(row).then(|| array.value(row));
            let trip = Trip {
                vendor: vendor.value(row),
                pickup: pickup.value(row),
                dropoff: dropoff.value(row),
                passengers: passengers[row],
                distance: distance.value(row),
                rate_code: rate_code[row],
                stored: stored[row],
                pickup_zone: from.value(row),
                dropoff_zone: to.value(row),
                payment: payment[row],
                kind: kind.as_ref().and_then(|kind| kind[row]),
                money: money.map(|array| array.value(row)),
                congestion: optional(congestion),
                airport: airport.and_then(optional),
            };
            self.hours[hour_of_week(trip.pickup)] += 1;
            if trip.passengers.is_some() { self.metered.push(trip) } else { self.unmetered.push(trip) }
        }
        Ok(())
    }
}

/// Whole numbers, which green files hold as doubles.
fn whole_numbers(array: &ArrayRef) -> Option<Vec<Option<i64>>> {
    if let Some(array) = array.as_primitive_opt::<Int64Type>() {
        return Some(array.iter().collect());
    }
    Some(array.as_primitive_opt::<Float64Type>()?.iter().map(|value| value.map(|value| value as i64)).collect())
}

/// `Y` or not.
fn flags(array: &ArrayRef) -> Option<Vec<Option<bool>>> {
    let is_yes = |value: Option<&str>| value.map(|value| value == "Y");
    if let Some(array) = array.as_string_opt::<i64>() {
        return Some(array.iter().map(is_yes).collect());
    }
    Some(array.as_string_opt::<i32>()?.iter().map(is_yes).collect())
}

/// 0 to 167.
pub fn hour_of_week(time: i64) -> usize {
    (time.rem_euclid(7 * DAY) / HOUR) as usize
}
