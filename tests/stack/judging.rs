//! How a stack classifies responses. Its type is the same whatever it classifies by.

use std::any::Any;
use std::sync::{Arc, Mutex};

use axum::Router;
use mainstay::http::{
    ClassifyEnd, EndOfBody, HttpClassifier, HttpResponse, ResponseHead, ServerStack,
};
use mainstay::{
    BulkheadLayer, CircuitBreakerLayer, Classify, CorrelationLayer, Event, EventKind, Limit,
    LoadShedLayer, Outcome, RespondLayer, State, Verdict, grpc, http,
};
use tower::layer::util::Identity;
use tower::{Service as _, ServiceBuilder};

use crate::upstream::{Act, Upstream, call, get, infallible, rpc, secs};

#[test]
fn a_stack_has_one_name_whatever_it_classifies_by() {
    let stacks: [http::ClientStack; 8] = [
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
        http::client("a")
            .circuit_breaker(http::circuit_breaker().classify_head(|_| Outcome::Success))
            .build()
            .unwrap(),
        http::client("a")
            .circuit_breaker(grpc::circuit_breaker())
            .build()
            .unwrap(),
    ];
    let [stack, ..] = stacks;
    let _: http::Client<Upstream> = stack.wrap(Upstream::always(Act::Hang));

    let stacks: [grpc::ClientStack; 4] = [
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
        grpc::client("a")
            .circuit_breaker(http::circuit_breaker())
            .build()
            .unwrap(),
    ];
    let [stack, ..] = stacks;
    let _: grpc::Client<Upstream> = stack.wrap(Upstream::always(Act::Hang));

    let stacks: [ServerStack; 6] = [
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
        http::server("a")
            .load_shed(grpc::load_shed())
            .build()
            .unwrap(),
        http::server("a")
            .load_shed(http::load_shed().classify_head(|_| Outcome::Success))
            .build()
            .unwrap(),
    ];
    let [stack, ..] = stacks;
    let _: http::Server<Router> = stack.wrap(Router::new());
}

#[test]
fn a_stack_is_hardly_larger_than_its_layers_put_together_by_hand() {
    let layers = ServiceBuilder::new()
        .layer(CorrelationLayer::server())
        .layer(RespondLayer::new())
        .layer(http::timeout().build().unwrap())
        .layer(http::rate_limit().max_wait(secs(1)).build().unwrap())
        .layer(http::load_shed().build().unwrap())
        .layer(http::bulkhead().queue(3, secs(1)).build().unwrap());
    let mut by_hand = layers.service(Router::new());
    let mut stack = http::server("a").build().unwrap().wrap(Router::new());
    // A word for each of three layers: the place of a classifier of the user's own. And one for each of two: the last key.
    let words = 5 * size_of::<usize>();
    assert!(size_of_val(&stack) <= size_of_val(&by_hand) + words);
    let (stack, by_hand) = (stack.call(get()), by_hand.call(get()));
    assert!(size_of_val(&stack) <= size_of_val(&by_hand) + words);
    // What the layers of an attempt carry along does not grow either: nothing for HTTP, a word for each of three layers of gRPC.
    assert_eq!(size_of::<EndOfBody<HttpClassifier>>(), 0);
    let (http, grpc) = (size_of::<http::Client<()>>(), size_of::<grpc::Client<()>>());
    assert!(grpc - http <= 3 * size_of::<usize>(), "{http} {grpc}");
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

/// Each by its name, as a program keeps it.
#[derive(Clone, Debug)]
struct Kept {
    own: http::ClientStack,
    by_head: http::ClientStack,
    users: grpc::ClientStack,
    client: http::Client<Upstream>,
    reqwest: mainstay::reqwest::Client,
    server: ServerStack,
    served: http::Server<Router>,
}

fn kept() -> Kept {
    let two = || http::circuit_breaker().consecutive_failures(2);
    let client = |name: &str| http::client(name).without_retry();
    let teapots = two().tracker(EndOfBody::new(Teapots));
    let own = client("own").circuit_breaker(teapots).build().unwrap();
    let by_head = client("by_head").circuit_breaker(two().classify_head(by_head));
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
    // What comes later counts, and without a word of responses it is the default of the stack.
    let stack = server().load_shed(teapots()).load_shed(Limit::fixed(3));
    assert_eq!(told_of!(stack, Act::Status(500)), failure);
    let stack = server()
        .load_shed(teapots())
        .load_shed(LoadShedLayer::builder());
    assert_eq!(told_of!(stack, Act::Status(500)), failure);
    let stack = server().load_shed(teapots()).without_load_shed();
    assert_eq!(told_of!(stack, Act::Status(418)), ["bulkhead failure"]);
}

/// A connection that was reset fails nothing, and the rest is as usual.
struct ResetIsFine;

impl<Res: HttpResponse, Err: 'static> Classify<Res, Err> for ResetIsFine {
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict {
        HttpClassifier.classify(result)
    }
}

impl ClassifyEnd for ResetIsFine {
    fn at_error(&self, error: &dyn Any) -> Option<Verdict> {
        match error.downcast_ref()? {
            mainstay::Error::<std::io::Error>::Inner(error)
                if error.kind() == std::io::ErrorKind::ConnectionReset =>
            {
                Some(Outcome::Ignored.into())
            }
            _ => None,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_classifier_of_ones_own_sees_the_error_and_can_ask_the_standard_one() {
    let opened_by = async |act: Act| {
        let breaker = http::circuit_breaker().consecutive_failures(2);
        let stack = http::client("a")
            .without_retry()
            .timeout(secs(1))
            .circuit_breaker(breaker.tracker(EndOfBody::new(ResetIsFine)))
            .build()
            .unwrap();
        let service = stack.wrap(Upstream::always(act));
        for _ in 0..3 {
            drop(call(&service, get()).await);
        }
        stack.circuit_breaker().state()
    };
    assert_eq!(opened_by(Act::Fail).await, State::Closed);
    assert_eq!(opened_by(Act::Status(500)).await, State::Open);
    assert_eq!(opened_by(Act::Status(200)).await, State::Closed);
}

/// What is asked of a gRPC classifier further in is what it would say of the error itself.
#[tokio::test(start_paused = true)]
async fn an_error_without_its_type_is_classified_as_itself() {
    struct Asks;

    impl<Res, Err> Classify<Res, Err> for Asks
    where
        Res: HttpResponse,
        Err: mainstay::WithRejection + 'static,
    {
        fn classify(&self, result: Result<&Res, &Err>) -> Verdict {
            grpc::GrpcClassifier::new().classify(result)
        }
    }

    impl ClassifyEnd for Asks {}

    let events = Arc::new(Mutex::new(Vec::new()));
    for own in [false, true] {
        let seen = Arc::clone(&events);
        let mut breaker = http::circuit_breaker();
        breaker = breaker.observer(move |event: &Event| {
            if let EventKind::Settled { outcome, .. } = event.kind() {
                seen.lock().unwrap().push(*outcome);
            }
        });
        let stack = grpc::client("a").without_retry();
        let stack = match own {
            true => stack.circuit_breaker(breaker.tracker(EndOfBody::new(Asks))),
            false => {
                let usual = EndOfBody::new(grpc::GrpcClassifier::new());
                stack.circuit_breaker(breaker.tracker(usual))
            }
        };
        let stack = stack.attempt_timeout(secs(1)).build().unwrap();
        for act in [Act::Fail, Act::Hang] {
            drop(call(&stack.wrap(Upstream::always(act)), rpc()).await);
        }
    }
    let events = events.lock().unwrap();
    let (usual, own) = events.split_at(events.len() / 2);
    assert_eq!((usual, usual.len()), (own, 2));
}

/// A clone of it for each call is a reference count.
#[tokio::test(start_paused = true)]
async fn a_classifier_of_ones_own_allocates_nothing_for_a_call() {
    let upstream = || {
        tower::service_fn(|_: crate::upstream::Req| {
            std::future::ready(Ok::<_, std::io::Error>(::http::Response::new(
                axum::body::Body::empty(),
            )))
        })
    };
    let client = || http::client("a").without_correlation().without_retry();
    let teapots = http::circuit_breaker().tracker(EndOfBody::new(Teapots));
    let closure = http::circuit_breaker().classify_head(by_head);
    let counts = [
        client().build().unwrap(),
        client().circuit_breaker(teapots).build().unwrap(),
        client().circuit_breaker(closure).build().unwrap(),
    ]
    .map(|stack| {
        let mut service = tower::Layer::layer(&stack, upstream());
        let mut once = || {
            let ready = futures::FutureExt::now_or_never(tower::ServiceExt::ready(&mut service));
            let mut call = Box::pin(ready.unwrap().unwrap().call(get()));
            assert!(futures::FutureExt::now_or_never(&mut call).unwrap().is_ok());
        };
        once();
        allocation_counter::measure(once).count_total
    });
    assert_eq!(counts, [counts[0]; 3]);
}
