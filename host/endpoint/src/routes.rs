//! Which request goes where, and what a client is told of it.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::extract::{Asked, LIMIT_BYTES};
use crate::guard::{self, Guard};
use crate::refusal::{Answer, Refusal};
use crate::warehouse::Warehouse;
use crate::{namespaces, tables};

/// What every catalog can do.
const ALWAYS: &[&str] = &[
    "GET /v1/{prefix}/namespaces",
    "POST /v1/{prefix}/namespaces",
    "GET /v1/{prefix}/namespaces/{namespace}",
    "HEAD /v1/{prefix}/namespaces/{namespace}",
    "GET /v1/{prefix}/namespaces/{namespace}/tables",
    "POST /v1/{prefix}/namespaces/{namespace}/tables",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "HEAD /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "DELETE /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}/metrics",
];

/// What needs a SQL catalog.
const WITH_UPKEEP: &[&str] = &[
    "DELETE /v1/{prefix}/namespaces/{namespace}",
    "POST /v1/{prefix}/namespaces/{namespace}/properties",
    "POST /v1/{prefix}/namespaces/{namespace}/register",
    "POST /v1/{prefix}/tables/rename",
];

const TRANSACTION: &str = "POST /v1/{prefix}/transactions/commit";

/// The query of the first request.
#[derive(Clone, Debug, Default, Deserialize)]
struct WhichWarehouse {
    warehouse: Option<String>,
}

/// Everything that is served.
pub fn router(warehouse: Arc<Warehouse>, guard: Arc<Guard>) -> Router {
    let views = || get(no_views).post(no_views).head(no_views).delete(no_views);
    Router::new()
        .route("/v1/config", get(config))
        .route("/v1/namespaces", get(namespaces::list).post(namespaces::create))
        .route("/v1/namespaces/{namespace}", get(namespaces::load).head(namespaces::exists).delete(namespaces::drop))
        .route("/v1/namespaces/{namespace}/properties", post(namespaces::change))
        .route("/v1/namespaces/{namespace}/tables", get(tables::list).post(tables::create))
        .route("/v1/namespaces/{namespace}/register", post(tables::register))
        .route(
            "/v1/namespaces/{namespace}/tables/{table}",
            get(tables::load).head(tables::exists).post(tables::commit).delete(tables::drop),
        )
        .route("/v1/namespaces/{namespace}/tables/{table}/metrics", post(tables::report))
        .route("/v1/namespaces/{namespace}/views", views())
        .route("/v1/namespaces/{namespace}/views/{view}", views())
        .route("/v1/tables/rename", post(tables::rename))
        .route("/v1/transactions/commit", post(tables::commit_all))
        .fallback(nowhere)
        .method_not_allowed_fallback(not_so)
        .layer(DefaultBodyLimit::max(LIMIT_BYTES))
        .layer(middleware::from_fn_with_state(guard, guard::check))
        .with_state(warehouse)
}

async fn config(State(warehouse): State<Arc<Warehouse>>, Asked(asked): Asked<WhichWarehouse>) -> Answer<Json<Value>> {
    let wanted = asked.warehouse.unwrap_or_default();
    let root = warehouse.lake.root();
    let is_root = wanted.trim_end_matches('/') == root || wanted.strip_prefix("file://") == Some(root);
    if !wanted.is_empty() && !is_root && !warehouse.names.contains(&wanted) {
        let known = warehouse.names.join(", ");
        let wanted = wanted.escape_debug();
        return Err(Refusal::no_warehouse(format!("there is no warehouse `{wanted}` here; it is called {known}")));
    }
    let can = warehouse.catalog.can();
    let mut endpoints = ALWAYS.to_vec();
    if can.upkeep {
        endpoints.extend(WITH_UPKEEP);
    }
    if can.many_tables {
        endpoints.push(TRANSACTION);
    }
    // The token does not run out, and there is nobody to give another one.
    let overrides = json!({ "token-refresh-enabled": "false" });
    Ok(Json(json!({ "defaults": {}, "overrides": overrides, "endpoints": endpoints })))
}

async fn no_views() -> Refusal {
    Refusal::unsupported("this catalog holds tables and no views")
}

async fn nowhere(request: Request) -> Refusal {
    Refusal::no_route(format!("there is no {} {}", request.method(), request.uri().path()))
}

async fn not_so(request: Request) -> Refusal {
    Refusal::not_allowed(format!("{} does not take {}", request.uri().path(), request.method()))
}
