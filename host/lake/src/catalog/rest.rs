//! A catalog that speaks Iceberg's REST protocol.
//!
//! A commit is one POST with what it requires and what it changes; the catalog writes the metadata file. The stock client of the Iceberg
//! library cannot send our changes, drops credentials that a catalog hands out and takes any error for a failed commit; this one says of
//! every answer whether the commit landed, did not, or may have.

mod auth;
mod delegation;
mod http;
mod tree;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use iceberg::spec::TableMetadataBuilder;
use lakehost_pipeline::Secret;
use lakehost_pipeline::ports::TableName;
use reqwest::{Method, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use auth::RestAuth;
pub use tree::{Merge, Merged, Tree, is_branch_name};

use self::delegation::Delegation;
use self::http::{Answer, Ask, Failure, Http};
use self::wire::{CommitTable, CommitTables, Config, Loaded, Namespaces, StageCreate, Tables, Verdict, Why, part};
use super::{Abilities, Base, Catalog, CatalogEntry, Creation, Outcome, Placed, TableChange, TableState};
use crate::error::{Error, Result};
use crate::fail_point::{self, FailPoints};
use crate::store::Store;
use crate::tls::Tls;

/// Where the catalog is and how it is spoken to.
#[derive(Clone, Debug)]
pub struct RestOptions {
    /// `https://catalog.example.com/iceberg`; a `/v1` at its end is understood.
    pub uri: Url,
    /// The name by which the catalog knows the warehouse.
    pub warehouse: Option<String>,
    /// What stands between `v1/` and a path; the catalog's own word comes first.
    pub prefix: Option<String>,
    pub auth: RestAuth,
    pub headers: Vec<(String, Secret)>,
    /// Ask for credentials of the object store with every table.
    pub delegation: bool,
    /// The catalog's commit of several tables is atomic. Some list it and are not.
    pub atomic_transactions: bool,
    /// Branches, tags and history are the catalog's own and not the table's.
    pub nessie: bool,
    /// Nessie's branch that the tables are read from and written to; `None`: the one that the catalog names.
    pub branch: Option<String>,
    /// For one request.
    pub timeout: Duration,
    /// What an encrypted connection trusts and shows.
    pub tls: Tls,
    /// So long a request may be under way between a client that is gone and the catalog: gateways and servers keep none for longer.
    pub late: Duration,
}

impl RestOptions {
    /// The defaults: no token, no delegation, 30 seconds.
    #[must_use]
    pub fn new(uri: Url) -> Self {
        Self {
            uri,
            warehouse: None,
            prefix: None,
            auth: RestAuth::None,
            headers: Vec::new(),
            delegation: false,
            atomic_transactions: false,
            nessie: false,
            branch: None,
            timeout: Duration::from_secs(30),
            tls: Tls::default(),
            late: LATE,
        }
    }
}

/// The catalog.
pub struct RestCatalog {
    http: Arc<Http>,
    /// `v1/`, or `v1/<prefix>/`.
    root: String,
    /// Asks for keys again, where the catalog hands some out.
    delegation: Option<Arc<Delegation>>,
    late: Duration,
    abilities: Abilities,
    /// The catalog knows a repeated request by its key.
    idempotent: bool,
    store: Arc<dyn Store>,
    fail_points: FailPoints,
}

impl fmt::Debug for RestCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestCatalog").field("at", &self.http.shown).field("abilities", &self.abilities).finish()
    }
}

/// Gateways give up on a request after a minute or a few, by their defaults.
const LATE: Duration = Duration::from_secs(600);

/// How a catalog names its way to commit several tables.
const TRANSACTION: &str = "transactions/commit";

impl RestCatalog {
    /// Asks the catalog for its configuration.
    pub async fn open(options: &RestOptions, store: Arc<dyn Store>, fail_points: FailPoints) -> Result<Self> {
        let http = Arc::new(Http::new(options)?);
        let config = config(&http, options).await?;
        let prefix =
            config.overrides.get("prefix").or(options.prefix.as_ref()).or_else(|| config.defaults.get("prefix"));
        let listed = config.endpoints.as_ref().is_some_and(|endpoints| {
            endpoints.iter().any(|endpoint| endpoint.starts_with("POST ") && endpoint.ends_with(TRANSACTION))
        });
        let nessie = options.nessie || tree::is_one(&config);
        let prefix = match &options.branch {
            Some(branch) => Some(tree::prefix(&http.shown, &config, branch, prefix)?),
            None => prefix.cloned(),
        };
        let delegation = options.delegation.then(|| Arc::new(Delegation::new(Arc::clone(&http))));
        if let Some(delegation) = &delegation {
            store.renewed_by(delegation.clone());
        }
        Ok(Self {
            // A prefix may hold slashes and escapes that are its own.
            root: match prefix.as_deref().map(|prefix| prefix.trim_matches('/')).filter(|prefix| !prefix.is_empty()) {
                Some(prefix) => format!("v1/{}/", prefix.split('/').map(prefix_part).collect::<Vec<_>>().join("/")),
                None => "v1/".to_owned(),
            },
            delegation,
            // The client itself may wait longer.
            late: if options.late.is_zero() { options.late } else { options.late.max(2 * options.timeout) },
            abilities: Abilities {
                many_tables: listed && options.atomic_transactions,
                refs: !nessie,
                history: !nessie,
                upkeep: false,
            },
            idempotent: config.idempotency.is_some(),
            http,
            store,
            fail_points,
        })
    }

    fn namespace(&self, namespace: &str) -> String {
        format!("{}namespaces/{}", self.root, part(namespace))
    }

    fn table(&self, table: &TableName) -> String {
        format!("{}/tables/{}", self.namespace(&table.namespace), part(&table.name))
    }

    fn delegated<'a>(&self, mut ask: Ask<'a>) -> Ask<'a> {
        if self.delegation.is_some() {
            ask.headers.push(delegation::header());
        }
        ask
    }

    /// What the store must know to reach the files of the table at `path`.
    fn learn(&self, loaded: &Loaded, path: &str) {
        let location = loaded.metadata.location();
        if let Some(delegation) = &self.delegation {
            delegation.know(location, path);
        }
        self.store.learn(location, &loaded.access());
    }

    /// One page after another.
    async fn pages<T: DeserializeOwned>(&self, path: &str, mut page: impl FnMut(T) -> Option<String>) -> Result<bool> {
        let mut token: Option<String> = None;
        loop {
            let mut ask = Ask::new(Method::GET, path);
            ask.query.extend(token.take().map(|token| ("pageToken", token)));
            let answer = self.http.read(&ask).await?;
            match answer.status {
                200 => {}
                404 if wire::refusal(&answer.body).is_some() => return Ok(false),
                _ => return Err(refused(&self.http, &answer)),
            }
            token = page(parsed(&self.http, &answer)?).filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(true);
            }
        }
    }

    async fn send(&self, ask: &Ask<'_>, whole: bool) -> Result<Outcome> {
        let answer = match self.http.send(ask).await {
            Ok(answer) => answer,
            Err(Failure::NotSent(error)) => return Err(error),
            Err(Failure::Lost(error)) => return Ok(Outcome::Unknown(error)),
        };
        Ok(match wire::verdict(answer.status, &answer.body, whole) {
            Verdict::Landed => Outcome::Landed,
            Verdict::Conflict => Outcome::Conflict,
            Verdict::Refused(_) => return Err(refused(&self.http, &answer)),
            Verdict::Open => {
                let error = std::io::Error::other(format!("{} is answered with {}", answer.asked, words(&answer)));
                Outcome::Unknown(self.http.error("commit to", error))
            }
        })
    }
}

/// What the catalog says of itself.
async fn config(http: &Http, options: &RestOptions) -> Result<Config> {
    let mut ask = Ask::new(Method::GET, "v1/config");
    if let Some(warehouse) = &options.warehouse {
        ask.query.push(("warehouse", warehouse.clone()));
    }
    let answer = http.read(&ask).await?;
    match answer.status {
        200 => parsed(http, &answer),
        // Older servers have no such page.
        404 if wire::refusal(&answer.body).is_some() => Ok(Config::default()),
        _ => Err(refused(http, &answer)),
    }
}

/// Escapes are kept: a prefix is the catalog's own text for a path.
fn prefix_part(text: &str) -> String {
    text.split('%').map(part).collect::<Vec<_>>().join("%")
}

fn body(value: &impl Serialize) -> Result<Option<Bytes>> {
    let bytes = serde_json::to_vec(value).map_err(|error| Error::Internal(format!("a request is no JSON: {error}")))?;
    Ok(Some(bytes.into()))
}

/// Status and words of a refusal.
fn words(answer: &Answer) -> String {
    let mut words = match wire::refusal(&answer.body) {
        Some((kind, message)) => format!("{} {kind} {message}", answer.status).trim().to_owned(),
        None => answer.status.to_string(),
    };
    if let Some(wait) = answer.retry_after {
        words.push_str(&format!("; it asks to be left alone for {} s", wait.as_secs()));
    }
    words
}

/// The error of an answer that is not what was asked for.
fn refused(http: &Http, answer: &Answer) -> Error {
    let detail = format!("{}: {}", answer.asked, words(answer));
    let catalog = http.shown.clone();
    let why = match wire::verdict(answer.status, &answer.body, true) {
        Verdict::Refused(why) => Some(why),
        _ => None,
    };
    match why {
        Some(Why::Access) => Error::CatalogAccess { catalog, detail },
        Some(Why::Unable) => Error::CatalogUnable { catalog, detail },
        Some(Why::Shape) if wire::refusal(&answer.body).is_some() => Error::CatalogUnable { catalog, detail },
        _ => http.error("use", std::io::Error::other(detail)),
    }
}

/// The body as what it should be. The text of a body that is not is never shown: it may hold keys.
fn parsed<T: DeserializeOwned>(http: &Http, answer: &Answer) -> Result<T> {
    serde_json::from_slice(&answer.body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let text = format!("{} is answered with no sound JSON: line {line}, column {column}", answer.asked);
        http.error("read", std::io::Error::other(text))
    })
}

#[async_trait]
impl Catalog for RestCatalog {
    async fn load(&self, table: &TableName) -> Result<Option<TableState>> {
        let path = self.table(table);
        let mut ask = self.delegated(Ask::new(Method::GET, &path));
        ask.query.push(("snapshots", "all".to_owned()));
        let answer = self.http.read(&ask).await?;
        match answer.status {
            200 => {}
            404 if wire::refusal(&answer.body).is_some() => return Ok(None),
            _ => return Err(refused(&self.http, &answer)),
        }
        let loaded: Loaded = parsed(&self.http, &answer)?;
        self.learn(&loaded, &path);
        Ok(Some(TableState {
            name: table.clone(),
            metadata: Arc::new(loaded.metadata),
            metadata_location: loaded.metadata_location.unwrap_or_default(),
        }))
    }

    async fn list_namespaces(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let path = format!("{}namespaces", self.root);
        self.pages(&path, |page: Namespaces| {
            found.extend(page.namespaces.into_iter().filter_map(|mut parts| match parts.len() {
                1 => parts.pop(),
                _ => None,
            }));
            page.next
        })
        .await?;
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    async fn list_tables(&self, namespace: Option<&str>) -> Result<Vec<CatalogEntry>> {
        let namespaces = match namespace {
            Some(namespace) => vec![namespace.to_owned()],
            None => self.list_namespaces().await?,
        };
        let mut found = Vec::new();
        for namespace in namespaces {
            let path = format!("{}/tables", self.namespace(&namespace));
            self.pages(&path, |page: Tables| {
                found.extend(page.identifiers.into_iter().map(|identifier| CatalogEntry {
                    table: TableName { namespace: namespace.clone(), name: identifier.name },
                    metadata_location: None,
                }));
                page.next
            })
            .await?;
        }
        found.sort_unstable();
        Ok(found)
    }

    async fn create_namespace(&self, namespace: &str) -> Result<()> {
        let path = format!("{}namespaces", self.root);
        let mut ask = Ask::new(Method::POST, &path);
        ask.body = body(&serde_json::json!({ "namespace": [namespace], "properties": {} }))?;
        let answer = self.http.send(&ask).await.map_err(Error::from)?;
        match answer.status {
            200 | 201 | 204 | 409 => Ok(()),
            _ => Err(refused(&self.http, &answer)),
        }
    }

    async fn place(&self, table: &TableName, creation: &Creation) -> Result<Option<Placed>> {
        let path = format!("{}/tables", self.namespace(&table.namespace));
        let mut ask = self.delegated(Ask::new(Method::POST, &path));
        // With the ids that the commit will bring: some catalogs take no field without one.
        let built = creation.builder().and_then(TableMetadataBuilder::build).map_err(Error::iceberg("make", table))?;
        ask.body = body(&StageCreate {
            name: &table.name,
            schema: built.metadata.current_schema(),
            partition_spec: built.metadata.default_partition_spec(),
            stage_create: true,
            properties: &creation.properties,
        })?;
        // Not every server says of a namespace that is missing that it is.
        self.create_namespace(&table.namespace).await?;
        let answer = self.http.send(&ask).await.map_err(Error::from)?;
        match answer.status {
            200 => {
                let loaded: Loaded = parsed(&self.http, &answer)?;
                self.learn(&loaded, &self.table(table));
                let location = loaded.metadata.location().trim_end_matches('/').to_owned();
                Ok(Some(Placed { location, uuid: loaded.metadata.uuid() }))
            }
            // It is there by now, and the commit will find it; or the catalog leaves the place to the client.
            409 | 405 | 406 | 501 => Ok(None),
            _ => Err(refused(&self.http, &answer)),
        }
    }

    fn can(&self) -> Abilities {
        self.abilities
    }

    fn shown(&self) -> &str {
        &self.http.shown
    }

    fn late(&self) -> Option<Duration> {
        Some(self.late)
    }

    async fn commit(&self, changes: &[TableChange]) -> Result<Outcome> {
        if !self.abilities.refs && !changes.iter().all(TableChange::moves_main_alone) {
            // Nessie takes the snapshot of any branch of a table for the table's present one.
            return Err(super::unable(&self.http.shown, "it keeps no branches and tags of a table, only its own"));
        }
        if !changes.iter().all(TableChange::holds) {
            return Ok(Outcome::Conflict);
        }
        for change in changes.iter().filter(|change| matches!(change.base, Base::New(_))) {
            self.create_namespace(&change.table.namespace).await?;
        }
        let (path, sent) = match changes {
            [] => return Ok(Outcome::Landed),
            [change] => (self.table(&change.table), body(&CommitTable::of(change))?),
            several if self.abilities.many_tables => {
                let tables = CommitTables { table_changes: several.iter().map(CommitTable::of).collect() };
                (format!("{}{TRANSACTION}", self.root), body(&tables)?)
            }
            _ => {
                let detail = "it commits one table at a time".to_owned();
                return Err(Error::CatalogUnable { catalog: self.http.shown.clone(), detail });
            }
        };
        let mut ask = Ask::new(Method::POST, &path);
        ask.body = sent;
        if self.idempotent {
            ask.headers.push(("idempotency-key", uuid::Uuid::now_v7().to_string()));
        }
        self.fail_points.pass(fail_point::METADATA_WRITTEN)?;
        self.fail_points.pass(fail_point::BEFORE_SQL_COMMIT)?;
        let outcome = self.send(&ask, changes.len() == 1).await?;
        Ok(match (outcome, self.fail_points.pass(fail_point::AFTER_SQL_COMMIT)) {
            (Outcome::Landed, Err(error)) => Outcome::Unknown(error),
            (outcome, _) => outcome,
        })
    }

    async fn drop_table(&self, state: &TableState) -> Result<bool> {
        // The protocol has no condition for this; a change in between is as if it had come just before.
        match self.load(&state.name).await? {
            Some(now) if now.version() == state.version() => {}
            _ => return Ok(false),
        }
        let path = self.table(&state.name);
        let mut ask = Ask::new(Method::DELETE, &path);
        ask.query.push(("purgeRequested", "false".to_owned()));
        let answer = self.http.send(&ask).await.map_err(Error::from)?;
        match answer.status {
            200 | 204 => Ok(true),
            404 if wire::refusal(&answer.body).is_some() => Ok(false),
            _ => Err(refused(&self.http, &answer)),
        }
    }
}
