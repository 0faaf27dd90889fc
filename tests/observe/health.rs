//! Health checks: what fails readiness, and what is only reported.

use std::convert::Infallible;
use std::time::Duration;

use http_body_util::BodyExt as _;
use mainstay::health::{Health, Impairment, Readiness};
use mainstay::registry::Registry;
use mainstay::shutdown::Shutdown;
use mainstay::{
    BulkheadLayer, CircuitBreakerLayer, Limit, LoadShedLayer, Mode, Overrides, Priority, Reason,
    State,
};
use tower::{Layer, Service, ServiceExt as _, service_fn};

/// The impaired instances.
fn impaired(readiness: &Readiness) -> Vec<(&str, Impairment, bool)> {
    let instances = readiness.instances.iter();
    instances
        .map(|one| (one.name.as_str(), one.impairment, one.essential))
        .collect()
}

/// A circuit that one failure opens, and one probe closes.
fn fragile(registry: &Registry, name: &str) -> CircuitBreakerLayer {
    let layer = CircuitBreakerLayer::builder()
        .name(name)
        .consecutive_failures(1)
        .probes(1)
        .jitter(0.0)
        .build()
        .unwrap();
    registry.add(layer.handle());
    layer
}

async fn call(layer: &CircuitBreakerLayer, ok: bool) {
    let service =
        service_fn(async |ok: bool| ok.then_some(()).ok_or(std::io::Error::other("down")));
    let _ = layer.layer(service).oneshot(ok).await;
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_is_reported_and_fails_nothing() {
    let registry = Registry::new();
    let payments = fragile(&registry, "payments");
    let health = Health::new(&registry);
    assert_eq!(health.readiness().to_string(), "ready");
    call(&payments, false).await;
    let readiness = health.readiness();
    assert!(readiness.ready && readiness.reasons.is_empty());
    assert_eq!(
        impaired(&readiness),
        [("payments", Impairment::Open, false)]
    );
    assert_eq!(
        readiness.to_string(),
        "ready\ncircuit_breaker payments: open, 5.0s left"
    );
    drop(payments);
    assert!(health.readiness().instances.is_empty());
}

/// Otherwise it would never be ready again: without calls the circuit cannot close.
#[tokio::test(start_paused = true)]
async fn an_essential_circuit_fails_while_its_open_time_lasts() {
    let registry = Registry::new();
    let payments = fragile(&registry, "payments");
    let other = fragile(&registry, "other");
    let health = Health::new(&registry).essential("payments");
    call(&other, false).await;
    assert!(health.readiness().ready, "only one of them is essential");
    call(&payments, false).await;
    let readiness = health.readiness();
    assert!(!readiness.ready);
    assert_eq!(readiness.reasons, ["circuit_breaker `payments` is open"]);
    assert_eq!(
        impaired(&readiness),
        [
            ("payments", Impairment::Open, true),
            ("other", Impairment::Open, false)
        ]
    );

    tokio::time::advance(Duration::from_millis(4_999)).await;
    assert!(!health.readiness().ready);
    tokio::time::advance(Duration::from_millis(1)).await;
    let readiness = health.readiness();
    assert_eq!(payments.handle().state(), State::Open, "no call came yet");
    assert!(readiness.ready);
    assert_eq!(
        impaired(&readiness)[0],
        ("payments", Impairment::HalfOpen, false)
    );

    // The probe fails.
    call(&payments, false).await;
    assert!(!health.readiness().ready);
    tokio::time::advance(Duration::from_secs(10)).await;
    call(&payments, true).await;
    let readiness = health.readiness();
    assert!(readiness.ready);
    assert_eq!(
        impaired(&readiness),
        [("other", Impairment::HalfOpen, false)]
    );
    payments.handle().force_open();
    assert_eq!(
        health.readiness().reasons,
        ["circuit_breaker `payments` is forced_open"]
    );
    payments.handle().force_closed();
    assert!(health.readiness().ready);
}

#[tokio::test]
async fn a_circuit_that_only_reports_is_not_impaired() {
    let registry = Registry::new();
    let payments = fragile(&registry, "payments");
    let health = Health::new(&registry).essential("payments");
    call(&payments, false).await;
    assert!(!health.readiness().ready);
    for mode in [Mode::Shadow, Mode::Off] {
        drop(
            payments
                .handle()
                .change(|settings| settings.mode = mode)
                .unwrap(),
        );
        let readiness = health.readiness();
        assert!(readiness.instances.is_empty(), "{readiness}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_keys_it_fails_only_when_all_keys_do() {
    let registry = Registry::new();
    let circuit = CircuitBreakerLayer::builder()
        .name("hosts")
        .keyed(|(host, _): &(&'static str, bool)| (*host).into())
        .consecutive_failures(1)
        .probes(1)
        .jitter(0.0)
        .build()
        .unwrap();
    registry.add(circuit.handle());
    let call = async |host, ok| {
        let service = service_fn(async |(_, ok): (&'static str, bool)| {
            ok.then_some(()).ok_or(std::io::Error::other("down"))
        });
        let _ = circuit.layer(service).oneshot((host, ok)).await;
    };
    let health = Health::new(&registry).essential("hosts");
    call("a", true).await;
    call("b", false).await;
    let readiness = health.readiness();
    assert!(readiness.ready);
    assert_eq!(impaired(&readiness), [("hosts", Impairment::Open, false)]);
    assert_eq!(readiness.instances[0].keys, Some(1));
    assert_eq!(
        readiness.to_string(),
        "ready\ncircuit_breaker hosts: open for 1 key, 5.0s left"
    );

    tokio::time::advance(Duration::from_secs(3)).await;
    call("a", false).await;
    assert!(!health.readiness().ready);
    // One of them may be probed now.
    tokio::time::advance(Duration::from_secs(2)).await;
    let readiness = health.readiness();
    assert!(readiness.ready);
    assert_eq!(readiness.instances[0].keys, Some(2));

    let bulkhead = BulkheadLayer::builder()
        .name("hosts")
        .keyed(|host: &&'static str| (*host).into())
        .limit(1)
        .build()
        .unwrap();
    let registry = Registry::new();
    registry.add(bulkhead.handle());
    let health = Health::new(&registry).essential("hosts");
    let hangs = service_fn(|_| std::future::pending::<Result<(), Infallible>>());
    let mut service = bulkhead.layer(hangs);
    let mut held = vec![];
    for (host, ready) in [("a", false), ("b", false)] {
        let mut call = Box::pin(service.ready().await.unwrap().call(host));
        assert!(futures::poll!(call.as_mut()).is_pending());
        held.push(call);
        assert_eq!(health.readiness().ready, ready, "{host}");
    }
    drop(held.pop());
    let readiness = health.readiness();
    assert!(readiness.ready);
    assert_eq!(readiness.instances[0].keys, Some(1));
}

#[test]
fn an_essential_name_that_nothing_has_fails() {
    let registry = Registry::new();
    let health = Health::new(&registry)
        .essential("payments")
        .essential("stock");
    assert_eq!(
        health.readiness().reasons,
        [
            "nothing has the name `payments`",
            "nothing has the name `stock`"
        ]
    );
    let build = |name: &str| mainstay::client(name).registry(&registry).build().unwrap();
    let (payments, stock) = (build("payments"), build("stock"));
    assert!(health.readiness().ready);
    drop(stock);
    assert_eq!(health.readiness().reasons, ["nothing has the name `stock`"]);
    drop(payments);
    let odd = Health::new(&registry).essential("a\n\"b").readiness();
    assert_eq!(odd.reasons, ["nothing has the name `a\\n\\\"b`"]);
}

/// Its circuit decides, by the name of the stack, too.
#[tokio::test]
async fn a_client_that_is_essential_may_be_full() {
    let registry = Registry::new();
    let circuit = CircuitBreakerLayer::builder()
        .name("inner")
        .consecutive_failures(1);
    let stack = mainstay::client("payments")
        .registry(&registry)
        .bulkhead(1)
        .circuit_breaker(circuit)
        .build()
        .unwrap();
    let health = Health::new(&registry).essential("payments");
    let mut service = stack.wrap(service_fn(async |fails: bool| match fails {
        true => Err(std::io::Error::other("down")),
        false => std::future::pending::<Result<(), _>>().await,
    }));
    let mut held = Box::pin(service.ready().await.unwrap().call(false));
    assert!(futures::poll!(held.as_mut()).is_pending());
    let readiness = health.readiness();
    assert!(readiness.ready);
    assert_eq!(
        impaired(&readiness),
        [("payments", Impairment::Full, false)]
    );
    drop(held);
    let _ = service.ready().await.unwrap().call(true).await;
    let readiness = health.readiness();
    assert_eq!(readiness.reasons, ["circuit_breaker `inner` is open"]);
}

#[tokio::test]
async fn an_essential_server_fails_while_it_is_full_or_sheds() {
    let registry = Registry::new();
    let bulkhead = BulkheadLayer::builder()
        .name("jobs")
        .limit(1)
        .build()
        .unwrap();
    let load = LoadShedLayer::builder()
        .name("jobs")
        .limit(Limit::fixed(1))
        .build()
        .unwrap();
    registry.add(bulkhead.handle());
    registry.add(load.handle());
    let informational = Health::new(&registry);
    let essential = informational.clone().essential("jobs");
    let hangs = service_fn(|()| std::future::pending::<Result<(), Infallible>>());
    let mut service = load.layer(bulkhead.layer(hangs));
    let mut held = Box::pin(service.ready().await.unwrap().call(()));
    assert!(futures::poll!(held.as_mut()).is_pending());
    assert!(informational.readiness().ready);
    let readiness = essential.readiness();
    assert_eq!(
        readiness.reasons,
        ["bulkhead `jobs` is full", "load_shed `jobs` is shedding"]
    );
    drop(held);
    assert!(essential.readiness().ready);
}

/// Calls without a priority are shed before the whole limit is in use.
#[tokio::test(start_paused = true)]
async fn a_load_shedder_that_keeps_a_reserve_is_shedding() {
    let registry = Registry::new();
    let load = LoadShedLayer::builder()
        .name("jobs")
        .limit(Limit::fixed(2))
        .build()
        .unwrap();
    registry.add(load.handle());
    let health = Health::new(&registry).essential("jobs");
    let hangs = load.layer(service_fn(|()| {
        std::future::pending::<Result<(), Infallible>>()
    }));
    let mut held = Box::pin(hangs.clone().oneshot(()));
    assert!(futures::poll!(held.as_mut()).is_pending());
    assert!(health.readiness().ready, "one more is admitted");
    let urgent = Overrides::new().priority(Priority::High);
    let mut urgent = Box::pin(urgent.scope(hangs.clone().oneshot(())));
    assert!(futures::poll!(urgent.as_mut()).is_pending());
    drop(urgent);
    let rejected = hangs.oneshot(()).await.unwrap_err();
    assert_eq!(rejected.reason(), Reason::Shed);
    assert!(!health.readiness().ready);
    drop(held);
    assert!(health.readiness().ready);
}

/// Over HTTP: the status, the fields and the body.
async fn ask(health: &Health, method: &str, path: &str) -> (u16, http::HeaderMap, String) {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .body(())
        .unwrap();
    let response = health.service().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    (head.status.as_u16(), head.headers, body)
}

#[tokio::test(start_paused = true)]
async fn the_http_service_answers_in_json() {
    let registry = Registry::new();
    let payments = fragile(&registry, "payments");
    let shutdown = Shutdown::builder().manual();
    let health = Health::new(&registry)
        .essential("payments")
        .shutdown(&shutdown);
    call(&payments, false).await;

    let (status, headers, body) = ask(&health, "GET", "/readyz").await;
    assert_eq!(
        (status, &headers["cache-control"]),
        (503, &"no-store".parse().unwrap())
    );
    assert_eq!(headers["content-type"], "application/json");
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(json, serde_json::to_value(health.readiness()).unwrap());
    assert_eq!(json["instances"][0]["impairment"], "open");
    assert_eq!(json["instances"][0]["retry_after_seconds"], 5.0);

    let (status, _, body) = ask(&health, "GET", "/livez").await;
    assert_eq!((status, body.as_str()), (200, r#"{"live":true}"#));
    payments.handle().reset();
    assert_eq!(ask(&health, "GET", "/internal/readyz/").await.0, 200);
    let (status, headers, body) = ask(&health, "HEAD", "/readyz").await;
    assert_eq!((status, body.as_str()), (200, ""));
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(ask(&health, "GET", "/orders").await.0, 404);
    let (status, headers, _) = ask(&health, "POST", "/readyz").await;
    assert_eq!(
        (status, &headers["allow"]),
        (405, &"GET, HEAD".parse().unwrap())
    );

    shutdown.begin();
    let (status, _, body) = ask(&health, "GET", "/readyz").await;
    assert_eq!(status, 503);
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&json["ready"], &json["shutting_down"]),
        (&false.into(), &true.into())
    );
    assert_eq!(json["reasons"][0], "the program is shutting down");
    assert_eq!(ask(&health, "GET", "/livez").await.0, 200);

    let odd = Health::new(&registry).essential("a\"\\\u{1}\nb\u{fc}");
    let (_, _, body) = ask(&odd, "GET", "/readyz").await;
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(json, serde_json::to_value(odd.readiness()).unwrap());
}

/// A key with a limit of its own is compared with it.
#[tokio::test(start_paused = true)]
async fn each_key_is_full_by_its_own_limit() {
    let registry = Registry::new();
    let layer = BulkheadLayer::builder()
        .name("hosts")
        .limit(2)
        .keyed(|host: &&'static str| (*host).into())
        .build()
        .unwrap();
    registry.add(layer.handle());
    let health = Health::new(&registry).essential("hosts");
    let service =
        service_fn(async |_: &'static str| std::future::pending::<Result<(), Infallible>>().await);
    let call = |host| tokio::spawn(layer.layer(service).oneshot(host));
    let calls = [call("wide"), call("wide")];
    tokio::time::sleep(Duration::from_millis(1)).await;
    let wide = layer.handle().key("wide").unwrap();
    assert!(!health.readiness().ready);
    let _ = wide.change(|settings| settings.limit = Some(100)).unwrap();
    assert!(health.readiness().ready);
    assert!(health.readiness().instances.is_empty());
    let _ = wide.change(|settings| settings.limit = Some(1)).unwrap();
    assert!(!health.readiness().ready);
    let _ = wide
        .change(|settings| settings.mode = Mode::Shadow)
        .unwrap();
    assert!(health.readiness().ready);
    calls.iter().for_each(tokio::task::JoinHandle::abort);
}
