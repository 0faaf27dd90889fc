//! The routes for operators. They are outside of the gateway's stack, so they are answered while it
//! rejects other requests.

use std::error::Error;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use mainstay::health::HealthService;
use mainstay::registry::{Registry, StackHandle};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};

use crate::fault::Mode;
use crate::upstream::Upstream;

pub(crate) type Upstreams = Arc<[Upstream; 2]>;

pub(crate) fn routes(
    metrics: PrometheusHandle,
    health: HealthService,
    upstreams: Upstreams,
) -> Router {
    let scrape = async move || {
        let text = [(CONTENT_TYPE, "text/plain; version=0.0.4")];
        (text, metrics.render())
    };
    let fault = get(show).put(set).post(set).with_state(upstreams);
    Router::new()
        .route("/metrics", get(scrape))
        .route("/snapshot", get(snapshot))
        .route_service("/livez", health.clone())
        .route_service("/readyz", health)
        .route("/fault/{upstream}", fault)
}

/// The snapshots of all stacks in this process.
async fn snapshot() -> Response {
    let stacks = Registry::global().stacks();
    json(&stacks.iter().map(StackHandle::snapshot).collect::<Vec<_>>())
}

/// A response that people can read, too.
fn json(value: &impl Serialize) -> Response {
    match serde_json::to_string_pretty(value) {
        Ok(json) => ([(CONTENT_TYPE, "application/json")], json + "\n").into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[derive(Deserialize)]
struct Wanted {
    mode: Mode,
}

async fn show(State(upstreams): State<Upstreams>, Path(name): Path<String>) -> Response {
    match find(&upstreams, &name) {
        Ok(upstream) => mode(upstream),
        Err(unknown) => unknown.into_response(),
    }
}

async fn set(
    State(upstreams): State<Upstreams>,
    Path(name): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Response {
    // A task of its own: a caller that hangs up must not leave an upstream half stopped.
    let change = tokio::spawn(async move {
        let upstream = match find(&upstreams, &name) {
            Ok(upstream) => upstream,
            Err(unknown) => return unknown.into_response(),
        };
        match upstream.set(wanted.mode).await {
            Ok(()) => mode(upstream),
            Err(error) => broken(&error),
        }
    });
    change.await.unwrap_or_else(|error| broken(&error))
}

fn broken(error: &dyn Error) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
}

fn mode(upstream: &Upstream) -> Response {
    let mode = upstream.mode();
    json(&serde_json::json!({ "upstream": upstream.name, "mode": mode }))
}

fn find<'a>(
    upstreams: &'a Upstreams,
    name: &str,
) -> Result<&'a Upstream, (StatusCode, &'static str)> {
    let found = upstreams.iter().find(|upstream| upstream.name == name);
    found.ok_or((
        StatusCode::NOT_FOUND,
        "the upstreams are `catalog` and `pricing`\n",
    ))
}
