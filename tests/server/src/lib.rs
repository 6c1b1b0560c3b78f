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
//! It knows nothing of the rest of the project, uses threads and the standard library, and serves one folder, read only. With the feature `catalog`
//! there is an Iceberg REST catalog, too.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that panics has failed"))]

mod answer;
#[cfg(feature = "catalog")]
mod catalog;
mod fault;
mod files;
pub mod programs;
mod proxy;
mod range;
mod request;
mod service;
#[cfg(feature = "tls")]
mod tls;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

#[cfg(feature = "catalog")]
pub use catalog::{Files as CatalogFiles, RestServer, Trouble};
pub use fault::Fault;
pub use proxy::{Match, Proxy, ProxyFault};
pub use request::RequestLog;
pub use service::{Answer, Service, Wire, Wrap};
#[cfg(feature = "tls")]
pub use tls::{Authority, Identity};

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
        let accepting =
            std::thread::Builder::new().name("server".to_owned()).spawn(move || accept(&listener, &accepting))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    /// Sends requests over one connection, and answers what came back until the server closed it.
    fn exchange(server: &Server, requests: &[&str]) -> String {
        let mut stream = TcpStream::connect(server.addr).unwrap();
        stream.write_all(requests.join("").as_bytes()).unwrap();
        let mut text = Vec::new();
        // A server that hangs up on what it does not read resets the connection.
        let _ = stream.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    fn serve(options: Options) -> (tempfile::TempDir, Server) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        std::fs::write(folder.path().join("sub/a b.csv"), b"0123456789").unwrap();
        std::fs::write(folder.path().join("empty"), b"").unwrap();
        let server = Server::start_with(folder.path().join("sub"), options).unwrap();
        std::fs::write(folder.path().join("secret"), b"secret").unwrap();
        (folder, server)
    }

    fn ask(server: &Server, method: &str, path: &str, headers: &str) -> String {
        exchange(server, &[&format!("{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{headers}\r\n")])
    }

    #[test]
    fn files_ranges_and_conditions() {
        let (_folder, server) = serve(Options::default());
        let whole = ask(&server, "GET", "/a%20b.csv", "");
        let tag = whole.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap().to_owned();
        assert_eq!(tag, "\"84d89877f0d4041efb6bf91a16f0248f\"");
        for (method, headers, status, body) in [
            ("GET", String::new(), "200 OK", "0123456789"),
            ("HEAD", String::new(), "200 OK", ""),
            ("GET", "Range: bytes=2-4\r\n".into(), "206 Partial Content", "234"),
            ("GET", "Range: bytes=-2\r\n".into(), "206 Partial Content", "89"),
            ("GET", "Range: bytes=10-\r\n".into(), "416 Range Not Satisfiable", ""),
            ("GET", format!("Range: bytes=8-\r\nIf-Range: {tag}\r\n"), "206 Partial Content", "89"),
            ("GET", "Range: bytes=8-\r\nIf-Range: \"other\"\r\n".into(), "200 OK", "0123456789"),
            ("GET", format!("If-Match: \"x\", {tag}\r\n"), "200 OK", "0123456789"),
            ("GET", "If-Match: \"x\"\r\n".into(), "412 Precondition Failed", ""),
            ("GET", format!("If-None-Match: W/{tag}\r\n"), "304 Not Modified", ""),
            ("PUT", String::new(), "405 Method Not Allowed", ""),
        ] {
            let answer = ask(&server, method, "/a%20b.csv", &headers);
            let (head, found) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{method} {headers}: {head}");
            assert_eq!(found, body, "{method} {headers}");
        }
    }

    #[test]
    fn only_the_folder_is_served() {
        let (_folder, server) = serve(Options { missing_is_forbidden_xml: true, ..Options::default() });
        for path in ["/../secret", "/%2e%2e/secret", "/..%2fsecret", "/x/../../secret", "/none", "/"] {
            let answer = ask(&server, "GET", path, "");
            assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("AccessDenied"), "{path}: {answer}");
        }
    }

    #[test]
    fn one_connection_carries_many_requests() {
        let (_folder, server) = serve(Options::default());
        let keep = "GET /a%20b.csv HTTP/1.1\r\nHost: h\r\n\r\n";
        let last = "GET /none HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        let answers = exchange(&server, &[keep, keep, last]);
        assert_eq!((answers.matches("200 OK").count(), answers.matches("404 Not Found").count()), (2, 1));
        assert_eq!(server.requests().len(), 3);
    }

    #[test]
    fn dropping_ends_it() {
        let (_folder, server) = serve(Options::default());
        let addr = server.addr;
        let mut open = TcpStream::connect(addr).unwrap();
        drop(server);
        assert_eq!(open.read(&mut [0; 1]).unwrap_or(0), 0);
        assert!(TcpStream::connect(addr).is_err());
    }
}
