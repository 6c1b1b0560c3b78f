//! Keys that run out while a command works: when the bucket says so, they are looked up again where they come from, and the request is made once more.
//!
//! This sits below the object store library, so that every request has it: the library asks for keys once for each request and repeats a refused one
//! with the same signature, or not at all.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use lakehost_pipeline::Secret;
use object_store::CredentialProvider;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderMap};

use super::refusal::{EXPIRED, NO_USER, code_of};
use crate::LookUp;

/// Who has no other keys than those that were refused is left alone for so long.
const PATIENCE: Duration = Duration::from_secs(30);
/// Said of keys that were replaced: the old ones are gone rather than old.
const REPLACED: [&str; 3] = ["InvalidAccessKeyId", "InvalidToken", NO_USER];
/// Where the library puts a session token, and the hash of the body.
const TOKEN: &str = "x-amz-security-token";
const BODY_HASH: &str = "x-amz-content-sha256";

/// Keys of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Keys {
    pub access_key: Secret,
    pub secret_key: Secret,
    pub session_token: Option<Secret>,
}

impl S3Keys {
    fn credential(&self) -> Arc<AwsCredential> {
        Arc::new(AwsCredential {
            key_id: self.access_key.expose().to_owned(),
            secret_key: self.secret_key.expose().to_owned(),
            token: self.session_token.as_ref().map(|token| token.expose().to_owned()),
        })
    }
}

/// Keys that can be had again.
#[async_trait]
pub trait Fresh: fmt::Debug + Send + Sync {
    /// Keys in the place of these, which were refused; `None`: there are no others.
    async fn instead_of(&self, refused: &Used) -> Option<Arc<AwsCredential>>;
}

/// What a request says of the keys that signed it.
#[derive(Debug, PartialEq, Eq)]
pub struct Used {
    key_id: String,
    token: Option<String>,
    region: String,
}

impl Used {
    /// `AWS4-HMAC-SHA256 Credential=KEY/20240131/REGION/s3/aws4_request, …`
    fn of(headers: &HeaderMap) -> Option<Self> {
        let scope = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once("Credential=")?.1.split(',').next()?;
        // A key may hold slashes; what follows it does not.
        let mut parts = scope.rsplitn(5, '/');
        let (_request, _service, region, _date, key_id) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let token = headers.get(TOKEN).and_then(|token| token.to_str().ok()).map(str::to_owned);
        Some(Self { key_id: key_id.to_owned(), token, region: region.to_owned() })
    }

    /// Whether these are the keys that were used.
    pub fn is(&self, keys: &AwsCredential) -> bool {
        self.key_id == keys.key_id && self.token == keys.token
    }
}

/// The profile's own keys.
#[derive(Debug)]
pub(super) struct GivenKeys {
    source: LookUp<S3Keys>,
    held: Mutex<Arc<AwsCredential>>,
    /// One looks up at a time, and the others take what it finds. When nothing new was found last.
    looked_up: tokio::sync::Mutex<Option<Instant>>,
}

impl GivenKeys {
    pub fn new(keys: &S3Keys, source: LookUp<S3Keys>) -> Self {
        Self { source, held: Mutex::new(keys.credential()), looked_up: tokio::sync::Mutex::new(None) }
    }

    fn present(&self) -> Arc<AwsCredential> {
        Arc::clone(&self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl CredentialProvider for GivenKeys {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        Ok(self.present())
    }
}

#[async_trait]
impl Fresh for GivenKeys {
    async fn instead_of(&self, refused: &Used) -> Option<Arc<AwsCredential>> {
        let mut looked_up = self.looked_up.lock().await;
        let present = self.present();
        if !refused.is(&present) {
            return Some(present);
        }
        if looked_up.is_some_and(|at| at.elapsed() < PATIENCE) {
            return None;
        }
        let found = self.source.ask().await.inspect_err(|reason| {
            tracing::warn!(reason, "the bucket's keys have run out, and no others can be looked up");
        });
        match found.ok().map(|keys| keys.credential()).filter(|found| **found != *present) {
            Some(found) => {
                tracing::info!("the bucket's keys had run out; new ones were looked up");
                *looked_up = None;
                *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&found);
                Some(found)
            }
            None => {
                *looked_up = Some(Instant::now());
                None
            }
        }
    }
}

/// A client whose requests are made once more with other keys when theirs have run out.
#[derive(Debug)]
pub(super) struct Renewing<S> {
    pub client: S,
    pub keys: Arc<dyn Fresh>,
}

/// Whether an answer says that the keys are the reason. One to HEAD has no words.
fn is_for_keys(method: &Method, body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    match code_of(&text) {
        Some(code) => EXPIRED.contains(&code) || REPLACED.contains(&code),
        None => *method == Method::HEAD,
    }
}

#[async_trait]
impl<S: HttpService> HttpService for Renewing<S> {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let again = request.clone();
        let answer = self.client.call(request).await?;
        // 404 to HEAD is an object that is not there; other methods have words.
        let may_be = match answer.status().as_u16() {
            400 | 401 | 403 => true,
            404 => again.method() != Method::HEAD,
            _ => false,
        };
        if !may_be {
            return Ok(answer);
        }
        let (parts, body) = answer.into_parts();
        let body: Bytes = body.bytes().await?;
        let answer = HttpResponse::from_parts(parts, body.clone().into());
        let Some(used) = Used::of(again.headers()).filter(|_| is_for_keys(again.method(), &body)) else {
            return Ok(answer);
        };
        match self.keys.instead_of(&used).await {
            Some(keys) => self.client.call(signed(again, &keys, &used.region)?).await,
            None => Ok(answer),
        }
    }
}

/// The request with a signature by these keys.
fn signed(mut request: HttpRequest, keys: &AwsCredential, region: &str) -> Result<HttpRequest, HttpError> {
    let hash = request.headers().get(BODY_HASH).and_then(|hash| hash.to_str().ok()).map(str::to_owned);
    let hash = hash.unwrap_or_default();
    let digest: Option<Vec<u8>> = (0..hash.len())
        .step_by(2)
        .map(|at| hash.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect();
    for name in [AUTHORIZATION.as_str(), TOKEN, BODY_HASH] {
        request.headers_mut().remove(name);
    }
    // What the library would panic on.
    let sound = |text: &str| text.bytes().all(|byte| (b' '..0x7f).contains(&byte));
    if !sound(&keys.key_id) || !keys.token.as_deref().is_none_or(sound) {
        let error = std::io::Error::other("the keys that were looked up have characters that no header can hold");
        return Err(HttpError::new(HttpErrorKind::Unknown, error));
    }
    let authorizer = AwsAuthorizer::new(keys, "s3", region);
    match digest.filter(|digest| digest.len() == 32) {
        Some(digest) => authorizer.authorize(&mut request, Some(&digest)),
        None => authorizer.with_sign_payload(false).authorize(&mut request, None),
    }
    Ok(request)
}

#[cfg(test)]
#[path = "s3_fresh_tests.rs"]
mod tests;
