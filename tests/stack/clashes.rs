//! Settings that do not go together: what is said, and what would fit. And that what would fit does.

use std::time::Duration;

use mainstay::http::ClientStack;
use mainstay::stack::{Description, ServerStack};
use mainstay::{
    Backoff, ConfigError, Jitter, Limit, RateLimitLayer, RetryBudget, TimeoutLayer, Window, grpc,
    http, reqwest,
};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn said<T: std::fmt::Debug>(result: Result<T, ConfigError>) -> String {
    result.unwrap_err().to_string()
}

/// The one warning that there is.
#[track_caller]
fn warned(description: impl std::borrow::Borrow<Description>) -> String {
    let description = description.borrow();
    let [warning] = description.warnings() else {
        panic!("{description}");
    };
    assert!(!warning.fields().is_empty());
    warning.to_string()
}

#[track_caller]
fn client_warned(stack: Result<ClientStack, ConfigError>) -> String {
    warned(stack.unwrap().describe())
}

#[track_caller]
fn server_warned(stack: Result<ServerStack, ConfigError>) -> String {
    warned(stack.unwrap().describe())
}

#[track_caller]
fn is_quiet(description: impl std::borrow::Borrow<Description>) {
    let description = description.borrow();
    assert!(description.warnings().is_empty(), "{description}");
}

#[test]
fn an_attempt_that_may_take_longer_than_the_call() {
    let stack = http::client("payments").timeout(secs(2));
    assert_eq!(
        said(stack.attempt_timeout(secs(5)).build()),
        "http client `payments`: attempt_timeout = 5s is refused: must be at most timeout, which is 2s: it could never end an attempt; \
         616ms would fit 3 attempts"
    );
    let stack = http::client("payments").timeout(secs(2));
    is_quiet(stack.attempt_timeout(ms(616)).build().unwrap().describe());
    let stack = grpc::client("payments").timeout(secs(2)).without_retry();
    assert_eq!(
        said(stack.attempt_timeout(secs(5)).build()),
        "grpc client `payments`: attempt_timeout = 5s is refused: must be at most timeout, which is 2s: it could never end an attempt; \
         2s would fit 1 attempt"
    );
}

#[test]
fn attempts_that_do_not_all_fit() {
    let stack = || http::client("payments").timeout(secs(2));
    assert_eq!(
        client_warned(stack().attempt_timeout(secs(1)).build()),
        "retry: 3 attempts of attempt_timeout = 1s and 150ms of back-off take up to 3.15s, so timeout = 2s ends the last ones early; \
         attempt_timeout = 616ms, or 1 attempt, would fit"
    );
    is_quiet(
        stack()
            .retry(1)
            .attempt_timeout(secs(1))
            .build()
            .unwrap()
            .describe(),
    );

    let slow = http::retry()
        .attempts(4)
        .backoff(Backoff::constant(ms(600)).jitter(Jitter::None));
    assert_eq!(
        client_warned(stack().retry(slow).attempt_timeout(ms(250)).build()),
        "retry: 4 attempts of attempt_timeout = 250ms and 1.8s of back-off take up to 2.8s, so timeout = 2s ends the last ones early; \
         attempt_timeout = 50ms, or 3 attempts, would fit"
    );
}

#[test]
fn a_back_off_that_no_retry_would_come_out_of() {
    let slow = http::retry().backoff(Backoff::constant(secs(3)).jitter(Jitter::None));
    assert_eq!(
        said(
            http::client("payments")
                .timeout(secs(2))
                .retry(slow)
                .build()
        ),
        "http client `payments`: retry.backoff = 3s is refused: must be shorter than timeout, which is 2s: no retry would ever be sent; \
         100ms would fit"
    );
}

#[test]
fn a_window_that_never_holds_the_calls_it_is_to_judge() {
    let breaker = http::circuit_breaker()
        .window(Window::count(10))
        .min_calls(20);
    assert_eq!(
        said(http::client("payments").circuit_breaker(breaker).build()),
        "circuit_breaker `payments`: min_calls = 20 is refused: must be at most the window, which is 10 calls"
    );
}

#[test]
fn a_call_that_could_never_be_slow() {
    let breaker = || http::circuit_breaker().slow_calls(secs(1), 0.5);
    let stack = || http::client("payments").attempt_timeout(ms(800));
    assert_eq!(
        said(stack().circuit_breaker(breaker()).build()),
        "http client `payments`: circuit_breaker.slow_calls = 1s is refused: must be shorter than attempt_timeout, which is 800ms: no call would \
         ever be slow; 400ms would fit"
    );
    let breaker = http::circuit_breaker().slow_calls(ms(400), 0.5);
    is_quiet(stack().circuit_breaker(breaker).build().unwrap().describe());
}

#[test]
fn a_probe_that_fails_before_its_attempt_does() {
    let breaker = http::circuit_breaker().probe_life(ms(500));
    assert_eq!(
        client_warned(
            http::client("payments")
                .attempt_timeout(secs(3))
                .circuit_breaker(breaker)
                .build()
        ),
        "circuit_breaker.probe_life = 500ms fails a probe before attempt_timeout = 3s does; 3s would fit"
    );
    // The default of the stack follows the attempt.
    let patient = http::client("payments").timeout(secs(120)).build().unwrap();
    is_quiet(patient.describe());
    assert!(
        patient.to_string().contains("probe_life = 120s"),
        "{patient}"
    );
}

#[test]
fn more_probes_than_places() {
    let breaker = http::circuit_breaker().probes(5);
    let stack = http::client("payments")
        .circuit_breaker(breaker)
        .bulkhead(2);
    assert_eq!(
        client_warned(stack.build()),
        "circuit_breaker.probes = 5 are more than bulkhead = 2 admits at a time; 2 would fit"
    );
}

#[test]
fn a_queue_in_which_a_call_times_out() {
    let queue = |wait| http::bulkhead().limit(8).queue(16, wait);
    let server = || http::server("orders").timeout(secs(1));
    let client = || http::client("payments").timeout(secs(1)).without_retry();
    let rule = "must be shorter than timeout, which is 1s: a call would time out in the queue; 250ms would leave it some time";
    let refused = |kind: &str| format!("{kind}: bulkhead.queue.max_wait = 1s is refused: {rule}");
    assert_eq!(
        said(
            server()
                .bulkhead(queue(secs(1)))
                .without_load_shed()
                .build()
        ),
        refused("http server `orders`")
    );
    assert_eq!(
        said(client().bulkhead(queue(secs(1))).build()),
        refused("http client `payments`")
    );
    let unwise = "bulkhead.queue: a call may wait for 800ms of its timeout of 1s, which leaves less than half for its work; \
                  250ms would fit";
    assert_eq!(
        server_warned(server().bulkhead(queue(ms(800))).build()),
        unwise
    );
    assert_eq!(
        client_warned(client().bulkhead(queue(ms(800))).build()),
        unwise
    );
    is_quiet(
        server()
            .bulkhead(queue(ms(250)))
            .build()
            .unwrap()
            .describe(),
    );
}

#[test]
fn a_rate_limit_in_whose_queue_a_call_times_out() {
    let rate = |wait| http::rate_limit().per(100, secs(1)).max_wait(wait);
    let server = || http::server("orders").timeout(secs(1));
    let client = || http::client("payments").timeout(secs(1)).without_retry();
    let rule = "must be shorter than timeout, which is 1s: a call would time out in the queue; 250ms would leave it some time";
    let refused = |kind: &str| format!("{kind}: rate_limit.max_wait = 1s is refused: {rule}");
    assert_eq!(
        said(server().rate_limit(rate(secs(1))).build()),
        refused("http server `orders`")
    );
    assert_eq!(
        said(client().rate_limit(rate(secs(1))).build()),
        refused("http client `payments`")
    );
    let any = RateLimitLayer::builder().per(9, secs(1)).max_wait(secs(1));
    let any = mainstay::server("jobs").timeout(secs(1)).rate_limit(any);
    assert_eq!(said(any.build()), refused("server `jobs`"));
    // A default time limit counts, too.
    let patient = http::server("orders").rate_limit(rate(secs(30))).build();
    assert!(said(patient).contains("rate_limit.max_wait = 30s is refused"));
    let unlimited = http::server("orders").without_timeout();
    let unlimited = unlimited.rate_limit(rate(secs(30))).build().unwrap();
    is_quiet(unlimited.describe());

    let unwise = "rate_limit.max_wait: a call may wait for 800ms of its timeout of 1s, which leaves less than half for its work; \
                  250ms would fit";
    assert_eq!(
        server_warned(server().rate_limit(rate(ms(800))).build()),
        unwise
    );
    let wise = client().rate_limit(rate(ms(250))).build().unwrap();
    is_quiet(wise.describe());
}

#[test]
fn two_queues_in_which_a_call_times_out() {
    let stack = |first, second| {
        let rate = http::rate_limit().per(100, secs(1)).max_wait(first);
        let stack = http::client("payments").timeout(secs(1)).without_retry();
        stack
            .rate_limit(rate)
            .bulkhead(http::bulkhead().limit(8).queue(16, second))
    };
    assert_eq!(
        said(stack(ms(400), ms(600)).build()),
        "http client `payments`: bulkhead.queue.max_wait = 600ms is refused: must be shorter than 600ms, which the other wait \
         leaves of timeout = 1s: a call would time out in the queue; 125ms would leave it some time"
    );
    assert_eq!(
        client_warned(stack(ms(400), ms(200)).build()),
        "rate_limit.max_wait and bulkhead.queue: a call may wait for 600ms of its timeout of 1s, which leaves less than half \
         for its work; 125ms each would fit"
    );
    is_quiet(stack(ms(125), ms(125)).build().unwrap().describe());
}

#[test]
fn a_wait_for_the_rate_limit_is_part_of_what_an_attempt_takes() {
    let rate = || http::rate_limit().per(100, secs(1)).max_wait(ms(200));
    let stack = || http::client("payments").timeout(secs(2)).rate_limit(rate());
    assert!(said(stack().attempt_timeout(secs(5)).build()).ends_with("416ms would fit 3 attempts"));
    assert_eq!(
        client_warned(stack().attempt_timeout(ms(600)).build()),
        "retry: 3 attempts of attempt_timeout = 600ms, each after 200ms in queues, and 150ms of back-off take up to 2.55s, so \
         timeout = 2s ends the last ones early; attempt_timeout = 416ms, or 2 attempts, would fit"
    );
}

#[test]
fn a_queue_is_part_of_what_an_attempt_takes() {
    let queue = || http::bulkhead().limit(8).queue(16, ms(200));
    let stack = || http::client("payments").timeout(secs(2)).bulkhead(queue());
    let stack = stack().build().unwrap();
    is_quiet(stack.describe());
    assert!(stack.to_string().contains("attempt_timeout off"), "{stack}");
    let refused = http::client("payments").timeout(secs(2)).bulkhead(queue());
    assert!(said(refused.attempt_timeout(secs(5)).build()).ends_with("416ms would fit 3 attempts"));
}

#[test]
fn a_body_limit_that_can_never_end_a_body() {
    let limit = || http::timeout().timeout(secs(5)).whole_body();
    assert_eq!(
        said(
            http::server("orders")
                .timeout(limit().body_idle(secs(5)))
                .build()
        ),
        "http server `orders`: timeout.body_idle = 5s is refused: must be shorter than timeout, which is 5s and covers the whole body: it could \
         never end one"
    );
    is_quiet(
        http::server("orders")
            .timeout(limit().body_idle(secs(4)))
            .build()
            .unwrap()
            .describe(),
    );
    // It was not asked for, and does no harm.
    is_quiet(
        http::server("orders")
            .timeout(limit())
            .build()
            .unwrap()
            .describe(),
    );
}

#[test]
fn a_body_limit_that_ends_bodies_that_only_pause() {
    let limit = http::timeout().body_idle(ms(200));
    assert_eq!(
        server_warned(http::server("orders").timeout(limit).build()),
        "timeout.body_idle = 200ms ends bodies that only pause; 1s or more would fit"
    );
}

#[test]
fn a_budget_that_allows_no_retry() {
    assert_eq!(
        said(RetryBudget::builder().ratio(0.0).min_per_second(0).build()),
        "retry_budget: ratio = 0 is refused: must be more than 0 if min_per_second allows no retry within ttl"
    );
    let stack = reqwest::client("payments").retry(http::retry().without_budget());
    assert_eq!(
        client_warned(stack.build()),
        "retry.without_budget: when every attempt fails, retries multiply the load by 3"
    );
    let once = http::client("payments").retry(http::retry().attempts(1).without_budget());
    is_quiet(once.build().unwrap().describe());
}

#[test]
fn what_retries_may_keep() {
    let stack = http::client("payments").retry(http::retry().replay_limit(4 << 20));
    is_quiet(stack.build().unwrap().describe());
    let stack = http::client("payments").retry(http::retry().replay_limit(4 << 20));
    assert_eq!(
        client_warned(stack.bulkhead(1_024).build()),
        "retry.replay_limit = 4194304 for each of the bulkhead's calls amounts to 4096 MiB"
    );
}

#[test]
fn a_shedder_that_the_bulkhead_does_not_let_work() {
    let stack = || http::server("orders").bulkhead(64);
    assert_eq!(
        server_warned(stack().load_shed(Limit::fixed(100)).build()),
        "load_shed = fixed at 100 is never reached: bulkhead = 64 rejects earlier; a limit of at most 64 would fit, or a larger bulkhead"
    );
    is_quiet(
        stack()
            .load_shed(Limit::fixed(64))
            .build()
            .unwrap()
            .describe(),
    );
    // Who waits in the bulkhead's queue is in flight for the shedder.
    let queue = || http::bulkhead().limit(64).queue(30, ms(50));
    let stack = || http::server("orders").bulkhead(queue());
    assert_eq!(
        server_warned(stack().load_shed(Limit::fixed(64)).build()),
        "bulkhead.queue is never used: load_shed = fixed at 64 admits no more calls than bulkhead = 64; \
         a limit of at least 94 would fit"
    );
    for limit in [65, 94] {
        is_quiet(
            stack()
                .load_shed(Limit::fixed(limit))
                .build()
                .unwrap()
                .describe(),
        );
    }
    let queued = stack().build().unwrap();
    is_quiet(queued.describe());
    let by_lag = "load_shed       limit = adaptive (scheduler lag)\n";
    assert!(queued.to_string().contains(by_lag), "{queued}");
    // The default of the stack goes with any bulkhead.
    let small = http::server("orders").bulkhead(5).build().unwrap();
    is_quiet(small.describe());
    assert!(small.to_string().contains(by_lag), "{small}");
    let queued = || {
        let queue = http::bulkhead()
            .limit(5)
            .queue(3, Duration::from_millis(50));
        http::server("orders").bulkhead(queue)
    };
    assert_eq!(
        server_warned(queued().load_shed(Limit::fixed(9)).build()),
        "load_shed = fixed at 9 is never reached: bulkhead = 5 with a queue of 3 rejects earlier; a limit of at most 8 would fit, or a larger bulkhead"
    );
    is_quiet(
        queued()
            .load_shed(Limit::fixed(8))
            .build()
            .unwrap()
            .describe(),
    );
}

#[test]
fn times_that_no_timer_can_keep() {
    let text = |name| {
        format!("{name} = 2ms is close to the resolution of timers, 1ms; 5ms or more would fit")
    };
    assert_eq!(
        server_warned(http::server("orders").timeout(ms(2)).build()),
        text("timeout")
    );
    let stack = http::client("payments").attempt_timeout(ms(2));
    assert_eq!(client_warned(stack.build()), text("attempt_timeout"));
}

#[test]
fn what_a_layer_refuses_is_refused_in_its_name() {
    assert_eq!(
        said(http::server("orders").bulkhead(0).build()),
        "bulkhead `orders`: limit = 0 is refused: must be from 1 to 16777215"
    );
    assert_eq!(
        said(http::client("payments").retry(0).build()),
        "retry `payments`: attempts = 0 is refused: must be from 1 (no retry) to 100"
    );
    assert_eq!(
        said(http::client("payments").timeout(Duration::ZERO).build()),
        "timeout `payments`: timeout = 0ns is refused: must be more than 0 and at most 24 hours"
    );
    // A stack has two of them.
    assert_eq!(
        said(
            http::client("payments")
                .attempt_timeout(Duration::ZERO)
                .build()
        ),
        "attempt_timeout `payments`: timeout = 0ns is refused: must be more than 0 and at most 24 hours"
    );
    assert_eq!(
        said(http::server("or\nders").build()),
        "http server: name = \"or\\nders\" is refused: must be made of ASCII letters, digits and . _ : / -"
    );
    assert_eq!(
        said(grpc::client("").build()),
        "grpc client: name = \"\" is refused: must not be empty"
    );
    let limit = TimeoutLayer::builder().timeout(Duration::MAX);
    let error = http::server("orders").timeout(limit).build().unwrap_err();
    assert_eq!((error.component(), error.field()), ("timeout", "timeout"));
    // A layer with a name of its own keeps it, and a layer that could not tell its name gets the stack's.
    assert_eq!(error.name(), Some("orders"));
    let named = http::bulkhead().name("disk").limit(0);
    let error = http::server("orders").bulkhead(named).build().unwrap_err();
    assert_eq!((error.name(), error.field()), (Some("disk"), "limit"));
    let error = http::server("or\nders").bulkhead(0).build().unwrap_err();
    assert_eq!((error.name(), error.field()), (None, "name"));
}

#[test]
fn with_nothing_set_nothing_is_said() {
    is_quiet(http::server("orders").build().unwrap().describe());
    is_quiet(grpc::server("users").build().unwrap().describe());
    is_quiet(http::client("payments").build().unwrap().describe());
    is_quiet(grpc::client("users").build().unwrap().describe());
    is_quiet(reqwest::client("payments").build().unwrap().describe());
}
