//! The metric handles of one instance, all made at once.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder, SharedString};

use crate::observe::event::EventKind;
use crate::observe::metrics as names;
use crate::policy::{
    breaker::{State, Transition},
    retry::{RetryCause, RetryRefused},
};
use crate::vocabulary::kind::{Kind, Series};
use crate::vocabulary::name::InstanceName;
use crate::vocabulary::{outcome::Outcome, reason::Reason};

static METADATA: Metadata<'static> = Metadata::new("mainstay", Level::INFO, Some("mainstay"));

const OUTCOMES: [Outcome; 4] = [
    Outcome::Success,
    Outcome::Failure,
    Outcome::Ignored,
    Outcome::Cancelled,
];
const STATES: [State; 6] = [
    State::Closed,
    State::Open,
    State::HalfOpen,
    State::Recovering,
    State::ForcedOpen,
    State::ForcedClosed,
];
/// The automatic transitions of a circuit. A handle makes all others.
const TRANSITIONS: [(State, State); 7] = [
    (State::Closed, State::Open),
    (State::Open, State::HalfOpen),
    (State::HalfOpen, State::Open),
    (State::HalfOpen, State::Closed),
    (State::HalfOpen, State::Recovering),
    (State::Recovering, State::Open),
    (State::Recovering, State::Closed),
];

/// The metric handles of one instance.
#[allow(missing_debug_implementations, reason = "not reachable from outside")]
pub(crate) struct Handles {
    instance: InstanceName,
    /// The label of the key.
    key: Option<SharedString>,
    calls: [Counter; OUTCOMES.len()],
    in_flight: Gauge,
    duration: Histogram,
    slow: Counter,
    rejections: [Counter; Reason::ALL.len()],
    /// Made at the first such call, except for circuits.
    would_reject: [OnceLock<Counter>; Reason::ALL.len()],
    given_up: Counter,
    limit: OnceLock<Gauge>,
    states: [Gauge; STATES.len()],
    transitions: [Counter; TRANSITIONS.len()],
    retries: [Counter; RetryCause::ALL.len()],
    refused: [Counter; RetryRefused::ALL.len()],
    balance: OnceLock<Gauge>,
    queued: Gauge,
    queue_wait: Histogram,
    deadline: Histogram,
}

/// Makes handles with the labels of an instance.
struct Maker<'a> {
    recorder: &'a dyn Recorder,
    instance: &'a InstanceName,
    key: Option<&'a SharedString>,
}

impl Maker<'_> {
    fn key(&self, name: &'static str, more: Option<(&'static str, &'static str)>) -> Key {
        let mut labels = vec![
            Label::from_static_parts("layer", self.instance.layer()),
            Label::new("name", self.instance.name().to_owned()),
        ];
        labels.extend(self.key.map(|key| Label::new("key", key.clone())));
        labels.extend(more.map(|(key, value)| Label::from_static_parts(key, value)));
        Key::from_parts(name, labels)
    }

    fn counter(
        &self,
        wanted: bool,
        name: &'static str,
        more: Option<(&'static str, &'static str)>,
    ) -> Counter {
        if !wanted {
            return Counter::noop();
        }
        self.recorder
            .register_counter(&self.key(name, more), &METADATA)
    }

    fn would_reject(&self, reason: Reason) -> Counter {
        let label = Some(("reason", reason.as_str()));
        self.counter(true, names::WOULD_REJECT, label)
    }

    fn transition(&self, (from, to): (State, State)) -> Counter {
        let name = names::CIRCUIT_BREAKER_TRANSITIONS;
        let key = self.key(name, Some(("from", from.as_str())));
        let key = key.with_extra_labels(vec![Label::from_static_parts("to", to.as_str())]);
        self.recorder.register_counter(&key, &METADATA)
    }

    fn gauge(
        &self,
        wanted: bool,
        name: &'static str,
        more: Option<(&'static str, &'static str)>,
    ) -> Gauge {
        if !wanted {
            return Gauge::noop();
        }
        self.recorder
            .register_gauge(&self.key(name, more), &METADATA)
    }

    fn histogram(&self, wanted: bool, name: &'static str) -> Histogram {
        if !wanted {
            return Histogram::noop();
        }
        self.recorder
            .register_histogram(&self.key(name, None), &METADATA)
    }
}

impl Handles {
    /// The handles of this kind of layer, with their initial values.
    pub(super) fn new(
        kind: &'static Kind,
        instance: &InstanceName,
        key: Option<&str>,
        recorder: &dyn Recorder,
    ) -> Self {
        let key = key.map(|key| SharedString::from(key.to_owned()));
        let make = Maker {
            recorder,
            instance,
            key: key.as_ref(),
        };
        let calls = kind.records(Series::Calls);
        let circuit = kind.records(Series::Circuit);
        let queue = kind.records(Series::Queue);
        let retries = kind.records(Series::Retries);
        Self {
            instance: instance.clone(),
            calls: OUTCOMES.map(|outcome| {
                make.counter(calls, names::CALLS, Some(("outcome", outcome.as_str())))
            }),
            in_flight: make.gauge(calls, names::CALLS_IN_FLIGHT, None),
            duration: make.histogram(kind.records(Series::Duration), names::CALL_DURATION),
            slow: make.counter(circuit, names::SLOW_CALLS, None),
            rejections: Reason::ALL.map(|reason| {
                let wanted = kind.rejects(reason);
                make.counter(wanted, names::REJECTIONS, Some(("reason", reason.as_str())))
            }),
            would_reject: Reason::ALL.map(|reason| {
                if circuit && reason == Reason::CircuitOpen {
                    make.would_reject(reason).into()
                } else {
                    OnceLock::new()
                }
            }),
            given_up: make.counter(kind.records(Series::GivenUp), names::GIVEN_UP, None),
            limit: OnceLock::new(),
            states: STATES.map(|state| {
                make.gauge(
                    circuit,
                    names::CIRCUIT_BREAKER_STATE,
                    Some(("state", state.as_str())),
                )
            }),
            transitions: TRANSITIONS.map(|change| {
                if circuit {
                    make.transition(change)
                } else {
                    Counter::noop()
                }
            }),
            retries: RetryCause::ALL.map(|cause| {
                make.counter(retries, names::RETRIES, Some(("cause", cause.as_str())))
            }),
            refused: RetryRefused::ALL.map(|why| {
                make.counter(
                    retries,
                    names::RETRIES_REFUSED,
                    Some(("reason", why.as_str())),
                )
            }),
            balance: OnceLock::new(),
            queued: make.gauge(queue, names::QUEUE_DEPTH, None),
            queue_wait: make.histogram(queue, names::QUEUE_WAIT),
            deadline: make.histogram(kind.records(Series::Deadline), names::DEADLINE_REMAINING),
            key,
        }
    }

    /// Records an event, and sets the gauges to their current values.
    pub(crate) fn record(&self, kind: &EventKind, set_gauges: &dyn Fn(&Self)) {
        match kind {
            EventKind::Settled {
                outcome,
                latency,
                slow,
            } => {
                self.settled(*outcome);
                if *slow {
                    self.slow.increment(1);
                }
                if let Some(latency) = latency {
                    self.duration.record(latency.as_secs_f64());
                }
                return;
            }
            EventKind::Rejected(rejection) => return self.rejected(rejection.reason()),
            EventKind::WouldReject(rejection) => return self.would_reject(rejection.reason()),
            EventKind::GivenUp { .. } => return self.given_up.increment(1),
            EventKind::Transition(transition) => self.transition(transition),
            EventKind::Retrying { cause, .. } => count(&RetryCause::ALL, *cause, &self.retries),
            EventKind::RetryRefused(why) => count(&RetryRefused::ALL, *why, &self.refused),
            EventKind::LimitChanged { .. } | EventKind::SettingsChanged(_) => {}
            EventKind::Evicted => return,
        }
        set_gauges(self);
    }

    fn settled(&self, outcome: Outcome) {
        let [success, failure, ignored, cancelled] = &self.calls;
        let calls = match outcome {
            Outcome::Success => success,
            Outcome::Failure => failure,
            Outcome::Ignored => ignored,
            Outcome::Cancelled => cancelled,
        };
        calls.increment(1);
    }

    pub(crate) fn entered(&self) {
        self.in_flight.increment(1.0);
    }

    pub(crate) fn left(&self) {
        self.in_flight.decrement(1.0);
    }

    pub(crate) fn rejected(&self, reason: Reason) {
        count(&Reason::ALL, reason, &self.rejections);
    }

    fn would_reject(&self, reason: Reason) {
        let position = Reason::ALL.iter().position(|of| *of == reason);
        let Some(slot) = position.and_then(|position| self.would_reject.get(position)) else {
            return;
        };
        if let Some(counter) = slot.get() {
            return counter.increment(1);
        }
        let (instance, key) = (&self.instance, self.key.as_ref());
        let new = metrics::with_recorder(|recorder| {
            Maker {
                recorder,
                instance,
                key,
            }
            .would_reject(reason)
        });
        new.increment(1);
        // Not with `get_or_init`: a recorder may call a layer.
        let _ = slot.set(new);
    }

    /// No limit is infinity, so that `in_flight / limit` is 0.
    pub(crate) fn limit(&self, limit: Option<u32>) {
        let limit = limit.map_or(f64::INFINITY, f64::from);
        self.set_if_any(names::LIMIT, &self.limit, limit);
    }

    /// Sets a gauge that not all layers of the kind have. It is made when it is first set: a
    /// missing limit must not read 0.
    fn set_if_any(&self, name: &'static str, gauge: &OnceLock<Gauge>, value: f64) {
        if let Some(gauge) = gauge.get() {
            return gauge.set(value);
        }
        let (instance, key) = (&self.instance, self.key.as_ref());
        let new = metrics::with_recorder(|recorder| {
            Maker {
                recorder,
                instance,
                key,
            }
            .gauge(true, name, None)
        });
        new.set(value);
        // Not with `get_or_init`: a recorder may call a layer.
        let _ = gauge.set(new);
    }

    /// Moves a circuit from one state to another. The gauges count the circuits of all instances
    /// and keys that have these labels.
    pub(crate) fn state(&self, from: Option<State>, to: Option<State>) {
        if from == to {
            return;
        }
        for (of, gauge) in STATES.iter().zip(&self.states) {
            if Some(*of) == to {
                gauge.increment(1.0);
            } else if Some(*of) == from {
                gauge.decrement(1.0);
            }
        }
    }

    fn transition(&self, Transition { from, to, .. }: &Transition) {
        let change = (*from, *to);
        if TRANSITIONS.contains(&change) {
            return count(&TRANSITIONS, change, &self.transitions);
        }
        // Made by hand: too rare for handles.
        metrics::with_recorder(|recorder| {
            let (instance, key) = (&self.instance, self.key.as_ref());
            Maker {
                recorder,
                instance,
                key,
            }
            .transition(change)
            .increment(1);
        });
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(crate) fn balance(&self, retries: u64) {
        self.set_if_any(names::RETRY_BUDGET_BALANCE, &self.balance, retries as f64);
    }

    pub(crate) fn queued(&self) {
        self.queued.increment(1.0);
    }

    pub(crate) fn dequeued(&self, waited: Duration) {
        self.queued.decrement(1.0);
        self.queue_wait.record(waited.as_secs_f64());
    }

    pub(crate) fn deadline(&self, remaining: Duration) {
        self.deadline.record(remaining.as_secs_f64());
    }
}

fn count<T: PartialEq>(kinds: &[T], kind: T, counters: &[Counter]) {
    let position = kinds.iter().position(|of| *of == kind);
    if let Some(counter) = position.and_then(|position| counters.get(position)) {
        counter.increment(1);
    }
}

/// Describes all metrics to the recorder.
pub(super) fn describe(recorder: &dyn Recorder) {
    for (name, kind, unit, text) in names::ALL {
        let (name, unit) = (SharedString::const_str(name).into(), Some(*unit));
        let text = SharedString::const_str(text);
        match kind {
            names::Kind::Counter => recorder.describe_counter(name, unit, text),
            names::Kind::Gauge => recorder.describe_gauge(name, unit, text),
            names::Kind::Histogram => recorder.describe_histogram(name, unit, text),
        }
    }
}
