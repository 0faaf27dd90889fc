//! Rejections as axum responses.

use axum_core::body::Body;
use axum_core::response::{IntoResponse, Response};

use crate::protocol::respond::answer_http;
use crate::vocabulary::rejection::Rejection;

/// The same response as that of a [`RespondLayer`](crate::RespondLayer). For a handler that calls
/// an upstream through a stack of its own and returns the rejection.
///
/// ```
/// use axum::response::{IntoResponse, Response};
/// use mainstay::{Reason, Rejection};
///
/// let rejection = Rejection::new("circuit_breaker", "payments", Reason::CircuitOpen);
/// let response: Response = rejection.into_response();
/// assert_eq!(response.status(), 503);
/// ```
impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        answer_http::<Body>(self)
    }
}
