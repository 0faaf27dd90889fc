//! Responses that carry the correlation ID, and may keep its scope.

use super::{Carry, InCorrelation};

/// A response to which [`CorrelationLayer::server()`](crate::CorrelationLayer::server) writes the
/// ID, and which keeps the ID's scope for its body: a streamed body is made after the service's
/// future has ended.
///
/// The body of an `http::Response` (feature `http`) becomes an
/// [`InCorrelationBody`](crate::http::InCorrelationBody). A `reqwest::Response` (feature `reqwest`)
/// stays unchanged. For a complete response of your own, one line is enough:
/// `impl mainstay::WholeReply for Frame {}`. A lazy response keeps the scope:
///
/// ```
/// use mainstay::correlation::InCorrelation;
/// use mainstay::{Carry, Context, CorrelationLayer, Reply};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// /// Lines that are made lazily.
/// struct Lines<I> { id: String, lines: I }
///
/// impl<I> Carry for Lines<I> {
///     fn get(&self, field: &str) -> Option<&[u8]> {
///         (field == "x-correlation-id" && !self.id.is_empty()).then_some(self.id.as_bytes())
///     }
///     fn set(&mut self, field: &str, value: &str) {
///         if field == "x-correlation-id" {
///             value.clone_into(&mut self.id);
///         }
///     }
/// }
///
/// struct LinesInContext<I> { lines: Lines<I>, scope: InCorrelation }
///
/// impl<I: Iterator> Reply for Lines<I> {
///     type InContext = LinesInContext<I>;
///     fn in_context(self, scope: InCorrelation) -> LinesInContext<I> {
///         LinesInContext { lines: self, scope }
///     }
/// }
///
/// impl<I: Iterator> Iterator for LinesInContext<I> {
///     type Item = I::Item;
///     fn next(&mut self) -> Option<I::Item> {
///         self.scope.sync_scope(|| self.lines.lines.next())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let service = CorrelationLayer::server().layer(service_fn(|request: Lines<()>| async {
///     let line = || Some(Context::current().correlation_id()?.to_string());
///     drop(request);
///     Ok::<_, std::io::Error>(Lines { id: String::new(), lines: std::iter::from_fn(line) })
/// }));
/// let request = Lines { id: "order-4711".to_owned(), lines: () };
/// let mut reply = service.oneshot(request).await.unwrap();
/// assert_eq!(reply.next().unwrap(), "order-4711");
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot carry a correlation ID back",
    label = "the service's response must carry the ID",
    note = "`http::Response` can where its body is an `http_body::Body`, with mainstay's feature `http`; for a response type of your own, implement `mainstay::Carry` and write: `impl mainstay::WholeReply for {Self} {{}}`",
    note = "for requests that come without a response that could carry the ID back, use `CorrelationLayer::consumer()`"
)]
pub trait Reply: Carry + Sized {
    /// The response that keeps the scope.
    type InContext;

    /// Keeps the scope of the request for the rest of the response.
    fn in_context(self, scope: InCorrelation) -> Self::InContext;
}

/// A complete [`Reply`], such as a frame or a message. It stays unchanged.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot carry a correlation ID back",
    label = "the service's response must carry the ID",
    note = "`http::Response` can where its body is an `http_body::Body`, with mainstay's feature `http`; for a response type of your own, implement `mainstay::Carry` and write: `impl mainstay::WholeReply for {Self} {{}}`",
    note = "for requests that come without a response that could carry the ID back, use `CorrelationLayer::consumer()`"
)]
pub trait WholeReply: Carry + Sized {}

impl<T: WholeReply> Reply for T {
    type InContext = Self;

    #[inline]
    fn in_context(self, _: InCorrelation) -> Self {
        self
    }
}
