//! A layer under contract, and what it says of itself: only what the contract has to know in order to hold it to its word.

use std::sync::Arc;

use mainstay::{Error, WithRejection};
use tower::{Layer, Service};

use crate::exchange::{Answer, Fault, Message};
use crate::probe::Probe;

/// Every layer that can be put before the probe, and whose error grows into one flat type.
pub(crate) trait Core:
    Layer<
        Probe,
        Service: Service<Message, Response = Answer, Error: WithRejection<Error = Error<Fault>>>
                     + Clone,
    > + Clone
{
}

impl<L> Core for L where
    L: Layer<
            Probe,
            Service: Service<
                Message,
                Response = Answer,
                Error: WithRejection<Error = Error<Fault>>,
            > + Clone,
        > + Clone
{
}

pub(crate) type ServiceOf<L> = <L as Layer<Probe>>::Service;
pub(crate) type ErrorOf<L> = <ServiceOf<L> as Service<Message>>::Error;
pub(crate) type CallOf<L> = <ServiceOf<L> as Service<Message>>::Future;

pub(crate) struct Subject<L> {
    pub(crate) layer: L,
    /// How many calls it holds something for at the same time; 0 where there is no limit.
    pub(crate) places: u32,
    /// One call too many waits, instead of being rejected.
    pub(crate) queues: bool,
    /// It knows without asking that it would reject one call too many.
    pub(crate) knows_when_full: bool,
    /// A call that was not made ready is rejected: it knows whether the inner service is ready.
    pub(crate) rejects_unready: bool,
    /// It is ready when the inner service is not, and rejects.
    pub(crate) sheds: bool,
    /// It calls again after a fault.
    pub(crate) retries: bool,
    /// A call that panicked is one of those that it counts as failed.
    pub(crate) counts_panics: bool,
    held: Arc<dyn Fn() -> u32 + Send + Sync>,
    failed: Option<Arc<dyn Fn() -> u64 + Send + Sync>>,
    shut: Option<Arc<dyn Fn(bool) + Send + Sync>>,
}

impl<L> Subject<L>
where
    L: Clone + Send + Sync + 'static,
{
    /// A layer that holds nothing and rejects nothing.
    pub(crate) fn new(layer: L) -> Self {
        Self {
            layer,
            places: 0,
            queues: false,
            knows_when_full: false,
            rejects_unready: false,
            sheds: false,
            retries: false,
            counts_panics: false,
            held: Arc::new(|| 0),
            failed: None,
            shut: None,
        }
    }

    /// It lets so many calls through at the same time, and says how many there are (those that wait included).
    pub(crate) fn holds(
        mut self,
        places: u32,
        held: impl Fn(&L) -> u32 + Send + Sync + 'static,
    ) -> Self {
        let layer = self.layer.clone();
        self.places = places;
        self.knows_when_full = true;
        self.held = Arc::new(move || held(&layer));
        self
    }

    /// One call too many is not seen before the call.
    pub(crate) fn unknowing(mut self) -> Self {
        self.knows_when_full = false;
        self
    }

    /// One call too many waits for its turn, and makes ready what it then calls.
    pub(crate) fn queues(mut self) -> Self {
        self.queues = true;
        self
    }

    pub(crate) fn rejects_unready(mut self) -> Self {
        self.rejects_unready = true;
        self
    }

    pub(crate) fn sheds(mut self) -> Self {
        self.sheds = true;
        self.rejects_unready()
    }

    pub(crate) fn retries(mut self) -> Self {
        self.retries = true;
        self
    }

    /// Its services share a count of calls that failed.
    pub(crate) fn counts(mut self, failed: impl Fn(&L) -> u64 + Send + Sync + 'static) -> Self {
        let layer = self.layer.clone();
        self.failed = Some(Arc::new(move || failed(&layer)));
        self
    }

    /// A panic is among them.
    pub(crate) fn counts_panics(mut self) -> Self {
        self.counts_panics = true;
        self
    }

    /// It can be told to reject every call, and to stop doing so.
    pub(crate) fn shuts(mut self, shut: impl Fn(&L, bool) + Send + Sync + 'static) -> Self {
        let layer = self.layer.clone();
        self.shut = Some(Arc::new(move |on| shut(&layer, on)));
        self
    }
}

impl<L> Subject<L> {
    /// What its calls hold now.
    pub(crate) fn held(&self) -> u32 {
        (self.held)()
    }

    pub(crate) fn gauge(&self) -> Arc<dyn Fn() -> u32 + Send + Sync> {
        Arc::clone(&self.held)
    }

    /// How many failed calls it knows of.
    pub(crate) fn failed(&self) -> Option<u64> {
        self.failed.as_ref().map(|failed| failed())
    }

    /// Makes it reject everything; `None` where that cannot be done.
    pub(crate) fn shut(&self, on: bool) -> Option<()> {
        self.shut.as_ref().map(|shut| shut(on))
    }
}
