//! An HTTP proxy that breaks things on purpose between a client and a real server: a catalog, an object store.
//!
//! ```no_run
//! use lakehost_server::{Match, Proxy, ProxyFault};
//! let proxy = Proxy::start("http://127.0.0.1:9000")?;
//! proxy.rule(Match::method("POST").on("/tables/").times(1), ProxyFault::DropAnswer);
//! println!("{}", proxy.url());
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! The client's `Host` header goes through as it came, so signed requests stay signed.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::lock;
use crate::request::RequestLog;
use crate::service::{Answer, Service, Wrap};

/// So long the upstream may take.
const UPSTREAM_LIMIT: Duration = Duration::from_secs(120);

/// What goes wrong with a request.
#[derive(Clone, Debug)]
pub enum ProxyFault {
    /// It is not forwarded; this status and body come back.
    Status(u16, String),
    /// It is not forwarded; an HTML page with this status comes back.
    Html(u16),
    /// It is not forwarded; this status and body come back so much later.
    StatusAfter(Duration, u16, String),
    /// It is not forwarded, and the connection closed.
    DropRequest,
    /// It is forwarded, and the connection closed.
    DropAnswer,
    /// It is not forwarded, and from here on nothing is: the upstream is gone.
    GoneBefore,
    /// It is forwarded, its answer is not, and from here on nothing is.
    GoneAfter,
    /// It is forwarded so much later, whether or not its client still waits.
    HoldRequest(Duration),
    /// It is forwarded at once, and its answer comes so much later.
    HoldAnswer(Duration),
    /// It is forwarded, and this status and body come back instead of the answer.
    AnswerWith(u16, String),
    /// The body of the answer ends after so many bytes.
    CutAnswerAfter(usize),
}

/// Which requests a rule is for.
#[derive(Clone, Debug, Default)]
pub struct Match {
    method: Option<String>,
    contains: Option<String>,
    header: Option<(String, String)>,
    skip: u32,
    times: Option<u32>,
}

impl Match {
    /// Every request.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Requests of this method.
    #[must_use]
    pub fn method(method: &str) -> Self {
        Self { method: Some(method.to_owned()), ..Self::default() }
    }

    /// Whose path with its query holds this text.
    #[must_use]
    pub fn on(mut self, text: &str) -> Self {
        self.contains = Some(text.to_owned());
        self
    }

    /// Whose header of this name, in lower case, holds this text.
    #[must_use]
    pub fn header(mut self, name: &str, text: &str) -> Self {
        self.header = Some((name.to_owned(), text.to_owned()));
        self
    }

    /// Not the first so many of them.
    #[must_use]
    pub fn after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// So many of them at most.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    fn fits(&self, request: &RequestLog) -> bool {
        let target = target(request);
        self.method.as_ref().is_none_or(|method| *method == request.method)
            && self.contains.as_ref().is_none_or(|text| target.contains(text.as_str()))
            && self
                .header
                .as_ref()
                .is_none_or(|(name, text)| request.header(name).is_some_and(|value| value.contains(text.as_str())))
    }
}

#[derive(Debug)]
struct Rule {
    of: Match,
    fault: ProxyFault,
    seen: u32,
    hit: u32,
}

/// A running proxy; dropping it closes all connections.
#[derive(Debug)]
pub struct Proxy {
    service: Service,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    rules: Mutex<Vec<Rule>>,
    gone: AtomicBool,
}

impl Proxy {
    /// In front of `http://host:port`, an address of this machine.
    pub fn start(upstream: &str) -> io::Result<Self> {
        Self::start_in(None, upstream)
    }

    /// The same with something around its own connections.
    pub fn start_in(wrap: Option<Box<Wrap>>, upstream: &str) -> io::Result<Self> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "an upstream is http://address:port");
        let address = upstream.strip_prefix("http://").ok_or_else(wrong)?.trim_end_matches('/');
        let upstream: SocketAddr = address.parse().map_err(|_| wrong())?;
        let shared: Arc<Shared> = Arc::default();
        let of_service = Arc::clone(&shared);
        let service = Service::start_in(wrap, move |request| answer(upstream, &of_service, request))?;
        Ok(Self { service, shared })
    }

    /// `http://127.0.0.1:port`
    #[must_use]
    pub fn url(&self) -> String {
        self.service.url()
    }

    /// From now on. Of several rules that fit a request the first one holds.
    pub fn rule(&self, of: Match, fault: ProxyFault) {
        lock(&self.shared.rules).push(Rule { of, fault, seen: 0, hit: 0 });
    }

    /// Lets everything through again; how many requests a rule was applied to until now.
    pub fn clear(&self) -> u32 {
        self.shared.gone.store(false, Ordering::SeqCst);
        lock(&self.shared.rules).drain(..).map(|rule| rule.hit).sum()
    }

    /// All requests so far, in the order in which they came in.
    #[must_use]
    pub fn seen(&self) -> Vec<RequestLog> {
        self.service.requests()
    }
}

fn target(request: &RequestLog) -> String {
    match &request.query {
        Some(query) => format!("{}?{query}", request.path),
        None => request.path.clone(),
    }
}

/// The fault of a request, counted in every rule that it fits.
fn fault(rules: &Mutex<Vec<Rule>>, request: &RequestLog) -> Option<ProxyFault> {
    let mut found = None;
    for rule in lock(rules).iter_mut().filter(|rule| rule.of.fits(request)) {
        let index = rule.seen;
        rule.seen = rule.seen.saturating_add(1);
        let over = rule.of.times.is_some_and(|times| index >= rule.of.skip.saturating_add(times));
        if found.is_none() && index >= rule.of.skip && !over {
            rule.hit = rule.hit.saturating_add(1);
            found = Some(rule.fault.clone());
        }
    }
    found
}

fn answer(upstream: SocketAddr, shared: &Shared, request: &RequestLog) -> Answer {
    let forwarded = || forward(upstream, request).unwrap_or_else(|_| Answer::status(502));
    if shared.gone.load(Ordering::SeqCst) {
        return Answer::hangup();
    }
    let goes = || {
        shared.gone.store(true, Ordering::SeqCst);
        Answer::hangup()
    };
    match fault(&shared.rules, request) {
        None => forwarded(),
        Some(ProxyFault::GoneBefore) => goes(),
        Some(ProxyFault::GoneAfter) => {
            forwarded();
            goes()
        }
        Some(ProxyFault::Status(status, body)) => Answer::with(status, "application/xml", body),
        Some(ProxyFault::StatusAfter(delay, status, body)) => {
            Answer { after: delay, ..Answer::with(status, "application/xml", body) }
        }
        Some(ProxyFault::Html(status)) => Answer::with(status, "text/html", "<html><body>please wait</body></html>"),
        Some(ProxyFault::DropRequest) => Answer::hangup(),
        Some(ProxyFault::DropAnswer) => {
            forwarded();
            Answer::hangup()
        }
        Some(ProxyFault::HoldRequest(delay)) => {
            std::thread::sleep(delay);
            forwarded()
        }
        Some(ProxyFault::HoldAnswer(delay)) => Answer { after: delay, ..forwarded() },
        Some(ProxyFault::AnswerWith(status, body)) => {
            forwarded();
            Answer::with(status, "application/xml", body)
        }
        Some(ProxyFault::CutAnswerAfter(bytes)) => Answer { cut_after: Some(bytes), ..forwarded() },
    }
}

/// Asks the upstream on a connection of its own.
fn forward(upstream: SocketAddr, request: &RequestLog) -> io::Result<Answer> {
    let stream = TcpStream::connect(upstream)?;
    stream.set_read_timeout(Some(UPSTREAM_LIMIT))?;
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, target(request));
    for (name, value) in &request.headers {
        if !matches!(name.as_str(), "connection" | "content-length" | "expect") {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    if !request.body.is_empty() || matches!(request.method.as_str(), "POST" | "PUT") {
        head.push_str(&format!("content-length: {}\r\n", request.body.len()));
    }
    head.push_str("connection: close\r\n\r\n");
    let mut writer = &stream;
    writer.write_all(head.as_bytes())?;
    writer.write_all(&request.body)?;
    read(&mut BufReader::new(&stream), request.method == "HEAD")
}

/// Reads one answer. Of a HEAD the length is passed on, and there is no body.
fn read(reader: &mut impl BufRead, is_head: bool) -> io::Result<Answer> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "not an answer");
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status: u16 = line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).ok_or_else(malformed)?;
    let (mut headers, mut length, mut chunked) = (Vec::new(), None, false);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(malformed());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
        match name.to_ascii_lowercase().as_str() {
            "content-length" if is_head => headers.push((name, value)),
            "content-length" => length = value.parse::<u64>().ok(),
            "transfer-encoding" => chunked = true,
            "connection" => {}
            _ => headers.push((name, value)),
        }
    }
    let mut body = Vec::new();
    match length {
        _ if is_head || matches!(status, 204 | 304) => {}
        _ if chunked => loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let size = line.trim().split(';').next().unwrap_or_default();
            let size = u64::from_str_radix(size, 16).map_err(|_| malformed())?;
            reader.by_ref().take(size).read_to_end(&mut body)?;
            reader.read_line(&mut String::new())?;
            if size == 0 {
                break;
            }
        },
        Some(length) => {
            reader.by_ref().take(length).read_to_end(&mut body)?;
        }
        None => {
            reader.read_to_end(&mut body)?;
        }
    }
    Ok(Answer { status, headers, body, ..Answer::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(proxy: &Proxy, method: &str, target: &str) -> String {
        let mut stream = TcpStream::connect(proxy.service.addr).unwrap();
        let request =
            format!("{method} {target} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text
    }

    #[test]
    fn each_fault_does_what_it_says_to_the_requests_that_it_is_for() {
        let upstream = Service::start(|request| {
            Answer::with(200, "text/plain", format!("{} {} {}", request.method, target(request), request.body.len()))
        })
        .unwrap();
        let proxy = Proxy::start(&upstream.url()).unwrap();
        assert!(ask(&proxy, "POST", "/a?b=c").ends_with("POST /a?b=c 2"));
        // What the client sees the end of, and how many requests arrive upstream.
        let cases = [
            (ProxyFault::Status(503, "slow down".into()), "slow down", 0),
            (ProxyFault::StatusAfter(Duration::from_millis(10), 503, "later".into()), "later", 0),
            (ProxyFault::Html(502), "</html>", 0),
            (ProxyFault::DropRequest, "", 0),
            (ProxyFault::DropAnswer, "", 1),
            (ProxyFault::HoldRequest(Duration::from_millis(10)), "POST /x 2", 1),
            (ProxyFault::HoldAnswer(Duration::from_millis(10)), "POST /x 2", 1),
            (ProxyFault::AnswerWith(500, "oh".into()), "oh", 1),
            (ProxyFault::CutAnswerAfter(4), "POST", 1),
        ];
        for (fault, end, arrived) in cases {
            let before = upstream.requests().len();
            proxy.rule(Match::method("POST").on("/x").after(1).times(1), fault.clone());
            assert!(ask(&proxy, "POST", "/x").ends_with("POST /x 2"), "{fault:?}: the first is let through");
            assert!(ask(&proxy, "GET", "/x").ends_with("GET /x 2"), "{fault:?}: another method");
            let text = ask(&proxy, "POST", "/x");
            assert!(if end.is_empty() { text.is_empty() } else { text.ends_with(end) }, "{fault:?}: {text}");
            assert_eq!(upstream.requests().len() - before, 2 + arrived, "{fault:?}");
            assert!(ask(&proxy, "POST", "/x").ends_with("POST /x 2"), "{fault:?}: once");
            assert_eq!(proxy.clear(), 1);
        }
        for (fault, arrived) in [(ProxyFault::GoneBefore, 0), (ProxyFault::GoneAfter, 1)] {
            let before = upstream.requests().len();
            proxy.rule(Match::method("POST").times(1), fault);
            assert_eq!((ask(&proxy, "POST", "/x"), ask(&proxy, "GET", "/x")), (String::new(), String::new()));
            assert_eq!(upstream.requests().len() - before, arrived);
            proxy.clear();
            assert!(ask(&proxy, "GET", "/x").ends_with("GET /x 2"));
        }
        drop(upstream);
        assert!(ask(&proxy, "GET", "/").starts_with("HTTP/1.1 502 "));
    }
}
