//! The servers, on loopback. All run for the whole time; one at a time has something to do.

use std::future;
use std::net::SocketAddr;
use std::time::Duration;

use axum::error_handling::HandleErrorLayer;
use axum::http::StatusCode;
use axum::routing::get;
use axum::serve::ListenerExt;
use axum::{Router, serve};
use mainstay::BoxError;
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tower::ServiceBuilder;
use tower::layer::layer_fn;
use tower::layer::util::Identity;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};

use crate::by_hand::WithId;
use crate::lane::Lane;
use crate::stacks::{grpc_server, http_server};
use crate::users::{Directory, UsersServer};

/// Where the servers listen.
#[derive(Clone, Copy)]
pub(crate) struct Servers {
    pub(crate) axum_bare: SocketAddr,
    pub(crate) axum_wrapped: SocketAddr,
    pub(crate) axum_tower: SocketAddr,
    pub(crate) axum_empty_layer: SocketAddr,
    pub(crate) axum_only_id: SocketAddr,
    pub(crate) tonic_bare: SocketAddr,
    pub(crate) tonic_wrapped: SocketAddr,
    pub(crate) tonic_only_id: SocketAddr,
}

impl Servers {
    pub(crate) fn start(lane: &Lane) -> Result<Self, BoxError> {
        let started = async {
            Ok(Self {
                axum_bare: serve_axum(router()).await?,
                axum_wrapped: serve_axum(wrapped_router()?).await?,
                axum_tower: serve_axum(peers_router()).await?,
                axum_empty_layer: serve_axum(router().layer(Identity::new())).await?,
                axum_only_id: serve_axum(router().layer(layer_fn(WithId))).await?,
                tonic_bare: serve_tonic!(Server::builder()),
                tonic_wrapped: serve_tonic!(Server::builder().layer(grpc_server()?)),
                tonic_only_id: serve_tonic!(Server::builder().layer(layer_fn(WithId))),
            })
        };
        lane.run(started)?
    }
}

/// Serves the directory until the program ends. A macro, because nobody wants to write the type.
macro_rules! serve_tonic {
    ($builder:expr) => {{
        let listener = listener().await?;
        let address = listener.local_addr()?;
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let server = $builder
            .add_service(UsersServer::new(Directory))
            .serve_with_incoming(incoming);
        tokio::spawn(server);
        address
    }};
}
use serve_tonic;

async fn serve_axum(app: Router) -> Result<SocketAddr, BoxError> {
    let listener = listener().await?;
    let address = listener.local_addr()?;
    let listener = listener.tap_io(|stream: &mut TcpStream| {
        // Without it the server is only slower.
        let _ = stream.set_nodelay(true);
    });
    tokio::spawn(serve(listener, app).into_future());
    Ok(address)
}

async fn listener() -> Result<TcpListener, BoxError> {
    Ok(TcpListener::bind("127.0.0.1:0").await?)
}

pub(crate) fn router() -> Router {
    Router::new().route("/", get(async || "created"))
}

pub(crate) fn wrapped_router() -> Result<Router, BoxError> {
    Ok(router().layer(http_server()?))
}

/// The nearest that tower's own layers and tower-http's come to it: an ID made and sent back, one limit for all, a time limit. They know of no
/// deadline on the wire, of no limit that adapts, and let go at the head of a response.
fn peers_router() -> Router {
    let refused = |_: BoxError| future::ready(StatusCode::SERVICE_UNAVAILABLE);
    router().layer(
        ServiceBuilder::new()
            .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
            .layer(PropagateRequestIdLayer::x_request_id())
            .layer(HandleErrorLayer::new(refused))
            .load_shed()
            .layer(GlobalConcurrencyLimitLayer::new(256))
            .timeout(Duration::from_secs(2)),
    )
}
