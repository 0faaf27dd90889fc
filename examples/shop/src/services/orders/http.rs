//! The routes of `orders`. The gateway has authenticated the user.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use mainstay::Context;
use serde_json::json;
use tokio::time::timeout;
use uuid::Uuid;

use super::order::{Order, Request};
use super::prices::Prices;
use super::sagas::{PATIENCE, Progress, Sagas, now};
use super::store::Orders;
use crate::message::{Code, Failure};
use crate::saga;
use crate::web::{self, Problem};

/// Who places an order.
const USER: HeaderName = HeaderName::from_static("x-user");
/// A request with the key of an order that is there is answered with that order.
const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// How long a request waits for the end of its order.
const WAIT: Duration = Duration::from_secs(2);
/// The answer needs a part of the caller's time, too.
const MARGIN: Duration = Duration::from_millis(250);
/// The longest body, in bytes.
const LONGEST: usize = 64 * 1024;
/// The most orders that have not come to their end. While a service is down, all wait in memory.
const MOST_OPEN: usize = 10_000;
/// The most of one user, who cannot keep the others from ordering.
const MOST_OPEN_OF_USER: usize = 500;
/// The most orders in a list.
const MOST: u32 = 100;

/// What the routes need. Clones share it.
#[derive(Debug, Clone)]
pub struct Shop {
    /// The database.
    pub orders: Orders,
    /// Of the catalogue.
    pub prices: Prices,
    /// What goes on with orders that are stored.
    pub sagas: Sagas,
}

/// The routes, without a stack.
pub fn routes(shop: Shop) -> Router {
    Router::new()
        .route("/orders", post(place).get(list))
        .route("/orders/{id}", get(show))
        .layer(DefaultBodyLimit::max(LONGEST))
        .with_state(shop)
}

async fn place(
    State(shop): State<Shop>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let (user, key) = (field(&headers, &USER)?, field(&headers, &KEY)?);
    let request: Request = serde_json::from_slice(&body).map_err(|error| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            format!("the body is refused: {error}"),
        )
    })?;
    request.check()?;
    let (order, is_new) = match shop.orders.with_key(user, key).await? {
        Some(known) => (known, false),
        None => {
            check_room(&shop.sagas, user)?;
            let total = shop.prices.total(&request.items).await?;
            let order = new_order(user.to_owned(), key.to_owned(), &request, total);
            let id = order.id.clone();
            let placed = shop.orders.place(order).await?;
            // Another request with the same key may have come first.
            let is_new = placed.id == id;
            (placed, is_new)
        }
    };
    if order.items != request.items {
        let text = format!("idempotency-key = {key:?} is refused: another order has it");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, text));
    }
    let progress = end_of(&shop, order, is_new).await;
    Ok(answer(&progress))
}

/// Refuses a new order while too many have not come to their end.
fn check_room(sagas: &Sagas, user: &str) -> Result<(), Problem> {
    let (all, of_user) = sagas.open(user);
    if of_user >= MOST_OPEN_OF_USER {
        let text =
            format!("{user} has {of_user} open orders, which is the limit: wait for their end");
        // So late that the gateway leaves the repetition to its caller: one user must not use up the
        // retries of all.
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, text).after(PATIENCE));
    }
    if all >= MOST_OPEN {
        let text = format!("{all} orders are open, which is the limit");
        return Err(Failure::new(Code::Overloaded, text).into());
    }
    Ok(())
}

fn new_order(user: String, key: String, request: &Request, total: i64) -> Order {
    let id = Uuid::now_v7().to_string();
    let correlation_id = Context::current().correlation_id().map(ToString::to_string);
    Order {
        correlation_id: correlation_id.unwrap_or_else(|| id.clone()),
        id,
        user,
        key,
        state: saga::State::FIRST,
        total,
        items: request.items.clone(),
        reason: None,
        placed_at: now(),
    }
}

/// Waits for the end of an order, but not longer than its caller does.
async fn end_of(shop: &Shop, order: Order, is_new: bool) -> Progress {
    let left = Context::current().remaining().unwrap_or(WAIT);
    let wait = left.saturating_sub(MARGIN).min(WAIT);
    let mut progress = shop.sagas.start(order, is_new);
    let is_end = |progress: &Progress| progress.order.state.is_end();
    // Late, or the saga is over.
    let _ = timeout(wait, progress.wait_for(is_end)).await;
    let mut last = progress.borrow().clone();
    if !is_end(&last)
        && progress.has_changed().is_err()
        && let Ok(Some(order)) = shop.orders.get(&last.order.id).await
    {
        last.order = order;
    }
    last
}

fn answer(Progress { order, waiting_for }: &Progress) -> Response {
    match order.state {
        saga::State::Confirmed => {
            (StatusCode::CREATED, place_of(order), Json(order)).into_response()
        }
        saga::State::Compensated => {
            (StatusCode::CONFLICT, place_of(order), Json(order)).into_response()
        }
        _ => {
            let mut body = json!(order);
            if let Some(reason) = waiting_for {
                body["waiting_for"] = json!(reason);
            }
            (StatusCode::ACCEPTED, place_of(order), Json(body)).into_response()
        }
    }
}

fn place_of(order: &Order) -> [(HeaderName, HeaderValue); 1] {
    let place = HeaderValue::from_str(&format!("/orders/{}", order.id));
    // An ID has only characters of a header.
    [(
        LOCATION,
        place.unwrap_or(HeaderValue::from_static("/orders")),
    )]
}

async fn show(
    State(shop): State<Shop>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Order>, Problem> {
    let user = field(&headers, &USER)?;
    let order = shop.orders.get(&id).await?;
    // Another user's order is no different from none.
    let order = order.filter(|order| order.user == user);
    let none = || Problem::new(StatusCode::NOT_FOUND, format!("no order has the ID {id:?}"));
    order.map(Json).ok_or_else(none)
}

async fn list(State(shop): State<Shop>, headers: HeaderMap) -> Result<Json<Vec<Order>>, Problem> {
    let user = field(&headers, &USER)?;
    Ok(Json(shop.orders.of_user(user, MOST).await?))
}

/// A header that must be there.
fn field<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, Problem> {
    web::field(headers, name)?.ok_or_else(|| {
        let text = format!("{name} is missing: must have from 1 to 64 visible ASCII characters");
        Problem::new(StatusCode::BAD_REQUEST, text)
    })
}
