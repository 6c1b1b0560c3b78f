//! What the tables hold, and how fifteen years of files become it.
//!
//! A table takes names and types of the TLC's 2024-01 file. Other months differ: the host converts their values exactly or rejects the
//! row, and finds renamed columns by the upstream names listed here. A column listed nowhere is passed on: the pipeline's contract decides on it.
//!
//! The drift that is covered: `airport_fee` and `Airport_fee`; ids and counts as int64, int32 or double; text with 32-bit or 64-bit
//! offsets; times in microseconds or nanoseconds; all-null columns of Arrow type `null`; `cbd_congestion_fee` from 2025-01.

use std::sync::Arc;

use lakehost_sdk::arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use lakehost_sdk::{ColumnMap, Projection, Unlisted};

/// Which trips: each kind has files and a table of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TripKind {
    /// Medallion taxis.
    Yellow,
    /// Boro taxis.
    Green,
    /// For-hire vehicles: black cars, liveries.
    Fhv,
    /// High-volume for-hire services: Uber, Lyft and their like.
    Fhvhv,
}

/// How columns are named in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Names {
    /// As in the 2024-01 file: `VendorID`, `tpep_pickup_datetime`.
    Upstream,
    /// `vendor_id`, `pickup_datetime`: the same in all kinds of trips.
    SnakeCase,
}

/// The type of a column, in the few that the TLC uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Int32,
    Int64,
    Double,
    Text,
    /// Microseconds of New York wall time.
    Time,
}

/// One column of a table.
struct Column {
    /// Its name in the 2024-01 file.
    name: &'static str,
    snake_case: &'static str,
    /// Other names that it had.
    aliases: &'static [&'static str],
    kind: Type,
    /// Not in every month: then it is null.
    optional: bool,
}

const fn column(name: &'static str, snake_case: &'static str, kind: Type) -> Column {
    Column { name, snake_case, aliases: &[], kind, optional: false }
}

impl Column {
    const fn also(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    const fn optional(self) -> Self {
        Self { optional: true, ..self }
    }
}

use Type::{Double, Int32, Int64, Text, Time};

const YELLOW: &[Column] = &[
    column("VendorID", "vendor_id", Int32),
    column("tpep_pickup_datetime", "pickup_datetime", Time),
    column("tpep_dropoff_datetime", "dropoff_datetime", Time),
    column("passenger_count", "passenger_count", Int64),
    column("trip_distance", "trip_distance", Double),
    column("RatecodeID", "rate_code_id", Int64),
    column("store_and_fwd_flag", "store_and_fwd_flag", Text),
    column("PULocationID", "pickup_location_id", Int32),
    column("DOLocationID", "dropoff_location_id", Int32),
    column("payment_type", "payment_type", Int64),
    column("fare_amount", "fare_amount", Double),
    column("extra", "extra", Double),
    column("mta_tax", "mta_tax", Double),
    column("tip_amount", "tip_amount", Double),
    column("tolls_amount", "tolls_amount", Double),
    column("improvement_surcharge", "improvement_surcharge", Double),
    column("total_amount", "total_amount", Double),
    column("congestion_surcharge", "congestion_surcharge", Double),
    column("Airport_fee", "airport_fee", Double).also(&["airport_fee"]),
    column("cbd_congestion_fee", "cbd_congestion_fee", Double).optional(),
];

const GREEN: &[Column] = &[
    column("VendorID", "vendor_id", Int32),
    column("lpep_pickup_datetime", "pickup_datetime", Time),
    column("lpep_dropoff_datetime", "dropoff_datetime", Time),
    column("store_and_fwd_flag", "store_and_fwd_flag", Text),
    column("RatecodeID", "rate_code_id", Double),
    column("PULocationID", "pickup_location_id", Int32),
    column("DOLocationID", "dropoff_location_id", Int32),
    column("passenger_count", "passenger_count", Double),
    column("trip_distance", "trip_distance", Double),
    column("fare_amount", "fare_amount", Double),
    column("extra", "extra", Double),
    column("mta_tax", "mta_tax", Double),
    column("tip_amount", "tip_amount", Double),
    column("tolls_amount", "tolls_amount", Double),
    column("ehail_fee", "ehail_fee", Double),
    column("improvement_surcharge", "improvement_surcharge", Double),
    column("total_amount", "total_amount", Double),
    column("payment_type", "payment_type", Double),
    column("trip_type", "trip_type", Double),
    column("congestion_surcharge", "congestion_surcharge", Double),
    column("cbd_congestion_fee", "cbd_congestion_fee", Double).optional(),
];

const FHV: &[Column] = &[
    column("dispatching_base_num", "dispatching_base_num", Text),
    column("pickup_datetime", "pickup_datetime", Time),
    column("dropOff_datetime", "dropoff_datetime", Time).also(&["dropoff_datetime"]),
    column("PUlocationID", "pickup_location_id", Int32).also(&["PULocationID"]),
    column("DOlocationID", "dropoff_location_id", Int32).also(&["DOLocationID"]),
    column("SR_Flag", "sr_flag", Int32),
    column("Affiliated_base_number", "affiliated_base_num", Text),
];

const FHVHV: &[Column] = &[
    column("hvfhs_license_num", "hvfhs_license_num", Text),
    column("dispatching_base_num", "dispatching_base_num", Text),
    column("originating_base_num", "originating_base_num", Text),
    column("request_datetime", "request_datetime", Time),
    column("on_scene_datetime", "on_scene_datetime", Time),
    column("pickup_datetime", "pickup_datetime", Time),
    column("dropoff_datetime", "dropoff_datetime", Time),
    column("PULocationID", "pickup_location_id", Int32),
    column("DOLocationID", "dropoff_location_id", Int32),
    column("trip_miles", "trip_miles", Double),
    column("trip_time", "trip_time", Int64),
    column("base_passenger_fare", "base_passenger_fare", Double),
    column("tolls", "tolls", Double),
    column("bcf", "bcf", Double),
    column("sales_tax", "sales_tax", Double),
    column("congestion_surcharge", "congestion_surcharge", Double),
    column("airport_fee", "airport_fee", Double).also(&["Airport_fee"]),
    column("tips", "tips", Double),
    column("driver_pay", "driver_pay", Double),
    column("shared_request_flag", "shared_request_flag", Text),
    column("shared_match_flag", "shared_match_flag", Text),
    column("access_a_ride_flag", "access_a_ride_flag", Text),
    column("wav_request_flag", "wav_request_flag", Text),
    column("wav_match_flag", "wav_match_flag", Text),
    column("cbd_congestion_fee", "cbd_congestion_fee", Double).optional(),
];

impl TripKind {
    /// The name in file names and in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            TripKind::Yellow => "yellow",
            TripKind::Green => "green",
            TripKind::Fhv => "fhv",
            TripKind::Fhvhv => "fhvhv",
        }
    }

    fn columns(self) -> &'static [Column] {
        match self {
            TripKind::Yellow => YELLOW,
            TripKind::Green => GREEN,
            TripKind::Fhv => FHV,
            TripKind::Fhvhv => FHVHV,
        }
    }

    /// What the table holds.
    ///
    /// # Shape
    /// The columns of the 2024-01 file in its order, then what came later. All may be null, as all may be upstream.
    ///
    /// # Units
    /// Times are microseconds of New York wall time without a zone, distances miles, amounts US dollars.
    ///
    /// # Source
    /// TLC trip record data dictionaries, and the schemas of the files themselves.
    pub fn table_schema(self, names: Names) -> SchemaRef {
        let fields =
            self.columns().iter().map(|column| Field::new(column.table_name(names), column.kind.arrow(), true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// How a file of any month becomes the table.
    pub fn projection(self, names: Names) -> Projection {
        let columns = self.columns().iter().map(|column| ColumnMap {
            upstream: std::iter::once(column.name).chain(column.aliases.iter().copied()).map(str::to_owned).collect(),
            name: column.table_name(names).to_owned(),
            optional: column.optional,
        });
        Projection {
            schema: self.table_schema(names),
            columns: columns.collect(),
            // What is listed nowhere is for the pipeline's contract to decide on.
            unlisted: Unlisted::Pass,
            batch_rows: 0,
        }
    }
}

impl Column {
    fn table_name(&self, names: Names) -> &'static str {
        match names {
            Names::Upstream => self.name,
            Names::SnakeCase => self.snake_case,
        }
    }
}

impl Type {
    fn arrow(self) -> DataType {
        match self {
            Type::Int32 => DataType::Int32,
            Type::Int64 => DataType::Int64,
            Type::Double => DataType::Float64,
            Type::Text => DataType::Utf8,
            Type::Time => DataType::Timestamp(TimeUnit::Microsecond, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const KINDS: [TripKind; 4] = [TripKind::Yellow, TripKind::Green, TripKind::Fhv, TripKind::Fhvhv];

    #[test]
    fn names_are_unambiguous_under_both_namings() {
        for kind in KINDS {
            for names in [Names::Upstream, Names::SnakeCase] {
                let projection = kind.projection(names);
                let table: BTreeSet<_> = projection.columns.iter().map(|map| &map.name).collect();
                let upstream: Vec<_> = projection.columns.iter().flat_map(|map| &map.upstream).collect();
                assert_eq!(table.len(), projection.columns.len(), "{kind:?} {names:?}: table names");
                assert_eq!(upstream.iter().collect::<BTreeSet<_>>().len(), upstream.len(), "{kind:?}: upstream names");
            }
        }
    }

    #[test]
    fn snake_case_means_what_it_says() {
        for kind in KINDS {
            for field in kind.table_schema(Names::SnakeCase).fields() {
                let fits = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
                assert!(field.name().bytes().all(fits), "{kind:?}: {}", field.name());
            }
        }
    }

    #[test]
    fn yellow_has_the_nineteen_columns_of_2024_and_the_fee_of_2025() {
        let schema = TripKind::Yellow.table_schema(Names::Upstream);
        let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(
            names,
            [
                "VendorID",
                "tpep_pickup_datetime",
                "tpep_dropoff_datetime",
                "passenger_count",
                "trip_distance",
                "RatecodeID",
                "store_and_fwd_flag",
                "PULocationID",
                "DOLocationID",
                "payment_type",
                "fare_amount",
                "extra",
                "mta_tax",
                "tip_amount",
                "tolls_amount",
                "improvement_surcharge",
                "total_amount",
                "congestion_surcharge",
                "Airport_fee",
                "cbd_congestion_fee",
            ]
        );
        let projection = TripKind::Yellow.projection(Names::Upstream);
        let optional: Vec<_> = projection.columns.iter().filter(|map| map.optional).map(|map| &map.name).collect();
        assert_eq!(optional, ["cbd_congestion_fee"]);
    }
}
