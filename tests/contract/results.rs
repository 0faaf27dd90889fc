//! Results come out as the inner service gave them; errors are grown, and nothing else (P13).

use std::error::Error as StdError;

use mainstay::{BoxError, Error, Rejection, WithRejection};
use tower::util::MapErr;
use tower::{Layer, Service, ServiceExt as _};

use crate::exchange::{Answer, Fault, Message, Root};
use crate::hand::poll;
use crate::probe::{End, Plan, Probe};
use crate::subject::{Core, ErrorOf, Subject};
use crate::world::{ID, World};

pub(crate) async fn answers_and_faults_pass_through<L: Core>(make: impl AsyncFn() -> Subject<L>)
where
    ErrorOf<L>: Into<BoxError>,
{
    let world = World::new(&make).await;
    let mut message = world.log.message(ID);
    message.fields.insert("own".into(), "kept".into());
    let answer = world.ready().call(message).await;
    let answer = answer.map_err(WithRejection::grow).unwrap();
    assert_eq!(answer.id, ID);
    assert_eq!(answer.fields["own"], "kept");

    world.log.plan([Plan::after(0, End::Fault); 2]);
    let Err(error) = world.call(ID).await else {
        panic!("the fault passes through");
    };
    assert!(error.rejection().is_none());
    let boxed: BoxError = error.into();
    assert_eq!(find::<Fault>(&*boxed).unwrap().id, ID);
    assert!(find::<Root>(&*boxed).is_some(), "and what is behind it");
    assert!(Rejection::find(&*boxed).is_none());
}

/// Every rejection is found behind a box, and behind another error around that.
pub(crate) async fn rejections_are_found<L: Core>(make: impl AsyncFn() -> Subject<L>) {
    let world = World::new(&make).await;
    if world.subject.rejects_unready {
        let unready = world.service().call(world.log.message(ID));
        assert_found(unready.await);
    }
    if world.subject.shut(true).is_some() {
        assert_found(world.call(ID).await);
        world.subject.shut(false);
    }
    if world.subject.places > 0 {
        let _others = world.occupy(world.subject.places);
        // A queue makes it wait: time passes by itself when nothing else does.
        assert_found(world.call(ID).await);
    }
}

fn assert_found<E>(result: Result<Answer, E>)
where
    E: WithRejection<Error = Error<Fault>>,
{
    let Err(error) = result else {
        panic!("it is rejected");
    };
    let own = error.rejection().expect("it is a rejection").clone();
    let boxed: BoxError = error.grow().into();
    assert_eq!(Rejection::find(&*boxed), Some(&own));
    let wrapped = std::io::Error::other(boxed);
    assert_eq!(Rejection::find(&wrapped), Some(&own));
    assert!(!own.layer().is_empty() && !own.name().is_empty());
}

/// Over a stack that ends in `BoxError` an error stays in the box it came in.
pub(crate) async fn a_boxed_error_is_not_boxed_again<L>(make: impl AsyncFn() -> Subject<L>)
where
    L: Layer<Boxed>,
    L::Service: Service<Message, Response = Answer, Error = BoxError>,
{
    let probe = Probe::default();
    let log = probe.get_ref().log();
    let boxed: Boxed = probe.map_err(Into::into);
    let mut service = make().await.layer.layer(boxed);
    log.plan([Plan::after(0, End::Fault); 2]);
    let call = service.ready().await.unwrap().call(log.message(ID));
    let error = call.await.unwrap_err();
    assert_eq!(error.downcast::<Fault>().unwrap().id, ID);
}

pub(crate) type Boxed = MapErr<Probe, fn(Fault) -> BoxError>;

fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    error.downcast_ref().or_else(|| find(error.source()?))
}

/// A request that retry does not copy is sent once.
#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_copied_is_sent_once() {
    let probe = Probe::default();
    let log = probe.get_ref().log();
    log.plan([Plan::after(0, End::Fault); 2]);
    let layer = mainstay::RetryLayer::builder()
        .decide_cloning(
            |_: &Message| None,
            |_: &Message, _: Result<&Answer, &Error<Fault>>, _| mainstay::Decision::Retry,
        )
        .build()
        .unwrap();
    let mut call = Box::pin(layer.layer(probe.clone()).oneshot(log.message(ID)));
    let polled = poll(call.as_mut());
    assert!(matches!(polled, std::task::Poll::Ready(Err(Error::Inner(fault))) if fault.id == ID));
    assert_eq!(probe.calls(), 1);
}
