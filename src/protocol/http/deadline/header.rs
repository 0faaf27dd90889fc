use std::time::Duration;

use http::HeaderName;

use super::wire::{Form, GRPC_TIMEOUT};
use crate::layers::deadline::WriteDeadline;
use crate::protocol::http::{ContentType, HttpRequest, header};
use crate::vocabulary::sealed::Sealed;

/// Writes the remaining time into a header: `grpc-timeout` for gRPC, this one for all other
/// requests.
#[derive(Debug, Clone)]
pub struct DeadlineHeader(pub(super) HeaderName);

impl Sealed for DeadlineHeader {}

impl<Req: HttpRequest> WriteDeadline<Req> for DeadlineHeader {
    fn write(&self, request: &mut Req, remaining: Duration) {
        let headers = request.headers_mut();
        let (form, name) = if ContentType::of(headers).is_grpc() {
            (Form::Grpc, &GRPC_TIMEOUT)
        } else {
            (Form::Millis, &self.0)
        };
        let own = form.of_header(headers, name);
        if own.is_none_or(|own| own > remaining) {
            header::set(headers, name, form.format(remaining));
        }
    }
}
