//! Nodes and buffers of a record batch against its types, its rows and its body.

use arrow_ipc::FieldNode;
use arrow_schema::{DataType, Field, Schema};

use crate::error::{WireError, shown};
use crate::limits::Limits;

/// Checks everything that Arrow's reader takes for granted.
pub(super) fn check(
    batch: &arrow_ipc::RecordBatch<'_>,
    schema: &Schema,
    body: &[u8],
    limits: &Limits,
) -> Result<(), WireError> {
    let whole = |detail: &str| WireError::Batch { detail: detail.to_owned() };
    if batch.compression().is_some() {
        return Err(whole("it is compressed, and the contract wants it plain"));
    }
    let rows = usize::try_from(batch.length()).map_err(|_| whole("the row count is negative"))?;
    if rows > limits.rows {
        return Err(WireError::TooLarge { what: "rows", found: rows as u64, limit: limits.rows as u64 });
    }
    let mut walk = Walk {
        limits,
        body,
        nodes: batch.nodes().into_iter().flatten(),
        buffers: batch.buffers().into_iter().flatten(),
        variadic: batch.variadicBufferCounts().into_iter().flatten(),
        end: 0,
        viewed: 0,
        name: String::new(),
    };
    for field in schema.fields() {
        walk.name = shown(field.name(), 80);
        walk.column(field, Length::Exactly(rows))?;
    }
    if walk.nodes.next().is_some() || walk.buffers.next().is_some() || walk.variadic.next().is_some() {
        return Err(whole("there are more nodes, buffers or variadic counts than the schema has use for"));
    }
    Ok(())
}

/// What is known about the length of an array before its node is read.
#[derive(Clone, Copy)]
enum Length {
    Exactly(usize),
    /// The child of a list: as long as its values need.
    Any,
}

struct Walk<'a, N, B, V> {
    limits: &'a Limits,
    body: &'a [u8],
    nodes: N,
    buffers: B,
    variadic: V,
    /// End of the last buffer: buffers follow one another, so that no byte counts twice.
    end: usize,
    /// What all string views of the batch come to.
    viewed: u64,
    name: String,
}

impl<'a, N, B, V> Walk<'a, N, B, V>
where
    N: Iterator<Item = &'a FieldNode>,
    B: Iterator<Item = &'a arrow_ipc::Buffer>,
    V: Iterator<Item = i64>,
{
    fn wrong(&self, detail: impl Into<String>) -> WireError {
        WireError::Layout { column: self.name.clone(), detail: detail.into() }
    }

    /// The bytes of the next buffer.
    fn buffer(&mut self) -> Result<&'a [u8], WireError> {
        let Some(place) = self.buffers.next() else {
            return Err(self.wrong("buffers are missing"));
        };
        let bounds = usize::try_from(place.offset()).ok().zip(usize::try_from(place.length()).ok());
        let range = bounds.and_then(|(offset, length)| Some((offset, offset.checked_add(length)?)));
        let Some((start, end)) = range.filter(|(_, end)| *end <= self.body.len()) else {
            return Err(self.wrong(format!(
                "a buffer of {} bytes at {} does not lie in the body of {} bytes",
                place.length(),
                place.offset(),
                self.body.len()
            )));
        };
        if start % 8 != 0 {
            return Err(self.wrong(format!("a buffer starts at {start}, which is no multiple of 8")));
        }
        if start != end {
            if start < self.end {
                return Err(self.wrong("buffers overlap"));
            }
            self.end = end;
        }
        Ok(self.body.get(start..end).unwrap_or_default())
    }

    /// Length and null count of the next node.
    fn node(&mut self, expected: Length, most: usize) -> Result<(usize, usize), WireError> {
        let Some(node) = self.nodes.next() else {
            return Err(self.wrong("nodes are missing"));
        };
        let (Ok(length), Ok(nulls)) = (usize::try_from(node.length()), usize::try_from(node.null_count())) else {
            return Err(self.wrong("a length or null count is negative"));
        };
        match expected {
            Length::Exactly(expected) if length != expected => {
                return Err(self.wrong(format!("an array of {length} values where {expected} belong")));
            }
            Length::Any if length > most => {
                return Err(WireError::TooLarge { what: "values of a list", found: length as u64, limit: most as u64 });
            }
            _ => {}
        }
        if nulls > length {
            return Err(self.wrong(format!("{nulls} nulls among {length} values")));
        }
        Ok((length, nulls))
    }

    /// The next node with its validity bits, which agree with its null count. Returns the length.
    fn valid_node(&mut self, expected: Length) -> Result<(usize, usize), WireError> {
        let (length, nulls) = self.node(expected, self.limits.bytes)?;
        let bits = self.buffer()?;
        if bits.is_empty() && nulls == 0 {
            return Ok((length, nulls));
        }
        self.fits(bits, length.div_ceil(8), "validity")?;
        let valid = set_bits(bits, length);
        if length - valid != nulls {
            return Err(self.wrong(format!("{nulls} nulls are announced, {} are there", length - valid)));
        }
        Ok((length, nulls))
    }

    fn fits(&self, buffer: &[u8], wanted: usize, what: &str) -> Result<(), WireError> {
        if buffer.len() < wanted {
            return Err(self.wrong(format!("its {what} buffer has {} bytes, {wanted} are needed", buffer.len())));
        }
        Ok(())
    }

    fn sized(&mut self, expected: Length, width_bytes: usize) -> Result<(), WireError> {
        let (length, _) = self.valid_node(expected)?;
        let values = self.buffer()?;
        let wanted = length.checked_mul(width_bytes).ok_or_else(|| self.wrong("its length overflows"))?;
        self.fits(values, wanted, "value")
    }

    fn offsets(&mut self, length: usize, width_bytes: usize) -> Result<(), WireError> {
        let offsets = self.buffer()?;
        if length == 0 && offsets.is_empty() {
            return Ok(());
        }
        self.fits(offsets, (length + 1) * width_bytes, "offset")?;
        self.whole_items(offsets, width_bytes, "offset")
    }

    /// Arrow reads these buffers as slices of numbers and panics on a remainder.
    fn whole_items(&self, buffer: &[u8], width_bytes: usize, what: &str) -> Result<(), WireError> {
        if !buffer.len().is_multiple_of(width_bytes) {
            return Err(
                self.wrong(format!("its {what} buffer has {} bytes, no multiple of {width_bytes}", buffer.len()))
            );
        }
        Ok(())
    }

    fn column(&mut self, field: &Field, expected: Length) -> Result<(), WireError> {
        match field.data_type() {
            DataType::Null => {
                let (length, nulls) = self.node(expected, self.limits.rows)?;
                if length != nulls {
                    return Err(self.wrong("a null column has values"));
                }
                Ok(())
            }
            DataType::Boolean => {
                let (length, _) = self.valid_node(expected)?;
                let values = self.buffer()?;
                self.fits(values, length.div_ceil(8), "value")
            }
            DataType::Utf8 | DataType::Binary | DataType::LargeUtf8 | DataType::LargeBinary => {
                let (length, _) = self.valid_node(expected)?;
                let large = matches!(field.data_type(), DataType::LargeUtf8 | DataType::LargeBinary);
                self.offsets(length, if large { 8 } else { 4 })?;
                self.buffer().map(|_| ())
            }
            DataType::Utf8View | DataType::BinaryView => self.views(expected),
            DataType::List(child) | DataType::LargeList(child) => {
                let (length, _) = self.valid_node(expected)?;
                self.offsets(length, if matches!(field.data_type(), DataType::LargeList(_)) { 8 } else { 4 })?;
                self.column(child, Length::Any)
            }
            DataType::Map(entries, _) => {
                let (length, _) = self.valid_node(expected)?;
                self.offsets(length, 4)?;
                let DataType::Struct(pair) = entries.data_type() else {
                    return Err(self.wrong("the entries of a map are pairs"));
                };
                let (length, nulls) = self.valid_node(Length::Any)?;
                if nulls > 0 {
                    return Err(self.wrong("a map has null entries"));
                }
                pair.iter().try_for_each(|child| self.column(child, Length::Exactly(length)))
            }
            DataType::FixedSizeList(child, size) => {
                let (length, _) = self.valid_node(expected)?;
                let values = usize::try_from(*size)
                    .ok()
                    .and_then(|size| size.checked_mul(length))
                    .filter(|values| *values <= self.limits.bytes)
                    .ok_or_else(|| self.wrong("its lists are too long"))?;
                self.column(child, Length::Exactly(values))
            }
            DataType::Struct(children) => {
                let (length, _) = self.valid_node(expected)?;
                children.iter().try_for_each(|child| self.column(child, Length::Exactly(length)))
            }
            DataType::FixedSizeBinary(width) => {
                let width = usize::try_from(*width).map_err(|_| self.wrong("its width is negative"))?;
                self.sized(expected, width)
            }
            other => match other.primitive_width() {
                Some(width) => self.sized(expected, width),
                None => Err(WireError::Unsupported { column: self.name.clone(), found: other.to_string() }),
            },
        }
    }

    /// Views name ranges of shared buffers; Arrow checks the ranges, this bounds what they come to.
    fn views(&mut self, expected: Length) -> Result<(), WireError> {
        let (length, _) = self.valid_node(expected)?;
        let views = self.buffer()?;
        self.fits(views, length * 16, "view")?;
        self.whole_items(views, 16, "view")?;
        for view in views.chunks_exact(16).take(length) {
            let size = view.first_chunk::<4>().map_or(0, |bytes| u32::from_le_bytes(*bytes));
            self.viewed += u64::from(size);
        }
        if self.viewed > self.limits.decoded_bytes as u64 {
            return Err(WireError::TooLarge {
                what: "decoded bytes",
                found: self.viewed,
                limit: self.limits.decoded_bytes as u64,
            });
        }
        let count = self.variadic.next().ok_or_else(|| self.wrong("its count of data buffers is missing"))?;
        if count < 0 {
            return Err(self.wrong("its count of data buffers is negative"));
        }
        // Each step takes a buffer that is really listed, so a forged count ends with the list.
        for _ in 0..count {
            self.buffer()?;
        }
        Ok(())
    }
}

/// Set bits among the first `length`, least significant first.
fn set_bits(bits: &[u8], length: usize) -> usize {
    let (whole, rest) = (length / 8, length % 8);
    let mut words = bits.get(..whole).unwrap_or_default().chunks_exact(8);
    let mut count = 0;
    for word in &mut words {
        count += word.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes).count_ones()) as usize;
    }
    count += words.remainder().iter().map(|byte| byte.count_ones() as usize).sum::<usize>();
    let last = bits.get(whole).copied().unwrap_or_default() & ((1u16 << rest) - 1) as u8;
    count + last.count_ones() as usize
}

#[cfg(test)]
mod tests {
    use super::set_bits;

    #[test]
    fn bits_are_counted_up_to_the_length() {
        for length in 0..200 {
            let bits = vec![0xff; 25];
            assert_eq!(set_bits(&bits, length), length);
        }
        assert_eq!(set_bits(&[0b1010_0101, 0b0000_0011], 9), 5);
        assert_eq!(set_bits(&[0b1010_0101, 0b0000_0011], 3), 2);
    }
}
