//! What handlers take from a request. Whatever is not as it should be is refused in the protocol's words.

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use bytes::Bytes;
use lakehost_pipeline::ports::TableName;
use serde::de::DeserializeOwned;

use crate::names;
use crate::refusal::Refusal;

/// A commit names files of metadata, never rows: a thousand columns take less than one of these.
pub const LIMIT_BYTES: usize = 16 * 1024 * 1024;
/// So long a body may be on its way.
const PATIENCE: Duration = Duration::from_secs(30);

/// The JSON body.
#[derive(Clone, Debug)]
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let read = tokio::time::timeout(PATIENCE, Bytes::from_request(request, state));
        let bytes = match read.await {
            Err(_) => return Err(Refusal::too_slow()),
            Ok(Err(rejection)) if rejection.status() == 413 => return Err(Refusal::too_large(LIMIT_BYTES)),
            Ok(Err(rejection)) => return Err(Refusal::bad_request(rejection.body_text())),
            Ok(Ok(bytes)) => bytes,
        };
        let parsed = serde_json::from_slice(&bytes);
        parsed.map(Self).map_err(|error| Refusal::bad_request(format!("the body is not what is asked for: {error}")))
    }
}

/// The query.
#[derive(Clone, Debug)]
pub struct Asked<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(rejection) => Err(Refusal::bad_request(rejection.body_text())),
        }
    }
}

/// The namespace of the path.
#[derive(Clone, Debug)]
pub struct OfNamespace(pub String);

/// The table of the path.
#[derive(Clone, Debug)]
pub struct OfTable(pub TableName);

async fn words<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<HashMap<String, String>, Refusal> {
    match Path::from_request_parts(parts, state).await {
        Ok(Path(words)) => Ok(words),
        Err(rejection) => Err(Refusal::bad_request(rejection.body_text())),
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OfNamespace {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let words = words(parts, state).await?;
        names::namespace(words.get("namespace").map_or("", String::as_str)).map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OfTable {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let words = words(parts, state).await?;
        let namespace = names::namespace(words.get("namespace").map_or("", String::as_str))?;
        names::table(namespace, words.get("table").cloned().unwrap_or_default()).map(Self)
    }
}
