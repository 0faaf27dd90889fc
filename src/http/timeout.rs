//! The time limit of a call over HTTP or gRPC: the layer's own and the caller's.

use std::task::Context;
use std::time::Duration;

use http::{HeaderName, Response, StatusCode};
use http_body::Body;

use super::body_timed::TimedBody;
use super::body_watch::Limits;
use super::deadline::{Form, GRPC_TIMEOUT, TIMEOUT_MS, checked};
use super::head::{ContentType, HttpRequest};
use crate::config::OfInstance as _;
use crate::runtime::Moment;
use crate::timeout::{
    Answered, Asked, CallLimit, Cover, DEFAULT, LAYER, PerRequest, TimeoutBuilder, TimeoutLayer,
    check,
};
use crate::{BoxError, ConfigError, context};

/// A time limit that knows HTTP and gRPC: it reads the caller's own limit, and may cover the response's body.
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
/// # Whose limit counts
///
/// The shortest: [`timeout`](TimeoutBuilder::timeout) (30 seconds unless set), which is therefore also the most that a caller can ask for; the
/// deadline of the [`Context`](crate::Context); and the caller's, which stands in `grpc-timeout` (gRPC over HTTP/2's specification) or in
/// `x-request-timeout-ms`, the number of milliseconds. A value that makes no sense, or is given twice, is ignored. Zero is late already:
/// the inner service is not called, and the rejection is [`Reason::DeadlinePassed`](crate::Reason::DeadlinePassed).
///
/// A gRPC call is ended a little before its caller's time is over: a tenth of the time, at least 1 millisecond, at most 5, and never more than
/// half of it. tonic has a time limit of its own for the same header, in its transport server and in its channel, which says `CANCELLED`;
/// a timer's grain is 1 millisecond; and an answer that comes when the caller has given up is none. So what a caller sees of a
/// `grpc-timeout` is `DEADLINE_EXCEEDED` if its time is more than 2 milliseconds and the answer's way back is shorter than what was kept for it.
///
/// # Bodies
///
/// In HTTP the layer's own limit ends at the head of the response, unless it is to cover the [`whole_body`](TimeoutBuilder::whole_body). In gRPC a
/// limit is one of the whole call: one that was set, here or by the caller, also ends a response that is being streamed, with the
/// status `DEADLINE_EXCEEDED`. The default that nobody set ends only the wait for the head. Whatever a body does
/// happens within the deadline that holds for it: then the same one, else the caller's or the context's.
///
/// A body that makes no progress is ended after [`body_idle`](TimeoutBuilder::body_idle), which frees what it holds. See [`TimedBody`].
///
/// It works on any `http::Response`, on servers and around clients, and on reqwest's own (feature `reqwest`), whose body is then boxed once more.
pub fn timeout() -> TimeoutBuilder<HttpLimit<String>, BodyLimits> {
    let policy = HttpLimit {
        own: Some(DEFAULT),
        set: false,
        header: TIMEOUT_MS.as_str().to_owned(),
        trusts: true,
    };
    TimeoutBuilder::of(policy, BodyLimits::DEFAULT)
}

/// The time limit of a request: the layer's own, and what its headers ask for.
#[derive(Debug, Clone)]
pub struct HttpLimit<N = HeaderName> {
    /// `None`: no limit of its own.
    pub(crate) own: Option<Duration>,
    /// Whether somebody set it.
    pub(crate) set: bool,
    pub(crate) header: N,
    pub(crate) trusts: bool,
}

impl<Req: HttpRequest> PerRequest<Req> for HttpLimit {
    #[inline]
    fn limit(&self, _: &Req) -> Option<CallLimit> {
        let set = self.set;
        self.own.map(|length| CallLimit { length, set })
    }

    #[inline]
    fn asked(&self, request: &Req) -> Option<Duration> {
        if !self.trusts {
            return None;
        }
        let headers = request.headers();
        let grpc = Form::Grpc.of_header(headers, &GRPC_TIMEOUT).map(early);
        let http = Form::Millis.of_header(headers, &self.header);
        match (grpc, http) {
            (Some(grpc), Some(http)) => Some(grpc.min(http)),
            (grpc, http) => grpc.or(http),
        }
    }
}

/// When to end what its caller has so long for.
fn early(limit: Duration) -> Duration {
    const LEAST: Duration = Duration::from_millis(1);
    const MOST: Duration = Duration::from_millis(5);
    limit - (limit / 10).clamp(LEAST, MOST).min(limit / 2)
}

/// What of a response's body is limited.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    pub(crate) whole: bool,
    pub(crate) idle: Option<Duration>,
    /// Not even at the end of a call of gRPC.
    pub(crate) off: bool,
    /// For one call: the deadline that it came with.
    asked: Moment,
}

impl BodyLimits {
    pub(crate) const DEFAULT: Self = Self {
        whole: false,
        idle: Some(Duration::from_secs(60)),
        off: false,
        asked: Moment::NEVER,
    };
}

// The compiler is to speak of the response, not of what in its body is not `Unpin`.
#[diagnostic::do_not_recommend]
impl<B> Cover<Response<B>> for BodyLimits
where
    B: Body<Data: Send, Error: Into<BoxError>> + Unpin + Send + 'static,
{
    type Response = Response<TimedBody<B>>;

    fn begin(self, Asked(asked): Asked) -> Self {
        Self { asked, ..self }
    }

    fn cover(
        &self,
        response: Response<B>,
        call: &Answered<'_>,
        cx: &mut Context<'_>,
    ) -> Self::Response {
        let (head, body) = response.into_parts();
        let content_type = ContentType::of(&head.headers);
        // A limit of gRPC is one of the whole call, but for a default that nobody set: that one ends at the head.
        let whole = self.whole || content_type.is_grpc();
        let deadline = if whole {
            call.until.now().told()
        } else {
            self.asked.min(context::deadline().told())
        };
        let whole = whole && deadline != Moment::NEVER;
        let limited = (whole || self.idle.is_some())
            && !self.off
            && head.status != StatusCode::SWITCHING_PROTOCOLS
            && !body.is_end_stream();
        let body = if limited {
            let limits = Limits {
                whole,
                idle: self.idle,
                // Nothing can be the matter with a stream that says nothing for minutes.
                patient: content_type.is_grpc() || content_type == ContentType::Events,
                trailers: content_type == ContentType::Grpc,
                deadline,
                until: call.until,
                teller: call.teller.clone(),
            };
            TimedBody::limited(body, limits, cx)
        } else {
            TimedBody::alone(body, deadline)
        };
        Response::from_parts(head, body)
    }
}

impl TimeoutBuilder<HttpLimit<String>, BodyLimits> {
    /// How long a call may take at most: longer than nothing, at most 24 hours; 30 seconds by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.policy.own = Some(timeout);
        self.policy.set = true;
        self
    }

    /// Reads the caller's milliseconds from this header in place of `x-request-timeout-ms`.
    pub fn header(mut self, name: impl Into<String>) -> Self {
        self.policy.header = name.into();
        self
    }

    /// Does not let callers say how long they have: for the edge of a system, where they are strangers. Beneath tonic's transport server,
    /// tonic's own limit for `grpc-timeout` holds all the same.
    pub fn ignore_inbound(mut self) -> Self {
        self.policy.trusts = false;
        self
    }

    /// Covers the response's body as well: what is not read to its end in time is ended, and the reader gets an error, or in gRPC the
    /// status `DEADLINE_EXCEEDED`. Off by default, because it also ends downloads and streams that go well.
    pub fn whole_body(mut self) -> Self {
        self.cover.whole = true;
        self
    }

    /// Ends a body that has made no progress for so long: longer than nothing, at most 24 hours; 60 seconds by default, which a proxy in front
    /// waits as well. See [`TimedBody`] for what counts.
    pub fn body_idle(mut self, idle: Duration) -> Self {
        self.cover.idle = Some(idle);
        self
    }

    /// Lets bodies stand still for as long as they like. What they hold, they may then hold for ever.
    pub fn without_body_idle(mut self) -> Self {
        self.cover.idle = None;
        self
    }

    /// The layer, or which setting is refused and why.
    ///
    /// # Errors
    ///
    /// When a value is out of its range, or the name or the header is refused.
    pub fn build(self) -> Result<TimeoutLayer<HttpLimit, BodyLimits>, ConfigError> {
        let name = self.name.clone();
        self.built().of_instance(name.as_deref())
    }

    fn built(self) -> Result<TimeoutLayer<HttpLimit, BodyLimits>, ConfigError> {
        if let Some(own) = self.policy.own {
            check(LAYER, "timeout", own)?;
        }
        if let Some(idle) = self.cover.idle {
            check(LAYER, "body_idle", idle)?;
        }
        let header = checked(LAYER, &self.policy.header)?;
        let whole = self.cover.whole;
        self.finish(|policy| HttpLimit {
            own: policy.own,
            // Who wants the limit to cover bodies wants the limit.
            set: policy.set || whole,
            header,
            trusts: policy.trusts,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_is_answered_a_little_before_its_time_is_over() {
        for (limit, ended) in [
            (Duration::ZERO, Duration::ZERO),
            (Duration::from_nanos(1), Duration::from_nanos(1)),
            (Duration::from_millis(1), Duration::from_micros(500)),
            (Duration::from_millis(2), Duration::from_millis(1)),
            (Duration::from_millis(10), Duration::from_millis(9)),
            (Duration::from_millis(30), Duration::from_millis(27)),
            (Duration::from_millis(200), Duration::from_millis(195)),
            (Duration::from_secs(60), Duration::from_millis(59_995)),
        ] {
            assert_eq!(early(limit), ended);
        }
    }
}
