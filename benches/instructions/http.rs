//! The standard stacks for HTTP over an axum router of one route, and the nearest layers of tower
//! and tower-http.

use std::fmt::Debug;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tower::layer::util::Identity;
use tower::{Layer, Service, ServiceExt};

use crate::cases::Case;
use crate::routers::{in_tower, router, wrapped};
use crate::services::Work;
use crate::stacks::http_client;

const ROUTER: &str = "router";
const YIELDS: &str = "router_yields";

pub(crate) fn all() -> Vec<Case> {
    vec![
        Case::bare(ROUTER, || Ok(calls(served(router())))),
        Case::bare(YIELDS, || Ok(calls(served(yields())))),
        // The cost of `Router::layer` for any layer.
        Case::over(ROUTER, "empty_layer", || {
            Ok(calls(served(router().layer(Identity::new()))))
        }),
        Case::over(ROUTER, "server_stack", || {
            Ok(calls(served(wrapped(router())?)))
        }),
        Case::over(YIELDS, "server_stack_yields", || {
            Ok(calls(served(wrapped(yields())?)))
        }),
        Case::over(ROUTER, "tower_server", || {
            Ok(calls(served(in_tower(router()))))
        }),
        Case::over(YIELDS, "tower_server_yields", || {
            Ok(calls(served(in_tower(yields()))))
        }),
        Case::over(ROUTER, "client_stack", || {
            Ok(calls(http_client()?.layer(served(router()))))
        }),
        Case::over(YIELDS, "client_stack_yields", || {
            Ok(calls(http_client()?.layer(served(yields()))))
        }),
    ]
}

/// As axum does for every connection.
fn served(router: Router) -> Router {
    router.with_state(())
}

/// Its handler is pending once.
fn yields() -> Router {
    let handler = async || {
        let mut waited = false;
        poll_fn(|_| {
            if std::mem::replace(&mut waited, true) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        "created"
    };
    Router::new().route("/", get(handler))
}

/// Each request goes to a clone, as in servers, and its response is read to the end.
fn calls<S, B>(service: S) -> Work
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Debug> + Clone + Send + 'static,
    B: Body<Error: Debug> + Unpin,
{
    let request = Request::new(Full::<Bytes>::default());
    Box::new(move |calls| {
        for _ in 0..calls {
            call(service.clone(), request.clone());
        }
    })
}

fn call<S, B>(service: S, request: Request<Full<Bytes>>)
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Debug>,
    B: Body<Error: Debug> + Unpin,
{
    let mut answer = pin!(async {
        let response = service.oneshot(request).await.expect("no call fails");
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame.expect("no body breaks off");
        }
    });
    let cx = &mut Context::from_waker(Waker::noop());
    while answer.as_mut().poll(cx).is_pending() {}
}
