//! Namespaces.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use lakehost_lake::NamespaceEnd;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::extract::{Asked, Body, OfNamespace};
use crate::names;
use crate::page::Paging;
use crate::refusal::{Answer, Refusal};
use crate::warehouse::{EXISTS, LOCATION, Warehouse};

/// The query of a listing.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Listing {
    parent: Option<String>,
    // Not flattened: a number in a flattened query is text.
    #[serde(rename = "pageToken")]
    token: Option<String>,
    #[serde(rename = "pageSize")]
    size: Option<usize>,
}

/// A request to make a namespace.
#[derive(Clone, Debug, Deserialize)]
pub struct CreateNamespace {
    namespace: Vec<String>,
    #[serde(default)]
    properties: Option<BTreeMap<String, String>>,
}

/// A request to change its properties.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ChangeNamespace {
    #[serde(default)]
    removals: Vec<String>,
    #[serde(default)]
    updates: BTreeMap<String, String>,
}

/// The namespaces right under one, or the outermost.
pub async fn list(State(warehouse): State<Arc<Warehouse>>, Asked(asked): Asked<Listing>) -> Answer<Json<Value>> {
    let parent = asked.parent.as_deref().filter(|parent| !parent.is_empty()).map(names::namespace).transpose()?;
    if let Some(parent) = &parent {
        warehouse.check_namespace(parent).await?;
    }
    let depth = parent.as_deref().map_or(0, |parent| names::levels(parent).len());
    let prefix = parent.map(|parent| format!("{parent}.")).unwrap_or_default();
    let known = warehouse.catalog.list_namespaces().await?;
    let found: BTreeSet<String> = known
        .iter()
        .filter(|name| name.starts_with(&prefix))
        .map(|name| names::levels(name).into_iter().take(depth + 1).collect::<Vec<_>>().join("."))
        .collect();
    let (page, next) = Paging::new(asked.token, asked.size).page(found.into_iter().collect());
    let namespaces: Vec<Vec<&str>> = page.iter().map(|name| names::levels(name)).collect();
    Ok(Json(json!({ "namespaces": namespaces, "next-page-token": next })))
}

/// Makes a namespace.
pub async fn create(
    State(warehouse): State<Arc<Warehouse>>,
    Body(request): Body<CreateNamespace>,
) -> Answer<Json<Value>> {
    let namespace = names::join(&request.namespace)?;
    names::check_new(&namespace, None)?;
    let inner = Arc::clone(&warehouse);
    warehouse
        .change(async move {
            let properties = request.properties.unwrap_or_default();
            check_location(&inner, &properties)?;
            if inner.check_namespace(&namespace).await.is_ok() {
                return Err(Refusal::exists(format!("Namespace already exists: {namespace}")));
            }
            if properties.is_empty() {
                inner.catalog.create_namespace(&namespace).await?;
            } else {
                inner.catalog.change_namespace(&namespace, &properties, &[]).await?;
            }
            described(&inner, &namespace).await
        })
        .await
}

async fn described(warehouse: &Warehouse, namespace: &str) -> Answer<Json<Value>> {
    let properties = warehouse.properties(namespace).await?;
    Ok(Json(json!({ "namespace": names::levels(namespace), "properties": properties })))
}

/// That tables may lie where the properties say that they do.
fn check_location(warehouse: &Warehouse, properties: &BTreeMap<String, String>) -> Answer<()> {
    let Some(location) = properties.get(LOCATION) else { return Ok(()) };
    if warehouse.lake.may_hold(&format!("{}/table", location.trim_end_matches('/'))) {
        return Ok(());
    }
    let (location, root) = (location.escape_debug(), warehouse.lake.root());
    Err(Refusal::bad_request(format!("tables cannot lie under `{location}`: it is not inside {root}")))
}

/// A namespace with its properties.
pub async fn load(State(warehouse): State<Arc<Warehouse>>, OfNamespace(namespace): OfNamespace) -> Answer<Json<Value>> {
    warehouse.check_namespace(&namespace).await?;
    described(&warehouse, &namespace).await
}

/// Whether it is there.
pub async fn exists(
    State(warehouse): State<Arc<Warehouse>>,
    OfNamespace(namespace): OfNamespace,
) -> Answer<StatusCode> {
    warehouse.check_namespace(&namespace).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Forgets a namespace that holds nothing.
pub async fn drop(State(warehouse): State<Arc<Warehouse>>, OfNamespace(namespace): OfNamespace) -> Answer<StatusCode> {
    let inner = Arc::clone(&warehouse);
    warehouse
        .change(async move {
            match inner.catalog.drop_namespace(&namespace).await? {
                NamespaceEnd::Dropped => Ok(StatusCode::NO_CONTENT),
                NamespaceEnd::NotEmpty => Err(Refusal::not_empty(&namespace)),
                NamespaceEnd::Missing => match inner.check_namespace(&namespace).await {
                    // It is there by what it holds.
                    Ok(()) => Err(Refusal::not_empty(&namespace)),
                    Err(missing) => Err(missing),
                },
            }
        })
        .await
}

/// Sets and removes properties.
pub async fn change(
    State(warehouse): State<Arc<Warehouse>>,
    OfNamespace(namespace): OfNamespace,
    Body(request): Body<ChangeNamespace>,
) -> Answer<Json<Value>> {
    let removals: BTreeSet<String> = request.removals.into_iter().collect();
    if let Some(both) = removals.iter().find(|name| request.updates.contains_key(*name)) {
        return Err(Refusal::unprocessable(format!("property {both} is to be set and removed at once")));
    }
    let inner = Arc::clone(&warehouse);
    warehouse
        .change(async move {
            inner.check_namespace(&namespace).await?;
            check_location(&inner, &request.updates)?;
            let present = inner.catalog.namespace(&namespace).await?.unwrap_or_default();
            let (removed, missing): (Vec<String>, Vec<String>) =
                removals.into_iter().partition(|name| name != EXISTS && present.contains_key(name));
            inner.catalog.change_namespace(&namespace, &request.updates, &removed).await?;
            let updated: Vec<&String> = request.updates.keys().collect();
            Ok(Json(json!({ "updated": updated, "removed": removed, "missing": missing })))
        })
        .await
}
