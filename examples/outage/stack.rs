//! The one difference between the two runs.

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use reqwest::Method;
use tower::{BoxError, ServiceExt};

use crate::gateway::Backend;

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

/// The same handler in a stack on either side of it.
fn with(backend: Backend) -> Result<Router, BoxError> {
    Ok(without(backend))
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
