//! Headers: which a plugin may set, and what the ones in an answer say.

use std::time::{Duration, SystemTime};

use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::error::Error;
use crate::text::excerpt;

/// Most request headers that a plugin may set, and the longest value of one.
const HEADER_LIMIT: usize = 64;
const VALUE_LIMIT_BYTES: usize = 8 * 1024;

/// Headers that say who is asking: only the host may.
const CREDENTIALS: &[&str] =
    &["authorization", "cookie", "cookie2", "set-cookie", "www-authenticate", "authentication-info"];
/// Headers of the connection, not of the request.
const CONNECTION: &[&str] = &[
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "content-length",
    "expect",
    "host",
];
/// Headers by which some servers serve another path, host, method or client than the one that was checked.
const REROUTING: &[&str] = &[
    "forwarded",
    "via",
    "x-real-ip",
    "x-original-url",
    "x-rewrite-url",
    "x-original-host",
    "x-host",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "true-client-ip",
    "x-client-ip",
];
/// Headers that the host needs for resuming and hashing.
const HOST_OWNED: &[&str] = &["range", "if-range", "if-match", "if-unmodified-since", "accept-encoding"];
/// What may go along to another origin when a server redirects there.
const PORTABLE: &[HeaderName] = &[header::ACCEPT, header::ACCEPT_LANGUAGE, header::CONTENT_TYPE];

/// The headers that a plugin asked for, when it may set them all.
pub(crate) fn guest_headers(headers: &[(String, String)]) -> Result<HeaderMap, Error> {
    let mut map = HeaderMap::new();
    if headers.len() > HEADER_LIMIT {
        let name = format!("number {}", HEADER_LIMIT + 1);
        return Err(Error::HeaderRefused { name, reason: format!("at most {HEADER_LIMIT} headers are sent") });
    }
    for (name, value) in headers {
        let refuse =
            |reason: &str| Error::HeaderRefused { name: excerpt(name.as_bytes(), 64), reason: reason.to_owned() };
        let parsed: HeaderName = name.parse().map_err(|_| refuse("it is not a header name"))?;
        let lower = parsed.as_str();
        if CREDENTIALS.contains(&lower) || lower.starts_with("proxy-") {
            return Err(refuse("credentials are added by the host"));
        }
        if CONNECTION.contains(&lower) {
            return Err(refuse("it belongs to the connection, which is the host's"));
        }
        if REROUTING.contains(&lower) || lower.starts_with("x-forwarded-") {
            return Err(refuse("it could lead to something else than the URL that was granted"));
        }
        if HOST_OWNED.contains(&lower) {
            return Err(refuse("the host sets it, to resume and to verify"));
        }
        if value.len() > VALUE_LIMIT_BYTES {
            return Err(refuse("its value is too long"));
        }
        let value =
            HeaderValue::from_str(value).map_err(|_| refuse("its value holds characters that are never sent"))?;
        map.append(parsed, value);
    }
    Ok(map)
}

/// What is left of a request's headers when it goes on to another origin.
pub(crate) fn portable(headers: &HeaderMap) -> HeaderMap {
    let kept = headers.iter().filter(|(name, _)| PORTABLE.contains(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// A header's value as text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

/// The announced length, when it is a plain number.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    text(headers, &header::CONTENT_LENGTH).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

/// Whether the server says that it serves byte ranges.
pub(crate) fn accepts_ranges(headers: &HeaderMap) -> bool {
    text(headers, &header::ACCEPT_RANGES).is_some_and(|value| value.eq_ignore_ascii_case("bytes"))
}

/// `Content-Range: bytes 5-9/10`, or `bytes */10` of a range that could not be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContentRange {
    /// First and last byte, both included.
    pub range: Option<(u64, u64)>,
    /// Length of the whole.
    pub total: Option<u64>,
}

pub(crate) fn content_range(headers: &HeaderMap) -> Option<ContentRange> {
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    let (unit, rest) = text(headers, &header::CONTENT_RANGE)?.split_once(' ')?;
    let (range, total) = rest.trim().split_once('/')?;
    let total = if total == "*" { None } else { Some(number(total)?) };
    let range = match range {
        "*" => None,
        range => {
            let (first, last) = range.split_once('-')?;
            Some((number(first)?, number(last)?))
        }
    };
    let sound = range.is_none_or(|(first, last)| first <= last && total.is_none_or(|total| last < total));
    (unit.eq_ignore_ascii_case("bytes") && sound && (range.is_some() || total.is_some()))
        .then_some(ContentRange { range, total })
}

/// An entity tag. A weak one says "equivalent", which is not enough to join two halves of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntityTag(String);

impl EntityTag {
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        text(headers, &header::ETAG).filter(|tag| !tag.is_empty() && tag.len() <= 1024).map(|tag| Self(tag.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_strong(&self) -> bool {
        self.0.len() > 2 && self.0.starts_with('"') && self.0.ends_with('"')
    }
}

/// How long `Retry-After` asks to wait: seconds, or a date read against the server's own clock where it shows one.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = text(headers, &header::RETRY_AFTER)?;
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| httpdate::parse_http_date(text).ok();
    let until = date(value)?;
    let now = text(headers, &header::DATE).and_then(date).unwrap_or_else(SystemTime::now);
    Some(until.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn guests_set_harmless_headers_only() {
        let try_one = |name: &str, value: &str| guest_headers(&[(name.to_owned(), value.to_owned())]);
        for name in ["Accept", "X-Api-Version", "If-None-Match", "User-Agent", "Content-Type"] {
            assert!(try_one(name, "x").is_ok(), "{name}");
        }
        for name in [
            "Host",
            "Authorization",
            "authorization",
            "Cookie",
            "Proxy-Authorization",
            "Proxy-Connection",
            "Forwarded",
            "X-Forwarded-For",
            "X-Forwarded-Host",
            "Via",
            "Connection",
            "Keep-Alive",
            "TE",
            "Trailer",
            "Transfer-Encoding",
            "Content-Length",
            "Upgrade",
            "Expect",
            "Range",
            "If-Range",
            "Accept-Encoding",
            "X-Original-URL",
            "X-HTTP-Method-Override",
            "a b",
            "",
            ":authority",
            "X\r\nHost",
        ] {
            assert!(matches!(try_one(name, "x"), Err(Error::HeaderRefused { .. })), "{name}");
        }
        for value in ["a\r\nHost: evil", "a\nb", "a\0b"] {
            assert!(try_one("X-Note", value).is_err());
        }
        assert!(guest_headers(&vec![("x-a".to_owned(), "1".to_owned()); 65]).is_err());
    }

    #[test]
    fn ranges_are_read_strictly() {
        let read = |value| content_range(&headers(&[("content-range", value)]));
        for (value, range, total) in [
            ("bytes 5-9/10", Some((5, 9)), Some(10)),
            ("bytes 5-9/*", Some((5, 9)), None),
            ("bytes */10", None, Some(10)),
        ] {
            assert_eq!(read(value), Some(ContentRange { range, total }), "{value}");
        }
        for value in
            ["bytes 9-5/10", "bytes 5-10/10", "bytes */*", "items 1-2/3", "bytes 5-/10", "bytes +5-9/10", "5-9/10", ""]
        {
            assert_eq!(read(value), None, "{value}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        for (pairs, wanted) in [
            (&[("retry-after", "7")][..], Some(7)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT"), ("date", "Sun, 06 Nov 1994 08:49:37 GMT")], Some(10)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")], Some(0)),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "-1")], None),
            (&[], None),
        ] {
            assert_eq!(retry_after(&headers(pairs)), wanted.map(Duration::from_secs), "{pairs:?}");
        }
    }

    #[test]
    fn only_quoted_tags_are_strong() {
        for (tag, strong) in [("\"abc\"", true), ("W/\"abc\"", false), ("abc", false), ("\"\"", false)] {
            assert_eq!(EntityTag(tag.to_owned()).is_strong(), strong, "{tag}");
        }
    }
}
