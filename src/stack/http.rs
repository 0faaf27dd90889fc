//! The standard stacks of HTTP.

use tower_layer::Identity;

use super::{
    AttemptService, ClientBuilder, ClientService, Http, LimitedService, ServerBuilder,
    ServerService,
};

/// Builds the standard stack of an HTTP server: correlation, respond, timeout, rate limit (off by
/// default), load shed, bulkhead.
///
/// ```
/// use axum::{Router, routing::post};
/// use std::time::Duration;
///
/// # fn app() -> Result<Router, mainstay::ConfigError> {
/// let app = Router::new()
///     .route("/orders", post(|| async { "created" }))
///     .layer(mainstay::http::server("orders").timeout(Duration::from_secs(2)).build()?);
/// # Ok(app)
/// # }
/// ```
///
/// It serves gRPC, too, also on the same port. See [`mainstay::stack`](crate::stack) for its
/// layers, and [`ServerBuilder`] for its settings.
pub fn server(name: impl Into<String>) -> ServerBuilder {
    ServerBuilder::new("http server", name.into())
}

/// Builds the standard stack of an HTTP client: correlation, timeout, retry, rate limit (off by
/// default), circuit breaker, bulkhead, attempt timeout, deadline.
///
/// ```
/// # #[cfg(feature = "hyper")]
/// # fn example() -> Result<(), mainstay::ConfigError> {
/// use http_body_util::Full;
/// use hyper_util::client::legacy::Client;
/// use hyper_util::rt::TokioExecutor;
///
/// let client = Client::builder(TokioExecutor::new()).build_http::<Full<bytes::Bytes>>();
/// let payments = mainstay::http::client("payments").retry(4).build()?.wrap(client);
/// # let _ = payments;
/// # Ok(())
/// # }
/// ```
///
/// Use `mainstay::reqwest::client` for reqwest, and [`grpc::client`](crate::grpc::client) for
/// tonic's channel: every gRPC call is a POST, which this stack does not retry once it was sent.
/// See [`mainstay::stack`](crate::stack) for its layers, and [`ClientBuilder`] for its settings.
pub fn client(name: impl Into<String>) -> ClientBuilder<Http> {
    ClientBuilder::new(name.into())
}

/// The stack that [`client`] builds.
pub type ClientStack<W = Identity> = crate::stack::ClientStack<Http, W>;

/// A client in the stack that [`client`] builds.
pub type Client<S> = ClientService<AttemptService<S>, Http>;

/// A service in the stack that [`server`] builds.
pub type Server<S> = ServerService<LimitedService<S>>;
