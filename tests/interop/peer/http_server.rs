//! The axum server behind the layers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::stream::{self, StreamExt as _};
use mainstay::{BoxError, Context};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use crate::echo::InFlight;
use crate::journal::{Journal, remaining};
use crate::stacks::{Serving, serve_http};

/// What a call is found by in the journal.
#[derive(Debug, Deserialize)]
struct Key {
    #[serde(default)]
    key: String,
}

async fn context() -> Json<Value> {
    let context = Context::current();
    let id = context.correlation_id().map(ToString::to_string);
    Json(json!({"remaining_ms": remaining(), "correlation_id": id}))
}

async fn sleep(
    State(journal): State<Journal>,
    Path(millis): Path<u64>,
    Query(key): Query<Key>,
    headers: HeaderMap,
) -> String {
    let begun = journal.begin("sleep", &key.key, &headers);
    let left = remaining();
    tokio::time::sleep(Duration::from_millis(millis)).await;
    begun.end();
    left.to_string()
}

/// So many chunks of so many bytes, with a pause before each.
async fn chunks(
    State(journal): State<Journal>,
    Path((count, size, pause)): Path<(u32, usize, u64)>,
    Query(key): Query<Key>,
    headers: HeaderMap,
) -> Body {
    let begun = journal.begin("chunks", &key.key, &headers);
    let chunk = Bytes::from(vec![b'x'; size]);
    let chunks = stream::unfold((0, begun, chunk), move |(sent, begun, chunk)| async move {
        if sent == count {
            begun.end();
            return None;
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
        Some((Ok::<_, BoxError>(chunk.clone()), (sent + 1, begun, chunk)))
    });
    Body::from_stream(chunks)
}

/// How many bytes came.
async fn count(body: Body) -> Result<String, StatusCode> {
    let mut chunks = body.into_data_stream();
    let mut bytes = 0;
    while let Some(chunk) = chunks.next().await {
        bytes += chunk.map_err(|_| StatusCode::BAD_REQUEST)?.len();
    }
    Ok(bytes.to_string())
}

fn app(journal: Journal) -> Router {
    Router::new()
        .route("/hello", get(async || "hello"))
        .route("/echo", post(async |body: Bytes| body))
        .route("/count", post(count))
        .route("/context", get(context))
        .route("/sleep/{millis}", get(sleep))
        .route("/chunks/{count}/{size}/{pause}", get(chunks))
        .route("/fail", get(async || StatusCode::INTERNAL_SERVER_ERROR))
        .with_state(journal)
}

async fn entries(State(journal): State<Journal>, Path(key): Path<String>) -> Json<Value> {
    let entries: Vec<_> = journal
        .of(&key)
        .into_iter()
        .map(|entry| json!({"ended": entry.ended, "dropped": entry.dropped}))
        .collect();
    Json(json!(entries))
}

pub(crate) async fn run() -> Result<(), BoxError> {
    let journal = Journal::new();
    let mut addresses = Map::new();
    let mut stacks: HashMap<&str, InFlight> = HashMap::new();
    for serving in Serving::ALL {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        addresses.insert(serving.name.to_owned(), json!(address));
        let in_flight = serve_http(listener, serving, app(journal.clone()))?;
        stacks.insert(serving.name, in_flight);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    addresses.insert("watch".to_owned(), json!(address));
    println!("{}", json!(addresses));

    let stacks = Arc::new(stacks);
    let in_flight = async move || {
        let calls: HashMap<_, _> = stacks
            .iter()
            .map(|(name, count)| (*name, count()))
            .collect();
        Json(json!(calls))
    };
    let watch = Router::new()
        .route("/journal/{key}", get(entries))
        .route("/in-flight", get(in_flight))
        .with_state(journal);
    Ok(axum::serve(listener, watch).await?)
}
