//! The notifications of the user, as a stream of events that is passed on as it comes.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;

use super::Gateway;
use super::auth::Caller;
use crate::web::{self, Problem};

const LAST: HeaderName = HeaderName::from_static("last-event-id");
const STREAM: &str = "text/event-stream";
/// Tells proxies such as nginx to pass each event on at once.
const UNBUFFERED: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

/// `GET /notifications`, from the event after `last-event-id`. If the stream breaks, a browser asks
/// again with the last event that it has.
pub(super) async fn stream(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let open = gateway.0.streams.open(&caller.user);
    let open = open.map_err(|why| Problem::new(StatusCode::TOO_MANY_REQUESTS, why))?;
    let upstream = &gateway.0.notifications;
    let mut request = upstream.get(&format!("/notifications/{}", caller.user));
    request = request.header(ACCEPT, STREAM);
    if let Some(last) = web::field(&headers, &LAST)? {
        request = request.header(LAST, last);
    }
    let response = upstream.send(request).await?;
    if response.status() != StatusCode::OK {
        return upstream.pass(response).await;
    }
    let events = response.bytes_stream().map(move |event| {
        let _open = &open;
        event
    });
    let events = gateway.0.shutdown.until_closing(events);
    let headers = [
        (CONTENT_TYPE, STREAM),
        (CACHE_CONTROL, "no-cache"),
        UNBUFFERED,
    ];
    Ok((headers, Body::from_stream(events)).into_response())
}
