//! The one difference between the two runs.

use std::time::Duration;

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use mainstay::{Error, http};
use reqwest::Method;
use tower::{BoxError, ServiceExt};

use crate::gateway::Backend;

/// What a call may take with all its attempts, three by default, of which each then may take 141 ms: some fifty times what the upstream
/// takes when it is well.
const TOTAL: Duration = Duration::from_millis(500);

/// Which gateway to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stack {
    Without,
    With,
}

impl Stack {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Without => "without",
            Self::With => "with",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Without => "Without",
            Self::With => "With",
        }
    }

    /// The gateway's router.
    pub(crate) fn gateway(self, backend: Backend) -> Result<Router, BoxError> {
        match self {
            Self::Without => Ok(without(backend)),
            Self::With => with(backend),
        }
    }
}

/// The bare client: nothing but its own time-out.
fn without(backend: Backend) -> Router {
    async fn handler(State(backend): State<Backend>) -> Response {
        let request = reqwest::Request::new(Method::GET, backend.url);
        match backend.wire.oneshot(request).await {
            Ok(response) => forward(response).await,
            Err(error) => failed(&error).into_response(),
        }
    }
    Router::new().route("/", get(handler)).with_state(backend)
}

/// The same handler, with a stack on either side of it.
fn with(backend: Backend) -> Result<Router, BoxError> {
    let upstream = http::client("upstream")
        .timeout(TOTAL)
        .circuit_breaker(
            http::circuit_breaker()
                .consecutive_failures(5)
                .open_for(Duration::from_millis(500))
                .open_max(Duration::from_secs(2))
                .probes(1),
        )
        .bulkhead(64)
        .build()?
        .wrap(backend.wire);
    let url = backend.url;
    let handler = move || {
        let (upstream, request) = (
            upstream.clone(),
            reqwest::Request::new(Method::GET, url.clone()),
        );
        async move {
            match upstream.oneshot(request).await {
                Ok(response) => forward(response).await,
                Err(Error::Rejected(rejection)) => rejection.into_response(),
                Err(Error::Inner(error)) => failed(&error).into_response(),
            }
        }
    };
    let server = http::server("gateway").timeout(TOTAL * 2).bulkhead(256);
    Ok(Router::new()
        .route("/", get(handler))
        .layer(server.build()?))
}

/// What the upstream answered; a failure of the upstream's is a bad gateway to the caller.
async fn forward(response: reqwest::Response) -> Response {
    if !response.status().is_success() {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    match response.bytes().await {
        Ok(body) => body.into_response(),
        Err(error) => failed(&error).into_response(),
    }
}

fn failed(error: &reqwest::Error) -> StatusCode {
    if error.is_timeout() {
        StatusCode::GATEWAY_TIMEOUT
    } else {
        StatusCode::BAD_GATEWAY
    }
}
