//! An HTTP server with a handler instead of a folder, for tests that play a catalog, an object store or a proxy.
//!
//! What a handler answers is sent as it stands; an [`Answer`] can also be late, cut, or not come at all.

use std::fmt;
use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::lock;
use crate::request::{self, RequestLog};

/// What a handler answers.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// 0: the connection is closed without an answer.
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Only so much of the body is sent, and then the connection closed.
    pub cut_after: Option<usize>,
    /// So long it takes to come.
    pub after: Duration,
}

impl Answer {
    /// A status with an empty body.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// A body of a type.
    #[must_use]
    pub fn with(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: vec![("Content-Type".to_owned(), content_type.to_owned())],
            body: body.into(),
            ..Self::default()
        }
    }

    /// The connection is closed.
    #[must_use]
    pub fn hangup() -> Self {
        Self::default()
    }
}

type Handler = dyn Fn(&RequestLog) -> Answer + Send + Sync;

/// Bytes both ways.
pub trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

/// What stands between a connection and its requests: TLS.
pub type Wrap = dyn Fn(TcpStream) -> io::Result<Box<dyn Wire>> + Send + Sync;

struct Inner {
    handler: Box<Handler>,
    /// None: in the open.
    wrap: Option<Box<Wrap>>,
    log: Mutex<Vec<RequestLog>>,
    stopping: AtomicBool,
    connections: Mutex<Vec<(u64, TcpStream)>>,
    next: AtomicU64,
}

/// A running service; dropping it closes all connections.
pub struct Service {
    /// Where it listens, on loopback.
    pub addr: SocketAddr,
    inner: Arc<Inner>,
    accepting: Option<JoinHandle<()>>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl Service {
    /// Serves on a free port. The handler is called by several connections at once.
    pub fn start(handler: impl Fn(&RequestLog) -> Answer + Send + Sync + 'static) -> io::Result<Self> {
        Self::start_in(None, handler)
    }

    /// The same with something around its connections.
    pub fn start_in(
        wrap: Option<Box<Wrap>>,
        handler: impl Fn(&RequestLog) -> Answer + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let addr = listener.local_addr()?;
        let inner = Arc::new(Inner {
            handler: Box::new(handler),
            wrap,
            log: Mutex::default(),
            stopping: AtomicBool::new(false),
            connections: Mutex::default(),
            next: AtomicU64::new(0),
        });
        let shared = Arc::clone(&inner);
        let accepting =
            std::thread::Builder::new().name("service".to_owned()).spawn(move || accept(&listener, &shared))?;
        Ok(Self { addr, inner, accepting: Some(accepting) })
    }

    /// `http://127.0.0.1:port`, or `https://` with TLS.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.inner.wrap.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.addr)
    }

    /// All requests so far, in the order in which they came in.
    #[must_use]
    pub fn requests(&self) -> Vec<RequestLog> {
        lock(&self.inner.log).clone()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.inner.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.addr);
        for (_, connection) in lock(&self.inner.connections).iter() {
            let _ = connection.shutdown(Shutdown::Both);
        }
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn accept(listener: &TcpListener, inner: &Arc<Inner>) {
    for stream in listener.incoming() {
        if inner.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let number = inner.next.fetch_add(1, Ordering::Relaxed);
        if let Ok(handle) = stream.try_clone() {
            lock(&inner.connections).push((number, handle));
        }
        let inner = Arc::clone(inner);
        let _ = std::thread::Builder::new().name(format!("service {number}")).spawn(move || {
            // A connection that fails is closed; there is nobody else to tell.
            let _ = connected(&stream, &inner);
            let _ = stream.shutdown(Shutdown::Both);
            lock(&inner.connections).retain(|(known, _)| *known != number);
        });
    }
}

fn connected(stream: &TcpStream, inner: &Inner) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match &inner.wrap {
        None => serve(stream, inner),
        Some(wrap) => serve(wrap(stream.try_clone()?)?, inner),
    }
}

fn serve(stream: impl Read + Write, inner: &Inner) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    while !inner.stopping.load(Ordering::SeqCst) {
        let Some(request) = request::read(&mut reader)? else { return Ok(()) };
        lock(&inner.log).push(request.clone());
        let answer = (inner.handler)(&request);
        pause(inner, answer.after);
        if answer.status == 0 || !send(reader.get_mut(), &request, &answer)? {
            return Ok(());
        }
        if request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            return Ok(());
        }
    }
    Ok(())
}

/// `false`: the connection ends here.
fn send(writer: &mut impl Write, request: &RequestLog, answer: &Answer) -> io::Result<bool> {
    let mut head = format!("HTTP/1.1 {} Status\r\n", answer.status);
    let has = |name: &str| answer.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let bodiless = matches!(answer.status, 204 | 304);
    if !bodiless && !has("content-length") {
        head.push_str(&format!("Content-Length: {}\r\n", answer.body.len()));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    if !bodiless && request.method != "HEAD" {
        let until = answer.cut_after.unwrap_or(answer.body.len()).min(answer.body.len());
        bytes.extend_from_slice(answer.body.get(..until).unwrap_or_default());
    }
    writer.write_all(&bytes)?;
    writer.flush()?;
    Ok(answer.cut_after.is_none())
}

/// Sleeps, but not past the end of the service.
fn pause(inner: &Inner, delay: Duration) {
    let until = Instant::now() + delay;
    while !inner.stopping.load(Ordering::SeqCst) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(Duration::from_millis(20)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn answers_go_out_as_they_stand_or_not_at_all() {
        let service = Service::start(|request| match request.path.as_str() {
            "/cut" => Answer { cut_after: Some(3), ..Answer::with(200, "text/plain", "abcdef") },
            "/gone" => Answer::hangup(),
            _ => Answer::with(201, "text/plain", request.body.clone()),
        })
        .unwrap();
        let ask = |path: &str, body: &str| {
            let mut stream = TcpStream::connect(service.addr).unwrap();
            let head = format!("POST {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
            let mut text = String::new();
            let _ = stream.read_to_string(&mut text);
            text
        };
        assert!(ask("/x", "hello").starts_with("HTTP/1.1 201 "));
        assert!(ask("/x", "hello").ends_with("Content-Length: 5\r\n\r\nhello"));
        assert!(ask("/cut", "").ends_with("Content-Length: 6\r\n\r\nabc"));
        assert_eq!(ask("/gone", ""), "");
        assert_eq!(service.requests().len(), 4);
    }
}
