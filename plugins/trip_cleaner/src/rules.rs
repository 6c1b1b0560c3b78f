//! The rules, one function each. They look at whole columns; the first rule that rejects a row names the rejection.

use lakehost_sdk::arrow_array::{Array, Float64Array, RecordBatch, TimestampMicrosecondArray};
use lakehost_sdk::{PluginError, Result, Verdicts, Window};

use crate::{CleanerConfig, Columns};

/// The rules in the order in which they are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleKind {
    /// A value is missing that every trip has.
    NullRequired,
    /// The pickup lies outside the window that is loaded.
    PickupOutOfMonth,
    /// The trip ends before it begins, or takes no time.
    DropoffNotAfterPickup,
    /// The distance is none, or more than a taxi drives.
    DistanceOutOfRange,
    /// The fare or the total is below the least amount.
    NegativeAmount,
}

impl RuleKind {
    /// All of them, in order.
    pub const ALL: [RuleKind; 5] = [
        RuleKind::NullRequired,
        RuleKind::PickupOutOfMonth,
        RuleKind::DropoffNotAfterPickup,
        RuleKind::DistanceOutOfRange,
        RuleKind::NegativeAmount,
    ];

    /// Their ids, in order.
    pub const IDS: [&'static str; 5] = [
        "null_required",
        "pickup_out_of_month",
        "dropoff_not_after_pickup",
        "distance_out_of_range",
        "negative_amount",
    ];

    /// The short stable name that rejected rows carry.
    pub fn id(self) -> &'static str {
        match self {
            RuleKind::NullRequired => Self::IDS[0],
            RuleKind::PickupOutOfMonth => Self::IDS[1],
            RuleKind::DropoffNotAfterPickup => Self::IDS[2],
            RuleKind::DistanceOutOfRange => Self::IDS[3],
            RuleKind::NegativeAmount => Self::IDS[4],
        }
    }
}

/// What the rules compare with.
///
/// # Units
/// Distances in miles, amounts in dollars, times in microseconds of the data set's own clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// `start <= pickup < end`; `None`: the load has no window.
    pub pickup_micros: Option<(i64, i64)>,
    /// A distance must be above this.
    pub distance_above_miles: f64,
    /// A distance must be below this.
    pub distance_below_miles: f64,
    /// Fare and total must be at least this.
    pub amount_at_least_dollars: f64,
}

impl Bounds {
    /// The bounds of a configuration and a window.
    ///
    /// # Errors
    /// `config`, when no distance can satisfy both bounds or the window is no time.
    pub fn new(config: &CleanerConfig, window: Option<&Window>) -> Result<Self> {
        let CleanerConfig { distance_above_miles, distance_below_miles, amount_at_least_dollars, .. } = *config;
        if distance_above_miles >= distance_below_miles {
            let message = format!(
                "key `distance_above_miles` is {distance_above_miles}, expected less than `distance_below_miles` ({distance_below_miles})"
            );
            return Err(PluginError::config(message).with("key", "distance_above_miles"));
        }
        let slack_micros = config.pickup_slack_minutes.saturating_mul(60_000_000);
        let pickup_micros = match window {
            None => None,
            Some(window) => {
                let start = window.start_time()?.micros().saturating_sub(slack_micros);
                Some((start, window.end_time()?.micros().saturating_add(slack_micros)))
            }
        };
        Ok(Self { pickup_micros, distance_above_miles, distance_below_miles, amount_at_least_dollars })
    }
}

/// The columns that the rules read, of one batch.
#[derive(Debug, Clone, Copy)]
pub struct Trips<'a> {
    /// When the meter was engaged.
    pub pickup: &'a TimestampMicrosecondArray,
    /// When the meter was disengaged.
    pub dropoff: &'a TimestampMicrosecondArray,
    /// Miles by the meter.
    pub distance: &'a Float64Array,
    /// Dollars by the meter.
    pub fare: &'a Float64Array,
    /// Dollars in all, without cash tips.
    pub total: &'a Float64Array,
}

impl<'a> Trips<'a> {
    /// The columns of a batch.
    ///
    /// # Errors
    /// `schema-mismatch`, when the batch is not what the cleaner was bound to.
    pub fn of_batch(batch: &'a RecordBatch, columns: &Columns) -> Result<Self> {
        Ok(Self {
            pickup: lakehost_sdk::column(batch, &columns.pickup)?,
            dropoff: lakehost_sdk::column(batch, &columns.dropoff)?,
            distance: lakehost_sdk::column(batch, Columns::DISTANCE)?,
            fare: lakehost_sdk::column(batch, Columns::FARE)?,
            total: lakehost_sdk::column(batch, Columns::TOTAL)?,
        })
    }
}

/// Pickup, dropoff, distance, fare or total is null.
pub fn null_required(verdicts: &mut Verdicts, rule: u16, trips: &Trips<'_>) -> Result<()> {
    let required: [&dyn Array; 5] = [trips.pickup, trips.dropoff, trips.distance, trips.fare, trips.total];
    required.into_iter().try_for_each(|column| verdicts.reject_null(rule, column))
}

/// The pickup lies outside `start <= pickup < end`.
pub fn pickup_out_of_month(verdicts: &mut Verdicts, rule: u16, trips: &Trips<'_>, start: i64, end: i64) -> Result<()> {
    verdicts.reject(rule, trips.pickup, |pickup| (pickup < start) | (pickup >= end))
}

/// The dropoff is at the pickup or before it.
pub fn dropoff_not_after_pickup(verdicts: &mut Verdicts, rule: u16, trips: &Trips<'_>) -> Result<()> {
    verdicts.reject_pair(rule, trips.pickup, trips.dropoff, |pickup, dropoff| dropoff <= pickup)
}

/// The distance is not `above < distance < below`; so is one that is no number.
pub fn distance_out_of_range(
    verdicts: &mut Verdicts,
    rule: u16,
    trips: &Trips<'_>,
    above: f64,
    below: f64,
) -> Result<()> {
    verdicts.reject(rule, trips.distance, |distance| !((distance > above) & (distance < below)))
}

/// The fare or the total is below `least`.
pub fn negative_amount(verdicts: &mut Verdicts, rule: u16, trips: &Trips<'_>, least: f64) -> Result<()> {
    verdicts.reject(rule, trips.fare, |fare| fare < least)?;
    verdicts.reject(rule, trips.total, |total| total < least)
}
