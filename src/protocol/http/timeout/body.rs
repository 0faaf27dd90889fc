//! The limits of response bodies.

use std::task::Context;
use std::time::Duration;

use http::{Response, StatusCode};
use http_body::Body;

use crate::layers::timeout::{Answered, Asked, Cover};
use crate::protocol::http::ContentType;
use crate::protocol::http::body::{Limits, TimedBody};
use crate::runtime::Moment;
use crate::vocabulary::sealed::Sealed;
use crate::vocabulary::{context, error::BoxError};

/// The limits of response bodies.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// Whether this program reads the body.
    pub(crate) client: bool,
    /// For one call.
    whole: bool,
    /// For one call.
    idle: Option<Duration>,
    /// For one call: whether its body has limits.
    ends: bool,
    /// For one call: its caller's deadline.
    asked: Moment,
}

impl BodyLimits {
    pub(crate) const DEFAULT: Self = Self {
        client: false,
        whole: false,
        idle: None,
        ends: false,
        asked: Moment::NEVER,
    };
}

impl Sealed for BodyLimits {}

// So that compiler errors name the response, not the part of its body that is not `Unpin`.
#[diagnostic::do_not_recommend]
impl<B> Cover<Response<B>> for BodyLimits
where
    B: Body<Data: Send, Error: Into<BoxError>> + Unpin + Send + 'static,
{
    type Response = Response<TimedBody<B>>;

    fn begin(self, asked: Asked<'_>) -> Self {
        let Asked {
            deadline,
            in_force,
            limits,
            ..
        } = asked;
        let enforces = in_force.enforces();
        Self {
            client: self.client,
            whole: enforces && in_force.covers_body(),
            idle: limits.body_idle().filter(|_| enforces),
            ends: enforces || asked.is_overridden,
            asked: deadline,
        }
    }

    fn cover(
        &self,
        response: Response<B>,
        call: &Answered<'_>,
        cx: &mut Context<'_>,
    ) -> Self::Response {
        let (head, body) = response.into_parts();
        let content_type = ContentType::of(&head.headers);
        // A gRPC limit covers the whole call, except the default limit, which ends at the head.
        let whole = self.whole || content_type.is_grpc();
        let deadline = if whole {
            call.until.now().propagated()
        } else {
            self.asked.min(context::deadline().propagated())
        };
        let whole = whole && deadline != Moment::NEVER;
        // A healthy stream may be silent for minutes.
        let may_be_silent = content_type.is_grpc() || content_type == ContentType::Events;
        // On a client the reader may pause, too, so nothing is left to limit.
        let idle = self.idle.filter(|_| !(may_be_silent && self.client));
        let limited = (whole || idle.is_some())
            && self.ends
            && head.status != StatusCode::SWITCHING_PROTOCOLS
            && !body.is_end_stream();
        let body = if limited {
            let limits = Limits {
                whole,
                idle,
                may_be_silent,
                client: self.client,
                trailers: content_type == ContentType::Grpc,
                deadline,
                until: call.until,
                state: call.limits.clone(),
            };
            TimedBody::limited(body, limits, cx)
        } else {
            TimedBody::unlimited(body, deadline)
        };
        Response::from_parts(head, body)
    }
}
