//! An axum router of one route: bare, in a standard stack, and in the nearest layers of tower and tower-http.

use std::future;
use std::time::Duration;

use axum::Router;
use axum::error_handling::HandleErrorLayer;
use axum::http::StatusCode;
use axum::routing::get;
use mainstay::BoxError;
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};

use crate::stacks::http_server;

pub(crate) fn router() -> Router {
    Router::new().route("/", get(async || "created"))
}

pub(crate) fn wrapped(router: Router) -> Result<Router, BoxError> {
    Ok(router.layer(http_server()?))
}

/// The nearest layers of tower and tower-http: a request ID in both heads, one limit for all, a
/// time limit. They read no deadline from the request, adapt no limit, and release the permit at
/// the head of the response.
pub(crate) fn in_tower(router: Router) -> Router {
    let refused = |_: BoxError| future::ready(StatusCode::SERVICE_UNAVAILABLE);
    router.layer(
        ServiceBuilder::new()
            .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
            .layer(PropagateRequestIdLayer::x_request_id())
            .layer(HandleErrorLayer::new(refused))
            .load_shed()
            .layer(GlobalConcurrencyLimitLayer::new(256))
            .timeout(Duration::from_secs(2)),
    )
}
