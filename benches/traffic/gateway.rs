//! A site: a gateway, an upstream behind it, and a service of tonic's. With stacks that have nothing set, or without any.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Router, serve};
use mainstay::reqwest::SendThrough as _;
use mainstay::{BoxError, Error, grpc, http};
use tokio::net::TcpListener;
use tonic::transport::{Channel, Endpoint, Server, server::TcpIncoming};

use crate::upstream;
use crate::users::{Directory, UsersClient, UsersServer};

#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) gateway: SocketAddr,
    pub(crate) users: Users,
}

#[derive(Clone)]
pub(crate) enum Users {
    Bare(UsersClient<Channel>),
    Stacked(Box<UsersClient<grpc::Client<Channel>>>),
}

#[derive(Clone)]
struct Upstream {
    address: SocketAddr,
    client: reqwest::Client,
    stack: Option<mainstay::reqwest::Client>,
}

impl Site {
    pub(crate) async fn start(stacks: bool) -> Result<Self, BoxError> {
        let mut router = upstream::router();
        if stacks {
            router = router.layer(http::server("upstream").build()?);
        }
        let address = serve_axum(router).await?;

        let client = reqwest::Client::new();
        let stack = stacks.then(|| mainstay::reqwest::client("upstream").build());
        let stack = stack.transpose()?.map(|stack| stack.wrap(client.clone()));
        let upstream = Upstream {
            address,
            client,
            stack,
        };
        let mut router = Router::new().fallback(pass_on).with_state(upstream);
        if stacks {
            router = router.layer(http::server("gateway").build()?);
        }
        let gateway = serve_axum(router).await?;
        let users = serve_users(stacks).await?;
        Ok(Self { gateway, users })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway)
    }
}

async fn serve_axum(router: Router) -> Result<SocketAddr, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async { serve(listener, router).await });
    Ok(address)
}

async fn serve_users(stacks: bool) -> Result<Users, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = Endpoint::from_shared(format!("http://{}", listener.local_addr()?))?;
    let incoming = TcpIncoming::from(listener);
    let service = UsersServer::new(Directory);
    if stacks {
        let mut server = Server::builder().layer(grpc::server("users").build()?);
        tokio::spawn(server.add_service(service).serve_with_incoming(incoming));
        let stack = grpc::client("users").build()?;
        let channel = stack.wrap(endpoint.connect_lazy());
        Ok(Users::Stacked(Box::new(UsersClient::new(channel))))
    } else {
        tokio::spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        Ok(Users::Bare(UsersClient::new(endpoint.connect_lazy())))
    }
}

/// Sends a request on, with its body as it comes, and the response back in the same way.
async fn pass_on(State(upstream): State<Upstream>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let url = format!("http://{}{path}", upstream.address);
    let mut builder = upstream.client.request(head.method.clone(), url);
    if head.method == axum::http::Method::POST {
        builder = builder.body(reqwest::Body::wrap_stream(body.into_data_stream()));
    }
    let response = match &upstream.stack {
        Some(stack) => match builder.send_through(stack).await {
            Ok(response) => response,
            Err(Error::Rejected(rejection)) => return rejection.into_response(),
            Err(Error::Inner(_)) => return StatusCode::BAD_GATEWAY.into_response(),
        },
        None => match builder.send().await {
            Ok(response) => response,
            Err(_) => return StatusCode::BAD_GATEWAY.into_response(),
        },
    };
    let response: axum::http::Response<reqwest::Body> = response.into();
    response.map(Body::new)
}
