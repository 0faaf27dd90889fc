//! Recipes: standard stacks in whole programs.
//!
//! Each recipe is compiled, and its behaviour has a test in `tests/stack/recipes`.
//!
//! - [Different limits for each route, and one bulkhead for
//!   all](#different-limits-for-each-route-and-one-bulkhead-for-all)
//! - [Uploads, event streams, WebSockets](#uploads-event-streams-websockets)
//! - [Tracing and CORS](#tracing-and-cors)
//! - [gRPC health checks](#grpc-health-checks)
//! - [A readiness route](#a-readiness-route)
//! - [Graceful shutdown with open event streams](#graceful-shutdown-with-open-event-streams)
//! - [A fallback](#a-fallback)
//! - [Calls that take longer than the default](#calls-that-take-longer-than-the-default)
//!
//! # Different limits for each route, and one bulkhead for all
//!
//! One stack around the router contains the layers that all routes share: the correlation ID, the
//! load shedder and the bulkhead. A route that needs its own limits gets a second, smaller stack
//! inside. So a call to `/report` holds a permit of both bulkheads. If the stack of a route rejects
//! a call, it answers the call, and the call releases its permit of the shared bulkhead.
//!
//! ```
//! use axum::{Router, routing::get};
//! use mainstay::{ConfigError, http, http::ServerStack};
//! use std::time::Duration;
//!
//! fn limits(name: &str, timeout: Duration, calls: u32) -> Result<ServerStack, ConfigError> {
//!     http::server(name)
//!         .timeout(timeout)
//!         .bulkhead(calls)
//!         .without_correlation() // the outer stack has these two
//!         .without_load_shed()
//!         .build()
//! }
//!
//! # fn app() -> Result<Router, ConfigError> {
//! let shop = http::server("shop").without_timeout().bulkhead(256).build()?;
//! let app: Router = Router::new()
//!     .route(
//!         "/search",
//!         get(async || "found").layer(limits("search", Duration::from_secs(1), 200)?),
//!     )
//!     .route(
//!         "/report",
//!         get(async || "a report").layer(limits("report", Duration::from_secs(60), 8)?),
//!     )
//!     .layer(shop);
//! # Ok(app)
//! # }
//! ```
//!
//! Several routes can share a small stack: build it once, and give each of them a clone. Here the
//! outer stack has no time limit, because the shorter of two limits applies.
//!
//! # Uploads, event streams, WebSockets
//!
//! A stack whose time limit is the default works with all three:
//!
//! ```
//! use axum::extract::DefaultBodyLimit;
//! use axum::extract::ws::{WebSocket, WebSocketUpgrade};
//! use axum::response::sse::{Event, Sse};
//! use axum::{Router, body::Body, http::StatusCode, routing::get, routing::post};
//! use futures::{Stream, StreamExt, stream};
//! use std::convert::Infallible;
//!
//! async fn upload(body: Body) -> StatusCode {
//!     let mut pieces = body.into_data_stream();
//!     while let Some(Ok(_piece)) = pieces.next().await {}
//!     StatusCode::CREATED
//! }
//!
//! fn events() -> impl Stream<Item = Result<Event, Infallible>> {
//!     stream::pending()
//! }
//!
//! async fn talk(mut socket: WebSocket) {
//!     while let Some(Ok(_message)) = socket.recv().await {}
//! }
//!
//! # fn app() -> Result<Router, mainstay::ConfigError> {
//! let app: Router = Router::new()
//!     .route("/upload", post(upload).layer(DefaultBodyLimit::disable()))
//!     .route("/events", get(async || Sse::new(events())))
//!     .route("/socket", get(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(talk)))
//!     .layer(mainstay::http::server("media").build()?);
//! # Ok(app)
//! # }
//! ```
//!
//! - **Upload.** The default limit of 30 seconds begins anew with each piece of the body. So an
//!   upload may take an hour, and an upload that stalls is ended. A limit that you set with
//!   [`timeout`](crate::stack::ServerBuilder::timeout) is strict. Set it only on other routes, as
//!   in the first recipe.
//! - **Event stream.** The call ends at the head of the response. The stream has no time limit, may
//!   be silent for any time, and holds no permit.
//! - **WebSocket.** The call is the handshake, and ends with its 101. Nothing limits the connection
//!   afterwards. To limit the number of connections, acquire a permit of your own semaphore in
//!   `talk`.
//!
//! # Tracing and CORS
//!
//! Put both outside of the stack: in axum, add them after it. Inside the stack, [`CorsLayer`] would
//! not see rejections. A browser hides a response without `access-control-allow-origin`, so a
//! script would get a network error instead of a 503. Outside, the layer also answers preflights by
//! itself. So they acquire no permit, and are answered while the server is full. A script can read
//! only exposed headers, so expose `retry-after`.
//!
//! ```
//! use axum::{Router, routing::get};
//! use tower_http::cors::{Any, CorsLayer};
//! use tower_http::trace::TraceLayer;
//!
//! # fn app() -> Result<Router, Box<dyn std::error::Error>> {
//! let cors = CorsLayer::new()
//!     .allow_origin(["https://shop.example".parse()?])
//!     .allow_headers(Any)
//!     .expose_headers(["retry-after".parse()?, "x-correlation-id".parse()?]);
//! let app: Router = Router::new()
//!     .route("/orders", get(async || "none"))
//!     .layer(mainstay::http::server("orders").build()?)
//!     .layer(cors)
//!     .layer(TraceLayer::new_for_http());
//! # Ok(app)
//! # }
//! ```
//!
//! The outermost [`TraceLayer`] sees every request and every response, including rejections. Its
//! span begins before there is a correlation ID. If its spans should be within the span of the
//! correlation ID (feature `tracing`), put it inside the stack. It then sees only admitted calls.
//!
//! [`CorsLayer`]: https://docs.rs/tower-http/latest/tower_http/cors/struct.CorsLayer.html
//! [`TraceLayer`]: https://docs.rs/tower-http/latest/tower_http/trace/struct.TraceLayer.html
//!
//! # gRPC health checks
//!
//! A health check must be answered while the server is full. Otherwise a load balancer considers a
//! busy server dead. So wrap the services that do the work, and do not wrap the health and
//! reflection services. Clones of the stack around several services share its limits.
//!
//! ```
//! use mainstay::grpc;
//! use mainstay::health::Health;
//! use tonic::transport::Server;
//! # mod pb {
//! #     use std::{convert::Infallible, future::Ready, task::{Context, Poll}};
//! #     use tonic::{body::Body, server::NamedService};
//! #     #[derive(Clone)]
//! #     pub struct UsersServer<T>(T);
//! #     impl<T> UsersServer<T> { pub fn new(inner: T) -> Self { Self(inner) } }
//! #     impl<T> NamedService for UsersServer<T> { const NAME: &'static str = "users.Users"; }
//! #     impl<T> tower::Service<http::Request<Body>> for UsersServer<T> {
//! #         type Response = http::Response<Body>;
//! #         type Error = Infallible;
//! #         type Future = Ready<Result<Self::Response, Infallible>>;
//! #         fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> { Poll::Ready(Ok(())) }
//! #         fn call(&mut self, _: http::Request<Body>) -> Self::Future { std::future::ready(Ok(Default::default())) }
//! #     }
//! # }
//! # use pb::UsersServer;
//! # #[derive(Clone)]
//! # struct Directory;
//!
//! # fn server() -> Result<(), mainstay::BoxError> {
//! let stack = grpc::server("users").bulkhead(256).build()?;
//! let health = Health::global();
//! let server = Server::builder()
//!     .add_service(health.grpc().service("users.Users", &health))
//!     .add_service(stack.wrap(UsersServer::new(Directory)));
//! # Ok(())
//! # }
//! ```
//!
//! # A readiness route
//!
//! In axum, a layer wraps the routes that were added before it. A route that is added afterwards is
//! outside of the stack. Its calls acquire no permit, are never shed, and have no time limit.
//!
//! ```
//! use axum::{Router, routing::get};
//! use mainstay::health::Health;
//!
//! # fn app() -> Result<Router, mainstay::ConfigError> {
//! let health = Health::global().service();
//! let app: Router = Router::new()
//!     .route("/orders", get(async || "none"))
//!     .layer(mainstay::http::server("orders").build()?)
//!     .route_service("/livez", health.clone())
//!     .route_service("/readyz", health);
//! # Ok(app)
//! # }
//! ```
//!
//! `/readyz` reports open circuits and full bulkheads, but answers 503 only for names that you mark
//! as [essential](crate::health::Health::essential): see [`health`](crate::health#readiness) for
//! the reason.
//!
//! # Graceful shutdown with open event streams
//!
//! axum's graceful shutdown waits until every response has ended. An event stream does not end by
//! itself, and the stack does not end it, because an event stream has no time limit. So end the
//! streams when the server closes.
//!
//! ```
//! use axum::response::sse::{Event, Sse};
//! use axum::{Router, routing::get};
//! use futures::{Stream, StreamExt};
//! use mainstay::shutdown::Shutdown;
//! use std::{convert::Infallible, future::IntoFuture, time::Duration};
//! use tokio::net::TcpListener;
//! use tokio_stream::wrappers::IntervalStream;
//!
//! fn events(shutdown: &Shutdown) -> Sse<impl Stream<Item = Result<Event, Infallible>> + use<>> {
//!     let ticks = IntervalStream::new(tokio::time::interval(Duration::from_secs(1)));
//!     let events = ticks.map(|_| Ok(Event::default().data("tick")));
//!     Sse::new(shutdown.until_closing(events))
//! }
//!
//! async fn serve(listener: TcpListener, shutdown: Shutdown) -> Result<(), mainstay::BoxError> {
//!     let streams = shutdown.clone();
//!     let app = Router::new()
//!         .route("/events", get(async move || events(&streams)))
//!         .layer(mainstay::http::server("ticker").build()?)
//!         .layer(shutdown.close_connections());
//!     let server = axum::serve(listener, app).with_graceful_shutdown(shutdown.closing());
//!     shutdown.run(server.into_future()).await??;
//!     Ok(())
//! }
//! ```
//!
//! `Shutdown::on_signal()` begins the shutdown on SIGTERM or Ctrl-C. After the drain time, calls in
//! flight are answered, event streams end, and `serve` returns: see [`shutdown`](crate::shutdown).
//!
//! # A fallback
//!
//! A rejection is a value, so a fallback is a `match`. [`Error::Rejected`](crate::Error) means that
//! the stack did not call the upstream, or ended the call because it took too long.
//! [`Error::Inner`](crate::Error) is the client's own error. An open circuit rejects at once, so
//! the fallback is used at once.
//!
//! ```
//! use mainstay::Error;
//! use mainstay::reqwest::{Client, SendThrough};
//!
//! struct Quotes {
//!     http: reqwest::Client,
//!     client: Client,
//! }
//!
//! impl Quotes {
//!     async fn today(&self, url: &str, yesterday: &str) -> Result<String, reqwest::Error> {
//!         match self.http.get(url).send_through(&self.client).await {
//!             Ok(response) if response.status().is_success() => response.text().await,
//!             Ok(_) | Err(Error::Rejected(_)) => Ok(yesterday.to_owned()),
//!             Err(Error::Inner(error)) if error.is_connect() => Ok(yesterday.to_owned()),
//!             Err(Error::Inner(error)) => Err(error),
//!         }
//!     }
//! }
//! ```
//!
//! # Calls that take longer than the default
//!
//! **HTTP clients.** The default limit of 30 seconds does not apply to a request with its own
//! limit: reqwest's timeout, `x-request-timeout-ms`, or the deadline of the
//! [`Context`](crate::Context).
//!
//! ```
//! use mainstay::reqwest::{Client, SendThrough};
//! use std::time::Duration;
//!
//! // `reports` is made by `mainstay::reqwest::client("reports")`, with no time limit set.
//! async fn report(http: reqwest::Client, reports: Client) -> Result<String, mainstay::BoxError> {
//!     let request = http.get("http://reports.internal/2026").timeout(Duration::from_secs(300));
//!     Ok(request.send_through(&reports).await?.text().await?)
//! }
//! ```
//!
//! For any other client, set the limit in the context:
//! `Context::current().with_timeout(Duration::from_secs(300)).scope(call)`.
//!
//! A limit that you set with [`timeout`](crate::stack::ClientBuilder::timeout) is an upper bound:
//! requests and contexts can only shorten it.
//!
//! **gRPC.** Services and methods can have their own limit or none, on servers and clients:
//!
//! ```
//! use mainstay::grpc;
//! use std::time::Duration;
//!
//! # fn stack() -> Result<grpc::ClientStack, mainstay::ConfigError> {
//! let limits = grpc::timeout()
//!     .timeout(Duration::from_secs(1))
//!     .timeout_for("shop.Orders/Export", Duration::from_secs(300))?
//!     .without_timeout_for("shop.Orders/Watch")?;
//! let stack = grpc::client("shop").timeout(limits).build()?;
//! # Ok(stack)
//! # }
//! ```
//!
//! **Servers.** Give the route its own stack, as in the first recipe.
