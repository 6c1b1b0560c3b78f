//! Exact smallest and largest values of a column chunk, by the order that its Parquet type has.
//!
//! # Source
//! Parquet format, parquet.thrift, `ColumnOrder`: NaN is never a bound, a smallest value of zero is written as -0.0 and a largest as +0.0.

use super::values::{Kind, Values};
use parquet::basic::{LogicalType, SortOrder};
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::schema::types::ColumnDescriptor;
use std::cmp::Ordering;
use std::ops::Range;

/// How values compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Signed,
    Unsigned,
    /// No order that readers agree on: no bounds are written.
    Undefined,
}

/// Collects the bounds of the values that are written.
pub(crate) struct Bounds {
    order: Order,
    kind: Kind,
    found: Found,
}

enum Found {
    Nothing,
    /// Numbers; unsigned ones with the top bit flipped, so that signed comparison orders them.
    Ints(i64, i64),
    Doubles(f64, f64),
    Bytes(Vec<u8>, Vec<u8>),
}

impl Bounds {
    pub(crate) fn new(column: &ColumnDescriptor, kind: Kind) -> Self {
        let half_float = matches!(column.logical_type_ref(), Some(LogicalType::Float16));
        let order = match (column.sort_order(), kind) {
            _ if half_float => Order::Undefined,
            // A decimal of any length compares as a number: nothing that bytes alone show.
            (SortOrder::SIGNED, Kind::Bytes) => Order::Undefined,
            (SortOrder::SIGNED, _) => Order::Signed,
            (SortOrder::UNSIGNED, _) => Order::Unsigned,
            (SortOrder::UNDEFINED, _) => Order::Undefined,
        };
        Self { order, kind, found: Found::Nothing }
    }

    /// Takes the values of `range` into account.
    pub(crate) fn see(&mut self, values: &Values, range: Range<usize>) {
        if self.order == Order::Undefined || range.is_empty() {
            return;
        }
        match values {
            Values::Boolean(v) => self.ints(v[range].iter().map(|v| i64::from(*v))),
            Values::Int32(v) => {
                let flip = self.flip32();
                let (min, max) =
                    v[range].iter().fold((i32::MAX, i32::MIN), |(min, max), v| (min.min(v ^ flip), max.max(v ^ flip)));
                self.ints([i64::from(min), i64::from(max)].into_iter());
            }
            Values::Int64(v) => {
                let flip = self.flip64();
                let (min, max) =
                    v[range].iter().fold((i64::MAX, i64::MIN), |(min, max), v| (min.min(v ^ flip), max.max(v ^ flip)));
                self.ints([min, max].into_iter());
            }
            Values::Float(v) => self.doubles(v[range].iter().map(|v| f64::from(*v))),
            Values::Double(v) => self.doubles(v[range].iter().copied()),
            Values::Bytes(v) => range.for_each(|index| self.bytes(v.get(index))),
            Values::Fixed(v) => range.for_each(|index| self.bytes(v.get(index))),
        }
    }

    /// Takes the entries whose flag is 1 into account.
    pub(crate) fn see_used(&mut self, dictionary: &Values, used: &[u8]) {
        let mut index = 0;
        while let Some(start) = used.get(index..).and_then(|rest| rest.iter().position(|flag| *flag == 1)) {
            let start = index + start;
            let end = used[start..].iter().position(|flag| *flag == 0).map_or(used.len(), |len| start + len);
            self.see(dictionary, start..end);
            index = end;
        }
    }

    fn flip32(&self) -> i32 {
        if self.order == Order::Unsigned { i32::MIN } else { 0 }
    }

    fn flip64(&self) -> i64 {
        if self.order == Order::Unsigned { i64::MIN } else { 0 }
    }

    fn ints(&mut self, values: impl Iterator<Item = i64>) {
        for value in values {
            self.found = match self.found {
                Found::Ints(min, max) => Found::Ints(min.min(value), max.max(value)),
                _ => Found::Ints(value, value),
            };
        }
    }

    fn doubles(&mut self, values: impl Iterator<Item = f64>) {
        let (mut min, mut max) = match self.found {
            Found::Doubles(min, max) => (min, max),
            _ => (f64::INFINITY, f64::NEG_INFINITY),
        };
        for value in values {
            // A comparison with NaN is false, so NaN never gets in.
            min = if value < min { value } else { min };
            max = if value > max { value } else { max };
        }
        // Nothing but NaN leaves the two crossed.
        if min <= max {
            self.found = Found::Doubles(min, max);
        }
    }

    fn bytes(&mut self, value: &[u8]) {
        let signed = self.order == Order::Signed;
        match &mut self.found {
            Found::Bytes(min, max) => {
                if compare(value, min, signed).is_lt() {
                    min.clear();
                    min.extend_from_slice(value);
                } else if compare(value, max, signed).is_gt() {
                    max.clear();
                    max.extend_from_slice(value);
                }
            }
            found => *found = Found::Bytes(value.to_vec(), value.to_vec()),
        }
    }

    /// The statistics of a chunk with so many nulls.
    pub(crate) fn finish(self, nulls: u64) -> Statistics {
        let (flip32, flip64, signed) = (self.flip32(), self.flip64(), self.order == Order::Signed);
        macro_rules! statistics {
            ($bounds:expr) => {{
                let (min, max) = $bounds.unzip();
                ValueStatistics::new(min, max, None, Some(nulls), false)
                    .with_backwards_compatible_min_max(signed)
                    .into()
            }};
        }
        let ints = match self.found {
            Found::Ints(min, max) => Some((min, max)),
            _ => None,
        };
        let doubles = match self.found {
            Found::Doubles(min, max) => Some((if min == 0.0 { -0.0 } else { min }, if max == 0.0 { 0.0 } else { max })),
            _ => None,
        };
        match (self.kind, self.found) {
            (Kind::Boolean, _) => statistics!(ints.map(|(min, max)| (min != 0, max != 0))),
            (Kind::Int32, _) => statistics!(ints.map(|(min, max)| (min as i32 ^ flip32, max as i32 ^ flip32))),
            (Kind::Int64, _) => statistics!(ints.map(|(min, max)| (min ^ flip64, max ^ flip64))),
            // Single-precision values came in exactly and leave exactly.
            (Kind::Float, _) => statistics!(doubles.map(|(min, max)| (min as f32, max as f32))),
            (Kind::Double, _) => statistics!(doubles),
            (Kind::Bytes, Found::Bytes(min, max)) => statistics!(Some((ByteArray::from(min), ByteArray::from(max)))),
            (Kind::Bytes, _) => statistics!(None::<(ByteArray, ByteArray)>),
            (Kind::Fixed(_), Found::Bytes(min, max)) => {
                let fixed = |bytes: Vec<u8>| FixedLenByteArray::from(ByteArray::from(bytes));
                Statistics::FixedLenByteArray(statistics!(Some((fixed(min), fixed(max)))))
            }
            (Kind::Fixed(_), _) => {
                Statistics::FixedLenByteArray(statistics!(None::<(FixedLenByteArray, FixedLenByteArray)>))
            }
        }
    }
}

/// Byte-wise order; `signed`: big-endian two's complement numbers of one width.
fn compare(left: &[u8], right: &[u8], signed: bool) -> Ordering {
    match (signed, left.split_first(), right.split_first()) {
        (true, Some((left_top, left)), Some((right_top, right))) => {
            (left_top ^ 128).cmp(&(right_top ^ 128)).then_with(|| left.cmp(right))
        }
        _ => left.cmp(right),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::basic::{Repetition, Type};
    use parquet::schema::types::{ColumnPath, Type as SchemaType};
    use std::sync::Arc;

    fn column(physical: Type, logical: Option<LogicalType>, width: i32) -> ColumnDescriptor {
        let field = SchemaType::primitive_type_builder("x", physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical)
            .with_length(width)
            .with_precision(4)
            .with_scale(0)
            .build()
            .unwrap();
        ColumnDescriptor::new(Arc::new(field), 1, 0, ColumnPath::from("x"))
    }

    fn bounds(column: &ColumnDescriptor, values: &Values) -> Statistics {
        let mut bounds = Bounds::new(column, values.kind());
        bounds.see(values, 0..values.len());
        bounds.finish(0)
    }

    #[test]
    fn doubles_follow_the_format() {
        let double = column(Type::DOUBLE, None, 0);
        let nan = f64::NAN;
        type Case<'a> = (&'a [f64], Option<(f64, f64)>);
        let cases: [Case<'_>; 6] = [
            (&[nan, 3.0, -1.0, nan], Some((-1.0, 3.0))),
            (&[nan, nan], None),
            (&[0.0, 0.0], Some((-0.0, 0.0))),
            (&[-0.0], Some((-0.0, 0.0))),
            (&[f64::INFINITY, nan], Some((f64::INFINITY, f64::INFINITY))),
            (&[f64::NEG_INFINITY], Some((f64::NEG_INFINITY, f64::NEG_INFINITY))),
        ];
        for (values, wanted) in cases {
            let Statistics::Double(found) = bounds(&double, &Values::Double(values.to_vec())) else { panic!("kind") };
            let bits = |(min, max): (f64, f64)| (min.to_bits(), max.to_bits());
            assert_eq!(
                found.min_opt().copied().zip(found.max_opt().copied()).map(bits),
                wanted.map(bits),
                "{values:?}"
            );
        }
    }

    #[test]
    fn unsigned_numbers_and_signed_bytes() {
        let unsigned = column(Type::INT32, Some(LogicalType::Integer { bit_width: 32, is_signed: false }), 0);
        let Statistics::Int32(found) = bounds(&unsigned, &Values::Int32(vec![-1, 5])) else { panic!("kind") };
        assert_eq!((found.min_opt(), found.max_opt()), (Some(&5), Some(&-1)));
        let decimal = column(Type::FIXED_LEN_BYTE_ARRAY, Some(LogicalType::Decimal { scale: 0, precision: 4 }), 2);
        let values = super::super::byte_values::FixedValues { width: 2, data: vec![0xff, 0xff, 0, 1, 0x80, 0] };
        let Statistics::FixedLenByteArray(found) = bounds(&decimal, &Values::Fixed(values)) else { panic!("kind") };
        assert_eq!(found.min_opt().unwrap().data(), [0x80, 0]);
        assert_eq!(found.max_opt().unwrap().data(), [0, 1]);
    }

    #[test]
    fn only_used_entries_count() {
        let int = column(Type::INT64, None, 0);
        let dictionary = Values::Int64(vec![9, -4, 7, 100, 8]);
        let mut found = Bounds::new(&int, Kind::Int64);
        found.see_used(&dictionary, &[1, 0, 1, 0, 1]);
        let Statistics::Int64(found) = found.finish(3) else { panic!("kind") };
        assert_eq!((found.min_opt(), found.max_opt(), found.null_count_opt()), (Some(&7), Some(&9), Some(3)));
    }
}
