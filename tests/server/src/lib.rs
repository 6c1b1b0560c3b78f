//! A small file server on loopback, for demos, tests and benches: as correct as a CDN where that matters (ranges, entity tags,
//! conditions, keep-alive), and as broken as one on demand.
//!
//! ```no_run
//! use lakehost_server::{Fault, Server};
//! let server = Server::start("data")?;
//! server.fault_times("/green.parquet", 1, Fault::CutAfter(1000));
//! println!("{}", server.url());
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! It knows nothing of the rest of the project, uses threads and the standard library, and serves one folder, read only.

mod answer;
mod date;
mod fault;
mod files;
mod range;
mod request;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

pub use fault::Fault;
pub use request::RequestLog;

use fault::Faults;
use files::Files;

/// How a server behaves, faults aside.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// A missing file is 403 with a small XML body, as behind the CDN of the TLC's trip data, instead of 404.
    pub missing_is_forbidden_xml: bool,
    /// Every body is sent no faster than this.
    pub bytes_per_second: Option<u64>,
}

/// A running server; dropping it closes all connections.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub options: Options,
    pub files: Files,
    pub faults: Faults,
    log: Mutex<Vec<RequestLog>>,
    stopping: AtomicBool,
    connections: Mutex<HashMap<u64, TcpStream>>,
    next_connection: AtomicU64,
}

impl Server {
    /// Serves a folder on a free port.
    pub fn start(folder: impl AsRef<Path>) -> io::Result<Self> {
        Self::start_with(folder, Options::default())
    }

    /// Serves a folder.
    pub fn start_with(folder: impl AsRef<Path>, options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            options,
            files: Files::new(folder.as_ref())?,
            faults: Faults::default(),
            log: Mutex::default(),
            stopping: AtomicBool::new(false),
            connections: Mutex::default(),
            next_connection: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        let accepting = std::thread::Builder::new().name("server".to_owned()).spawn(move || accept(&listener, &accepting))?;
        Ok(Self { addr, shared, accepting: Some(accepting) })
    }

    /// `http://127.0.0.1:port/`, as a grant or a base URL.
    pub fn url(&self) -> String {
        format!("http://{}/", self.addr)
    }

    /// The URL of one file.
    pub fn url_of(&self, path: &str) -> String {
        format!("http://{}/{}", self.addr, path.trim_start_matches('/'))
    }

    /// The folder that is served.
    pub fn folder(&self) -> &Path {
        self.shared.files.folder()
    }

    /// From now on every request of this path (`/a.csv`; `*` for all) has the fault, together with others of the path.
    pub fn fault(&self, path: &str, fault: Fault) {
        self.shared.faults.add(path, 0, None, fault);
    }

    /// The next `times` requests of the path have the fault.
    pub fn fault_times(&self, path: &str, times: u32, fault: Fault) {
        self.shared.faults.add(path, 0, Some(times), fault);
    }

    /// The next `skip` requests of the path are served well, the `times` after them have the fault.
    pub fn fault_after(&self, path: &str, skip: u32, times: u32, fault: Fault) {
        self.shared.faults.add(path, skip, Some(times), fault);
    }

    /// Serves well again.
    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// All requests so far, in the order in which they came in.
    pub fn requests(&self) -> Vec<RequestLog> {
        lock(&self.shared.log).clone()
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        lock(&self.shared.log).clear();
    }

    /// Serves until the process ends.
    pub fn wait(mut self) {
        if let Some(accepting) = self.accepting.take() {
            // A panic there has been printed already.
            let _ = accepting.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection; when it is gone already, so much the better.
        let _ = TcpStream::connect(self.addr);
        for connection in lock(&self.shared.connections).values() {
            let _ = connection.shutdown(Shutdown::Both);
        }
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

impl Shared {
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    pub(crate) fn log(&self, entry: RequestLog) {
        lock(&self.log).push(entry);
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.is_stopping() {
            return;
        }
        let Ok(stream) = stream else { continue };
        let number = shared.next_connection.fetch_add(1, Ordering::Relaxed);
        if let Ok(handle) = stream.try_clone() {
            lock(&shared.connections).insert(number, handle);
        }
        let shared = Arc::clone(shared);
        // Without a thread the connection is dropped, which its client sees.
        let _ = std::thread::Builder::new().name(format!("connection {number}")).spawn(move || {
            // A connection that fails is closed; there is nobody else to tell.
            let _ = answer::serve(&stream, &shared);
            let _ = stream.shutdown(Shutdown::Both);
            lock(&shared.connections).remove(&number);
        });
    }
}

/// Where a path lies in the served folder.
pub(crate) fn plain_path(folder: &Path, segments: &[String]) -> PathBuf {
    segments.iter().fold(folder.to_owned(), |path, segment| path.join(segment))
}
