//! The time limit of a call over HTTP or gRPC.

mod body;
mod builder;
mod handle;

use std::time::Duration;

use http::HeaderName;

pub use self::body::BodyLimits;
pub use self::handle::TimeoutHandle;
use super::deadline::{Form, GRPC_TIMEOUT, TIMEOUT_MS};
use super::head::{ContentType, HttpRequest};
use crate::layers::deadline::{FLOOR, at_least};
use crate::layers::timeout::{
    self, CallLimit, LimitPolicy, LimitSource, Own, PerRequest, Role, Snapshot, StateOf,
    TimeoutBuilder, Upload,
};
use crate::vocabulary::overrides::{CallOverrides, CallSettings, Overrides};
use crate::vocabulary::sealed::Sealed;

/// Builds a time limit for HTTP and gRPC. Default 30 seconds. It reads the caller's limit, and can
/// cover the response body.
///
/// ```
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use mainstay::{Reason, RespondLayer};
/// use std::convert::Infallible;
/// use std::time::Duration;
/// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), mainstay::ConfigError> {
/// let mut service = ServiceBuilder::new()
///     .layer(RespondLayer::new())
///     .layer(mainstay::http::timeout().timeout(Duration::from_secs(2)).build()?)
///     .service(service_fn(|_: Request<()>| async {
///         std::future::pending::<()>().await;
///         Ok::<_, Infallible>(Response::new(Full::<bytes::Bytes>::default()))
///     }));
///
/// let request = Request::builder().header("x-request-timeout-ms", "20").body(()).unwrap();
/// let response = service.ready().await.unwrap().call(request).await.unwrap();
/// assert_eq!(response.status(), 504);
/// # Ok(())
/// # }
/// ```
///
/// # Which limit applies
///
/// The shortest of these:
///
/// - [`timeout`](TimeoutBuilder::timeout), which is therefore the most that a caller can ask for,
///   or the limit that the request's [`Overrides`](crate::Overrides) set instead;
/// - the deadline of the [`Context`](crate::Context);
/// - the request's own limit, as `reqwest::Request` can have one;
/// - the caller's limit: `grpc-timeout`, or `x-request-timeout-ms` in milliseconds.
///
/// A header with an invalid value, or with several values, is ignored. A value under the
/// [floor](TimeoutBuilder::inbound_floor) of 10 milliseconds counts as the floor. With zero the
/// call is rejected as [`Reason::DeadlinePassed`](crate::Reason::DeadlinePassed), before it reaches
/// the inner service.
///
/// # Trust
///
/// By default it trusts every caller: a deadline shortens only that caller's call, and is
/// propagated to the upstream services. At the edge of a system, switch this off with
/// [`ignore_inbound`](TimeoutBuilder::ignore_inbound), or in a standard stack with
/// [`ignore_inbound_deadline`](crate::stack::ServerBuilder::ignore_inbound_deadline).
///
/// # The margin of gRPC
///
/// A gRPC call ends shortly before its caller's limit: earlier by a tenth of the limit, at least 1
/// millisecond, at most 5, and never more than half of the limit. The reasons: an answer after the
/// caller's limit is lost, a timer's resolution is 1 millisecond, and tonic's server and channel
/// have their own limit for the same header, which yields `CANCELLED`. The caller thus gets
/// `DEADLINE_EXCEEDED` if its limit is over 2 milliseconds and the answer arrives within the
/// margin.
///
/// # Uploads
///
/// The default limit does not end a request whose body makes progress: each piece of the body
/// restarts the 30 seconds, like nginx's timeout between two reads. So an upload of an hour
/// succeeds, a stalled one ends, and a handler has 30 seconds to answer once it has read the body.
/// A limit that is set, here or by the caller, is strict.
///
/// It watches the bodies of axum, tonic and reqwest, and http-body-util's `BoxBody` and
/// `UnsyncBoxBody` of `Bytes` with the errors `BoxError`, `std::io::Error`, `Infallible` and
/// `hyper::Error`. They are boxed once more, unless they are empty. A piece over 64 KiB also gets
/// the time that it needs at 1 Mbit/s, because the transport takes it at once. A body in memory
/// (`Full<Bytes>`, reqwest's) is one such piece. Any other body, such as `hyper::body::Incoming`,
/// cannot be watched, and the limit is strict: put such a body into a box, or set a limit.
///
/// A service that waits for the rest of a body cannot answer. A call that ends meanwhile, by its
/// caller or by a time limit, is no evidence against the service to an inner circuit breaker or
/// adaptive limit. In gRPC it is, because a caller may wait for an answer before it sends more.
///
/// # Response bodies
///
/// In HTTP the layer's limit ends at the head of the response, unless
/// [`whole_body`](TimeoutBuilder::whole_body) is set. In gRPC a limit covers the whole call: if it
/// is set, here or by the caller, it also ends a streaming response, with the status
/// `DEADLINE_EXCEEDED`. The default limit covers the head only. A response body runs within the
/// deadline that applies to it: the same one if the limit covers the body, otherwise the caller's
/// or the context's.
///
/// A body without progress is ended after [`body_idle`](TimeoutBuilder::body_idle), which releases
/// its permits and memory. See [`TimedBody`](super::TimedBody).
///
/// In [shadow mode](crate::Mode::Shadow) bodies have no limits. Only the time to the head of a
/// response is compared with the limit.
///
/// The layer works on any `http::Response`, on servers and around clients, and on
/// `reqwest::Response` (feature `reqwest`), whose body is boxed once more.
pub fn timeout() -> TimeoutBuilder<HttpLimit<String>, BodyLimits> {
    let policy = HttpLimit {
        floor: FLOOR,
        header: TIMEOUT_MS.as_str().to_owned(),
        trusts_inbound: true,
        of_stack: false,
    };
    let role = Role::with_default(LimitSource::Default);
    TimeoutBuilder::of(policy, BodyLimits::DEFAULT, role)
}

/// The time limit of a request: the layer's limit and the limit in the request's headers.
#[derive(Debug, Clone)]
pub struct HttpLimit<N = HeaderName> {
    /// The minimum of a limit in the headers.
    pub(crate) floor: Duration,
    pub(crate) header: N,
    pub(crate) trusts_inbound: bool,
    /// Whether it limits the whole calls of a standard stack.
    pub(crate) of_stack: bool,
}

impl<N> Sealed for HttpLimit<N> {}

impl<N> LimitPolicy for HttpLimit<N> {
    type Handle = TimeoutHandle;

    fn handle(state: StateOf<'_>) -> TimeoutHandle {
        TimeoutHandle::new(state.0)
    }
}

impl<Req: HttpRequest> PerRequest<Req> for HttpLimit {
    #[inline]
    fn limit(&self, own: &Own<'_>, request: &Req) -> Option<CallLimit> {
        if own.has_methods()
            && ContentType::of(request.headers()).is_grpc()
            && let Some(limit) = own.of_method(request.path())
        {
            return limit;
        }
        own.limit()
    }

    #[inline]
    fn overrides(&self, request: &Req) -> CallOverrides {
        let own = request.overrides();
        let settings = CallSettings::of(own);
        CallOverrides {
            limit: if self.of_stack {
                settings.call_limit()
            } else {
                settings.limit()
            },
            priority: Overrides::priority_of(own),
        }
    }

    #[inline]
    fn asked(&self, request: &Req, is_on: bool) -> Option<Duration> {
        let own = request.timeout();
        if !(self.trusts_inbound && is_on) {
            return own;
        }
        let headers = request.headers();
        let grpc = Form::Grpc.of_header(headers, &GRPC_TIMEOUT);
        let grpc = grpc.map(|grpc| without_margin(at_least(self.floor, grpc)));
        let http = Form::Millis.of_header(headers, &self.header);
        let http = http.map(|http| at_least(self.floor, http));
        [grpc, http, own].into_iter().flatten().min()
    }

    #[inline]
    fn upload(&self, request: &mut Req, is_default: bool) -> Upload {
        let is_grpc = ContentType::of(request.headers()).is_grpc();
        if is_grpc && !is_default {
            return Upload::None;
        }
        match request.upload() {
            Upload::Moves(progress) if is_grpc => Upload::Converses(progress),
            upload => upload,
        }
    }
}

/// The time limit of an attempt in a standard stack.
#[derive(Debug, Clone, Copy)]
pub struct AttemptLimit(pub(crate) ());

impl Sealed for AttemptLimit {}

impl LimitPolicy for AttemptLimit {
    type Handle = timeout::TimeoutHandle;

    fn handle(state: StateOf<'_>) -> timeout::TimeoutHandle {
        state.plain_handle()
    }
}

impl<Req: HttpRequest> PerRequest<Req> for AttemptLimit {
    #[inline]
    fn limit(&self, own: &Own<'_>, _: &Req) -> Option<CallLimit> {
        own.limit()
    }

    #[inline]
    fn overrides(&self, request: &Req) -> CallOverrides {
        let settings = CallSettings::of(request.overrides());
        settings.attempt_limit().into()
    }
}

/// The caller's limit without the margin for the answer.
fn without_margin(limit: Duration) -> Duration {
    const MIN: Duration = Duration::from_millis(1);
    const MAX: Duration = Duration::from_millis(5);
    limit - (limit / 10).clamp(MIN, MAX).min(limit / 2)
}

#[cfg(test)]
mod tests;
