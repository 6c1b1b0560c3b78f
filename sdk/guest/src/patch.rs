//! A cleaner's answer, and the quickest way to it: verdicts as bits, 64 rows at a time.

use arrow_array::{Array, ArrowPrimitiveType, PrimitiveArray, RecordBatch};
use arrow_buffer::NullBuffer;

use crate::error::{PluginError, Result};

/// What a cleaner answers for one batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Patch {
    /// One bit a row, least significant first; `None` keeps all.
    pub keep: Option<Vec<u8>>,
    /// For each dropped row, in row order, an index into [`Cleaner::rules`](crate::Cleaner::rules).
    pub reasons: Vec<u16>,
    /// The written columns for all rows of the input, the dropped ones too.
    pub columns: Option<RecordBatch>,
}

impl Patch {
    /// Keeps every row and changes nothing.
    pub fn keep_all() -> Self {
        Self::default()
    }

    /// Adds the columns that the cleaner promised to write: all rows of the input, in the promised order.
    #[must_use]
    pub fn with_columns(mut self, columns: RecordBatch) -> Self {
        self.columns = Some(columns);
        self
    }
}

/// Which rows are dropped, and by which rule: the first that rejects a row names it.
///
/// Each `reject` looks at whole columns and packs its verdicts into words of 64 rows, so that nothing is allocated or branched on for a
/// row that stays.
///
/// # Example
/// ```
/// use lakehost_sdk::Verdicts;
/// use lakehost_sdk::arrow_array::Float64Array;
///
/// let fares = Float64Array::from(vec![Some(12.5), Some(-3.0), None]);
/// let mut verdicts = Verdicts::of_rows(3);
/// verdicts.reject_null(0, &fares)?;
/// verdicts.reject(1, &fares, |fare| fare < 0.0)?;
/// let patch = verdicts.into_patch();
/// assert_eq!(patch.keep, Some(vec![0b001]));
/// assert_eq!(patch.reasons, [1, 0], "row 1 by rule 1, then row 2 by rule 0");
/// # Ok::<(), lakehost_sdk::PluginError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Verdicts {
    rows: usize,
    /// A set bit is a row still kept; bits past the last row are clear.
    kept: Vec<u64>,
    /// What each `reject` dropped that was kept before it.
    dropped: Vec<Plane>,
}

#[derive(Debug, Clone)]
struct Plane {
    rule: u16,
    words: Vec<u64>,
}

impl Verdicts {
    /// All rows kept.
    pub fn of_rows(rows: usize) -> Self {
        let mut kept = vec![u64::MAX; rows.div_ceil(64)];
        if let Some(last) = kept.last_mut() {
            *last = tail_mask(rows);
        }
        Self { rows, kept, dropped: Vec::new() }
    }

    /// Rejects rows in which `column` is null.
    ///
    /// # Errors
    /// `internal`, when the column has another number of rows.
    pub fn reject_null(&mut self, rule: u16, column: &dyn Array) -> Result<()> {
        self.check_length(column.len())?;
        if let Some(nulls) = column.nulls().filter(|nulls| nulls.null_count() > 0) {
            self.apply(rule, valid_words(nulls).map(|valid| !valid));
        } else if *column.data_type() == arrow_schema::DataType::Null {
            self.apply(rule, std::iter::repeat(u64::MAX));
        }
        Ok(())
    }

    /// Rejects rows whose value `fails`. A null passes: [`reject_null`](Self::reject_null) is the rule for it.
    ///
    /// # Errors
    /// `internal`, when the column has another number of rows.
    pub fn reject<T: ArrowPrimitiveType>(
        &mut self,
        rule: u16,
        column: &PrimitiveArray<T>,
        fails: impl Fn(T::Native) -> bool,
    ) -> Result<()> {
        self.check_length(column.len())?;
        let words = pack(column.values(), fails);
        match column.nulls() {
            None => self.apply(rule, words),
            Some(nulls) => self.apply(rule, words.zip(valid_words(nulls)).map(|(fails, valid)| fails & valid)),
        }
        Ok(())
    }

    /// Rejects rows whose two values together `fails`. A row with a null in either passes.
    ///
    /// # Errors
    /// `internal`, when a column has another number of rows.
    pub fn reject_pair<A: ArrowPrimitiveType, B: ArrowPrimitiveType>(
        &mut self,
        rule: u16,
        left: &PrimitiveArray<A>,
        right: &PrimitiveArray<B>,
        fails: impl Fn(A::Native, B::Native) -> bool,
    ) -> Result<()> {
        self.check_length(left.len())?;
        self.check_length(right.len())?;
        let words = pack_pair(left.values(), right.values(), fails);
        let nulls = NullBuffer::union(left.nulls(), right.nulls());
        match &nulls {
            None => self.apply(rule, words),
            Some(nulls) => self.apply(rule, words.zip(valid_words(nulls)).map(|(fails, valid)| fails & valid)),
        }
        Ok(())
    }

    /// Rejects rows by their number: for text and other columns that are no slice of values. Called once a row.
    pub fn reject_rows(&mut self, rule: u16, fails: impl Fn(usize) -> bool) {
        let rows = self.rows;
        let words = (0..rows.div_ceil(64)).map(|word| {
            let first = word * 64;
            (first..rows.min(first + 64)).fold(0, |bits, row| bits | (u64::from(fails(row)) << (row - first)))
        });
        self.apply(rule, words);
    }

    /// Rows still kept.
    pub fn kept_rows(&self) -> usize {
        self.kept.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The patch that says so. Written columns are added with [`Patch::with_columns`].
    pub fn into_patch(self) -> Patch {
        let dropped_rows = self.rows - self.kept_rows();
        if dropped_rows == 0 {
            return Patch::keep_all();
        }
        let mut reasons = Vec::with_capacity(dropped_rows);
        for (position, kept) in self.kept.iter().enumerate() {
            let mut gone = !kept & if position + 1 == self.kept.len() { tail_mask(self.rows) } else { u64::MAX };
            while gone != 0 {
                let bit = gone & gone.wrapping_neg();
                let plane =
                    self.dropped.iter().find(|plane| plane.words.get(position).is_some_and(|word| word & bit != 0));
                reasons.extend(plane.map(|plane| plane.rule));
                gone ^= bit;
            }
        }
        let mut keep: Vec<u8> = self.kept.iter().flat_map(|word| word.to_le_bytes()).collect();
        keep.truncate(self.rows.div_ceil(8));
        Patch { keep: Some(keep), reasons, columns: None }
    }

    fn apply(&mut self, rule: u16, fails: impl Iterator<Item = u64>) {
        let mut any = 0;
        let words: Vec<u64> = self
            .kept
            .iter_mut()
            .zip(fails)
            .map(|(kept, fails)| {
                let dropped = *kept & fails;
                *kept &= !fails;
                any |= dropped;
                dropped
            })
            .collect();
        if any != 0 {
            self.dropped.push(Plane { rule, words });
        }
    }

    fn check_length(&self, length: usize) -> Result<()> {
        if length == self.rows {
            return Ok(());
        }
        Err(PluginError::internal(format!("a rule looked at a column of {length} rows in a batch of {}", self.rows)))
    }
}

/// Ones for the rows of the last word.
fn tail_mask(rows: usize) -> u64 {
    match rows % 64 {
        0 => u64::MAX,
        tail => (1 << tail) - 1,
    }
}

fn valid_words(nulls: &NullBuffer) -> impl Iterator<Item = u64> {
    let chunks = nulls.inner().bit_chunks();
    let tail = chunks.remainder_bits();
    chunks.into_iter().chain(std::iter::once(tail))
}

fn pack<T: Copy>(values: &[T], fails: impl Fn(T) -> bool) -> impl Iterator<Item = u64> {
    values.chunks(64).map(move |chunk| {
        chunk.iter().enumerate().fold(0, |word, (bit, value)| word | (u64::from(fails(*value)) << bit))
    })
}

fn pack_pair<A: Copy, B: Copy>(left: &[A], right: &[B], fails: impl Fn(A, B) -> bool) -> impl Iterator<Item = u64> {
    left.chunks(64).zip(right.chunks(64)).map(move |(left, right)| {
        let rows = left.iter().zip(right).enumerate();
        rows.fold(0, |word, (bit, (left, right))| word | (u64::from(fails(*left, *right)) << bit))
    })
}

#[cfg(test)]
mod tests {
    use arrow_array::{Float64Array, Int64Array, NullArray, StringArray};

    use super::*;

    /// The patch, computed row by row.
    fn expected(first_failures: &[Option<u16>]) -> Patch {
        if first_failures.iter().all(Option::is_none) {
            return Patch::keep_all();
        }
        let mut keep = vec![0; first_failures.len().div_ceil(8)];
        for (row, _) in first_failures.iter().enumerate().filter(|(_, failure)| failure.is_none()) {
            keep[row / 8] |= 1 << (row % 8);
        }
        Patch { keep: Some(keep), reasons: first_failures.iter().flatten().copied().collect(), columns: None }
    }

    #[test]
    fn equals_the_row_by_row_answer_for_every_length() {
        for rows in [0, 1, 7, 8, 63, 64, 65, 127, 128, 129, 1_000] {
            let left: Int64Array = (0..rows as i64).map(|row| (row % 5 != 0).then_some(row * 37 % 101)).collect();
            let right: Float64Array =
                (0..rows as i64).map(|row| (row % 7 != 0).then_some((row * 53 % 89) as f64)).collect();
            let mut verdicts = Verdicts::of_rows(rows);
            verdicts.reject_null(4, &left).expect("same length");
            verdicts.reject(2, &right, |value| value > 70.0).expect("same length");
            verdicts.reject_pair(9, &left, &right, |left, right| left as f64 > right * 2.0).expect("same length");
            verdicts.reject_rows(1, |row| row % 11 == 3);
            let answer: Vec<_> = (0..rows)
                .map(|row| {
                    let left = left.is_valid(row).then(|| left.value(row));
                    let right = right.is_valid(row).then(|| right.value(row));
                    match (left, right) {
                        (None, _) => Some(4),
                        (_, Some(right)) if right > 70.0 => Some(2),
                        (Some(left), Some(right)) if left as f64 > right * 2.0 => Some(9),
                        _ if row % 11 == 3 => Some(1),
                        _ => None,
                    }
                })
                .collect();
            assert_eq!(verdicts.kept_rows(), answer.iter().filter(|failure| failure.is_none()).count());
            assert_eq!(verdicts.into_patch(), expected(&answer), "{rows} rows");
        }
    }

    #[test]
    fn sliced_columns_keep_their_nulls_in_place() {
        let column = Int64Array::from(vec![None, Some(1), None, Some(3), None]).slice(1, 3);
        let mut verdicts = Verdicts::of_rows(3);
        verdicts.reject_null(0, &column).expect("same length");
        verdicts.reject(1, &column, |value| value == 3).expect("same length");
        assert_eq!(verdicts.into_patch(), expected(&[None, Some(0), Some(1)]));
    }

    #[test]
    fn a_null_typed_column_is_null_everywhere_and_text_goes_by_row() {
        let mut verdicts = Verdicts::of_rows(2);
        let names = StringArray::from(vec!["a", ""]);
        verdicts.reject_rows(3, |row| names.value(row).is_empty());
        verdicts.reject_null(0, &NullArray::new(2)).expect("same length");
        assert_eq!(verdicts.into_patch(), expected(&[Some(0), Some(3)]));
    }

    #[test]
    fn a_column_of_another_length_is_a_fault() {
        let error = Verdicts::of_rows(3).reject_null(0, &Int64Array::from(vec![1])).expect_err("too short");
        assert_eq!(error.message, "a rule looked at a column of 1 rows in a batch of 3");
    }
}
