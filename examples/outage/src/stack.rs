//! The only difference between the two runs: [`Stack::gateway`].

use std::time::Duration;

use axum::http::StatusCode;
use axum::{
    Router,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use mainstay::{ConfigError, Error, http};
use reqwest::{Method, Url};
use tower::{BoxError, Service, ServiceExt};

use crate::{
    gateway::{Backend, CircuitLog},
    route::Route,
};

/// The time limit of a call with all its attempts: a little less than the second that a user waits.
const TOTAL: Duration = Duration::from_millis(800);
/// The time limit of an attempt: about fifty times what a healthy upstream needs.
const ATTEMPT: Duration = Duration::from_millis(200);
/// The limit of attempts in flight to one upstream: less than half of the gateway's limit, so that
/// neither upstream can use it up.
const IN_FLIGHT: u32 = 40;

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

    /// The router of the gateway. With the stack, there is a standard stack around each client and
    /// one around the routes.
    pub(crate) fn gateway(
        self,
        backends: [Backend; Route::COUNT],
        circuits: &CircuitLog,
    ) -> Result<Router, BoxError> {
        let mut router = Router::new();
        for (route, Backend { wire, url }) in Route::ALL.into_iter().zip(backends) {
            let handler = match self {
                Self::Without => handler(wire, url),
                Self::With => handler(client_stack(route, circuits)?.wrap(wire), url),
            };
            router = router.route(route.path(), handler);
        }
        Ok(match self {
            Self::Without => router,
            Self::With => router.layer(http::server("gateway").timeout(TOTAL).build()?),
        })
    }
}

fn client_stack(route: Route, circuits: &CircuitLog) -> Result<http::ClientStack, ConfigError> {
    let stack = http::client(route.upstream())
        .timeout(TOTAL)
        .attempt_timeout(ATTEMPT)
        .circuit_breaker(
            http::circuit_breaker()
                .consecutive_failures(5)
                .open_for(Duration::from_millis(500))
                .open_max(Duration::from_secs(2))
                .probes(1),
        )
        .bulkhead(IN_FLIGHT);
    match route {
        Route::Catalog => stack.observer(circuits.observer()).build(),
        Route::Pricing => stack.build(),
    }
}

/// The handler of both routes in both runs.
fn handler<C>(client: C, url: Url) -> MethodRouter
where
    C: Service<reqwest::Request, Response = reqwest::Response> + Clone + Send + Sync + 'static,
    C::Error: Answer + Send,
    C::Future: Send,
{
    get(move || {
        let (client, request) = (
            client.clone(),
            reqwest::Request::new(Method::GET, url.clone()),
        );
        async move {
            match client.oneshot(request).await {
                Ok(response) => forward(response).await,
                Err(error) => error.answer(),
            }
        }
    })
}

/// Forwards a success. A failure of the upstream becomes a 502.
async fn forward(response: reqwest::Response) -> Response {
    if !response.status().is_success() {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    match response.bytes().await {
        Ok(body) => body.into_response(),
        Err(error) => error.answer(),
    }
}

/// Turns an error of a client into a response for the gateway's caller.
trait Answer {
    fn answer(self) -> Response;
}

impl Answer for reqwest::Error {
    fn answer(self) -> Response {
        if self.is_timeout() {
            StatusCode::GATEWAY_TIMEOUT.into_response()
        } else {
            StatusCode::BAD_GATEWAY.into_response()
        }
    }
}

impl Answer for Error<reqwest::Error> {
    fn answer(self) -> Response {
        match self {
            Self::Rejected(rejection) => rejection.into_response(),
            Self::Inner(error) => error.answer(),
        }
    }
}
