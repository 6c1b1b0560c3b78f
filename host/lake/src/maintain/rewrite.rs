//! The rows of a bin, read and written anew: as whole column chunks where the files are just as the table is, else through Arrow.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_cast::cast;
use arrow_ord::sort::{SortColumn, SortOptions, lexsort_to_indices};
use arrow_schema::SchemaRef;
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;
use futures::{StreamExt, TryStreamExt};
use iceberg::arrow::ArrowReaderBuilder;
use iceberg::metadata_columns::RESERVED_FIELD_ID_FILE;
use iceberg::scan::{ArrowRecordBatchStream, FileScanTask};
use iceberg::spec::SnapshotRef;
use lakehost_columnar::{
    BatchSource, BoxError, FileBytes, Observer, OutputSchema, ParquetFile, Path, Rows, SinkFactory, Transcoder,
    WriteOptions, WrittenFile, can_join, join,
};
use tokio::runtime::Handle;

use super::bins::Bin;
use super::compact::{CompactOptions, SortKey};
use crate::catalog::TableState;
use crate::commit::open;
use crate::constants::FileConstants;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::location::local_path;
use crate::schema::arrow_schema;

/// Rows that are read at a time.
const BATCH_ROWS: usize = 16 << 10;
/// A file is closed a little behind the wanted size, so that a bin does not leave a sliver.
const SLACK: (u64, u64) = (5, 4);

/// How the files of one state of a table are read.
pub struct Reader {
    tasks: HashMap<String, FileScanTask>,
    schema: SchemaRef,
}

impl Reader {
    /// Plans all data files of the head of `main`.
    pub async fn of(core: &Core, state: &TableState) -> Result<Self> {
        Self::at(core, state, state.main()).await
    }

    /// Plans all data files of a snapshot, to be read as the table's present columns.
    pub async fn at(core: &Core, state: &TableState, snapshot: Option<&SnapshotRef>) -> Result<Self> {
        let schema = arrow_schema(&state.name, state.metadata.current_schema())?;
        let Some(snapshot) = snapshot else { return Ok(Self { tasks: HashMap::new(), schema }) };
        let table = open(core, &state.name, Arc::clone(&state.metadata), state.metadata_location.clone())?;
        let planned = async {
            let scan = table.scan().snapshot_id(snapshot.snapshot_id()).select_empty().build()?;
            let tasks: Vec<FileScanTask> = scan.plan_files().await?.try_collect().await?;
            let constants = FileConstants::of(&table, snapshot, state.metadata.current_schema()).await?;
            Ok((tasks, constants))
        };
        let (tasks, constants) = planned.await.map_err(Error::iceberg("read", &state.name))?;
        let read_as = state.metadata.current_schema();
        let mut field_ids: Vec<i32> = read_as.as_struct().fields().iter().map(|field| field.id).collect();
        // A column that no file has makes the library assign every other one by its id, not by its place.
        field_ids.push(RESERVED_FIELD_ID_FILE);
        let tasks = tasks.into_iter().map(|mut task| {
            constants.apply(&mut task);
            task.schema = Arc::clone(read_as);
            task.project_field_ids.clone_from(&field_ids);
            (task.data_file_path.clone(), task)
        });
        Ok(Self { tasks: tasks.collect(), schema })
    }

    /// A file of the table's columns that is not yet part of it can be read, too.
    pub fn add(&mut self, file: &iceberg::spec::DataFile, state: &iceberg::spec::TableMetadata) {
        let read_as = state.current_schema();
        let mut field_ids: Vec<i32> = read_as.as_struct().fields().iter().map(|field| field.id).collect();
        field_ids.push(RESERVED_FIELD_ID_FILE);
        let task = FileScanTask::builder()
            .with_file_size_in_bytes(file.file_size_in_bytes())
            .with_start(0)
            .with_length(file.file_size_in_bytes())
            .with_record_count(Some(file.record_count()))
            .with_data_file_path(file.file_path().to_owned())
            .with_data_file_format(file.file_format())
            .with_schema(Arc::clone(read_as))
            .with_project_field_ids(field_ids)
            .with_case_sensitive(true)
            .build();
        self.tasks.insert(file.file_path().to_owned(), task);
    }

    /// The rows of one file, of these columns or all.
    pub fn batches(&self, core: &Core, state: &TableState, path: &str, columns: Option<&[&str]>) -> Result<Batches> {
        let planned = self.tasks.get(path).cloned();
        let mut task = planned.ok_or_else(|| Error::Internal(format!("{path} was not planned")))?;
        let mut schema = Arc::clone(&self.schema);
        if let Some(names) = columns {
            let wrong = |name: &str| Error::Internal(format!("{} has no column {name}", state.name));
            let positions = names.iter().map(|name| schema.index_of(name).map_err(|_| wrong(name)));
            let positions = positions.collect::<Result<Vec<_>>>()?;
            let ids = names.iter().map(|name| {
                state.metadata.current_schema().field_by_name(name).map(|field| field.id).ok_or_else(|| wrong(name))
            });
            task.project_field_ids = ids.chain([Ok(RESERVED_FIELD_ID_FILE)]).collect::<Result<Vec<_>>>()?;
            schema = schema.project(&positions).map(Arc::new).map_err(|error| Error::Internal(error.to_string()))?;
        }
        let stream = core.block_on(async { read(core, vec![task]) }).map_err(Error::iceberg("read", &state.name))?;
        Ok(Batches { runtime: core.runtime.clone(), stream, schema })
    }

    /// Files that delete files count for.
    pub fn deleted_from(&self) -> HashSet<String> {
        let hit = self.tasks.iter().filter(|(_, task)| !task.deletes.is_empty());
        hit.map(|(path, _)| path.clone()).collect()
    }

    fn tasks_of(&self, bin: &Bin) -> Result<Vec<FileScanTask>> {
        bin.files
            .iter()
            .map(|live| {
                let path = live.file.file_path();
                self.tasks.get(path).cloned().ok_or_else(|| Error::Internal(format!("{path} was not planned")))
            })
            .collect()
    }
}

/// Writes the rows of a bin into new files.
pub fn rewrite(
    core: &Core,
    state: &TableState,
    reader: &Reader,
    bin: &Bin,
    options: &CompactOptions,
    sinks: &dyn SinkFactory,
    observer: &dyn Observer,
) -> Result<Vec<WrittenFile>> {
    let tasks = reader.tasks_of(bin)?;
    let untouched = tasks.iter().all(|task| task.deletes.is_empty());
    let output = OutputSchema { schema: Arc::clone(&reader.schema), constants: Vec::new() };
    let write = WriteOptions {
        target_file_bytes: options.target_bytes.saturating_mul(SLACK.0) / SLACK.1,
        threads: options.threads.max(1),
        memory_bytes: usize::try_from(options.memory_bytes / 2).unwrap_or(usize::MAX),
        ..WriteOptions::default()
    };
    let failed = |error| failure(state, error);
    if untouched
        && options.sort.is_none()
        && let Some(files) = joinable(bin, &reader.schema)
    {
        return join(&files, &output, &write, sinks, observer).map_err(failed);
    }
    let batches = Batches {
        runtime: core.runtime.clone(),
        stream: core.block_on(async { read(core, tasks) }).map_err(Error::iceberg("read", &state.name))?,
        schema: Arc::clone(&reader.schema),
    };
    let transcode = |rows: Box<dyn BatchSource>| {
        let transcoder = Transcoder {
            output: &output,
            options: &write,
            step: None,
            sinks,
            observer,
            path: Path::Arrow,
            rejects: None,
        };
        transcoder.run(Rows::Batches(rows)).map_err(failed)
    };
    let Some(keys) = &options.sort else { return Ok(transcode(Box::new(batches))?.files) };
    let mut files = Vec::new();
    let mut batches = batches;
    loop {
        let (sorted, more) = next_sorted(state, &mut batches, keys, options.memory_bytes / 4)?;
        if let Some(sorted) = sorted {
            let schema = Arc::clone(&reader.schema);
            files.extend(transcode(Box::new(Ready { schema, batch: Some(sorted) }))?.files);
        }
        if !more {
            return Ok(files);
        }
    }
}

/// The files of a bin, opened, when their row groups can be taken over as they are.
fn joinable(bin: &Bin, schema: &SchemaRef) -> Option<Vec<Arc<ParquetFile>>> {
    bin.files
        .iter()
        .map(|live| {
            let location = live.file.file_path();
            if location.contains("://") && !location.starts_with("file://") {
                return None;
            }
            let bytes = FileBytes::open(&local_path(location)).ok()?;
            let file = ParquetFile::open(Arc::new(bytes)).ok()?;
            // What the table says and the file says differ: reading it the long way will tell.
            let as_listed = file.rows() == live.file.record_count();
            (as_listed && can_join(&file, schema).ok()?).then_some(file)
        })
        .collect()
}

fn read(core: &Core, tasks: Vec<FileScanTask>) -> iceberg::Result<ArrowRecordBatchStream> {
    // One file after another: the order stays, and memory is that of one file.
    let reader = ArrowReaderBuilder::new(core.io.clone(), iceberg::Runtime::current())
        .with_batch_size(BATCH_ROWS)
        .with_data_file_concurrency_limit(1)
        .build();
    let tasks = futures::stream::iter(tasks.into_iter().map(Ok)).boxed();
    Ok(reader.read(tasks)?.stream())
}

/// The rows of some files as the table's columns.
pub struct Batches {
    runtime: Handle,
    stream: ArrowRecordBatchStream,
    schema: SchemaRef,
}

impl BatchSource for Batches {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn next(&mut self) -> Result<Option<RecordBatch>, BoxError> {
        let Some(batch) = self.runtime.block_on(self.stream.try_next())? else { return Ok(None) };
        let columns = self
            .schema
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, column)| match column.data_type() == field.data_type() {
                true => Ok(Arc::clone(column)),
                false => cast(column, field.data_type()),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(Some(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &rows)?))
    }
}

/// Rows that are in memory.
struct Ready {
    schema: SchemaRef,
    batch: Option<RecordBatch>,
}

impl BatchSource for Ready {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn next(&mut self) -> Result<Option<RecordBatch>, BoxError> {
        Ok(self.batch.take())
    }
}

/// As many rows as the memory holds, in order, and whether there are more.
fn next_sorted(
    state: &TableState,
    batches: &mut Batches,
    keys: &[SortKey],
    memory_bytes: u64,
) -> Result<(Option<RecordBatch>, bool)> {
    let mut taken = Vec::new();
    let (mut bytes, mut more) = (0_u64, true);
    while bytes < memory_bytes.max(1) {
        match batches.next().map_err(|error| failure(state, lakehost_columnar::Error::Step(error)))? {
            Some(batch) => {
                bytes += batch.get_array_memory_size() as u64;
                taken.push(batch);
            }
            None => {
                more = false;
                break;
            }
        }
    }
    if taken.is_empty() {
        return Ok((None, more));
    }
    let wrong = |error: arrow_schema::ArrowError| Error::Setting {
        what: keys.iter().map(|key| key.column.as_str()).collect::<Vec<_>>().join(", "),
        purpose: "a sort order",
        detail: error.to_string(),
    };
    let whole = concat_batches(&batches.schema, &taken).map_err(wrong)?;
    drop(taken);
    let columns = keys
        .iter()
        .map(|key| {
            let values = whole.column_by_name(&key.column).cloned().ok_or_else(|| Error::Partition {
                column: key.column.clone(),
                problem: format!("{} has no column {} to sort by", state.name, key.column),
                hint: Some(format!("`lakehost table show {}` lists its columns", state.name)),
            })?;
            let options = SortOptions { descending: key.descending, nulls_first: key.nulls_first };
            Ok(SortColumn { values, options: Some(options) })
        })
        .collect::<Result<Vec<_>>>()?;
    let order = lexsort_to_indices(&columns, None).map_err(wrong)?;
    Ok((Some(take_record_batch(&whole, &order).map_err(wrong)?), more))
}

/// What columnar says, in the words of a table.
pub fn failure(state: &TableState, error: lakehost_columnar::Error) -> Error {
    use lakehost_columnar::Error as E;
    match error {
        E::Io(source) => match source.downcast::<Error>() {
            // What a sink of ours wrapped.
            Ok(error) => error,
            Err(source) => Error::Store { action: "rewrite files of", location: state.name.to_string(), source },
        },
        E::Step(source) => match source.downcast::<iceberg::Error>() {
            Ok(source) => Error::Iceberg { action: "read", table: state.name.to_string(), source },
            Err(source) => Error::Internal(format!("the rows of {} cannot be read: {source}", state.name)),
        },
        other => Error::Damaged {
            table: state.name.to_string(),
            location: state.metadata.location().to_owned(),
            detail: other.to_string(),
        },
    }
}
