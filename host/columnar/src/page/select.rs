//! Which rows of a row group go where, and moving values there without a branch per row.

/// Where each row of a row group goes: dropped, or to one of the partitions.
#[derive(Debug, Clone)]
pub(crate) struct Routing {
    /// 0 = dropped, else the partition's number + 1.
    codes: Vec<u16>,
    /// 1 = kept, for the case of one partition.
    keep: Vec<u8>,
    /// Rows per partition.
    counts: Vec<usize>,
}

impl Routing {
    /// Takes one code per row; `partitions` is the number of partitions, and no code is above it.
    pub(crate) fn new(codes: Vec<u16>, partitions: usize) -> Self {
        let mut counts = vec![0usize; partitions + 1];
        for code in &codes {
            counts[usize::from(*code)] += 1;
        }
        counts.remove(0);
        let keep = if partitions == 1 { codes.iter().map(|code| *code as u8).collect() } else { Vec::new() };
        Self { codes, keep, counts }
    }

    pub(crate) fn rows(&self) -> usize {
        self.codes.len()
    }

    /// Rows that each partition gets.
    pub(crate) fn counts(&self) -> &[usize] {
        &self.counts
    }

    pub(crate) fn kept(&self) -> usize {
        self.counts.iter().sum()
    }

    pub(crate) fn partitions(&self) -> usize {
        self.counts.len()
    }

    /// The part for `rows` rows from `first` on.
    pub(crate) fn slice(&self, first: usize, rows: usize) -> RoutingSlice<'_> {
        let codes = self.codes.get(first..first + rows).unwrap_or_default();
        let keep = self.keep.get(first..first + rows).unwrap_or_default();
        RoutingSlice { codes, keep, partitions: self.counts.len() }
    }
}

/// A run of rows of a [`Routing`].
#[derive(Clone, Copy)]
pub(crate) struct RoutingSlice<'a> {
    codes: &'a [u16],
    keep: &'a [u8],
    partitions: usize,
}

impl RoutingSlice<'_> {
    pub(crate) fn rows(&self) -> usize {
        self.codes.len()
    }

    /// The plan for moving one value per row, or one value per row that is not null when `valid` is given.
    pub(crate) fn mover(&self, valid: Option<&[u8]>) -> Mover {
        if self.partitions == 1 {
            let keep = match valid {
                None => self.keep.to_vec(),
                Some(valid) => compact(self.keep, valid),
            };
            let kept = keep.iter().map(|bit| usize::from(*bit)).sum();
            return Mover { kept_all: kept == keep.len(), bounds: vec![0, kept], keep, codes: Vec::new() };
        }
        let codes = match valid {
            None => self.codes.to_vec(),
            Some(valid) => compact(self.codes, valid),
        };
        let mut counts = vec![0usize; self.partitions + 1];
        for code in &codes {
            counts[usize::from(*code)] += 1;
        }
        let mut bounds = Vec::with_capacity(self.partitions + 1);
        let mut at = 0;
        bounds.push(0);
        for count in &counts[1..] {
            at += count;
            bounds.push(at);
        }
        Mover { kept_all: false, bounds, keep: Vec::new(), codes }
    }
}

/// Moves any number of equally long value slices the same way: kept values, grouped by partition, in their order.
pub(crate) struct Mover {
    /// Where each partition's values start in the result, and where the last ends.
    bounds: Vec<usize>,
    keep: Vec<u8>,
    codes: Vec<u16>,
    kept_all: bool,
}

impl Mover {
    /// The range of partition `number` in what [`Mover::apply`] gives.
    pub(crate) fn range(&self, number: usize) -> std::ops::Range<usize> {
        match (self.bounds.get(number), self.bounds.get(number + 1)) {
            (Some(start), Some(end)) => *start..*end,
            _ => 0..0,
        }
    }

    /// True when every value stays and there is one partition: the result equals the source.
    pub(crate) fn keeps_all(&self) -> bool {
        self.kept_all
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
        if self.kept_all {
            out.extend_from_slice(source);
        } else if self.codes.is_empty() {
            compact_into(source, &self.keep, out);
        } else {
            sort_into(source, &self.codes, &self.bounds, out);
        }
    }

    /// The places in the source of the kept values, in the order of the result.
    pub(crate) fn order(&self) -> Vec<u32> {
        let len = self.keep.len().max(self.codes.len());
        let places: Vec<u32> = (0..len as u32).collect();
        self.apply(&places)
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

/// Stable counting sort by code; values with code 0 end up behind `bounds` and are cut off.
fn sort_into<T: Copy + Default>(source: &[T], codes: &[u16], bounds: &[usize], out: &mut Vec<T>) {
    let kept = bounds.last().copied().unwrap_or(0);
    out.resize(codes.len().max(kept), T::default());
    // Code 0 writes behind the kept values: dropped values need no branch either.
    let mut cursors: Vec<usize> = std::iter::once(kept).chain(bounds.iter().copied()).collect();
    for (value, code) in source.iter().zip(codes) {
        let cursor = &mut cursors[usize::from(*code)];
        out[*cursor] = *value;
        *cursor = cursor.wrapping_add(1);
    }
    out.truncate(kept);
}

#[cfg(test)]
mod tests {
    use super::super::testing::Random;
    use super::*;

    #[test]
    fn moving_equals_filtering() {
        let mut random = Random::new(21);
        for partitions in [1usize, 2, 5, 300] {
            for rows in [0usize, 1, 63, 1000] {
                let codes: Vec<u16> = (0..rows).map(|_| random.below(partitions + 1) as u16).collect();
                let valid: Vec<u8> = (0..rows).map(|_| u8::from(random.below(4) > 0)).collect();
                let values: Vec<u32> = (0..rows as u32).collect();
                let routing = Routing::new(codes.clone(), partitions);
                let slice = routing.slice(0, rows);
                let all = slice.mover(None);
                let dense = slice.mover(Some(&valid));
                let moved = all.apply(&values);
                let moved_dense = dense.apply(&compact(&values, &valid));
                for partition in 0..partitions {
                    let wanted: Vec<u32> =
                        values.iter().copied().filter(|v| usize::from(codes[*v as usize]) == partition + 1).collect();
                    assert_eq!(moved[all.range(partition)], wanted[..]);
                    assert_eq!(routing.counts()[partition], wanted.len());
                    let dense_wanted: Vec<u32> = wanted.into_iter().filter(|v| valid[*v as usize] == 1).collect();
                    assert_eq!(moved_dense[dense.range(partition)], dense_wanted[..]);
                }
            }
        }
    }

    #[test]
    fn all_kept_is_noticed() {
        let routing = Routing::new(vec![1; 10], 1);
        assert!(routing.slice(2, 5).mover(None).keeps_all());
        assert_eq!(routing.slice(8, 5).rows(), 0, "a range past the end is empty");
    }
}
