//! New trips from genuine ones: other times, distances and prices, the same dirt.

use crate::month::{DAY, HOUR, Month, SECOND};
use crate::random::Random;
use crate::sample::{FARE, Sample, TIP, TOTAL, Trip, hour_of_week};

/// Pickups outside the file's month, per million rows. Some lie years away.
const STRAYS_PER_MILLION: usize = 22;
const STRAY_YEARS: [i64; 4] = [-22, -15, -1, 74];
/// Ten thousand genuine trips end in fewer places than three million do: so many end anywhere.
const DETOUR_ONCE_IN: usize = 4;
/// Exact duplicates of the row before, once in so many rows.
const TWIN_ONCE_IN: usize = 500_000;

/// The trips of one month, nearly ordered by pickup: hour by hour, in any order within the hour.
pub struct Trips<'a> {
    sample: &'a Sample,
    month: Month,
    random: Random,
    /// Rows still to come, and by hour of the month for the block that is being written.
    remaining: usize,
    unmetered: usize,
    hours: Vec<usize>,
    hour: usize,
    in_unmetered: bool,
    last: Option<Trip>,
    /// The other half of a void: the positive trip that it cancels.
    mirror: Option<Trip>,
}

impl<'a> Trips<'a> {
    /// `unmetered_per_mille`: rows without a meter's record, which come last.
    pub fn new(sample: &'a Sample, month: Month, rows: usize, unmetered_per_mille: usize, seed: u64) -> Self {
        let unmetered = rows * unmetered_per_mille / 1000;
        let hours = spread(sample, month, rows - unmetered);
        Self {
            sample,
            month,
            random: Random::new(seed, month.ordinal()),
            remaining: rows,
            unmetered,
            hours,
            hour: 0,
            in_unmetered: false,
            last: None,
            mirror: None,
        }
    }

    /// The start of the hour that the next row belongs to.
    fn next_hour(&mut self) -> i64 {
        if !self.in_unmetered && self.remaining <= self.unmetered {
            self.in_unmetered = true;
            self.hours = spread(self.sample, self.month, self.unmetered);
            self.hour = 0;
            self.mirror = None;
        }
        while self.hours.get(self.hour) == Some(&0) {
            self.hour += 1;
        }
        if let Some(left) = self.hours.get_mut(self.hour) {
            *left -= 1;
        }
        self.month.start() + self.hour as i64 * HOUR
    }

    fn draw(&mut self, hour: i64) -> Trip {
        let from = if self.in_unmetered { &self.sample.unmetered } else { &self.sample.metered };
        let mut trip = from[self.random.below(from.len())];
        let seconds = (trip.dropoff - trip.pickup) / SECOND;
        let seconds = if seconds > 60 { (seconds + self.random.between(-45, 45)).max(1) } else { seconds };
        trip.pickup = hour + self.random.between(0, 3_599) * SECOND;
        trip.dropoff = trip.pickup + seconds * SECOND;
        if trip.distance > 0.0 && trip.distance < 100.0 {
            trip.distance = cents(trip.distance * (0.9 + 0.2 * self.random.unit())).max(0.01);
        }
        if self.random.once_in(DETOUR_ONCE_IN) {
            trip.dropoff_zone = self.random.between(1, 265) as i32;
        }
        self.price(&mut trip);
        if self.random.below(1_000_000) < STRAYS_PER_MILLION {
            self.stray(&mut trip);
        }
        trip
    }

    /// Another fare near the genuine one; tip and total follow.
    fn price(&mut self, trip: &mut Trip) {
        let before = trip.money;
        if before[FARE] <= 0.0 {
            return;
        }
        trip.money[FARE] = if self.in_unmetered {
            cents(before[FARE] * (0.9 + 0.2 * self.random.unit()))
        } else if trip.rate_code == Some(1) {
            // The meter counts 70 cents a step.
            cents((before[FARE] + 0.7 * self.random.between(-2, 2) as f64).max(3.0))
        } else {
            before[FARE]
        };
        trip.money[TIP] = cents(before[TIP] * trip.money[FARE] / before[FARE]);
        trip.money[TOTAL] = cents(before[TOTAL] + trip.money[FARE] - before[FARE] + trip.money[TIP] - before[TIP]);
    }

    /// A clock that was wrong.
    fn stray(&mut self, trip: &mut Trip) {
        let length = trip.dropoff - trip.pickup;
        trip.pickup = match self.random.below(10) {
            0 => trip.pickup + STRAY_YEARS[self.random.below(STRAY_YEARS.len())] * 365 * DAY,
            1..=6 => self.month.start() - self.random.between(1, 3_600) * SECOND,
            _ => self.month.end() + self.random.between(0, 3_600) * SECOND,
        };
        trip.dropoff = trip.pickup + length;
    }
}

impl Iterator for Trips<'_> {
    type Item = Trip;

    fn next(&mut self) -> Option<Trip> {
        if self.remaining == 0 {
            return None;
        }
        let hour = self.next_hour();
        self.remaining -= 1;
        let trip = if let Some(mirror) = self.mirror.take() {
            mirror
        } else if let Some(last) = self.last.filter(|_| self.random.once_in(TWIN_ONCE_IN)) {
            last
        } else {
            let trip = self.draw(hour);
            if trip.money[FARE] < 0.0 {
                self.mirror = Some(Trip {
                    money: trip.money.map(|amount| if amount == 0.0 { 0.0 } else { -amount }),
                    congestion: trip.congestion.map(f64::abs),
                    airport: trip.airport.map(f64::abs),
                    ..trip
                });
            }
            trip
        };
        self.last = Some(trip);
        Some(trip)
    }
}

/// Rows by hour of the month, as people ride by hour of the week; they sum to `rows`.
fn spread(sample: &Sample, month: Month, rows: usize) -> Vec<usize> {
    let hours = (month.end() - month.start()) / HOUR;
    let weights: Vec<usize> =
        (0..hours).map(|hour| sample.hours[hour_of_week(month.start() + hour * HOUR)] as usize).collect();
    let whole: usize = weights.iter().sum::<usize>().max(1);
    let (mut weight_so_far, mut rows_so_far) = (0, 0);
    weights
        .iter()
        .map(|weight| {
            weight_so_far += weight;
            let upto = rows * weight_so_far / whole;
            let here = upto - rows_so_far;
            rows_so_far = upto;
            here
        })
        .collect()
}

fn cents(amount: f64) -> f64 {
    (amount * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Dataset;

    fn sample(dataset: Dataset) -> Sample {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/nyc_taxi/data");
        Sample::read(&folder, dataset).expect("the genuine sample")
    }

    #[test]
    fn a_month_has_the_shape_and_the_dirt_of_a_genuine_one() {
        for (dataset, rows, payment) in [(Dataset::Yellow, 300_000, Some(0)), (Dataset::Green, 100_000, None)] {
            let (sample, per_mille) = (sample(dataset), dataset.unmetered_per_mille());
            let month = Month::parse("2024-01").expect("a month");
            let made = |seed| Trips::new(&sample, month, rows, per_mille, seed).collect::<Vec<Trip>>();
            let trips = made(1);
            assert_eq!(trips.len(), rows);
            assert_eq!(trips, made(1), "the same seed gives the same month");
            assert_ne!(trips, made(2), "another seed another");

            let first_null = trips.iter().position(|trip| trip.passengers.is_none()).expect("a null block");
            assert_eq!(first_null, rows - rows * per_mille / 1000);
            assert!(trips[first_null..].iter().all(|trip| trip.passengers.is_none() && trip.payment == payment));

            let share = |wrong: fn(&Trip) -> bool| trips.iter().filter(|trip| wrong(trip)).count() as f64 / rows as f64;
            let (no_way, refunds) = (share(|t| t.distance <= 0.0), share(|t| t.money[FARE] < 0.0));
            let no_time = share(|t| t.dropoff <= t.pickup);
            match dataset {
                Dataset::Yellow => {
                    assert!((0.010..0.025).contains(&no_way), "{no_way}");
                    assert!((0.008..0.025).contains(&refunds), "{refunds}");
                    assert!((0.0002..0.002).contains(&no_time), "{no_time}");
                }
                Dataset::Green => {
                    assert!((0.03..0.07).contains(&no_way), "{no_way}");
                    assert!((0.001..0.01).contains(&refunds), "{refunds}");
                    assert!((0.0..0.002).contains(&no_time), "{no_time}");
                }
            }
            let outside = trips.iter().filter(|t| t.pickup < month.start() || t.pickup >= month.end()).count();
            assert!((1..30).contains(&outside), "{outside}");

            let late = trips[..first_null].windows(2).filter(|pair| pair[1].pickup + HOUR < pair[0].pickup).count();
            assert!(late < 30, "nearly ordered by pickup: {late}");
        }
    }
}
