//! Rows of a query, on stdout or in a file: as a table for people, as CSV or JSON for machines, as Parquet or Arrow for other engines.

use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use arrow::csv;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::StreamWriter;
use arrow::json;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use lakehost_pipeline::Fault;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use crate::args::RowFormat;
use crate::error::Error;
use crate::table::{Align, TextTable};

/// How rows are written.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub format: RowFormat,
    /// At most so many rows.
    pub limit: usize,
    /// A table for people is laid out in memory, and must fit.
    pub memory_bytes: u64,
}

/// Where rows are on their way to, as errors name it.
const STDOUT: &str = "standard output";

/// Writes the rows to stdout.
///
/// # Errors
/// Those of the rows; `LH0501` when stdout takes no more. With it: whether rows are out already, so that no other answer may follow them.
pub fn write(
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch, Fault>>,
    layout: Layout,
) -> Result<(), (Fault, bool)> {
    let begun = AtomicBool::new(false);
    let out = Waiting { rows: Vec::with_capacity(WAITING_BYTES), begun: &begun };
    let written = write_to(schema, batches, layout, out, STDOUT);
    written.map_err(|fault| (fault, begun.load(Ordering::Relaxed)))
}

/// Writes the rows to a file, which is there when all of them are in it, and else as it was. What is no regular file, such as a device or a
/// named pipe, takes the rows as they come, and stays what it is.
///
/// # Errors
/// Those of the rows; `LH0501` and `LH1001` for the file.
pub fn write_file(
    path: &Path,
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch, Fault>>,
    layout: Layout,
) -> Result<(), Fault> {
    let shown = path.display().to_string();
    let wrong = |source| Error::File { path: shown.clone(), action: "written", source };
    let special = path.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir());
    // `/dev/stdout` and its like are links to whatever is open, which others write to as well.
    if special || (path.is_symlink() && (path.starts_with("/dev") || path.starts_with("/proc"))) {
        let mut out = std::fs::File::options().append(true).open(path).map_err(wrong)?;
        return write_to(schema, batches, layout, BufWriter::with_capacity(WAITING_BYTES, &mut out), &shown);
    }
    // The file behind a link is replaced, and the link stays one.
    let linked = if path.is_symlink() { path.canonicalize().ok() } else { None };
    let path = linked.as_deref().unwrap_or(path);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut draft = tempfile::Builder::new()
        .prefix(".lakehost-")
        .permissions(std::fs::Permissions::from_mode(READABLE))
        .tempfile_in(folder)
        .map_err(wrong)?;
    write_to(schema, batches, layout, BufWriter::with_capacity(WAITING_BYTES, draft.as_file_mut()), &shown)?;
    draft.as_file().sync_all().map_err(wrong)?;
    draft.persist(path).map_err(|error| wrong(error.error))?;
    Ok(())
}

/// The process's umask takes away what it should not give.
const READABLE: u32 = 0o666;

fn write_to(
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch, Fault>>,
    layout: Layout,
    out: impl Write + Send,
    place: &str,
) -> Result<(), Fault> {
    // One more than is shown tells whether there are more.
    let more = usize::from(layout.format == RowFormat::Table);
    let batches = Limited { batches, left: layout.limit.saturating_add(more) };
    match layout.format {
        RowFormat::Table => table(schema, batches, layout, out, place),
        RowFormat::Csv => csv_rows(schema, batches, out, place),
        RowFormat::Json => json_rows(batches, with_nulls().build::<_, json::writer::JsonArray>(out), b"\n", place),
        RowFormat::Jsonl => json_rows(batches, with_nulls().build::<_, json::writer::LineDelimited>(out), b"", place),
        RowFormat::Parquet => parquet_rows(schema, batches, out, place),
        RowFormat::Arrow => arrow_rows(schema, batches, out, place),
    }
}

/// The first rows of many.
struct Limited<I> {
    batches: I,
    left: usize,
}

impl<I: Iterator<Item = Result<RecordBatch, Fault>>> Iterator for Limited<I> {
    type Item = Result<RecordBatch, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let batch = self.batches.next()?;
        Some(batch.map(|batch| {
            let rows = batch.num_rows().min(self.left);
            self.left -= rows;
            batch.slice(0, rows)
        }))
    }
}

/// What a cell of a table takes beside its text.
const CELL_BYTES: u64 = 32;
/// Rows wait for so many bytes of their like.
const WAITING_BYTES: usize = 1 << 16;

/// Rows on their way to stdout. Those that still wait when an error comes are never shown.
struct Waiting<'a> {
    rows: Vec<u8>,
    begun: &'a AtomicBool,
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
        self.begun.store(true, Ordering::Relaxed);
        let mut out = io::stdout().lock();
        out.write_all(&self.rows)?;
        self.rows.clear();
        out.flush()
    }
}

fn table(
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch, Fault>>,
    Layout { limit, memory_bytes, .. }: Layout,
    mut out: impl Write,
    place: &str,
) -> Result<(), Fault> {
    let headings = schema
        .fields()
        .iter()
        .map(|field| (field.name().as_str(), if field.data_type().is_numeric() { Align::Right } else { Align::Left }));
    let mut text = TextTable::new(headings);
    let options = FormatOptions::new().with_null("NULL").with_display_error(true);
    let (mut shown, mut more, mut held_bytes) = (0, false, 0_u64);
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
            let cells: Vec<String> = formatters.iter().map(|formatter| formatter.value(row).to_string()).collect();
            held_bytes += cells.iter().map(|cell| CELL_BYTES + cell.len() as u64).sum::<u64>();
            if held_bytes > memory_bytes {
                let cause = format!("a table of more than {shown} rows; --format csv writes them one by one");
                return Err(lakehost_query::Error::Memory { cause }.into());
            }
            text.row(cells);
            shown += 1;
        }
    }
    let note = if more {
        let first = if shown == 1 { "row".to_owned() } else { format!("{shown} rows") };
        format!("the first {first}; --limit 0 shows all, --format csv writes them\n")
    } else {
        format!("{shown} {}\n", if shown == 1 { "row" } else { "rows" })
    };
    ended(out.write_all(text.render().as_bytes()).and_then(|()| out.flush()), place)?;
    let _ = io::stderr().write_all(note.as_bytes());
    Ok(())
}

fn csv_rows(
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch, Fault>>,
    out: impl Write,
    place: &str,
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
    ended(writer.write(&RecordBatch::new_empty(schema.clone())).map_err(io::Error::other), place)?;
    for batch in batches {
        ended(writer.write(&batch?).map_err(io_error), place)?;
    }
    ended(writer.into_inner().flush(), place)
}

/// A null is written: every row has the same keys.
fn with_nulls() -> json::WriterBuilder {
    json::WriterBuilder::new().with_explicit_nulls(true)
}

fn json_rows<W: Write, F: json::writer::JsonFormat>(
    batches: impl Iterator<Item = Result<RecordBatch, Fault>>,
    mut writer: json::Writer<W, F>,
    end: &[u8],
    place: &str,
) -> Result<(), Fault> {
    for batch in batches {
        ended(writer.write(&batch?).map_err(io_error), place)?;
    }
    ended(writer.finish().map_err(io_error), place)?;
    let mut out = writer.into_inner();
    ended(out.write_all(end), place)?;
    ended(out.flush(), place)
}

/// A row group of the answer is written out when it holds so much.
const GROUP_BYTES: usize = 64 << 20;

fn parquet_rows(
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch, Fault>>,
    out: impl Write + Send,
    place: &str,
) -> Result<(), Fault> {
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut writer = ended(ArrowWriter::try_new(out, schema.clone(), Some(properties)).map_err(parquet_error), place)?;
    for batch in batches {
        ended(writer.write(&under(schema, &batch?)?).map_err(parquet_error), place)?;
        if writer.in_progress_size() > GROUP_BYTES {
            ended(writer.flush().map_err(parquet_error), place)?;
        }
    }
    let mut out = ended(writer.into_inner().map_err(parquet_error), place)?;
    ended(out.flush(), place)
}

/// An Arrow IPC stream: what a pipe can carry.
fn arrow_rows(
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch, Fault>>,
    out: impl Write,
    place: &str,
) -> Result<(), Fault> {
    let mut writer = ended(StreamWriter::try_new(out, schema).map_err(io_error), place)?;
    for batch in batches {
        ended(writer.write(&under(schema, &batch?)?).map_err(io_error), place)?;
    }
    let mut out = ended(writer.into_inner().map_err(io_error), place)?;
    ended(out.flush(), place)
}

/// A batch under the schema that the answer announced: the engine may have found that a column is never null.
fn under(schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch, Fault> {
    RecordBatch::try_new(schema.clone(), batch.columns().to_vec()).map_err(|error| {
        Error::Bug { what: "rows are not what the query announced".to_owned(), cause: error.to_string() }.into()
    })
}

fn parquet_error(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(source) => io::Error::other(source),
        },
        other => io::Error::other(other),
    }
}

fn io_error(error: arrow::error::ArrowError) -> io::Error {
    match error {
        arrow::error::ArrowError::IoError(_, error) => error,
        other => io::Error::other(other),
    }
}

fn ended<T>(result: io::Result<T>, place: &str) -> Result<T, Fault> {
    result.map_err(|source| Error::File { path: place.to_owned(), action: "written", source }.into())
}
