//! The servers, on loopback. All run for the whole time; one at a time has something to do.

use std::net::SocketAddr;

use axum::serve::ListenerExt;
use axum::{Router, serve};
use mainstay::BoxError;
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tower::layer::layer_fn;
use tower::layer::util::Identity;

use crate::by_hand::WithId;
use crate::lane::Lane;
use crate::routers::{in_tower, router, wrapped};
use crate::stacks::grpc_server;
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
                axum_wrapped: serve_axum(wrapped(router())?).await?,
                axum_tower: serve_axum(in_tower(router())).await?,
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
