//! A standard stack next to the same layers, put together by hand.
//!
//! Requests and responses are those of HTTP, with bodies that are there: writing headers allocates, in both of a pair alike.

use std::convert::Infallible;
use std::future;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use mainstay::http::DeadlineLayer;
use mainstay::{ConfigError, CorrelationLayer, Plain, RespondLayer, http as resilient};
use tower::{Service, ServiceBuilder};

use crate::cases::{Case, pair};
use crate::recorded;
use crate::services::{Expect, Work, calls};

/// The cases, each before its peer.
pub(crate) fn all() -> Result<Vec<Case>, ConfigError> {
    let request = Request::new(Full::<Bytes>::default());
    let server = || -> Result<Work, ConfigError> {
        let server = resilient::server("orders").build()?.wrap(Server);
        Ok(calls(server, request.clone(), Expect::Answers))
    };
    let client = resilient::client("payments").build()?.wrap(Client);
    let by_hand = calls(server_by_hand()?, request.clone(), Expect::Answers);
    let mut cases = vec![recorded::case(
        "server_stack_recorded",
        "server_stack",
        server,
    )?];
    cases.extend(pair(
        Case::new("server_stack", server()?),
        Case::new("by_hand_server", by_hand),
    ));
    let by_hand = calls(client_by_hand()?, request.clone(), Expect::Answers);
    cases.extend(pair(
        Case::new("client_stack", calls(client, request, Expect::Answers)),
        Case::new("by_hand_client", by_hand),
    ));
    Ok(cases)
}

/// More calls than a bulkhead can count are no limit.
const NO_LIMIT: u32 = (1 << 24) - 1;

type Message = Request<Full<Bytes>>;

fn server_by_hand()
-> Result<impl Service<Message, Future: Send> + Clone + Send + 'static, ConfigError> {
    Ok(ServiceBuilder::new()
        .layer(CorrelationLayer::server())
        .layer(RespondLayer::new())
        .layer(resilient::timeout().build()?)
        .layer(resilient::load_shed().build()?)
        .layer(resilient::bulkhead().limit(NO_LIMIT).build()?)
        .service(Server))
}

fn client_by_hand()
-> Result<impl Service<Message, Future: Send> + Clone + Send + 'static, ConfigError> {
    Ok(ServiceBuilder::new()
        .layer(CorrelationLayer::client())
        .layer(resilient::timeout().for_client().build()?)
        .layer(resilient::retry().build()?)
        .layer(resilient::circuit_breaker().build()?)
        .layer(resilient::bulkhead().limit(NO_LIMIT).build()?)
        .layer(DeadlineLayer::new())
        .service(Client))
}

/// What a client's stack is put around.
#[derive(Debug)]
struct Broken;

impl Plain for Broken {}

macro_rules! answers {
    ($($service:ident: $error:ty;)*) => {$(
        /// Answers at once.
        #[derive(Clone, Copy)]
        struct $service;

        impl Service<Message> for $service {
            type Response = Response<Full<Bytes>>;
            type Error = $error;
            type Future = future::Ready<Result<Self::Response, $error>>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), $error>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, _: Message) -> Self::Future {
                future::ready(Ok(Response::new(Full::new(Bytes::from_static(b"done")))))
            }
        }
    )*};
}

answers! {
    Server: Infallible;
    Client: Broken;
}
