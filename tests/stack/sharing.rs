//! What a stack's services share, what two stacks do not, and where stacks can be kept.

use axum::Router;
use axum::routing::get as on_get;
use mainstay::http::{ClientStack, ServerStack};
use mainstay::stack::{
    AttemptService, ClientService, Description, Http, LimitedService, ServerService, Warning,
};
use mainstay::{CircuitBreakerHandle, State, grpc, http, reqwest as resilient};
use tonic::transport::Channel;
use tower::Layer as _;

use crate::common::{Door, serve, until, within};
use crate::upstream::{Act, Upstream, by, call, get, infallible, settle};

fn is_kept<T: Clone + Send + Sync + 'static>(value: T) -> T {
    value
}

/// All of it in one struct, by name, as a program keeps it.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "that it can be kept is all")]
struct Kept {
    http_server: ServerStack,
    http_client: ClientStack,
    grpc_client: grpc::ClientStack,
    served: http::Server<Router>,
    payments: resilient::Client,
    users: grpc::Client<Channel>,
    hyper: http::Client<Upstream>,
    circuit: CircuitBreakerHandle,
    told: Description,
    warnings: Vec<Warning>,
}

#[test]
fn stacks_and_their_services_can_be_kept_cloned_sent_and_shared() {
    fn all<T: Clone + Send + Sync + 'static>() {}
    all::<Kept>();
    all::<ServerStack>();
    all::<ClientStack>();
    all::<grpc::ClientStack>();
    all::<http::Server<Router>>();
    all::<http::Server<Upstream>>();
    all::<http::Client<reqwest::Client>>();
    all::<grpc::Client<Channel>>();
    all::<ServerService<LimitedService<Router>>>();
    all::<ClientService<AttemptService<Upstream>, Http>>();
    let stack = http::client("a")
        .with_attempt_layer(tower::layer::layer_fn(|s: AttemptService<Upstream>| s));
    is_kept(is_kept(stack.build().unwrap()).wrap(Upstream::always(Act::Hang)));
}

#[test]
fn futures_can_be_sent() {
    fn sends<T: Send>(_: &T) {}
    let service = http::client("a")
        .build()
        .unwrap()
        .wrap(Upstream::always(Act::Hang));
    sends(&call(&service, get()));
    let service = grpc::client("a")
        .build()
        .unwrap()
        .wrap(Upstream::always(Act::Hang));
    sends(&call(&service, get()));
    let service = http::server("a")
        .build()
        .unwrap()
        .wrap(infallible(Upstream::always(Act::Hang)));
    sends(&call(&service, get()));
}

#[tokio::test(start_paused = true)]
async fn all_services_of_a_client_stack_share_one_circuit_one_bulkhead_and_one_budget() {
    let build = || {
        let breaker = http::circuit_breaker().consecutive_failures(2);
        http::client("a")
            .bulkhead(1)
            .circuit_breaker(breaker)
            .without_retry()
            .build()
            .unwrap()
    };
    let (stack, other) = (build(), build());
    let copy = stack.clone();
    let failing = Upstream::always(Act::Status(500));
    // A clone of the stack, two calls of `layer`, a clone of a service: one circuit.
    drop(call(&stack.layer(failing.clone()), get()).await);
    assert_eq!(stack.circuit_breaker().state(), State::Closed);
    drop(call(&copy.layer(failing.clone()).clone(), get()).await);
    for stack in [&stack, &copy] {
        assert_eq!(stack.circuit_breaker().state(), State::Open);
        let result = call(&stack.wrap(failing.clone()), get()).await;
        assert_eq!(by(result), "circuit_breaker `a` CircuitOpen");
    }
    // One that was built the same way, and has the same name, is another one.
    assert_eq!(other.circuit_breaker().state(), State::Closed);
    assert_eq!(
        call(&other.wrap(failing.clone()), get())
            .await
            .unwrap()
            .status(),
        500
    );

    let (stack, other) = (build(), build());
    let hanging = Upstream::always(Act::Hang);
    let service = stack.wrap(hanging.clone());
    let held = tokio::spawn(async move { call(&service, get()).await.map(drop) });
    settle().await;
    assert_eq!(
        by(call(&stack.clone().layer(hanging.clone()), get()).await),
        "bulkhead `a` Full"
    );
    assert_eq!(
        (
            stack.clone().bulkhead().in_flight(),
            other.bulkhead().in_flight()
        ),
        (1, 0)
    );
    assert_eq!(
        by(call(&other.wrap(hanging), get()).await),
        "timeout `a` TimedOut"
    );
    held.abort();

    let stack = http::client("a").without_circuit_breaker().build().unwrap();
    let other = http::client("a").without_circuit_breaker().build().unwrap();
    let failing = Upstream::always(Act::Status(503));
    let before = stack.snapshot().retry.unwrap().balance.unwrap();
    drop(call(&stack.clone().wrap(failing.clone()), get()).await);
    drop(call(&stack.wrap(failing), get()).await);
    assert_eq!(
        stack.clone().snapshot().retry.unwrap().balance.unwrap(),
        before - 4
    );
    assert_eq!(other.snapshot().retry.unwrap().balance.unwrap(), before);
}

#[tokio::test(start_paused = true)]
async fn all_services_of_a_server_stack_share_one_limit_and_one_bulkhead() {
    let build = |shed: u32, bulkhead: u32| {
        let stack = http::server("a").load_shed(mainstay::Limit::fixed(shed));
        stack.bulkhead(bulkhead).build().unwrap()
    };
    for (shed, bulkhead) in [(1, 1), (1, 50), (50, 1)] {
        let (stack, other) = (build(shed, bulkhead), build(shed, bulkhead));
        let hanging = Upstream::always(Act::Hang);
        let service = stack.wrap(infallible(hanging.clone()));
        let mut held = Box::pin(call(&service, get()));
        assert!(futures::poll!(&mut held).is_pending());
        for stack in [stack.clone(), stack.clone()] {
            let response = call(&stack.layer(infallible(hanging.clone())).clone(), get()).await;
            assert_eq!(response.unwrap().status(), 503);
            assert_eq!(
                (stack.load_shed().in_flight(), stack.bulkhead().in_flight()),
                (1, 1)
            );
        }
        let response = call(
            &other.wrap(infallible(Upstream::always(Act::Status(200)))),
            get(),
        )
        .await;
        assert_eq!(response.unwrap().status(), 200);
        drop(held);
        assert_eq!(
            (stack.load_shed().in_flight(), stack.bulkhead().in_flight()),
            (0, 0)
        );
    }
}

#[tokio::test]
async fn one_stack_around_many_routes_and_connections_is_one_limit() {
    let door = Door::closed();
    let stack = http::server("a")
        .without_load_shed()
        .bulkhead(3)
        .build()
        .unwrap();
    let other = http::server("a")
        .without_load_shed()
        .bulkhead(3)
        .build()
        .unwrap();
    let router = |stack: &ServerStack| {
        let door = door.clone();
        let handler = move || async move { door.pass().await };
        let router = (0..5).fold(Router::new(), |router, n| {
            router.route(&format!("/{n}"), on_get(handler.clone()))
        });
        router.layer(stack.clone())
    };
    let (address, next) = (serve(router(&stack)).await, serve(router(&other)).await);
    let held: Vec<_> = (0..3)
        .map(|n| tokio::spawn(reqwest::get(format!("http://{address}/{n}"))))
        .collect();
    until("three to be in", || stack.bulkhead().in_flight() == 3).await;
    for n in 0..5 {
        let response = within("an answer", reqwest::get(format!("http://{address}/{n}"))).await;
        assert_eq!(response.unwrap().status(), 503);
    }
    // The other stack has places of its own.
    let there = tokio::spawn(reqwest::get(format!("http://{next}/0")));
    until("one to be in there", || other.bulkhead().in_flight() == 1).await;
    assert_eq!(door.entered(), 4);
    door.open();
    for held in held.into_iter().chain([there]) {
        assert_eq!(held.await.unwrap().unwrap().status(), 200);
    }
    until("none to be in", || {
        stack.bulkhead().in_flight() + other.bulkhead().in_flight() == 0
    })
    .await;
}
