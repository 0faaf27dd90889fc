//! The one service that stands behind every layer here: it does what a test tells it and never
//! moves by itself. Time for it passes in *events*. The [`Probe`] around it counts.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as Task, Poll};

use tower::Service;

use crate::exchange::{Answer, Fault, Message};
use crate::log::Log;

/// What the service does with one call: it waits for so many events, then ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) events: u32,
    pub(crate) end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Answer,
    Fault,
    /// The future panics.
    Panic,
    /// `call` itself panics.
    PanicInCall,
    Never,
}

impl Plan {
    pub(crate) const fn after(events: u32, end: End) -> Self {
        Self { events, end }
    }
}

/// What `poll_ready` of the service, of all its clones, says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    Pending,
    Failing,
}

/// The service, and what is done with it.
pub(crate) type Probe = mainstay::testing::Probe<Planned>;

/// The service. Its clones share a [`Log`], and each has to be made ready for itself.
#[derive(Debug, Default)]
pub(crate) struct Planned {
    log: Log,
    number: u64,
}

impl Planned {
    pub(crate) fn log(&self) -> Log {
        self.log.clone()
    }
}

impl Clone for Planned {
    fn clone(&self) -> Self {
        Self {
            log: self.log.clone(),
            number: self.log.number(),
        }
    }
}

impl Service<Message> for Planned {
    type Response = Answer;
    type Error = Fault;
    type Future = Work;

    fn poll_ready(&mut self, task: &mut Task<'_>) -> Poll<Result<(), Fault>> {
        let mut state = self.log.lock();
        match state.readiness {
            None | Some(Readiness::Ready) => Poll::Ready(Ok(())),
            Some(Readiness::Pending) => {
                state.waiting.insert(self.number, task.waker().clone());
                Poll::Pending
            }
            Some(Readiness::Failing) => Poll::Ready(Err(Fault::new(0))),
        }
    }

    fn call(&mut self, mut message: Message) -> Work {
        message.sent();
        self.log.note(message.id, "call");
        let mut state = self.log.lock();
        let plan = state.plans.pop_front();
        let plan = plan.unwrap_or(Plan::after(0, End::Answer));
        if plan.end == End::PanicInCall {
            drop(state);
            panic!("the probe's call panics, as planned");
        }
        state.numbers += 1;
        state.seen.futures += 1;
        Work {
            log: self.log.clone(),
            number: state.numbers,
            due: state.events + plan.events,
            end: plan.end,
            id: message.id,
            message: Some(message),
        }
    }
}

/// Its future.
#[derive(Debug)]
pub(crate) struct Work {
    log: Log,
    number: u64,
    due: u32,
    end: End,
    id: u32,
    /// `None` once it has ended.
    message: Option<Message>,
}

impl Future for Work {
    type Output = Result<Answer, Fault>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        self.log.note(self.id, "poll");
        let mut state = self.log.lock();
        if state.events < self.due || self.end == End::Never {
            state.waiting.insert(self.number, task.waker().clone());
            return Poll::Pending;
        }
        drop(state);
        assert_ne!(
            self.end,
            End::Panic,
            "the probe's future panics, as planned"
        );
        let Some(message) = self.message.take() else {
            // Whoever polls once more gets no second answer, and no panic that could be taken for the layer's.
            return Poll::Pending;
        };
        Poll::Ready(match self.end {
            End::Fault => Err(Fault::new(message.id)),
            _ => Ok(Answer::to(&message)),
        })
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.log.note(self.id, "drop");
        let held = self.message.as_ref().and_then(|_| self.log.held());
        let mut state = self.log.lock();
        state.waiting.remove(&self.number);
        state.seen.futures -= 1;
        state.seen.held_at_drop.extend(held);
    }
}
