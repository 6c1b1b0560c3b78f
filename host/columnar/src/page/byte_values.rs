//! Byte strings and fixed-width bytes, laid out as PLAIN has them.

use super::fault::{PageFault, PageResult, corrupt};

/// Byte strings as PLAIN writes them: each with its length in front.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ByteValues {
    pub(super) data: Vec<u8>,
    /// Where each value's length field starts.
    pub(super) starts: Vec<u32>,
}

impl ByteValues {
    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    /// Bytes with length fields.
    pub(crate) fn plain_bytes(&self) -> usize {
        self.data.len()
    }

    pub(super) fn encoded(&self, index: usize) -> &[u8] {
        let start = self.starts[index] as usize;
        let end = self.starts.get(index + 1).map_or(self.data.len(), |next| *next as usize);
        &self.data[start..end]
    }

    /// The value without its length field.
    pub(crate) fn get(&self, index: usize) -> &[u8] {
        &self.encoded(index)[4..]
    }

    /// The caller sees to it that all values together stay under 4 GiB.
    pub(super) fn push_encoded(&mut self, encoded: &[u8]) {
        self.starts.push(self.data.len() as u32);
        self.data.extend_from_slice(encoded);
    }

    /// Appends a value.
    ///
    /// # Errors
    /// When all values together pass 4 GiB.
    pub(crate) fn push(&mut self, value: &[u8]) -> PageResult<()> {
        self.make_room(value.len() + 4)?;
        self.starts.push(self.data.len() as u32);
        self.data.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.data.extend_from_slice(value);
        Ok(())
    }

    pub(super) fn make_room(&self, bytes: usize) -> PageResult<()> {
        if self.data.len().saturating_add(bytes) > u32::MAX as usize {
            return Err(PageFault::TooLarge("the text of one column chunk is more than 4 GiB".into()));
        }
        Ok(())
    }

    pub(super) fn extend_plain(&mut self, source: &[u8], count: usize) -> PageResult<()> {
        let (base, first) = (self.data.len(), self.starts.len());
        self.make_room(source.len())?;
        self.starts.reserve(count.min(source.len() / 4));
        let mut at = 0usize;
        for _ in 0..count {
            let prefix = source.get(at..).and_then(|rest| rest.first_chunk::<4>());
            let end = prefix.map(|prefix| (at + 4).saturating_add(u32::from_le_bytes(*prefix) as usize));
            match end {
                Some(end) if end <= source.len() => {
                    self.starts.push((base + at) as u32);
                    at = end;
                }
                _ => {
                    self.starts.truncate(first);
                    return corrupt(format!("a byte string reaches beyond its page of {count}"));
                }
            }
        }
        self.data.extend_from_slice(&source[..at]);
        Ok(())
    }

    /// Checks the values from index `first` on.
    pub(super) fn check_utf8(&self, first: usize) -> PageResult<()> {
        let Some(start) = self.starts.get(first) else { return Ok(()) };
        // Length fields under 128 bytes are ASCII too, so one look often clears the whole page.
        if self.data[*start as usize..].is_ascii() {
            return Ok(());
        }
        for index in first..self.len() {
            if simdutf8::basic::from_utf8(self.get(index)).is_err() {
                return corrupt("a text value is not UTF-8");
            }
        }
        Ok(())
    }
}

/// Values of one width in bytes, one after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FixedValues {
    pub width: usize,
    pub data: Vec<u8>,
}

impl FixedValues {
    pub(crate) fn len(&self) -> usize {
        self.data.len() / self.width.max(1)
    }

    pub(crate) fn get(&self, index: usize) -> &[u8] {
        &self.data[index * self.width..(index + 1) * self.width]
    }
}
