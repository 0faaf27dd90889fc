use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll, Waker};

use http::{Request, Response, StatusCode};
use tower::Layer;
use tower_service::Service;

use crate::layers::bulkhead::BulkheadLayer;
use crate::protocol::respond::RespondLayer;
use crate::vocabulary::{
    error::{BoxError, Error},
    reason::Reason,
    rejection::Rejection,
};

/// A service with scripted readiness results.
#[derive(Clone)]
struct Inner<E>(Vec<Poll<Result<(), E>>>);

impl<E> Service<Request<()>> for Inner<E> {
    type Response = Response<String>;
    type Error = E;
    type Future = Ready<Result<Response<String>, E>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        self.0.remove(0)
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new("called".to_owned())))
    }
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn send<S>(service: &mut S) -> Response<String>
where
    S: Service<Request<()>, Response = Response<String>, Error = Infallible>,
{
    let mut call = std::pin::pin!(service.call(Request::new(())));
    match call.as_mut().poll(&mut cx()) {
        Poll::Ready(Ok(response)) => response,
        Poll::Pending => panic!("not ready"),
    }
}

#[test]
fn an_error_of_readiness_is_the_answer_to_the_next_call_only() {
    let rejection = Rejection::new("buffer", "users", Reason::NotReady);
    let script = vec![
        Poll::Pending,
        Poll::Ready(Err(rejection)),
        Poll::Ready(Ok(())),
    ];
    let mut service = RespondLayer::new().layer(Inner(script));
    assert!(service.poll_ready(&mut cx()).is_pending());
    // Asking again does not lose it.
    assert!(service.poll_ready(&mut cx()).is_ready());
    assert!(service.poll_ready(&mut cx()).is_ready());
    assert_eq!(send(&mut service).status(), 503);

    assert!(service.poll_ready(&mut cx()).is_ready());
    assert_eq!(send(&mut service).body(), "called");
}

#[test]
fn a_clone_asks_for_itself() {
    let rejection = Rejection::new("buffer", "users", Reason::NotReady);
    let script = vec![Poll::Ready(Err(rejection)), Poll::Ready(Ok(()))];
    let mut service = RespondLayer::new().layer(Inner(script));
    assert!(service.poll_ready(&mut cx()).is_ready());
    let mut clone = service.clone();
    assert!(clone.poll_ready(&mut cx()).is_ready());
    assert_eq!(send(&mut clone).body(), "called");
    assert_eq!(send(&mut service).status(), 503);
}

#[test]
fn the_users_answer_also_to_an_error_of_readiness() {
    let teapot = |error: std::fmt::Error| {
        let mut response = Response::new(error.to_string());
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        response
    };
    let script: Vec<Poll<Result<(), Error<std::fmt::Error>>>> =
        vec![Poll::Ready(Err(Error::Inner(std::fmt::Error)))];
    let layer = RespondLayer::new().map_error(teapot);
    let mut service = layer.layer(Inner(script));
    assert!(service.poll_ready(&mut cx()).is_ready());
    assert_eq!(send(&mut service).status(), 418);
}

#[test]
fn a_rejection_is_found_behind_a_box_that_comes_as_readiness() {
    let rejection = Rejection::new("buffer", "users", Reason::TimedOut);
    let boxed: BoxError = Box::new(std::io::Error::other(rejection));
    let layer = RespondLayer::new().map_error(|_: BoxError| Response::new(String::new()));
    let mut service = layer.layer(Inner(vec![Poll::Ready(Err(boxed))]));
    assert!(service.poll_ready(&mut cx()).is_ready());
    assert_eq!(send(&mut service).status(), 504);
}

/// The types that must fit, without any socket: what a server asks for, and what it does not.
#[test]
fn it_adds_no_bound() {
    fn is_send_and_sync<T: Clone + Send + Sync + 'static>(_: &T) {}
    fn is_send<T: Send>(_: &T) {}

    let script = vec![Poll::Ready(Ok::<(), Infallible>(()))];
    let layers = (RespondLayer::new(), BulkheadLayer::new(1));
    let mut service = layers.layer(Inner(script));
    is_send_and_sync(&service);
    assert!(service.poll_ready(&mut cx()).is_ready());
    is_send(&service.call(Request::new(())));

    // A service that is neither `Clone` nor `Send`.
    struct Local(std::rc::Rc<()>);
    impl Service<Request<()>> for Local {
        type Response = Response<String>;
        type Error = Infallible;
        type Future = Ready<Result<Response<String>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            ready(Ok(Response::new(format!(
                "{}",
                std::rc::Rc::strong_count(&self.0)
            ))))
        }
    }
    let mut service = layers.layer(Local(std::rc::Rc::default()));
    assert!(service.poll_ready(&mut cx()).is_ready());
    assert_eq!(send(&mut service).body(), "1");
}
