//! The gRPC health service.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use http_body::Body;
use tonic::codegen::BoxFuture;
use tonic::server::NamedService;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health as HealthRpc, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower_service::Service;

use super::Health;
use crate::runtime::{Moment, Timer};
use crate::shutdown::{Closing, Shutdown};
use crate::vocabulary::error::BoxError;

/// How often a watched status is computed.
const INTERVAL: Duration = Duration::from_secs(1);

/// The gRPC health service, `grpc.health.v1.Health`: made by [`Health::grpc`].
///
/// The service with the empty name is the server. It is `SERVING` while the [`Health`] is ready.
/// Services by name are added with [`service`](Self::service). `Check` of any other name is answered
/// with `NOT_FOUND`, and `Watch` with `SERVICE_UNKNOWN`.
///
/// `Watch` computes the status once a second and at the beginning of a shutdown, and sends it when it
/// changes. The stream ends when the server closes, so that it does not delay a graceful shutdown.
///
/// Add it beside the services in a stack, not inside the stack:
///
/// ```
/// use mainstay::health::Health;
/// use tonic::transport::Server;
///
/// let health = Health::global();
/// let orders = health.clone().essential("payments");
/// let server = Server::builder().add_service(health.grpc().service("shop.Orders", &orders));
/// // .add_service(stack.wrap(OrdersServer::new(..)))
/// ```
#[derive(Clone)]
pub struct GrpcHealth {
    checks: Arc<Checks>,
    server: HealthServer<Checks>,
}

/// The health of each service.
#[derive(Clone)]
struct Checks(BTreeMap<String, Health>);

impl GrpcHealth {
    pub(super) fn new(server: Health) -> Self {
        Self::of(Checks(BTreeMap::from([(String::new(), server)])))
    }

    fn of(checks: Checks) -> Self {
        let checks = Arc::new(checks);
        Self {
            server: HealthServer::from_arc(Arc::clone(&checks)),
            checks,
        }
    }

    /// Adds a service by its full name (`shop.Orders`), and the health that decides on its status.
    #[must_use]
    pub fn service(self, name: impl Into<String>, health: &Health) -> Self {
        let mut checks = (*self.checks).clone();
        checks.0.insert(name.into(), health.clone());
        Self::of(checks)
    }
}

impl Checks {
    fn status(&self, service: &str) -> Option<ServingStatus> {
        let health = self.0.get(service)?;
        let shutting_down = self.its_shutdown().is_some_and(Shutdown::has_begun);
        Some(match health.readiness().ready && !shutting_down {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        })
    }

    /// The shutdown of the server, which ends all its services.
    fn its_shutdown(&self) -> Option<&Shutdown> {
        self.0.get("").and_then(Health::its_shutdown)
    }
}

#[tonic::async_trait]
impl HealthRpc for Checks {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match self.status(&request.into_inner().service) {
            Some(status) => Ok(Response::new(reply(status))),
            None => Err(Status::new(Code::NotFound, "no service has this name")),
        }
    }

    type WatchStream = Watch;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Watch>, Status> {
        let service = request.into_inner().service;
        let health = self.0.get(&service).cloned();
        // A service that is unknown, or has no shutdown of its own, ends with the server.
        let shutdown = health.as_ref().and_then(Health::its_shutdown);
        let shutdown = shutdown.or_else(|| self.its_shutdown());
        Ok(Response::new(Watch {
            begun: shutdown.map(|shutdown| shutdown.begun()),
            closing: shutdown.map(|shutdown| shutdown.closing()),
            timer: Box::pin(Timer::at(Moment::now())),
            sent: None,
            has_ended: false,
            checks: self.clone(),
            service,
        }))
    }
}

fn reply(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

/// The stream of a watched status.
struct Watch {
    checks: Checks,
    service: String,
    sent: Option<ServingStatus>,
    timer: Pin<Box<Timer>>,
    /// `None` after it has ended, or without a shutdown.
    begun: Option<Closing>,
    closing: Option<Closing>,
    has_ended: bool,
}

impl Stream for Watch {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            this.has_ended |= is_over(&mut this.closing, cx);
            if this.has_ended {
                return Poll::Ready(None);
            }
            let has_begun = is_over(&mut this.begun, cx);
            let is_time = this.timer.as_mut().poll(cx).is_ready();
            if is_time {
                this.timer = Box::pin(Timer::at(Moment::now().after(INTERVAL)));
            }
            if !is_time && !has_begun {
                return Poll::Pending;
            }
            let status = this.checks.status(&this.service);
            let status = status.unwrap_or(ServingStatus::ServiceUnknown);
            if this.sent.replace(status) != Some(status) {
                return Poll::Ready(Some(Ok(reply(status))));
            }
        }
    }
}

/// Whether a future ends now. It is dropped then.
fn is_over(future: &mut Option<Closing>, cx: &mut Context<'_>) -> bool {
    let over = future.take_if(|future| Pin::new(future).poll(cx).is_ready());
    over.is_some()
}

impl<B> Service<http::Request<B>> for GrpcHealth
where
    B: Body + Send + 'static,
    B::Error: Into<BoxError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        self.server.call(request)
    }
}

impl NamedService for GrpcHealth {
    const NAME: &'static str = <HealthServer<Checks> as NamedService>::NAME;
}

impl fmt::Debug for GrpcHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcHealth")
            .field("services", &self.checks.0.keys())
            .finish_non_exhaustive()
    }
}
