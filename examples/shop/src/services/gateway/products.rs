//! Products, from the catalogue, or as they were lately.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::TryStreamExt;
use mainstay::{BoxError, Overrides};
use serde::Serialize;
use tonic::{Code, Status};

use super::Gateway;
use super::memory::Memory;
use super::upstream::within;
use crate::services::catalog::{self, Client, proto};
use crate::web::Problem;

/// How old a product may be that is shown while the catalogue gives no answer.
const STALE: Duration = Duration::from_secs(300);
/// How many products are remembered.
const PRODUCTS: usize = 10_000;
/// The time limit for one product.
const ONE: Duration = Duration::from_secs(1);
/// And for the list, which may be long.
const ALL: Duration = Duration::from_millis(3_500);

/// A line of a list, or a product alone.
const LINES: &str = "application/x-ndjson";

#[derive(Debug, Clone, Serialize)]
pub(super) struct Product {
    id: String,
    name: String,
    /// In cents.
    price: i64,
    /// From the time before the catalogue stopped to answer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stale: bool,
}

impl From<proto::Product> for Product {
    fn from(product: proto::Product) -> Self {
        Self {
            id: product.id,
            name: product.name,
            price: product.price,
            stale: false,
        }
    }
}

/// The catalogue, and its last answers.
pub(super) struct Products {
    client: Client,
    known: Memory<String, Product>,
}

impl Products {
    pub(super) fn new(catalog: &str) -> Result<Self, BoxError> {
        Ok(Self {
            client: catalog::client(catalog)?,
            known: Memory::new(PRODUCTS),
        })
    }

    fn keep(&self, product: proto::Product) -> Product {
        let product = Product::from(product);
        self.known.keep(product.id.clone(), product.clone());
        product
    }
}

/// `GET /products/{id}`
pub(super) async fn show(
    State(gateway): State<Gateway>,
    Path(id): Path<String>,
) -> Result<Json<Product>, Problem> {
    let products = &gateway.0.products;
    let mut client = products.client.clone();
    let request = proto::GetProductRequest { id: id.clone() };
    match within(ONE, client.get_product(request)).await {
        Ok(found) => Ok(Json(products.keep(found.into_inner()))),
        Err(status) if status.code() == Code::NotFound => {
            products.known.forget(&id);
            Err(Problem::new(StatusCode::NOT_FOUND, status.message()))
        }
        Err(status) => match products.known.get(&id, STALE) {
            Some(known) => {
                metrics::counter!("shop_fallbacks_total", "upstream" => "catalog").increment(1);
                tracing::warn!(
                    error = status.message(),
                    "catalog gives no answer, last known"
                );
                Ok(Json(Product {
                    stale: true,
                    ..known
                }))
            }
            None => Err(Problem::of_upstream("catalog", &status)),
        },
    }
}

/// `GET /products`: an array, or with `accept: application/x-ndjson` a line for each product as it
/// comes.
pub(super) async fn list(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let failed = |status: Status| Problem::of_upstream("catalog", &status);
    let mut client = gateway.0.products.client.clone();
    // One attempt may take the whole time: it ends with the last product.
    let list = Overrides::new()
        .attempt_timeout(ALL)
        .scope(client.list(proto::ListRequest {}));
    let list = within(ALL, list).await.map_err(failed)?.into_inner();
    let products = list.map_ok(move |product| gateway.0.products.keep(product));
    let wants = headers.get(ACCEPT);
    if wants.is_none_or(|wants| wants != LINES) {
        let all: Vec<Product> = products.try_collect().await.map_err(failed)?;
        return Ok(Json(all).into_response());
    }
    let lines = products
        .map_err(BoxError::from)
        .and_then(async |product| Ok(serde_json::to_string(&product)? + "\n"));
    Ok(([(CONTENT_TYPE, LINES)], Body::from_stream(lines)).into_response())
}
