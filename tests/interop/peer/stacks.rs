//! The stacks that are put to the test: here and nowhere else. They are what a user would write, in the order that the README gives.

use std::time::Duration;

use axum::Router;
use mainstay::{
    Backoff, BoxError, CircuitBreakerHandle, CorrelationLayer, Error, Limit, Mode, RespondLayer,
    TimeoutLayer, grpc, http,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::{Endpoint, Server};
use tonic::{Status, codegen};
use tower::util::BoxCloneService;
use tower::{ServiceBuilder, ServiceExt as _};

use crate::echo::InFlight;

/// What differs between one server and the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Serving {
    pub(crate) name: &'static str,
    /// How many calls the bulkhead lets through, and how many the load shedder.
    pub(crate) calls: u32,
    pub(crate) load: u32,
    pub(crate) time: Duration,
    /// After two failures in a row the circuit opens for half a minute.
    pub(crate) circuit: bool,
    /// The time limit covers the body of the response, too.
    pub(crate) whole_body: bool,
}

impl Serving {
    /// The servers: all is well with `main`; each of the others has one reason to reject or end calls.
    pub(crate) const ALL: [Self; 5] = [
        Self::named("main"),
        Self {
            calls: 1,
            time: Duration::from_secs(5),
            ..Self::named("one")
        },
        Self {
            load: 1,
            time: Duration::from_secs(5),
            ..Self::named("shed")
        },
        Self {
            circuit: true,
            ..Self::named("circuit")
        },
        Self {
            whole_body: true,
            ..Self::named("whole")
        },
    ];

    const fn named(name: &'static str) -> Self {
        Self {
            name,
            calls: 64,
            load: 128,
            time: Duration::from_secs(1),
            circuit: false,
            whole_body: false,
        }
    }

    const fn mode(self) -> Mode {
        if self.circuit {
            Mode::Enforce
        } else {
            Mode::Off
        }
    }
}

/// Serves gRPC behind the layers.
pub(crate) fn serve_grpc(
    listener: TcpListener,
    serving: Serving,
    routes: Routes,
) -> Result<InFlight, BoxError> {
    let bulkhead = grpc::bulkhead()
        .name(serving.name)
        .limit(serving.calls)
        .build()?;
    let in_flight = bulkhead.clone();
    let load_shed = grpc::load_shed()
        .name(serving.name)
        .limit(Limit::fixed(serving.load));
    let circuit = grpc::circuit_breaker()
        .name(serving.name)
        .consecutive_failures(2)
        .open_for(Duration::from_secs(30))
        .open_max(Duration::from_secs(30))
        .mode(serving.mode());
    let mut timeout = grpc::timeout().timeout(serving.time);
    if serving.whole_body {
        timeout = timeout.whole_body();
    }
    let layers = ServiceBuilder::new()
        .layer(CorrelationLayer::server())
        .layer(RespondLayer::new())
        .layer(timeout.build()?)
        .layer(load_shed.build()?)
        .layer(bulkhead)
        .layer(circuit.build()?)
        .into_inner();
    let server = Server::builder()
        .layer(layers)
        .add_routes(routes)
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    Ok(Box::new(move || in_flight.handle().in_flight()))
}

/// Serves HTTP/1.1 and HTTP/2 on one port behind the layers.
pub(crate) fn serve_http(
    listener: TcpListener,
    serving: Serving,
    app: Router,
) -> Result<InFlight, BoxError> {
    let bulkhead = http::bulkhead()
        .name(serving.name)
        .limit(serving.calls)
        .build()?;
    let in_flight = bulkhead.clone();
    let load_shed = http::load_shed()
        .name(serving.name)
        .limit(Limit::fixed(serving.load));
    let circuit = http::circuit_breaker()
        .name(serving.name)
        .consecutive_failures(2)
        .open_for(Duration::from_secs(30))
        .open_max(Duration::from_secs(30))
        .mode(serving.mode());
    let mut timeout = http::timeout().timeout(serving.time);
    if serving.whole_body {
        timeout = timeout.whole_body();
    }
    let layers = ServiceBuilder::new()
        .layer(CorrelationLayer::server())
        .layer(RespondLayer::new())
        .layer(timeout.build()?)
        .layer(load_shed.build()?)
        .layer(bulkhead)
        .layer(circuit.build()?);
    let app = app.layer(layers);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(Box::new(move || in_flight.handle().in_flight()))
}

/// What differs between one client and the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calling {
    pub(crate) attempts: u32,
    /// The time of all attempts together, and of each.
    pub(crate) total: Duration,
    pub(crate) attempt: Duration,
    /// So many failures in a row open the circuit, for ten seconds.
    pub(crate) failures: u32,
}

impl Default for Calling {
    fn default() -> Self {
        Self {
            attempts: 3,
            total: Duration::from_secs(5),
            attempt: Duration::from_secs(2),
            failures: 20,
        }
    }
}

/// Short enough for a test, and long enough to be seen.
const BACKOFF: Backoff = Backoff::constant(Duration::from_millis(40));

pub(crate) type GrpcStack =
    BoxCloneService<codegen::http::Request<Body>, codegen::http::Response<Body>, Status>;

/// A tonic channel behind the layers.
pub(crate) fn grpc_client(
    address: &str,
    calling: Calling,
) -> Result<(GrpcStack, CircuitBreakerHandle), BoxError> {
    let circuit = grpc::circuit_breaker()
        .name("peer")
        .consecutive_failures(calling.failures)
        .open_for(Duration::from_secs(10))
        .build()?;
    let handle = circuit.handle();
    let retry = grpc::retry()
        .name("peer")
        .attempts(calling.attempts)
        .backoff(BACKOFF);
    let stack = ServiceBuilder::new()
        .layer(CorrelationLayer::client())
        .layer(TimeoutLayer::new(calling.total))
        .layer(retry.build()?)
        .layer(circuit)
        .layer(grpc::bulkhead().name("peer").limit(64).build()?)
        .layer(TimeoutLayer::new(calling.attempt))
        .layer(http::DeadlineLayer::new())
        .service(Endpoint::from_shared(format!("http://{address}"))?.connect_lazy())
        .map_response(|response| response.map(Body::new));
    Ok((BoxCloneService::new(stack), handle))
}

pub(crate) type HttpStack =
    BoxCloneService<reqwest::Request, reqwest::Response, Error<reqwest::Error>>;

/// A reqwest client behind the layers.
pub(crate) fn http_client(
    client: reqwest::Client,
    calling: Calling,
) -> Result<(HttpStack, CircuitBreakerHandle), BoxError> {
    let circuit = http::circuit_breaker()
        .name("proxy")
        .consecutive_failures(calling.failures)
        .open_for(Duration::from_secs(10))
        .build()?;
    let handle = circuit.handle();
    let retry = http::retry()
        .name("proxy")
        .attempts(calling.attempts)
        .backoff(BACKOFF);
    let stack = ServiceBuilder::new()
        .layer(CorrelationLayer::client())
        .layer(TimeoutLayer::new(calling.total))
        .layer(retry.build()?)
        .layer(circuit)
        .layer(http::bulkhead().name("proxy").limit(64).build()?)
        .layer(TimeoutLayer::new(calling.attempt))
        .layer(http::DeadlineLayer::new())
        .service(client);
    Ok((BoxCloneService::new(stack), handle))
}
