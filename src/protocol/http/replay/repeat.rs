//! Requests that may be repeated.

use http::Method;

use crate::protocol::http::HttpRequest;

/// A request with this header may be repeated whatever its method: the server recognises it.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The requests that do no harm when a server handles them twice: those with an idempotent method or
/// an `Idempotency-Key`.
#[derive(Debug, Clone, Default)]
pub(in crate::protocol::http) struct Repeatable {
    /// Further methods.
    pub(in crate::protocol::http) methods: Vec<Method>,
}

impl Repeatable {
    pub(in crate::protocol::http) fn allows(&self, request: &impl HttpRequest) -> bool {
        let method = request.method();
        method.is_idempotent()
            || self.methods.contains(method)
            || request
                .headers()
                .get(IDEMPOTENCY_KEY)
                .is_some_and(|key| !key.as_bytes().trim_ascii().is_empty())
    }
}
