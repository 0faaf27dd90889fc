//! What the HTTP services share.

use std::error::Error as StdError;
use std::future::IntoFuture;
use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use mainstay::shutdown::Shutdown;
use mainstay::{BoxError, Reason, Rejection};
use serde::Serialize;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tonic::{Code, Status};

use crate::message::{self, Failure};

/// When to try again if nobody knows it better.
const AGAIN: Duration = Duration::from_secs(1);

/// A connection whose other end is silent for this long is closed.
const GONE: Duration = Duration::from_secs(60);

/// Serves these routes until the shutdown.
///
/// # Errors
///
/// The server failed, or had to be cut off.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    shutdown: &Shutdown,
) -> Result<(), BoxError> {
    let listener = listener.tap_io(|connection| {
        if let Err(error) = prepare(connection) {
            tracing::debug!(%error, "a connection is as the system makes it");
        }
    });
    let routes = routes.layer(shutdown.close_connections());
    let server = axum::serve(listener, routes).with_graceful_shutdown(shutdown.closing());
    shutdown.run(server.into_future()).await??;
    Ok(())
}

fn prepare(connection: &TcpStream) -> std::io::Result<()> {
    // Without it, the pieces of an event stream wait for each other.
    connection.set_nodelay(true)?;
    // A caller that is gone without a word does not hold its streams for a quarter of an hour.
    let socket = SockRef::from(connection);
    let alive = TcpKeepalive::new().with_time(GONE / 4);
    socket.set_tcp_keepalive(&alive.with_interval(GONE / 12))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(GONE))?;
    Ok(())
}

/// A header of a request, if it has one to 64 visible ASCII characters.
///
/// # Errors
///
/// It has others. The text names the header, its value and the rule.
pub fn field<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let bytes = value.as_bytes();
    let is_valid = (1..=64).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    match value.to_str() {
        Ok(value) if is_valid => Ok(Some(value)),
        _ => {
            let shown: String = String::from_utf8_lossy(bytes).chars().take(80).collect();
            let rule = "must have from 1 to 64 visible ASCII characters";
            let text = format!("{name} = {shown:?} is refused: {rule}");
            Err(Problem::new(StatusCode::BAD_REQUEST, text))
        }
    }
}

/// Why a request has no other answer, as JSON of the type `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The same for all.
    r#type: &'static str,
    title: &'static str,
    status: u16,
    /// One sentence for people.
    detail: String,
    /// The service that did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<&'static str>,
    #[serde(skip)]
    retry_after: Option<Duration>,
}

impl Problem {
    /// A problem with this status.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail: detail.into(),
            upstream: None,
            retry_after: None,
        }
    }

    /// The same, with the time after which a new attempt can succeed.
    #[must_use]
    pub const fn after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// The problem of a request whose upstream gave no answer: 503, or 504 if its time was over, with
    /// the time after which a new attempt can succeed.
    #[must_use]
    pub fn of_upstream(upstream: &'static str, error: &(dyn StdError + 'static)) -> Self {
        let rejection = Rejection::find(error);
        let (status, what) = match rejection.map(Rejection::reason) {
            Some(Reason::TimedOut | Reason::DeadlinePassed) => {
                (StatusCode::GATEWAY_TIMEOUT, "did not answer in time")
            }
            Some(Reason::CircuitOpen) => {
                let what = "has failed too often, so it is not called for a while";
                (StatusCode::SERVICE_UNAVAILABLE, what)
            }
            Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "has too much to do"),
            None => of_transport(error),
        };
        let after = rejection.and_then(Rejection::retry_after).unwrap_or(AGAIN);
        Self {
            upstream: Some(upstream),
            retry_after: Some(after),
            ..Self::new(status, format!("{upstream} {what}"))
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

fn of_transport(error: &(dyn StdError + 'static)) -> (StatusCode, &'static str) {
    if let Some(status) = error.downcast_ref::<Status>() {
        return match status.code() {
            Code::DeadlineExceeded | Code::Cancelled => {
                (StatusCode::GATEWAY_TIMEOUT, "did not answer in time")
            }
            Code::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "cannot be reached"),
            _ => (StatusCode::BAD_GATEWAY, "failed"),
        };
    }
    // Whether it was handled is unknown, but all requests of the shop may be repeated.
    (StatusCode::SERVICE_UNAVAILABLE, "cannot be reached")
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let status = match failure.code {
            message::Code::Invalid => StatusCode::BAD_REQUEST,
            message::Code::NotFound | message::Code::UnknownPattern => StatusCode::NOT_FOUND,
            message::Code::Declined => StatusCode::CONFLICT,
            message::Code::Overloaded | message::Code::NotSent => StatusCode::SERVICE_UNAVAILABLE,
            message::Code::Lost | message::Code::Unknown => StatusCode::BAD_GATEWAY,
            message::Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            message::Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let is_unavailable = status == StatusCode::SERVICE_UNAVAILABLE;
        let after = failure.retry_after_ms.map(Duration::from_millis);
        // Callers need not know what is inside: the addresses and the errors of databases.
        let detail = match failure.code {
            message::Code::NotSent | message::Code::Lost => "a service gives no answer",
            message::Code::Unknown | message::Code::Internal => "the request has failed",
            _ => &failure.message,
        };
        let problem = Self {
            retry_after: after.or(is_unavailable.then_some(AGAIN)),
            ..Self::new(status, detail)
        };
        if problem.detail != failure.message {
            tracing::warn!(%failure, "a request has failed");
        }
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(&self)).into_response();
        let headers = response.headers_mut();
        let problem = axum::http::HeaderValue::from_static("application/problem+json");
        headers.insert(CONTENT_TYPE, problem);
        if let Some(after) = self.retry_after {
            // In whole seconds, and never too early.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, seconds.max(1).into());
        }
        response
    }
}
