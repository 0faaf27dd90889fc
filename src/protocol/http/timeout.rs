//! The time limit of a call over HTTP or gRPC: the layer's own and the caller's.

use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use http::{HeaderName, Response, StatusCode};
use http_body::Body;

use super::body_timed::TimedBody;
use super::body_watch::Limits;
use super::deadline::{Form, GRPC_TIMEOUT, TIMEOUT_MS, checked};
use super::head::{ContentType, HttpRequest};
use crate::layers::timeout::{
    Answered, Asked, CallLimit, Cover, DEFAULT, LAYER, LimitSource, PerRequest, TimeoutBuilder,
    TimeoutLayer, Upload, check,
};
use crate::protocol::grpc::Rules;
use crate::runtime::Moment;
use crate::vocabulary::config::OfInstance as _;
use crate::vocabulary::{config::ConfigError, context, error::BoxError};

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
/// deadline of the [`Context`](crate::Context); the one that a request has by itself, as one of reqwest's can; and the caller's, which stands in
/// `grpc-timeout` (gRPC over HTTP/2's specification) or in
/// `x-request-timeout-ms`, the number of milliseconds. A value that makes no sense, or is given twice, is ignored. A value below the
/// [floor](TimeoutBuilder::inbound_floor) of 10 milliseconds counts as that. Zero is late already:
/// the inner service is not called, and the rejection is [`Reason::DeadlinePassed`](crate::Reason::DeadlinePassed).
///
/// # Whom it trusts
///
/// By default every caller: its deadline shortens its own call, and is propagated to the services that the call depends on. At
/// the edge of a system, where callers are strangers, [`ignore_inbound`](TimeoutBuilder::ignore_inbound) switches that off; a standard
/// stack has [`ignore_inbound_deadline`](crate::stack::ServerBuilder::ignore_inbound_deadline).
///
/// A gRPC call is ended a little before its caller's time is over: a tenth of the time, at least 1 millisecond, at most 5, and never more than
/// half of it. tonic has a time limit of its own for the same header, in its transport server and in its channel, which says `CANCELLED`;
/// a timer's grain is 1 millisecond; and an answer that comes when the caller has given up is none. So what a caller sees of a
/// `grpc-timeout` is `DEADLINE_EXCEEDED` if its time is more than 2 milliseconds and the answer's way back is shorter than what was kept for it.
///
/// # Uploads
///
/// The default limit, which nobody set, does not end a request whose body moves: the 30 seconds begin anew with each piece that is taken
/// from it, as nginx counts the time between two reads. So an upload of an hour gets through, one that stalls is ended, and a
/// handler has 30 seconds for its answer once it has read the body. A limit that somebody set, and the caller's, are strict.
///
/// Bodies that can be watched are those of axum, tonic and reqwest, and http-body-util's `BoxBody` and `UnsyncBoxBody` of `Bytes` with the
/// errors `BoxError`, `std::io::Error`, `Infallible` and `hyper::Error`. They are boxed once more, unless they are empty. A piece of more
/// than 64 KiB has, in addition, the time that it takes at 1 Mbit/s, because the transport takes it at once. So has a body in memory
/// (`Full<Bytes>`, reqwest's), which is a single piece.
///
/// While the service waits for more of a body, nobody could answer. A call that its caller or a time limit ends then is no evidence
/// against the service, to a circuit breaker or a limit inside of this layer. In gRPC it is: there a caller may wait for an answer
/// before it sends more.
///
/// Any other body cannot be watched, `hyper::body::Incoming` among them: there the limit is strict, so put such a body into a box, or
/// set a limit.
///
/// # Bodies of responses
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
        source: LimitSource::Default,
        rules: None,
        floor: FLOOR,
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
    pub(crate) source: LimitSource,
    /// What holds for a service or a method of gRPC in its place; `None` is no limit.
    pub(crate) rules: Option<Arc<Rules<Option<Duration>>>>,
    /// The least that a request's headers can ask for.
    pub(crate) floor: Duration,
    pub(crate) header: N,
    pub(crate) trusts: bool,
}

impl<Req: HttpRequest> PerRequest<Req> for HttpLimit {
    #[inline]
    fn limit(&self, request: &Req) -> Option<CallLimit> {
        if let Some(rules) = &self.rules
            && let Some(rule) = rules.find(request.path())
            && ContentType::of(request.headers()).is_grpc()
        {
            return rules.get(rule).copied()?.map(CallLimit::set);
        }
        let source = self.source;
        self.own.map(|length| CallLimit { length, source })
    }

    #[inline]
    fn asked(&self, request: &Req) -> Option<Duration> {
        let own = request.timeout();
        if !self.trusts {
            return own;
        }
        let headers = request.headers();
        let grpc = Form::Grpc.of_header(headers, &GRPC_TIMEOUT);
        let grpc = grpc.map(|grpc| early(self.at_least(grpc)));
        let http = Form::Millis.of_header(headers, &self.header);
        let http = http.map(|http| self.at_least(http));
        [grpc, http, own].into_iter().flatten().min()
    }

    #[inline]
    fn upload(&self, request: &mut Req, is_default: bool) -> Upload {
        let converses = ContentType::of(request.headers()).is_grpc();
        if converses && !is_default {
            return Upload::None;
        }
        match request.upload() {
            Upload::Moves(progress) if converses => Upload::Converses(progress),
            upload => upload,
        }
    }
}

impl HttpLimit {
    /// What a header asks for, but no less than the floor; nothing left stays nothing.
    #[inline]
    fn at_least(&self, asked: Duration) -> Duration {
        if asked.is_zero() {
            asked
        } else {
            asked.max(self.floor)
        }
    }
}

/// The least that a caller can ask for, unless it says that it has no time left.
const FLOOR: Duration = Duration::from_millis(10);

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
    /// Whether the reader is this program.
    pub(crate) client: bool,
    /// Not even at the end of a call of gRPC.
    pub(crate) off: bool,
    /// For one call: the deadline that it came with.
    asked: Moment,
}

impl BodyLimits {
    pub(crate) const DEFAULT: Self = Self {
        whole: false,
        idle: Some(Duration::from_secs(120)),
        client: false,
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
            call.until.now().propagated()
        } else {
            self.asked.min(context::deadline().propagated())
        };
        let whole = whole && deadline != Moment::NEVER;
        // Nothing can be the matter with a stream that says nothing for minutes.
        let patient = content_type.is_grpc() || content_type == ContentType::Events;
        // And to a client nothing is the matter with a reader who does not come, either.
        let idle = self.idle.filter(|_| !(patient && self.client));
        let limited = (whole || idle.is_some())
            && !self.off
            && head.status != StatusCode::SWITCHING_PROTOCOLS
            && !body.is_end_stream();
        let body = if limited {
            let limits = Limits {
                whole,
                idle,
                patient,
                client: self.client,
                trailers: content_type == ContentType::Grpc,
                deadline,
                until: call.until,
                emitter: call.emitter.clone(),
            };
            TimedBody::limited(body, limits, cx)
        } else {
            TimedBody::alone(body, deadline)
        };
        Response::from_parts(head, body)
    }
}

impl TimeoutBuilder<HttpLimit<String>, BodyLimits> {
    /// Sets how long a call may take: longer than nothing, at most 24 hours. Default 30 seconds, to
    /// the head of the response.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.policy.own = Some(timeout);
        self.policy.source = LimitSource::Set;
        self
    }

    /// Sets the limit for the calls of one gRPC service (`shop.Orders`) or of one method (`shop.Orders/Watch`), in place of
    /// [`timeout`](Self::timeout). A method's own limit goes before that of its service; of two for the same name, the later one
    /// holds. Other requests than those of gRPC have no such limit.
    ///
    /// ```
    /// use mainstay::grpc;
    /// use std::time::Duration;
    ///
    /// let stack = grpc::client("shop")
    ///     .timeout(
    ///         grpc::timeout()
    ///             .timeout(Duration::from_secs(1))
    ///             .timeout_for("shop.Orders/Export", Duration::from_secs(300))?
    ///             .without_timeout_for("shop.Orders/Watch")?,
    ///     )
    ///     .build()?;
    /// # Ok::<_, mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When the name is neither of a service nor of a method. [`build`](Self::build) refuses a limit that is out of range.
    pub fn timeout_for(self, name: impl AsRef<str>, limit: Duration) -> Result<Self, ConfigError> {
        self.rule("timeout_for", name.as_ref(), Some(limit))
    }

    /// Gives the calls of one gRPC service (`shop.Orders`) or of one method (`shop.Orders/Watch`) no limit of this layer's: for streams
    /// that live as long as their reader. The deadline of the caller and of the [`Context`](crate::Context) holds all the same.
    /// See [`timeout_for`](Self::timeout_for).
    ///
    /// # Errors
    ///
    /// When the name is neither of a service nor of a method.
    pub fn without_timeout_for(self, name: impl AsRef<str>) -> Result<Self, ConfigError> {
        self.rule("without_timeout_for", name.as_ref(), None)
    }

    fn rule(
        mut self,
        field: &'static str,
        name: &str,
        limit: Option<Duration>,
    ) -> Result<Self, ConfigError> {
        let rules = self.policy.rules.get_or_insert_default();
        Arc::make_mut(rules).set((LAYER, field), name, limit)?;
        Ok(self)
    }

    /// Sets the least that a caller can ask for: a shorter value of `grpc-timeout` or `x-request-timeout-ms` counts as this much.
    /// Default 10 milliseconds; zero is no floor. A value of zero stays what it is: the caller has no time left. A client stack has
    /// no floor, since the limits that it reads are its own program's.
    ///
    /// Beneath tonic's transport server, which has a time limit of its own for `grpc-timeout`, a call with less is ended by tonic.
    pub fn inbound_floor(mut self, floor: Duration) -> Self {
        self.policy.floor = floor;
        self
    }

    /// Reads the caller's milliseconds from this header in place of `x-request-timeout-ms`.
    pub fn header(mut self, name: impl Into<String>) -> Self {
        self.policy.header = name.into();
        self
    }

    /// Ignores the deadlines of callers: for the edge of a system, where they are strangers. By
    /// default they are believed. Beneath tonic's transport server, tonic's own limit for
    /// `grpc-timeout` holds all the same.
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

    /// Ends a body that has made no progress for this long: longer than nothing, at most 24 hours. Default 120 seconds, in which 8 MB
    /// go through a line of 1 Mbit/s even where they cannot be cut into pieces. See [`TimedBody`] for what counts as progress.
    pub fn body_idle(mut self, idle: Duration) -> Self {
        self.cover.idle = Some(idle);
        self
    }

    /// Says that the layer is around a client: the reader of a body is this program, and may take as long as it likes. A body is idle
    /// only while its reader waits for it. The standard stacks of clients, and every layer around reqwest's client, do so by
    /// themselves; use it for a layer of your own around hyper's client or tonic's channel.
    pub fn for_client(mut self) -> Self {
        self.cover.client = true;
        self
    }

    /// Sets no limit on bodies without progress. By default they are ended after 120 seconds.
    /// Without the limit, a stalled body holds its permit and its memory for ever.
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
        for (_, limit) in self.policy.rules.iter().flat_map(|rules| rules.iter()) {
            if let Some(limit) = limit {
                check(LAYER, "timeout_for", *limit)?;
            }
        }
        if let Some(idle) = self.cover.idle {
            check(LAYER, "body_idle", idle)?;
        }
        let header = checked(LAYER, &self.policy.header)?;
        let whole = self.cover.whole;
        self.finish(|policy| HttpLimit {
            own: policy.own,
            // Who wants the limit to cover bodies wants the limit.
            source: if whole {
                LimitSource::Set
            } else {
                policy.source
            },
            rules: policy.rules,
            floor: policy.floor,
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
