//! The service.

use std::fmt;
use std::task::{Context, Poll};

use tower_service::Service;

use super::cover::{Asked, Cover, HeadOnly};
use super::future::{Rare, ResponseFuture, Sending, State, Until};
use super::layer::{CallLimit, Fixed, LimitPolicy, PerRequest, StateOf};
use super::limits::{InForce, Own, TimeLimits};
use super::upload::Upload;
use crate::call::entry::Entry;
use crate::call::inner::Inner;
use crate::observe::emit::Emit as _;
use crate::runtime::Moment;
use crate::runtime::shared::Shared;
use crate::vocabulary::context::{self, Deadline, DeadlineScope, PriorityScope};
use crate::vocabulary::overrides::{CallOverrides, LimitOverride};
use crate::vocabulary::{
    error::{Grown, WithRejection},
    mode::Mode,
    reason::Reason,
};

/// A service with a time limit: see [`TimeoutLayer`](crate::TimeoutLayer).
#[derive(Clone)]
pub struct Timeout<S, P = Fixed, B = HeadOnly> {
    pub(super) inner: Inner<S>,
    pub(super) policy: P,
    pub(super) cover: B,
    pub(super) limits: Shared<TimeLimits>,
}

impl<S, P, B> Timeout<S, P, B> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        self.inner.get_ref()
    }

    /// The inner service, without the time limit.
    pub fn into_inner(self) -> S {
        self.inner.into_inner()
    }
}

impl<S, P: LimitPolicy, B> Timeout<S, P, B> {
    /// A handle to inspect its instance.
    #[must_use]
    pub fn handle(&self) -> P::Handle {
        P::handle(StateOf(&self.limits))
    }
}

impl<S, P, B, Req> Service<Req> for Timeout<S, P, B>
where
    S: Service<Req>,
    S::Error: WithRejection,
    P: PerRequest<Req>,
    B: Cover<S::Response> + Clone,
{
    type Response = B::Response;
    type Error = Grown<S::Error>;
    type Future = ResponseFuture<S::Future, B>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map(Ok)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let mut entry = Entry::of(self);
        let in_force = self.limits.in_force();
        let ends = in_force.enforces();
        let CallOverrides {
            limit: overridden,
            priority,
        } = self.policy.overrides(&request);
        let _priority = priority.map(PriorityScope::enter);
        let is_overridden = matches!(overridden, LimitOverride::Of(_));
        let is_shadow = !(ends || is_overridden) && is_shadow(in_force);
        if !(ends || is_overridden || is_shadow || self.limits.keeps_deadlines()) {
            let cover = self.cover.clone();
            let rare = priority.map(|priority| Rare::with_priority(None, priority));
            let limits = self.limits.hold();
            let state = State::unlimited(self.inner.call(request, &entry), rare, limits);
            return ResponseFuture { state, cover };
        }
        let begun = entry.now();
        let outer = match self.policy.asked(&request, in_force.is_on()) {
            Some(asked) => context::deadline().and(Deadline::foreign(begun.after(asked))),
            None => context::deadline(),
        };
        self.limits.begin();
        if outer.propagated() != Moment::NEVER {
            self.limits
                .record(|handles| handles.deadline(outer.propagated().since(begun)));
        }
        if outer.local() <= begun {
            if !is_shadow {
                self.inner.take_ready();
                let rejection = self.limits.reject(Reason::DeadlinePassed, None);
                return ResponseFuture::rejected(rejection, self.cover.clone());
            }
            self.limits.would_reject(Reason::DeadlinePassed, None);
        }
        let asked = outer.propagated();
        let mut outer = outer;
        let own = Own {
            in_force,
            limits: &self.limits,
        };
        let limit = match overridden {
            LimitOverride::AsSet => self.policy.limit(&own, &request),
            LimitOverride::None => None,
            LimitOverride::Of(length) => {
                let own = self.policy.limit(&own, &request);
                let is_longer = ends && own.is_some_and(|own| length >= own.length());
                if !is_longer {
                    // The caller's choice, so it is no evidence.
                    outer = outer.and(Deadline::foreign(begun.after(length)));
                }
                is_longer.then(|| CallLimit::set(length))
            }
        };
        let is_default = limit.is_some_and(|limit| !limit.is_set() && limit.applies(outer));
        let upload = self.policy.upload(&mut request, is_default);
        let mut renewed = None;
        let own = match limit {
            Some(limit) if limit.is_set() => limit.deadline(begun),
            Some(mut limit) if is_default => {
                match &upload {
                    Upload::None => {}
                    Upload::Whole(takes) => limit = limit.longer(*takes),
                    Upload::Moves(_) | Upload::Converses(_) => renewed = Some(limit),
                }
                limit.deadline(begun)
            }
            _ => Deadline::NEVER,
        };
        let mut until = Until::both(own, outer, begun);
        let is_evidence = matches!(upload, Upload::Moves(_));
        let mut rare = match upload {
            Upload::Moves(progress) | Upload::Converses(progress) => {
                Some(Box::new(Rare::of(Sending {
                    progress,
                    is_evidence,
                    renewed,
                    until,
                    outer,
                })))
            }
            Upload::None | Upload::Whole(_) => None,
        };
        let cover = self.cover.clone().begin(Asked {
            deadline: asked,
            is_overridden,
            in_force,
            limits: &self.limits,
        });
        let limits = self.limits.hold();
        if is_shadow {
            // Inner services see the caller's deadline alone.
            let seen = Until::seen(outer, begun);
            rare = Some(Rare::shadowed(rare, &limits, until, seen));
            until = seen;
        }
        if let Some(priority) = priority {
            rare = Some(Rare::with_priority(rare, priority));
        }
        // A limit that restarts is no fixed deadline for inner services.
        let inside = if renewed.is_some() {
            outer
        } else {
            until.deadline
        };
        let _scope = DeadlineScope::enter(inside);
        // Made in place: the inner future may be large, and moving it costs as much as the rest.
        ResponseFuture {
            state: State::calling(
                self.inner.call(request, &entry),
                until,
                rare,
                limits,
                !is_shadow,
            ),
            cover,
        }
    }
}

/// Out of line, because few layers are in this mode.
#[cold]
fn is_shadow(in_force: InForce) -> bool {
    in_force.mode() == Mode::Shadow
}

impl<S: fmt::Debug, P: fmt::Debug, B> fmt::Debug for Timeout<S, P, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout")
            .field("inner", &self.inner)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
