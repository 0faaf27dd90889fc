//! The upstreams that speak HTTP, and the time of all of them.

use std::borrow::Cow;
use std::future::Future;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_TYPE, HeaderName, LOCATION, RETRY_AFTER};
use axum::response::Response;
use mainstay::reqwest::{Client, SendThrough};
use mainstay::stack::{ClientStack, Http};
use mainstay::{BoxError, ConfigError, Context, Overrides, http};
use reqwest::{RequestBuilder, redirect, retry};

use crate::stacks;
use crate::web::Problem;

/// The time limit of a request with all its attempts.
const TIMEOUT: Duration = Duration::from_millis(4_700);
/// And of each attempt. `orders` answers before it, also if the order is still at work.
const ATTEMPT: Duration = Duration::from_millis(2_300);
const ATTEMPTS: u32 = 2;
/// The answer needs a part of the time, too.
const MARGIN: Duration = Duration::from_millis(250);
/// How long a connection may take to open.
const CONNECT: Duration = Duration::from_millis(500);
/// The longest answer that is passed on, in bytes.
const LONGEST: usize = 4 << 20;
/// The headers of an answer that are passed on.
const PASSED: [HeaderName; 3] = [CONTENT_TYPE, LOCATION, RETRY_AFTER];

/// Gives a call at most this time, and less if the request that it is part of has less. Some time is
/// left for the answer to that request.
pub(super) async fn within<F: Future>(most: Duration, call: F) -> F::Output {
    let limit = match Context::current().remaining() {
        Some(left) => most.min(left - (left / 5).min(MARGIN)),
        None => most,
    };
    let limits = Overrides::new().timeout(limit);
    limits.scope(call).await
}

/// An upstream that speaks HTTP.
pub(super) struct Upstream {
    name: &'static str,
    url: String,
    http: reqwest::Client,
    client: Client,
}

/// A stack without layers.
fn bare(name: &str) -> Result<ClientStack<Http>, ConfigError> {
    let stack = mainstay::reqwest::client(name)
        .without_timeout()
        .without_retry()
        .without_circuit_breaker()
        .without_deadline();
    stack.without_correlation().build()
}

impl Upstream {
    pub(super) fn new(name: &'static str, address: &str) -> Result<Self, BoxError> {
        let url = format!("http://{address}");
        if !reqwest::Url::parse(&url).is_ok_and(|url| url.has_host() && url.path() == "/") {
            return Err(format!("{name} = {address} is refused: must be HOST:PORT").into());
        }
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT)
            // The stack retries.
            .retry(retry::never())
            .build()?;
        let stack = mainstay::reqwest::client(name)
            .timeout(TIMEOUT)
            .attempt_timeout(ATTEMPT)
            .retry(ATTEMPTS)
            .circuit_breaker(
                http::circuit_breaker()
                    .min_calls(10)
                    .open_for(Duration::from_secs(1))
                    .open_max(Duration::from_secs(5)),
            )
            // Orders that cannot be placed do not hide those that are there.
            .keyed(|request| Cow::Borrowed(request.method().as_str()))
            .build()?;
        let stack = match stacks::unless_removed(stack) {
            Some(stack) => stack,
            None => bare(name)?,
        };
        Ok(Self {
            name,
            url,
            client: stack.wrap(http.clone()),
            http,
        })
    }

    pub(super) fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("{}{path}", self.url))
    }

    /// A POST. It needs an `Idempotency-Key` to be repeated.
    pub(super) fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.url))
    }

    /// Sends a request through the stack.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<reqwest::Response, Problem> {
        let sent = within(TIMEOUT, request.send_through(&self.client)).await;
        sent.map_err(|error| {
            let problem = Problem::of_upstream(self.name, &error);
            tracing::warn!(upstream = self.name, %error, "no answer");
            problem
        })
    }

    /// Sends a request, and passes the whole answer on.
    pub(super) async fn forward(&self, request: RequestBuilder) -> Result<Response, Problem> {
        let response = self.send(request).await?;
        self.pass(response).await
    }

    /// Passes a whole answer on.
    pub(super) async fn pass(&self, mut answer: reqwest::Response) -> Result<Response, Problem> {
        let mut body = Vec::new();
        loop {
            let chunk: Option<Bytes> = answer.chunk().await.map_err(|error| {
                tracing::warn!(upstream = self.name, %error, "the answer is cut");
                Problem::of_upstream(self.name, &error)
            })?;
            match chunk {
                Some(chunk) if body.len() + chunk.len() <= LONGEST => body.extend(chunk),
                Some(_) => {
                    let text =
                        format!("the answer of {} is longer than {LONGEST} bytes", self.name);
                    return Err(Problem::new(axum::http::StatusCode::BAD_GATEWAY, text));
                }
                None => break,
            }
        }
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = answer.status();
        for name in PASSED {
            if let Some(value) = answer.headers().get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        Ok(response)
    }
}
