//! A service that is well all the time: it has fast routes, slow ones, and ones that stream.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::{Stream, StreamExt as _, stream};

/// How often a stream says something.
pub(crate) const BEAT: Duration = Duration::from_secs(1);

pub(crate) fn router() -> Router {
    Router::new()
        .route("/fast", get(async || "ok"))
        .route("/slow/{seconds}", get(slow))
        .route("/pictures/{n}", get(picture))
        .route("/watch", get(watch))
        .route("/events", get(events))
        .route("/upload", post(upload))
        .route("/download", get(download))
}

async fn slow(Path(seconds): Path<u64>) -> &'static str {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    "ok"
}

async fn picture() -> Vec<u8> {
    tokio::time::sleep(Duration::from_millis(5)).await;
    vec![7; 20_000]
}

fn beats() -> impl Stream<Item = u64> + Send {
    stream::iter(0..).then(async |beat| {
        if beat > 0 {
            tokio::time::sleep(BEAT).await;
        }
        beat
    })
}

async fn watch() -> Response {
    let lines = beats().map(|beat| Ok::<_, Infallible>(format!("{{\"beat\":{beat}}}\n")));
    let head = [(CONTENT_TYPE, "application/x-ndjson")];
    (head, Body::from_stream(lines)).into_response()
}

async fn events() -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    Sse::new(beats().map(|beat| Ok(Event::default().data(beat.to_string()))))
}

async fn upload(body: Body) -> Response {
    let mut pieces = body.into_data_stream();
    let mut bytes = 0;
    while let Some(piece) = pieces.next().await {
        match piece {
            Ok(piece) => bytes += piece.len(),
            Err(_) => return StatusCode::BAD_REQUEST.into_response(),
        }
    }
    bytes.to_string().into_response()
}

async fn download() -> Body {
    let piece = Bytes::from_static(&[7; 65_536]);
    Body::from_stream(stream::iter(std::iter::repeat_n(piece, 1_024)).map(Ok::<_, Infallible>))
}
