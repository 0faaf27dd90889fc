//! A setting that a builder does not set keeps the default of the stack, and one that it sets is
//! never replaced.

use mainstay::stack::Description;
use mainstay::{
    Backoff, BulkheadLayer, Context, LoadShedLayer, RateLimitLayer, RetryLayer, TimeoutLayer, grpc,
    http, reqwest,
};

use crate::upstream::{Act, Upstream, call, get, ms, secs};

/// Fails unless both have the same layers with the same settings.
#[track_caller]
fn is_same(named: Description, standard: Description) {
    assert_eq!(named.layers(), standard.layers());
    assert!(named.warnings().is_empty(), "{named}");
}

/// The value of a setting.
fn setting(stack: Description, layer: &str, name: &str) -> String {
    let mut layers = stack.layers().iter();
    let layer = layers.find(|found| found.layer() == layer).unwrap();
    layer
        .settings()
        .find(|(found, _)| *found == name)
        .unwrap()
        .1
        .to_owned()
}

#[test]
fn builders_with_only_a_name_keep_the_settings_of_the_stack() {
    let plain = || TimeoutLayer::builder().name("x");
    let bulkhead = || BulkheadLayer::builder().name("x");

    let stack = http::client("a")
        .timeout(http::timeout().name("x"))
        .retry(http::retry().name("x"))
        .circuit_breaker(http::circuit_breaker().name("x"))
        .bulkhead(http::bulkhead().name("x"));
    let standard = http::client("a").build().unwrap();
    is_same(stack.build().unwrap().describe(), standard.describe());
    let stack = http::client("a").timeout(plain()).bulkhead(bulkhead());
    is_same(stack.build().unwrap().describe(), standard.describe());

    let stack = grpc::client("a")
        .timeout(http::timeout().name("x"))
        .retry(grpc::retry().name("x"))
        .circuit_breaker(grpc::circuit_breaker().name("x"))
        .bulkhead(grpc::bulkhead().name("x"));
    let standard = grpc::client("a").build().unwrap();
    is_same(stack.build().unwrap().describe(), standard.describe());

    let stack = reqwest::client("a")
        .timeout(plain())
        .retry(http::retry().name("x"))
        .circuit_breaker(http::circuit_breaker().name("x"))
        .bulkhead(bulkhead());
    let standard = reqwest::client("a").build().unwrap();
    is_same(stack.build().unwrap().describe(), standard.describe());

    let stack = http::server("a")
        .timeout(http::timeout().name("x"))
        .load_shed(http::load_shed().name("x"))
        .bulkhead(http::bulkhead().name("x"));
    let standard = http::server("a").build().unwrap();
    is_same(stack.build().unwrap().describe(), standard.describe());

    let stack = grpc::server("a")
        .timeout(plain())
        .load_shed(LoadShedLayer::builder().name("x"))
        .bulkhead(grpc::bulkhead().name("x"));
    let standard = grpc::server("a").build().unwrap();
    is_same(stack.build().unwrap().describe(), standard.describe());

    let stack = mainstay::client("a").timeout(plain()).bulkhead(bulkhead());
    let standard = mainstay::client("a").build().unwrap();
    is_same(stack.build().unwrap().describe(), standard.describe());

    let stack = mainstay::server("a")
        .timeout(plain())
        .load_shed(LoadShedLayer::builder().name("x"))
        .bulkhead(bulkhead());
    let standard = mainstay::server("a").build().unwrap();
    is_same(stack.build().unwrap().describe(), standard.describe());
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_with_only_a_name_admits_every_call() {
    let stack = http::client("a").bulkhead(BulkheadLayer::builder().name("x"));
    let stack = stack.build().unwrap();
    let service = stack.wrap(Upstream::always(Act::Later(ms(10), 200)));
    let calls = (0..300).map(|_| call(&service, get()));
    for response in futures::future::join_all(calls).await {
        assert_eq!(response.unwrap().status(), 200);
    }
    let bulkhead = stack.snapshot().bulkhead.unwrap();
    assert_eq!((bulkhead.name.as_str(), bulkhead.limit), ("x", None));
}

#[tokio::test(start_paused = true)]
async fn a_default_time_limit_of_a_client_yields_to_a_deadline_with_any_builder() {
    for stack in [
        http::client("a"),
        http::client("a").timeout(TimeoutLayer::builder().name("x")),
        http::client("a").timeout(http::timeout().body_idle(secs(60))),
    ] {
        let stack = stack.build().unwrap();
        let service = stack.wrap(Upstream::always(Act::Later(secs(40), 200)));
        let within = Context::current().with_timeout(secs(60));
        let response = within.scope(call(&service, get())).await.unwrap();
        assert_eq!(response.status(), 200);
    }
}

#[test]
fn a_value_that_equals_the_default_of_its_layer_is_kept() {
    let backoff = Backoff::default();
    let stack = http::client("a").timeout(ms(500));
    let stack = stack.retry(http::retry().backoff(backoff)).build().unwrap();
    assert_eq!(
        setting(stack.describe(), "retry", "backoff"),
        backoff.to_string()
    );
    let retry = RetryLayer::builder().backoff(backoff);
    let stack = mainstay::client("a")
        .timeout(ms(500))
        .retry(retry)
        .build()
        .unwrap();
    assert_eq!(
        setting(stack.describe(), "retry", "backoff"),
        backoff.to_string()
    );

    let breaker = http::circuit_breaker().probe_life(secs(10));
    let stack = http::client("a").circuit_breaker(breaker).build().unwrap();
    assert_eq!(
        setting(stack.describe(), "circuit_breaker", "probe_life"),
        "10s"
    );
}

#[test]
fn a_setting_without_its_limit_is_refused() {
    let refused = |result: Result<(), mainstay::ConfigError>| result.unwrap_err().to_string();

    let queue = BulkheadLayer::builder().queue(10, ms(10));
    assert_eq!(
        refused(http::server("a").bulkhead(queue).build().map(drop)),
        "bulkhead `a`: limit = none is refused: must be set with a queue: a stack has no limit by \
         default, so no call waits"
    );
    let queue = BulkheadLayer::builder().limit(16_777_215).queue(10, ms(10));
    assert_eq!(
        refused(queue.build().map(drop)),
        "bulkhead: limit = off is refused: must be set with a queue: without a limit no call waits"
    );

    for rate in [
        RateLimitLayer::builder(),
        RateLimitLayer::builder().burst(20),
    ] {
        assert_eq!(
            refused(mainstay::client("a").rate_limit(rate).build().map(drop)),
            "rate_limit `a`: per = none is refused: must be set: a stack has no rate limit by \
             default"
        );
    }
    let waits = http::rate_limit().max_wait(ms(10));
    assert!(http::client("a").rate_limit(waits).build().is_err());
}
