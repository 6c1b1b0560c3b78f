//! Values of one physical Parquet type, dense (no nulls), as dictionaries and PLAIN pages hold them.

use super::byte_values::{ByteValues, FixedValues};
use super::fault::{PageFault, PageResult, corrupt};
use super::rle;
use super::select::Mover;
use parquet::basic::Type;
use parquet::schema::types::ColumnDescriptor;
use std::ops::Range;

/// Most text that one slice of rows may become when dictionary entries are written out: a short page can name a long
/// entry any number of times.
const PICKED_LIMIT_BYTES: usize = 1 << 30;

/// The physical types that the page path carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Boolean,
    Int32,
    Int64,
    Float,
    Double,
    Bytes,
    Fixed(usize),
}

impl Kind {
    /// The kind of a column, or `None` for INT96.
    pub(crate) fn of(column: &ColumnDescriptor) -> Option<Self> {
        Some(match column.physical_type() {
            Type::BOOLEAN => Kind::Boolean,
            Type::INT32 => Kind::Int32,
            Type::INT64 => Kind::Int64,
            Type::FLOAT => Kind::Float,
            Type::DOUBLE => Kind::Double,
            Type::BYTE_ARRAY => Kind::Bytes,
            Type::FIXED_LEN_BYTE_ARRAY => {
                Kind::Fixed(usize::try_from(column.type_length()).ok().filter(|width| *width > 0)?)
            }
            Type::INT96 => return None,
        })
    }

    /// Checks that `source` starts with `count` PLAIN values. With `utf8`, byte strings must be text.
    pub(crate) fn check_plain(self, source: &[u8], count: usize, utf8: bool) -> PageResult<()> {
        let wanted = match self {
            Kind::Boolean => count.div_ceil(8),
            Kind::Int32 | Kind::Float => count.saturating_mul(4),
            Kind::Int64 | Kind::Double => count.saturating_mul(8),
            Kind::Fixed(width) => count.saturating_mul(width),
            Kind::Bytes => {
                let mut values = ByteValues::default();
                values.extend_plain(source, count)?;
                return if utf8 { values.check_utf8(0) } else { Ok(()) };
            }
        };
        if source.len() < wanted {
            return corrupt(format!("a page of {count} values holds {} bytes", source.len()));
        }
        Ok(())
    }
}

/// Dense values of one physical type.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Values {
    /// One byte per value, 0 or 1.
    Boolean(Vec<u8>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Bytes(ByteValues),
    Fixed(FixedValues),
}

/// A number as PLAIN writes it.
trait Number: Copy + Default {
    const BYTES: usize;
    fn extend(source: &[u8], out: &mut Vec<Self>);
    fn write(values: &[Self], out: &mut Vec<u8>);
    fn put(self, out: &mut Vec<u8>);
}

macro_rules! number {
    ($($type:ty),*) => { $(
        impl Number for $type {
            const BYTES: usize = size_of::<$type>();
            fn extend(source: &[u8], out: &mut Vec<Self>) {
                let (words, _) = source.as_chunks::<{ size_of::<$type>() }>();
                out.extend(words.iter().map(|word| <$type>::from_le_bytes(*word)));
            }
            fn write(values: &[Self], out: &mut Vec<u8>) {
                let start = out.len();
                out.resize(start + size_of_val(values), 0);
                let (words, _) = out[start..].as_chunks_mut::<{ size_of::<$type>() }>();
                for (word, value) in words.iter_mut().zip(values) {
                    *word = value.to_le_bytes();
                }
            }
            fn put(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
    )* };
}
number!(i32, i64, f32, f64);

fn extend_numbers<T: Number>(values: &mut Vec<T>, source: &[u8], count: usize) -> PageResult<()> {
    match count.checked_mul(T::BYTES).and_then(|bytes| source.get(..bytes)) {
        Some(source) => {
            T::extend(source, values);
            Ok(())
        }
        None => corrupt(format!("a page of {count} values holds {} bytes", source.len())),
    }
}

fn put_by_ids<T: Number>(values: &[T], ids: &[u32], out: &mut Vec<u8>) {
    out.reserve(ids.len() * T::BYTES);
    for id in ids {
        values[*id as usize].put(out);
    }
}

/// Runs the same expression on the vector of any numeric kind.
macro_rules! each_vec {
    ($values:expr, $vec:ident => $numeric:expr, Bytes($bytes:ident) => $byte:expr, Fixed($fixed:ident) => $fix:expr) => {
        match $values {
            Values::Boolean($vec) => $numeric,
            Values::Int32($vec) => $numeric,
            Values::Int64($vec) => $numeric,
            Values::Float($vec) => $numeric,
            Values::Double($vec) => $numeric,
            Values::Bytes($bytes) => $byte,
            Values::Fixed($fixed) => $fix,
        }
    };
}

impl Values {
    pub(crate) fn new(kind: Kind) -> Self {
        match kind {
            Kind::Boolean => Values::Boolean(Vec::new()),
            Kind::Int32 => Values::Int32(Vec::new()),
            Kind::Int64 => Values::Int64(Vec::new()),
            Kind::Float => Values::Float(Vec::new()),
            Kind::Double => Values::Double(Vec::new()),
            Kind::Bytes => Values::Bytes(ByteValues::default()),
            Kind::Fixed(width) => Values::Fixed(FixedValues { width, data: Vec::new() }),
        }
    }

    /// As [`Values::new`], with room for so many numbers.
    pub(crate) fn with_room(kind: Kind, count: usize) -> Self {
        match kind {
            Kind::Int32 => Values::Int32(Vec::with_capacity(count)),
            Kind::Int64 => Values::Int64(Vec::with_capacity(count)),
            Kind::Float => Values::Float(Vec::with_capacity(count)),
            Kind::Double => Values::Double(Vec::with_capacity(count)),
            other => Values::new(other),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Values::Boolean(_) => Kind::Boolean,
            Values::Int32(_) => Kind::Int32,
            Values::Int64(_) => Kind::Int64,
            Values::Float(_) => Kind::Float,
            Values::Double(_) => Kind::Double,
            Values::Bytes(_) => Kind::Bytes,
            Values::Fixed(fixed) => Kind::Fixed(fixed.width),
        }
    }

    pub(crate) fn len(&self) -> usize {
        each_vec!(self, vec => vec.len(), Bytes(bytes) => bytes.len(), Fixed(fixed) => fixed.len())
    }

    pub(crate) fn clear(&mut self) {
        each_vec!(self, vec => vec.clear(), Bytes(bytes) => { bytes.data.clear(); bytes.starts.clear(); }, Fixed(fixed) => fixed.data.clear())
    }

    /// Reads `count` PLAIN values from the start of `source`. With `utf8`, byte strings must be text.
    ///
    /// # Errors
    /// When `source` holds fewer, or a text value is not UTF-8.
    pub(crate) fn extend_plain(&mut self, source: &[u8], count: usize, utf8: bool) -> PageResult<()> {
        match self {
            Values::Boolean(bits) => {
                if source.len() < count.div_ceil(8) {
                    return corrupt(format!("a page of {count} booleans holds {} bytes", source.len()));
                }
                rle::unpack_bits(source, count, bits);
                Ok(())
            }
            Values::Int32(values) => extend_numbers(values, source, count),
            Values::Int64(values) => extend_numbers(values, source, count),
            Values::Float(values) => extend_numbers(values, source, count),
            Values::Double(values) => extend_numbers(values, source, count),
            Values::Bytes(values) => {
                let first = values.len();
                values.extend_plain(source, count)?;
                if utf8 { values.check_utf8(first) } else { Ok(()) }
            }
            Values::Fixed(values) => match count.checked_mul(values.width).and_then(|bytes| source.get(..bytes)) {
                Some(source) => {
                    values.data.extend_from_slice(source);
                    Ok(())
                }
                None => corrupt(format!("a page of {count} values holds {} bytes", source.len())),
            },
        }
    }

    /// Bytes that the values of `range` take as PLAIN.
    pub(crate) fn plain_bytes(&self, range: Range<usize>) -> usize {
        match self {
            Values::Boolean(_) => range.len().div_ceil(8),
            Values::Int32(_) | Values::Float(_) => range.len() * 4,
            Values::Int64(_) | Values::Double(_) => range.len() * 8,
            Values::Bytes(values) => {
                let start = values.starts.get(range.start).map_or(values.data.len(), |at| *at as usize);
                values.starts.get(range.end).map_or(values.data.len(), |at| *at as usize).saturating_sub(start)
            }
            Values::Fixed(values) => range.len() * values.width,
        }
    }

    /// Appends the values of `range` as PLAIN.
    pub(crate) fn write_plain(&self, range: Range<usize>, out: &mut Vec<u8>) {
        match self {
            Values::Boolean(values) => rle::pack_bits(&values[range], out),
            Values::Int32(values) => Number::write(&values[range], out),
            Values::Int64(values) => Number::write(&values[range], out),
            Values::Float(values) => Number::write(&values[range], out),
            Values::Double(values) => Number::write(&values[range], out),
            Values::Bytes(values) => {
                let start = values.starts.get(range.start).map_or(values.data.len(), |at| *at as usize);
                let end = values.starts.get(range.end).map_or(values.data.len(), |at| *at as usize);
                out.extend_from_slice(&values.data[start..end]);
            }
            Values::Fixed(values) => {
                out.extend_from_slice(&values.data[range.start * values.width..range.end * values.width])
            }
        }
    }

    /// Appends the values at `ids` as PLAIN. Every id is below [`Values::len`].
    pub(crate) fn write_plain_ids(&self, ids: &[u32], out: &mut Vec<u8>) {
        match self {
            Values::Boolean(values) => {
                let picked: Vec<u8> = ids.iter().map(|id| values[*id as usize]).collect();
                rle::pack_bits(&picked, out);
            }
            Values::Int32(values) => put_by_ids(values, ids, out),
            Values::Int64(values) => put_by_ids(values, ids, out),
            Values::Float(values) => put_by_ids(values, ids, out),
            Values::Double(values) => put_by_ids(values, ids, out),
            Values::Bytes(values) => ids.iter().for_each(|id| out.extend_from_slice(values.encoded(*id as usize))),
            Values::Fixed(values) => ids.iter().for_each(|id| out.extend_from_slice(values.get(*id as usize))),
        }
    }

    /// The kept values, partition after partition.
    pub(crate) fn moved(&self, mover: &Mover<'_>) -> Values {
        match self {
            Values::Boolean(values) => Values::Boolean(mover.apply(values)),
            Values::Int32(values) => Values::Int32(mover.apply(values)),
            Values::Int64(values) => Values::Int64(mover.apply(values)),
            Values::Float(values) => Values::Float(mover.apply(values)),
            Values::Double(values) => Values::Double(mover.apply(values)),
            Values::Bytes(values) => {
                let order = mover.order(values.len());
                let mut moved =
                    ByteValues { data: Vec::with_capacity(values.data.len()), starts: Vec::with_capacity(order.len()) };
                order.iter().for_each(|index| moved.push_encoded(values.encoded(*index as usize)));
                Values::Bytes(moved)
            }
            Values::Fixed(values) => {
                let mut data = Vec::with_capacity(values.data.len());
                mover.order(values.len()).iter().for_each(|index| data.extend_from_slice(values.get(*index as usize)));
                Values::Fixed(FixedValues { width: values.width, data })
            }
        }
    }

    /// The values at `ids`, every one of which is below [`Values::len`].
    ///
    /// # Errors
    /// When text repeats so often that it passes [`PICKED_LIMIT_BYTES`].
    pub(crate) fn picked(&self, ids: &[u32]) -> PageResult<Values> {
        fn pick<T: Copy>(values: &[T], ids: &[u32]) -> Vec<T> {
            ids.iter().map(|id| values[*id as usize]).collect()
        }
        Ok(match self {
            Values::Boolean(values) => Values::Boolean(pick(values, ids)),
            Values::Int32(values) => Values::Int32(pick(values, ids)),
            Values::Int64(values) => Values::Int64(pick(values, ids)),
            Values::Float(values) => Values::Float(pick(values, ids)),
            Values::Double(values) => Values::Double(pick(values, ids)),
            Values::Bytes(values) => {
                let bytes: usize = ids.iter().map(|id| values.encoded(*id as usize).len()).sum();
                if bytes > PICKED_LIMIT_BYTES {
                    return Err(PageFault::TooLarge(format!("{} text values of {bytes} bytes", ids.len())));
                }
                let mut picked = ByteValues { data: Vec::with_capacity(bytes), starts: Vec::with_capacity(ids.len()) };
                ids.iter().for_each(|id| picked.push_encoded(values.encoded(*id as usize)));
                Values::Bytes(picked)
            }
            Values::Fixed(values) => {
                let mut data = Vec::with_capacity(ids.len() * values.width);
                ids.iter().for_each(|id| data.extend_from_slice(values.get(*id as usize)));
                Values::Fixed(FixedValues { width: values.width, data })
            }
        })
    }

    /// A copy of the values of `range`.
    pub(crate) fn cut(&self, range: Range<usize>) -> Values {
        match self {
            Values::Boolean(values) => Values::Boolean(values[range].to_vec()),
            Values::Int32(values) => Values::Int32(values[range].to_vec()),
            Values::Int64(values) => Values::Int64(values[range].to_vec()),
            Values::Float(values) => Values::Float(values[range].to_vec()),
            Values::Double(values) => Values::Double(values[range].to_vec()),
            Values::Bytes(values) => {
                let mut cut = ByteValues {
                    data: Vec::with_capacity(self.plain_bytes(range.clone())),
                    starts: Vec::with_capacity(range.len()),
                };
                range.for_each(|index| cut.push_encoded(values.encoded(index)));
                Values::Bytes(cut)
            }
            Values::Fixed(values) => {
                let data = values.data[range.start * values.width..range.end * values.width].to_vec();
                Values::Fixed(FixedValues { width: values.width, data })
            }
        }
    }

    /// Appends the values of `range` of `other`, which is of the same kind.
    ///
    /// # Errors
    /// When the kinds differ, or text passes 4 GiB.
    pub(crate) fn append(&mut self, other: &Values, range: Range<usize>) -> PageResult<()> {
        match (self, other) {
            (Values::Boolean(own), Values::Boolean(other)) => own.extend_from_slice(&other[range]),
            (Values::Int32(own), Values::Int32(other)) => own.extend_from_slice(&other[range]),
            (Values::Int64(own), Values::Int64(other)) => own.extend_from_slice(&other[range]),
            (Values::Float(own), Values::Float(other)) => own.extend_from_slice(&other[range]),
            (Values::Double(own), Values::Double(other)) => own.extend_from_slice(&other[range]),
            (Values::Bytes(own), Values::Bytes(text)) => {
                own.make_room(other.plain_bytes(range.clone()))?;
                range.for_each(|index| own.push_encoded(text.encoded(index)));
            }
            (Values::Fixed(own), Values::Fixed(other)) if own.width == other.width => {
                own.data.extend_from_slice(&other.data[range.start * own.width..range.end * own.width]);
            }
            (own, other) => {
                return corrupt(format!("values of {:?} cannot follow values of {:?}", other.kind(), own.kind()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_comes_back() {
        let mut text = ByteValues::default();
        for value in ["", "a", "Größe", "x".repeat(300).as_str()] {
            text.push(value.as_bytes()).unwrap();
        }
        let cases = [
            Values::Boolean(vec![1, 0, 1, 1, 0, 0, 0, 1, 1]),
            Values::Int32(vec![1, -1, i32::MIN]),
            Values::Int64(vec![1, -1, i64::MAX]),
            Values::Float(vec![0.5, -0.0]),
            Values::Double(vec![1e300, -2.5]),
            Values::Bytes(text),
            Values::Fixed(FixedValues { width: 3, data: b"abcdef".to_vec() }),
        ];
        for values in cases {
            let mut bytes = Vec::new();
            values.write_plain(0..values.len(), &mut bytes);
            assert_eq!(bytes.len(), values.plain_bytes(0..values.len()));
            let mut back = Values::new(values.kind());
            back.extend_plain(&bytes, values.len(), true).unwrap();
            assert_eq!(back, values);
            assert!(back.extend_plain(&bytes[..bytes.len() - 1], values.len(), true).is_err(), "{:?}", values.kind());
            let ids: Vec<u32> = (0..values.len() as u32).collect();
            let mut picked = Vec::new();
            values.write_plain_ids(&ids, &mut picked);
            assert_eq!(picked, bytes);
        }
    }

    #[test]
    fn text_must_be_utf8() {
        let mut bytes = Vec::new();
        let mut bad = ByteValues::default();
        bad.push(&[0xff, 0xfe]).unwrap();
        Values::Bytes(bad).write_plain(0..1, &mut bytes);
        assert!(Values::new(Kind::Bytes).extend_plain(&bytes, 1, true).is_err());
        assert!(Values::new(Kind::Bytes).extend_plain(&bytes, 1, false).is_ok());
    }
}
