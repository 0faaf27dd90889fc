//! reqwest: its client as the innermost service of a stack, and its request builder sent through
//! the stack.
//!
//! reqwest's client is a tower service, so every layer can wrap it. But its `RequestBuilder` sends
//! only through the bare client. [`SendThrough`] sends it through a stack.
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
//! `reqwest::Error` grows into [`mainstay::Error<reqwest::Error>`](crate::Error). With a `BoxError` stack, [`Rejection::find`](crate::Rejection::find)
//! finds a rejection.
//!
//! # What is retried
//!
//! [`HttpRetry`](crate::http::HttpRetry) says which requests are retried. A request whose body is a
//! stream is sent again, too, as long as no more of it has been read than
//! [`replay_limit`](crate::RetryBuilder::replay_limit) says: see [`ReplayBody`]. Errors that would
//! be the same again (a request that cannot be built, too many redirects, a response that cannot be
//! read) are not retried.
//!
//! reqwest follows redirects by itself. When there was no connection, it does not tell whether that
//! was the first request or one after a redirect. So a request that may not be repeated is not sent
//! again even then: the first server may have done the work.
//!
//! # reqwest's own retries
//!
//! A client with nothing set sends a request again that HTTP/2 refused unseen, up to twice. With three attempts that makes nine requests, of which no
//! circuit breaker, bulkhead or budget here sees more than three. So build the client with `retry(reqwest::retry::never())`, as above. Nothing about a client tells
//! whether it was. When such a refusal comes out of reqwest, the retry layer logs it at the level `DEBUG` (features `http2` and `tracing`).
//!
//! A POST that was refused is then sent once. reqwest follows redirects by itself, so the refusal may be that of a second request. To send it
//! again, give it an `Idempotency-Key`.
//!
//! # What it rejects, what a clone shares
//!
//! Nothing by itself. `send_through` calls a clone of the stack, which shares what the layers share: everything that counts.
//!
//! # Cancellation
//!
//! Dropping the future of `send_through` drops the call.
//!
//! # Cost
//!
//! One clone of the stack per request.

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

/// It is left as it is: its body is read from a peer, and nobody's code runs there.
impl WholeReply for Response {}

impl HttpRequest for Request {
    fn method(&self) -> &Method {
        self.method()
    }

    fn path(&self) -> &str {
        self.url().path()
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
        // Without a body there is nothing that could not be cloned.
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

/// What is kept of a [`reqwest::Request`].
pub struct KeptRequest {
    head: Request,
    body: Option<<Body as ReplayBody>::Kept>,
}

impl fmt::Debug for KeptRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the headers nor the query: they may hold secrets.
        f.debug_struct("KeptRequest")
            .field("method", self.head.method())
            .finish_non_exhaustive()
    }
}
