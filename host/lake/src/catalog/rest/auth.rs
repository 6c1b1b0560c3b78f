//! Tokens: given, and looked up again when they are refused; or fetched for a client credential, and fetched again before they run out.

use std::time::{Duration, Instant};

use lakehost_pipeline::Secret;
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;

use crate::LookUp;
use crate::error::{Error, Result};

/// How requests are authorised.
#[derive(Clone, Debug, Default)]
pub enum RestAuth {
    #[default]
    None,
    /// A token that somebody else renews, and where a renewed one is found.
    Token { token: Secret, again: Option<LookUp<Secret>> },
    /// OAuth2 client credentials.
    Credential {
        /// `id:secret`, or a secret alone.
        credential: Secret,
        /// The token endpoint; none: the catalog's own.
        server: Option<Url>,
        /// None: `catalog`, as other clients have it.
        scope: Option<String>,
    },
}

/// A token is used for four fifths of its life.
const LIFE_USED: f64 = 0.8;
/// The life of a token whose server does not say.
const LIFE: Duration = Duration::from_secs(3600);
/// An answer longer than this is no token.
const ANSWER_LIMIT: usize = 1 << 20;

#[derive(Deserialize)]
struct Issued {
    access_token: String,
    #[serde(default)]
    expires_in: Option<f64>,
}

#[derive(Debug)]
struct Held {
    token: Secret,
    renew_at: Instant,
}

/// The present token.
#[derive(Debug)]
pub struct Tokens {
    auth: RestAuth,
    endpoint: Url,
    shown: String,
    held: Mutex<Option<Held>>,
}

impl Tokens {
    /// `own`: the catalog's token endpoint.
    pub fn new(auth: RestAuth, own: Url, shown: &str) -> Self {
        let endpoint = match &auth {
            RestAuth::Credential { server: Some(server), .. } => server.clone(),
            _ => own,
        };
        Self { auth, endpoint, shown: shown.to_owned(), held: Mutex::default() }
    }

    /// Where they come from.
    pub fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// A token that should be good; `refused` is one that was not.
    pub async fn get(&self, client: &reqwest::Client, refused: Option<&Secret>) -> Result<Option<Secret>> {
        let credential = match &self.auth {
            RestAuth::None => return Ok(None),
            RestAuth::Token { token, again } => return Ok(Some(self.given(token, again.as_ref(), refused).await)),
            RestAuth::Credential { credential, scope, .. } => (credential, scope.as_deref().unwrap_or("catalog")),
        };
        // Others wait here while one fetches.
        let mut held = self.held.lock().await;
        if let Some(held) = held.as_ref()
            && refused != Some(&held.token)
            && Instant::now() < held.renew_at
        {
            return Ok(Some(held.token.clone()));
        }
        let issued = self.fetch(client, credential.0, credential.1).await?;
        let life = match issued.expires_in {
            Some(seconds) if seconds.is_finite() && seconds > 0.0 => Duration::from_secs_f64(seconds.min(86_400.0)),
            _ => LIFE,
        };
        let token = Secret::new(issued.access_token);
        *held = Some(Held { token: token.clone(), renew_at: Instant::now() + life.mul_f64(LIFE_USED) });
        Ok(Some(token))
    }

    /// The token that was given, or the one that was found in its place since it was refused.
    async fn given(&self, token: &Secret, again: Option<&LookUp<Secret>>, refused: Option<&Secret>) -> Secret {
        let mut held = self.held.lock().await;
        let present = held.as_ref().map_or(token, |held| &held.token);
        let (Some(again), true) = (again, refused == Some(present)) else { return present.clone() };
        let found = again.ask().await.inspect_err(|reason| {
            tracing::warn!(reason, "the catalog's token was refused, and no other can be looked up");
        });
        let Some(found) = found.ok().filter(|found| found != present) else { return present.clone() };
        tracing::info!("the catalog's token was refused; a new one was looked up");
        *held = Some(Held { token: found.clone(), renew_at: Instant::now() + LIFE });
        found
    }

    async fn fetch(&self, client: &reqwest::Client, credential: &Secret, scope: &str) -> Result<Issued> {
        let unreachable = |source: reqwest::Error| Error::Catalog {
            action: "fetch a token for",
            catalog: self.shown.clone(),
            source: Box::new(source.without_url()),
        };
        let request = client
            .post(self.endpoint.clone())
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form(credential, scope));
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status().as_u16();
        let refused = |detail: String| Error::CatalogAccess { catalog: self.shown.clone(), detail };
        let body = answer.bytes().await.map_err(unreachable)?;
        if (500..600).contains(&status) || status == 429 {
            let source = std::io::Error::other(format!("the token endpoint answered {status}"));
            return Err(Error::Catalog {
                action: "fetch a token for",
                catalog: self.shown.clone(),
                source: Box::new(source),
            });
        }
        // The body of a refusal may repeat what was sent.
        if status != 200 || body.len() > ANSWER_LIMIT {
            return Err(refused(format!("the token endpoint answered {status} to the credential")));
        }
        serde_json::from_slice(&body).map_err(|_| refused("the token endpoint's answer holds no token".to_owned()))
    }
}

fn form(credential: &Secret, scope: &str) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials").append_pair("scope", scope);
    match credential.expose().split_once(':') {
        Some((id, secret)) => form.append_pair("client_id", id).append_pair("client_secret", secret),
        None => form.append_pair("client_secret", credential.expose()),
    };
    form.finish()
}
