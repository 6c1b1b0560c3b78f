//! What the TLC's data sets have of their own: names, columns and types of the files of 2024.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Error, bail};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::basic::{Compression, ZstdLevel};

/// A data set whose months can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dataset {
    Yellow,
    Green,
}

impl Dataset {
    /// What file names begin with.
    pub fn name(self) -> &'static str {
        match self {
            Self::Yellow => "yellow",
            Self::Green => "green",
        }
    }

    /// Rows of its genuine 2024-01.
    pub fn rows(self) -> usize {
        match self {
            Self::Yellow => 2_964_624,
            Self::Green => 56_551,
        }
    }

    /// Rows without a meter's record stand together at the end: so many per thousand in the genuine 2024-01.
    pub fn unmetered_per_mille(self) -> usize {
        match self {
            Self::Yellow => 47,
            Self::Green => 60,
        }
    }

    /// Names of the columns with pickup and dropoff.
    pub fn times(self) -> [&'static str; 2] {
        match self {
            Self::Yellow => ["tpep_pickup_datetime", "tpep_dropoff_datetime"],
            Self::Green => ["lpep_pickup_datetime", "lpep_dropoff_datetime"],
        }
    }

    pub fn compression(self) -> anyhow::Result<Compression> {
        Ok(match self {
            Self::Yellow => Compression::ZSTD(ZstdLevel::try_new(1)?),
            Self::Green => Compression::SNAPPY,
        })
    }

    /// Columns and types of the genuine files of 2024.
    pub fn schema(self) -> SchemaRef {
        const DOUBLE: DataType = DataType::Float64;
        let time = || DataType::Timestamp(TimeUnit::Microsecond, None);
        let [pickup, dropoff] = self.times();
        let columns = match self {
            Self::Yellow => vec![
                ("VendorID", DataType::Int32),
                (pickup, time()),
                (dropoff, time()),
                ("passenger_count", DataType::Int64),
                ("trip_distance", DOUBLE),
                ("RatecodeID", DataType::Int64),
                ("store_and_fwd_flag", DataType::LargeUtf8),
                ("PULocationID", DataType::Int32),
                ("DOLocationID", DataType::Int32),
                ("payment_type", DataType::Int64),
                ("fare_amount", DOUBLE),
                ("extra", DOUBLE),
                ("mta_tax", DOUBLE),
                ("tip_amount", DOUBLE),
                ("tolls_amount", DOUBLE),
                ("improvement_surcharge", DOUBLE),
                ("total_amount", DOUBLE),
                ("congestion_surcharge", DOUBLE),
                ("Airport_fee", DOUBLE),
            ],
            // Integers are written as doubles, and one column holds nothing.
            Self::Green => vec![
                ("VendorID", DataType::Int32),
                (pickup, time()),
                (dropoff, time()),
                ("store_and_fwd_flag", DataType::Utf8),
                ("RatecodeID", DOUBLE),
                ("PULocationID", DataType::Int32),
                ("DOLocationID", DataType::Int32),
                ("passenger_count", DOUBLE),
                ("trip_distance", DOUBLE),
                ("fare_amount", DOUBLE),
                ("extra", DOUBLE),
                ("mta_tax", DOUBLE),
                ("tip_amount", DOUBLE),
                ("tolls_amount", DOUBLE),
                ("ehail_fee", DOUBLE),
                ("improvement_surcharge", DOUBLE),
                ("total_amount", DOUBLE),
                ("payment_type", DOUBLE),
                ("trip_type", DOUBLE),
                ("congestion_surcharge", DOUBLE),
            ],
        };
        Arc::new(Schema::new(columns.into_iter().map(|(name, kind)| Field::new(name, kind, true)).collect::<Vec<_>>()))
    }
}

impl FromStr for Dataset {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "yellow" => Ok(Self::Yellow),
            "green" => Ok(Self::Green),
            _ => bail!("`{text}` is none of the data sets yellow, green"),
        }
    }
}

impl fmt::Display for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
