//! The header in front of every page, read without trusting a number in it.
//!
//! The parquet crate's page reader allocates what a header asks for; here the caller sees the sizes first.
//!
//! # Source
//! Parquet format, parquet.thrift (`PageHeader`), in Thrift's compact protocol.

use super::fault::{PageResult, corrupt};
use parquet::basic::Encoding;

/// What a page is and how large it says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageHeader {
    pub kind: PageKind,
    pub uncompressed_bytes: usize,
    pub compressed_bytes: usize,
    /// Bytes of the header itself.
    pub header_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageKind {
    Dictionary {
        values: usize,
        encoding: PageEncoding,
    },
    /// Version 1: levels are part of the compressed bytes.
    Data {
        values: usize,
        encoding: PageEncoding,
        definition: PageEncoding,
    },
    /// Version 2: levels stand uncompressed in front.
    DataV2 {
        values: usize,
        nulls: usize,
        encoding: PageEncoding,
        definition_bytes: usize,
        repetition_bytes: usize,
        compressed: bool,
    },
    /// An index page; readers step over it.
    Index,
}

/// An encoding that the page decoder knows, or any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageEncoding {
    Plain,
    Dictionary,
    Rle,
    Other,
}

impl PageEncoding {
    fn from_thrift(code: i32) -> Self {
        match code {
            0 => PageEncoding::Plain,
            2 | 8 => PageEncoding::Dictionary,
            3 => PageEncoding::Rle,
            _ => PageEncoding::Other,
        }
    }

    /// Whether a footer's list of encodings leaves hope that the page decoder knows the chunk.
    pub(crate) fn known(encoding: Encoding) -> bool {
        #[expect(deprecated, reason = "old writers list BIT_PACKED for levels that they then do not write")]
        let bit_packed = Encoding::BIT_PACKED;
        matches!(encoding, Encoding::PLAIN | Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY | Encoding::RLE)
            || encoding == bit_packed
    }
}

/// Reads the page header at the start of `bytes`.
///
/// # Errors
/// When it is cut short, a needed field is missing, a number is negative or structures nest too deep.
pub(crate) fn read(bytes: &[u8]) -> PageResult<PageHeader> {
    let mut thrift = Compact { bytes, at: 0 };
    let (mut page_type, mut uncompressed, mut compressed) = (None, None, None);
    let (mut data, mut data_v2, mut dictionary) = (None, None, None);
    let mut last = 0;
    while let Some(field) = thrift.field(&mut last)? {
        match field {
            (1, Compact::I32) => page_type = Some(thrift.int()?),
            (2, Compact::I32) => uncompressed = Some(thrift.size("uncompressed page size")?),
            (3, Compact::I32) => compressed = Some(thrift.size("compressed page size")?),
            (5, Compact::STRUCT) => data = Some(thrift.numbers()?),
            (7, Compact::STRUCT) => dictionary = Some(thrift.numbers()?),
            (8, Compact::STRUCT) => data_v2 = Some(thrift.numbers()?),
            (_, kind) => thrift.skip(kind, 0)?,
        }
    }
    let (Some(page_type), Some(uncompressed_bytes), Some(compressed_bytes)) = (page_type, uncompressed, compressed)
    else {
        return corrupt("a page header lacks its type or its sizes");
    };
    let kind = match (page_type, data, dictionary, data_v2) {
        (0, Some(data), _, _) => PageKind::Data {
            values: data.size(1, "value count")?,
            encoding: data.encoding(2)?,
            definition: data.encoding(3)?,
        },
        (1, ..) => PageKind::Index,
        (2, _, Some(dictionary), _) => {
            PageKind::Dictionary { values: dictionary.size(1, "value count")?, encoding: dictionary.encoding(2)? }
        }
        (3, _, _, Some(data)) => PageKind::DataV2 {
            values: data.size(1, "value count")?,
            nulls: data.size(2, "null count")?,
            encoding: data.encoding(4)?,
            definition_bytes: data.size(5, "definition level size")?,
            repetition_bytes: data.size(6, "repetition level size")?,
            compressed: data.get(7) != Some(0),
        },
        (0 | 2 | 3, ..) => return corrupt("a page header lacks the part for its type"),
        (other, ..) => return corrupt(format!("a page has the unknown type {other}")),
    };
    Ok(PageHeader { kind, uncompressed_bytes, compressed_bytes, header_bytes: thrift.at })
}

/// The integers and booleans among the first eight fields of a structure.
#[derive(Default)]
struct Numbers([Option<i64>; 9]);

impl Numbers {
    fn get(&self, field: usize) -> Option<i64> {
        self.0.get(field).copied().flatten()
    }

    fn size(&self, field: usize, what: &str) -> PageResult<usize> {
        match self.get(field) {
            Some(number) if (0..=i64::from(i32::MAX)).contains(&number) => Ok(number as usize),
            Some(number) => corrupt(format!("a page header's {what} is {number}")),
            None => corrupt(format!("a page header lacks its {what}")),
        }
    }

    fn encoding(&self, field: usize) -> PageResult<PageEncoding> {
        match self.get(field) {
            Some(code) => Ok(PageEncoding::from_thrift(i32::try_from(code).unwrap_or(-1))),
            None => corrupt("a page header lacks an encoding"),
        }
    }
}

/// As much of Thrift's compact protocol as a page header uses.
struct Compact<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Compact<'_> {
    const TRUE: u8 = 1;
    const FALSE: u8 = 2;
    const I32: u8 = 5;
    const STRUCT: u8 = 12;
    const MAX_DEPTH: usize = 8;

    fn byte(&mut self) -> PageResult<u8> {
        let Some(byte) = self.bytes.get(self.at) else { return corrupt("the column chunk ends inside a page header") };
        self.at += 1;
        Ok(*byte)
    }

    fn varint(&mut self) -> PageResult<u64> {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let byte = self.byte()?;
            if shift > 63 {
                return corrupt("a number in a page header is too long");
            }
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Ok(value);
            }
            shift += 7;
        }
    }

    fn int(&mut self) -> PageResult<i64> {
        let zigzag = self.varint()?;
        Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    fn size(&mut self, what: &str) -> PageResult<usize> {
        let number = self.int()?;
        match i32::try_from(number) {
            Ok(size) if size >= 0 => Ok(size as usize),
            _ => corrupt(format!("a page header's {what} is {number}")),
        }
    }

    /// The next field's number and type, or `None` at the end of the structure.
    fn field(&mut self, last: &mut i64) -> PageResult<Option<(i64, u8)>> {
        let head = self.byte()?;
        if head == 0 {
            return Ok(None);
        }
        *last = if head >> 4 == 0 { self.int()? } else { last.saturating_add(i64::from(head >> 4)) };
        Ok(Some((*last, head & 15)))
    }

    fn numbers(&mut self) -> PageResult<Numbers> {
        let (mut numbers, mut last) = (Numbers::default(), 0);
        while let Some((field, kind)) = self.field(&mut last)? {
            let value = match kind {
                Self::TRUE => Some(1),
                Self::FALSE => Some(0),
                4..=6 => Some(self.int()?),
                _ => {
                    self.skip(kind, 0)?;
                    None
                }
            };
            if let Some(slot) = usize::try_from(field).ok().and_then(|field| numbers.0.get_mut(field)) {
                *slot = value;
            }
        }
        Ok(numbers)
    }

    fn advance(&mut self, bytes: u64) -> PageResult<()> {
        match usize::try_from(bytes).ok().and_then(|bytes| self.at.checked_add(bytes)) {
            Some(at) if at <= self.bytes.len() => {
                self.at = at;
                Ok(())
            }
            _ => corrupt("the column chunk ends inside a page header"),
        }
    }

    fn skip(&mut self, kind: u8, depth: usize) -> PageResult<()> {
        if depth > Self::MAX_DEPTH {
            return corrupt("a page header nests too deep");
        }
        match kind {
            Self::TRUE | Self::FALSE => Ok(()),
            3 => self.advance(1),
            4..=6 => self.varint().map(|_| ()),
            7 => self.advance(8),
            8 => {
                let len = self.varint()?;
                self.advance(len)
            }
            9 | 10 => {
                let head = self.byte()?;
                let len = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
                // A boolean in a list takes a byte, unlike one in a structure; so every element takes at least one.
                for _ in 0..len {
                    match head & 15 {
                        Self::TRUE | Self::FALSE => self.advance(1)?,
                        kind => self.skip(kind, depth + 1)?,
                    }
                }
                Ok(())
            }
            Self::STRUCT => {
                let mut last = 0;
                while let Some((_, kind)) = self.field(&mut last)? {
                    self.skip(kind, depth + 1)?;
                }
                Ok(())
            }
            other => corrupt(format!("a page header holds a field of the unknown type {other}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Random;
    use super::*;

    /// type 0, sizes 300 and 100, data page header {values 50, RLE_DICTIONARY, RLE, RLE, statistics {null count 3}}.
    const DATA: [u8; 22] =
        [0x15, 0, 0x15, 0xd8, 0x04, 0x15, 0xc8, 0x01, 0x2c, 0x15, 100, 0x15, 16, 0x15, 6, 0x15, 6, 0x1c, 0x36, 6, 0, 0];

    fn data_header() -> Vec<u8> {
        let mut bytes = DATA.to_vec();
        bytes.push(0);
        bytes
    }

    #[test]
    fn a_data_page_header_is_read() {
        let mut bytes = data_header();
        bytes.extend([0xaa; 5]);
        let header = read(&bytes).unwrap();
        assert_eq!((header.uncompressed_bytes, header.compressed_bytes, header.header_bytes), (300, 100, 23));
        let kind = PageKind::Data { values: 50, encoding: PageEncoding::Dictionary, definition: PageEncoding::Rle };
        assert_eq!(header.kind, kind);
    }

    #[test]
    fn every_cut_is_an_error_and_no_change_panics() {
        let bytes = data_header();
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len]).is_err(), "cut at {len}");
        }
        let mut random = Random::new(5);
        for _ in 0..50_000 {
            let mut bytes = bytes.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                bytes[at] = random.next() as u8;
            }
            let _ = read(&bytes);
        }
    }

    #[test]
    fn negative_sizes_are_refused() {
        let mut bytes = data_header();
        bytes[3] = 1; // zigzag -1
        bytes.remove(4);
        assert!(read(&bytes).unwrap_err().to_string().contains("uncompressed page size is -1"));
    }
}
