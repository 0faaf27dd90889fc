//! Correlation IDs: one identifier for all work on a request.
//!
//! A request that passes through five services leaves log lines in all of them. The correlation ID
//! links these lines. On a server this layer reads the ID from the request (or makes one), and sets
//! it in the [`Context`](crate::Context), on a `tracing` span (feature `tracing`) and on the
//! response. On a client it writes the ID to the requests.
//!
//! It supports HTTP and gRPC requests (feature `http`), and any request type that implements
//! [`Carry`]. A response type of your own needs one more line: see [`WholeReply`].
//!
//! ```
//! use mainstay::{Carry, Context, CorrelationLayer};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! /// A message from a queue.
//! #[derive(Default)]
//! struct Message { headers: std::collections::BTreeMap<String, String>, order: u32 }
//!
//! impl Carry for Message {
//!     fn get(&self, field: &str) -> Option<&[u8]> {
//!         self.headers.get(field).map(|value| value.as_bytes())
//!     }
//!     fn set(&mut self, field: &str, value: &str) {
//!         self.headers.insert(field.to_owned(), value.to_owned());
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let mut consumer = ServiceBuilder::new()
//!     .layer(CorrelationLayer::consumer())
//!     .service(service_fn(|_: Message| async {
//!         Ok::<_, std::io::Error>(Context::current().correlation_id().unwrap().to_string())
//!     }));
//!
//! let mut message = Message { order: 4711, ..Message::default() };
//! message.set("x-correlation-id", "order-4711");
//! let seen = consumer.ready().await.unwrap().call(message).await.unwrap();
//! assert_eq!(seen, "order-4711");
//! # }
//! ```
//!
//! # What is accepted
//!
//! An inbound value is untrusted. It must be 1 to 128 bytes of `[A-Za-z0-9._:/+=@-]`, in a field
//! that occurs once. Any other value is replaced by a new ID, and never echoed. Inner services do
//! not see it either: every field with another value is overwritten. New IDs are UUIDs of version
//! 7, which sort by time.
//!
//! # Where the ID is seen
//!
//! In the inner service, in its future, in tasks and closures started with
//! [`mainstay::spawn`](crate::spawn) and [`spawn_blocking`](crate::spawn_blocking), and in a
//! response body that streams. Log lines there have the ID, and [`CorrelationLayer::client()`]
//! propagates it. The span closes when the last of these is dropped. A task started with
//! `tokio::spawn` has neither.
//!
//! The span is named `server`, `consumer` or `client` after the layer's constructor. Its target is
//! `mainstay::correlation`, its level INFO. It has the field `correlation_id`, and in a
//! [standard stack](crate::stack) also `instance`, the name of the stack. A client's layer opens a
//! span only without a current correlation ID: within a server's request, the request's span is
//! enough.
//!
//! To reach the body, the server's layer changes its type: `http::Response<B>` becomes
//! `http::Response<`[`InCorrelationBody`](crate::http::InCorrelationBody)`<B>>`.
//! `Router::layer` of axum, `Server::layer` of tonic and hyper take any body. Code that names the
//! type of the body (such as a classifier with `&axum::response::Response`) must be inside this
//! layer, or the body is boxed again outside of it. The same holds for a whole `Router` that this
//! layer wraps, because `axum::serve` takes only axum's own body:
//!
//! ```no_run
//! # #[cfg(feature = "axum")]
//! # async fn example() -> std::io::Result<()> {
//! use axum::{Router, ServiceExt, body::Body, extract::Request, routing::get};
//! use mainstay::CorrelationLayer;
//! use tower::ServiceBuilder;
//!
//! let router = Router::new().route("/", get(async || "hello"));
//! let app = ServiceBuilder::new()
//!     .map_response(|response: http::Response<_>| response.map(Body::new))
//!     .layer(CorrelationLayer::server())
//!     .service(router);
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! axum::serve(listener, ServiceExt::<Request>::into_make_service(app)).await
//! # }
//! ```
//!
//! # What it rejects
//!
//! None; the error type stays the same.
//!
//! # What a clone shares
//!
//! Only settings.
//!
//! # Cancellation
//!
//! Dropping the future or the body drops the call, within its context.
//!
//! # Cost
//!
//! The layer reads and checks the field, and enters the context for each poll of the call and of
//! its body. Writing a header allocates, and so does an inbound ID that is no UUID. An empty body
//! costs nothing.
//!
//! In HTTP/2 messages the header is marked as sensitive: each value is sent once, and would only
//! evict other headers from the connection's header table. Its `Debug` output is `Sensitive`.

mod layer;
mod reply;
mod service;

pub use crate::vocabulary::correlation_id::{CorrelationId, InvalidCorrelationId};
#[cfg(test)]
pub(crate) use layer::KIND;
pub use layer::{Client, Consumer, CorrelationLayer, Server};
pub use reply::{Reply, WholeReply};
pub use service::{Correlation, EchoFuture, InCorrelation, ResponseFuture};

/// A request or response with fields for the context, such as headers.
///
/// Implement it for a request type of your own to propagate the context with it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot carry a correlation ID",
    note = "`http::Request` and `http::Response` can, with mainstay's feature `http`; implement `mainstay::Carry` for a request type of your own",
    note = "for requests that come without a response that could carry the ID back, use `CorrelationLayer::consumer()`"
)]
pub trait Carry {
    /// The value of a field; `None` if it is missing. Return an empty value for a field that occurs
    /// more than once: it is ambiguous, and is overwritten.
    fn get(&self, field: &str) -> Option<&[u8]>;

    /// Sets a field, and replaces all its values. The name is lower-case ASCII, the value visible
    /// ASCII of at most 128 bytes.
    fn set(&mut self, field: &str, value: &str);

    /// Sets a field to an ID. Only this crate implements it: for headers, whose values share memory.
    #[doc(hidden)]
    fn set_id(&mut self, field: &str, id: &CorrelationId, _: &mut Encoded) {
        self.set(field, id.encode(&mut [0; 36]));
    }
}

/// The header's value that a request was given, for its response.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Encoded(#[cfg(feature = "http")] pub(crate) Option<http::HeaderValue>);
