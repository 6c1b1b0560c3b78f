//! Between dense values of a physical Parquet type and Arrow arrays, both ways, without changing a value.

use super::byte_values::{ByteValues, FixedValues};
use super::fault::{PageFault, PageResult, corrupt};
use super::rle;
use super::select::compact;
use super::values::{Kind, Values};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, Time32MillisecondType, Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, BooleanArray, FixedSizeBinaryArray, GenericByteArray, PrimitiveArray,
    types::{BinaryType, ByteArrayType, LargeBinaryType, LargeUtf8Type, Utf8Type},
};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, TimeUnit};
use std::sync::Arc;

/// Validity bytes (1 = not null) as a null buffer; `None` stays "no nulls".
pub(crate) fn null_buffer(valid: Option<&[u8]>) -> Option<NullBuffer> {
    let valid = valid?;
    let mut bits = Vec::new();
    rle::pack_bits(valid, &mut bits);
    Some(NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(bits), 0, valid.len())))
}

/// An array's validity as bytes; `None`: no nulls.
pub(crate) fn valid_bytes(array: &dyn Array) -> Option<Vec<u8>> {
    let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0)?;
    Some(nulls.iter().map(u8::from).collect())
}

/// Whether [`to_array`] makes `data_type` from values of `kind`.
pub(crate) fn makes(kind: Kind, data_type: &DataType) -> bool {
    use DataType::{
        Binary, Boolean, Date32, Decimal128, Float32, Float64, Int8, Int16, Int32, Int64, LargeBinary, LargeUtf8,
        Time32, Time64, Timestamp, UInt8, UInt16, UInt32, UInt64, Utf8,
    };
    match kind {
        Kind::Boolean => matches!(data_type, Boolean),
        Kind::Int32 => matches!(
            data_type,
            Int8 | Int16 | Int32 | UInt8 | UInt16 | UInt32 | Date32 | Time32(TimeUnit::Millisecond) | Decimal128(..)
        ),
        Kind::Int64 => matches!(
            data_type,
            Int64
                | UInt64
                | Time64(TimeUnit::Microsecond | TimeUnit::Nanosecond)
                | Timestamp(TimeUnit::Millisecond | TimeUnit::Microsecond | TimeUnit::Nanosecond, _)
                | Decimal128(..)
        ),
        Kind::Float => matches!(data_type, Float32),
        Kind::Double => matches!(data_type, Float64),
        Kind::Bytes => matches!(data_type, Utf8 | LargeUtf8 | Binary | LargeBinary),
        Kind::Fixed(width) => match data_type {
            DataType::FixedSizeBinary(size) => usize::try_from(*size) == Ok(width),
            Decimal128(..) => width <= 16,
            _ => false,
        },
    }
}

/// The kind of values that an Arrow type is made of, when a page path column may have it.
pub(crate) fn kind_of(data_type: &DataType) -> Option<Kind> {
    let all = [Kind::Boolean, Kind::Int32, Kind::Int64, Kind::Float, Kind::Double, Kind::Bytes, Kind::Fixed(16)];
    match data_type {
        DataType::FixedSizeBinary(size) => Some(Kind::Fixed(usize::try_from(*size).ok()?)),
        DataType::Decimal128(..) => Some(Kind::Fixed(16)),
        _ => all.into_iter().find(|kind| makes(*kind, data_type)),
    }
}

/// Types whose Parquet bytes are the same, so that pages can be carried over as they are.
pub(crate) fn same_bytes(from: &DataType, to: &DataType) -> bool {
    let text = |data_type: &DataType| matches!(data_type, DataType::Utf8 | DataType::LargeUtf8);
    let binary = |data_type: &DataType| matches!(data_type, DataType::Binary | DataType::LargeBinary);
    from == to || (text(from) && text(to)) || (binary(from) && binary(to))
}

fn primitive<T: ArrowPrimitiveType>(
    values: Vec<T::Native>,
    nulls: Option<NullBuffer>,
    data_type: &DataType,
) -> PageResult<ArrayRef> {
    let array = PrimitiveArray::<T>::try_new(ScalarBuffer::from(values), nulls).map_err(arrow_fault)?;
    Ok(Arc::new(array.with_data_type(data_type.clone())))
}

fn arrow_fault(error: arrow_schema::ArrowError) -> PageFault {
    PageFault::Corrupt(error.to_string())
}

fn from_i32<T: ArrowPrimitiveType>(
    values: &[i32],
    nulls: Option<NullBuffer>,
    data_type: &DataType,
    narrow: impl Fn(i32) -> T::Native,
) -> PageResult<ArrayRef> {
    primitive::<T>(values.iter().map(|value| narrow(*value)).collect(), nulls, data_type)
}

fn from_i64<T: ArrowPrimitiveType<Native = i64>>(
    values: Vec<i64>,
    nulls: Option<NullBuffer>,
    data_type: &DataType,
) -> PageResult<ArrayRef> {
    primitive::<T>(values, nulls, data_type)
}

/// Values, one per row (any value where `nulls` says null), as an array of `data_type`; a pair that [`makes`] allows.
///
/// # Errors
/// When text passes the offsets of `data_type`, or the pair is not allowed.
pub(crate) fn to_array(values: Values, nulls: Option<NullBuffer>, data_type: &DataType) -> PageResult<ArrayRef> {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond};
    match (values, data_type) {
        (Values::Boolean(bytes), DataType::Boolean) => {
            let mut bits = Vec::new();
            rle::pack_bits(&bytes, &mut bits);
            Ok(Arc::new(BooleanArray::new(BooleanBuffer::new(Buffer::from_vec(bits), 0, bytes.len()), nulls)))
        }
        (Values::Int32(v), DataType::Int32) => primitive::<Int32Type>(v, nulls, data_type),
        (Values::Int32(v), DataType::Date32) => primitive::<Date32Type>(v, nulls, data_type),
        (Values::Int32(v), DataType::Time32(Millisecond)) => primitive::<Time32MillisecondType>(v, nulls, data_type),
        (Values::Int32(v), DataType::Int8) => from_i32::<Int8Type>(&v, nulls, data_type, |value| value as i8),
        (Values::Int32(v), DataType::Int16) => from_i32::<Int16Type>(&v, nulls, data_type, |value| value as i16),
        (Values::Int32(v), DataType::UInt8) => from_i32::<UInt8Type>(&v, nulls, data_type, |value| value as u8),
        (Values::Int32(v), DataType::UInt16) => from_i32::<UInt16Type>(&v, nulls, data_type, |value| value as u16),
        (Values::Int32(v), DataType::UInt32) => from_i32::<UInt32Type>(&v, nulls, data_type, |value| value as u32),
        (Values::Int32(v), DataType::Decimal128(..)) => from_i32::<Decimal128Type>(&v, nulls, data_type, i128::from),
        (Values::Int64(v), DataType::Int64) => from_i64::<Int64Type>(v, nulls, data_type),
        (Values::Int64(v), DataType::Time64(Microsecond)) => from_i64::<Time64MicrosecondType>(v, nulls, data_type),
        (Values::Int64(v), DataType::Time64(Nanosecond)) => from_i64::<Time64NanosecondType>(v, nulls, data_type),
        (Values::Int64(v), DataType::Timestamp(Millisecond, _)) => {
            from_i64::<TimestampMillisecondType>(v, nulls, data_type)
        }
        (Values::Int64(v), DataType::Timestamp(Microsecond, _)) => {
            from_i64::<TimestampMicrosecondType>(v, nulls, data_type)
        }
        (Values::Int64(v), DataType::Timestamp(Nanosecond, _)) => {
            from_i64::<TimestampNanosecondType>(v, nulls, data_type)
        }
        (Values::Int64(v), DataType::UInt64) => {
            primitive::<UInt64Type>(v.into_iter().map(i64::cast_unsigned).collect(), nulls, data_type)
        }
        (Values::Int64(v), DataType::Decimal128(..)) => {
            primitive::<Decimal128Type>(v.into_iter().map(i128::from).collect(), nulls, data_type)
        }
        (Values::Float(v), DataType::Float32) => primitive::<Float32Type>(v, nulls, data_type),
        (Values::Double(v), DataType::Float64) => primitive::<Float64Type>(v, nulls, data_type),
        (Values::Bytes(v), DataType::Utf8) => byte_array::<Utf8Type>(&v, nulls),
        (Values::Bytes(v), DataType::LargeUtf8) => byte_array::<LargeUtf8Type>(&v, nulls),
        (Values::Bytes(v), DataType::Binary) => byte_array::<BinaryType>(&v, nulls),
        (Values::Bytes(v), DataType::LargeBinary) => byte_array::<LargeBinaryType>(&v, nulls),
        (Values::Fixed(v), DataType::FixedSizeBinary(size)) => {
            let array = FixedSizeBinaryArray::try_new(*size, Buffer::from_vec(v.data), nulls).map_err(arrow_fault)?;
            Ok(Arc::new(array))
        }
        (Values::Fixed(v), DataType::Decimal128(..)) if v.width <= 16 => {
            let numbers = v.data.chunks_exact(v.width.max(1)).map(big_endian).collect();
            primitive::<Decimal128Type>(numbers, nulls, data_type)
        }
        (values, other) => corrupt(format!("values of {:?} cannot become {other}", values.kind())),
    }
}

/// A signed big-endian number of at most 16 bytes.
fn big_endian(bytes: &[u8]) -> i128 {
    let negative = bytes.first().is_some_and(|first| first & 128 != 0);
    let mut wide = if negative { [0xff; 16] } else { [0; 16] };
    wide[16 - bytes.len()..].copy_from_slice(bytes);
    i128::from_be_bytes(wide)
}

fn byte_array<T: ByteArrayType>(values: &ByteValues, nulls: Option<NullBuffer>) -> PageResult<ArrayRef> {
    let mut offsets = Vec::with_capacity(values.len() + 1);
    let mut data = Vec::with_capacity(values.plain_bytes().saturating_sub(values.len() * 4));
    offsets.push(T::Offset::usize_as(0));
    for index in 0..values.len() {
        data.extend_from_slice(values.get(index));
        match T::Offset::from_usize(data.len()) {
            Some(end) => offsets.push(end),
            None => return Err(PageFault::TooLarge("the text of one array is more than 2 GiB".into())),
        }
    }
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    let array = GenericByteArray::<T>::try_new(offsets, Buffer::from_vec(data), nulls).map_err(arrow_fault)?;
    Ok(Arc::new(array))
}

/// The values of `array` that are not null, as values of `kind`. `None`: this pair is not one that is written here.
///
/// # Errors
/// When text passes 4 GiB.
pub(crate) fn from_array(array: &dyn Array, kind: Kind) -> PageResult<Option<Values>> {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond};
    let valid = valid_bytes(array);
    let valid = valid.as_deref();
    Ok(Some(match (kind, array.data_type()) {
        (Kind::Boolean, DataType::Boolean) => {
            let all: Vec<u8> = array.as_boolean().values().iter().map(u8::from).collect();
            Values::Boolean(valid.map_or_else(|| all.clone(), |valid| compact(&all, valid)))
        }
        (Kind::Int32, DataType::Int32) => Values::Int32(natives::<Int32Type, _>(array, valid, |v| v)),
        (Kind::Int32, DataType::Date32) => Values::Int32(natives::<Date32Type, _>(array, valid, |v| v)),
        (Kind::Int32, DataType::Time32(Millisecond)) => {
            Values::Int32(natives::<Time32MillisecondType, _>(array, valid, |v| v))
        }
        (Kind::Int32, DataType::Int8) => Values::Int32(natives::<Int8Type, _>(array, valid, i32::from)),
        (Kind::Int32, DataType::Int16) => Values::Int32(natives::<Int16Type, _>(array, valid, i32::from)),
        (Kind::Int32, DataType::UInt8) => Values::Int32(natives::<UInt8Type, _>(array, valid, i32::from)),
        (Kind::Int32, DataType::UInt16) => Values::Int32(natives::<UInt16Type, _>(array, valid, i32::from)),
        (Kind::Int32, DataType::UInt32) => Values::Int32(natives::<UInt32Type, _>(array, valid, u32::cast_signed)),
        (Kind::Int32, DataType::Decimal128(..)) => Values::Int32(decimals(array, valid)?),
        (Kind::Int64, DataType::Int64) => Values::Int64(natives::<Int64Type, _>(array, valid, |v| v)),
        (Kind::Int64, DataType::UInt64) => Values::Int64(natives::<UInt64Type, _>(array, valid, u64::cast_signed)),
        (Kind::Int64, DataType::Time64(Microsecond)) => {
            Values::Int64(natives::<Time64MicrosecondType, _>(array, valid, |v| v))
        }
        (Kind::Int64, DataType::Time64(Nanosecond)) => {
            Values::Int64(natives::<Time64NanosecondType, _>(array, valid, |v| v))
        }
        (Kind::Int64, DataType::Timestamp(Millisecond, _)) => {
            Values::Int64(natives::<TimestampMillisecondType, _>(array, valid, |v| v))
        }
        (Kind::Int64, DataType::Timestamp(Microsecond, _)) => {
            Values::Int64(natives::<TimestampMicrosecondType, _>(array, valid, |v| v))
        }
        (Kind::Int64, DataType::Timestamp(Nanosecond, _)) => {
            Values::Int64(natives::<TimestampNanosecondType, _>(array, valid, |v| v))
        }
        (Kind::Int64, DataType::Decimal128(..)) => Values::Int64(decimals(array, valid)?),
        (Kind::Float, DataType::Float32) => Values::Float(natives::<Float32Type, _>(array, valid, |v| v)),
        (Kind::Double, DataType::Float64) => Values::Double(natives::<Float64Type, _>(array, valid, |v| v)),
        (Kind::Bytes, DataType::Utf8) => text::<Utf8Type>(array)?,
        (Kind::Bytes, DataType::LargeUtf8) => text::<LargeUtf8Type>(array)?,
        (Kind::Bytes, DataType::Binary) => text::<BinaryType>(array)?,
        (Kind::Bytes, DataType::LargeBinary) => text::<LargeBinaryType>(array)?,
        (Kind::Fixed(width), DataType::FixedSizeBinary(size)) if usize::try_from(*size) == Ok(width) => {
            let fixed = array.as_fixed_size_binary();
            let mut data = Vec::with_capacity(fixed.len() * width);
            fixed.iter().flatten().for_each(|value| data.extend_from_slice(value));
            Values::Fixed(FixedValues { width, data })
        }
        (Kind::Fixed(width), DataType::Decimal128(..)) if width <= 16 => {
            let mut data = Vec::with_capacity(array.len() * width);
            for value in natives::<Decimal128Type, _>(array, valid, |v| v) {
                let bytes = value.to_be_bytes();
                if big_endian(&bytes[16 - width..]) != value {
                    return corrupt("a decimal has more digits than its type");
                }
                data.extend_from_slice(&bytes[16 - width..]);
            }
            Values::Fixed(FixedValues { width, data })
        }
        _ => return Ok(None),
    }))
}

fn natives<T: ArrowPrimitiveType, U: Copy + Default>(
    array: &dyn Array,
    valid: Option<&[u8]>,
    widen: impl Fn(T::Native) -> U,
) -> Vec<U> {
    let values = array.as_primitive::<T>().values();
    match valid {
        None => values.iter().map(|value| widen(*value)).collect(),
        Some(valid) => compact(values, valid).into_iter().map(widen).collect(),
    }
}

fn decimals<U: TryFrom<i128>>(array: &dyn Array, valid: Option<&[u8]>) -> PageResult<Vec<U>> {
    let numbers = natives::<Decimal128Type, _>(array, valid, |value| value);
    let narrowed: Result<Vec<U>, _> = numbers.into_iter().map(U::try_from).collect();
    narrowed.map_err(|_| PageFault::Corrupt("a decimal has more digits than its type".into()))
}

fn text<T: ByteArrayType>(array: &dyn Array) -> PageResult<Values> {
    let mut values = ByteValues::default();
    for value in array.as_bytes::<T>().iter().flatten() {
        values.push(value.as_ref())?;
    }
    Ok(Values::Bytes(values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Decimal128Array, Float64Array, Int8Array, StringArray, TimestampMicrosecondArray, UInt32Array};

    #[test]
    fn arrays_come_back() {
        let decimal =
            Decimal128Array::from(vec![Some(-1), None, Some(1_234_567)]).with_precision_and_scale(20, 2).unwrap();
        let cases: Vec<(ArrayRef, Kind)> = vec![
            (Arc::new(Int8Array::from(vec![Some(-3), None, Some(5)])), Kind::Int32),
            (Arc::new(UInt32Array::from(vec![u32::MAX, 0])), Kind::Int32),
            (Arc::new(Float64Array::from(vec![Some(f64::NEG_INFINITY), None])), Kind::Double),
            (Arc::new(StringArray::from(vec![Some("a"), None, Some("ß")])), Kind::Bytes),
            (Arc::new(TimestampMicrosecondArray::from(vec![Some(1), None]).with_timezone("UTC")), Kind::Int64),
            (Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])), Kind::Boolean),
            (Arc::new(decimal), Kind::Fixed(9)),
        ];
        for (array, kind) in cases {
            assert!(makes(kind, array.data_type()));
            let dense = from_array(&array, kind).unwrap().unwrap();
            assert_eq!(dense.len(), array.len() - array.null_count());
            let valid: Vec<u8> = (0..array.len()).map(|row| u8::from(array.is_valid(row))).collect();
            let segment = super::super::materialise::spread(&dense, None, Some(&valid), 0).unwrap();
            let back = to_array(segment, null_buffer(Some(&valid)), array.data_type()).unwrap();
            assert_eq!(&back, &array);
        }
    }
}
