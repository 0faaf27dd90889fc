//! HTTP clients: client stacks around them, and tower-http's layers outside of a stack, inside, and around each attempt.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use mainstay::BoxError;
use mainstay::http;
use mainstay::reqwest::SendThrough as _;
use tower::util::{BoxCloneService, BoxCloneSyncService};
use tower::{Service, ServiceBuilder, ServiceExt as _};
use tower_http::compression::CompressionLayer;
use tower_http::decompression::DecompressionLayer;
use tower_http::trace::TraceLayer;

use super::routers::router;
use crate::common::serve;

type Request = ::http::Request<Full<Bytes>>;

fn stack() -> http::ClientStack {
    http::client("site").build().unwrap()
}

/// Sends a GET, and reads the body.
async fn read<S, B, R>(service: S, url: &str) -> String
where
    S: Service<::http::Request<R>, Response = ::http::Response<B>, Error: Into<BoxError>>,
    R: From<&'static str>,
    B: http_body::Body<Data: bytes::Buf, Error: Into<BoxError>>,
{
    let request = ::http::Request::get(url).body("".into()).unwrap();
    let response = service.oneshot(request).await.map_err(Into::into).unwrap();
    let body = response.into_body().collect().await.map_err(Into::into);
    String::from_utf8(body.unwrap().to_bytes().into()).unwrap()
}

#[tokio::test]
async fn hypers_client_and_tower_https_layers() {
    let site = router().layer(CompressionLayer::new());
    let url = format!("http://{}/", serve(site).await);
    let hyper = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let stack = stack();

    assert_eq!(read(stack.wrap(hyper.clone()), &url).await, "hello");
    let outside = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(DecompressionLayer::new())
        .layer(stack.clone())
        .service(hyper.clone());
    assert_eq!(read(outside, &url).await, "hello");
    let inside = ServiceBuilder::new()
        .layer(stack.clone())
        .layer(DecompressionLayer::new())
        .layer(TraceLayer::new_for_http())
        .service(hyper.clone());
    assert_eq!(read(inside, &url).await, "hello");
    let each = http::client("site")
        .with_attempt_layer(TraceLayer::new_for_http())
        .with_attempt_layer(DecompressionLayer::new());
    let each = each.build().unwrap().wrap(hyper.clone());
    assert_eq!(read(each, &url).await, "hello");

    let boxed = BoxCloneService::new(stack.wrap(hyper.clone()));
    assert_eq!(read(boxed, &url).await, "hello");
    let around = stack.wrap::<_, Request>(BoxCloneSyncService::new(hyper));
    assert_eq!(read(around, &url).await, "hello");
}

#[tokio::test]
async fn a_foreign_body_in_a_box() {
    // What the compiler says to write where it does not know how to send a body again.
    let url = format!("http://{}/", serve(router()).await);
    type Boxed = UnsyncBoxBody<Bytes, BoxError>;
    let hyper = Client::builder(TokioExecutor::new()).build_http::<Boxed>();
    let service = ServiceBuilder::new()
        .map_request(|request: ::http::Request<Foreign>| {
            request.map(|Foreign(body)| body.map_err(BoxError::from).boxed_unsync())
        })
        .layer(stack())
        .service(hyper);
    assert_eq!(read(service, &url).await, "hello");
}

struct Foreign(Full<Bytes>);

impl From<&'static str> for Foreign {
    fn from(text: &'static str) -> Self {
        Self(text.into())
    }
}

#[tokio::test]
async fn reqwests_client() {
    let url = format!("http://{}/", serve(router()).await);
    let client = reqwest::Client::new();
    let stack = mainstay::reqwest::client("site").build().unwrap();
    let boxed = BoxCloneSyncService::new(stack.wrap(client.clone()));
    let through = client.get(&url).send_through(&boxed).await.unwrap();
    assert_eq!(through.text().await.unwrap(), "hello");
}
