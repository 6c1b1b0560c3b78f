//! Data files written anew without some of their rows.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::SchemaRef;
use arrow_select::filter::filter_record_batch;
use lakehost_columnar::{
    BatchSource, BoxError, NoObserver, OutputSchema, Path, Rows, SinkFactory, Transcoder, WriteOptions,
};

use crate::catalog::TableState;
use crate::commit::Added;
use crate::core::Core;
use crate::data_file::data_file;
use crate::error::{Error, Result};
use crate::inspect::LiveFile;
use crate::maintain::{Batches, Reader, failure};

/// Says of each row of a batch whether it stays; null: it does not.
pub type Keep<'a> = Box<dyn FnMut(&RecordBatch) -> Result<BooleanArray, BoxError> + Send + 'a>;

/// Calls `look` with every batch of a file, of these columns alone.
pub fn each_batch<E: From<Error>>(
    core: &Core,
    state: &TableState,
    reader: &Reader,
    path: &str,
    columns: &[&str],
    mut look: impl FnMut(&RecordBatch) -> Result<(), E>,
) -> Result<(), E> {
    let mut batches = reader.batches(core, state, path, Some(columns))?;
    while let Some(batch) = batches.next().map_err(|error| failure(state, lakehost_columnar::Error::Step(error)))? {
        look(&batch)?;
    }
    Ok(())
}

/// The rows of a file that `keep` lets stay, in new files of the same partition.
pub fn without(
    core: &Core,
    state: &TableState,
    reader: &Reader,
    live: &LiveFile,
    keep: Keep<'_>,
    sinks: &dyn SinkFactory,
) -> Result<Vec<Added>> {
    let batches = reader.batches(core, state, live.file.file_path(), None)?;
    let output = OutputSchema { schema: batches.schema(), constants: Vec::new() };
    let options = WriteOptions::default();
    let transcoder = Transcoder {
        output: &output,
        options: &options,
        step: None,
        sinks,
        observer: &NoObserver,
        path: Path::Arrow,
        rejects: None,
    };
    // The writer owns its source for as long as it likes; what decides on rows is lent for this call.
    let (to_writer, from_here) = std::sync::mpsc::sync_channel::<Result<RecordBatch, BoxError>>(2);
    let schema = batches.schema();
    let written = std::thread::scope(|scope| {
        scope.spawn(move || feed(batches, keep, &to_writer));
        transcoder.run(Rows::Batches(Box::new(Fed { schema, from: from_here })))
    });
    let outcome = written.map_err(|error| failure(state, error))?;
    let schema = state.metadata.current_schema();
    outcome
        .files
        .iter()
        .map(|file| {
            let (partition, order) = (live.file.partition().clone(), live.file.sort_order_id());
            // Rows that go leave the others in their order.
            let file = data_file(file, schema, &live.spec, partition, order)?;
            Ok(Added { spec_id: Some(live.spec.spec_id()), ..Added::new(file) })
        })
        .collect()
}

fn feed(mut batches: Batches, mut keep: Keep<'_>, to: &std::sync::mpsc::SyncSender<Result<RecordBatch, BoxError>>) {
    loop {
        let next = match batches.next() {
            Ok(None) => return,
            Ok(Some(batch)) => keep(&batch).and_then(|mask| Ok(filter_record_batch(&batch, &mask)?)),
            Err(error) => Err(error),
        };
        let ends = next.is_err();
        // The writer has given up, and says why.
        if to.send(next).is_err() || ends {
            return;
        }
    }
}

/// Batches from another thread.
struct Fed {
    schema: SchemaRef,
    from: std::sync::mpsc::Receiver<Result<RecordBatch, BoxError>>,
}

impl BatchSource for Fed {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn next(&mut self) -> Result<Option<RecordBatch>, BoxError> {
        loop {
            match self.from.recv() {
                Err(_) => return Ok(None),
                Ok(Ok(batch)) if batch.num_rows() == 0 => {}
                Ok(next) => return next.map(Some),
            }
        }
    }
}

/// The locations of files.
pub fn paths(files: &[LiveFile]) -> HashSet<&str> {
    files.iter().map(|live| live.file.file_path()).collect()
}
