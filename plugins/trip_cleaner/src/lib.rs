//! A lakehost cleaner for taxi trips: rejects what cannot have been a trip, adds how long and how fast it was.
//!
//! Works on yellow and green trips, under the TLC's own names (`tpep_`, `lpep_`) and under snake_case ones. The [`rules`] come in an
//! order, each can be switched off or given other bounds; [`derive`](mod@derive) adds `trip_minutes` and `avg_mph`. The crate is an ordinary
//! library too, so that a benchmark can run the same code natively.

pub mod derive;
pub mod rules;

use lakehost_sdk::arrow_array::RecordBatch;
use lakehost_sdk::arrow_schema::{DataType, Schema, SchemaRef, TimeUnit};
use lakehost_sdk::config::{Config, ConfigSchema, Key};
use lakehost_sdk::{Cleaner, CleanerSpec, Patch, PluginError, Result, Rule, Verdicts, Window, require_column};

use rules::{Bounds, RuleKind, Trips};

/// The plugin's configuration.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
pub struct CleanerConfig {
    /// Ids of rules that are switched off.
    pub off: Vec<String>,
    /// Minutes by which a pickup may lie outside the window.
    pub pickup_slack_minutes: i64,
    /// A distance must be above this many miles.
    pub distance_above_miles: f64,
    /// A distance must be below this many miles.
    pub distance_below_miles: f64,
    /// Fare and total must be at least this many dollars.
    pub amount_at_least_dollars: f64,
}

impl Config for CleanerConfig {
    fn schema() -> ConfigSchema {
        ConfigSchema::new()
            .key(Key::choices("off", &RuleKind::IDS).default(Vec::<String>::new()).about("rules that are switched off"))
            .key(
                Key::integer("pickup_slack_minutes")
                    .default(0)
                    .at_least(0.0)
                    .about("minutes by which a pickup may lie outside the window"),
            )
            .key(Key::number("distance_above_miles").default(0.0).about("a distance must be above this many miles"))
            .key(Key::number("distance_below_miles").default(200.0).about("a distance must be below this many miles"))
            .key(Key::number("amount_at_least_dollars").default(0.0).about("fare and total must be at least this"))
    }
}

/// The names of the columns that the cleaner reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// When the trip began.
    pub pickup: String,
    /// When it ended.
    pub dropoff: String,
}

impl Columns {
    /// Miles.
    pub const DISTANCE: &'static str = "trip_distance";
    /// Dollars.
    pub const FARE: &'static str = "fare_amount";
    /// Dollars.
    pub const TOTAL: &'static str = "total_amount";

    /// Finds the columns of a schema and checks their types.
    ///
    /// # Errors
    /// `schema-mismatch`, naming the column that is missing or of another type.
    pub fn of_schema(schema: &Schema) -> Result<Self> {
        let has = |name: &str| schema.field_with_name(name).is_ok();
        let prefix = ["tpep_", "lpep_", ""].into_iter().find(|prefix| has(&format!("{prefix}pickup_datetime")));
        let prefix = prefix.ok_or_else(|| {
            let known: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            let message = "no column tpep_pickup_datetime, lpep_pickup_datetime or pickup_datetime";
            PluginError::schema_mismatch(message).with("columns", known.join(", "))
        })?;
        let columns = Self { pickup: format!("{prefix}pickup_datetime"), dropoff: format!("{prefix}dropoff_datetime") };
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        require_column(schema, &columns.pickup, &time)?;
        require_column(schema, &columns.dropoff, &time)?;
        for name in [Self::DISTANCE, Self::FARE, Self::TOTAL] {
            require_column(schema, name, &DataType::Float64)?;
        }
        Ok(columns)
    }
}

/// The cleaner, bound to a schema and a window.
///
/// # Example
/// ```
/// use lakehost_sdk::{Cleaner, Config, config};
/// use trip_cleaner::{CleanerConfig, TripCleaner};
///
/// # use lakehost_sdk::arrow_schema::{DataType, Field, Schema, TimeUnit};
/// # let time = DataType::Timestamp(TimeUnit::Microsecond, None);
/// # let field = |name, kind: &DataType| Field::new(name, kind.clone(), true);
/// # let schema = Schema::new(vec![
/// #     field("lpep_pickup_datetime", &time), field("lpep_dropoff_datetime", &time),
/// #     field("trip_distance", &DataType::Float64), field("fare_amount", &DataType::Float64),
/// #     field("total_amount", &DataType::Float64),
/// # ]);
/// let config: CleanerConfig = config::parse(r#"{"off": ["negative_amount"]}"#)?;
/// let cleaner = TripCleaner::bind(config, &schema, None)?;
/// let rules: Vec<_> = cleaner.rules().into_iter().map(|rule| rule.id).collect();
/// assert_eq!(rules, ["null_required", "dropoff_not_after_pickup", "distance_out_of_range"], "no window: no month");
/// # Ok::<(), lakehost_sdk::PluginError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TripCleaner {
    columns: Columns,
    bounds: Bounds,
    /// The rules that are on, in order: their places are the reasons of a patch.
    rules: Vec<RuleKind>,
    writes: SchemaRef,
}

impl TripCleaner {
    fn describe(&self, rule: RuleKind) -> String {
        let Bounds { distance_above_miles: above, distance_below_miles: below, amount_at_least_dollars: least, .. } =
            self.bounds;
        let Columns { pickup, dropoff } = &self.columns;
        match rule {
            RuleKind::NullRequired => {
                format!("{pickup}, {dropoff}, trip_distance, fare_amount or total_amount is null")
            }
            RuleKind::PickupOutOfMonth => format!("{pickup} lies outside the window"),
            RuleKind::DropoffNotAfterPickup => format!("{dropoff} is not after {pickup}"),
            RuleKind::DistanceOutOfRange => format!("trip_distance is not above {above} and below {below} miles"),
            RuleKind::NegativeAmount => format!("fare_amount or total_amount is below {least} dollars"),
        }
    }

    fn apply(&self, rule: RuleKind, index: u16, verdicts: &mut Verdicts, trips: &Trips<'_>) -> Result<()> {
        let bounds = &self.bounds;
        match (rule, bounds.pickup_micros) {
            (RuleKind::NullRequired, _) => rules::null_required(verdicts, index, trips),
            (RuleKind::PickupOutOfMonth, Some((start, end))) => {
                rules::pickup_out_of_month(verdicts, index, trips, start, end)
            }
            (RuleKind::PickupOutOfMonth, None) => Ok(()),
            (RuleKind::DropoffNotAfterPickup, _) => rules::dropoff_not_after_pickup(verdicts, index, trips),
            (RuleKind::DistanceOutOfRange, _) => {
                let (above, below) = (bounds.distance_above_miles, bounds.distance_below_miles);
                rules::distance_out_of_range(verdicts, index, trips, above, below)
            }
            (RuleKind::NegativeAmount, _) => {
                rules::negative_amount(verdicts, index, trips, bounds.amount_at_least_dollars)
            }
        }
    }
}

impl Cleaner for TripCleaner {
    type Config = CleanerConfig;

    fn spec() -> CleanerSpec {
        CleanerSpec {
            name: "trip_cleaner",
            version: env!("CARGO_PKG_VERSION"),
            description: "rejects impossible taxi trips, adds trip_minutes and avg_mph",
        }
    }

    fn bind(config: CleanerConfig, schema: &Schema, window: Option<&Window>) -> Result<Self> {
        let columns = Columns::of_schema(schema)?;
        let bounds = Bounds::new(&config, window)?;
        let on = |rule: &RuleKind| {
            let has_bounds = *rule != RuleKind::PickupOutOfMonth || bounds.pickup_micros.is_some();
            has_bounds && !config.off.iter().any(|off| off == rule.id())
        };
        let rules = RuleKind::ALL.into_iter().filter(on).collect();
        Ok(Self { columns, bounds, rules, writes: derive::schema() })
    }

    fn rules(&self) -> Vec<Rule> {
        self.rules.iter().map(|rule| Rule::new(rule.id(), self.describe(*rule))).collect()
    }

    fn reads(&self) -> Vec<String> {
        let Columns { pickup, dropoff } = &self.columns;
        [pickup, dropoff, Columns::DISTANCE, Columns::FARE, Columns::TOTAL].map(str::to_owned).to_vec()
    }

    fn writes(&self) -> SchemaRef {
        SchemaRef::clone(&self.writes)
    }

    fn clean(&self, batch: &RecordBatch) -> Result<Patch> {
        let trips = Trips::of_batch(batch, &self.columns)?;
        let mut verdicts = Verdicts::of_rows(batch.num_rows());
        for (index, rule) in (0..).zip(&self.rules) {
            self.apply(*rule, index, &mut verdicts, &trips)?;
        }
        Ok(verdicts.into_patch().with_columns(derive::columns(&self.writes, &trips)?))
    }
}

lakehost_sdk::export_cleaner!(TripCleaner);

#[cfg(test)]
mod tests;
