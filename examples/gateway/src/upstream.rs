//! The two upstreams of the gateway: `catalog`, which speaks HTTP, and `pricing`, which speaks
//! gRPC. Each is behind the standard stack of a server, and has a port of its own.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use mainstay::{BoxError, grpc, http};
use tokio::sync::Mutex;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::fault::{Broken, Fault, Mode};
use crate::proto::pricing_server::{Pricing, PricingServer};
use crate::proto::{PriceReply, PriceRequest};
use crate::server::{Port, Server};

/// An upstream that can be broken.
pub(crate) struct Upstream {
    /// The name of the client's stack. The server's stack has another name, because both are in the
    /// same process.
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    fault: Fault,
    router: Router,
    process: Mutex<Process>,
}

enum Process {
    Up(Server),
    Down(Port),
    /// Between the two, or after an error there.
    Changing,
}

impl Upstream {
    /// Describes products.
    pub(crate) async fn catalog() -> Result<Self, BoxError> {
        let stack = http::server("catalog-service")
            .timeout(Duration::from_secs(2))
            .build()?;
        let fault = Fault::none();
        let router = Router::new()
            .route("/descriptions/{product}", get(describe))
            .layer(stack)
            .with_state(fault.clone());
        Self::start("catalog", fault, router).await
    }

    /// Returns the prices of products.
    pub(crate) async fn pricing() -> Result<Self, BoxError> {
        let stack = grpc::server("pricing-service")
            .timeout(Duration::from_secs(2))
            .build()?;
        let fault = Fault::none();
        // A router, as for `catalog`, so that it can be killed in the same way.
        let router = Routes::new(PricingServer::new(Prices(fault.clone())))
            .into_axum_router()
            .layer(stack);
        Self::start("pricing", fault, router).await
    }

    async fn start(name: &'static str, fault: Fault, router: Router) -> Result<Self, BoxError> {
        let port = Port::any()?;
        let address = port.address();
        let server = port.serve(name, router.clone()).await?;
        Ok(Self {
            name,
            address,
            fault,
            router,
            process: Mutex::new(Process::Up(server)),
        })
    }

    pub(crate) fn mode(&self) -> Mode {
        self.fault.mode()
    }

    /// Changes the mode.
    pub(crate) async fn set(&self, mode: Mode) -> io::Result<()> {
        let mut process = self.process.lock().await;
        *process = match (mem::replace(&mut *process, Process::Changing), mode) {
            (Process::Up(server), Mode::Down) => Process::Down(server.kill().await?),
            (Process::Down(port), mode) if mode != Mode::Down => {
                Process::Up(port.serve(self.name, self.router.clone()).await?)
            }
            (Process::Changing, _) => {
                return Err(io::Error::other(
                    "an earlier change failed: restart the program",
                ));
            }
            (unchanged, _) => unchanged,
        };
        self.fault.set(mode);
        Ok(())
    }
}

async fn describe(
    State(fault): State<Fault>,
    Path(product): Path<String>,
) -> Result<String, StatusCode> {
    match fault.work().await {
        Ok(()) => Ok(format!("a {product} like no other")),
        Err(Broken) => Err(StatusCode::SERVICE_UNAVAILABLE),
    }
}

struct Prices(Fault);

#[tonic::async_trait]
impl Pricing for Prices {
    async fn price(&self, request: Request<PriceRequest>) -> Result<Response<PriceReply>, Status> {
        let product = request.into_inner().product;
        match self.0.work().await {
            Ok(()) => Ok(Response::new(PriceReply {
                cents: product.bytes().map(u32::from).sum(),
            })),
            Err(Broken) => Err(Status::unavailable("out of order")),
        }
    }
}
