//! The crate as a whole, against a real server on loopback.

mod egress;
mod files;
mod resume;
mod serving;
mod tail;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lakehost_server::{Options, Server};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::resolver::Lookup;
use crate::{Allowlist, Error, FetchLimits, Fetcher, Ledger, Request, Spool, SpoolSummary};

/// A served folder, a runtime, and a fetcher that may reach the server by its literal address.
struct World {
    server: Server,
    runtime: Runtime,
    fetcher: Fetcher,
    limits: FetchLimits,
    folder: TempDir,
    spool_dir: TempDir,
}

impl World {
    fn new() -> Self {
        Self::with(|_| {}, Options::default())
    }

    fn with_limits(change: impl FnOnce(&mut FetchLimits)) -> Self {
        Self::with(change, Options::default())
    }

    fn with(change: impl FnOnce(&mut FetchLimits), options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let spool_dir = tempfile::tempdir().unwrap();
        let server = Server::start_with(folder.path(), options).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut limits = FetchLimits {
            first_backoff: Duration::from_millis(2),
            backoff_limit: Duration::from_millis(20),
            deadline: Duration::from_secs(30),
            ..FetchLimits::default()
        };
        change(&mut limits);
        let allow = Allowlist::parse([server.url()]).unwrap();
        let spool = spool_dir.path().to_owned();
        let fetcher = Fetcher::new(runtime.handle().clone(), allow, limits.clone(), spool, Ledger::new());
        Self { server, runtime, fetcher, limits, folder, spool_dir }
    }

    /// A fetcher with other grants, and a script for a name service.
    fn fetcher_with(&self, grants: &[&str], addresses: &'static [&'static str]) -> Fetcher {
        let lookup: Lookup = Arc::new(move |_| {
            Box::pin(async move {
                if addresses.is_empty() {
                    return Err(io::Error::other("no such name"));
                }
                Ok(addresses.iter().map(|text| text.parse::<IpAddr>().unwrap()).collect())
            })
        });
        let allow = Allowlist::parse(grants).unwrap();
        let spool = self.spool_dir.path().to_owned();
        Fetcher::with_lookup(self.runtime.handle().clone(), allow, self.limits.clone(), spool, Ledger::new(), lookup)
    }

    /// Puts a file of this length into the folder, and answers its bytes.
    fn file(&self, name: &str, length: usize) -> Vec<u8> {
        let bytes = noise(length);
        std::fs::write(self.folder.path().join(name), &bytes).unwrap();
        bytes
    }

    fn fetch(&self, path: &str) -> Result<Arc<Spool>, Error> {
        self.send(Request::get(self.server.url_of(path)))
    }

    fn send(&self, request: Request) -> Result<Arc<Spool>, Error> {
        self.runtime.block_on(self.fetcher.fetch(request))
    }

    fn refused(&self, url: &str) -> String {
        match self.send(Request::get(url)) {
            Err(Error::Refused(refused)) => refused.to_string(),
            other => panic!("{url} is not refused: {other:?}"),
        }
    }

    /// The `Range` header of every request so far.
    fn ranges(&self) -> Vec<Option<String>> {
        self.server.requests().iter().map(|request| request.header("range").map(str::to_owned)).collect()
    }

    fn spool_dir(&self) -> PathBuf {
        self.spool_dir.path().to_owned()
    }
}

/// Bytes that no compression or repetition explains.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length.div_ceil(8)).flat_map(|_| next()).take(length).collect()
}

fn summary_of(bytes: &[u8]) -> SpoolSummary {
    SpoolSummary { length: bytes.len() as u64, sha256: Sha256::digest(bytes).into() }
}

/// The whole body is exactly these bytes, by hash and by reading.
fn assert_holds(spool: &Spool, bytes: &[u8]) {
    assert_eq!(spool.wait_complete(), Ok(summary_of(bytes)));
    assert_eq!(spool.read_at(0, usize::MAX).unwrap(), bytes);
    assert_eq!(spool.content_length(), Some(bytes.len() as u64));
}
