//! Source files on their way into the warehouse, as they came: after their rows were read, before those are committed.

use std::io;

use bytes::Bytes;
use lakehost_columnar::ByteSource;

use crate::diagnostic::Fault;
use crate::error::Error;
use crate::ports::{Load, SourceObject, Split};
use crate::report::Meter;
use crate::run::Ports;

/// What a split read, each with the place where the lake keeps it now.
pub(crate) fn objects(ports: &mut Ports<'_>, split: &Split, load: &dyn Load) -> Result<Vec<SourceObject>, Fault> {
    let contents = ports.source.contents(split)?;
    let mut objects = ports.source.objects(split)?;
    for (object, bytes) in objects.iter_mut().zip(&contents) {
        let bytes = Stoppable { bytes: bytes.as_ref(), meter: ports.meter };
        let kept = load.keep_raw(object, &bytes);
        if ports.meter.cancelled() {
            return Err(Error::Interrupted.into());
        }
        object.raw = Some(kept?);
    }
    Ok(objects)
}

/// Bytes that end with the run.
struct Stoppable<'a> {
    bytes: &'a dyn ByteSource,
    meter: &'a dyn Meter,
}

impl ByteSource for Stoppable<'_> {
    fn name(&self) -> &str {
        self.bytes.name()
    }

    fn len(&self) -> u64 {
        self.bytes.len()
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        if self.meter.cancelled() {
            return Err(io::Error::other("the run was interrupted"));
        }
        self.bytes.read_at(offset, len)
    }
}
