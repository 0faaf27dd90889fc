//! Correlation IDs: one identifier for everything that happens because of one request.
//!
//! A request that fails five services further on leaves log lines in all of them, and nothing that ties them together. On the
//! server side this layer reads the identifier that came with a request (or makes one), keeps it in the
//! [`Context`](crate::Context), on a `tracing` span (feature `tracing`) and on the response; on the client side it writes it to
//! the requests that are sent.
//!
//! It works on HTTP and gRPC requests (feature `http`), and on any request type that implements [`Carry`]. A response type
//! of your own joins with one line more: see [`WholeReply`].
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
//! An inbound value is untrusted: 1 to 128 bytes of `[A-Za-z0-9._:/+=@-]`, given exactly once. Anything else is replaced by a new
//! identifier and never echoed; what is inside does not see it either, because every field that was there and said something else
//! is given the identifier that holds. New ones are UUIDs of version 7, which sort by time.
//!
//! # Where the ID is seen
//!
//! In the service, in its future, in tasks and closures that are started with [`mainstay::spawn`](crate::spawn) and
//! [`spawn_blocking`](crate::spawn_blocking), and in a response body while it is streamed: log lines there carry it, and calls through
//! [`CorrelationLayer::client()`] pass it on. The span is closed when the last of these is gone. A task that is started with
//! `tokio::spawn` starts without both.
//!
//! The span is called `server`, `consumer` or `client`, after the constructor of the layer. Its target is `mainstay::correlation`, its level INFO. It has the
//! field `correlation_id`; that of a [standard stack](crate::stack) also `name`, the name of the stack. A client's layer opens a span only where there is no
//! correlation ID yet: within a server's request that request's span is enough.
//!
//! The body learns it because the server's layer changes its type: `http::Response<B>` becomes
//! `http::Response<`[`InContextBody`](crate::http::InContextBody)`<B, `[`InCorrelation`]`>>`. `Router::layer` of axum, `Server::layer` of
//! tonic and hyper take any body. What names the type of the body must stand inside of this layer (a classifier with
//! `&axum::response::Response` in its closure, say), or the body is put back into a box. So must a whole `Router` behind
//! the layer, which `axum::serve` takes with its own body only:
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
//! Nothing; the error type stays as it is.
//!
//! # What a clone shares
//!
//! Only settings.
//!
//! # Cancellation
//!
//! Dropping the future drops the call, within the context; so does dropping a body.
//!
//! # Cost
//!
//! Finding and checking the field. Writing a header allocates; so does an inbound value that is not a UUID. Entering the context, for each poll
//! of the call and of its body. A body that is at its end already, as most are that are empty, costs nothing.
//!
//! In a message that says that it is one of HTTP/2, as all of gRPC's do, the value that is written is marked as sensitive: each is sent once, and in the
//! table that a connection keeps of its headers would only drive out those that come again. `Debug` of such a header says `Sensitive`.

mod layer;
mod reply;
mod service;

pub use crate::vocabulary::correlation_id::{CorrelationId, InvalidCorrelationId};
#[cfg(test)]
pub(crate) use layer::KIND;
pub use layer::{Client, Consumer, CorrelationLayer, Server};
pub use reply::{Reply, WholeReply};
pub use service::{Correlation, EchoFuture, InCorrelation, ResponseFuture};

/// A request or a response that can carry fields of the context: headers, in most protocols.
///
/// Implement it for a request type of your own, a frame or a message, to have the context travel with it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot carry a correlation ID",
    note = "`http::Request` and `http::Response` can, with mainstay's feature `http`; implement `mainstay::Carry` for a request type of your own",
    note = "for requests that come without a response that could carry the ID back, use `CorrelationLayer::consumer()`"
)]
pub trait Carry {
    /// The value of a field; `None` when it is missing. Of a field that is given more than once nobody can say which value is meant: an empty
    /// one is right for it, which is no identifier and is written over.
    fn get(&self, field: &str) -> Option<&[u8]>;

    /// Sets a field to a value, replacing all it had.
    ///
    /// The field's name is lower-case ASCII, the value visible ASCII of at most 128 bytes.
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
