//! Orders are passed on to `orders`, with the user and the key of the request.

use axum::Extension;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use super::Gateway;
use super::auth::Caller;
use crate::web::{self, Problem};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const USER: HeaderName = HeaderName::from_static("x-user");

/// `POST /orders`. The answer names the key of the request, also if the gateway made it: the same
/// request with the same key is never a second order.
pub(super) async fn place(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = body.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let key = match web::field(&headers, &KEY)? {
        Some(key) => key.to_owned(),
        None => Uuid::now_v7().to_string(),
    };
    let orders = &gateway.0.orders;
    let request = orders
        .post("/orders")
        .header(USER, &caller.user)
        // It lets the stack repeat the request.
        .header(KEY, &key)
        .header(CONTENT_TYPE, "application/json")
        .body(body);
    let mut response = orders
        .forward(request)
        .await
        .unwrap_or_else(IntoResponse::into_response);
    let status = response.status().as_u16();
    tracing::info!(user = caller.user, key, status, "order answered");
    if let Ok(key) = HeaderValue::try_from(key) {
        response.headers_mut().insert(KEY, key);
    }
    Ok(response)
}

/// `GET /orders/{id}`
pub(super) async fn show(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    // Other IDs could change the path.
    if id.parse::<Uuid>().is_err() {
        let text = format!("no order has the ID {}", id.escape_debug());
        return Err(Problem::new(StatusCode::NOT_FOUND, text));
    }
    let orders = &gateway.0.orders;
    let request = orders.get(&format!("/orders/{id}"));
    orders.forward(request.header(USER, caller.user)).await
}

/// `GET /orders`
pub(super) async fn list(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let orders = &gateway.0.orders;
    let request = orders.get("/orders").header(USER, caller.user);
    orders.forward(request).await
}
