//! The columns that the cleaner adds.

use std::sync::Arc;

use lakehost_sdk::Result;
use lakehost_sdk::arrow_array::{Array, Float64Array, RecordBatch};
use lakehost_sdk::arrow_buffer::{BooleanBuffer, NullBuffer};
use lakehost_sdk::arrow_schema::{DataType, Field, Schema, SchemaRef};

use crate::rules::Trips;

const MICROS_PER_MINUTE: f64 = 60_000_000.0;
const MINUTES_PER_HOUR: f64 = 60.0;

/// What is added.
///
/// # Units
/// `trip_minutes` in minutes, `avg_mph` in miles per hour.
pub fn schema() -> SchemaRef {
    let field = |name| Field::new(name, DataType::Float64, true);
    Arc::new(Schema::new(vec![field("trip_minutes"), field("avg_mph")]))
}

/// Both columns for every row, the rejected ones too.
///
/// # Shape
/// `trip_minutes` is null where a time is. `avg_mph` is null where the distance or a time is, and where no time passed: a speed that
/// would be infinite or negative says nothing.
///
/// # Errors
/// `internal`, which needs columns of different lengths.
pub fn columns(schema: &SchemaRef, trips: &Trips<'_>) -> Result<RecordBatch> {
    let times = trips.dropoff.values().iter().zip(trips.pickup.values());
    let minutes: Vec<f64> =
        times.map(|(dropoff, pickup)| dropoff.saturating_sub(*pickup) as f64 / MICROS_PER_MINUTE).collect();
    let speeds: Vec<f64> = trips
        .distance
        .values()
        .iter()
        .zip(&minutes)
        .map(|(distance, minutes)| distance / (minutes / MINUTES_PER_HOUR))
        .collect();

    let timed = NullBuffer::union(trips.pickup.nulls(), trips.dropoff.nulls());
    let moving = NullBuffer::new(BooleanBuffer::collect_bool(minutes.len(), |row| minutes[row] > 0.0));
    let moving = (moving.null_count() > 0).then_some(moving);
    let measured = NullBuffer::union(timed.as_ref(), trips.distance.nulls());
    let measured = NullBuffer::union(measured.as_ref(), moving.as_ref());

    let minutes = Float64Array::try_new(minutes.into(), timed)?;
    let speeds = Float64Array::try_new(speeds.into(), measured)?;
    Ok(RecordBatch::try_new(SchemaRef::clone(schema), vec![Arc::new(minutes), Arc::new(speeds)])?)
}
