//! One small call by each transport, with and without the stacks: TCP, gRPC, and HTTP.

use std::future::{Future, pending};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Path;
use axum::routing::get;
use axum::{Json, Router};
use futures_util::future::BoxFuture;
use futures_util::stream;
use mainstay::reqwest::SendThrough;
use mainstay::{BoxError, grpc, http};
use serde_json::json;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tower::{ServiceExt, service_fn};

use super::lap::Seen;
use super::{CALLERS, Row};
use crate::message::{Failure, Message};
use crate::services::catalog::proto::catalog_client::CatalogClient;
use crate::services::catalog::proto::catalog_server::{self, CatalogServer};
use crate::services::catalog::proto::{
    GetProductRequest, GetProductsReply, GetProductsRequest, ListRequest, Product,
};
use crate::stacks;
use crate::tcp::{self, Client, Limits, Reply};

/// A call of one case.
type Call = Arc<dyn Fn() -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync>;

/// How long a lap is. Laps of all cases take turns.
const LAP: Duration = Duration::from_millis(250);
const TIMEOUT: Duration = Duration::from_secs(10);
const PRODUCT: &str = "tea-pot";
const NAME: &str = "Tea pot";
const PRICE: i64 = 3_900;

/// Measures all cases for about this time.
pub(super) async fn run(time: Duration) -> Result<Vec<Row>, BoxError> {
    let tcp = tcp().await?;
    let grpc = grpc().await?;
    let http = http().await?;
    let mut cases = Vec::new();
    for (transport, [without, with]) in [("TCP", tcp), ("gRPC", grpc), ("HTTP", http)] {
        cases.push((transport, without, Seen::new()?, with, Seen::new()?));
    }
    let laps = time.as_millis() / (LAP.as_millis() * 2 * cases.len() as u128);
    // The first warms up, and does not count.
    for lap in 0..=laps.max(3) {
        for (_, without, seen_without, with, seen_with) in &mut cases {
            for (call, seen) in [(without, seen_without), (with, seen_with)] {
                if lap == 0 {
                    Seen::new()?.lap(&callers(call), LAP).await?;
                } else {
                    seen.lap(&callers(call), LAP).await?;
                }
            }
        }
    }
    let rows = cases
        .into_iter()
        .map(|(transport, _, without, _, with)| Row {
            case: transport.to_owned(),
            without: (&without).into(),
            with: (&with).into(),
            ratio: with.over(&without),
        });
    Ok(rows.collect())
}

fn callers(
    call: &Call,
) -> Vec<impl Fn() -> BoxFuture<'static, Result<(), BoxError>> + Clone + use<>> {
    let call = Arc::clone(call);
    vec![move || call(); CALLERS]
}

async fn listener() -> Result<(TcpListener, SocketAddr), BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Serves until the end of the process.
fn serve<E: std::fmt::Display>(server: impl Future<Output = Result<(), E>> + Send + 'static) {
    tokio::spawn(async move {
        if let Err(error) = server.await {
            eprintln!("error: a server of the benchmark: {error}");
        }
    });
}

fn call<F>(call: impl Fn() -> F + Send + Sync + 'static) -> Call
where
    F: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    Arc::new(move || Box::pin(call()))
}

async fn tcp() -> Result<[Call; 2], BoxError> {
    let handler = service_fn(|_: Message| async {
        let product = json!({ "id": PRODUCT, "name": NAME, "price": PRICE });
        Ok::<_, Failure>(Reply::One(product))
    });
    let (bare, bare_address) = listener().await?;
    serve(tcp::serve(bare, handler, Limits::default(), pending()));
    let (behind, address) = listener().await?;
    let server = stacks::server("bench-tcp", handler)?;
    serve(tcp::serve(behind, server, Limits::default(), pending()));
    let bare = Client::new(bare_address.to_string(), Limits::default());
    let client = Client::new(address.to_string(), Limits::default());
    let client = stacks::client("bench-tcp", TIMEOUT, TIMEOUT / 2, client)?;
    let request = || Message::request("catalog.get", json!({ "id": PRODUCT }));
    let without = call(move || {
        let answer = bare.clone().oneshot(request());
        async move { Ok(answer.await.map(drop)?) }
    });
    let with = call(move || {
        let answer = client.clone().oneshot(request());
        async move { Ok(answer.await.map(drop)?) }
    });
    Ok([without, with])
}

/// Answers without a database.
struct Catalog;

fn product() -> Product {
    Product {
        id: PRODUCT.to_owned(),
        name: NAME.to_owned(),
        price: PRICE,
    }
}

#[tonic::async_trait]
impl catalog_server::Catalog for Catalog {
    async fn get_product(
        &self,
        _: Request<GetProductRequest>,
    ) -> Result<Response<Product>, Status> {
        Ok(Response::new(product()))
    }

    async fn get_products(
        &self,
        _: Request<GetProductsRequest>,
    ) -> Result<Response<GetProductsReply>, Status> {
        let products = vec![product()];
        Ok(Response::new(GetProductsReply { products }))
    }

    type ListStream = stream::Iter<std::vec::IntoIter<Result<Product, Status>>>;

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        Ok(Response::new(stream::iter(vec![Ok(product())])))
    }
}

async fn grpc() -> Result<[Call; 2], BoxError> {
    let (bare, bare_address) = listener().await?;
    let incoming = TcpIncoming::from(bare).with_nodelay(Some(true));
    let server = Server::builder().add_service(CatalogServer::new(Catalog));
    serve(server.serve_with_incoming(incoming));
    let (behind, address) = listener().await?;
    let incoming = TcpIncoming::from(behind).with_nodelay(Some(true));
    let server = Server::builder()
        .layer(grpc::server("bench-grpc").build()?)
        .add_service(CatalogServer::new(Catalog));
    serve(server.serve_with_incoming(incoming));
    let channel = |address: SocketAddr| -> Result<Channel, BoxError> {
        Ok(Endpoint::from_shared(format!("http://{address}"))?.connect_lazy())
    };
    let bare = CatalogClient::new(channel(bare_address)?);
    let stack = grpc::client("bench-grpc")
        .timeout(TIMEOUT)
        .attempt_timeout(TIMEOUT / 2)
        .build()?;
    let client = CatalogClient::new(stack.wrap(channel(address)?));
    let request = || GetProductRequest {
        id: PRODUCT.to_owned(),
    };
    let without = call(move || {
        let mut client = bare.clone();
        async move { Ok(client.get_product(request()).await.map(drop)?) }
    });
    let with = call(move || {
        let mut client = client.clone();
        async move { Ok(client.get_product(request()).await.map(drop)?) }
    });
    Ok([without, with])
}

async fn http() -> Result<[Call; 2], BoxError> {
    let show =
        async |Path(_): Path<String>| Json(json!({ "id": PRODUCT, "name": NAME, "price": PRICE }));
    let routes = || Router::new().route("/products/{id}", get(show));
    let (bare, bare_address) = listener().await?;
    serve(axum::serve(bare, routes()).into_future());
    let (behind, address) = listener().await?;
    let routes = routes().layer(http::server("bench-http").build()?);
    serve(axum::serve(behind, routes).into_future());
    let client = reqwest::Client::builder()
        .no_proxy()
        .retry(reqwest::retry::never())
        .build()?;
    let stack = mainstay::reqwest::client("bench-http")
        .timeout(TIMEOUT)
        .attempt_timeout(TIMEOUT / 2)
        .build()?;
    let through = stack.wrap(client.clone());
    let url = format!("http://{bare_address}/products/{PRODUCT}");
    let bare = client.clone();
    let without = call(move || {
        let answer = bare.get(&url).send();
        async move { Ok(answer.await?.bytes().await.map(drop)?) }
    });
    let url = format!("http://{address}/products/{PRODUCT}");
    let with = call(move || {
        let (request, through) = (client.get(&url), through.clone());
        async move {
            let answer = request.send_through(&through).await?;
            Ok(answer.bytes().await.map(drop)?)
        }
    });
    Ok([without, with])
}
