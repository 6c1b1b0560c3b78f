//! Which rows go into which data file: Iceberg's partition transforms over arrays.
//!
//! Rows get small dense codes, the codes stand for tuples of [`PartitionValue`]. No row splitter, no value per row: most batches lie in one
//! partition, which the smallest and largest source value prove (all transforms but `bucket` keep order).
//!
//! # Source
//!
//! Iceberg spec, "Partition Transforms" and appendix B (32-bit hash requirements).

use std::collections::HashMap;
use std::hash::Hash;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Schema, TimeUnit};

use crate::error::{Error, Result};
use crate::output::{PartitionField, PartitionValue, Transform};

const DAY_US: i64 = 86_400_000_000;
const HOUR_US: i64 = 3_600_000_000;
/// Files that one run may have open; each holds encoded pages and a connection to the store.
const PARTITION_LIMIT: usize = 2_000;
/// Keys this close together are looked up in a table and not hashed.
const TABLE_KEYS: u64 = 1 << 16;

/// The partitions of a run, in the order of their first row.
#[derive(Debug)]
pub(crate) struct Partitions {
    fields: Vec<PartitionField>,
    tuples: Vec<Vec<PartitionValue>>,
    codes: HashMap<Vec<PartitionValue>, u16>,
}

/// The partition of each row of a batch, as an index into [`Partitions`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Codes {
    /// All rows are in this one.
    One(u16),
    /// One code for each row.
    Each(Vec<u16>),
}

impl Partitions {
    /// Check that every field can be computed from its column in `schema`.
    pub(crate) fn new(fields: &[PartitionField], schema: &Schema) -> Result<Self> {
        for field in fields {
            let column = schema.field_with_name(&field.column).map_err(|_| Error::MissingColumn {
                name: "the table".to_owned(),
                column: field.column.clone(),
                looked_for: vec![field.column.clone()],
            })?;
            check(field, column.data_type())?;
        }
        Ok(Self { fields: fields.to_vec(), tuples: Vec::new(), codes: HashMap::new() })
    }

    /// The partition fields, in the order of the arrays that [`Partitions::assign`] takes.
    pub(crate) fn fields(&self) -> &[PartitionField] {
        &self.fields
    }

    /// How many partitions have been seen.
    pub(crate) fn len(&self) -> usize {
        self.tuples.len()
    }

    /// The tuple behind a code.
    pub(crate) fn values(&self, code: u16) -> &[PartitionValue] {
        self.tuples.get(usize::from(code)).map_or(&[], Vec::as_slice)
    }

    /// Codes for rows, from one array per field.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] when the run would need too many open files.
    pub(crate) fn assign(&mut self, columns: &[ArrayRef]) -> Result<Codes> {
        let mut tuples = Local::one(Vec::new());
        for (field, column) in self.fields.iter().zip(columns) {
            tuples = tuples.with(local(field, column)?);
        }
        let codes = tuples.values.into_iter().map(|tuple| self.code(tuple)).collect::<Result<Vec<u16>>>()?;
        match (tuples.rows, codes.as_slice()) {
            (None, [code, ..]) => Ok(Codes::One(*code)),
            (None, []) => Ok(Codes::Each(Vec::new())),
            (Some(rows), _) => Ok(Codes::Each(rows.into_iter().map(|row| codes[row as usize]).collect())),
        }
    }

    fn code(&mut self, tuple: Vec<PartitionValue>) -> Result<u16> {
        if let Some(code) = self.codes.get(&tuple) {
            return Ok(*code);
        }
        if self.tuples.len() >= PARTITION_LIMIT {
            return Err(Error::TooLarge {
                what: "the number of partitions of one load".to_owned(),
                found: self.tuples.len() as u64 + 1,
                limit: PARTITION_LIMIT as u64,
            });
        }
        let code = self.tuples.len() as u16;
        self.tuples.push(tuple.clone());
        self.codes.insert(tuple, code);
        Ok(code)
    }
}

/// Whether the transform is defined for the type.
fn check(field: &PartitionField, kind: &DataType) -> Result<()> {
    use DataType as T;
    use Transform as F;
    let micros = matches!(kind, T::Timestamp(TimeUnit::Microsecond, _));
    let good = match field.transform {
        F::Identity => micros || matches!(kind, T::Int32 | T::Int64 | T::Date32 | T::Utf8),
        F::Year | F::Month | F::Day => micros || *kind == T::Date32,
        F::Hour => micros,
        F::Bucket(count) => {
            count > 0 && (micros || matches!(kind, T::Int32 | T::Int64 | T::Date32 | T::Utf8 | T::Binary))
        }
        F::Truncate(width) => width > 0 && matches!(kind, T::Int32 | T::Int64 | T::Utf8),
    };
    if good {
        return Ok(());
    }
    Err(Error::unsupported(
        &format!("column {}", field.column),
        format!("{:?} of {kind}", field.transform).to_lowercase(),
    ))
}

/// Values of some rows: `rows` are indexes into `values`, absent when there is one value.
struct Local<V> {
    rows: Option<Vec<u32>>,
    values: Vec<V>,
}

impl<V> Local<V> {
    fn one(value: V) -> Self {
        Self { rows: None, values: vec![value] }
    }
}

impl Local<Vec<PartitionValue>> {
    /// Tuples that are one field longer.
    fn with(self, field: Local<PartitionValue>) -> Self {
        let tuple = |first: usize, second: usize| {
            let mut tuple = self.values[first].clone();
            tuple.push(field.values[second].clone());
            tuple
        };
        match (&self.rows, field.rows) {
            (None, None) => Self::one(tuple(0, 0)),
            (None, Some(rows)) => {
                Self { values: (0..field.values.len()).map(|second| tuple(0, second)).collect(), rows: Some(rows) }
            }
            (Some(_), None) => {
                let values = (0..self.values.len()).map(|first| tuple(first, 0)).collect();
                Self { values, rows: self.rows }
            }
            (Some(firsts), Some(seconds)) => {
                let count = field.values.len();
                let keys = firsts
                    .iter()
                    .zip(seconds)
                    .map(|(first, second)| i64::from(*first) * count as i64 + i64::from(second));
                let (rows, keys) = number(&keys.collect::<Vec<_>>(), None);
                let values =
                    keys.into_iter().flatten().map(|key| tuple(key as usize / count, key as usize % count)).collect();
                Self { rows: Some(rows), values }
            }
        }
    }
}

/// One field over its column.
fn local(field: &PartitionField, column: &ArrayRef) -> Result<Local<PartitionValue>> {
    use PartitionValue as V;
    use Transform as F;
    check(field, column.data_type())?;
    if column.is_empty() {
        return Ok(Local { rows: Some(Vec::new()), values: Vec::new() });
    }
    if column.null_count() == column.len() {
        return Ok(Local::one(V::Null));
    }
    let nulls = column.nulls();
    let found = match column.data_type() {
        DataType::Int32 => {
            let values = column.as_primitive::<Int32Type>().values();
            match field.transform {
                F::Truncate(width) => {
                    numbers(values, nulls, true, |v| truncate(v, i64::from(width)), |v| V::Int(v as i32))
                }
                F::Bucket(count) => {
                    numbers(values, nulls, false, |v| bucket(&v.to_le_bytes(), count), |v| V::Int(v as i32))
                }
                _ => numbers(values, nulls, true, |v| v, |v| V::Int(v as i32)),
            }
        }
        DataType::Int64 => {
            let values = column.as_primitive::<Int64Type>().values();
            match field.transform {
                F::Truncate(width) => numbers(values, nulls, true, |v| truncate(v, i64::from(width)), V::Long),
                F::Bucket(count) => {
                    numbers(values, nulls, false, |v| bucket(&v.to_le_bytes(), count), |v| V::Int(v as i32))
                }
                _ => numbers(values, nulls, true, |v| v, V::Long),
            }
        }
        DataType::Date32 => {
            let values = column.as_primitive::<Date32Type>().values();
            match field.transform {
                F::Year => numbers(values, nulls, true, |v| civil(v).0, |v| V::Int(v as i32)),
                F::Month => numbers(values, nulls, true, months, |v| V::Int(v as i32)),
                F::Bucket(count) => {
                    numbers(values, nulls, false, |v| bucket(&v.to_le_bytes(), count), |v| V::Int(v as i32))
                }
                _ => numbers(values, nulls, true, |v| v, |v| V::Date(v as i32)),
            }
        }
        DataType::Timestamp(..) => {
            let values = column.as_primitive::<TimestampMicrosecondType>().values();
            match field.transform {
                F::Year => numbers(values, nulls, true, |v| civil(v.div_euclid(DAY_US)).0, |v| V::Int(v as i32)),
                F::Month => numbers(values, nulls, true, |v| months(v.div_euclid(DAY_US)), |v| V::Int(v as i32)),
                F::Day => numbers(values, nulls, true, |v| v.div_euclid(DAY_US), |v| V::Date(v as i32)),
                F::Hour => numbers(values, nulls, true, |v| v.div_euclid(HOUR_US), |v| V::Int(v as i32)),
                F::Bucket(count) => {
                    numbers(values, nulls, false, |v| bucket(&v.to_le_bytes(), count), |v| V::Int(v as i32))
                }
                _ => numbers(values, nulls, true, |v| v, V::TimestampMicros),
            }
        }
        DataType::Binary => match field.transform {
            F::Bucket(count) => hashed(column.as_binary::<i32>().iter(), nulls, count),
            _ => return Err(Error::unsupported(&field.column, "this transform of bytes")),
        },
        _ => {
            let texts = column.as_string::<i32>();
            match field.transform {
                F::Bucket(count) => hashed(texts.iter().map(|text| text.map(str::as_bytes)), nulls, count),
                F::Truncate(width) => strings(texts.iter().map(|text| text.map(|text| prefix(text, width as usize)))),
                _ => strings(texts.iter()),
            }
        }
    };
    Ok(found)
}

/// Transform and number integers. `ordered`: the transform keeps order, so two ends that agree speak for all between them.
fn numbers<T: Copy + Ord + Into<i64>>(
    values: &[T],
    nulls: Option<&NullBuffer>,
    ordered: bool,
    transform: impl Fn(i64) -> i64,
    make: impl Fn(i64) -> PartitionValue,
) -> Local<PartitionValue> {
    let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
    let ends = values.iter().min().zip(values.iter().max()).filter(|_| ordered && nulls.is_none());
    match ends.map(|(low, high)| (transform((*low).into()), transform((*high).into()))) {
        Some((low, high)) if low == high => return Local::one(make(low)),
        _ => {}
    }
    let keys: Vec<i64> = values.iter().map(|value| transform((*value).into())).collect();
    let (rows, keys) = number(&keys, nulls);
    let values = keys.into_iter().map(|key| key.map_or(PartitionValue::Null, &make)).collect();
    Local { rows: Some(rows), values }
}

fn hashed<'a>(
    values: impl Iterator<Item = Option<&'a [u8]>>,
    nulls: Option<&NullBuffer>,
    count: u32,
) -> Local<PartitionValue> {
    let keys: Vec<i64> = values.map(|bytes| bytes.map_or(0, |bytes| bucket(bytes, count))).collect();
    let (rows, keys) = number(&keys, nulls);
    let values =
        keys.into_iter().map(|key| key.map_or(PartitionValue::Null, |key| PartitionValue::Int(key as i32))).collect();
    Local { rows: Some(rows), values }
}

fn strings<'a>(texts: impl Iterator<Item = Option<&'a str>>) -> Local<PartitionValue> {
    let (rows, keys) = intern(texts);
    let values = keys
        .into_iter()
        .map(|key| key.map_or(PartitionValue::Null, |text| PartitionValue::Text(text.to_owned())))
        .collect();
    Local { rows: Some(rows), values }
}

/// Number keys in the order of their first row; null is a key of its own.
fn number(keys: &[i64], nulls: Option<&NullBuffer>) -> (Vec<u32>, Vec<Option<i64>>) {
    let valid = |row: usize| nulls.is_none_or(|nulls| nulls.is_valid(row));
    let ends = keys.iter().min().copied().zip(keys.iter().max().copied());
    match ends {
        Some((low, high)) if high.abs_diff(low) < TABLE_KEYS => {
            let mut table = vec![u32::MAX; high.abs_diff(low) as usize + 1];
            let (mut null, mut found) = (u32::MAX, Vec::new());
            let rows = keys.iter().enumerate().map(|(row, key)| {
                let (slot, key) =
                    if valid(row) { (&mut table[key.abs_diff(low) as usize], Some(*key)) } else { (&mut null, None) };
                if *slot == u32::MAX {
                    *slot = found.len() as u32;
                    found.push(key);
                }
                *slot
            });
            (rows.collect(), found)
        }
        _ => intern(keys.iter().enumerate().map(|(row, key)| valid(row).then_some(*key))),
    }
}

fn intern<K: Copy + Eq + Hash>(keys: impl Iterator<Item = Option<K>>) -> (Vec<u32>, Vec<Option<K>>) {
    let (mut codes, mut found) = (HashMap::new(), Vec::new());
    let mut last: Option<(Option<K>, u32)> = None;
    let rows = keys.map(|key| match last {
        Some((same, code)) if same == key => code,
        _ => {
            let code = *codes.entry(key).or_insert_with(|| {
                found.push(key);
                found.len() as u32 - 1
            });
            last = Some((key, code));
            code
        }
    });
    let rows = rows.collect();
    (rows, found)
}

/// Year and month (1..=12) of a day since 1970-01-01, the year counted from 1970.
fn civil(day: i64) -> (i64, i64) {
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let day_of_era = day.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2) - 1970, month)
}

/// Months since 1970-01 of a day since 1970-01-01.
fn months(day: i64) -> i64 {
    let (year, month) = civil(day);
    year * 12 + month - 1
}

/// The largest multiple of `width` that is not above the value; wraps at the smallest values as the spec's formula does.
fn truncate(value: i64, width: i64) -> i64 {
    value.wrapping_sub(value.rem_euclid(width))
}

/// The first characters of a text.
fn prefix(text: &str, characters: usize) -> &str {
    text.char_indices().nth(characters).map_or(text, |(end, _)| &text[..end])
}

fn bucket(bytes: &[u8], count: u32) -> i64 {
    i64::from((murmur3(bytes) & i32::MAX as u32) % count)
}

/// Murmur3, 32 bit, x86 variant, seed 0.
fn murmur3(bytes: &[u8]) -> u32 {
    let mix = |block: u32| block.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let little = |bytes: &[u8]| bytes.iter().rev().fold(0_u32, |value, byte| value << 8 | u32::from(*byte));
    let blocks = bytes.chunks_exact(4);
    let tail = mix(little(blocks.remainder()));
    let hash = blocks.fold(0_u32, |hash, block| {
        (hash ^ mix(little(block))).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
    });
    let mut hash = hash ^ tail ^ bytes.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Date32Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
    use arrow_schema::Field;

    use super::*;
    use PartitionValue as V;

    #[test]
    fn hashes_are_those_of_the_spec() {
        let cases: &[(&[u8], i32)] = &[
            (&34_i64.to_le_bytes(), 2_017_239_379),
            (&17_486_i64.to_le_bytes(), -653_330_422),
            (&1_510_871_468_000_000_i64.to_le_bytes(), -2_047_944_441),
            (b"iceberg", 1_210_000_089),
            (&[0, 1, 2, 3], -188_683_207),
        ];
        for (bytes, expected) in cases {
            assert_eq!(murmur3(bytes) as i32, *expected, "{bytes:?}");
        }
    }

    /// The partition value of each row.
    fn assign(columns: Vec<(ArrayRef, Transform)>) -> Vec<Vec<V>> {
        let names: Vec<String> = (0..columns.len()).map(|index| format!("c{index}")).collect();
        let fields: Vec<_> = columns
            .iter()
            .zip(&names)
            .map(|((array, _), name)| Field::new(name, array.data_type().clone(), true))
            .collect();
        let parts: Vec<_> = columns
            .iter()
            .zip(&names)
            .map(|((_, transform), name)| PartitionField { column: name.clone(), transform: *transform })
            .collect();
        let arrays: Vec<ArrayRef> = columns.iter().map(|(array, _)| array.clone()).collect();
        let mut partitions = Partitions::new(&parts, &Schema::new(fields)).unwrap();
        match partitions.assign(&arrays).unwrap() {
            Codes::One(code) => vec![partitions.values(code).to_vec(); arrays[0].len()],
            Codes::Each(codes) => codes.iter().map(|code| partitions.values(*code).to_vec()).collect(),
        }
    }

    fn check(array: impl Array + 'static, transform: Transform, expected: Vec<V>) {
        let expected: Vec<Vec<V>> = expected.into_iter().map(|value| vec![value]).collect();
        assert_eq!(assign(vec![(Arc::new(array), transform)]), expected, "{transform:?}");
    }

    #[test]
    fn transforms_are_those_of_the_spec() {
        let times = || TimestampMicrosecondArray::from(vec![Some(0), Some(-1), None, Some(1_510_871_468_000_000)]);
        check(times(), Transform::Year, vec![V::Int(0), V::Int(-1), V::Null, V::Int(47)]);
        check(times(), Transform::Month, vec![V::Int(0), V::Int(-1), V::Null, V::Int(574)]);
        check(times(), Transform::Day, vec![V::Date(0), V::Date(-1), V::Null, V::Date(17_486)]);
        check(times(), Transform::Hour, vec![V::Int(0), V::Int(-1), V::Null, V::Int(419_686)]);
        check(Date32Array::from(vec![59, 789, 17_486]), Transform::Month, vec![V::Int(2), V::Int(25), V::Int(574)]);
        check(Int32Array::from(vec![1, -1, 10]), Transform::Truncate(10), vec![V::Int(0), V::Int(-10), V::Int(10)]);
        check(Int64Array::from(vec![34, 34]), Transform::Bucket(16), vec![V::Int(3), V::Int(3)]);
        check(
            Int64Array::from(vec![i64::MIN, i64::MAX]),
            Transform::Identity,
            vec![V::Long(i64::MIN), V::Long(i64::MAX)],
        );
        let text = |text: &str| V::Text(text.to_owned());
        check(
            StringArray::from(vec![Some("äöü"), Some("ä"), None]),
            Transform::Truncate(2),
            vec![text("äö"), text("ä"), V::Null],
        );
        check(StringArray::from(vec!["b", "a", "b"]), Transform::Identity, vec![text("b"), text("a"), text("b")]);
    }

    #[test]
    fn one_day_is_found_without_looking_at_the_rows() {
        let mut partitions = Partitions::new(
            &[PartitionField { column: "at".to_owned(), transform: Transform::Day }],
            &Schema::new(vec![Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true)]),
        )
        .unwrap();
        let day = |values: Vec<i64>| vec![Arc::new(TimestampMicrosecondArray::from(values)) as ArrayRef];
        assert_eq!(partitions.assign(&day(vec![5, DAY_US - 1])).unwrap(), Codes::One(0));
        assert_eq!(partitions.assign(&day(vec![DAY_US, 2 * DAY_US - 1])).unwrap(), Codes::One(1));
        assert_eq!(partitions.assign(&day(vec![DAY_US, 0])).unwrap(), Codes::Each(vec![1, 0]));
        assert_eq!(partitions.assign(&day(vec![])).unwrap(), Codes::Each(vec![]));
    }

    #[test]
    fn tuples_of_two_fields_are_the_pairs_that_occur() {
        let rows = assign(vec![
            (Arc::new(Int32Array::from(vec![Some(1), Some(2), Some(1), None])), Transform::Identity),
            (Arc::new(StringArray::from(vec!["a", "a", "b", "a"])), Transform::Identity),
        ]);
        let text = |text: &str| V::Text(text.to_owned());
        let expected = [(V::Int(1), "a"), (V::Int(2), "a"), (V::Int(1), "b"), (V::Null, "a")];
        let expected: Vec<Vec<V>> = expected.into_iter().map(|(number, letter)| vec![number, text(letter)]).collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn a_transform_that_the_type_does_not_have_is_refused() {
        let schema =
            Schema::new(vec![Field::new("d", DataType::Date32, true), Field::new("f", DataType::Float64, true)]);
        for (column, transform) in [("d", Transform::Hour), ("f", Transform::Identity), ("d", Transform::Bucket(0))] {
            let field = PartitionField { column: column.to_owned(), transform };
            assert!(matches!(Partitions::new(&[field], &schema).unwrap_err(), Error::Unsupported { .. }));
        }
        let field = PartitionField { column: "x".to_owned(), transform: Transform::Day };
        assert!(matches!(Partitions::new(&[field], &schema).unwrap_err(), Error::MissingColumn { .. }));
    }
}
