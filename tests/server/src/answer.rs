//! Answers of one connection.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime};

use crate::fault::Fault;
use crate::files::{Found, tag_of_bytes};
use crate::range::{self, Range};
use crate::request::{self, RequestLog};
use crate::{Options, Shared};

/// A client that sends nothing for so long is gone.
const IDLE_LIMIT: Duration = Duration::from_secs(120);
/// Bytes written at a time, where a body is paced or cut.
const BLOCK_BYTES: usize = 64 * 1024;

const FORBIDDEN_XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
const HTML_PAGE: &str =
    "<!doctype html><html><head><title>Please wait</title></head><body>Checking your browser</body></html>";

/// Serves requests of one connection until either side ends it.
pub(crate) fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE_LIMIT))?;
    let mut reader = BufReader::new(stream);
    while !shared.is_stopping() {
        let Some(request) = request::read(&mut reader)? else { return Ok(()) };
        shared.log(request.clone());
        let keeps = respond(stream, shared, &request)?;
        if !keeps || request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            return Ok(());
        }
    }
    Ok(())
}

/// What a body is made of.
enum Body {
    File(File),
    Bytes(Vec<u8>),
}

/// What goes wrong with one answer, read off its faults.
#[derive(Default)]
struct Troubles {
    cut_after: Option<u64>,
    stall: Option<(u64, Duration)>,
    bytes_per_second: Option<u64>,
    chunked: bool,
    unframed: bool,
    no_range: bool,
    wrong_content_range: bool,
}

/// Answers one request. `false`: the connection ends here.
fn respond(stream: &TcpStream, shared: &Shared, request: &RequestLog) -> io::Result<bool> {
    let faults = shared.faults.for_request(&request.path);
    let is_head = request.method == "HEAD";
    let mut found = shared.files.find(&request.path)?.map(|Found { file, length, modified, etag, content_type }| {
        (Body::File(file), length, modified, Some(etag), content_type)
    });
    let mut troubles = Troubles { bytes_per_second: shared.options.bytes_per_second, ..Troubles::default() };
    let mut extra: Vec<(String, String)> = Vec::new();
    for fault in &faults {
        match fault {
            Fault::ExtraDelay(delay) => pause(shared, *delay),
            Fault::Hangup => return Ok(false),
            Fault::Status(status, headers, body) => return simple(stream, *status, headers, body, is_head),
            Fault::NoHead if is_head => return simple(stream, 405, &[("Allow".into(), "GET".into())], "", true),
            Fault::RedirectTo(url) => return simple(stream, 302, &[("Location".into(), url.clone())], "", is_head),
            Fault::RedirectWith(status, url) => {
                return simple(stream, *status, &[("Location".into(), url.clone())], "", is_head);
            }
            Fault::HtmlBody => {
                let body = HTML_PAGE.as_bytes().to_vec();
                found = Some((
                    Body::Bytes(body),
                    HTML_PAGE.len() as u64,
                    SystemTime::now(),
                    None,
                    "text/html; charset=utf-8",
                ));
            }
            Fault::Body(bytes) => {
                // The tag stays: a server that lies. With `ChangeEtag` it is honest.
                let etag = found.take().and_then(|(_, _, _, etag, _)| etag).unwrap_or_else(|| tag_of_bytes(bytes));
                let body = Body::Bytes(bytes.clone());
                found = Some((body, bytes.len() as u64, SystemTime::now(), Some(etag), "application/octet-stream"));
            }
            Fault::CutAfter(bytes) => troubles.cut_after = Some(*bytes),
            Fault::StallAfter(bytes, delay) => troubles.stall = Some((*bytes, *delay)),
            Fault::SlowBody { bytes_per_second } => troubles.bytes_per_second = Some((*bytes_per_second).max(1)),
            Fault::NoContentLength => troubles.chunked = true,
            Fault::Unframed => troubles.unframed = true,
            Fault::NoRange => troubles.no_range = true,
            Fault::WrongContentRange => troubles.wrong_content_range = true,
            Fault::Header(name, value) => extra.push((name.clone(), value.clone())),
            Fault::NoHead | Fault::ChangeEtag | Fault::ChangeEtagAfter(_) | Fault::WeakEtag | Fault::NoValidators => {}
        }
    }
    if !matches!(request.method.as_str(), "GET" | "HEAD" | "POST") {
        return simple(stream, 405, &[("Allow".into(), "GET, HEAD, POST".into())], "", is_head);
    }
    let Some((body, length, modified, etag, content_type)) = found else {
        return missing(stream, &shared.options, is_head);
    };
    let has = |fault: &Fault| faults.contains(fault);
    let etag = etag
        .map(|tag| if has(&Fault::ChangeEtag) { format!("\"changed-{}", tag.trim_start_matches('"')) } else { tag })
        .map(|tag| if has(&Fault::WeakEtag) { format!("W/{tag}") } else { tag })
        .filter(|_| !has(&Fault::NoValidators));
    let modified = Some(httpdate::fmt_http_date(modified)).filter(|_| !has(&Fault::NoValidators));
    if let Some(status) = failed_condition(request, etag.as_deref()) {
        let headers: Vec<(String, String)> = etag.map(|tag| ("ETag".to_owned(), tag)).into_iter().collect();
        return simple(stream, status, &headers, "", is_head);
    }

    // A range holds for GET, and only while the client's half is of the same file.
    let same_file = request.header("if-range").is_none_or(|validator| {
        let strong = etag.as_deref().is_some_and(|tag| tag == validator && !tag.starts_with("W/"));
        strong || modified.as_deref() == Some(validator)
    });
    let ranged = !troubles.no_range && same_file && request.method == "GET";
    let range = if ranged { range::parse(request.header("range"), length) } else { Range::Whole };
    let (status, first, count) = match range {
        Range::Whole => (200, 0, length),
        Range::Part { first, last } => (206, first, last - first + 1),
        Range::Unsatisfiable => {
            return simple(stream, 416, &[("Content-Range".into(), format!("bytes */{length}"))], "", is_head);
        }
    };
    let mut head = Head::new(status);
    head.add("Content-Type", content_type);
    if !troubles.no_range {
        head.add("Accept-Ranges", "bytes");
    }
    if let Some(tag) = &etag {
        head.add("ETag", tag);
    }
    if let Some(date) = &modified {
        head.add("Last-Modified", date);
    }
    if status == 206 {
        let shift = u64::from(troubles.wrong_content_range);
        head.add("Content-Range", &format!("bytes {}-{}/{}", first + shift, first + count - 1 + shift, length + shift));
    }
    if troubles.chunked {
        head.add("Transfer-Encoding", "chunked");
    } else if troubles.unframed {
        head.add("Connection", "close");
    } else {
        head.add("Content-Length", &count.to_string());
    }
    extra.iter().for_each(|(name, value)| head.add(name, value));
    let mut writer = stream;
    writer.write_all(head.finished().as_bytes())?;
    if is_head {
        return Ok(true);
    }
    send(stream, shared, body, first, count, &troubles)
}

/// The status of a condition that does not hold.
fn failed_condition(request: &RequestLog, etag: Option<&str>) -> Option<u16> {
    let names = |header: &str| {
        header.split(',').map(str::trim).any(|tag| {
            tag == "*" || etag.is_some_and(|etag| tag.trim_start_matches("W/") == etag.trim_start_matches("W/"))
        })
    };
    if request.header("if-match").is_some_and(|header| !names(header)) {
        return Some(412);
    }
    request.header("if-none-match").is_some_and(names).then_some(304)
}

/// Sends a body. `false`: the connection ends here.
fn send(
    stream: &TcpStream,
    shared: &Shared,
    body: Body,
    first: u64,
    count: u64,
    troubles: &Troubles,
) -> io::Result<bool> {
    let mut writer = stream;
    let paced = troubles.bytes_per_second.is_some() || troubles.stall.is_some();
    let sent = troubles.cut_after.map_or(count, |limit| limit.min(count));
    let mut source: Box<dyn Read> = match body {
        Body::File(mut file) => {
            file.seek(SeekFrom::Start(first))?;
            if !paced && !troubles.chunked {
                // The kernel copies from file to socket.
                io::copy(&mut file.take(sent), &mut writer)?;
                return Ok(sent == count && !troubles.unframed);
            }
            Box::new(file.take(sent))
        }
        Body::Bytes(bytes) => {
            let mut cursor = io::Cursor::new(bytes);
            cursor.set_position(first);
            Box::new(cursor.take(sent))
        }
    };
    let began = Instant::now();
    let mut position = 0;
    // At least twenty steps a second, so that slow is not stop and go.
    let step = troubles
        .bytes_per_second
        .map_or(BLOCK_BYTES, |rate| usize::try_from(rate / 20).unwrap_or(BLOCK_BYTES).clamp(1, BLOCK_BYTES));
    let mut block = vec![0; step];
    let mut stall = troubles.stall;
    loop {
        let until_stall = stall
            .map_or(usize::MAX, |(after, _)| usize::try_from(after.saturating_sub(position)).unwrap_or(usize::MAX));
        if until_stall == 0 {
            if let Some((_, delay)) = stall.take() {
                pause(shared, delay);
            }
            continue;
        }
        let wanted = block.len().min(until_stall);
        let read = source.read(block.get_mut(..wanted).unwrap_or_default())?;
        let Some(bytes) = block.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        if troubles.chunked {
            write!(writer, "{read:x}\r\n")?;
        }
        writer.write_all(bytes)?;
        if troubles.chunked {
            writer.write_all(b"\r\n")?;
        }
        position += read as u64;
        if let Some(rate) = troubles.bytes_per_second {
            let due = Duration::from_secs_f64(position as f64 / rate as f64);
            pause(shared, due.saturating_sub(began.elapsed()));
        }
        if shared.is_stopping() {
            return Ok(false);
        }
    }
    if sent < count {
        return Ok(false);
    }
    if troubles.chunked {
        writer.write_all(b"0\r\n\r\n")?;
    }
    Ok(!troubles.unframed)
}

fn missing(stream: &TcpStream, options: &Options, is_head: bool) -> io::Result<bool> {
    if options.missing_is_forbidden_xml {
        return simple(stream, 403, &[("Content-Type".into(), "application/xml".into())], FORBIDDEN_XML, is_head);
    }
    simple(stream, 404, &[], "not found\n", is_head)
}

/// An answer with a short body.
fn simple(
    stream: &TcpStream,
    status: u16,
    headers: &[(String, String)],
    body: &str,
    is_head: bool,
) -> io::Result<bool> {
    let mut head = Head::new(status);
    headers.iter().for_each(|(name, value)| head.add(name, value));
    if status != 304 {
        head.add("Content-Length", &body.len().to_string());
    }
    let mut text = head.finished();
    if !is_head && status != 304 {
        text.push_str(body);
    }
    let mut writer = stream;
    writer.write_all(text.as_bytes())?;
    Ok(true)
}

struct Head {
    text: String,
}

impl Head {
    fn new(status: u16) -> Self {
        let mut head = Self { text: format!("HTTP/1.1 {status} {}\r\n", reason(status)) };
        head.add("Date", &httpdate::fmt_http_date(SystemTime::now()));
        head.add("Server", "lakehost-server");
        head
    }

    fn add(&mut self, name: &str, value: &str) {
        self.text.push_str(&format!("{name}: {value}\r\n"));
    }

    fn finished(mut self) -> String {
        self.text.push_str("\r\n");
        self.text
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        302 => "Found",
        304 => "Not Modified",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        412 => "Precondition Failed",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        _ => "Status",
    }
}

/// Sleeps, but not past the end of the server.
fn pause(shared: &Shared, delay: Duration) {
    let until = Instant::now() + delay;
    while !shared.is_stopping() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}
