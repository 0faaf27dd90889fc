//! What a response does with the context when it is given away.

use super::{Carry, InCorrelation};

/// A response that [`CorrelationLayer::server()`](crate::CorrelationLayer::server) writes the ID to, and that keeps it for what
/// is still to come: a body that is streamed is made when the service's future has long ended.
///
/// `http::Response` is one (feature `http`): its body becomes an [`InContextBody`](crate::http::InContextBody). So is
/// `reqwest::Response` (feature `reqwest`), which is left as it is. For a response type of your own, one that is all there when it is there,
/// one line is enough: `impl mainstay::WholeReply for Frame {}`. One that goes on working keeps the scope that it is given:
///
/// ```
/// use mainstay::correlation::InCorrelation;
/// use mainstay::{Carry, Context, CorrelationLayer, Reply};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// /// Lines that are made when they are asked for.
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
    label = "the service's response must take the ID along",
    note = "`http::Response` can where its body is an `http_body::Body`, with mainstay's feature `http`; for a response type of your own, implement `mainstay::Carry` and write: `impl mainstay::WholeReply for {Self} {{}}`",
    note = "for requests that come without a response that could carry the ID back, use `CorrelationLayer::consumer()`"
)]
pub trait Reply: Carry + Sized {
    /// The response that keeps the scope.
    type InContext;

    /// Takes the scope of the request along, for what is still to be done for it.
    fn in_context(self, scope: InCorrelation) -> Self::InContext;
}

/// A [`Reply`] that is all there when it is there: a frame, a message. It stays as it is.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot carry a correlation ID back",
    label = "the service's response must take the ID along",
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
