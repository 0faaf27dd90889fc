//! reqwest: its client as the innermost service of a stack, and its request builder sent through
//! the stack.
//!
//! reqwest's client is a tower service, so every layer can wrap it. But its `RequestBuilder` sends
//! only through the bare client. [`SendThrough`] sends the request through a stack.
//!
//! ```no_run
//! use mainstay::reqwest::SendThrough;
//! use mainstay::{BoxError, CorrelationLayer, TimeoutLayer, http};
//! use std::time::Duration;
//! use tower::ServiceBuilder;
//!
//! # async fn example(url: &str, order: String) -> Result<(), BoxError> {
//! let client = reqwest::Client::builder()
//!     .retry(reqwest::retry::never())
//!     .build()?;
//! let payments = ServiceBuilder::new()
//!     .layer(CorrelationLayer::client())
//!     .layer(http::retry().name("payments").build()?)
//!     .layer(http::circuit_breaker().name("payments").build()?)
//!     .layer(TimeoutLayer::new(Duration::from_secs(2)))
//!     .service(client.clone());
//!
//! let receipt = client.post(url).body(order).send_through(&payments).await?.text().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Errors
//!
//! `reqwest::Error` grows into [`mainstay::Error<reqwest::Error>`](crate::Error). In a `BoxError`,
//! [`Rejection::find`](crate::Rejection::find) finds a rejection.
//!
//! # Retries
//!
//! [`HttpRetry`](crate::http::HttpRetry) decides which requests are retried. A streaming body can
//! be sent again while no more than [`replay_limit`](crate::RetryBuilder::replay_limit) of it has
//! been read: see [`ReplayBody`]. Errors that would repeat are not retried: a request that cannot
//! be built, too many redirects, a response that cannot be read.
//!
//! reqwest follows redirects itself. A connection error does not say whether it belongs to the
//! first request or to a redirected one. So a non-idempotent request is not retried even after a
//! connection error: the first server may have processed it.
//!
//! # reqwest's own retries
//!
//! By default, reqwest retries a request that HTTP/2 refused without processing it, up to twice.
//! Three attempts can then make nine requests, of which a circuit breaker, bulkhead or budget sees
//! only three. So build the client with `retry(reqwest::retry::never())`, as above. mainstay cannot
//! detect this setting. When reqwest returns such a refusal, the retry layer logs it at the level
//! `DEBUG` (features `http2` and `tracing`).
//!
//! A refused POST is then sent only once, because the refusal may belong to a redirected request.
//! To allow a retry, add an `Idempotency-Key`.
//!
//! # Rejections, clones, cancellation, cost
//!
//! The module rejects nothing itself. `send_through` clones the stack once for each request; the
//! clone shares all state of the layers. Dropping the future drops the call.

mod send;
mod stack;
mod timeout;
mod track;

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use reqwest::{Body, Request, Response};

use crate::layers::correlation::{Carry, WholeReply};
use crate::layers::timeout::Upload;
use crate::policy::retry::RetryRefused;
use crate::protocol::http::{HttpRequest, HttpResponse, ReplayBody, ReplayRequest, watch_reqwest};

pub use send::{SendFuture, SendThrough};
pub use stack::{Client, client};

impl Carry for Request {
    fn get(&self, field: &str) -> Option<&[u8]> {
        Carry::get(self.headers(), field)
    }

    fn set(&mut self, field: &str, value: &str) {
        self.headers_mut().set(field, value);
    }
}

impl Carry for Response {
    fn get(&self, field: &str) -> Option<&[u8]> {
        Carry::get(self.headers(), field)
    }

    fn set(&mut self, field: &str, value: &str) {
        self.headers_mut().set(field, value);
    }
}

/// The body is unchanged, because it comes from a peer and runs no user code.
impl WholeReply for Response {}

impl HttpRequest for Request {
    fn method(&self) -> &Method {
        self.method()
    }

    fn path(&self) -> &str {
        self.url().path()
    }

    fn scheme(&self) -> Option<&str> {
        Some(self.url().scheme())
    }

    fn authority(&self) -> Option<&str> {
        Some(self.url().authority()).filter(|authority| !authority.is_empty())
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }

    fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers_mut()
    }

    fn timeout(&self) -> Option<Duration> {
        self.timeout().copied()
    }

    fn upload(&mut self) -> Upload {
        self.body_mut().as_mut().map_or(Upload::None, watch_reqwest)
    }
}

impl HttpResponse for Response {
    fn status(&self) -> StatusCode {
        self.status()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }
}

impl ReplayRequest for Request {
    type Kept = KeptRequest;

    fn keep(&mut self, limit: usize) -> Option<KeptRequest> {
        let mut body = self.body_mut().take();
        // A request without a body can always be cloned.
        let head = self.try_clone();
        let kept = match &mut body {
            Some(body) => body.keep(limit).map(Some),
            None => Some(None),
        };
        *self.body_mut() = body;
        Some(KeptRequest {
            head: head?,
            body: kept?,
        })
    }

    fn again(kept: &mut KeptRequest) -> Result<Self, RetryRefused> {
        let mut request = kept.head.try_clone().ok_or(RetryRefused::Body)?;
        *request.body_mut() = match &mut kept.body {
            Some(body) => Some(Body::again(body)?),
            None => None,
        };
        Ok(request)
    }
}

/// The part of a [`reqwest::Request`] that is kept for a retry.
pub struct KeptRequest {
    head: Request,
    body: Option<<Body as ReplayBody>::Kept>,
}

impl fmt::Debug for KeptRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers and query may contain secrets.
        f.debug_struct("KeptRequest")
            .field("method", self.head.method())
            .finish_non_exhaustive()
    }
}
