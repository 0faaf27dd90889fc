//! Who calls: one request after the other, each when the one before has been answered.

use std::future::Future;
use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, TE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mainstay::reqwest::SendThrough;
use mainstay::{BoxError, Error};
use prost::Message;
use reqwest::{Client, Response, Url};
use tokio::net::TcpStream;
use tonic::client::GrpcService;
use tower::Service;

use crate::users::{GET, UsersClient, ada};

pub(crate) trait Caller: Send + 'static {
    /// One request, to the end of its answer; whether it was served. A server may say that it has too much to do; an answer that says that
    /// something else went wrong is an error.
    fn call(&mut self) -> impl Future<Output = Result<bool, BoxError>> + Send;
}

/// A kept connection of HTTP/1.1.
pub(crate) struct Http1(http1::SendRequest<Empty<Bytes>>);

impl Http1 {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self, BoxError> {
        let (sender, connection) = http1::handshake(connected(address).await?).await?;
        tokio::spawn(connection);
        Ok(Self(sender))
    }
}

impl Caller for Http1 {
    async fn call(&mut self) -> Result<bool, BoxError> {
        let mut request = Request::new(Empty::new());
        let host = HeaderValue::from_static("localhost");
        request.headers_mut().insert(HOST, host);
        self.0.ready().await?;
        let response = self.0.send_request(request).await?;
        let status = response.status();
        read(response.into_body()).await?;
        match status {
            StatusCode::SERVICE_UNAVAILABLE => Ok(false),
            status => check(status).map(|()| true),
        }
    }
}

/// One of many who share a connection of HTTP/2, and speak gRPC over it without a stub of tonic's, which would take more time
/// than the server.
#[derive(Clone)]
pub(crate) struct Grpc {
    sender: http2::SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
}

impl Grpc {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self, BoxError> {
        let io = connected(address).await?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        let request = grpc_request(format!("http://{address}{GET}"))?;
        Ok(Self { sender, request })
    }
}

impl Caller for Grpc {
    async fn call(&mut self) -> Result<bool, BoxError> {
        self.sender.ready().await?;
        let response = self.sender.send_request(self.request.clone()).await?;
        let (head, body) = response.into_parts();
        check(head.status)?;
        // A rejection has no body, and its trailers are the head.
        let trailers = read(body).await?.unwrap_or(head.headers);
        match trailers.get("grpc-status").map(HeaderValue::as_bytes) {
            Some(b"0") => Ok(true),
            Some(b"14") => Ok(false),
            _ => Err(format!("a call ended with the trailers {trailers:?}").into()),
        }
    }
}

/// As a client of gRPC sends it.
pub(crate) fn grpc_request(uri: String) -> Result<Request<Full<Bytes>>, BoxError> {
    let message = ada().encode_to_vec();
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len())?.to_be_bytes());
    frame.extend(message);
    let request = Request::builder()
        .method(Method::POST)
        .uri(uri)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(Full::from(frame))?;
    Ok(request)
}

/// A stub of tonic's, around its channel or around a stack.
#[derive(Clone)]
pub(crate) struct Stub<T>(pub(crate) UsersClient<T>);

impl<T> Caller for Stub<T>
where
    T: GrpcService<tonic::body::Body, Future: Send, Error: Into<BoxError>> + Send + 'static,
    T::ResponseBody: Body<Data = Bytes, Error: Into<BoxError> + Send> + Send + 'static,
{
    async fn call(&mut self) -> Result<bool, BoxError> {
        self.0.get(ada()).await?;
        Ok(true)
    }
}

/// reqwest's client alone.
#[derive(Clone)]
pub(crate) struct Reqwest {
    pub(crate) client: Client,
    pub(crate) url: Url,
}

impl Caller for Reqwest {
    async fn call(&mut self) -> Result<bool, BoxError> {
        let response = self.client.get(self.url.clone()).send().await?;
        read_response(response).await
    }
}

/// The same through a stack.
#[derive(Clone)]
pub(crate) struct Through<S> {
    pub(crate) inner: Reqwest,
    pub(crate) stack: S,
}

impl<S> Caller for Through<S>
where
    S: Service<reqwest::Request, Response = Response, Error = Error<reqwest::Error>, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    async fn call(&mut self) -> Result<bool, BoxError> {
        let Reqwest { client, url } = &self.inner;
        let request = client.get(url.clone());
        let response = request.send_through(&self.stack).await?;
        read_response(response).await
    }
}

async fn read_response(response: Response) -> Result<bool, BoxError> {
    check(response.status())?;
    response.bytes().await?;
    Ok(true)
}

async fn connected(address: SocketAddr) -> Result<TokioIo<TcpStream>, BoxError> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(TokioIo::new(stream))
}

/// Nothing is measured but what is meant.
pub(crate) fn check(status: StatusCode) -> Result<(), BoxError> {
    match status {
        StatusCode::OK => Ok(()),
        status => Err(format!("a call was answered {status}").into()),
    }
}

/// Reads a body to its end, for its trailers.
pub(crate) async fn read<B>(mut body: B) -> Result<Option<HeaderMap>, B::Error>
where
    B: Body + Unpin,
{
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        trailers = frame?.into_trailers().ok();
    }
    Ok(trailers)
}
