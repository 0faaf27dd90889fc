//! The priority of calls: its way through the context, and the layers that follow it.

use std::sync::{Arc, Mutex};

use mainstay::{
    BulkheadLayer, Context, EventKind, Limit, LoadShedLayer, Mode, Overrides, Priority, Reason,
    Rejection,
};
use tokio::task::JoinHandle;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::support::{Act, Broken, Probe, recorder, rejected, secs, send, settle};

type Answer = Result<u32, mainstay::Error<Broken>>;

fn of(priority: Priority) -> Overrides {
    Overrides::new().priority(priority)
}

/// A call of this class in a task of its own, which has begun when this returns.
async fn start<S>(service: &S, priority: Priority, act: Act) -> JoinHandle<Answer>
where
    S: Service<Act, Response = u32, Error = mainstay::Error<Broken>, Future: Send>
        + Clone
        + Send
        + 'static,
{
    let call = service.clone().oneshot(act);
    let task = tokio::spawn(of(priority).scope(call));
    settle().await;
    task
}

/// A call of this class that ends at once, or the rejection.
async fn try_one<S>(service: &S, priority: Priority) -> Result<(), Rejection>
where
    S: Service<Act, Response = u32, Error = mainstay::Error<Broken>> + Clone,
{
    let mut service = service.clone();
    match of(priority).scope(send(&mut service, Act::Ok)).await {
        Ok(_) => Ok(()),
        Err(error) => Err(error.as_rejection().unwrap().clone()),
    }
}

/// Which classes a load shedder admits now, from the lowest.
async fn admitted<S>(service: &S) -> [bool; 5]
where
    S: Service<Act, Response = u32, Error = mainstay::Error<Broken>> + Clone,
{
    let mut admitted = [false; 5];
    for (class, admitted) in CLASSES.into_iter().zip(&mut admitted) {
        *admitted = try_one(service, class).await.is_ok();
    }
    admitted
}

const CLASSES: [Priority; 5] = [
    Priority::Sheddable,
    Priority::Low,
    Priority::Normal,
    Priority::High,
    Priority::Critical,
];

// --- The load shedder

/// One call of an operator must not lower the limit of everybody for ever.
#[tokio::test(start_paused = true)]
async fn a_class_that_does_not_come_any_more_is_forgotten() {
    let layer = LoadShedLayer::new(Limit::fixed(10));
    let service = layer.layer(Probe::default());
    let mut hung = Vec::new();
    for _ in 0..7 {
        hung.push(start(&service, Priority::Normal, Act::Hang).await);
    }
    let admits_a_ninth = async || {
        let eighth = start(&service, Priority::Normal, Act::Hang).await;
        let ninth = try_one(&service, Priority::Normal).await;
        eighth.abort();
        settle().await;
        ninth.is_ok()
    };
    let pass = async |seconds: u64| {
        for _ in 0..seconds {
            tokio::time::advance(secs(1)).await;
            for _ in 0..20 {
                try_one(&service, Priority::Normal).await.unwrap();
            }
        }
    };
    pass(10).await;
    assert!(admits_a_ninth().await, "all have the same class");
    try_one(&service, Priority::Critical).await.unwrap();
    assert!(!admits_a_ninth().await, "a fifth is left for `critical`");
    pass(55).await;
    assert!(!admits_a_ninth().await, "not yet forgotten");
    // It comes again, so it is remembered for longer.
    try_one(&service, Priority::Critical).await.unwrap();
    pass(59).await;
    assert!(!admits_a_ninth().await);
    pass(62).await;
    assert!(admits_a_ninth().await);
    hung.iter().for_each(JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn lower_classes_are_shed_first() {
    let (observer, events) = recorder();
    let layer = LoadShedLayer::builder()
        .name("orders")
        .limit(Limit::fixed(10))
        .observer(observer)
        .build()
        .unwrap();
    let service = layer.layer(Probe::default());
    let mut hung = Vec::new();
    for _ in 0..8 {
        hung.push(start(&service, Priority::Normal, Act::Hang).await);
    }
    let rejection = try_one(&service, Priority::Sheddable).await.unwrap_err();
    assert_eq!(
        (rejection.reason(), rejection.priority()),
        (Reason::Shed, Priority::Sheddable)
    );
    assert!(rejection.to_string().ends_with(", priority sheddable"));
    let event = events.lock().unwrap().pop().unwrap();
    assert!(matches!(event, EventKind::Rejected(it) if it == rejection));

    hung.push(start(&service, Priority::Low, Act::Hang).await);
    assert_eq!(layer.handle().in_flight(), 9);
    assert!(try_one(&service, Priority::Low).await.is_err());
    hung.push(start(&service, Priority::Normal, Act::Hang).await);
    assert_eq!(layer.handle().in_flight(), 10);
    let rejection = rejected(send(&mut service.clone(), Act::Ok).await);
    assert_eq!(rejection.priority(), Priority::Normal);
    assert!(!rejection.to_string().contains("priority"), "the default");
    // It is never more than the limit.
    assert!(try_one(&service, Priority::Critical).await.is_err());
    assert_eq!(layer.handle().snapshot().rejections.total(), 4);
}

#[tokio::test(start_paused = true)]
async fn higher_classes_have_permits_of_their_own_from_their_first_call_on() {
    let layer = LoadShedLayer::new(Limit::fixed(10));
    let service = layer.layer(Probe::default());
    let mut hung = Vec::new();
    for _ in 0..10 {
        hung.push(start(&service, Priority::Normal, Act::Hang).await);
    }
    assert_eq!(layer.handle().in_flight(), 10, "no higher class has come");
    assert!(try_one(&service, Priority::Critical).await.is_err());
    let mut end_one = async || {
        hung.pop().unwrap().abort();
        settle().await;
    };
    end_one().await;
    assert_eq!(admitted(&service).await, [false, false, false, false, true]);
    end_one().await;
    assert_eq!(admitted(&service).await, [false, false, false, true, true]);
    end_one().await;
    assert_eq!(admitted(&service).await, [false, false, true, true, true]);
    end_one().await;
    assert_eq!(admitted(&service).await, [false, true, true, true, true]);
    end_one().await;
    assert_eq!(admitted(&service).await, [true; 5]);
}

#[tokio::test(start_paused = true)]
async fn without_pressure_no_class_is_shed() {
    let layer = LoadShedLayer::builder().build().unwrap();
    let service = layer.layer(Probe::default());
    let mut calls = Vec::new();
    for number in 0..1_000 {
        let call = service.clone().oneshot(Act::OkAfter(secs(1)));
        calls.push(tokio::spawn(of(CLASSES[number % 5]).scope(call)));
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(layer.handle().snapshot().rejections.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn shadow_mode_reports_the_class_and_a_new_limit_keeps_the_shares() {
    let layer = LoadShedLayer::builder()
        .limit(Limit::fixed(10))
        .mode(Mode::Shadow)
        .build()
        .unwrap();
    let mut events = layer.handle().events();
    let service = layer.layer(Probe::default());
    let mut hung = Vec::new();
    for _ in 0..9 {
        hung.push(start(&service, Priority::Normal, Act::Hang).await);
    }
    try_one(&service, Priority::Low).await.unwrap();
    let mut would_reject = || {
        let mut kinds = std::iter::from_fn(|| events.try_recv());
        kinds.find_map(|event| match event.kind() {
            EventKind::WouldReject(rejection) => Some(rejection.priority()),
            _ => None,
        })
    };
    assert_eq!(would_reject(), Some(Priority::Low));
    try_one(&service, Priority::Critical).await.unwrap();
    assert_eq!(would_reject(), None);
    let changed = layer.handle().change(|settings| {
        settings.mode = Mode::Enforce;
        settings.limit = Limit::fixed(12);
    });
    assert!(!changed.unwrap().is_empty());
    assert_eq!(admitted(&service).await, [false, false, false, true, true]);
}

// --- The queue of a bulkhead

#[tokio::test(start_paused = true)]
async fn a_higher_class_leaves_the_queue_first() {
    let layer = BulkheadLayer::builder()
        .limit(1)
        .queue(10, secs(600))
        .build()
        .unwrap();
    let order = Arc::<Mutex<Vec<&str>>>::default();
    let list = Arc::clone(&order);
    let service = layer.layer(service_fn(move |name: &'static str| {
        list.lock().unwrap().push(name);
        async move {
            tokio::time::sleep(secs(1)).await;
            Ok::<_, std::io::Error>(())
        }
    }));
    let mut calls = Vec::new();
    for (name, priority) in [
        ("first", Priority::Sheddable),
        ("low", Priority::Low),
        ("normal 1", Priority::Normal),
        ("critical 1", Priority::Critical),
        ("gone", Priority::Critical),
        ("normal 2", Priority::Normal),
        ("high", Priority::High),
        ("critical 2", Priority::Critical),
    ] {
        let call = service.clone().oneshot(name);
        let call = tokio::spawn(of(priority).scope(call));
        settle().await;
        if name == "gone" {
            call.abort();
        } else {
            calls.push(call);
        }
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(
        *order.lock().unwrap(),
        [
            "first",
            "critical 1",
            "critical 2",
            "high",
            "normal 1",
            "normal 2",
            "low"
        ]
    );
    let snapshot = layer.handle().snapshot();
    assert_eq!((snapshot.in_flight, snapshot.given_up), (0, 1));
}

// --- The context

#[tokio::test(start_paused = true)]
async fn the_priority_goes_on_to_calls_inside_and_to_new_tasks() {
    let current = || Context::current().priority();
    assert_eq!(current(), Priority::Normal);
    let inside = of(Priority::Low).scope(async {
        assert_eq!(current(), Priority::Low);
        tokio::task::yield_now().await;
        assert_eq!(current(), Priority::Low);
        // The innermost decides, whichever way it is set.
        let context = Context::current().with_priority(Priority::High);
        let nested = context.scope(async { current() }).await;
        assert_eq!(nested, Priority::High);
        let other = Overrides::new().no_retry();
        assert_eq!(other.scope(async { current() }).await, Priority::Low);
        let task = mainstay::spawn(async { Context::current().priority() });
        assert_eq!(task.await.unwrap(), Priority::Low);
        let blocking = mainstay::spawn_blocking(|| Context::current().priority());
        assert_eq!(blocking.await.unwrap(), Priority::Low);
        Context::default().sync_scope(current)
    });
    assert_eq!(inside.await, Priority::Normal);
    assert_eq!(current(), Priority::Normal);
}
