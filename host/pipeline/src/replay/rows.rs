//! Kept rows as a source of rows: their JSON becomes columns again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::buffer::BooleanBuffer;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, Field, Schema, SchemaRef};
use lakehost_columnar::{BatchSource, BoxError, CastFailure, RejectSink};
use serde_json::{Map, Value};

use super::fits::fits;
use super::survey::{Column, Kept, Wanted};
use crate::rejects::rows_from_json;

/// Rows that become columns at a time.
const CHUNK_ROWS: usize = 8 << 10;
/// A row that cannot be read: neither kept nor rejected by anybody.
pub(super) const UNREADABLE: u16 = u16::MAX;

/// The wanted rows of one file, or of all.
pub(super) struct Rows {
    source: Box<dyn BatchSource>,
    wanted: Wanted,
    file: Option<String>,
    columns: Vec<Column>,
    schema: SchemaRef,
    /// Texts that were read and are not yet columns.
    waiting: VecDeque<String>,
    failed: Vec<CastFailure>,
    verdicts: Arc<Verdicts>,
}

/// What became of each wanted row, in order: 0 = it passes, else its reject code.
#[derive(Debug, Default)]
pub(super) struct Verdicts(Mutex<Given>);

#[derive(Debug, Default)]
struct Given {
    codes: Vec<u16>,
    /// Where each row that was run stands among all wanted ones; empty while none is unreadable.
    run: Vec<u32>,
    unreadable: bool,
}

impl Verdicts {
    fn add(&self, readable: impl Iterator<Item = bool>) {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for readable in readable {
            let place = given.codes.len() as u32;
            given.codes.push(if readable { 0 } else { UNREADABLE });
            if readable {
                given.run.push(place);
            }
            given.unreadable |= !readable;
        }
    }

    /// The codes of all wanted rows.
    pub fn codes(&self) -> Vec<u16> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).codes)
    }
}

impl RejectSink for &Verdicts {
    fn take(&self, first_row: u64, rows: &[u32], codes: &[u16], _: RecordBatch) -> lakehost_columnar::Result<()> {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (row, code) in rows.iter().zip(codes) {
            let at = usize::try_from(first_row).unwrap_or(usize::MAX).saturating_add(*row as usize);
            let place = given.run.get(at).map(|place| *place as usize);
            if let Some(slot) = place.and_then(|place| given.codes.get_mut(place)) {
                *slot = *code;
            }
        }
        Ok(())
    }
}

impl Rows {
    pub fn new(
        source: Box<dyn BatchSource>,
        wanted: Wanted,
        file: Option<String>,
        columns: Vec<Column>,
        verdicts: Arc<Verdicts>,
    ) -> Self {
        let fields: Vec<_> = columns.iter().map(|column| column.field.clone()).collect();
        let schema = Arc::new(Schema::new(fields));
        Self { source, wanted, file, columns, schema, waiting: VecDeque::new(), failed: Vec::new(), verdicts }
    }

    /// Reads on until a chunk is full or there are no more.
    fn fill(&mut self) -> Result<(), BoxError> {
        while self.waiting.len() < CHUNK_ROWS {
            let Some(batch) = self.source.next()? else { return Ok(()) };
            let kept = Kept::of(&batch)?;
            let ours = |row: &usize| self.file.as_ref().is_none_or(|file| kept.files.value(*row) == file);
            let rows = (0..batch.num_rows()).filter(|row| kept.is_wanted(*row, &self.wanted)).filter(ours);
            self.waiting.extend(rows.map(|row| kept.rows.value(row).to_owned()));
        }
        Ok(())
    }
}

impl BatchSource for Rows {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn next(&mut self) -> Result<Option<RecordBatch>, BoxError> {
        loop {
            self.fill()?;
            if self.waiting.is_empty() {
                return Ok(None);
            }
            let rows = self.waiting.len().min(CHUNK_ROWS);
            let texts: Vec<String> = self.waiting.drain(..rows).collect();
            let read = Read::of(&texts, &self.columns)?;
            self.verdicts.add(read.readable.iter().copied());
            if read.readable.iter().any(|readable| *readable) {
                self.failed = read.failed;
                return Ok(Some(RecordBatch::try_new(self.schema.clone(), read.arrays)?));
            }
        }
    }

    fn failed(&mut self) -> Vec<CastFailure> {
        std::mem::take(&mut self.failed)
    }
}

/// A chunk of texts as columns.
struct Read {
    /// One for each text.
    readable: Vec<bool>,
    /// Of the readable rows.
    arrays: Vec<ArrayRef>,
    failed: Vec<CastFailure>,
}

impl Read {
    fn of(texts: &[String], columns: &[Column]) -> Result<Self, ArrowError> {
        let parsed: Vec<Option<Map<String, Value>>> =
            texts.iter().map(|text| serde_json::from_str(text).ok()).collect();
        let readable: Vec<bool> = parsed.iter().map(Option::is_some).collect();
        let rows: Vec<(&str, &Map<String, Value>)> =
            texts.iter().zip(&parsed).filter_map(|(text, row)| Some((text.as_str(), row.as_ref()?))).collect();
        let mut failed = Vec::new();
        let mut arrays: Vec<Option<ArrayRef>> = vec![None; columns.len()];
        let mut sound = Vec::new();
        for (at, column) in columns.iter().enumerate() {
            let unfit: Vec<bool> = rows.iter().map(|(text, row)| !column.fits(text, row)).collect();
            if !unfit.contains(&true) {
                sound.push(at);
                continue;
            }
            // A row without the key has null there, and every other value is read from the text as it is.
            let own: Vec<&str> =
                rows.iter().zip(&unfit).map(|((text, _), unfit)| if *unfit { "{}" } else { *text }).collect();
            arrays[at] = Some(decode(&[column], &own)?.remove(0));
            failed.push(CastFailure {
                column: column.field.name().clone(),
                rows: BooleanBuffer::collect_bool(unfit.len(), |row| unfit[row]),
                raw: None,
            });
        }
        let texts: Vec<&str> = rows.iter().map(|(text, _)| *text).collect();
        let together: Vec<&Column> = sound.iter().map(|at| &columns[*at]).collect();
        for (at, array) in sound.iter().zip(decode(&together, &texts)?) {
            arrays[*at] = Some(array);
        }
        let arrays = arrays.into_iter().flatten().collect();
        Ok(Self { readable, arrays, failed })
    }
}

impl Column {
    /// Whether the row's value is exactly one of the column.
    fn fits(&self, text: &str, row: &Map<String, Value>) -> bool {
        let Some(value) = row.get(&self.key) else { return true };
        fits(value, self.field.data_type()).unwrap_or_else(|| decode(&[self], &[text]).is_ok())
    }
}

/// Some columns of rows whose values all fit.
fn decode(columns: &[&Column], texts: &[&str]) -> Result<Vec<ArrayRef>, ArrowError> {
    if columns.is_empty() {
        return Ok(Vec::new());
    }
    let fields: Vec<Field> =
        columns.iter().map(|column| column.field.as_ref().clone().with_name(&column.key)).collect();
    let batch = rows_from_json(&Arc::new(Schema::new(fields)), texts)?;
    if batch.num_rows() != texts.len() {
        return Err(ArrowError::JsonError(format!("{} rows came of {} texts", batch.num_rows(), texts.len())));
    }
    Ok(batch.columns().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::Array as _;
    use arrow_schema::DataType;

    fn column(name: &str, kind: DataType) -> Column {
        Column { field: Arc::new(Field::new(name, kind, true)), key: name.to_owned() }
    }

    #[test]
    fn what_does_not_fit_is_null_and_told() {
        let columns = [column("n", DataType::Int32), column("f", DataType::Float64), column("new", DataType::Utf8)];
        let columns = columns.map(|column| match column.key.as_str() {
            "new" => Column { key: "old".to_owned(), ..column },
            _ => column,
        });
        let texts = [
            r#"{"n":1,"f":0.1,"old":"a"}"#,
            r#"{"n":1.5,"f":1e300,"old":null}"#,
            "no row",
            r#"{"n":"3000000000","f":"text","more":7}"#,
        ];
        let read = Read::of(&texts.map(str::to_owned), &columns).unwrap();
        assert_eq!(read.readable, [true, true, false, true]);
        let failed: Vec<(String, Vec<usize>)> =
            read.failed.iter().map(|failure| (failure.column.clone(), failure.rows.set_indices().collect())).collect();
        assert_eq!(failed, [("n".to_owned(), vec![1, 2]), ("f".to_owned(), vec![2])]);
        let shown = format!("{:?}", read.arrays);
        assert!(shown.contains("1,\n  null,\n  null") && shown.contains("0.1,\n  1e300,\n  null"), "{shown}");
        assert_eq!(read.arrays[2].null_count(), 2);
    }
}
