//! What a client is told when it does not get what it asked for: the protocol's own error body.

use axum::Json;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use lakehost_lake::Error;
use lakehost_pipeline::Diagnostic as _;
use lakehost_pipeline::ports::TableName;
use serde_json::json;

/// An answer that is an error. Its kinds are the exceptions that clients know by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    pub kind: &'static str,
    pub message: String,
}

/// What a handler comes to.
pub type Answer<T> = Result<T, Refusal>;

impl Refusal {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into() }
    }

    /// The request is not one of this protocol, or names what cannot be.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequestException", message)
    }

    /// The request is understood, and its change would leave no sound table.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "ValidationException", message)
    }

    pub fn unauthorized() -> Self {
        let message = "the token is missing or wrong: `lakehost catalog serve` says which one it takes";
        Self::new(StatusCode::UNAUTHORIZED, "NotAuthorizedException", message)
    }

    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "ForbiddenException", message)
    }

    pub fn no_route(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFoundException", message)
    }

    pub fn not_allowed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UnsupportedOperationException", message)
    }

    pub fn no_warehouse(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NoSuchWarehouseException", message)
    }

    pub fn no_namespace(namespace: &str) -> Self {
        let message = format!("Namespace does not exist: {namespace}");
        Self::new(StatusCode::NOT_FOUND, "NoSuchNamespaceException", message)
    }

    pub fn no_table(table: &TableName) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NoSuchTableException", format!("Table does not exist: {table}"))
    }

    pub fn exists(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "AlreadyExistsException", message)
    }

    pub fn not_empty(namespace: &str) -> Self {
        let message = format!("Namespace is not empty: {namespace}");
        Self::new(StatusCode::CONFLICT, "NamespaceNotEmptyException", message)
    }

    /// Nothing was changed; the client may look at the table and try again.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "CommitFailedException", message)
    }

    pub fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "UnprocessableEntityException", message)
    }

    pub fn too_large(limit_bytes: usize) -> Self {
        let message = format!("the request is longer than {limit_bytes} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "BadRequestException", message)
    }

    pub fn too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "BadRequestException", "the request did not arrive in time")
    }

    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, "UnsupportedOperationException", message)
    }

    /// The change may be visible, or not; the client must look.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "CommitStateUnknownException", message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", message)
    }

    fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException", message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({ "error": { "message": self.message, "type": self.kind, "code": self.status.as_u16() } });
        let mut response = (self.status, Json(body)).into_response();
        if matches!(self.status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT) {
            // The rest of the body is not read, so the connection ends here; a client that is not told may send its next request on it.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// An error of the lake means that nothing was changed.
impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let code = error.code();
        let mut message = format!("{error} ({})", code.0);
        if let Some(cause) = error.cause() {
            message.push_str(&format!(": {cause}"));
        }
        tracing::warn!(%message, "a request to the catalog failed");
        match error {
            Error::ReadOnly { .. } => Self::forbidden(message),
            Error::CatalogUnable { .. } => Self::unsupported(message),
            Error::TableShape { .. } => Self::bad_request(message),
            Error::Damaged { .. } | Error::Iceberg { .. } | Error::Internal(_) => Self::internal(message),
            _ => Self::unavailable(message),
        }
    }
}
