//! What is measured: bare and wrapped, in pairs.

use std::net::SocketAddr;

use mainstay::BoxError;
use reqwest::Client;
use tonic::transport::Endpoint;

use crate::callers::{Grpc, Http1, Reqwest, Stub, Through};
use crate::lane::Lane;
use crate::measure::{Laps, Side};
use crate::servers::Servers;
use crate::stacks::{grpc_client, http_client};
use crate::users::UsersClient;

/// How many call at the same time. No more than a load shedder admits before it knows better.
pub(crate) const CALLERS: usize = 16;
/// How many connections of HTTP/2 they share. With one, server and callers take turns: half of the time the server has nothing to do.
const SHARED: usize = 4;

/// One and the same, with the layers and without.
pub(crate) struct Pair {
    pub(crate) name: &'static str,
    pub(crate) bare: Laps,
    pub(crate) wrapped: Laps,
}

/// All pairs. What a server costs is measured on the servers' lane, what a client costs on the callers'.
pub(crate) fn all(servers: &Lane, callers: &Lane) -> Result<Vec<Pair>, BoxError> {
    let at = Servers::start(servers)?;
    let server = Side::new(callers, servers);
    let client = Side::new(callers, callers);
    callers.run(connected(at, server, client))?
}

async fn connected(at: Servers, server: Side, client: Side) -> Result<Vec<Pair>, BoxError> {
    let channel = Endpoint::from_shared(format!("http://{}", at.tonic_bare))?
        .connect()
        .await?;
    let bare_stub = Stub(UsersClient::new(channel.clone()));
    let wrapped_stub = Stub(UsersClient::new(grpc_client()?.wrap(channel)));
    let reqwest = Reqwest {
        client: Client::builder().no_proxy().build()?,
        url: format!("http://{}/", at.axum_bare).parse()?,
    };
    let through = Through {
        stack: http_client()?.wrap(reqwest.client.clone()),
        inner: reqwest.clone(),
    };
    Ok(vec![
        Pair {
            name: "axum",
            bare: server.laps(http1(at.axum_bare).await?),
            wrapped: server.laps(http1(at.axum_wrapped).await?),
        },
        Pair {
            name: "axum_tower",
            bare: server.laps(http1(at.axum_bare).await?),
            wrapped: server.laps(http1(at.axum_tower).await?),
        },
        Pair {
            name: "axum_empty_layer",
            bare: server.laps(http1(at.axum_bare).await?),
            wrapped: server.laps(http1(at.axum_empty_layer).await?),
        },
        Pair {
            name: "axum_only_id",
            bare: server.laps(http1(at.axum_bare).await?),
            wrapped: server.laps(http1(at.axum_only_id).await?),
        },
        Pair {
            name: "tonic",
            bare: server.laps(grpc(at.tonic_bare).await?),
            wrapped: server.laps(grpc(at.tonic_wrapped).await?),
        },
        Pair {
            name: "tonic_only_id",
            bare: server.laps(grpc(at.tonic_bare).await?),
            wrapped: server.laps(grpc(at.tonic_only_id).await?),
        },
        Pair {
            name: "tonic_client",
            bare: client.laps(vec![bare_stub; CALLERS]),
            wrapped: client.laps(vec![wrapped_stub; CALLERS]),
        },
        Pair {
            name: "reqwest",
            bare: client.laps(vec![reqwest; CALLERS]),
            wrapped: client.laps(vec![through; CALLERS]),
        },
    ])
}

/// A connection for each caller.
async fn http1(address: SocketAddr) -> Result<Vec<Http1>, BoxError> {
    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        callers.push(Http1::connect(address).await?);
    }
    Ok(callers)
}

/// A few connections, each for some of the callers.
async fn grpc(address: SocketAddr) -> Result<Vec<Grpc>, BoxError> {
    let mut callers = Vec::new();
    for _ in 0..SHARED {
        let caller = Grpc::connect(address).await?;
        callers.extend(vec![caller; CALLERS / SHARED]);
    }
    Ok(callers)
}
