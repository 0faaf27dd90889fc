//! Any setting, however extreme: `build` refuses it or what it builds works.

use std::time::Duration;

use mainstay::circuit_breaker::CircuitBreakerBuilder;
use mainstay::stack::{ClientBuilder, Description, Http, ServerBuilder};
use mainstay::{
    Backoff, BulkheadLayer, CircuitBreakerLayer, ConfigError, CorrelationLayer, Jitter, Limit,
    LoadShedLayer, Mode, OnCancel, Recovery, RespondLayer, RetryBudget, TimeoutLayer, Window, http,
};
use proptest::prelude::*;
use proptest::sample::select;
use tokio::time::timeout;

use crate::upstream::{Act, Upstream, call, get, infallible};

fn time() -> impl Strategy<Value = Duration> {
    let ms = Duration::from_millis;
    select(vec![
        Duration::ZERO,
        Duration::from_nanos(1),
        Duration::from_micros(1),
        ms(1),
        ms(7),
        ms(300),
        Duration::from_secs(2),
        Duration::from_secs(3_600),
        Duration::from_secs(86_400),
        Duration::from_secs(86_401),
        Duration::from_secs(u64::MAX / 2),
        Duration::MAX,
    ])
}

fn count() -> impl Strategy<Value = u32> {
    select(vec![
        0,
        1,
        2,
        3,
        20,
        100,
        101,
        10_000,
        1_000_000,
        (1 << 24) - 1,
        1 << 24,
        u32::MAX,
    ])
}

fn rate() -> impl Strategy<Value = f64> {
    select(vec![
        0.0,
        -0.0,
        0.5,
        1.0,
        -1.0,
        1.5,
        1e300,
        f64::MIN_POSITIVE,
        f64::EPSILON,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
    ])
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just("a".to_owned()),
        1 => Just(String::new()),
        1 => Just("x".repeat(100_000)),
        1 => Just("or\nders\u{1b}[31m".to_owned()),
        1 => Just("\u{e9}".repeat(64)),
    ]
}

/// One call of a method: which, and with what.
#[derive(Debug, Clone)]
struct Set {
    what: u8,
    how: u8,
    times: [Duration; 2],
    counts: [u32; 3],
    rates: [f64; 2],
    name: String,
}

fn set() -> impl Strategy<Value = Set> {
    (
        any::<u8>(),
        any::<u8>(),
        [time(), time()],
        [count(), count(), count()],
        [rate(), rate()],
        name(),
    )
        .prop_map(|(what, how, times, counts, rates, name)| Set {
            what,
            how,
            times,
            counts,
            rates,
            name,
        })
}

impl Set {
    fn backoff(&self) -> Backoff {
        let [base, cap] = self.times;
        let backoff = match self.how % 4 {
            0 => Backoff::constant(base),
            1 => Backoff::linear(base).cap(cap),
            2 => Backoff::exponential(base).factor(self.rates[0]),
            _ => Backoff::exponential(base).cap(cap),
        };
        let jitters = [
            Jitter::None,
            Jitter::Full,
            Jitter::Equal,
            Jitter::Decorrelated,
        ];
        backoff.jitter(jitters[usize::from(self.how / 4 % 4)])
    }

    fn retry(&self) -> mainstay::RetryBuilder<http::HttpRetry> {
        let [one, other] = self.times;
        let retry = http::retry().attempts(self.counts[0]);
        match self.how % 6 {
            0 => retry.backoff(self.backoff()),
            1 => retry.max_ready_wait(one).max_retry_after(other),
            2 => retry.replay_limit(usize::MAX >> (self.how / 4)),
            3 => retry.without_budget(),
            4 => match RetryBudget::builder()
                .ratio(self.rates[0])
                .min_per_second(self.counts[1])
                .build()
            {
                Ok(budget) => retry.budget(budget),
                Err(_) => retry,
            },
            _ => retry.name(self.name.clone()),
        }
    }

    fn breaker<T>(&self, breaker: CircuitBreakerBuilder<T>) -> CircuitBreakerBuilder<T> {
        let ([one, other], [a, b, c], [x, y]) = (self.times, self.counts, self.rates);
        match self.how % 12 {
            0 => breaker.failure_rate(x).min_calls(a),
            1 => breaker.slow_calls(one, x),
            2 => breaker.consecutive_failures(a).probes(b),
            3 => breaker.window(Window::count(a)).min_calls(b),
            4 => breaker.window(Window::time(one)),
            5 => breaker.open_for(one).open_max(other).open_factor(x),
            6 => breaker.jitter(x).probe_life(one),
            7 => breaker
                .recovery(Recovery::Stepwise {
                    steps: c,
                    over: one,
                })
                .consecutive_failures(1),
            8 => breaker.mode(Mode::Shadow),
            9 => breaker.on_cancel(OnCancel::FailureAfter(one)),
            10 => breaker.name(self.name.clone()),
            _ => breaker
                .without_failure_rate()
                .slow_calls(one, y)
                .consecutive_failures(a),
        }
    }

    fn limit(&self) -> Limit {
        let [a, b, c] = self.counts;
        match self.how % 4 {
            0 => Limit::fixed(a),
            1 => Limit::aimd()
                .initial(a)
                .min(b)
                .max(c)
                .build()
                .unwrap_or(Limit::fixed(a)),
            2 => Limit::gradient2()
                .initial(a)
                .min(b)
                .max(c)
                .build()
                .unwrap_or(Limit::fixed(a)),
            _ => Limit::adaptive(),
        }
    }

    fn timeouts(
        &self,
    ) -> mainstay::timeout::TimeoutBuilder<http::HttpLimit<String>, http::BodyLimits> {
        let timeout = http::timeout();
        match self.how % 5 {
            0 => timeout.timeout(self.times[0]).body_idle(self.times[1]),
            1 => timeout.timeout(self.times[0]).whole_body(),
            2 => timeout.header(self.name.clone()).ignore_inbound(),
            3 => timeout.name(self.name.clone()),
            _ => timeout.body_idle(self.times[0]).whole_body(),
        }
    }

    fn client(&self, stack: ClientBuilder<Http>) -> ClientBuilder<Http> {
        let ([one, _], [a, b, _]) = (self.times, self.counts);
        match self.what % 22 {
            0 | 1 => stack.timeout(one),
            2 => stack.timeout(self.timeouts()),
            3 => stack.timeout(TimeoutLayer::builder().timeout(one)),
            4 => stack.without_timeout(),
            5 => stack.retry(a),
            6 | 7 => stack.retry(self.retry()),
            8 => stack.without_retry(),
            9..=11 => stack.circuit_breaker(self.breaker(http::circuit_breaker())),
            12 => stack.circuit_breaker(self.breaker(CircuitBreakerLayer::builder())),
            13 => stack.without_circuit_breaker(),
            14 => stack.bulkhead(a),
            15 => stack.bulkhead(http::bulkhead().limit(a).queue(b, one)),
            16 => stack.bulkhead(
                BulkheadLayer::builder()
                    .limit(a)
                    .queue(b, one)
                    .name(self.name.clone()),
            ),
            17 => stack.without_bulkhead(),
            18 => stack.attempt_timeout(one),
            19 => stack.without_attempt_timeout(),
            20 => stack.without_deadline(),
            _ => stack.without_correlation(),
        }
    }

    fn server(&self, stack: ServerBuilder) -> ServerBuilder {
        let ([one, _], [a, b, _]) = (self.times, self.counts);
        match self.what % 14 {
            0 => stack.timeout(one),
            1 => stack.timeout(self.timeouts()),
            2 => stack.timeout(TimeoutLayer::builder().timeout(one)),
            3 => stack.without_timeout(),
            4 => stack.load_shed(self.limit()),
            5 => stack.load_shed(
                http::load_shed()
                    .limit(self.limit())
                    .on_cancel(OnCancel::FailureAfter(one)),
            ),
            6 => stack.load_shed(LoadShedLayer::builder().name(self.name.clone())),
            7 => stack.without_load_shed(),
            8 => stack.bulkhead(a),
            9 => stack.bulkhead(http::bulkhead().limit(a).queue(b, one)),
            10 => stack.bulkhead(BulkheadLayer::builder().limit(a)),
            11 => stack.without_bulkhead(),
            12 => stack.respond(RespondLayer::new().show_names()),
            _ => stack.correlation(CorrelationLayer::server().ignore_inbound()),
        }
    }
}

/// Says something, and not too much: names and values may be long, and may be anything.
fn is_said_well(error: &ConfigError) -> Result<(), TestCaseError> {
    let all = [
        error.component(),
        error.field(),
        error.value(),
        error.rule(),
    ];
    prop_assert!(all.iter().all(|part| !part.is_empty()), "{error:?}");
    let text = error.to_string();
    prop_assert!(
        text.len() < 600 && !text.chars().any(char::is_control),
        "{text:?}"
    );
    Ok(())
}

fn limit(description: impl std::borrow::Borrow<Description>, layer: &str) -> Option<Duration> {
    let description = description.borrow();
    let layer = description
        .layers()
        .iter()
        .find(|l| l.layer() == layer)
        .unwrap();
    let (_, value) = layer.settings().find(|(name, _)| *name == "timeout")?;
    Some(crate::fits::parse(value))
}

/// Longer than any limit that is not refused, and all that may be waited for together.
const FOR_EVER: Duration = Duration::from_secs(1_000 * 86_400);
/// What timers may be late by.
const GRAIN: Duration = Duration::from_millis(3);

fn paused<F: Future>(run: F) -> F::Output {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build();
    runtime.unwrap().block_on(run)
}

fn acts() -> [Act; 4] {
    [Act::Status(200), Act::Hang, Act::Fail, Act::Status(503)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_client_is_refused_or_works(name in name(), sets in prop::collection::vec(set(), 0..6)) {
        let stack = sets.iter().fold(http::client(name), |stack, set| set.client(stack)).build();
        let stack = match stack {
            Ok(stack) => stack,
            Err(error) => return is_said_well(&error),
        };
        let told = stack.to_string();
        prop_assert!(told.lines().count() >= 8, "{told}");
        let (total, attempt) = (limit(stack.describe(), "timeout"), limit(stack.describe(), "attempt_timeout"));
        for act in acts() {
            let hangs = matches!(act, Act::Hang);
            let ended = paused(async {
                let began = tokio::time::Instant::now();
                let service = stack.wrap(Upstream::always(act));
                timeout(FOR_EVER, async { call(&service, get()).await.map(drop) }).await.is_ok().then(|| began.elapsed())
            });
            match (ended, total) {
                (Some(took), Some(total)) => prop_assert!(took <= total + GRAIN, "{took:?}\n{told}"),
                (Some(_), None) => {}
                (None, _) => prop_assert!(hangs && total.is_none() && attempt.is_none(), "{told}"),
            }
        }
        // Nothing is left behind, and what is open says so at once, although the service is not ready.
        prop_assert_eq!(stack.bulkhead().in_flight(), 0);
        prop_assert_eq!(stack.bulkhead().waiting(), 0);
    }

    #[test]
    fn a_server_is_refused_or_works(name in name(), sets in prop::collection::vec(set(), 0..5)) {
        let stack = sets.iter().fold(http::server(name), |stack, set| set.server(stack)).build();
        let stack = match stack {
            Ok(stack) => stack,
            Err(error) => return is_said_well(&error),
        };
        let told = stack.to_string();
        let total = limit(stack.describe(), "timeout");
        for act in [Act::Status(200), Act::Hang, Act::Status(503)] {
            let hangs = matches!(act, Act::Hang);
            let ended = paused(async {
                let began = tokio::time::Instant::now();
                let service = stack.wrap(infallible(Upstream::always(act)));
                timeout(FOR_EVER, async { call(&service, get()).await.map(drop) }).await.is_ok().then(|| began.elapsed())
            });
            match (ended, total) {
                (Some(took), Some(total)) => prop_assert!(took <= total + GRAIN, "{took:?}\n{told}"),
                (Some(_), None) => {}
                (None, _) => prop_assert!(hangs && total.is_none(), "{told}"),
            }
        }
        // One that is never ready: what sheds says so at once.
        let sheds = stack.describe().layers()[4].is_on();
        let ended = paused(async {
            let service = stack.wrap(infallible(Upstream::always(Act::Hang).never_ready()));
            timeout(FOR_EVER, call(&service, get())).await.ok().map(|response| response.unwrap().status().as_u16())
        });
        prop_assert_eq!(ended, sheds.then_some(503), "{}", told);
        prop_assert_eq!((stack.bulkhead().in_flight(), stack.load_shed().in_flight()), (0, 0));
    }
}
