//! How a stack judges responses, and that its type says so only where that is not what it does by itself.

use std::sync::{Arc, Mutex};

use axum::Router;
use mainstay::http::{
    ClassifyEnd, ClassifyHead, EndOfBody, HttpClassifier, HttpResponse, ResponseHead, ServerStack,
};
use mainstay::{
    BulkheadLayer, CircuitBreakerLayer, Classify, CorrelationLayer, Event, EventKind, Limit,
    LoadShedLayer, Outcome, RespondLayer, State, Verdict, grpc, http,
};
use tower::layer::util::Identity;
use tower::{Service as _, ServiceBuilder};

use crate::upstream::{Act, Upstream, call, get, infallible, rpc, secs};

#[test]
fn the_short_names_are_those_of_what_judges_as_its_protocol_does() {
    let stacks: [http::ClientStack; 6] = [
        http::client("a").build().unwrap(),
        http::client("a").retry(2).bulkhead(3).build().unwrap(),
        http::client("a")
            .circuit_breaker(http::circuit_breaker().consecutive_failures(3))
            .build()
            .unwrap(),
        http::client("a")
            .circuit_breaker(CircuitBreakerLayer::builder())
            .build()
            .unwrap(),
        http::client("a")
            .bulkhead(grpc::bulkhead())
            .build()
            .unwrap(),
        http::client("a")
            .bulkhead(BulkheadLayer::builder())
            .build()
            .unwrap(),
    ];
    let [stack, ..] = stacks;
    let _: http::Client<Upstream> = stack.wrap(Upstream::always(Act::Hang));

    let stacks: [grpc::ClientStack; 3] = [
        grpc::client("a").build().unwrap(),
        grpc::client("a")
            .circuit_breaker(grpc::circuit_breaker().failures([grpc::Code::NotFound]))
            .build()
            .unwrap(),
        grpc::client("a")
            .circuit_breaker(CircuitBreakerLayer::builder())
            .bulkhead(http::bulkhead())
            .build()
            .unwrap(),
    ];
    let [stack, ..] = stacks;
    let _: grpc::Client<Upstream> = stack.wrap(Upstream::always(Act::Hang));

    let stacks: [ServerStack; 4] = [
        http::server("a").build().unwrap(),
        grpc::server("a")
            .load_shed(Limit::fixed(3))
            .build()
            .unwrap(),
        http::server("a")
            .load_shed(http::load_shed())
            .build()
            .unwrap(),
        http::server("a")
            .load_shed(LoadShedLayer::builder())
            .bulkhead(grpc::bulkhead())
            .build()
            .unwrap(),
    ];
    let [stack, ..] = stacks;
    let _: http::Server<Router> = stack.wrap(Router::new());
}

#[test]
fn a_stack_is_no_larger_than_its_layers_put_together_by_hand() {
    let layers = ServiceBuilder::new()
        .layer(CorrelationLayer::server())
        .layer(RespondLayer::new())
        .layer(http::timeout().build().unwrap())
        .layer(http::load_shed().build().unwrap())
        .layer(http::bulkhead().queue(3, secs(1)).build().unwrap());
    let mut by_hand = layers.service(Router::new());
    let mut stack = http::server("a").build().unwrap().wrap(Router::new());
    assert_eq!(size_of_val(&stack), size_of_val(&by_hand));
    let (stack, by_hand) = (stack.call(get()), by_hand.call(get()));
    assert_eq!(size_of_val(&stack), size_of_val(&by_hand));
    // What the layers of an attempt carry along does not grow either: nothing for HTTP, a word for each of two layers of gRPC.
    assert_eq!(size_of::<EndOfBody<HttpClassifier>>(), 0);
    let (http, grpc) = (size_of::<http::Client<()>>(), size_of::<grpc::Client<()>>());
    assert!(grpc - http <= 2 * size_of::<usize>(), "{http} {grpc}");
}

/// Fails teapots, and nothing else.
#[derive(Clone, Debug)]
struct Teapots;

impl<Res: HttpResponse, Err> Classify<Res, Err> for Teapots {
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict {
        match result {
            Ok(response) if response.status() == 418 => Outcome::Failure.into(),
            _ => Outcome::Success.into(),
        }
    }
}

impl ClassifyEnd for Teapots {}

fn by_head(head: &ResponseHead<'_>) -> Outcome {
    match head.status().as_u16() {
        418 => Outcome::Failure,
        _ => Outcome::Success,
    }
}

type ByHead = Arc<ClassifyHead<fn(&ResponseHead<'_>) -> Outcome>>;

/// Each by its name, as a program keeps it.
#[derive(Clone, Debug)]
struct Kept {
    own: http::ClientStack<Identity, Teapots>,
    by_head: http::ClientStack<Identity, ByHead>,
    users: grpc::ClientStack<Identity, HttpClassifier>,
    client: http::Client<Upstream, ByHead>,
    reqwest: mainstay::reqwest::Client<Teapots>,
    server: ServerStack<Identity, Teapots>,
    served: http::Server<Router, Teapots>,
}

fn kept() -> Kept {
    let two = || http::circuit_breaker().consecutive_failures(2);
    let client = |name: &str| http::client(name).without_retry();
    let teapots = two().tracker(EndOfBody::new(Teapots));
    let own = client("own").circuit_breaker(teapots).build().unwrap();
    let judge: fn(&ResponseHead<'_>) -> Outcome = by_head;
    let by_head = client("by_head").circuit_breaker(two().classify_head(judge));
    let by_head = by_head.build().unwrap();
    let users = grpc::client("users").circuit_breaker(two());
    let teapots = http::load_shed().tracker(EndOfBody::new(Teapots));
    let server = http::server("server").load_shed(teapots).build().unwrap();
    Kept {
        users: users.without_retry().build().unwrap(),
        client: by_head.wrap(Upstream::always(Act::Status(418))),
        reqwest: own.wrap(reqwest::Client::new()),
        served: server.wrap(Router::new()),
        own,
        by_head,
        server,
    }
}

#[tokio::test(start_paused = true)]
async fn a_stack_that_judges_in_another_way_can_be_named_and_kept_and_judges_so() {
    fn all<T: Clone + Send + Sync + 'static>() {}
    all::<Kept>();
    let kept = kept();
    for status in [500, 418] {
        let upstream = || Upstream::always(Act::Status(status));
        let service = kept.own.wrap(upstream());
        for _ in 0..2 {
            drop(call(&service, get()).await);
            drop(call(&kept.users.wrap(upstream()), rpc()).await);
        }
        let opened = |own| if own { State::Open } else { State::Closed };
        assert_eq!(kept.own.circuit_breaker().state(), opened(status == 418));
    }
    // HTTP's judgement in a stack of gRPC: a 500 fails.
    assert_eq!(kept.users.circuit_breaker().state(), State::Open);
    for _ in 0..2 {
        assert_eq!(kept.by_head.circuit_breaker().state(), State::Closed);
        drop(call(&kept.client.clone(), get()).await);
    }
    assert_eq!(kept.by_head.circuit_breaker().state(), State::Open);
    assert_eq!(kept.client.circuit_breaker().state(), State::Open);
    assert_eq!(kept.reqwest.circuit_breaker().state(), State::Open);
    assert_eq!(call(&kept.served, get()).await.unwrap().status(), 404);
    assert_eq!(kept.server.load_shed().in_flight(), 0);
}

type Told = Arc<Mutex<Vec<String>>>;

fn observer(told: &Told) -> impl Fn(&Event) + Send + Sync + 'static {
    let told = Arc::clone(told);
    move |event| {
        if let EventKind::Settled { outcome, .. } = event.kind() {
            told.lock()
                .unwrap()
                .push(format!("{} {outcome}", event.layer()));
        }
    }
}

/// What the layers say of a call that this acts upon.
macro_rules! told_of {
    ($stack:expr, $act:expr) => {{
        let told = Told::default();
        let stack = $stack.observer(observer(&told)).build().unwrap();
        let response = call(&stack.wrap(infallible(Upstream::always($act))), get()).await;
        drop(response);
        let mut told = std::mem::take(&mut *told.lock().unwrap());
        told.sort();
        told
    }};
}

#[tokio::test(start_paused = true)]
async fn all_layers_of_a_stack_judge_alike_whatever_the_order_of_its_methods() {
    let teapots = || http::load_shed().tracker(EndOfBody::new(Teapots));
    let success = ["bulkhead success", "load_shed success"];
    let failure = ["bulkhead failure", "load_shed failure"];
    let server = || http::server("a");
    assert_eq!(told_of!(server(), Act::Status(500)), failure);
    assert_eq!(told_of!(server(), Act::Status(418)), success);
    for (status, told) in [(500, success), (418, failure)] {
        let act = || Act::Status(status);
        let stack = server().load_shed(teapots()).bulkhead(3);
        assert_eq!(told_of!(stack, act()), told);
        let stack = server().bulkhead(http::bulkhead()).load_shed(teapots());
        assert_eq!(told_of!(stack, act()), told);
        let stack = server().load_shed(teapots()).timeout(secs(3));
        assert_eq!(
            told_of!(stack.with_request_layer(Identity::new()), act()),
            told
        );
    }
    // What comes later counts, and without a word of responses it is what the stack does by itself.
    let stack = server().load_shed(teapots()).load_shed(Limit::fixed(3));
    assert_eq!(told_of!(stack, Act::Status(500)), failure);
    let stack = server()
        .load_shed(teapots())
        .load_shed(LoadShedLayer::builder());
    assert_eq!(told_of!(stack, Act::Status(500)), failure);
    let stack = server().load_shed(teapots()).without_load_shed();
    assert_eq!(told_of!(stack, Act::Status(418)), ["bulkhead failure"]);
}
