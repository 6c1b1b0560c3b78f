//! Tables: listed, made, loaded, committed, registered, renamed and dropped.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lakehost_lake::{Outcome, Renamed, TableState};
use lakehost_pipeline::ports::TableName;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::birth::{self, CreateTable};
use crate::commit::{self, CommitTable, CommitTables};
use crate::extract::{Asked, Body, OfNamespace, OfTable};
use crate::names::{self, Identifier};
use crate::page::Paging;
use crate::refusal::{Answer, Refusal};
use crate::warehouse::Warehouse;

/// A table may move so often while it is about to be dropped or renamed.
const ATTEMPTS: usize = 20;

/// A table as it is answered.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Loaded<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_location: Option<&'a str>,
    metadata: Value,
    config: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    storage_credentials: Vec<Value>,
}

/// The query of a load.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Which {
    snapshots: Option<String>,
}

/// The query of a drop.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Purge {
    #[serde(rename = "purgeRequested", default)]
    requested: Option<String>,
}

/// A request to make a table of a metadata file.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Register {
    name: String,
    metadata_location: String,
    #[serde(default)]
    overwrite: bool,
}

/// A request for another name.
#[derive(Clone, Debug, Deserialize)]
pub struct Rename {
    source: Identifier,
    destination: Identifier,
}

/// The tables of a namespace.
pub async fn list(
    State(warehouse): State<Arc<Warehouse>>,
    OfNamespace(namespace): OfNamespace,
    Asked(paging): Asked<Paging>,
) -> Answer<Json<Value>> {
    warehouse.check_namespace(&namespace).await?;
    let found = warehouse.catalog.list_tables(Some(&namespace)).await?;
    let mut names: Vec<String> = found.into_iter().map(|entry| entry.table.name).collect();
    names.sort_unstable();
    let (page, next) = paging.page(names);
    let levels = names::levels(&namespace);
    let identifiers: Vec<Value> = page.iter().map(|name| json!({ "namespace": levels, "name": name })).collect();
    Ok(Json(json!({ "identifiers": identifiers, "next-page-token": next })))
}

/// Makes a table, or says what it would be.
pub async fn create(
    State(warehouse): State<Arc<Warehouse>>,
    OfNamespace(namespace): OfNamespace,
    headers: HeaderMap,
    Body(request): Body<CreateTable>,
) -> Answer<Response> {
    let table = TableName { namespace, name: request.name.clone() };
    let inner = Arc::clone(&warehouse);
    let name = table.clone();
    let state = warehouse
        .change(async move {
            inner.check_new(&name).await?;
            if inner.catalog.load(&name).await?.is_some() {
                return Err(taken(&name));
            }
            let stage = request.stage_create;
            let creation = request.creation(&inner, &name).await?;
            let change = birth::change(&name, creation)?;
            if stage {
                inner.lake.make_folder(change.metadata.location())?;
                let metadata = Arc::clone(&change.metadata);
                return Ok(TableState { name, metadata, metadata_location: String::new() });
            }
            match inner.catalog.commit(&[change]).await? {
                Outcome::Landed => inner.table(&name).await,
                Outcome::Conflict => Err(taken(&name)),
                Outcome::Unknown(error) => Err(Refusal::unknown(format!("table {name} may have been made: {error}"))),
            }
        })
        .await?;
    answered(&warehouse, &state, &headers, false)
}

fn taken(table: &TableName) -> Refusal {
    Refusal::exists(format!("Table already exists: {table}"))
}

/// The table as it is now.
pub async fn load(
    State(warehouse): State<Arc<Warehouse>>,
    OfTable(table): OfTable,
    Asked(which): Asked<Which>,
    headers: HeaderMap,
) -> Answer<Response> {
    let referenced_alone = match which.snapshots.as_deref() {
        None | Some("all") => false,
        Some("refs") => true,
        Some(other) => {
            return Err(Refusal::bad_request(format!("`snapshots={}` is neither all nor refs", other.escape_debug())));
        }
    };
    let state = warehouse.table(&table).await?;
    answered(&warehouse, &state, &headers, referenced_alone)
}

/// Whether it is there.
pub async fn exists(State(warehouse): State<Arc<Warehouse>>, OfTable(table): OfTable) -> Answer<StatusCode> {
    warehouse.table(&table).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A table with its metadata and the way to its files.
fn answered(
    warehouse: &Warehouse,
    state: &TableState,
    headers: &HeaderMap,
    referenced_alone: bool,
) -> Answer<Response> {
    let asks_for_keys = headers
        .get_all("x-iceberg-access-delegation")
        .iter()
        .any(|value| value.to_str().is_ok_and(|text| text.split(',').any(|word| word.trim() == "vended-credentials")));
    let tag = tag(state, referenced_alone);
    if let Some(tag) = &tag
        && headers.get_all(header::IF_NONE_MATCH).iter().any(|value| {
            value.to_str().is_ok_and(|text| text.split(',').any(|one| one.trim().as_bytes() == tag.as_bytes()))
        })
    {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag.clone())]).into_response());
    }
    let mut metadata = serde_json::to_value(state.metadata.as_ref())
        .map_err(|error| Refusal::internal(format!("metadata of {} is no JSON: {error}", state.name)))?;
    if referenced_alone {
        keep_referenced(&mut metadata);
    }
    sort(&mut metadata);
    let keys = if asks_for_keys { warehouse.access.keys() } else { BTreeMap::new() };
    let location = state.metadata.location();
    let loaded = Loaded {
        metadata_location: Some(state.metadata_location.as_str()).filter(|location| !location.is_empty()),
        metadata,
        config: warehouse.access.config(asks_for_keys),
        storage_credentials: match keys.is_empty() {
            true => Vec::new(),
            false => vec![json!({ "prefix": format!("{location}/"), "config": keys })],
        },
    };
    let mut response = Json(loaded).into_response();
    if let Some(tag) = tag {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

/// Another text for every state of a table and every way to answer it; none where the catalog does not tell states apart.
fn tag(state: &TableState, referenced_alone: bool) -> Option<HeaderValue> {
    let (_, file) = state.metadata_location.rsplit_once('/')?;
    let which = if referenced_alone { "refs" } else { "all" };
    HeaderValue::from_str(&format!("\"{}-{which}-{file}\"", state.metadata.uuid())).ok()
}

/// Puts what the library keeps in no order into that of its making: clients take the first snapshot of the list for the oldest.
fn sort(metadata: &mut Value) {
    for (list, key) in [
        ("snapshots", "sequence-number"),
        ("schemas", "schema-id"),
        ("partition-specs", "spec-id"),
        ("sort-orders", "order-id"),
    ] {
        if let Some(list) = metadata.get_mut(list).and_then(Value::as_array_mut) {
            list.sort_by_key(|one| one.get(key).and_then(Value::as_i64));
        }
    }
}

/// Leaves the snapshots that a branch or tag points at.
fn keep_referenced(metadata: &mut Value) {
    let referenced: Vec<Value> = metadata
        .get("refs")
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(|refs| refs.values().filter_map(|one| one.get("snapshot-id").cloned()))
        .collect();
    if let Some(snapshots) = metadata.get_mut("snapshots").and_then(Value::as_array_mut) {
        snapshots.retain(|snapshot| snapshot.get("snapshot-id").is_some_and(|id| referenced.contains(id)));
    }
}

/// Commits one table.
pub async fn commit(
    State(warehouse): State<Arc<Warehouse>>,
    OfTable(table): OfTable,
    headers: HeaderMap,
    Body(request): Body<CommitTable>,
) -> Answer<Response> {
    if let Some(identifier) = &request.identifier
        && identifier.table()? != table
    {
        return Err(Refusal::bad_request(format!("the path names table {table}, and the body another one")));
    }
    let inner = Arc::clone(&warehouse);
    let state = warehouse
        .change(async move {
            let requests = [(table, request)];
            commit::commit(&inner, &requests).await?;
            let [(table, _)] = requests;
            let state = inner.catalog.load(&table).await.ok().flatten();
            state.ok_or_else(|| Refusal::unknown(format!("table {table} was committed, and cannot be read since")))
        })
        .await?;
    answered(&warehouse, &state, &headers, false)
}

/// Commits several tables at once.
pub async fn commit_all(
    State(warehouse): State<Arc<Warehouse>>,
    Body(request): Body<CommitTables>,
) -> Answer<StatusCode> {
    let requests = request.named()?;
    let inner = Arc::clone(&warehouse);
    warehouse.change(async move { commit::commit(&inner, &requests).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a table of a metadata file that is there already.
pub async fn register(
    State(warehouse): State<Arc<Warehouse>>,
    OfNamespace(namespace): OfNamespace,
    headers: HeaderMap,
    Body(request): Body<Register>,
) -> Answer<Response> {
    if request.overwrite {
        return Err(Refusal::unsupported("a table that is there is not registered over"));
    }
    let inner = Arc::clone(&warehouse);
    let state = warehouse
        .change(async move {
            let table = TableName { namespace, name: request.name };
            inner.check_new(&table).await?;
            let location = request.metadata_location;
            let metadata = inner.lake.metadata_at(&location).await.map_err(|error| {
                // What the file holds instead is not the client's to know.
                tracing::warn!(%location, %error, "a file that was to be registered cannot be read");
                Refusal::bad_request(format!("{} is no metadata file of a table", location.escape_debug()))
            })?;
            // Commits would write there.
            if !inner.lake.may_hold(metadata.location()) {
                let (place, root) = (metadata.location().escape_debug(), inner.lake.root());
                return Err(Refusal::bad_request(format!("the table lies at `{place}`, which is not inside {root}")));
            }
            match inner.catalog.register_table(&table, &location).await? {
                Outcome::Landed => inner.table(&table).await,
                Outcome::Conflict => Err(taken(&table)),
                Outcome::Unknown(error) => Err(Refusal::unknown(format!("table {table} may be registered: {error}"))),
            }
        })
        .await?;
    answered(&warehouse, &state, &headers, false)
}

/// Gives a table another name. Its files stay where they are.
pub async fn rename(State(warehouse): State<Arc<Warehouse>>, Body(request): Body<Rename>) -> Answer<StatusCode> {
    let (source, destination) = (request.source.table()?, request.destination.table()?);
    let inner = Arc::clone(&warehouse);
    warehouse
        .change(async move {
            for _ in 0..ATTEMPTS {
                let state = inner.table(&source).await?;
                inner.check_new(&destination).await?;
                match inner.catalog.rename_table(&state, &destination).await? {
                    Renamed::Done => return Ok(StatusCode::NO_CONTENT),
                    Renamed::Taken => return Err(taken(&destination)),
                    Renamed::Changed => {}
                }
            }
            Err(Refusal::conflict(format!("table {source} changed each time it was about to be renamed")))
        })
        .await
}

/// Forgets a table; its files go too when that is asked for and they are its alone.
pub async fn drop(
    State(warehouse): State<Arc<Warehouse>>,
    OfTable(table): OfTable,
    Asked(purge): Asked<Purge>,
) -> Answer<StatusCode> {
    let purge = purge.requested.is_some_and(|text| text.eq_ignore_ascii_case("true"));
    let inner = Arc::clone(&warehouse);
    warehouse
        .change(async move {
            for _ in 0..ATTEMPTS {
                let state = inner.table(&table).await?;
                inner.catalog.check_writable()?;
                let Some(shared) = inner.lake.forget_table(&state).await? else { continue };
                if purge {
                    let lake = inner.lake.clone();
                    let delete = move || lake.delete_files(&state, shared).map_err(|error| error.to_string());
                    let deleted = tokio::task::spawn_blocking(delete).await;
                    // The table is gone; files that stay behind only waste space.
                    if let Err(error) = deleted.map_err(|error| error.to_string()).and_then(|deleted| deleted) {
                        tracing::warn!(%table, %error, "files of a dropped table stay behind");
                    }
                }
                return Ok(StatusCode::NO_CONTENT);
            }
            Err(Refusal::conflict(format!("table {table} changed each time it was about to be dropped")))
        })
        .await
}

/// Takes note that an engine has read or written; what it says is not kept.
pub async fn report(OfTable(_): OfTable, Body(_): Body<Value>) -> StatusCode {
    StatusCode::NO_CONTENT
}
