//! The hybrid of run-length encoding and bit-packing, both ways, on whole slices.
//!
//! Dictionary ids and levels are written this way. Decoding trusts nothing: a run may claim any length, and the result
//! never holds more than the number of values that was asked for. What an id means is for the caller.
//!
//! # Source
//! Parquet format, Encodings.md, "Run Length Encoding / Bit-Packing Hybrid (RLE = 3)".

use super::fault::{PageResult, corrupt};

/// Most groups of 8 values that one bit-packed run gets; what every writer emits, so that the run header is one byte.
const GROUPS_PER_RUN: usize = 63;

/// Calls `$function::<WIDTH>` for a width of 1 to 32 that is known only now.
macro_rules! with_width {
    ($width:expr, $function:ident ( $($argument:expr),* )) => {
        with_width!(@ $width, $function, ($($argument),*),
            1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31)
    };
    (@ $width:expr, $function:ident, $arguments:tt, $($n:literal)*) => {
        match $width { $( $n => with_width!(call $function, $n, $arguments), )* _ => with_width!(call $function, 32, $arguments) }
    };
    (call $function:ident, $n:literal, ($($argument:expr),*)) => { $function::<$n>($($argument),*) };
}

/// One run as it stands in the page.
enum Run<'a> {
    /// `len` times the same value.
    Repeat { value: u32, len: usize },
    /// `len` values of `width` bits each; the bytes reach to the end of the page, for wide loads.
    Packed { bytes: &'a [u8], len: usize },
}

/// Walks the runs of `source` until `left` values are covered.
struct Runs<'a> {
    source: &'a [u8],
    width: usize,
    left: usize,
}

impl<'a> Runs<'a> {
    fn new(source: &'a [u8], width: u8, count: usize) -> PageResult<Self> {
        if width > 32 {
            return corrupt(format!("bit width {width} is more than 32"));
        }
        Ok(Self { source, width: width as usize, left: count })
    }

    fn next(&mut self) -> PageResult<Option<Run<'a>>> {
        while self.left > 0 {
            let Some(header) = self.take_varint()? else {
                return corrupt(format!("the runs of a page end {} values early", self.left));
            };
            let claimed = usize::try_from(header >> 1).unwrap_or(usize::MAX);
            if header & 1 == 0 {
                let value = self.take_value()?;
                let len = claimed.min(self.left);
                if len == 0 {
                    continue;
                }
                self.left -= len;
                return Ok(Some(Run::Repeat { value, len }));
            }
            let bytes = self.source;
            // Some writers cut the last group short, so what counts is the values that are there.
            let whole = claimed.saturating_mul(self.width).min(bytes.len());
            let held = (whole * 8).checked_div(self.width).unwrap_or(usize::MAX);
            let len = claimed.saturating_mul(8).min(held).min(self.left);
            self.source = &bytes[whole..];
            if len == 0 {
                continue;
            }
            self.left -= len;
            return Ok(Some(Run::Packed { bytes, len }));
        }
        Ok(None)
    }

    fn take_varint(&mut self) -> PageResult<Option<u64>> {
        let (mut value, mut shift) = (0u64, 0u32);
        while let Some((&byte, rest)) = self.source.split_first() {
            self.source = rest;
            if shift >= 63 {
                return corrupt("a run header is longer than 9 bytes");
            }
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Ok(Some(value));
            }
            shift += 7;
        }
        if shift == 0 { Ok(None) } else { corrupt("the page ends inside a run header") }
    }

    fn take_value(&mut self) -> PageResult<u32> {
        let bytes = self.width.div_ceil(8);
        let Some((head, rest)) = self.source.split_at_checked(bytes) else {
            return corrupt("the page ends inside a repeated value");
        };
        self.source = rest;
        let mut word = [0u8; 4];
        word[..bytes].copy_from_slice(head);
        let value = u32::from_le_bytes(word);
        if self.width < 32 && value >> self.width != 0 {
            return corrupt(format!("a repeated value needs more than {} bits", self.width));
        }
        Ok(value)
    }
}

/// Appends exactly `count` values of `width` bits to `out`.
///
/// # Errors
/// When the runs end early, a value does not fit its width or the width is more than 32. `out` may then hold some values.
pub(crate) fn decode(source: &[u8], width: u8, count: usize, out: &mut Vec<u32>) -> PageResult<()> {
    out.reserve(count + 8);
    if width == 0 {
        // A dictionary of one entry: writers differ in whether they still write a run.
        out.resize(out.len() + count, 0);
        return Ok(());
    }
    let mut runs = Runs::new(source, width, count)?;
    while let Some(run) = runs.next()? {
        match run {
            Run::Repeat { value, len } => out.resize(out.len() + len, value),
            Run::Packed { bytes, len } => unpack_run(bytes, width, len, out),
        }
    }
    Ok(())
}

/// The highest of `count` values of `width` bits, without keeping them; 0 when `count` is 0.
///
/// # Errors
/// As [`decode`].
pub(crate) fn highest(source: &[u8], width: u8, count: usize) -> PageResult<u32> {
    if width == 0 {
        return Ok(0);
    }
    let mut runs = Runs::new(source, width, count)?;
    let (mut highest, mut block) = (0, [0u32; 512]);
    while let Some(run) = runs.next()? {
        match run {
            Run::Repeat { value, .. } => highest = highest.max(value),
            Run::Packed { bytes, len } => {
                for start in (0..len).step_by(block.len()) {
                    let part = (len - start).min(block.len());
                    // A block is a whole number of groups, so the next one starts at a byte.
                    let bytes = bytes.get(start / 8 * usize::from(width)..).unwrap_or_default();
                    with_width!(width, unpack(bytes, &mut block[..part.next_multiple_of(8)]));
                    highest = block[..part].iter().fold(highest, |highest, value| highest.max(*value));
                }
            }
        }
    }
    Ok(highest)
}

/// How many of `count` one-bit values are 1, without keeping them.
///
/// # Errors
/// As [`decode`].
pub(crate) fn count_bits(source: &[u8], count: usize) -> PageResult<usize> {
    let mut runs = Runs::new(source, 1, count)?;
    let mut ones = 0;
    while let Some(run) = runs.next()? {
        ones += match run {
            Run::Repeat { value, len } => len * value as usize,
            Run::Packed { bytes, len } => {
                let whole: usize = bytes[..len / 8].iter().map(|byte| byte.count_ones() as usize).sum();
                let rest = bytes.get(len / 8).map_or(0, |byte| byte & ((1u16 << (len % 8)) - 1) as u8);
                whole + rest.count_ones() as usize
            }
        };
    }
    Ok(ones)
}

/// Appends exactly `count` one-bit values to `out`, one byte each, and returns how many of them are 1.
///
/// # Errors
/// As [`decode`].
pub(crate) fn decode_bits(source: &[u8], count: usize, out: &mut Vec<u8>) -> PageResult<usize> {
    out.reserve(count + 8);
    let mut ones = 0;
    let mut runs = Runs::new(source, 1, count)?;
    while let Some(run) = runs.next()? {
        match run {
            Run::Repeat { value, len } => {
                ones += len * value as usize;
                out.resize(out.len() + len, value as u8);
            }
            Run::Packed { bytes, len } => ones += unpack_bits(bytes, len, out),
        }
    }
    Ok(ones)
}

/// Appends the lowest `len` bits of `bytes`, one byte each, and returns how many are 1. `bytes` holds at least `len` bits.
pub(crate) fn unpack_bits(bytes: &[u8], len: usize, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.resize(start + len.next_multiple_of(8), 0);
    let mut ones = 0u32;
    for (byte, eight) in bytes.iter().zip(out[start..].chunks_exact_mut(8)) {
        // Multiply spreads the eight bits over eight bytes, lowest first.
        let spread = (u64::from(*byte & 0x7f).wrapping_mul(0x0002_0408_1020_4081) & 0x0101_0101_0101_0101)
            | (u64::from(*byte >> 7) << 56);
        eight.copy_from_slice(&spread.to_le_bytes());
        ones = byte.count_ones().wrapping_add(ones);
    }
    let surplus = out[start + len..].iter().filter(|bit| **bit == 1).count();
    out.truncate(start + len);
    ones as usize - surplus
}

/// Packs values of 0 or 1 into bits, lowest first.
pub(crate) fn pack_bits(values: &[u8], out: &mut Vec<u8>) {
    out.reserve(values.len().div_ceil(8));
    for eight in values.chunks(8) {
        out.push(eight.iter().enumerate().fold(0, |byte, (bit, value)| byte | (value & 1) << bit));
    }
}

fn load(block: &[u8], at: usize) -> u64 {
    let mut word = [0u8; 8];
    word.copy_from_slice(&block[at..at + 8]);
    u64::from_le_bytes(word)
}

/// Eight values of `W` bits from the start of `block`, which holds at least `W + 8` bytes.
#[inline(always)]
fn unpack_group<const W: usize>(block: &[u8], eight: &mut [u32; 8]) {
    let mask = ((1u64 << W) - 1) as u32;
    if W <= 8 {
        let word = load(block, 0);
        for (i, value) in eight.iter_mut().enumerate() {
            *value = (word >> (i * W)) as u32 & mask;
        }
    } else if W <= 16 {
        let low = load(block, 0);
        let high = load(block, W / 2) >> ((4 * W) % 8);
        for i in 0..4 {
            eight[i] = (low >> (i * W)) as u32 & mask;
            eight[i + 4] = (high >> (i * W)) as u32 & mask;
        }
    } else {
        for (i, value) in eight.iter_mut().enumerate() {
            *value = (load(block, i * W / 8) >> (i * W % 8)) as u32 & mask;
        }
    }
}

fn unpack<const W: usize>(bytes: &[u8], out: &mut [u32]) {
    let groups = out.len() / 8;
    let quick = if bytes.len() >= W + 8 { ((bytes.len() - 8) / W).min(groups) } else { 0 };
    let (head, tail) = out.split_at_mut(quick * 8);
    for (group, eight) in head.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        unpack_group::<W>(&bytes[group * W..][..W + 8], eight);
    }
    // The last groups stand too near the end of the page for eight-byte loads.
    for (group, eight) in tail.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let rest = bytes.get((quick + group) * W..).unwrap_or_default();
        let mut block = [0u8; 48];
        let len = rest.len().min(W);
        block[..len].copy_from_slice(&rest[..len]);
        unpack_group::<W>(&block[..W + 8], eight);
    }
}

fn unpack_run(bytes: &[u8], width: u8, len: usize, out: &mut Vec<u32>) {
    let start = out.len();
    out.resize(start + len.next_multiple_of(8), 0);
    with_width!(width, unpack(bytes, &mut out[start..]));
    out.truncate(start + len);
}

/// Bits that an id of a dictionary of `entries` needs; at least 1, since some readers stumble over width 0.
pub(crate) fn width_for(entries: usize) -> u8 {
    let highest = entries.saturating_sub(1).max(1);
    (usize::BITS - highest.leading_zeros()) as u8
}

/// Appends one run of `count` times `value`.
pub(crate) fn encode_repeat(value: u32, width: u8, count: usize, out: &mut Vec<u8>) {
    put_varint((count as u64) << 1, out);
    out.extend_from_slice(&value.to_le_bytes()[..usize::from(width).div_ceil(8)]);
}

/// How many values at the start are `wanted`.
fn equal<T: PartialEq + Copy>(values: &[T], wanted: T) -> usize {
    values.iter().position(|value| *value != wanted).unwrap_or(values.len())
}

/// Appends the values as runs: 8 or more equal ones as a repeat, all others packed. Values must fit `width` (1..=32).
pub(crate) fn encode(values: &[u32], width: u8, out: &mut Vec<u8>) {
    let (mut written, mut at) = (0, 0);
    while let Some(eight) = values[at..].first_chunk::<8>() {
        let first = eight[0];
        if eight.iter().fold(0, |seen, value| seen | (value ^ first)) != 0 {
            at += 8;
            continue;
        }
        let len = 8 + equal(&values[at + 8..], first);
        encode_packed(&values[written..at], width, out);
        encode_repeat(first, width, len, out);
        at += len;
        written = at;
    }
    encode_packed(&values[written..], width, out);
}

/// Appends values of 0 or 1 as runs of width 1.
pub(crate) fn encode_bits(values: &[u8], out: &mut Vec<u8>) {
    let (mut written, mut at) = (0, 0);
    let flush = |values: &[u8], out: &mut Vec<u8>| {
        for part in values.chunks(GROUPS_PER_RUN * 8) {
            put_varint((part.len().div_ceil(8) as u64) << 1 | 1, out);
            pack_bits(part, out);
        }
    };
    while let Some(eight) = values[at..].first_chunk::<8>() {
        let first = eight[0];
        if u64::from_le_bytes(*eight) != u64::from(first).wrapping_mul(0x0101_0101_0101_0101) {
            at += 8;
            continue;
        }
        let len = 8 + equal(&values[at + 8..], first);
        flush(&values[written..at], out);
        encode_repeat(u32::from(first), 1, len, out);
        at += len;
        written = at;
    }
    flush(&values[written..], out);
}

fn encode_packed(values: &[u32], width: u8, out: &mut Vec<u8>) {
    for part in values.chunks(GROUPS_PER_RUN * 8) {
        put_varint((part.len().div_ceil(8) as u64) << 1 | 1, out);
        with_width!(width, pack(part, out));
    }
}

/// The packed bytes of eight values, lowest first; only the first `W` bytes count.
#[inline(always)]
fn pack_group<const W: usize>(eight: &[u32; 8]) -> [u8; 32] {
    let mut bytes = [0u8; 32];
    if W <= 8 {
        let word = (0..8).fold(0u64, |word, i| word | u64::from(eight[i]) << (i * W));
        bytes[..8].copy_from_slice(&word.to_le_bytes());
    } else if W <= 16 {
        let half = |four: &[u32]| (0..4).fold(0u64, |word, i| word | u64::from(four[i]) << (i * W));
        let both = u128::from(half(&eight[..4])) | u128::from(half(&eight[4..])) << (4 * W);
        bytes[..16].copy_from_slice(&both.to_le_bytes());
    } else {
        let (mut held, mut bits, mut at) = (0u64, 0, 0);
        for value in eight {
            held |= u64::from(*value) << bits;
            bits += W;
            if bits >= 32 {
                bytes[at..at + 4].copy_from_slice(&(held as u32).to_le_bytes());
                held >>= 32;
                bits -= 32;
                at += 4;
            }
        }
        let rest = bits.div_ceil(8);
        bytes[at..at + rest].copy_from_slice(&held.to_le_bytes()[..rest]);
    }
    bytes
}

fn pack<const W: usize>(values: &[u32], out: &mut Vec<u8>) {
    out.reserve(values.len().div_ceil(8) * W);
    let (groups, rest) = values.as_chunks::<8>();
    for eight in groups {
        out.extend_from_slice(&pack_group::<W>(eight)[..W]);
    }
    if !rest.is_empty() {
        let mut eight = [0u32; 8];
        eight[..rest.len()].copy_from_slice(rest);
        out.extend_from_slice(&pack_group::<W>(&eight)[..W]);
    }
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 128 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
#[path = "rle_tests.rs"]
mod tests;
