//! The registry: its members, how long they stay, and its events.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::thread;

use futures::FutureExt as _;
use mainstay::admission::{Admission, AdmissionLayer, Refusal, Ticket};
use mainstay::registry::{Instance, LookupError, Registry};
use mainstay::{
    BulkheadLayer, CircuitBreakerLayer, Event, EventKind, Limit, LoadShedLayer, Mode,
    RateLimitLayer, RetryLayer, State, TimeoutLayer, http,
};
use tower::{Layer, Service, ServiceExt as _, service_fn};

/// The names of the instances, with their layers.
fn listed(registry: &Registry) -> Vec<String> {
    let list = registry.list();
    list.iter()
        .map(|instance| format!("{} {}", instance.layer(), instance.name()))
        .collect()
}

#[test]
fn a_stack_is_listed_until_its_last_service_is_dropped() {
    let registry = Registry::new();
    let stack = mainstay::client("stock")
        .registry(&registry)
        .build()
        .unwrap();
    let expected = ["timeout stock", "circuit_breaker stock", "bulkhead stock"];
    assert_eq!(listed(&registry), expected);
    assert_eq!(registry.stacks().len(), 1);

    let service = stack.wrap(service_fn(async |_: ()| Ok::<_, Infallible>(())));
    drop(stack);
    assert_eq!(listed(&registry), expected);
    assert_eq!(registry.stack("stock").unwrap().kind(), "client");
    drop(service);
    assert!(registry.list().is_empty() && registry.stacks().is_empty());
    assert_eq!(registry.to_string(), "");
}

#[test]
fn every_standard_stack_joins_the_global_registry() {
    let (name, registry) = ("joins-by-default", Registry::global());
    let client = mainstay::client(name).build().unwrap();
    let server = mainstay::server(name).build().unwrap();
    let http_client = http::client(name).build().unwrap();
    let http_server = http::server(name).build().unwrap();
    let grpc_client = mainstay::grpc::client(name).build().unwrap();
    let grpc_server = mainstay::grpc::server(name).build().unwrap();
    let reqwest = mainstay::reqwest::client(name).build().unwrap();

    let kinds = || {
        let stacks = registry.stacks().into_iter();
        let named = stacks.filter(|stack| stack.name() == name);
        named
            .map(|stack| stack.kind().to_owned())
            .collect::<Vec<_>>()
    };
    let expected = [
        "client",
        "server",
        "http client",
        "http server",
        "grpc client",
        "grpc server",
        "http client",
    ];
    assert_eq!(kinds(), expected);
    assert_eq!(registry.bulkheads(name).len(), 7);
    drop((
        client,
        server,
        http_client,
        http_server,
        grpc_client,
        grpc_server,
        reqwest,
    ));
    assert!(kinds().is_empty());
}

#[test]
fn a_stack_can_stay_out() {
    let name = "stays-out";
    let _client = http::client(name).without_registry().build().unwrap();
    let _server = mainstay::server(name).without_registry().build().unwrap();
    assert!(Registry::global().stack(name).is_err());
}

#[test]
fn a_stack_that_is_not_built_leaves_nothing() {
    let registry = Registry::new();
    let refused = http::client("stock")
        .registry(&registry)
        .bulkhead(0)
        .build();
    assert!(refused.is_err() && registry.list().is_empty());
}

/// A policy of a user.
struct All;

impl Admission for All {
    fn admit(&self) -> Result<Ticket, Refusal> {
        Ok(Ticket::new())
    }
}

#[tokio::test(start_paused = true)]
async fn single_layers_join_by_their_handles() {
    let registry = Registry::new();
    let breaker = CircuitBreakerLayer::builder().name("one").build().unwrap();
    let bulkhead = BulkheadLayer::builder()
        .name("one")
        .limit(3)
        .build()
        .unwrap();
    let rate = RateLimitLayer::builder().name("one").build().unwrap();
    let load = LoadShedLayer::builder()
        .name("one")
        .limit(Limit::fixed(4))
        .build()
        .unwrap();
    let retry = RetryLayer::builder().name("one").build().unwrap();
    let timeout = TimeoutLayer::builder().name("one").build().unwrap();
    let gate = AdmissionLayer::builder("gate", All)
        .name("one")
        .build()
        .unwrap();
    registry.add(breaker.handle());
    registry.add(bulkhead.handle());
    registry.add(rate.handle());
    registry.add(load.handle());
    registry.add(retry.handle());
    registry.add(timeout.handle());
    registry.add(gate.handle());
    // Once more changes nothing.
    registry.add(breaker.handle());

    assert_eq!(
        listed(&registry),
        [
            "circuit_breaker one",
            "bulkhead one",
            "rate_limit one",
            "load_shed one",
            "retry one",
            "timeout one",
            "gate one",
        ]
    );
    assert_eq!(
        registry.circuit_breaker("one").unwrap().state(),
        State::Closed
    );
    assert_eq!(registry.bulkhead("one").unwrap().limit(), Some(3));
    assert_eq!(registry.rate_limit("one").unwrap().waiting(), 0);
    assert_eq!(registry.load_shed("one").unwrap().limit(), Some(4));
    assert!(registry.retry("one").unwrap().budget().is_some());
    assert_eq!(
        registry
            .timeout("one")
            .unwrap()
            .snapshot()
            .rejections
            .total(),
        0
    );
    let gate_by_name = registry.instance("gate", "one").unwrap();
    assert!(matches!(&gate_by_name, Instance::Admission(gate) if gate.name() == "one"));
    assert_eq!(gate_by_name.to_string(), "gate `one`");

    let lines: Vec<_> = registry.to_string().lines().map(str::to_owned).collect();
    let snapshots: Vec<_> = registry
        .list()
        .iter()
        .map(|one| one.snapshot().to_string())
        .collect();
    assert_eq!(lines, snapshots);

    drop((breaker, bulkhead, rate, load, retry, timeout, gate));
    assert_eq!(listed(&registry), ["gate one"]);
    drop(gate_by_name);
    assert!(registry.list().is_empty());
}

#[test]
fn an_instance_can_be_in_two_registries() {
    let (one, other) = (Registry::new(), Registry::new());
    let stack = mainstay::client("stock").registry(&one).build().unwrap();
    other.add(stack.circuit_breaker());
    assert_eq!(listed(&other), ["circuit_breaker stock"]);
    drop(other);
    drop(stack);
    assert!(one.list().is_empty());
}

#[test]
fn a_look_up_names_what_is_near() {
    let registry = Registry::new();
    let layers = ["payments", "pricing", "stock"].map(|name| {
        let layer = CircuitBreakerLayer::builder().name(name).build().unwrap();
        registry.add(layer.handle());
        layer
    });
    let error = registry.circuit_breaker("payment").unwrap_err();
    let LookupError::NotFound { near, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(near, &["payments", "pricing", "stock"]);
    assert_eq!(
        registry.bulkhead("stock").unwrap_err().to_string(),
        "no bulkhead has the name `stock`"
    );
    let odd = "x".repeat(10_000) + "\n";
    assert!(!registry.stack(&odd).unwrap_err().to_string().contains('\n'));
    drop(layers);
}

#[test]
fn a_name_that_two_instances_have_is_refused() {
    let registry = Registry::new();
    let client = http::client("orders").registry(&registry).build().unwrap();
    let server = http::server("orders").registry(&registry).build().unwrap();
    let error = registry.bulkhead("orders").unwrap_err();
    assert_eq!(
        error.to_string(),
        "2 instances of bulkhead have the name `orders`"
    );
    assert!(matches!(
        registry.stack("orders"),
        Err(LookupError::Ambiguous { count: 2, .. })
    ));
    assert_eq!(registry.bulkheads("orders").len(), 2);
    // Only the client has one.
    registry.circuit_breaker("orders").unwrap();
    drop(server);
    registry.bulkhead("orders").unwrap();
    drop(client);
}

#[test]
fn a_layer_that_is_off_is_not_listed_but_found() {
    let registry = Registry::new();
    let stack = http::client("stock").registry(&registry).build().unwrap();
    assert!(!listed(&registry).contains(&"rate_limit stock".to_owned()));
    assert!(registry.rate_limit("stock").unwrap().available() > 0);
    let names = |stack: mainstay::registry::StackHandle| {
        stack.instances().map(Instance::layer).collect::<Vec<_>>()
    };
    assert_eq!(
        names(registry.stack("stock").unwrap()),
        ["timeout", "retry", "circuit_breaker", "bulkhead"]
    );
    let rate = registry.rate_limit("stock").unwrap();
    let turn = |mode| drop(rate.change(|settings| settings.mode = mode).unwrap());
    turn(Mode::Enforce);
    assert!(listed(&registry).contains(&"rate_limit stock".to_owned()));
    turn(Mode::Off);
    assert!(!listed(&registry).contains(&"rate_limit stock".to_owned()));
    // One that is on hides one that is off.
    let limited = http::client("stock")
        .registry(&registry)
        .rate_limit(7)
        .build()
        .unwrap();
    assert_eq!(registry.rate_limit("stock").unwrap().available(), 7);
    drop((stack, limited));
}

#[test]
fn a_stack_shows_its_snapshots_and_settings() {
    let registry = Registry::new();
    let server = http::server("orders")
        .registry(&registry)
        .bulkhead(7)
        .build()
        .unwrap();
    let stack = registry.stack("orders").unwrap();
    assert!(stack.is_server());
    assert_eq!(stack.describe(), server.describe());
    let snapshot = stack.snapshot();
    let text = snapshot.to_string();
    assert!(
        text.starts_with("http server `orders`\n  timeout orders: "),
        "{text}"
    );
    assert_eq!(
        text.lines()
            .skip(1)
            .map(str::trim)
            .collect::<Vec<_>>()
            .join("\n"),
        server.snapshot().to_string()
    );
    let json = serde_json::to_value(&snapshot).unwrap();
    assert_eq!(json["kind"], "http server");
    assert_eq!(json["layers"]["bulkhead"]["limit"], 7);
    let all = serde_json::to_value(registry.snapshot()).unwrap();
    assert_eq!(all["instances"][2]["layer"], "bulkhead");
    drop(server);
    assert_eq!(registry.stacks().len(), 1, "the handle keeps its state");
    drop(stack);
    assert!(registry.stacks().is_empty());
}

#[tokio::test]
async fn a_subscription_covers_present_and_future_instances() {
    let registry = Registry::new();
    let bulkhead = |name: &str| {
        BulkheadLayer::builder()
            .name(name)
            .limit(1)
            .build()
            .unwrap()
    };
    let call = async |layer: &BulkheadLayer| {
        let service = layer.layer(service_fn(async |_: ()| Ok::<_, Infallible>(())));
        service.oneshot(()).await.unwrap();
    };
    let before = bulkhead("before");
    registry.add(before.handle());
    call(&before).await;
    let mut events = registry.events();
    let mut filtered = registry.events().filter(|event| event.name() == "after");
    let after = bulkhead("after");
    registry.add(after.handle());
    call(&before).await;
    call(&after).await;

    let names = std::iter::from_fn(|| events.try_recv());
    let names: Vec<_> = names.map(|event| event.name().to_owned()).collect();
    assert_eq!(names, ["before", "after"]);
    let event = filtered.recv().now_or_never().flatten().unwrap();
    assert!(matches!(event.kind(), EventKind::Settled { .. }));
    assert!(filtered.recv().now_or_never().is_none());

    // The subscriptions come and go, also beside one of the instance itself.
    drop((events, filtered));
    let mut own = after.handle().events();
    call(&after).await;
    assert!(own.try_recv().is_some());
    let mut again = registry.events();
    call(&after).await;
    assert!(own.try_recv().is_some() && again.try_recv().is_some());
    drop(own);
    call(&after).await;
    call(&after).await;
    assert!(again.try_recv().is_some() && again.try_recv().is_some());

    drop((before, after));
    assert!(again.recv().now_or_never().is_none(), "others may join");
    drop(registry);
    assert!(matches!(again.recv().now_or_never(), Some(None)));
}

#[tokio::test]
async fn the_events_of_keys_are_those_of_their_layer() {
    let registry = Registry::new();
    let layer = BulkheadLayer::builder()
        .name("hosts")
        .keyed(|host: &&'static str| (*host).into())
        .limit(1)
        .build()
        .unwrap();
    registry.add(layer.handle());
    assert_eq!(listed(&registry), ["bulkhead hosts"]);
    let mut all = registry.events();
    let mut one = registry.events().filter(|event| event.key() == Some("b"));
    let mut service = layer.layer(service_fn(async |_: &'static str| Ok::<_, Infallible>(())));
    for host in ["a", "b", "a"] {
        service.ready().await.unwrap().call(host).await.unwrap();
    }
    let keys = std::iter::from_fn(|| all.try_recv()).map(|event| event.key().map(str::to_owned));
    assert_eq!(keys.flatten().collect::<Vec<_>>(), ["a", "b", "a"]);
    assert!(one.try_recv().is_some() && one.try_recv().is_none());
    drop((layer, service));
    assert!(registry.list().is_empty());
}

#[test]
fn a_slow_subscriber_misses_the_oldest_events() {
    let registry = Registry::new();
    let layer = CircuitBreakerLayer::new();
    registry.add(layer.handle());
    let mut events = registry.events();
    for _ in 0..1_000 {
        layer.handle().force_open();
        layer.handle().reset();
    }
    let received = std::iter::from_fn(|| events.try_recv()).count() as u64;
    assert_eq!((received, events.missed()), (1_024, 976));
}

#[test]
fn a_filter_that_panics_passes_nothing() {
    let registry = Registry::new();
    let layer = CircuitBreakerLayer::new();
    registry.add(layer.handle());
    let mut events = registry.events().filter(|_| panic!("in the filter"));
    layer.handle().force_open();
    assert!(events.try_recv().is_none());
}

/// Threads build, list, look up, subscribe and drop at the same time.
#[test]
fn members_come_and_go_while_others_look() {
    let registry = Registry::new();
    let seen = Arc::new(Mutex::new(0));
    thread::scope(|scope| {
        for thread in 0..4 {
            let (registry, seen) = (registry.clone(), Arc::clone(&seen));
            scope.spawn(move || {
                let name = format!("thread-{thread}");
                for turn in 0..50 {
                    let stack = mainstay::client(&*name)
                        .registry(&registry)
                        .build()
                        .unwrap();
                    let circuit = registry.circuit_breaker(&name).unwrap();
                    let mut events = registry.events().filter({
                        let name = name.clone();
                        move |event: &Event| event.name() == name
                    });
                    circuit.force_open();
                    assert!(events.try_recv().is_some(), "turn {turn}");
                    *seen.lock().unwrap() += usize::from(!registry.list().is_empty());
                    drop(stack);
                    drop(circuit);
                    // Another thread may hold a handle for a moment.
                    while registry.circuit_breaker(&name).is_ok() {
                        thread::yield_now();
                    }
                }
            });
        }
    });
    assert_eq!(*seen.lock().unwrap(), 200);
    assert!(registry.list().is_empty());
}

/// A stack that is dropped within a call, by its own service.
#[test]
fn a_stack_may_be_dropped_anywhere() {
    let registry = Registry::new();
    let stack = mainstay::client("stock")
        .registry(&registry)
        .build()
        .unwrap();
    let mut service = stack.wrap(service_fn(async |_: ()| Ok::<_, Infallible>(())));
    drop(stack);
    let mut events = registry.events();
    let answer = {
        let call = async move { service.ready().await.unwrap().call(()).await };
        call.now_or_never().unwrap()
    };
    answer.unwrap();
    assert!(events.try_recv().is_some());
    assert!(registry.list().is_empty());
}
