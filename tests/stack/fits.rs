//! What a stack derives from one number goes together, and what it says would fit does fit.

use std::time::Duration;

use mainstay::http::ClientStack;
use mainstay::stack::Description;
use mainstay::{Backoff, ConfigError, Jitter, Limit, grpc, http};
use proptest::prelude::*;

/// From a microsecond to a day, as many short ones as long ones.
fn times(least: Duration) -> impl Strategy<Value = Duration> {
    let (least, most) = (least.as_nanos() as f64, 86_400e9);
    (0.0..=1.0_f64).prop_map(move |x| {
        let nanos = (least.ln() + x * (most / least).ln()).exp();
        Duration::from_nanos(nanos as u64).clamp(
            Duration::from_nanos(least as u64),
            Duration::from_secs(86_400),
        )
    })
}

/// A duration as its `Debug` says it.
pub(crate) fn parse(text: &str) -> Duration {
    let unit = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap();
    let (number, unit) = text.split_at(unit);
    let nanos: u64 = match unit {
        "ns" => 1,
        "µs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        _ => panic!("{text}"),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let whole = whole.parse::<u64>().unwrap() * nanos;
    let part = part.bytes().fold((0, nanos), |(sum, place), digit| {
        (sum + u64::from(digit - b'0') * (place / 10), place / 10)
    });
    Duration::from_nanos(whole + part.0)
}

fn setting(
    description: impl std::borrow::Borrow<Description>,
    layer: &str,
    name: &str,
) -> Option<Duration> {
    let description = description.borrow();
    let layer = description.layers().iter().find(|l| l.layer() == layer);
    let (_, value) = layer.unwrap().settings().find(|(n, _)| *n == name)?;
    Some(parse(value))
}

/// A client's numbers; `None` is the default of the stack.
#[derive(Debug, Clone, Default)]
struct Numbers {
    total: Option<Duration>,
    attempts: Option<u32>,
    attempt: Option<Duration>,
    backoff: Option<Backoff>,
    idle: Option<Duration>,
    whole: bool,
    bulkhead: Option<u32>,
    queue: Option<Duration>,
    rate_wait: Option<Duration>,
    slow: Option<Duration>,
    probes: Option<u32>,
    probe_life: Option<Duration>,
}

impl Numbers {
    fn build(&self) -> Result<ClientStack, ConfigError> {
        let mut stack = http::client("fits");
        let mut timeout = http::timeout().timeout(self.total.unwrap_or(Duration::from_secs(10)));
        if let Some(idle) = self.idle {
            timeout = timeout.body_idle(idle);
        }
        if self.whole {
            timeout = timeout.whole_body();
        }
        stack = stack.timeout(timeout);
        let mut retry = http::retry().attempts(self.attempts.unwrap_or(3));
        if let Some(backoff) = self.backoff {
            retry = retry.backoff(backoff);
        }
        stack = stack.retry(retry);
        if let Some(attempt) = self.attempt {
            stack = stack.attempt_timeout(attempt);
        }
        let bulkhead = http::bulkhead().limit(self.bulkhead.unwrap_or(1024));
        stack = match self.queue {
            Some(wait) => stack.bulkhead(bulkhead.queue(10, wait)),
            None => stack.bulkhead(bulkhead),
        };
        if let Some(wait) = self.rate_wait {
            let rate = http::rate_limit().per(100, Duration::from_secs(1));
            stack = stack.rate_limit(rate.max_wait(wait));
        }
        let mut breaker = http::circuit_breaker();
        if let Some(slow) = self.slow {
            breaker = breaker.slow_calls(slow, 0.5);
        }
        if let Some(probes) = self.probes {
            breaker = breaker.probes(probes);
        }
        if let Some(life) = self.probe_life {
            breaker = breaker.probe_life(life);
        }
        stack.circuit_breaker(breaker).build()
    }

    /// What would fit, for what does not: `None` where nothing is said.
    fn apply(&mut self, field: &str, fit: &str) -> Option<()> {
        let value = fit.trim_end_matches(" or more").trim_end_matches(',');
        let counted = |text: &str| {
            text.trim_end_matches('s')
                .strip_suffix(" attempt")?
                .parse()
                .ok()
        };
        if let Some(value) = value.strip_suffix(" each") {
            (self.rate_wait, self.queue) = (Some(parse(value)), Some(parse(value)));
            return Some(());
        }
        match field {
            "rate_limit.max_wait" => self.rate_wait = Some(parse(value)),
            "attempt_timeout" => self.attempt = Some(parse(value)),
            "bulkhead.queue.max_wait" | "bulkhead.queue" => self.queue = Some(parse(value)),
            "retry.backoff" => {
                self.backoff = Some(Backoff::constant(parse(value)).jitter(Jitter::None))
            }
            "circuit_breaker.slow_calls" => self.slow = Some(parse(value)),
            "circuit_breaker.probe_life" => self.probe_life = Some(parse(value)),
            "circuit_breaker.probes" => self.probes = value.parse().ok(),
            "timeout" => self.total = Some(parse(value)),
            "timeout.body_idle" => self.idle = Some(parse(value)),
            "retry" => match (counted(value), value.strip_prefix("attempt_timeout = ")) {
                (Some(attempts), _) => self.attempts = Some(attempts),
                (None, Some(attempt)) => self.attempt = Some(parse(attempt)),
                (None, None) if value == "shorter waits" => return None,
                (None, None) => panic!("{fit}"),
            },
            _ => panic!("{field}: {fit}"),
        }
        Some(())
    }

    /// All that a text says would fit, each applied.
    fn fits(&self, field: &str, text: &str) -> Vec<Self> {
        let Some((_, said)) = text.rsplit_once("; ") else {
            return Vec::new();
        };
        let mut all = Vec::new();
        if let Some((time, attempts)) = said.split_once(" would fit ") {
            let mut other = self.clone();
            other.apply(field, time).unwrap();
            other.apply("retry", attempts).unwrap();
            all.push(other);
        } else if let Some(fit) = said
            .strip_suffix(" would fit")
            .or(said.strip_suffix(" would leave it some time"))
        {
            for fit in fit.split(", or ") {
                let mut other = self.clone();
                all.extend(other.apply(field, fit).map(|()| other));
            }
        }
        all
    }
}

fn numbers() -> impl Strategy<Value = Numbers> {
    let time = || prop::option::of(times(Duration::from_micros(1)));
    let backoff =
        (times(Duration::from_micros(1)), 0..4, 0..4).prop_map(|(base, growth, jitter)| {
            let backoff = match growth {
                0 => Backoff::constant(base),
                1 => Backoff::linear(base),
                _ => Backoff::exponential(base),
            };
            backoff.jitter(match jitter {
                0 => Jitter::None,
                1 => Jitter::Equal,
                2 if growth > 1 => Jitter::Decorrelated,
                _ => Jitter::Full,
            })
        });
    (
        (
            time(),
            prop::option::of(1..=12_u32),
            time(),
            prop::option::of(backoff),
        ),
        (
            prop::option::weighted(0.2, times(Duration::from_micros(1))),
            any::<bool>(),
        ),
        (
            prop::option::of(1..6_u32),
            prop::option::weighted(0.3, times(Duration::from_micros(1))),
            prop::option::weighted(0.3, times(Duration::from_micros(1))),
        ),
        (
            prop::option::weighted(0.2, times(Duration::from_millis(1))),
            prop::option::of(1..8_u32),
            time(),
        ),
    )
        .prop_map(
            |(
                (total, attempts, attempt, backoff),
                (idle, whole),
                (bulkhead, queue, rate_wait),
                (slow, probes, probe_life),
            )| Numbers {
                total,
                attempts,
                attempt,
                backoff,
                idle,
                whole,
                bulkhead,
                queue,
                rate_wait,
                slow,
                probes,
                probe_life,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn from_one_number_follow_others_that_go_with_it(
        total in times(Duration::from_micros(1)),
        attempts in prop::option::of(1..=10_u32),
    ) {
        for kind in 0..2 {
            let (stack, told) = match (kind, attempts) {
                (0, None) => described(http::client("fits").timeout(total).build().map(|s| s.describe())),
                (0, Some(n)) => described(http::client("fits").timeout(total).retry(n).build().map(|s| s.describe())),
                (_, None) => described(grpc::client("fits").timeout(total).build().map(|s| s.describe())),
                (_, Some(n)) => described(grpc::client("fits").timeout(total).retry(n).build().map(|s| s.describe())),
            };
            for warning in stack.warnings() {
                prop_assert!(warning.to_string().contains("resolution of timers"), "{told}");
            }
            prop_assert_eq!(setting(&stack, "timeout", "timeout"), Some(total));
            prop_assert_eq!(setting(&stack, "attempt_timeout", "timeout"), None);
            // A probe may take as long as the call.
            let life = setting(&stack, "circuit_breaker", "probe_life").unwrap();
            prop_assert!(life >= total, "{told}");
        }
        let server = http::server("fits").timeout(total).build();
        for warning in server.unwrap().describe().warnings() {
            prop_assert!(warning.to_string().contains("resolution of timers"));
        }
    }

    #[test]
    fn what_would_fit_does_fit(numbers in numbers()) {
        match numbers.build() {
            Err(error) => {
                prop_assert!(!error.field().is_empty() && !error.value().is_empty() && !error.rule().is_empty());
                for other in numbers.fits(error.field(), error.rule()) {
                    if let Err(still) = other.build() {
                        prop_assert_ne!(still.field(), error.field(), "{}\n{}\n{:?}", error, still, other);
                        prop_assert_eq!(still.component(), "http client", "{}\n{}\n{:?}", error, still, other);
                    }
                }
            }
            Ok(stack) => for warning in stack.describe().warnings() {
                let text = warning.to_string();
                for other in numbers.fits(warning.fields()[0], &text) {
                    // Another clash may come to light, but not this one again.
                    match other.build() {
                        Err(still) => prop_assert!(!warning.fields().contains(&still.field()), "{text}\n{still}\n{other:?}"),
                        Ok(then) => {
                            let then = then.describe();
                            let again = then.warnings().iter().find(|w| w.fields() == warning.fields());
                            prop_assert!(again.is_none(), "{text}\n{}\n{other:?}", again.unwrap());
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_shedder_that_would_fit_does_fit(
        shed in 1..2_000_u32,
        places in 1..2_000_u32,
        queue in prop::option::of(1..2_000_u32),
    ) {
        let stack = |shed| {
            let stack = http::server("fits").load_shed(Limit::fixed(shed));
            let bulkhead = http::bulkhead().limit(places);
            match queue {
                Some(calls) => stack.bulkhead(bulkhead.queue(calls, Duration::from_millis(9))),
                None => stack.bulkhead(bulkhead),
            }.build().unwrap()
        };
        let room = places + queue.unwrap_or(0);
        let clashes = shed > room || (queue.is_some() && shed <= places);
        prop_assert_eq!(stack(shed).describe().warnings().len(), usize::from(clashes));
        for warning in stack(shed).describe().warnings() {
            let text = warning.to_string();
            let (_, fit) = text.rsplit_once("a limit of at ").unwrap();
            let fit = fit.split_once(" would fit").unwrap().0;
            let fit = fit.split_once(' ').unwrap().1.parse().unwrap();
            prop_assert!(stack(fit).describe().warnings().is_empty(), "{}", text);
        }
    }
}

fn described(description: Result<Description, ConfigError>) -> (Description, String) {
    let description = description.unwrap();
    let told = description.to_string();
    (description, told)
}
