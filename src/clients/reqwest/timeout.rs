//! The time limit of a call through reqwest covers its body, too.

use std::task::Context;

use reqwest::{Body, Response};

use super::track::rebuilt;
use crate::layers::timeout::{Answered, Asked, Cover};
use crate::protocol::http::{BodyLimits, TimedBody};

/// A response whose body is there, or is not limited, stays as it is. Any other's body is boxed once more.
impl Cover<Response> for BodyLimits {
    type Response = Response;

    fn begin(mut self, asked: Asked) -> Self {
        self.client = true;
        <Self as Cover<http::Response<Body>>>::begin(self, asked)
    }

    fn cover(&self, response: Response, call: &Answered<'_>, cx: &mut Context<'_>) -> Response {
        if response.content_length() == Some(0) {
            return response;
        }
        rebuilt(response, |response| {
            let timed: http::Response<TimedBody<Body>> = self.cover(response, call, cx);
            timed.map(|body| body.untimed_or(Body::wrap))
        })
    }
}
