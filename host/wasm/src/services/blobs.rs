//! `blobs`: bytes from outside, under the grants of the instance.

use std::io;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use lakehost_columnar::{ByteSource, ParquetFile};
use lakehost_fetch::{self as fetch, Request, Spool};
use lakehost_pipeline::{Fault, Retry};
use wasmtime::component::Resource;

use crate::abi::since_v0_1::{PluginError, blobs};
use crate::error::{Category, Error, Refusal, Report, Stop, shown, source_category};
use crate::state::{HostState, Surroundings};

/// A body that the host holds, and its footer once someone looked at it.
pub struct HostBlob {
    pub spool: Arc<Spool>,
    pub parquet: OnceLock<Arc<ParquetFile>>,
}

/// A body as the column code reads it: waits for what is still on its way, gives up when the run is cancelled.
pub(crate) struct SpoolBytes {
    spool: Arc<Spool>,
    name: String,
    length: u64,
    around: Arc<Surroundings>,
}

impl SpoolBytes {
    /// Waits for the length, when upstream did not announce it.
    pub fn new(spool: &Arc<Spool>, around: &Arc<Surroundings>) -> Result<Self, Gone> {
        let length = match spool.content_length() {
            Some(length) => length,
            None => around.wait(spool.complete())?.map_err(Gone::Source)?.length,
        };
        let name = spool.url().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        Ok(Self { spool: Arc::clone(spool), name: name.to_owned(), length, around: Arc::clone(around) })
    }
}

/// Why bytes are not coming.
pub(crate) enum Gone {
    Source(fetch::Error),
    Stop(Stop),
}

impl From<Stop> for Gone {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

/// Bytes of a body, once they are there. The fetcher ends a download that stands still.
fn read(spool: &Spool, around: &Surroundings, offset: u64, len: usize) -> Result<Bytes, Gone> {
    if offset.saturating_add(len as u64) > spool.available() {
        around.wait(spool.ready(offset, len))?.map_err(Gone::Source)?;
    }
    read_ready(spool, offset, len)
}

fn read_ready(spool: &Spool, offset: u64, len: usize) -> Result<Bytes, Gone> {
    spool.read_at(offset, len).map_err(|error| {
        Gone::Source(fetch::Error::from_io(&error).cloned().unwrap_or_else(|| fetch::Error::Io {
            doing: format!("read {}", spool.url()),
            kind: error.kind(),
            detail: error.to_string(),
        }))
    })
}

impl ByteSource for SpoolBytes {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let fault = |error: Error| io::Error::other(Fault::from(error));
        let bytes = read(&self.spool, &self.around, offset, len).map_err(|gone| match gone {
            Gone::Source(error) => fault(Error::Source { error }),
            Gone::Stop(_) => fault(Error::Interrupted),
        })?;
        if bytes.len() != len {
            let message = format!("{}: {len} bytes at {offset} reach behind its end at {}", self.name, self.length);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        Ok(bytes)
    }
}

/// The upstream error inside what the column code passes on.
pub(crate) fn source_error(error: &io::Error) -> Option<&fetch::Error> {
    let fault = error.get_ref()?.downcast_ref::<Fault>()?;
    match fault.downcast_ref::<Error>()? {
        Error::Source { error } => Some(error),
        _ => None,
    }
}

impl HostState {
    /// What a guest is told of a failed fetch. What the host knows better than any plugin goes into its own record.
    pub(crate) fn fetch_error(&mut self, error: fetch::Error) -> wasmtime::Result<PluginError> {
        if matches!(error, fetch::Error::Cancelled) && self.around.cancelled() {
            return Err(Stop::Cancelled.into());
        }
        let mut report = Report::of_host(source_category(&error), &error);
        report.retry = match &error {
            fetch::Error::RateLimited { after_ms, .. } => Retry::AfterMs(*after_ms),
            error if error.is_transient() => Retry::Backoff,
            _ => Retry::Never,
        };
        if let fetch::Error::Status { status, .. } | fetch::Error::RateLimited { status, .. } = &error {
            report.details.push(("status".to_owned(), status.to_string()));
        }
        match error {
            fetch::Error::Refused(refused) => {
                self.refuse(Refusal { what: refused.url, reason: refused.reason, grant_line: refused.grant_line })
            }
            error @ (fetch::Error::Changed { .. } | fetch::Error::SpoolFull { .. } | fetch::Error::Spool { .. }) => {
                self.find(Error::Source { error })
            }
            error @ fetch::Error::Io { kind: io::ErrorKind::StorageFull, .. } => self.find(Error::Source { error }),
            _ => {}
        }
        Ok(report.into())
    }

    fn refuse(&mut self, refusal: Refusal) {
        let (call, plugin) = (self.call, self.plugin.clone());
        tracing::warn!(plugin, call, url = refusal.what, reason = refusal.reason, "refused a request of a plugin");
        self.find(Error::NotGranted { plugin, refusal });
    }

    /// A call that has no grants at all, such as `asks`.
    fn nothing_open(&mut self, url: &str) -> PluginError {
        let what = shown(url.split(['?', '#']).next().unwrap_or_default(), 300);
        let reason = format!("no grant is active while `{}` runs", self.call);
        let message = format!("{what} is refused: {reason}");
        self.refuse(Refusal { what, reason, grant_line: None });
        Report::of_host(Category::NotGranted, message).into()
    }

    fn blob(&self, blob: &Resource<HostBlob>) -> Result<&HostBlob, Stop> {
        self.table.get(blob).map_err(|error| self.handle_stop(&error))
    }

    /// Waits for a range of a body on behalf of the guest. A download that gets on may take its time; one that stands still for longer
    /// than a host call may take ends the call.
    fn await_range(&self, spool: &Spool, offset: u64, len: usize) -> Result<(), Gone> {
        let limit = self.budgets().host_call;
        let mut seen = spool.available();
        loop {
            match self.around.wait(async { tokio::time::timeout(limit, spool.ready(offset, len)).await })? {
                Ok(ready) => return ready.map_err(Gone::Source),
                Err(_) if spool.available() > seen => seen = spool.available(),
                Err(_) => return Err(self.host_call_stop(&format!("waiting for bytes of {}", spool.url())).into()),
            }
        }
    }

    /// The Parquet file in a blob; its footer is read once.
    pub(crate) fn parquet(
        &mut self,
        blob: &Resource<HostBlob>,
    ) -> wasmtime::Result<Result<Arc<ParquetFile>, PluginError>> {
        let held = self.blob(blob)?;
        if let Some(file) = held.parquet.get() {
            return Ok(Ok(Arc::clone(file)));
        }
        let spool = Arc::clone(&held.spool);
        // The footer lies at the end: asked for ahead, it is there long before the body.
        spool.prefetch_tail(FOOTER_BYTES);
        let last = spool.content_length().unwrap_or(u64::MAX).saturating_sub(1);
        let bytes = self.await_range(&spool, last, 1).and_then(|()| SpoolBytes::new(&spool, &self.around));
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(Gone::Stop(stop)) => return Err(stop.into()),
            Err(Gone::Source(error)) => return Ok(Err(self.fetch_error(error)?)),
        };
        match ParquetFile::open(Arc::new(bytes)) {
            Ok(file) => Ok(Ok(Arc::clone(self.blob(blob)?.parquet.get_or_init(|| file)))),
            Err(error) => Ok(Err(self.columns_error(error)?)),
        }
    }
}

/// What footers of large files take.
const FOOTER_BYTES: u64 = 256 << 10;

impl blobs::Host for HostState {
    fn stat(&mut self, url: String) -> wasmtime::Result<Result<blobs::Entry, PluginError>> {
        let Some(fetcher) = self.fetcher.clone() else { return Ok(Err(self.nothing_open(&url))) };
        let what = format!("asking for the size of {}", shown(url.split(['?', '#']).next().unwrap_or_default(), 300));
        match self.ask_outside(&what, fetcher.stat(&url))? {
            Ok(stat) => Ok(Ok(blobs::Entry { url, size: stat.size, etag: stat.etag })),
            Err(error) => Ok(Err(self.fetch_error(error)?)),
        }
    }

    fn fetch(&mut self, request: blobs::FetchRequest) -> wasmtime::Result<Result<Resource<HostBlob>, PluginError>> {
        let Some(fetcher) = self.fetcher.clone() else { return Ok(Err(self.nothing_open(&request.url))) };
        let what = format!("fetching {}", shown(request.url.split(['?', '#']).next().unwrap_or_default(), 300));
        let request = Request {
            url: request.url,
            method: request.method,
            headers: request.headers.into_iter().map(|header| (header.name, header.value)).collect(),
            body: request.body.map(Bytes::from),
            max_bytes: request.max_bytes,
        };
        match self.ask_outside(&what, fetcher.fetch(request))? {
            Ok(spool) => {
                self.fetched.push(Arc::clone(&spool));
                let blob = self.table.push(HostBlob { spool, parquet: OnceLock::new() });
                Ok(Ok(blob.map_err(|error| self.handle_stop(&error))?))
            }
            Err(error) => Ok(Err(self.fetch_error(error)?)),
        }
    }
}

impl blobs::HostBlob for HostState {
    fn size(&mut self, blob: Resource<HostBlob>) -> wasmtime::Result<Option<u64>> {
        Ok(self.blob(&blob)?.spool.content_length())
    }

    fn status(&mut self, blob: Resource<HostBlob>) -> wasmtime::Result<u16> {
        Ok(self.blob(&blob)?.spool.status())
    }

    fn header(&mut self, blob: Resource<HostBlob>, name: String) -> wasmtime::Result<Option<String>> {
        Ok(self.blob(&blob)?.spool.header(&name))
    }

    fn etag(&mut self, blob: Resource<HostBlob>) -> wasmtime::Result<Option<String>> {
        Ok(self.blob(&blob)?.spool.etag())
    }

    fn read(
        &mut self,
        blob: Resource<HostBlob>,
        offset: u64,
        len: u64,
    ) -> wasmtime::Result<Result<Vec<u8>, PluginError>> {
        let limit = self.budgets().batch.bytes;
        let Some(len) = usize::try_from(len).ok().filter(|len| *len <= limit) else {
            return Err(Stop::Budget { what: "bytes of one read", found: len, limit: limit as u64 }.into());
        };
        let spool = Arc::clone(&self.blob(&blob)?.spool);
        self.outside(|state| {
            match state.await_range(&spool, offset, len).and_then(|()| read_ready(&spool, offset, len)) {
                Ok(bytes) => Ok(Ok(bytes.into())),
                Err(Gone::Stop(stop)) => Err(stop.into()),
                Err(Gone::Source(error)) => Ok(Err(state.fetch_error(error)?)),
            }
        })
    }

    fn drop(&mut self, blob: Resource<HostBlob>) -> wasmtime::Result<()> {
        self.table.delete(blob).map_err(|error| self.handle_stop(&error))?;
        Ok(())
    }
}
