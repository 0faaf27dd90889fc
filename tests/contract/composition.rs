//! Layers stand in any stack, and errors stay flat in it (P13).

use mainstay::testing::ProbeFuture;
use mainstay::{BoxError, Error, Rejection, WithRejection};
use tower::buffer::Buffer;
use tower::util::MapErr;
use tower::{Layer, Service, ServiceBuilder, ServiceExt as _};

use crate::exchange::{Answer, Fault, Message};
use crate::probe::{End, Plan, Probe, Work};
use crate::subject::{CallOf, Core, ErrorOf, ServiceOf, Subject};
use crate::world::{ID, World};

/// In a buffer, which boxes errors and calls from another task.
pub(crate) async fn it_works_inside_a_buffer<L: Core>(make: impl AsyncFn() -> Subject<L>)
where
    ServiceOf<L>: Send + 'static,
    CallOf<L>: Send + 'static,
    ErrorOf<L>: Into<BoxError> + Send + Sync,
{
    let world = World::new(&make).await;
    let buffer = Buffer::new(world.service(), 4);
    let answer = buffer.clone().oneshot(world.log.message(ID)).await;
    assert_eq!(answer.unwrap().id, ID);
    world.log.plan([Plan::after(0, End::Fault); 2]);
    let fault = buffer.clone().oneshot(world.log.message(ID)).await;
    assert!(Rejection::find(&*fault.unwrap_err()).is_none());
    if world.subject.shut(true).is_some() {
        let rejected = buffer.clone().oneshot(world.log.message(ID)).await;
        assert!(Rejection::find(&*rejected.unwrap_err()).is_some());
    } else if world.subject.places > 0 {
        let world = World::new(&make).await;
        let buffer = Buffer::new(world.service(), 4);
        let _others = world.occupy(world.subject.places);
        let rejected = buffer.clone().oneshot(world.log.message(ID)).await;
        assert!(Rejection::find(&*rejected.unwrap_err()).is_some());
    }
}

/// Before a buffer, whose error is a box.
pub(crate) async fn it_works_around_a_buffer<L>(make: impl AsyncFn() -> Subject<L>)
where
    L: Layer<Buffer<Message, ProbeFuture<Work>>>,
    L::Service: Service<Message, Response = Answer, Error = BoxError> + Clone,
{
    let probe = Probe::default();
    let log = probe.get_ref().log();
    let service = make().await.layer.layer(Buffer::new(probe.clone(), 2));
    for id in 0..5 {
        let answer = service.clone().oneshot(log.message(id)).await;
        assert_eq!(answer.unwrap().id, id);
    }
    assert_eq!(probe.unready_calls(), 0);
}

/// With the layer or without: over an error that has grown already, it changes no type.
pub(crate) async fn it_can_be_left_out<L>(make: impl AsyncFn() -> Subject<L>)
where
    L: Layer<Grown>,
    L::Service: Service<Message, Response = Answer, Error = Error<Fault>>,
{
    for there in [true, false] {
        let probe = Probe::default();
        let log = probe.get_ref().log();
        let grown: Grown = probe.map_err(Error::Inner);
        let layer = Some(make().await.layer).filter(|_| there);
        let service = ServiceBuilder::new().option_layer(layer).service(grown);
        let answer = service.oneshot(log.message(ID)).await;
        assert_eq!(answer.unwrap().id, ID);
    }
}

pub(crate) type Grown = MapErr<Probe, fn(Fault) -> Error<Fault>>;

/// A call through a stack whose error, however deep it is, has not grown beyond `Error<Fault>`.
pub(crate) async fn assert_flat<S>(service: S, message: Message)
where
    S: Service<Message, Response = Answer, Error: WithRejection<Error = Error<Fault>>>,
{
    let answer = service.oneshot(message).await;
    assert_eq!(answer.map_err(WithRejection::grow).unwrap().id, ID);
}

/// Ten of a layer, one in the other.
macro_rules! ten_deep {
    ($subject:expr) => {{
        let probe = $crate::probe::Probe::default();
        let message = probe.get_ref().log().message($crate::world::ID);
        let service = $crate::composition::wrap!($subject, probe; 1 2 3 4 5 6 7 8 9 10);
        $crate::composition::assert_flat(service, message).await;
    }};
}

macro_rules! wrap {
    ($subject:expr, $service:expr;) => { $service };
    ($subject:expr, $service:expr; $first:literal $($rest:literal)*) => {
        $crate::composition::wrap!(
            $subject,
            ::tower::Layer::layer(&$subject.layer, $service);
            $($rest)*
        )
    };
}

pub(crate) use {ten_deep, wrap};
