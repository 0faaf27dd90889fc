//! No bound that the layer does not need (P12): that all this compiles is the test.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Ready;
use std::task::{Context as Task, Poll};

use mainstay::{Carry, Rejection, WithRejection};
use tower::util::{BoxCloneService, BoxService};
use tower::{Layer, Service, ServiceExt as _};

use crate::exchange::{Answer, Fault, Message};
use crate::probe::Probe;
use crate::subject::{CallOf, Core, ErrorOf, ServiceOf, Subject};
use crate::world::ID;

/// A service that answers every request with itself, and keeps a guest: something that cannot be sent, cloned or kept.
#[derive(Clone)]
pub(crate) struct Echo<G>(pub G);

impl<G, Req> Service<Req> for Echo<G> {
    type Response = Req;
    type Error = Infallible;
    type Future = Ready<Result<Req, Infallible>>;

    fn poll_ready(&mut self, _: &mut Task<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        std::future::ready(Ok(request))
    }
}

/// A request, or a response, with a guest.
#[derive(Clone)]
pub(crate) struct Parcel<G> {
    pub(crate) guest: G,
    fields: BTreeMap<String, String>,
}

impl<G> Parcel<G> {
    pub(crate) fn with(guest: G) -> Self {
        Self {
            guest,
            fields: BTreeMap::new(),
        }
    }
}

impl<G> Carry for Parcel<G> {
    fn get(&self, field: &str) -> Option<&[u8]> {
        self.fields.get(field).map(String::as_bytes)
    }

    fn set(&mut self, field: &str, value: &str) {
        self.fields.insert(field.to_owned(), value.to_owned());
    }
}

impl<G> mainstay::WholeReply for Parcel<G> {}

/// What cannot be cloned.
pub(crate) struct Single;

/// Sends something through a layer to an [`Echo`]. Where nothing but a rejection can go wrong, the error says so.
pub(crate) async fn send<L, G, H>(layer: L, guest: G, request: Parcel<H>) -> Parcel<H>
where
    L: Layer<Echo<G>>,
    L::Service: Service<Parcel<H>, Response = Parcel<H>, Error: WithRejection<Error = Rejection>>,
{
    let service = layer.layer(Echo(guest));
    match service.oneshot(request).await {
        Ok(response) => response,
        Err(error) => panic!("{}", error.grow()),
    }
}

/// A shared service may be shared: by threads, by the routes of a router, in a box.
pub(crate) async fn what_is_inside_decides_what_can_be_shared<L>(make: impl AsyncFn() -> Subject<L>)
where
    L: Core + Send + Sync + 'static,
    ServiceOf<L>: Send + Sync + Unpin + 'static,
    CallOf<L>: Send + Sync + 'static,
    ErrorOf<L>: Send + Sync,
{
    let probe = Probe::default();
    let log = probe.get_ref().log();
    let service = make().await.layer.layer(probe);
    let cloned: BoxCloneService<Message, Answer, _> = BoxCloneService::new(service.clone());
    let owned: BoxService<Message, Answer, _> = BoxService::new(service);
    for answer in [
        cloned.clone().oneshot(log.message(ID)).await,
        owned.oneshot(log.message(ID)).await,
    ] {
        assert_eq!(answer.map_err(WithRejection::grow).unwrap().id, ID);
    }
}

/// A box that can be cloned may be what is inside.
pub(crate) async fn it_works_around_a_box<L>(make: impl AsyncFn() -> Subject<L>)
where
    L: Layer<BoxCloneService<Message, Answer, Fault>>,
    L::Service: Service<Message, Response = Answer, Error: WithRejection>,
{
    let probe = Probe::default();
    let message = probe.get_ref().log().message(ID);
    let service = make().await.layer.layer(BoxCloneService::new(probe));
    assert_eq!(service.oneshot(message).await.ok().unwrap().id, ID);
}

/// So may a box that cannot.
pub(crate) async fn around_a_single_box<L>(make: impl AsyncFn() -> Subject<L>)
where
    L: Layer<BoxService<Message, Answer, Fault>>,
    L::Service: Service<Message, Response = Answer, Error: WithRejection>,
{
    let probe = Probe::default();
    let message = probe.get_ref().log().message(ID);
    let service = make().await.layer.layer(BoxService::new(probe));
    assert_eq!(service.oneshot(message).await.ok().unwrap().id, ID);
}

/// The tests of types for a layer that calls the inner service `once`, `later` than now, or `again`: the last two need
/// to clone the service, and the last one the request.
macro_rules! types {
    (once, $subject:expr) => {
        $crate::types::types!(later, $subject);

        #[tokio::test(start_paused = true)]
        async fn the_service_need_not_be_clone() {
            use $crate::types::{Parcel, Single, send};
            send($subject.layer, Single, Parcel::with(Single)).await;
            $crate::types::around_a_single_box(async || $subject).await;
        }
    };
    (later, $subject:expr) => {
        $crate::types::types!(again, $subject);

        #[tokio::test(start_paused = true)]
        async fn the_request_need_not_be_clone() {
            use $crate::types::{Parcel, Single, send};
            send($subject.layer, (), Parcel::with(Single)).await;
        }
    };
    (again, $subject:expr) => {
        #[tokio::test(start_paused = true)]
        async fn nothing_need_be_send() {
            use std::rc::Rc;
            use $crate::types::{Parcel, send};
            let guest = Rc::new(());
            send($subject.layer, Rc::clone(&guest), Parcel::with(guest)).await;
        }

        #[tokio::test(start_paused = true)]
        async fn service_request_and_response_may_borrow() {
            use $crate::types::{Parcel, send};
            let (text, calls) = (String::from("borrowed"), std::cell::Cell::new(0));
            let sent = send($subject.layer, &calls, Parcel::with((&text, &calls))).await;
            assert_eq!(sent.guest.0, "borrowed");
        }

        #[tokio::test(start_paused = true)]
        async fn ten_deep_the_error_is_flat() {
            $crate::composition::ten_deep!($subject);
        }
    };
}

pub(crate) use types;
