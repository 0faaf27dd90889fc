//! State belongs to the layer: its clones, all services that it makes, and theirs are one (P1).

use std::task::Poll;

use tower::Service;

use crate::hand::{Outcome, poll};
use crate::probe::{End, Plan, Probe};
use crate::subject::{Core, ServiceOf, Subject};
use crate::world::{Call, World, make_ready};

/// Services by every way there is to get one.
fn family<L: Core>(layer: &L, probe: &Probe) -> Vec<ServiceOf<L>> {
    let first = layer.layer(probe.clone());
    let second = layer.layer(probe.clone());
    let third = layer.clone().layer(probe.clone());
    let fourth = first.clone();
    vec![first, second, third, fourth]
}

pub(crate) async fn all_services_of_a_layer_are_one<L: Core>(make: impl AsyncFn() -> Subject<L>) {
    limits_are_shared(&World::new(&make).await);
    failures_are_shared(&World::new(&make).await).await;
    switches_are_shared(&World::new(&make).await);
}

fn call<L: Core>(world: &World<L>, service: &mut ServiceOf<L>) -> Call<L> {
    make_ready(service);
    Box::pin(service.call(world.log.message(1)))
}

fn limits_are_shared<L: Core>(world: &World<L>) {
    let places = world.subject.places as usize;
    if places == 0 {
        return;
    }
    let probe = Probe::default();
    let log = probe.get_ref().log();
    let mut family = family(&world.subject.layer, &probe);
    let mut admitted = Vec::new();
    for place in 0..places {
        let service = place % family.len();
        let service = &mut family[service];
        log.plan([Plan::after(0, End::Never)]);
        let mut call = call(world, service);
        assert!(poll(call.as_mut()).is_pending());
        admitted.push(call);
    }
    for service in &mut family {
        let mut call = call(world, service);
        match poll(call.as_mut()).map(Outcome::from) {
            Poll::Pending => assert!(world.subject.queues),
            ended => assert!(matches!(ended, Poll::Ready(Outcome::Rejected(_)))),
        }
    }
    assert_eq!(probe.calls() as usize, places);
}

async fn failures_are_shared<L: Core>(world: &World<L>) {
    let Some(before) = world.subject.failed() else {
        return;
    };
    let probe = Probe::default();
    let mut calls = 0;
    for service in family(&world.subject.layer, &probe).iter_mut().take(2) {
        probe.get_ref().log().plan([Plan::after(0, End::Fault); 2]);
        assert_eq!(Outcome::from(call(world, service).await), Outcome::Fault(1));
        calls += 1;
        assert_eq!(world.subject.failed(), Some(before + calls));
    }
}

fn switches_are_shared<L: Core>(world: &World<L>) {
    let probe = Probe::default();
    let mut family = family(&world.subject.layer, &probe);
    if world.subject.shut(true).is_none() {
        return;
    }
    for service in &mut family {
        let ended = poll(call(world, service).as_mut()).map(Outcome::from);
        assert!(matches!(ended, Poll::Ready(Outcome::Rejected(_))));
    }
    world.subject.shut(false);
    for service in &mut family {
        let ended = poll(call(world, service).as_mut()).map(Outcome::from);
        assert_eq!(ended, Poll::Ready(Outcome::Answer(1)));
    }
}
