//! The services of a native test: answers that [`testing::Host`](crate::testing::Host) recorded, by URL.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use arrow_array::{ArrayRef, RecordBatch, new_null_array};
use arrow_schema::{DataType, FieldRef, Schema, SchemaRef};

use super::{Entry, FetchRequest, Level, Projection, Unlisted};
use crate::error::{PluginError, Result};

/// What the recording host knows and what it saw.
#[derive(Debug, Default)]
pub struct Recording {
    pub answers: RefCell<BTreeMap<String, Recorded>>,
    pub requests: RefCell<Vec<String>>,
    pub log_lines: RefCell<Vec<(Level, String)>>,
}

/// One recorded answer.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Body,
}

/// What a blob holds: bytes, or the rows that its Parquet bytes stand for.
#[derive(Debug, Clone)]
pub enum Body {
    Bytes(Vec<u8>),
    Parquet(SchemaRef, Vec<RecordBatch>),
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Recording>>> = const { RefCell::new(None) };
}

/// Makes `recording` the host of this thread while `work` runs.
pub fn with_recording<T>(recording: &Rc<Recording>, work: impl FnOnce() -> T) -> T {
    /// Puts the host before back, on a panic too.
    struct Restore(Option<Rc<Recording>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.with(|current| *current.borrow_mut() = self.0.take());
        }
    }
    let _restore = Restore(CURRENT.with(|current| current.borrow_mut().replace(Rc::clone(recording))));
    work()
}

fn current() -> Option<Rc<Recording>> {
    CURRENT.with(|current| current.borrow().clone())
}

#[derive(Debug, Clone)]
pub struct Batch(pub RecordBatch);

impl Batch {
    pub fn from_ipc(bytes: Vec<u8>) -> Result<Self> {
        Ok(Self(lakehost_wire::decode_batch(bytes)?))
    }

    pub fn rows(&self) -> u64 {
        self.0.num_rows() as u64
    }

    pub fn schema(&self) -> Result<SchemaRef> {
        Ok(self.0.schema())
    }

    pub fn read(&self, columns: &[String]) -> Result<RecordBatch> {
        let indices = columns
            .iter()
            .map(|name| {
                self.0.schema_ref().index_of(name).map_err(|_| {
                    PluginError::schema_mismatch(format!("column {name} is missing from the batch"))
                        .with("column", name)
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(self.0.project(&indices)?)
    }
}

#[derive(Debug)]
pub struct Blob {
    recorded: Recorded,
}

impl Recorded {
    fn size(&self) -> u64 {
        match &self.body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Parquet(_, batches) => batches.iter().map(|batch| batch.get_array_memory_size() as u64).sum(),
        }
    }

    fn header(&self, name: &str) -> Option<String> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
    }
}

impl Blob {
    pub fn size(&self) -> Option<u64> {
        Some(self.recorded.size())
    }

    pub fn status(&self) -> u16 {
        self.recorded.status
    }

    pub fn header(&self, name: &str) -> Option<String> {
        self.recorded.header(name)
    }

    pub fn etag(&self) -> Option<String> {
        self.header("etag")
    }

    pub fn read(&self, offset: u64, length_bytes: u64) -> Result<Vec<u8>> {
        let Body::Bytes(bytes) = &self.recorded.body else {
            return Err(PluginError::internal("a recorded Parquet answer has rows and no bytes: use read_parquet"));
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let length = usize::try_from(length_bytes).unwrap_or(usize::MAX).min(bytes.len() - start);
        Ok(bytes[start..start + length].to_vec())
    }
}

#[derive(Debug)]
pub struct BatchReader {
    schema: SchemaRef,
    batches: RefCell<std::vec::IntoIter<RecordBatch>>,
}

impl BatchReader {
    pub fn schema(&self) -> Result<SchemaRef> {
        Ok(SchemaRef::clone(&self.schema))
    }

    pub fn next(&self) -> Result<Option<Batch>> {
        Ok(self.batches.borrow_mut().next().map(Batch))
    }
}

fn answer(method: &str, url: &str) -> Result<Recorded> {
    let Some(host) = current() else {
        return Err(PluginError::internal(format!(
            "{method} {url}: no testing::Host is running; wrap the call in host.run"
        )));
    };
    host.requests.borrow_mut().push(format!("{method} {url}"));
    let Some(recorded) = host.answers.borrow().get(url).cloned() else {
        return Err(PluginError::internal(format!("{url} was not recorded in the testing::Host")).with("url", url));
    };
    if recorded.status < 400 {
        return Ok(recorded);
    }
    let status = recorded.status;
    let message = format!("{url} answered {status}");
    let error = match status {
        401 => PluginError::unauthenticated(message),
        403 => PluginError::forbidden(message),
        404 | 410 => PluginError::not_found(message),
        429 => PluginError::rate_limited(message),
        500.. => PluginError::unavailable(message),
        _ => PluginError::data(message),
    };
    Err(error.with("url", url).with("status", status.to_string()))
}

pub fn stat(url: &str) -> Result<Entry> {
    let recorded = answer("HEAD", url)?;
    Ok(Entry { url: url.to_owned(), size: recorded.size(), etag: recorded.header("etag") })
}

pub fn fetch(request: &FetchRequest) -> Result<Blob> {
    let recorded = answer(&request.method, &request.url)?;
    if request.max_bytes.is_some_and(|max_bytes| recorded.size() > max_bytes) {
        let size = recorded.size();
        return Err(PluginError::data(format!("{} is {size} bytes long, more than allowed", request.url)));
    }
    Ok(Blob { recorded })
}

pub fn parquet_schema(blob: &Blob) -> Result<SchemaRef> {
    parquet_rows(blob).map(|(schema, _)| SchemaRef::clone(schema))
}

fn parquet_rows(blob: &Blob) -> Result<(&SchemaRef, &[RecordBatch])> {
    match &blob.recorded.body {
        Body::Parquet(schema, batches) => Ok((schema, batches)),
        Body::Bytes(_) => Err(PluginError::data("the blob is no Parquet file: record it with Answer::parquet")),
    }
}

/// Maps names as the host does. It casts nothing: a test of casts belongs to the host.
pub fn read_parquet(blob: &Blob, projection: Option<&Projection>) -> Result<BatchReader> {
    let (schema, batches) = parquet_rows(blob)?;
    let (schema, batches) = match projection {
        None => (SchemaRef::clone(schema), batches.to_vec()),
        Some(projection) => {
            let mapping = Mapping::of(schema, projection)?;
            let batches = batches.iter().map(|batch| mapping.apply(batch)).collect::<Result<Vec<_>>>()?;
            (mapping.schema, batches)
        }
    };
    Ok(BatchReader { schema, batches: RefCell::new(batches.into_iter()) })
}

struct Mapping {
    schema: SchemaRef,
    /// For each wanted column, the upstream one; `None`: all null.
    upstream: Vec<Option<usize>>,
}

impl Mapping {
    fn of(found: &Schema, projection: &Projection) -> Result<Self> {
        let mut fields: Vec<FieldRef> = Vec::new();
        let mut upstream = Vec::new();
        for field in projection.schema.fields() {
            let name = field.name();
            let map = projection.columns.iter().find(|map| map.name == *name).ok_or_else(|| {
                PluginError::internal(format!("the projection wants column {name} and maps nothing onto it"))
            })?;
            let index = map.upstream.iter().find_map(|candidate| found.index_of(candidate).ok());
            if index.is_none() && !map.optional {
                let names = map.upstream.join(" or ");
                return Err(PluginError::schema_mismatch(format!("column {names} is missing")).with("column", name));
            }
            if let Some(type_found) = index.map(|index| found.field(index).data_type())
                && type_found != field.data_type()
                && *type_found != DataType::Null
            {
                let wanted = field.data_type();
                let message = format!("column {name} is {type_found}, wanted {wanted}: testing::Host does not cast");
                return Err(PluginError::schema_mismatch(message).with("column", name));
            }
            fields.push(FieldRef::clone(field));
            upstream.push(index);
        }
        for (index, field) in found.fields().iter().enumerate() {
            if projection.columns.iter().any(|map| map.upstream.contains(field.name())) {
                continue;
            }
            match projection.unlisted {
                Unlisted::Refuse => {
                    let message = format!("upstream column {} is listed nowhere", field.name());
                    return Err(PluginError::schema_mismatch(message).with("column", field.name()));
                }
                Unlisted::Pass => {
                    fields.push(FieldRef::clone(field));
                    upstream.push(Some(index));
                }
            }
        }
        Ok(Self { schema: Schema::new(fields).into(), upstream })
    }

    fn apply(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.schema.fields().iter().zip(&self.upstream).map(|(field, index)| -> ArrayRef {
            match index.map(|index| batch.column(index)) {
                Some(column) if column.data_type() == field.data_type() => ArrayRef::clone(column),
                _ => new_null_array(field.data_type(), batch.num_rows()),
            }
        });
        Ok(RecordBatch::try_new(SchemaRef::clone(&self.schema), columns.collect())?)
    }
}

pub fn log(level: Level, message: &str) {
    if let Some(host) = current() {
        host.log_lines.borrow_mut().push((level, message.to_owned()));
    }
}

pub fn progress(_done: u64, _total: Option<u64>, _unit: &str) {}
