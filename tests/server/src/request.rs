//! One request off the wire.

use std::io::{self, BufRead, Read};

const HEAD_LIMIT_BYTES: u64 = 64 * 1024;
const BODY_LIMIT_BYTES: u64 = 64 * 1024 * 1024;

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLog {
    pub method: String,
    /// Without the query.
    pub path: String,
    pub query: Option<String>,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl RequestLog {
    /// A header's value, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }
}

/// Reads the next request of a connection; `None` when the client has no more.
pub(crate) fn read(reader: &mut impl BufRead) -> io::Result<Option<RequestLog>> {
    let malformed = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut head = reader.take(HEAD_LIMIT_BYTES);
    let mut line = String::new();
    if head.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut parts = line.split_whitespace();
    let (Some(method), Some(target), Some("HTTP/1.1" | "HTTP/1.0")) = (parts.next(), parts.next(), parts.next()) else {
        return Err(malformed("not a request line"));
    };
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
        None => (target.to_owned(), None),
    };
    let method = method.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Err(malformed("the head is cut or too long"));
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| malformed("not a header"))?;
        headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = RequestLog { method, path, query, headers, body: Vec::new() };
    let length = match request.header("content-length") {
        Some(length) => length.parse::<u64>().map_err(|_| malformed("not a length"))?,
        None => 0,
    };
    if length > BODY_LIMIT_BYTES || request.header("transfer-encoding").is_some() {
        return Err(malformed("a body is taken up to 64 MiB, with its length announced"));
    }
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;
    request.body = body;
    Ok(Some(request))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_one_after_another() {
        let wire = b"GET /a?b=c HTTP/1.1\r\nHost: h\r\nRange: bytes=0-1\r\n\r\nPOST /p HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyz";
        let mut reader = &wire[..];
        let first = read(&mut reader).unwrap().unwrap();
        assert_eq!((first.method.as_str(), first.path.as_str(), first.query.as_deref()), ("GET", "/a", Some("b=c")));
        assert_eq!(first.header("range"), Some("bytes=0-1"));
        assert_eq!(read(&mut reader).unwrap().unwrap().body, b"xyz");
        assert_eq!(read(&mut reader).unwrap(), None);
        for wire in [&b"nonsense\r\n\r\n"[..], b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"GET / HTTP/1.1\r\nHost: h\r\n"]
        {
            assert!(read(&mut &*wire).is_err());
        }
    }
}
