//! An Iceberg REST catalog for tests: it checks requirements, applies updates, writes metadata files as a real one does, and fails by script.
//! Behind the feature `catalog`, since it needs the Iceberg library.

#![allow(clippy::unwrap_used, reason = "a server of tests alone: what cannot be ends the test")]

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use iceberg::spec::{FormatVersion, Schema, SortOrder, TableMetadata, TableMetadataBuilder, UnboundPartitionSpec};
use iceberg::{TableRequirement, TableUpdate};
use serde_json::{Value, json};

use crate::{Answer, RequestLog, Service};

const DELETE_AFTER_COMMIT: &str = "write.metadata.delete-after-commit.enabled";

/// What happens to one commit.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// Not applied; this status and body.
    Refuse(u16, &'static str),
    /// Not applied; this status, and a word on how many seconds to wait.
    Busy(u16, u32),
    /// Applied; this status and body.
    ApplyThen(u16, &'static str),
    /// Applied, and the connection closed.
    DropAnswer,
    /// The connection is closed at once.
    DropRequest,
    /// Applied, and the answer cut after so many bytes.
    CutAnswer(usize),
    /// Applied so much later, whoever still waits.
    Hold(Duration),
    /// The token is not good any more.
    ExpireToken,
}

#[derive(Debug, Default)]
struct State {
    namespaces: BTreeSet<String>,
    /// By namespace and name: metadata and where its file is.
    tables: BTreeMap<(String, String), (Arc<TableMetadata>, String)>,
    troubles: VecDeque<Trouble>,
    /// Tokens that were issued, the last one is good. Empty: none is needed.
    tokens: Vec<String>,
    /// Behind the folder of a new table, to see that the client takes the server's word for it.
    suffix: &'static str,
    /// Answers do not say where the metadata file is.
    secretive: bool,
}

/// Writes a file whole: location and text.
pub type Put = dyn Fn(&str, &[u8]) + Send + Sync;

/// Metadata files of the catalog's own.
pub struct Files {
    /// Where tables lie.
    pub root: Box<dyn Fn() -> String + Send + Sync>,
    pub put: Box<Put>,
    /// One that is not there is fine.
    pub delete: Box<dyn Fn(&str) + Send + Sync>,
}

/// A running catalog.
#[derive(Debug)]
pub struct RestServer {
    service: Service,
    state: Arc<Mutex<State>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RestServer {
    /// Tables lie in a folder of this machine.
    #[must_use]
    pub fn start(warehouse: &Path) -> Self {
        let root = warehouse.to_owned();
        Self::with(Files {
            // The folder may be made after the server, and behind a link.
            root: Box::new(move || root.canonicalize().unwrap().display().to_string()),
            put: Box::new(|location, text| {
                std::fs::create_dir_all(Path::new(location).parent().unwrap()).unwrap();
                std::fs::write(location, text).unwrap();
            }),
            delete: Box::new(|location| drop(std::fs::remove_file(location))),
        })
    }

    /// Tables lie wherever these files do.
    #[must_use]
    pub fn with(files: Files) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let service = Service::start(move |request| handle(&shared, &files, request)).unwrap();
        Self { service, state }
    }

    /// `http://127.0.0.1:port`
    #[must_use]
    pub fn url(&self) -> String {
        self.service.url()
    }

    /// The next commits go wrong in these ways, one after another.
    pub fn trouble(&self, troubles: impl IntoIterator<Item = Trouble>) {
        lock(&self.state).troubles.extend(troubles);
    }

    /// From now on a token is needed, and issued to `id:secret` alone.
    pub fn guard(&self) {
        lock(&self.state).tokens.push("first".to_owned());
    }

    /// New tables lie in a folder of this ending.
    pub fn suffix(&self, suffix: &'static str) {
        lock(&self.state).suffix = suffix;
    }

    /// From now on answers do not say where the metadata file is.
    pub fn secretive(&self) {
        lock(&self.state).secretive = true;
    }

    /// Requests that asked for a commit.
    #[must_use]
    pub fn commits(&self) -> usize {
        let requests = self.service.requests();
        requests.iter().filter(|request| is_commit(request)).count()
    }

    /// All requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<RequestLog> {
        self.service.requests()
    }
}

fn is_commit(request: &RequestLog) -> bool {
    let parts = request.path.trim_matches('/').split('/').count();
    request.method == "POST" && (request.path.ends_with("/transactions/commit") || parts == 6)
}

fn ok(value: &Value) -> Answer {
    Answer::with(200, "application/json", value.to_string())
}

fn error(status: u16, kind: &str, message: &str) -> Answer {
    let body = json!({ "error": { "message": message, "type": kind, "code": status } });
    Answer::with(status, "application/json", body.to_string())
}

fn handle(state: &Mutex<State>, files: &Files, request: &RequestLog) -> Answer {
    if request.path == "/v1/oauth/tokens" {
        return issue(state, request);
    }
    {
        let state = lock(state);
        if let Some(good) = state.tokens.last()
            && request.header("authorization") != Some(&format!("Bearer {good}"))
        {
            return error(401, "NotAuthorizedException", "the token is not good");
        }
    }
    if !is_commit(request) {
        return route(&mut lock(state), files, request);
    }
    let trouble = lock(state).troubles.pop_front();
    let apply = || route(&mut lock(state), files, request);
    match trouble {
        None => apply(),
        Some(Trouble::Refuse(status, body)) => Answer::with(status, "text/html", body),
        Some(Trouble::Busy(status, seconds)) => {
            let headers = vec![("Retry-After".to_owned(), seconds.to_string())];
            Answer { headers, ..Answer::status(status) }
        }
        Some(Trouble::ApplyThen(status, body)) => {
            apply();
            Answer::with(status, "text/html", body)
        }
        Some(Trouble::DropAnswer) => {
            apply();
            Answer::hangup()
        }
        Some(Trouble::DropRequest) => Answer::hangup(),
        Some(Trouble::CutAnswer(bytes)) => Answer { cut_after: Some(bytes), ..apply() },
        Some(Trouble::Hold(delay)) => {
            std::thread::sleep(delay);
            apply()
        }
        Some(Trouble::ExpireToken) => {
            let mut state = lock(state);
            let next = format!("token{}", state.tokens.len());
            state.tokens.push(next);
            error(419, "AuthenticationTimeoutException", "the token ran out")
        }
    }
}

fn issue(state: &Mutex<State>, request: &RequestLog) -> Answer {
    let form: HashMap<String, String> = url::form_urlencoded::parse(&request.body).into_owned().collect();
    let known = form.get("client_id").is_some_and(|id| id == "id")
        && form.get("client_secret").is_some_and(|secret| secret == "secret")
        && form.get("grant_type").is_some_and(|grant| grant == "client_credentials");
    if !known {
        return Answer::with(401, "application/json", format!("{{\"error\":\"{form:?}\"}}"));
    }
    let token = lock(state).tokens.last().cloned().unwrap_or_else(|| "any".to_owned());
    ok(&json!({ "access_token": token, "token_type": "bearer", "expires_in": 3600 }))
}

fn route(state: &mut State, files: &Files, request: &RequestLog) -> Answer {
    let path = request.path.trim_matches('/').to_owned();
    let parts: Vec<&str> = path.split('/').collect();
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    match (request.method.as_str(), parts.as_slice()) {
        ("GET", ["v1", "config"]) => ok(&json!({
            "defaults": {}, "overrides": { "prefix": "p" },
            "endpoints": [
                "GET /v1/{prefix}/namespaces", "GET /v1/{prefix}/namespaces/{namespace}/tables",
                "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}", "POST /v1/{prefix}/transactions/commit",
            ],
            "idempotency-key-lifetime": "PT30M",
        })),
        ("GET", ["v1", "p", "namespaces"]) => {
            let names: Vec<[&String; 1]> = state.namespaces.iter().map(|name| [name]).collect();
            ok(&json!({ "namespaces": names }))
        }
        ("POST", ["v1", "p", "namespaces"]) => {
            let name = body["namespace"][0].as_str().unwrap_or_default().to_owned();
            if !state.namespaces.insert(name) {
                return error(409, "AlreadyExistsException", "it is there");
            }
            ok(&json!({ "namespace": body["namespace"], "properties": {} }))
        }
        ("GET", ["v1", "p", "namespaces", namespace, "tables"]) => list(state, namespace, request),
        ("POST", ["v1", "p", "namespaces", namespace, "tables"]) => stage(state, files, namespace, &body),
        ("GET", ["v1", "p", "namespaces", namespace, "tables", name]) => {
            match state.tables.get(&((*namespace).to_owned(), (*name).to_owned())) {
                Some((metadata, location)) => loaded(metadata, Some(location).filter(|_| !state.secretive)),
                None => error(404, "NoSuchTableException", "no such table"),
            }
        }
        ("DELETE", ["v1", "p", "namespaces", namespace, "tables", name]) => {
            match state.tables.remove(&((*namespace).to_owned(), (*name).to_owned())) {
                Some(_) => Answer::status(204),
                None => error(404, "NoSuchTableException", "no such table"),
            }
        }
        ("POST", ["v1", "p", "namespaces", _, "tables", _]) => {
            match commit(state, files, std::slice::from_ref(&body)) {
                Err(refusal) => refusal,
                Ok(mut made) => {
                    let (metadata, location) = made.remove(0);
                    loaded(&metadata, Some(&location).filter(|_| !state.secretive))
                }
            }
        }
        ("POST", ["v1", "p", "transactions", "commit"]) => {
            match commit(state, files, body["table-changes"].as_array().unwrap_or(&Vec::new())) {
                Err(refusal) => refusal,
                Ok(_) => Answer::status(204),
            }
        }
        _ => Answer::with(404, "text/html", "<html>not found</html>"),
    }
}

/// Two names a page.
fn list(state: &State, namespace: &str, request: &RequestLog) -> Answer {
    if !state.namespaces.contains(namespace) {
        return error(404, "NoSuchNamespaceException", "no such namespace");
    }
    let from: usize =
        request.query.as_deref().and_then(|query| query.strip_prefix("pageToken=")?.parse().ok()).unwrap_or(0);
    let names: Vec<&String> =
        state.tables.keys().filter(|(known, _)| known == namespace).map(|(_, name)| name).collect();
    let page: Vec<Value> =
        names.iter().skip(from).take(2).map(|name| json!({ "namespace": [namespace], "name": name })).collect();
    let next = (from + 2 < names.len()).then(|| (from + 2).to_string());
    ok(&json!({ "identifiers": page, "next-page-token": next }))
}

fn loaded(metadata: &TableMetadata, location: Option<&String>) -> Answer {
    ok(&json!({ "metadata-location": location, "metadata": metadata, "config": {} }))
}

fn stage(state: &State, files: &Files, namespace: &str, body: &Value) -> Answer {
    if !state.namespaces.contains(namespace) {
        return error(404, "NoSuchNamespaceException", "no such namespace");
    }
    assert_eq!(body["stage-create"], true);
    let name = body["name"].as_str().unwrap();
    if state.tables.contains_key(&(namespace.to_owned(), name.to_owned())) {
        return error(409, "AlreadyExistsException", "it is there");
    }
    let schema: Schema = serde_json::from_value(body["schema"].clone()).unwrap();
    let spec: UnboundPartitionSpec = serde_json::from_value(body["partition-spec"].clone()).unwrap();
    let properties = serde_json::from_value(body["properties"].clone()).unwrap();
    let location = format!("{}/{namespace}/{name}{}", (files.root)(), state.suffix);
    let order = SortOrder::unsorted_order();
    let made = TableMetadataBuilder::new(schema, spec, order, location, FormatVersion::V2, properties);
    loaded(&made.unwrap().build().unwrap().metadata, None)
}

/// The number that a metadata file's name begins with.
fn metadata_version(location: &str) -> u32 {
    let name = location.rsplit('/').next().unwrap_or(location);
    name.split('-').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

type Made = (Arc<TableMetadata>, String);

/// All changes or none.
fn commit(state: &mut State, files: &Files, changes: &[Value]) -> Result<Vec<Made>, Answer> {
    let mut made = Vec::new();
    for change in changes {
        let identifier = &change["identifier"];
        let key = (
            identifier["namespace"][0].as_str().unwrap_or_default().to_owned(),
            identifier["name"].as_str().unwrap_or_default().to_owned(),
        );
        let present = state.tables.get(&key).cloned();
        let requirements: Vec<TableRequirement> = serde_json::from_value(change["requirements"].clone()).unwrap();
        let updates: Vec<TableUpdate> = serde_json::from_value(change["updates"].clone()).unwrap();
        for requirement in &requirements {
            if let Err(problem) = requirement.check(present.as_ref().map(|(metadata, _)| metadata.as_ref())) {
                return Err(error(409, "CommitFailedException", &problem.to_string()));
            }
        }
        if present.is_none() && !requirements.contains(&TableRequirement::NotExist) {
            return Err(error(404, "NoSuchTableException", "no such table"));
        }
        let version = present.as_ref().map_or(0, |(_, location)| metadata_version(location) + 1);
        let builder = match present {
            Some((metadata, location)) => Ok((TableMetadata::clone(&metadata).into_builder(Some(location)), updates)),
            None => born(updates),
        };
        let built = builder
            .and_then(|(builder, updates)| {
                updates.into_iter().try_fold(builder, |builder, update| update.apply(builder))
            })
            .and_then(TableMetadataBuilder::build)
            .map_err(|problem| error(400, "ValidationException", &problem.to_string()))?;
        let location =
            format!("{}/metadata/{version:05}-{}.metadata.json", built.metadata.location(), uuid::Uuid::new_v4());
        made.push((key, Arc::new(built.metadata), location, built.expired_metadata_logs));
    }
    Ok(made
        .into_iter()
        .map(|(key, metadata, location, expired)| {
            (files.put)(&location, &serde_json::to_vec(metadata.as_ref()).unwrap());
            if metadata.properties().get(DELETE_AFTER_COMMIT).is_some_and(|value| value == "true") {
                expired.iter().for_each(|entry| (files.delete)(&entry.metadata_file));
            }
            state.tables.insert(key, (Arc::clone(&metadata), location.clone()));
            (metadata, location)
        })
        .collect())
}

/// New metadata from the updates that make a table, and the updates that are left.
fn born(updates: Vec<TableUpdate>) -> iceberg::Result<(TableMetadataBuilder, Vec<TableUpdate>)> {
    let (mut schema, mut spec, mut place, mut id, mut version) = (None, None, None, None, None);
    let mut rest = Vec::new();
    for update in updates {
        match update {
            TableUpdate::AddSchema { schema: found } if schema.is_none() => schema = Some(found),
            TableUpdate::AddSpec { spec: found } if spec.is_none() => spec = Some(found),
            TableUpdate::SetLocation { location } => place = Some(location),
            TableUpdate::AssignUuid { uuid } => id = Some(uuid),
            TableUpdate::UpgradeFormatVersion { format_version } => version = Some(format_version),
            TableUpdate::SetCurrentSchema { .. }
            | TableUpdate::SetDefaultSpec { .. }
            | TableUpdate::AddSortOrder { .. }
            | TableUpdate::SetDefaultSortOrder { .. } => {}
            other => rest.push(other),
        }
    }
    let builder = TableMetadataBuilder::new(
        schema.expect("a schema"),
        spec.expect("a spec"),
        SortOrder::unsorted_order(),
        place.expect("a location"),
        version.expect("a format version"),
        HashMap::new(),
    )?;
    Ok((builder.assign_uuid(id.expect("a uuid")), rest))
}
