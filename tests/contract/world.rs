//! A layer before the probe, and one call through it that is driven by hand through a scenario.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use mainstay::Context;
use tokio::time::advance;
use tower::Service;

use crate::hand::{Bell, Outcome, catch, poll, poll_with};
use crate::log::Log;
use crate::probe::{End, Plan, Probe, Readiness};
use crate::scenario::Scenario;
use crate::subject::{CallOf, Core, ServiceOf, Subject};

/// The number of the request that a scenario is about.
pub(crate) const ID: u32 = 7;

/// More steps than any scenario has.
pub(crate) const ENOUGH: u32 = 14;

pub(crate) type Call<L> = Pin<Box<CallOf<L>>>;

/// The layer and the probe behind it.
pub(crate) struct World<L: Core> {
    pub(crate) subject: Subject<L>,
    pub(crate) log: Log,
    pub(crate) probe: Probe,
}

impl<L: Core> World<L> {
    pub(crate) async fn new(make: &impl AsyncFn() -> Subject<L>) -> Self {
        let subject = make().await;
        let probe = Probe::default();
        let log = probe.get_ref().log();
        Self {
            subject,
            log,
            probe,
        }
    }

    /// What is held now; what is dropped from now on is dropped under measurement.
    fn measure(&self) -> u32 {
        self.log.measure(self.subject.gauge());
        self.subject.held()
    }

    /// A service of its own, which nobody has made ready.
    pub(crate) fn service(&self) -> ServiceOf<L> {
        self.subject.layer.layer(self.probe.clone())
    }

    pub(crate) fn ready(&self) -> ServiceOf<L> {
        let mut service = self.service();
        make_ready(&mut service);
        service
    }

    /// A call through a service of its own.
    pub(crate) fn call(&self, id: u32) -> Call<L> {
        Box::pin(self.ready().call(self.log.message(id)))
    }

    /// So many calls that are under way and never end.
    pub(crate) fn occupy(&self, calls: u32) -> Vec<Call<L>> {
        (0..calls)
            .map(|id| {
                self.log.plan([Plan::after(0, End::Never)]);
                let mut call = self.call(id);
                assert!(
                    poll(call.as_mut()).is_pending(),
                    "call {id} was let through"
                );
                call
            })
            .collect()
    }
}

pub(crate) fn make_ready<S, Req>(service: &mut S)
where
    S: Service<Req>,
{
    let polled = poll_with(|task| service.poll_ready(task)).0;
    assert!(matches!(polled, Poll::Ready(Ok(()))), "it is ready");
}

/// A call on its way through a scenario.
pub(crate) struct Run<L: Core> {
    pub(crate) world: World<L>,
    pub(crate) service: ServiceOf<L>,
    pub(crate) outcome: Option<Outcome>,
    /// What happened so far that the call could have waited for.
    pub(crate) steps: u32,
    scenario: Scenario,
    context: Option<Context>,
    call: Option<Call<L>>,
    others: Vec<Call<L>>,
    /// What was held before the last poll or drop.
    held_before: u32,
}

impl<L: Core> Run<L> {
    pub(crate) async fn new(make: &impl AsyncFn() -> Subject<L>, scenario: Scenario) -> Self {
        let world = World::new(make).await;
        let full = scenario.begins_full();
        let others = world.occupy(if full { world.subject.places } else { 0 });
        world.log.plan(scenario.plans());
        Self {
            service: world.ready(),
            world,
            outcome: None,
            steps: 0,
            scenario,
            context: None,
            call: None,
            others,
            held_before: 0,
        }
    }

    /// The last attempt ends otherwise.
    pub(crate) fn ending(self, last: Plan) -> Self {
        let mut plans = self.scenario.plans();
        plans.pop();
        plans.push(last);
        self.world.log.plan(plans);
        self
    }

    /// Everything happens within this context.
    pub(crate) fn within(mut self, context: Context) -> Self {
        self.context = Some(context);
        self
    }

    /// Makes the call, without polling it.
    pub(crate) fn begin(mut self) -> Self {
        let mut message = self.world.log.message(ID);
        if let Some(id) = self.context.as_ref().and_then(Context::correlation_id) {
            let field = crate::exchange::FIELD.to_owned();
            message.fields.insert(field, id.to_string());
        }
        let context = self.context.clone();
        let service = &mut self.service;
        self.call = enter(context.as_ref(), || {
            catch(|| Box::pin(service.call(message)))
        });
        if self.call.is_none() {
            self.outcome = Some(Outcome::Panicked);
        }
        self
    }

    /// Polls the call, unless it has ended; the waker is the one it was polled with.
    pub(crate) fn poll(&mut self) -> Option<Arc<Bell>> {
        if self.outcome.is_some() {
            return None;
        }
        let context = self.context.clone();
        let call = self.call.as_mut()?.as_mut();
        let before = self.world.measure();
        let (polled, bell) = enter(context.as_ref(), || {
            poll_with(|task| match catch(|| call.poll(task)) {
                Some(polled) => polled.map(Outcome::from),
                None => Poll::Ready(Outcome::Panicked),
            })
        });
        self.assert_held(before);
        if let Poll::Ready(outcome) = polled {
            if outcome != Outcome::Panicked {
                let working = self.world.probe.in_flight() as usize;
                assert_eq!(working, self.others.len(), "what it gave up is dropped");
            }
            self.outcome = Some(outcome);
        }
        Some(bell)
    }

    /// Polls it once more although it has ended.
    pub(crate) fn poll_again(&mut self) -> bool {
        let call = self.call.as_mut().map(Pin::as_mut);
        let polled = call.map(|call| catch(|| poll(call)));
        polled.is_none_or(|polled| polled.is_some_and(|polled| polled.is_pending()))
    }

    /// The next thing that the call may have waited for.
    pub(crate) async fn step(&mut self) {
        let step = self.steps;
        self.steps += 1;
        let log = self.world.log.clone();
        let unready = matches!(
            self.scenario,
            Scenario::FailsUnready | Scenario::FullUnready | Scenario::StaysUnready
        );
        if step == 0 && unready {
            log.be(Readiness::Pending);
        }
        if step == 3 && unready && self.scenario != Scenario::StaysUnready {
            log.be(Readiness::Ready);
        }
        if step == 0 && self.scenario != Scenario::StaysFull {
            self.others.pop();
        }
        match self.scenario {
            Scenario::Slow | Scenario::Full | Scenario::FullUnready => log.event(),
            Scenario::Fails | Scenario::FailsUnready => {
                log.event();
                advance(Duration::from_millis(300)).await;
            }
            Scenario::StaysFull | Scenario::StaysUnready | Scenario::Hangs => {
                advance(Duration::from_secs(6)).await;
            }
        }
    }

    /// Polls and steps to the end of the call, if it has one.
    pub(crate) async fn finish(&mut self) {
        while self.outcome.is_none() && self.steps < ENOUGH {
            self.poll();
            self.step().await;
        }
    }

    /// Drops the call, whatever has become of it.
    pub(crate) fn drop_call(&mut self) {
        let before = self.world.measure();
        let call = self.call.take();
        let context = self.context.clone();
        enter(context.as_ref(), || drop(call));
        self.assert_held(before);
    }

    /// Whether the requests that were dropped unsent in the last poll or drop were dropped while their place was still held. (The
    /// copy of a retry is no business of the layers further in.)
    pub(crate) fn unsent_before_place(&self) -> bool {
        let held = self.world.log.seen().held_at_unsent;
        self.world.subject.retries || held.iter().all(|&held| held == self.held_before)
    }

    /// What was dropped just now was dropped before anything was given back.
    fn assert_held(&mut self, before: u32) {
        self.held_before = before;
        let seen = self.world.log.seen();
        assert_eq!(
            seen.held_at_drop.iter().find(|&&held| held != before),
            None,
            "the inner call is dropped while the layer still holds all it held"
        );
    }

    /// The call is gone: so is everything that it held, and the service is as good as before.
    pub(crate) fn assert_given_back(mut self) {
        assert!(self.call.is_none());
        self.others.clear();
        let World {
            subject,
            log,
            probe,
        } = &self.world;
        let seen = log.seen();
        assert_eq!(subject.held(), 0, "nothing is held");
        assert_eq!(seen.futures, 0, "every inner future is dropped");
        assert_eq!(seen.requests, 0, "every copy of the request is dropped");
        assert_eq!(
            probe.unready_calls(),
            0,
            "nothing is called that is not ready"
        );

        log.be(Readiness::Ready);
        if !self.scenario.fails() && matches!(self.outcome, None | Some(Outcome::Rejected(_))) {
            // A call that had no result changed nothing: there are as many places as before.
            drop(self.world.occupy(subject.places));
        }
        log.plan([]);
        make_ready(&mut self.service);
        let mut call = Box::pin(self.service.call(log.message(1)));
        let polled = poll(call.as_mut()).map(Outcome::from);
        assert_eq!(polled, Poll::Ready(Outcome::Answer(1)), "it still works");
    }
}

/// Runs something in a context, or in the one that is there, which is afterwards what it was.
fn enter<R>(context: Option<&Context>, run: impl FnOnce() -> R) -> R {
    let outside = Context::current();
    let result = match context {
        Some(context) => context.sync_scope(|| {
            let inside = Context::current();
            let result = run();
            assert_eq!(Context::current(), inside, "the context is what it was");
            result
        }),
        None => run(),
    };
    assert_eq!(Context::current(), outside, "the context is what it was");
    result
}
