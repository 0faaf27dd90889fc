//! The routes of the gateway, behind the standard stack of a server.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use mainstay::stack::ServerStack;
use mainstay::{ConfigError, Error, http};
use serde::Serialize;

use crate::clients::{Catalog, Pricing};

/// The time limit of a request. A caller with less time sends `x-request-timeout-ms`.
const TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) fn stack() -> Result<ServerStack, ConfigError> {
    http::server("gateway").timeout(TIMEOUT).build()
}

pub(crate) fn routes(stack: ServerStack, catalog: Catalog, pricing: Pricing) -> Router {
    Router::new()
        .route("/products/{product}", get(product))
        .layer(stack)
        .with_state((catalog, pricing))
}

#[derive(Serialize)]
struct Product {
    description: String,
    /// A product is shown without its price if `pricing` fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    cents: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_price_because: Option<String>,
}

async fn product(
    State((catalog, pricing)): State<(Catalog, Pricing)>,
    Path(product): Path<String>,
) -> Result<Json<Product>, Failed> {
    let (description, cents) =
        tokio::join!(catalog.describe(&product), pricing.price(product.clone()));
    let (cents, no_price_because) = match cents {
        Ok(cents) => (Some(cents), None),
        Err(status) => (None, Some(status.message().to_owned())),
    };
    Ok(Json(Product {
        description: description.map_err(Failed)?,
        cents,
        no_price_because,
    }))
}

/// An error of the handler.
struct Failed(Error<reqwest::Error>);

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        match self.0 {
            // 503 or 504. An open circuit adds `Retry-After`.
            Error::Rejected(rejection) => rejection.into_response(),
            Error::Inner(error) => (
                StatusCode::BAD_GATEWAY,
                format!("{}\n", error.without_url()),
            )
                .into_response(),
        }
    }
}
