//! The head of an answer, and whether two heads are of the same bytes.

use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Method, Version};

use crate::error::{Error, Result};
use crate::headers::{EntityTag, accepts_ranges, content_length, text};
use crate::http::{Answer, Outgoing};
use crate::text::excerpt;

/// The head of an answer: what is known before the body.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub status: u16,
    pub headers: HeaderMap,
    pub etag: Option<EntityTag>,
    pub length: Option<u64>,
}

impl Head {
    /// Reads the head of an answer that carries a whole body.
    ///
    /// # Errors
    /// [`Error::BadResponse`] when nothing would tell a cut body from a whole one.
    pub(crate) fn of(outgoing: &Outgoing, answer: &Answer) -> Result<Self> {
        let status = answer.status();
        let headers = answer.headers();
        let bodiless = outgoing.method == Method::HEAD || matches!(status.as_u16(), 204 | 304);
        let length = if bodiless { Some(0) } else { content_length(headers) };
        let framed = length.is_some()
            || answer.response.version() >= Version::HTTP_2
            || text(headers, &header::TRANSFER_ENCODING)
                .is_some_and(|value| value.to_ascii_lowercase().ends_with("chunked"));
        if !framed {
            let detail = "it announces neither length nor chunks, so that a cut body would look whole".to_owned();
            return Err(Error::BadResponse { url: outgoing.shown(), detail });
        }
        Ok(Self { status: status.as_u16(), headers: headers.clone(), etag: EntityTag::of(headers), length })
    }

    /// Why another head of the same URL is of other bytes; `None` when nothing says so.
    pub(crate) fn differs(&self, other: &HeaderMap, other_length: Option<u64>) -> Option<String> {
        let weak = |tag: &str| tag.trim_start_matches("W/").to_owned();
        if let (Some(old), Some(new)) = (&self.etag, EntityTag::of(other))
            && weak(old.as_str()) != weak(new.as_str())
        {
            let shown = |tag: &str| excerpt(tag.as_bytes(), 80);
            return Some(format!("entity tag {} became {}", shown(old.as_str()), shown(new.as_str())));
        }
        if let (Some(old), Some(new)) = (self.length, other_length)
            && old != new
        {
            return Some(format!("{old} bytes became {new}"));
        }
        let modified = |headers: &HeaderMap| text(headers, &header::LAST_MODIFIED).map(str::to_owned);
        if self.etag.is_none()
            && let (Some(old), Some(new)) = (modified(&self.headers), modified(other))
            && old != new
        {
            return Some(format!("its date {} became {}", excerpt(old.as_bytes(), 40), excerpt(new.as_bytes(), 40)));
        }
        None
    }

    /// What `If-Range` may name: a strong tag, or the date where there is no tag at all and the server serves ranges.
    pub(crate) fn range_validator(&self) -> Option<HeaderValue> {
        match &self.etag {
            Some(tag) if tag.is_strong() => HeaderValue::from_str(tag.as_str()).ok(),
            Some(_) => None,
            None if accepts_ranges(&self.headers) => self.headers.get(header::LAST_MODIFIED).cloned(),
            None => None,
        }
    }
}

/// Headers of a range request that turns into a whole body when the source changed.
pub(crate) fn range_headers(range: &str, validator: HeaderValue) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(header::RANGE, HeaderValue::from_str(range).ok()?);
    headers.insert(header::IF_RANGE, validator);
    Some(headers)
}
