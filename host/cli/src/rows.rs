//! Rows of a query on stdout: as a table for people, as CSV or JSON for machines.

use std::cell::Cell;
use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::csv;
use arrow::datatypes::SchemaRef;
use arrow::json;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use lakehost_pipeline::Fault;

use crate::args::RowFormat;
use crate::error::Error;
use crate::table::{Align, TextTable};

/// Writes all rows, or the first `limit` of them as a table.
///
/// # Errors
/// Those of the rows; `LH0501` when stdout takes no more. With it: whether rows are out already, so that no other answer may follow them.
pub fn write(
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch, Fault>>,
    format: RowFormat,
    limit: usize,
) -> Result<(), (Fault, bool)> {
    let begun = Cell::new(false);
    let out = Waiting { rows: Vec::with_capacity(WAITING_BYTES), begun: &begun };
    let written = match format {
        RowFormat::Table => table(schema, batches, limit, out),
        RowFormat::Csv => csv_rows(schema, batches, out),
        RowFormat::Json => json_rows(batches, with_nulls().build::<_, json::writer::JsonArray>(out), b"\n"),
        RowFormat::Jsonl => json_rows(batches, with_nulls().build::<_, json::writer::LineDelimited>(out), b""),
    };
    written.map_err(|fault| (fault, begun.get()))
}

/// Rows wait for so many bytes of their like.
const WAITING_BYTES: usize = 1 << 16;

/// Rows on their way to stdout. Those that still wait when an error comes are never shown.
struct Waiting<'a> {
    rows: Vec<u8>,
    begun: &'a Cell<bool>,
}

impl Write for Waiting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.rows.extend_from_slice(bytes);
        if self.rows.len() >= WAITING_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        self.begun.set(true);
        let mut out = io::stdout().lock();
        out.write_all(&self.rows)?;
        self.rows.clear();
        out.flush()
    }
}

fn table(
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch, Fault>>,
    limit: usize,
    mut out: impl Write,
) -> Result<(), Fault> {
    let headings = schema
        .fields()
        .iter()
        .map(|field| (field.name().as_str(), if field.data_type().is_numeric() { Align::Right } else { Align::Left }));
    let mut text = TextTable::new(headings);
    let options = FormatOptions::new().with_null("NULL").with_display_error(true);
    let (mut shown, mut more) = (0, false);
    'rows: for batch in batches {
        let batch = batch?;
        let formatters: Vec<ArrayFormatter<'_>> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<_, _>>()
            .map_err(|error| Error::Bug { what: "a value cannot be shown".to_owned(), cause: error.to_string() })?;
        for row in 0..batch.num_rows() {
            if shown == limit {
                more = true;
                break 'rows;
            }
            text.row(formatters.iter().map(|formatter| formatter.value(row).to_string()));
            shown += 1;
        }
    }
    let note = if more {
        let first = if shown == 1 { "row".to_owned() } else { format!("{shown} rows") };
        format!("the first {first}; --limit 0 shows all, --format csv writes them\n")
    } else {
        format!("{shown} {}\n", if shown == 1 { "row" } else { "rows" })
    };
    ended(out.write_all(text.render().as_bytes()).and_then(|()| out.flush()))?;
    let _ = io::stderr().write_all(note.as_bytes());
    Ok(())
}

fn csv_rows(
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch, Fault>>,
    out: impl Write,
) -> Result<(), Fault> {
    if let Some(field) = schema.fields().iter().find(|field| field.data_type().is_nested()) {
        return Err(Error::Usage {
            message: format!("column {} has parts, and CSV has no place for them", field.name().escape_debug()),
            hint: Some("use --format jsonl, or select the parts".to_owned()),
        }
        .into());
    }
    let mut writer = csv::WriterBuilder::new().with_header(true).build(out);
    // The header also stands over no rows.
    ended(writer.write(&RecordBatch::new_empty(schema.clone())).map_err(io::Error::other))?;
    for batch in batches {
        ended(writer.write(&batch?).map_err(io_error))?;
    }
    ended(writer.into_inner().flush())
}

/// A null is written: every row has the same keys.
fn with_nulls() -> json::WriterBuilder {
    json::WriterBuilder::new().with_explicit_nulls(true)
}

fn json_rows<W: Write, F: json::writer::JsonFormat>(
    batches: impl Iterator<Item = Result<RecordBatch, Fault>>,
    mut writer: json::Writer<W, F>,
    end: &[u8],
) -> Result<(), Fault> {
    for batch in batches {
        ended(writer.write(&batch?).map_err(io_error))?;
    }
    ended(writer.finish().map_err(io_error))?;
    let mut out = writer.into_inner();
    ended(out.write_all(end))?;
    ended(out.flush())
}

fn io_error(error: arrow::error::ArrowError) -> io::Error {
    match error {
        arrow::error::ArrowError::IoError(_, error) => error,
        other => io::Error::other(other),
    }
}

fn ended(result: io::Result<()>) -> Result<(), Fault> {
    result.map_err(|source| Error::File { path: "standard output".to_owned(), action: "written", source }.into())
}
