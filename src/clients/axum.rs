//! axum's view of a rejection.

use axum_core::body::Body;
use axum_core::response::{IntoResponse, Response};

use crate::protocol::respond::answer_http;
use crate::vocabulary::rejection::Rejection;

/// The response that [`RespondLayer`](crate::RespondLayer) would make of it: for a handler that calls something else through a
/// stack of its own and passes the rejection on.
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
