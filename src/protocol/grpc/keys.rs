//! Keys of gRPC requests.

use std::borrow::Cow;
use std::sync::Arc;

use crate::layers::keyed::Key;
use crate::protocol::http::HttpRequest;
use crate::vocabulary::overrides::Overrides;

/// The method of a gRPC request: see [`by_method`].
#[derive(Debug, Clone, Copy, Default)]
pub struct ByMethod;

/// A key for layers of a gRPC client whose methods fail apart from each other: service and method,
/// such as `users.Users/Get`.
///
/// ```
/// let stack = mainstay::grpc::client("users").keyed_by(mainstay::grpc::by_method()).build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
#[must_use]
pub const fn by_method() -> ByMethod {
    ByMethod
}

impl<Req: HttpRequest + ?Sized> Key<Req> for ByMethod {
    fn key<'a>(&'a self, request: &'a Req) -> Option<Cow<'a, str>> {
        let path = request.path();
        Some(path.strip_prefix('/').unwrap_or(path).into())
    }

    #[inline]
    fn key_override(&self, request: &Req, name: &str) -> Option<Arc<str>> {
        Overrides::key_of(request.overrides(), name)
    }

    fn name(&self) -> Cow<'_, str> {
        "gRPC method".into()
    }
}
