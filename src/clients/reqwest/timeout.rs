//! The time limit of a call through reqwest includes the response body.

use std::task::Context;

use reqwest::{Body, Response};

use super::track::rebuilt;
use crate::layers::timeout::{Answered, Asked, Cover};
use crate::protocol::http::{BodyLimits, TimedBody};

/// The body is boxed once more, unless it is complete or has no limit.
impl Cover<Response> for BodyLimits {
    type Response = Response;

    fn begin(mut self, asked: Asked<'_>) -> Self {
        self.client = true;
        <Self as Cover<http::Response<Body>>>::begin(self, asked)
    }

    fn cover(&self, response: Response, call: &Answered<'_>, cx: &mut Context<'_>) -> Response {
        if response.content_length() == Some(0) {
            return response;
        }
        rebuilt(response, |response| {
            let timed: http::Response<TimedBody<Body>> = self.cover(response, call, cx);
            timed.map(|body| body.unlimited_or(Body::wrap))
        })
    }
}
