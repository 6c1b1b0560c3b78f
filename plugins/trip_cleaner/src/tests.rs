//! Each rule on the rows that it is about, and the whole against an answer computed row by row.

use std::sync::Arc;

use lakehost_sdk::arrow_array::{Array, ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use lakehost_sdk::testing::{Cleaned, clean};
use lakehost_sdk::{Category, Window};

use super::*;

/// Pickup, dropoff, distance, fare, total.
type Trip = (Option<i64>, Option<i64>, Option<f64>, Option<f64>, Option<f64>);

const SECOND: i64 = 1_000_000;
const JANUARY: i64 = 1_704_067_200 * SECOND;
const FEBRUARY: i64 = JANUARY + 31 * 86_400 * SECOND;
const EIGHT: i64 = JANUARY + (9 * 86_400 + 8 * 3_600) * SECOND;
const HALF_PAST: i64 = EIGHT + 1_800 * SECOND;
const GOOD: Trip = (Some(EIGHT), Some(HALF_PAST), Some(5.0), Some(20.0), Some(25.5));

fn batch_of(prefix: &str, trips: &[Trip]) -> RecordBatch {
    let times = |pick: fn(&Trip) -> Option<i64>| -> ArrayRef {
        Arc::new(trips.iter().map(pick).collect::<TimestampMicrosecondArray>())
    };
    let numbers =
        |pick: fn(&Trip) -> Option<f64>| -> ArrayRef { Arc::new(trips.iter().map(pick).collect::<Float64Array>()) };
    let columns = [
        ("total_amount".to_owned(), numbers(|trip| trip.4)),
        (format!("{prefix}pickup_datetime"), times(|trip| trip.0)),
        (format!("{prefix}dropoff_datetime"), times(|trip| trip.1)),
        ("trip_distance".to_owned(), numbers(|trip| trip.2)),
        ("fare_amount".to_owned(), numbers(|trip| trip.3)),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).expect("equal lengths")
}

fn clean_in_january(config: &str, trips: &[Trip]) -> Cleaned {
    let window = Window::month(2024, 1).expect("a month");
    clean::<TripCleaner>(config, &batch_of("tpep_", trips), Some(&window)).expect("sound")
}

fn rule_of(config: &str, trip: Trip) -> Option<String> {
    let dearer = (GOOD.0, GOOD.1, Some(6.0), Some(21.0), GOOD.4);
    let mut rejected = clean_in_january(config, &[dearer, trip, dearer]).rejected;
    assert!(rejected.len() <= 1, "the good neighbours stay");
    rejected.pop().map(|(row, rule)| {
        assert_eq!(row, 1);
        rule
    })
}

#[test]
fn the_first_rule_that_fits_names_the_rejection() {
    let (pickup, dropoff, distance, fare, total) = GOOD;
    let (null, out, order) = (Some("null_required"), Some("pickup_out_of_month"), Some("dropoff_not_after_pickup"));
    let (range, negative) = (Some("distance_out_of_range"), Some("negative_amount"));
    for (trip, expected) in [
        (GOOD, None),
        ((None, dropoff, distance, fare, total), null),
        ((pickup, None, distance, fare, total), null),
        ((pickup, dropoff, None, fare, total), null),
        ((pickup, dropoff, distance, None, total), null),
        ((pickup, dropoff, distance, fare, None), null),
        ((Some(JANUARY), dropoff, distance, fare, total), None),
        ((Some(JANUARY - 1), dropoff, distance, fare, total), out),
        ((Some(FEBRUARY - 1), Some(FEBRUARY), distance, fare, total), None),
        ((Some(FEBRUARY), Some(FEBRUARY + 1), distance, fare, total), out),
        ((pickup, pickup, distance, fare, total), order),
        ((pickup, Some(EIGHT - 1), distance, fare, total), order),
        ((pickup, Some(EIGHT + 1), distance, fare, total), None),
        ((pickup, dropoff, Some(0.0), fare, total), range),
        ((pickup, dropoff, Some(-1.0), fare, total), range),
        ((pickup, dropoff, Some(0.01), fare, total), None),
        ((pickup, dropoff, Some(199.99), fare, total), None),
        ((pickup, dropoff, Some(200.0), fare, total), range),
        ((pickup, dropoff, Some(f64::NAN), fare, total), range),
        ((pickup, dropoff, Some(f64::INFINITY), fare, total), range),
        ((pickup, dropoff, distance, Some(0.0), total), None),
        ((pickup, dropoff, distance, Some(-0.01), total), negative),
        ((pickup, dropoff, distance, fare, Some(-0.01)), negative),
        ((None, pickup, Some(0.0), Some(-1.0), Some(-1.0)), null),
        ((Some(0), Some(0), Some(0.0), Some(-1.0), Some(-1.0)), out),
        ((pickup, pickup, Some(0.0), Some(-1.0), Some(-1.0)), order),
        ((pickup, dropoff, Some(0.0), Some(-1.0), Some(-1.0)), range),
    ] {
        assert_eq!(rule_of("{}", trip).as_deref(), expected, "{trip:?}");
    }
}

#[test]
fn rules_can_be_switched_off_and_bounds_changed() {
    let (pickup, dropoff, distance, fare, total) = GOOD;
    let refund = (pickup, dropoff, distance, Some(-5.0), total);
    let far = (pickup, dropoff, Some(250.0), fare, total);
    let early = (Some(JANUARY - 60 * SECOND), dropoff, distance, fare, total);
    let unknown = (pickup, dropoff, None, fare, total);
    for (config, trip, expected) in [
        (r#"{"off": ["negative_amount"]}"#, refund, None),
        (r#"{"amount_at_least_dollars": -5}"#, refund, None),
        (r#"{"amount_at_least_dollars": 20.5}"#, GOOD, Some("negative_amount")),
        (r#"{"distance_below_miles": 300}"#, far, None),
        (r#"{"distance_above_miles": 5}"#, GOOD, Some("distance_out_of_range")),
        (r#"{"pickup_slack_minutes": 1}"#, early, None),
        (r#"{"off": ["pickup_out_of_month"]}"#, (Some(0), dropoff, distance, fare, total), None),
        (r#"{"off": ["null_required"]}"#, unknown, None),
    ] {
        assert_eq!(rule_of(config, trip).as_deref(), expected, "{config}");
    }
}

#[test]
fn bounds_that_no_trip_can_meet_are_a_mistake() {
    let batch = batch_of("tpep_", &[GOOD]);
    let error = clean::<TripCleaner>(r#"{"distance_above_miles": 300}"#, &batch, None).expect_err("empty range");
    assert_eq!(error.message, "key `distance_above_miles` is 300, expected less than `distance_below_miles` (200)");
    let error = clean::<TripCleaner>(r#"{"off": ["negative_amounts"]}"#, &batch, None).expect_err("unknown rule");
    assert!(error.message.ends_with("did you mean `negative_amount`?"), "{}", error.message);
}

#[test]
fn without_a_window_any_month_will_do() {
    let trip = (Some(0), Some(SECOND), Some(1.0), Some(1.0), Some(1.0));
    let cleaned = clean::<TripCleaner>("{}", &batch_of("", &[trip]), None).expect("sound");
    assert_eq!(cleaned.rejected, []);
}

#[test]
fn yellow_green_and_snake_case_are_all_known() {
    for prefix in ["tpep_", "lpep_", ""] {
        let batch = batch_of(prefix, &[GOOD]);
        let cleaner = TripCleaner::bind(lakehost_sdk::config::parse("{}").expect("defaults"), &batch.schema(), None);
        let reads = cleaner.expect("bound").reads();
        assert_eq!(reads[0], format!("{prefix}pickup_datetime"));
        assert_eq!(reads.len(), 5);
    }
}

#[test]
fn a_schema_that_does_not_fit_is_named() {
    let text: ArrayRef = Arc::new(StringArray::from(vec!["5.0"]));
    let batch = batch_of("tpep_", &[GOOD]);
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, array)| {
        let array = if field.name() == "trip_distance" { &text } else { array };
        (field.name().clone(), Arc::clone(array))
    });
    let retyped = RecordBatch::try_from_iter(columns.collect::<Vec<_>>()).expect("equal lengths");
    let without = batch.project(&[1, 2, 3, 4]).expect("fewer columns");
    let untimed = batch.project(&[0, 3, 4]).expect("fewer columns");
    for (batch, message) in [
        (retyped, "column trip_distance is Utf8, expected Float64"),
        (without, "column total_amount is missing"),
        (untimed, "no column tpep_pickup_datetime, lpep_pickup_datetime or pickup_datetime"),
    ] {
        let error = clean::<TripCleaner>("{}", &batch, None).expect_err(message);
        assert_eq!((error.category, error.message.as_str()), (Category::SchemaMismatch, message));
    }
}

#[test]
fn minutes_and_speed_of_kept_rows() {
    let cleaned = clean_in_january("{}", &[GOOD, (GOOD.0, Some(EIGHT + 90 * SECOND), Some(0.5), GOOD.3, GOOD.4)]);
    let minutes: &Float64Array = lakehost_sdk::column(&cleaned.kept, "trip_minutes").expect("added");
    let speeds: &Float64Array = lakehost_sdk::column(&cleaned.kept, "avg_mph").expect("added");
    assert_eq!(minutes.values().as_ref(), [30.0, 1.5]);
    assert_eq!(speeds.values().as_ref(), [10.0, 0.5 / (1.5 / 60.0)]);
    assert_eq!((minutes.null_count(), speeds.null_count()), (0, 0));
}

#[test]
fn a_speed_that_says_nothing_is_null() {
    let off = r#"{"off": ["null_required", "dropoff_not_after_pickup", "distance_out_of_range"]}"#;
    let (pickup, dropoff, distance, fare, total) = GOOD;
    let cleaned = clean_in_january(
        off,
        &[
            (pickup, pickup, distance, fare, total),
            (pickup, Some(EIGHT - 60 * SECOND), distance, fare, total),
            (pickup, None, distance, fare, total),
            (pickup, dropoff, None, fare, total),
            GOOD,
        ],
    );
    assert_eq!(cleaned.rejected, []);
    let minutes: &Float64Array = lakehost_sdk::column(&cleaned.kept, "trip_minutes").expect("added");
    let speeds: &Float64Array = lakehost_sdk::column(&cleaned.kept, "avg_mph").expect("added");
    assert_eq!(minutes.iter().collect::<Vec<_>>(), [Some(0.0), Some(-1.0), None, Some(30.0), Some(30.0)]);
    assert_eq!(speeds.iter().collect::<Vec<_>>(), [None, None, None, None, Some(10.0)]);
}

#[test]
fn times_at_the_ends_of_the_calendar_do_not_overflow() {
    let trip = (Some(i64::MIN), Some(i64::MAX), Some(1.0), Some(1.0), Some(1.0));
    let cleaned = clean::<TripCleaner>("{}", &batch_of("tpep_", &[trip]), None).expect("no trap");
    assert_eq!(cleaned.kept.num_rows(), 1);
}

/// The rules, one row at a time.
fn by_row(trip: &Trip) -> Option<&'static str> {
    let (Some(pickup), Some(dropoff), Some(distance), Some(fare), Some(total)) = *trip else {
        return Some("null_required");
    };
    if !(JANUARY..FEBRUARY).contains(&pickup) {
        Some("pickup_out_of_month")
    } else if dropoff <= pickup {
        Some("dropoff_not_after_pickup")
    } else if distance <= 0.0 || distance >= 200.0 {
        Some("distance_out_of_range")
    } else if fare < 0.0 || total < 0.0 {
        Some("negative_amount")
    } else {
        None
    }
}

#[test]
fn many_dirty_rows_are_judged_as_one_by_one() {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut below = |bound: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % bound
    };
    let trips: Vec<Trip> = (0..10_007)
        .map(|_| {
            let pickup = JANUARY + (below(33 * 86_400) as i64 - 86_400) * SECOND;
            let minutes = below(100) as i64 - 3;
            (
                (below(50) > 0).then_some(pickup),
                (below(50) > 0).then_some(pickup + minutes * 60 * SECOND),
                (below(50) > 0).then_some(below(2_200) as f64 / 10.0 - 5.0),
                (below(50) > 0).then_some(below(1_000) as f64 / 10.0 - 3.0),
                (below(50) > 0).then_some(below(1_000) as f64 / 10.0 - 3.0),
            )
        })
        .collect();
    let expected: Vec<_> =
        trips.iter().enumerate().filter_map(|(row, trip)| by_row(trip).map(|rule| (row, rule.to_owned()))).collect();
    let cleaned = clean_in_january("{}", &trips);
    assert_eq!(cleaned.rejected, expected);
    assert_eq!(cleaned.kept.num_rows() + expected.len(), trips.len());
}
