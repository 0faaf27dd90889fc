//! Requests that may be repeated.

use http::Method;

use crate::protocol::http::HttpRequest;

/// The server recognises a repeated request by this header.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Decides which requests may be repeated: those with an idempotent method or an `Idempotency-Key`.
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
