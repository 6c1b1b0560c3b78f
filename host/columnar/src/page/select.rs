//! Which rows of a row group go where, and moving values there without a branch per row.
//!
//! Sums are spelled out with `wrapping_add`: the overflow check keeps the compiler from adding 32 flags at a time (5 % of a run). None can overflow,
//! since each counts bytes of a slice.

use std::borrow::Cow;
use std::ops::Range;

/// Where each row of a row group goes: dropped, or to one of the partitions.
#[derive(Debug, Clone)]
pub(crate) struct Routing {
    rows: usize,
    /// Rows per partition.
    counts: Vec<usize>,
    /// With one partition: 1 = kept.
    keep: Vec<u8>,
    /// With any other number: the kept rows, partition after partition, in their order.
    order: Vec<u32>,
    /// Where each partition starts in `order`, and where the last ends.
    bounds: Vec<usize>,
}

impl Routing {
    /// Takes one code per row: 0 = dropped, else the partition's number + 1; `partitions` is their number, and no code is above it.
    pub(crate) fn new(codes: Vec<u16>, partitions: usize) -> Self {
        let rows = codes.len();
        if partitions == 1 {
            let keep: Vec<u8> = codes.iter().map(|code| u8::from(*code != 0)).collect();
            let kept = count_ones(&keep);
            return Self { rows, counts: vec![kept], keep, order: Vec::new(), bounds: vec![0, kept] };
        }
        let mut counts = vec![0usize; partitions + 1];
        for code in &codes {
            let count = &mut counts[usize::from(*code)];
            *count = count.wrapping_add(1);
        }
        counts.remove(0);
        let bounds = bounds(&counts);
        let kept = bounds.last().copied().unwrap_or(0);
        // Dropped rows write behind the kept ones: they need no branch either.
        let mut cursors: Vec<usize> = std::iter::once(kept).chain(bounds.iter().copied()).collect();
        let mut order = vec![0u32; rows];
        for (row, code) in codes.iter().enumerate() {
            let cursor = &mut cursors[usize::from(*code)];
            order[*cursor] = row as u32;
            *cursor = cursor.wrapping_add(1);
        }
        order.truncate(kept);
        Self { rows, counts, keep: Vec::new(), order, bounds }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Rows that each partition gets.
    pub(crate) fn counts(&self) -> &[usize] {
        &self.counts
    }

    pub(crate) fn kept(&self) -> usize {
        self.bounds.last().copied().unwrap_or(0)
    }

    pub(crate) fn partitions(&self) -> usize {
        self.counts.len()
    }

    /// How to move the values of `rows` rows from `first` on; `None` when there are not as many.
    pub(crate) fn mover(&self, first: usize, rows: usize) -> Option<Mover<'_>> {
        let end = first.checked_add(rows).filter(|end| *end <= self.rows)?;
        if self.partitions() == 1 {
            let keep = &self.keep[first..end];
            let kept = count_ones(keep);
            let way = if kept == rows { Way::All } else { Way::Mask(Cow::Borrowed(keep)) };
            return Some(Mover { way, bounds: Cow::Owned(vec![0, kept]) });
        }
        if rows == self.rows {
            return Some(Mover { way: Way::Order(Cow::Borrowed(&self.order)), bounds: Cow::Borrowed(&self.bounds) });
        }
        // Within a partition rows ascend, so that those of the range stand together.
        let mut order = Vec::with_capacity(rows);
        let mut starts = vec![0];
        for partition in 0..self.partitions() {
            let own = &self.order[self.bounds[partition]..self.bounds[partition + 1]];
            let from = own.partition_point(|row| (*row as usize) < first);
            let to = own.partition_point(|row| (*row as usize) < end);
            order.extend(own[from..to].iter().map(|row| row.wrapping_sub(first as u32)));
            starts.push(order.len());
        }
        Some(Mover { way: Way::Order(Cow::Owned(order)), bounds: Cow::Owned(starts) })
    }
}

fn bounds(counts: &[usize]) -> Vec<usize> {
    let mut bounds = Vec::with_capacity(counts.len() + 1);
    let mut at = 0;
    bounds.push(0);
    for count in counts {
        at += count;
        bounds.push(at);
    }
    bounds
}

/// How many flags are 1.
pub(crate) fn count_ones(flags: &[u8]) -> usize {
    // 255 flags fit a byte, and bytes add up many at a time.
    flags.chunks(255).fold(0, |sum, part| sum + usize::from(part.iter().fold(0u8, |sum, flag| sum.wrapping_add(*flag))))
}

/// Moves any number of equally long slices the same way: kept values, partition after partition, in their order.
pub(crate) struct Mover<'a> {
    way: Way<'a>,
    /// Where each partition's values start in the result, and where the last ends.
    bounds: Cow<'a, [usize]>,
}

enum Way<'a> {
    /// One partition that keeps everything.
    All,
    /// One partition; 1 = kept.
    Mask(Cow<'a, [u8]>),
    /// The places of the kept values.
    Order(Cow<'a, [u32]>),
}

impl Mover<'_> {
    /// The range of partition `number` in what [`Mover::apply`] gives.
    pub(crate) fn range(&self, number: usize) -> Range<usize> {
        match (self.bounds.get(number), self.bounds.get(number + 1)) {
            (Some(start), Some(end)) => *start..*end,
            _ => 0..0,
        }
    }

    /// True when every value stays and there is one partition: the result equals the source.
    pub(crate) fn keeps_all(&self) -> bool {
        matches!(self.way, Way::All)
    }

    /// The same for values that only rows with a 1 in `valid` have.
    pub(crate) fn dense(&self, valid: &[u8]) -> Mover<'static> {
        match &self.way {
            Way::All => Mover { way: Way::All, bounds: Cow::Owned(vec![0, count_ones(valid)]) },
            Way::Mask(keep) => {
                let keep = compact(keep, valid);
                let kept = count_ones(&keep);
                let way = if kept == keep.len() { Way::All } else { Way::Mask(Cow::Owned(keep)) };
                Mover { way, bounds: Cow::Owned(vec![0, kept]) }
            }
            Way::Order(order) => {
                let mut next = 0u32;
                let places: Vec<u32> = valid
                    .iter()
                    .map(|level| {
                        let place = next;
                        next = next.wrapping_add(u32::from(*level));
                        place
                    })
                    .collect();
                let (places, levels) = (self.apply(&places), self.apply(valid));
                let counts: Vec<usize> =
                    self.bounds.windows(2).map(|ends| count_ones(&levels[ends[0]..ends[1]])).collect();
                debug_assert_eq!(places.len(), order.len());
                Mover { way: Way::Order(Cow::Owned(compact(&places, &levels))), bounds: Cow::Owned(bounds(&counts)) }
            }
        }
    }

    /// The kept values of `source`, partition after partition.
    pub(crate) fn apply<T: Copy + Default>(&self, source: &[T]) -> Vec<T> {
        let mut out = Vec::new();
        self.apply_into(source, &mut out);
        out
    }

    /// As [`Mover::apply`], into a buffer that is reused.
    pub(crate) fn apply_into<T: Copy + Default>(&self, source: &[T], out: &mut Vec<T>) {
        out.clear();
        match &self.way {
            Way::All => out.extend_from_slice(source),
            Way::Mask(keep) => compact_into(source, keep, out),
            Way::Order(order) => out.extend(order.iter().map(|place| source[*place as usize])),
        }
    }

    /// The places in a source of `len` values of the kept ones, in the order of the result.
    pub(crate) fn order(&self, len: usize) -> Cow<'_, [u32]> {
        match &self.way {
            Way::Order(order) => Cow::Borrowed(order),
            _ => Cow::Owned(self.apply(&(0..len as u32).collect::<Vec<u32>>())),
        }
    }
}

/// The values whose mask byte is 1.
pub(crate) fn compact<T: Copy + Default>(source: &[T], mask: &[u8]) -> Vec<T> {
    let mut out = Vec::new();
    compact_into(source, mask, &mut out);
    out
}

/// Appends the values whose mask byte is odd. The shorter of the two slices decides the length.
///
/// Every value is stored and the place moves on only for kept ones, so that there is no branch to mispredict.
pub(crate) fn compact_into<T: Copy + Default>(source: &[T], mask: &[u8], out: &mut Vec<T>) {
    let len = source.len().min(mask.len());
    out.reserve(len);
    let (start, mut kept) = (out.len(), 0usize);
    let place = out.spare_capacity_mut().as_mut_ptr();
    for (value, bit) in source.iter().zip(mask) {
        // SAFETY: `kept` grows by at most 1 per turn and there are `len` turns, so it is below `len` here, and the
        // call to `reserve` above made room for `len` values behind the vector's length.
        unsafe { place.add(kept).write(std::mem::MaybeUninit::new(*value)) };
        kept = kept.wrapping_add(usize::from(*bit & 1));
    }
    // SAFETY: the first `kept` places behind `start` were written above, and `kept <= len` lies within the capacity.
    unsafe { out.set_len(start + kept) };
}

#[cfg(test)]
mod tests {
    use super::super::testing::Random;
    use super::*;

    #[test]
    fn moving_equals_filtering() {
        let mut random = Random::new(21);
        for partitions in [0usize, 1, 2, 5, 300] {
            for rows in [0usize, 1, 63, 1000] {
                let codes: Vec<u16> = (0..rows).map(|_| random.below(partitions + 1) as u16).collect();
                let routing = Routing::new(codes.clone(), partitions);
                for (first, end) in [(0, rows), (rows / 4, rows / 2), (rows / 3, rows)] {
                    let values: Vec<u32> = (first as u32..end as u32).collect();
                    let valid: Vec<u8> = values.iter().map(|_| u8::from(random.below(4) > 0)).collect();
                    let all = routing.mover(first, end - first).unwrap();
                    let dense = all.dense(&valid);
                    let moved = all.apply(&values);
                    let moved_dense = dense.apply(&compact(&values, &valid));
                    for partition in 0..partitions {
                        let own = |value: &u32| usize::from(codes[*value as usize]) == partition + 1;
                        let wanted: Vec<u32> = values.iter().copied().filter(own).collect();
                        assert_eq!(moved[all.range(partition)], wanted[..]);
                        let present = |value: &u32| valid[*value as usize - first] == 1;
                        let wanted: Vec<u32> = wanted.into_iter().filter(present).collect();
                        assert_eq!(moved_dense[dense.range(partition)], wanted[..]);
                    }
                    assert_eq!(
                        *all.order(values.len()),
                        moved.iter().map(|row| row - first as u32).collect::<Vec<_>>()
                    );
                }
                let kept = codes.iter().filter(|code| **code > 0).count();
                assert_eq!(
                    (routing.kept(), routing.counts().iter().sum::<usize>(), routing.rows()),
                    (kept, kept, rows)
                );
            }
        }
    }

    #[test]
    fn all_kept_is_noticed() {
        let routing = Routing::new(vec![1; 10], 1);
        assert!(routing.mover(2, 5).unwrap().keeps_all());
        assert!(routing.mover(8, 5).is_none(), "a range past the end");
        assert_eq!(count_ones(&[1; 1000]), 1000);
    }
}
