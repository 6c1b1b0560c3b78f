//! Who may ask at all: whoever shows the token, under a name of this machine.
//!
//! The name matters because of browsers: a page of anybody's may point a name of its own at 127.0.0.1, and its scripts then reach this server
//! as if it were theirs. They cannot show the token, but they need not be talked to either.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use lakehost_pipeline::Secret;

use crate::refusal::{Answer, Refusal};
use crate::token;

/// What every request must show.
#[derive(Clone, Debug)]
pub struct Guard {
    pub token: Secret,
    /// Only names of this machine may stand in the request.
    pub near: bool,
}

/// Lets a request pass, or answers it.
pub async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.admit(request.headers(), request.uri()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            let mut response = refusal.into_response();
            if response.status() == 401 {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            response
        }
    }
}

impl Guard {
    fn admit(&self, headers: &HeaderMap, uri: &Uri) -> Answer<()> {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        // A whole URL in the place of a path names a host too.
        let hosts = [text(header::HOST), uri.authority().map(Authority::as_str).or(text(header::HOST))];
        if self.near && !hosts.iter().all(|host| host.is_some_and(is_near)) {
            return Err(Refusal::forbidden("this catalog answers to localhost and 127.0.0.1 alone"));
        }
        let shown = text(header::AUTHORIZATION).and_then(|value| value.split_once(' '));
        let token = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
        if token.is_some_and(|given| token::same(given, self.token.expose())) {
            Ok(())
        } else {
            Err(Refusal::unauthorized())
        }
    }
}

/// Whether a `Host` header names this machine's loopback.
fn is_near(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, port)) if port.is_empty() || port.starts_with(':') => name,
            _ => return false,
        },
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_near() {
        for host in ["localhost", "LOCALHOST:8181", "127.0.0.1:8181", "127.1.2.3", "[::1]", "[::1]:8181"] {
            assert!(is_near(host), "{host}");
        }
        for host in
            ["", "evil.example", "localhost.evil.example:8181", "127.0.0.1.evil.example", "10.0.0.1", "[::2]", "[::1"]
        {
            assert!(!is_near(host), "{host}");
        }
    }

    #[test]
    fn only_the_token_is_let_in() {
        let guard = Guard { token: Secret::new("abc"), near: true };
        let admit = |headers: &[(&str, &str)]| {
            let headers: HeaderMap = headers
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()))
                .collect();
            guard.admit(&headers, &Uri::from_static("/v1/config")).err().map(|refusal| refusal.status.as_u16())
        };
        assert_eq!(admit(&[("host", "localhost:1"), ("authorization", "Bearer abc")]), None);
        assert_eq!(admit(&[("host", "localhost:1"), ("authorization", "bearer abc")]), None);
        for wrong in ["Bearer abd", "Bearer", "Basic abc", "abc", "Bearer abcd", ""] {
            assert_eq!(admit(&[("host", "localhost:1"), ("authorization", wrong)]), Some(401), "{wrong}");
        }
        assert_eq!(admit(&[("host", "localhost:1")]), Some(401));
        assert_eq!(admit(&[("host", "evil.example"), ("authorization", "Bearer abc")]), Some(403));
        assert_eq!(admit(&[("authorization", "Bearer abc")]), Some(403));
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("localhost"));
        headers.insert("authorization", HeaderValue::from_static("Bearer abc"));
        let whole = |uri: &'static str| guard.admit(&headers, &Uri::from_static(uri)).is_ok();
        assert!(whole("http://localhost:8181/v1/config") && !whole("http://evil.example/v1/config"));
    }
}
