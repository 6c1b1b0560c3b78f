//! Nessie's own protocol, for what Iceberg's has no words: branches of the whole catalog, and merging one into another.
//!
//! A branch is made at a commit, and one merge makes everything visible that was committed on it, all at once. Nessie notes the head of the branch
//! in the merge's commit, so that a merge can be recognised afterwards, also when its answer was lost.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::json;

use super::auth::RestAuth;
use super::http::{Answer, Ask, Failure, Http};
use super::wire::{Config, part, plain};
use super::{RestOptions, body, config};
use crate::error::{Error, Result};

/// So many commits of a branch are looked through.
const LOOKED_THROUGH: usize = 5_000;
/// So many come in one answer.
const PAGE: usize = 200;

/// Whether the catalog says that it is one.
pub fn is_one(config: &Config) -> bool {
    word(config, "nessie.is-nessie-catalog") == Some("true")
}

fn word<'a>(config: &'a Config, key: &str) -> Option<&'a str> {
    config.overrides.get(key).or_else(|| config.defaults.get(key)).map(String::as_str)
}

/// What stands between `v1/` and a path for a branch: its name, with the warehouse that the catalog's own prefix has.
pub fn prefix(shown: &str, config: &Config, branch: &str, given: Option<&String>) -> Result<String> {
    if !is_one(config) {
        return Err(no_nessie(shown));
    }
    let warehouse =
        given.and_then(|given| given.find("%7C").or_else(|| given.find('|')).and_then(|at| given.get(at..)));
    Ok(format!("{}{}", part(branch), warehouse.unwrap_or_default()))
}

fn no_nessie(shown: &str) -> Error {
    super::super::unable(shown, "it is no Nessie, and has no branches over all tables")
}

/// How a merge ended.
#[derive(Debug)]
pub enum Merged {
    /// Everything of the branch is visible.
    Now,
    /// It was before.
    Before,
    /// Nothing is: the same tables changed on both sides. In the catalog's words.
    Conflict(String),
    /// Sent, but no answer says how it ended.
    Unknown(Error),
}

/// A merge of a branch as it was at `hash`.
#[derive(Clone, Copy, Debug)]
pub struct Merge<'a> {
    pub branch: &'a str,
    pub hash: &'a str,
    pub onto: &'a str,
    /// For Nessie's history.
    pub message: &'a str,
}

/// The branches of a Nessie.
pub struct Tree {
    http: Arc<Http>,
    /// The branch that is meant when none is named.
    pub default_branch: String,
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree").field("at", &self.http.shown).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    name: String,
    hash: String,
}

#[derive(Deserialize)]
struct One {
    reference: Reference,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct References {
    references: Vec<Reference>,
    #[serde(default)]
    has_more: bool,
    #[serde(default)]
    token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct History {
    log_entries: Vec<Entry>,
    #[serde(default)]
    has_more: bool,
    #[serde(default)]
    token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    commit_meta: Meta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    hash: String,
    #[serde(default)]
    parent_commit_hashes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MergeAnswer {
    was_applied: bool,
    was_successful: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Refusal {
    #[serde(default)]
    message: String,
    #[serde(default)]
    error_code: String,
}

impl Tree {
    /// Asks the catalog where its branches are. Credentials go nowhere but to the host of the catalog.
    ///
    /// # Errors
    /// `LH0607` for a catalog that is no Nessie, `LH0601` and `LH0606` for one that does not answer.
    pub async fn open(options: &RestOptions) -> Result<Self> {
        let catalog = Http::new(options)?;
        let config = config(&catalog, options).await?;
        if !is_one(&config) {
            return Err(no_nessie(&catalog.shown));
        }
        let told = word(&config, "nessie.core-base-uri").and_then(|uri| Url::parse(uri).ok());
        let uri = api(&options.uri, told).ok_or_else(|| no_nessie(&catalog.shown))?;
        let mut auth = options.auth.clone();
        if let RestAuth::Credential { server: server @ None, .. } = &mut auth {
            *server = Some(catalog.token_endpoint());
        }
        let api = RestOptions { uri, auth, ..options.clone() };
        Ok(Self {
            http: Arc::new(Http::new(&api)?),
            default_branch: word(&config, "nessie.default-branch.name").unwrap_or("main").to_owned(),
        })
    }

    /// Where it is, without secrets.
    pub fn shown(&self) -> &str {
        &self.http.shown
    }

    /// The newest commit of a branch; `None`: there is no such branch.
    pub async fn head(&self, branch: &str) -> Result<Option<String>> {
        let path = format!("trees/{}", part(branch));
        let answer = self.http.read(&Ask::new(Method::GET, &path)).await?;
        match answer.status {
            200 => Ok(Some(super::parsed::<One>(&self.http, &answer)?.reference.hash)),
            404 if code(&answer) == "REFERENCE_NOT_FOUND" => Ok(None),
            _ => Err(self.refused(&answer)),
        }
    }

    /// Every branch and tag with its newest commit.
    pub async fn references(&self) -> Result<Vec<(String, String)>> {
        let mut found = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut ask = Ask::new(Method::GET, "trees");
            ask.query.extend(token.take().map(|token| ("page-token", token)));
            let answer = self.http.read(&ask).await?;
            if answer.status != 200 {
                return Err(self.refused(&answer));
            }
            let page: References = super::parsed(&self.http, &answer)?;
            found.extend(page.references.into_iter().map(|reference| (reference.name, reference.hash)));
            token = page.token.filter(|_| page.has_more);
            if token.is_none() {
                return Ok(found);
            }
        }
    }

    /// Makes a branch at a commit of another one.
    pub async fn create(&self, branch: &str, from: &str, hash: &str) -> Result<()> {
        let mut ask = Ask::new(Method::POST, "trees");
        ask.query.extend([("name", branch.to_owned()), ("type", "BRANCH".to_owned())]);
        ask.body = body(&json!({ "type": "BRANCH", "name": from, "hash": hash }))?;
        let lost = match self.http.send(&ask).await {
            Ok(answer) if answer.status == 200 => return Ok(()),
            Ok(answer) if is_certain(&answer) && code(&answer) != "REFERENCE_ALREADY_EXISTS" => {
                return Err(self.refused(&answer));
            }
            Ok(answer) => self.refused(&answer),
            Err(Failure::NotSent(error)) => return Err(error),
            Err(Failure::Lost(error)) => error,
        };
        // Its name is this run's alone: a branch that is there now is the one that was asked for.
        match self.head(branch).await? {
            Some(now) if now == hash => Ok(()),
            _ => Err(lost),
        }
    }

    /// Drops a branch that is at this commit; `false`: it has moved on. One that is gone is fine.
    pub async fn delete(&self, branch: &str, hash: &str) -> Result<bool> {
        let path = format!("trees/{}@{}", part(branch), part(hash));
        let mut ask = Ask::new(Method::DELETE, &path);
        ask.query.push(("type", "BRANCH".to_owned()));
        let answer = match self.http.send(&ask).await {
            Ok(answer) => answer,
            Err(Failure::NotSent(error)) => return Err(error),
            Err(Failure::Lost(error)) => {
                return match self.head(branch).await? {
                    None => Ok(true),
                    Some(_) => Err(error),
                };
            }
        };
        match answer.status {
            200 | 204 => Ok(true),
            404 if code(&answer) == "REFERENCE_NOT_FOUND" => Ok(true),
            409 => Ok(false),
            _ => Err(self.refused(&answer)),
        }
    }

    /// Sends a merge once. Sent again after it has landed it changes nothing and says so.
    pub async fn merge(&self, merge: Merge<'_>) -> Result<Merged> {
        let head = self.head(merge.onto).await?.ok_or_else(|| self.gone(merge.onto))?;
        let path = format!("trees/{}@{}/history/merge", part(merge.onto), part(&head));
        let mut ask = Ask::new(Method::POST, &path);
        let wanted = json!({ "fromRefName": merge.branch, "fromHash": merge.hash, "message": merge.message });
        ask.body = body(&wanted)?;
        let answer = match self.http.send(&ask).await {
            Ok(answer) => answer,
            Err(Failure::NotSent(error)) => return Err(error),
            Err(Failure::Lost(error)) => return Ok(Merged::Unknown(error)),
        };
        match (answer.status, code(&answer).as_str()) {
            (200, _) => match serde_json::from_slice::<MergeAnswer>(&answer.body) {
                Ok(MergeAnswer { was_successful: true, was_applied: true }) => Ok(Merged::Now),
                Ok(MergeAnswer { was_successful: true, was_applied: false }) => Ok(Merged::Before),
                _ => Ok(Merged::Unknown(self.refused(&answer))),
            },
            (409, "REFERENCE_CONFLICT") => Ok(Merged::Conflict(message(&answer))),
            // A branch without a commit has nothing in common with any other.
            (404, _) if message(&answer).contains("No common ancestor") => match self.is_empty(merge.onto).await? {
                true => self.move_to(merge, &head).await,
                false => Ok(Merged::Conflict(message(&answer))),
            },
            _ if is_certain(&answer) => Err(self.refused(&answer)),
            _ => Ok(Merged::Unknown(self.refused(&answer))),
        }
    }

    async fn is_empty(&self, branch: &str) -> Result<bool> {
        let mut any = false;
        self.walk(branch, |_| {
            any = true;
            true
        })
        .await?;
        Ok(!any)
    }

    /// Moves a branch that is still at `head` to where another one is.
    async fn move_to(&self, merge: Merge<'_>, head: &str) -> Result<Merged> {
        let path = format!("trees/{}@{}", part(merge.onto), part(head));
        let mut ask = Ask::new(Method::PUT, &path);
        ask.query.push(("type", "BRANCH".to_owned()));
        ask.body = body(&json!({ "type": "BRANCH", "name": merge.branch, "hash": merge.hash }))?;
        match self.http.send(&ask).await {
            Ok(answer) if answer.status == 200 => Ok(Merged::Now),
            Ok(answer) if answer.status == 409 => Ok(Merged::Conflict(message(&answer))),
            Ok(answer) if is_certain(&answer) => Err(self.refused(&answer)),
            Ok(answer) => Ok(Merged::Unknown(self.refused(&answer))),
            Err(Failure::NotSent(error)) => Err(error),
            Err(Failure::Lost(error)) => Ok(Merged::Unknown(error)),
        }
    }

    /// The commits of a branch after `since`, newest first; `None`: there are more than anybody looks through.
    pub async fn commits(&self, branch: &str, since: &str) -> Result<Option<Vec<String>>> {
        let mut found = Vec::new();
        let whole = self
            .walk(branch, |meta| {
                if meta.hash == since {
                    return true;
                }
                found.push(meta.hash.clone());
                false
            })
            .await?;
        Ok(whole.map(|_| found))
    }

    /// Whether one of these commits is in the history of a branch or tag, itself or as what was merged; looked for back to `since`. `None`: it
    /// cannot be told.
    pub async fn mentions(&self, reference: &str, commits: &BTreeSet<String>, since: &str) -> Result<Option<bool>> {
        let mut mentioned = false;
        let whole = self
            .walk(reference, |meta| {
                mentioned |= std::iter::once(&meta.hash)
                    .chain(&meta.parent_commit_hashes)
                    .any(|hash| hash != since && commits.contains(hash));
                mentioned || meta.hash == since
            })
            .await?;
        Ok(if mentioned { Some(true) } else { whole.map(|_| false) })
    }

    /// Shows the commits of a branch, newest first, until `visit` has seen enough or there are no more; `None`: there are too many.
    async fn walk(&self, reference: &str, mut visit: impl FnMut(&Meta) -> bool) -> Result<Option<()>> {
        let path = format!("trees/{}/history", part(reference));
        let (mut seen, mut token) = (0, None::<String>);
        loop {
            let mut ask = Ask::new(Method::GET, &path);
            ask.query.push(("max-records", PAGE.to_string()));
            ask.query.extend(token.take().map(|token| ("page-token", token)));
            let answer = self.http.read(&ask).await?;
            if answer.status != 200 {
                return Err(self.refused(&answer));
            }
            let page: History = super::parsed(&self.http, &answer)?;
            for entry in &page.log_entries {
                if visit(&entry.commit_meta) {
                    return Ok(Some(()));
                }
            }
            seen += page.log_entries.len();
            token = page.token.filter(|_| page.has_more && !page.log_entries.is_empty());
            if token.is_none() {
                return Ok(Some(()));
            }
            if seen >= LOOKED_THROUGH {
                return Ok(None);
            }
        }
    }

    pub(crate) fn gone(&self, branch: &str) -> Error {
        super::super::unable(self.shown(), &format!("it has no branch {}", branch.escape_debug()))
    }

    fn refused(&self, answer: &Answer) -> Error {
        let said = format!("{}: {} {}", answer.asked, answer.status, message(answer));
        let (catalog, detail) = (self.shown().to_owned(), said.trim().to_owned());
        match answer.status {
            401 | 403 => Error::CatalogAccess { catalog, detail },
            400..500 if answer.status != 429 => Error::CatalogUnable { catalog, detail },
            _ => self.http.error("use", std::io::Error::other(detail)),
        }
    }
}

/// The answer is Nessie's own, and says that nothing was done.
fn is_certain(answer: &Answer) -> bool {
    (400..500).contains(&answer.status) && answer.status != 408
}

fn refusal(answer: &Answer) -> Option<Refusal> {
    serde_json::from_slice(&answer.body).ok()
}

fn code(answer: &Answer) -> String {
    refusal(answer).map(|refusal| refusal.error_code).unwrap_or_default()
}

fn message(answer: &Answer) -> String {
    refusal(answer).map(|refusal| plain(&refusal.message)).unwrap_or_default()
}

/// Where Nessie's own protocol is spoken: as the catalog says when that is the same host, which a gateway in front of it need not be; else beside
/// the catalog's own path.
fn api(catalog: &Url, told: Option<Url>) -> Option<Url> {
    let mut api = match told.filter(|told| told.origin() == catalog.origin()) {
        Some(told) => told,
        None => {
            let path = catalog.path();
            let mut beside = catalog.clone();
            beside.set_path(&format!("{}/api", path.get(..path.find("/iceberg")?)?));
            beside
        }
    };
    let path = format!("{}/v2", api.path().trim_end_matches('/'));
    api.set_path(&path);
    Some(api)
}

/// Nessie's rule for a name; others are refused before they reach a server.
#[must_use]
pub fn is_branch_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-');
    name.len() <= 256
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        && name.chars().all(allowed)
        && !name.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn the_tree_is_on_the_host_of_the_catalog() {
        for (catalog, told, wanted) in [
            ("http://n:19120/iceberg", Some("http://n:19120/api/"), Some("http://n:19120/api/v2")),
            ("http://n:19120/iceberg/", Some("http://inside:19120/api/"), Some("http://n:19120/api/v2")),
            ("https://gate/nessie/iceberg/v1", Some("http://gate/api/"), Some("https://gate/nessie/api/v2")),
            ("https://gate/x", None, None),
        ] {
            assert_eq!(api(&url(catalog), told.map(url)), wanted.map(url), "{catalog}");
        }
    }

    #[test]
    fn a_branch_keeps_the_warehouse_of_the_prefix() {
        let config = Config {
            overrides: [("nessie.is-nessie-catalog".to_owned(), "true".to_owned())].into(),
            ..Config::default()
        };
        for (given, wanted) in [
            (None, "lakehost%2Fa"),
            (Some("main"), "lakehost%2Fa"),
            (Some("main%7Clake"), "lakehost%2Fa%7Clake"),
            (Some("main|lake"), "lakehost%2Fa|lake"),
        ] {
            let given = given.map(str::to_owned);
            assert_eq!(prefix("c", &config, "lakehost/a", given.as_ref()).unwrap(), wanted);
        }
        assert!(prefix("c", &Config::default(), "lakehost/a", None).is_err());
    }

    #[test]
    fn names_of_branches() {
        for name in ["main", "lakehost/0190-a", "a_b.c"] {
            assert!(is_branch_name(name), "{name}");
        }
        for name in ["", "1a", "a..b", "a/", "a b", "a@b", "a.", &"a".repeat(257)] {
            assert!(!is_branch_name(name), "{name}");
        }
    }
}
