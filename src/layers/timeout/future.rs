//! The future of a call with a time limit.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::cover::{Answered, Cover, HeadOnly};
use super::layer::CallLimit;
use super::limits::TimeLimits;
use super::shadow::Shadow;
use super::upload::Progress;
use crate::call::inner::InnerFuture;
use crate::observe::emit::Emit as _;
use crate::runtime::scoped::{Scope, Scoped};
use crate::runtime::shared::Held;
use crate::runtime::{Moment, Timer};
use crate::vocabulary::context::{self, Deadline, DeadlineScope, PriorityScope};
use crate::vocabulary::priority::Priority;
use crate::vocabulary::{
    error::WithRejection,
    rejection::{Rejection, TimeLimit},
};

/// The deadline of a call, which inner services see.
#[derive(Clone, Copy)]
pub(crate) struct Until {
    pub(super) deadline: Deadline,
    /// Whether the local deadline comes from the layer's own limit.
    own: bool,
    begun: Moment,
}

impl Until {
    const NEVER: Self = Self {
        deadline: Deadline::NEVER,
        own: false,
        begun: Moment::NEVER,
    };

    /// The deadline of the call alone.
    pub(super) const fn local(&self) -> Moment {
        self.deadline.local()
    }

    /// The deadline of a call in shadow mode for inner services, which does not end the call.
    pub(super) const fn seen(outer: Deadline, begun: Moment) -> Self {
        Self {
            deadline: outer,
            own: false,
            begun,
        }
    }

    /// Whether the call began after its deadline.
    fn has_passed_before(&self) -> bool {
        self.deadline.local() <= self.begun
    }

    /// Combines the layer's own deadline with the one that the call came with.
    #[inline]
    pub(super) fn both(own: Deadline, outer: Deadline, begun: Moment) -> Self {
        Self {
            deadline: own.and(outer),
            own: own != Deadline::NEVER && own.local() <= outer.local(),
            begun,
        }
    }

    /// The deadline, combined with that of the polling task: behind a buffer, it may differ from
    /// that of the calling task.
    #[inline]
    pub(crate) fn now(&self) -> Deadline {
        self.deadline.and(context::deadline())
    }

    /// The limit that ends the call at this moment.
    #[cold]
    pub(crate) fn limit(&self, at: Moment) -> TimeLimit {
        let is_ours = at >= self.deadline.local();
        let deadline = if is_ours {
            self.deadline
        } else {
            context::deadline()
        };
        match deadline.limit() {
            Some(limit) if self.own && is_ours => TimeLimit::Layer(limit),
            Some(_) => TimeLimit::Outer(at.since(self.begun)),
            None => TimeLimit::Deadline(at.since(self.begun)),
        }
    }
}

/// A request whose body is observed while it is sent.
#[derive(Clone)]
pub(super) struct Sending {
    pub(super) progress: Progress,
    /// Whether the service cannot answer while it waits for more of the body.
    pub(super) is_evidence: bool,
    /// A default limit, which restarts with each piece of the body.
    pub(super) renewed: Option<CallLimit>,
    pub(super) until: Until,
    pub(super) outer: Deadline,
}

impl Sending {
    #[cold]
    pub(super) fn until(&self) -> Until {
        self.until_after(self.progress.last())
    }

    /// The deadline if the inner service takes a piece of the body now, which restarts the limit.
    #[cold]
    fn until_if_it_moves(&self) -> Until {
        self.until_after(self.progress.last().max(Moment::now()))
    }

    fn until_after(&self, moved: Moment) -> Until {
        let Some(limit) = self.renewed else {
            return self.until;
        };
        let begun = self.until.begun;
        let own = limit.deadline(moved.max(begun));
        Until::both(own, self.outer, begun)
    }
}

/// The scope of a call.
pub(super) struct Running {
    pub(super) until: Until,
    pub(super) rare: Option<Box<Rare>>,
}

/// The parts of few calls.
pub(super) struct Rare {
    sending: Option<Sending>,
    // In a box, so that it is cheap to drop without one.
    shadow: Option<Box<Shadow>>,
    /// The priority that the request sets itself.
    priority: Option<Priority>,
}

impl Rare {
    const NONE: Self = Self {
        sending: None,
        shadow: None,
        priority: None,
    };

    pub(super) const fn of(sending: Sending) -> Self {
        Self {
            sending: Some(sending),
            shadow: None,
            priority: None,
        }
    }

    /// The parts of a call with a priority of its own.
    #[cold]
    pub(super) fn with_priority(rare: Option<Box<Self>>, priority: Priority) -> Box<Self> {
        let mut rare = rare.unwrap_or_else(|| Box::new(Self::NONE));
        rare.priority = Some(priority);
        rare
    }

    /// The parts of a call in shadow mode, which has a limit and is not ended by it.
    // Inlined, so that the deadlines of other calls stay in registers.
    #[inline(always)]
    pub(super) fn shadowed(
        rare: Option<Box<Self>>,
        limits: &Held<TimeLimits>,
        until: Until,
        seen: Until,
    ) -> Box<Self> {
        let mut rare = rare.unwrap_or_else(|| Box::new(Self::NONE));
        // A deadline that had passed before is reported already.
        if !seen.has_passed_before() {
            let shadow = Shadow::new(limits.clone(), until, rare.sending.clone());
            rare.shadow = Some(Box::new(shadow));
        }
        if let Some(sending) = &mut rare.sending {
            (sending.renewed, sending.until) = (None, seen);
        }
        rare
    }
}

impl Running {
    #[inline]
    fn sending(&self) -> Option<&Sending> {
        self.rare.as_ref()?.sending.as_ref()
    }

    /// Enters the priority that the request sets itself.
    #[cold]
    fn enter_priority(&self) -> Option<PriorityScope> {
        let priority = self.rare.as_ref()?.priority?;
        Some(PriorityScope::enter(priority))
    }

    /// Call it when the inner call is over.
    #[inline]
    fn end(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.shadow = None;
        }
    }
}

impl Scope for Running {
    type Entered<'a> = (DeadlineScope, Option<PriorityScope>);

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn enter(&self) -> Self::Entered<'_> {
        let Some(rare) = &self.rare else {
            return (DeadlineScope::enter(self.until.now()), None);
        };
        let priority = rare.priority.map(PriorityScope::enter);
        let Some(sending) = &rare.sending else {
            return (DeadlineScope::enter(self.until.now()), priority);
        };
        let mut deadline = if sending.renewed.is_some() {
            sending.outer.and(context::deadline())
        } else {
            self.until.now()
        };
        if sending.is_evidence {
            let answerable = sending.progress.answerable();
            deadline = deadline.answerable_since(answerable.max(deadline.answerable()));
        }
        (DeadlineScope::enter(deadline), priority)
    }
}

pin_project! {
    /// The future of a call with a time limit.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, B = HeadOnly> {
        #[pin]
        pub(super) state: State<F>,
        pub(super) cover: B,
    }
}

pin_project! {
    #[project = StateProj]
    pub(super) enum State<F> {
        Calling {
            #[pin]
            inner: Scoped<InnerFuture<F>, Running>,
            #[pin]
            timer: Option<Timer>,
            limits: Held<TimeLimits>,
            ends: bool,
        },
        Rejected {
            rejection: Option<Rejection>,
        },
    }
}

impl<F> State<F> {
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(super) fn calling(
        inner: InnerFuture<F>,
        until: Until,
        rare: Option<Box<Rare>>,
        limits: Held<TimeLimits>,
        ends: bool,
    ) -> Self {
        Self::Calling {
            inner: Scoped::new(inner, Running { until, rare }),
            timer: None,
            limits,
            ends,
        }
    }

    /// For a layer that is switched off.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(super) fn unlimited(
        inner: InnerFuture<F>,
        rare: Option<Box<Rare>>,
        limits: Held<TimeLimits>,
    ) -> Self {
        Self::calling(inner, Until::NEVER, rare, limits, false)
    }
}

impl<F, B> ResponseFuture<F, B> {
    pub(super) fn rejected(rejection: Rejection, cover: B) -> Self {
        Self {
            state: State::Rejected {
                rejection: Some(rejection),
            },
            cover,
        }
    }
}

impl<F, B, Res, E> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Res, E>>,
    E: WithRejection,
    B: Cover<Res>,
{
    type Output = Result<B::Response, E::Error>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut state = this.state;
        let rejection = match state.as_mut().project() {
            StateProj::Calling {
                mut inner,
                mut timer,
                limits,
                ends,
            } => {
                let running = inner.as_mut().scope();
                if let Some(sending) = running.sending() {
                    running.until = sending.until_if_it_moves();
                }
                // The inner future first: an answer at the last moment counts.
                if let Poll::Ready(result) = inner.as_mut().poll(cx) {
                    let running = inner.as_mut().scope();
                    running.end();
                    return Poll::Ready(match result {
                        Ok(response) => {
                            let until = running.until;
                            let answered = Answered { until, limits };
                            Ok(this.cover.cover(response, &answered, cx))
                        }
                        Err(error) => Err(error.grow()),
                    });
                }
                if !*ends {
                    return Poll::Pending;
                }
                let running = inner.scope();
                if let Some(sending) = running.sending() {
                    running.until = sending.until();
                }
                let mut deadline = running.until.now().local();
                if timer.is_none() {
                    if deadline == Moment::NEVER {
                        return Poll::Pending;
                    }
                    timer.set(Some(Timer::at(deadline)));
                }
                if let Some(timer) = timer.as_mut().as_pin_mut() {
                    ready!(timer.poll(cx));
                }
                if let Some(sending) = running.sending() {
                    // The body may have moved since the timer was set.
                    deadline = sending.until().now().local();
                    while deadline > Moment::now() {
                        timer.set(Some(Timer::at(deadline)));
                        if let Some(timer) = timer.as_mut().as_pin_mut() {
                            ready!(timer.poll(cx));
                        }
                        deadline = sending.until().now().local();
                    }
                    running.until = sending.until();
                }
                let _priority = running.enter_priority();
                limits.timed_out(running.until.limit(deadline))
            }
            StateProj::Rejected { rejection } => match rejection.take() {
                Some(rejection) => rejection,
                None => return Poll::Pending,
            },
        };
        // Drops the call now, not with this future.
        state.set(State::Rejected { rejection: None });
        Poll::Ready(Err(E::reject(rejection)))
    }
}

impl<F, B> fmt::Debug for ResponseFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
