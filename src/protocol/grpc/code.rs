use std::fmt;

use http::{HeaderMap, HeaderName, StatusCode};

use crate::protocol::http::{ContentType, header};
use crate::vocabulary::reason::Reason;

pub(crate) static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The code of a gRPC status.
///
/// It works without tonic, for a proxy or a gateway. With the feature `tonic`, it converts from and
/// to `tonic::Code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

/// All codes, in the order of their numbers.
const CODES: [(Code, &str); 17] = [
    (Code::Ok, "0"),
    (Code::Cancelled, "1"),
    (Code::Unknown, "2"),
    (Code::InvalidArgument, "3"),
    (Code::DeadlineExceeded, "4"),
    (Code::NotFound, "5"),
    (Code::AlreadyExists, "6"),
    (Code::PermissionDenied, "7"),
    (Code::ResourceExhausted, "8"),
    (Code::FailedPrecondition, "9"),
    (Code::Aborted, "10"),
    (Code::OutOfRange, "11"),
    (Code::Unimplemented, "12"),
    (Code::Internal, "13"),
    (Code::Unavailable, "14"),
    (Code::DataLoss, "15"),
    (Code::Unauthenticated, "16"),
];

impl Code {
    /// The code of a `grpc-status`; [`Code::Unknown`] for an invalid one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        CODES
            .iter()
            .find(|(_, text)| text.as_bytes() == bytes)
            .map_or(Self::Unknown, |(code, _)| *code)
    }

    /// The code for an HTTP status without a `grpc-status`, mostly from a proxy.
    #[must_use]
    pub fn from_http(status: StatusCode) -> Self {
        match status.as_u16() {
            200 => Self::Ok,
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502 | 503 | 504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// The code of a response head: of its `grpc-status`, or else of its HTTP status. The details
    /// of the status are not parsed, because a hostile server controls them.
    pub(super) fn of_head(status: StatusCode, headers: &HeaderMap) -> Self {
        match header::first(headers, &GRPC_STATUS) {
            Some(value) => Self::from_bytes(value.as_bytes()),
            // Not a gRPC response, such as a proxy's own page.
            None if status == StatusCode::OK && !is_grpc(headers) => Self::Unknown,
            None => Self::from_http(status),
        }
    }

    /// The code of trailers, which must have one.
    pub(super) fn of_trailers(trailers: &HeaderMap) -> Self {
        let status = header::first(trailers, &GRPC_STATUS);
        status.map_or(Self::Unknown, |value| Self::from_bytes(value.as_bytes()))
    }

    /// The code of a rejection.
    pub(crate) const fn of_reason(reason: Reason) -> Self {
        match reason.code() {
            4 => Self::DeadlineExceeded,
            8 => Self::ResourceExhausted,
            14 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// The number, as in a header.
    pub(crate) fn as_str(self) -> &'static str {
        CODES
            .iter()
            .find(|(code, _)| *code == self)
            .map_or("2", |(_, text)| text)
    }
}

/// Whether the content type is gRPC's or missing.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = ContentType::of(headers);
    content_type == ContentType::Missing || content_type.is_grpc()
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(feature = "tonic")]
impl From<tonic::Code> for Code {
    fn from(code: tonic::Code) -> Self {
        match code {
            tonic::Code::Ok => Self::Ok,
            tonic::Code::Cancelled => Self::Cancelled,
            tonic::Code::Unknown => Self::Unknown,
            tonic::Code::InvalidArgument => Self::InvalidArgument,
            tonic::Code::DeadlineExceeded => Self::DeadlineExceeded,
            tonic::Code::NotFound => Self::NotFound,
            tonic::Code::AlreadyExists => Self::AlreadyExists,
            tonic::Code::PermissionDenied => Self::PermissionDenied,
            tonic::Code::ResourceExhausted => Self::ResourceExhausted,
            tonic::Code::FailedPrecondition => Self::FailedPrecondition,
            tonic::Code::Aborted => Self::Aborted,
            tonic::Code::OutOfRange => Self::OutOfRange,
            tonic::Code::Unimplemented => Self::Unimplemented,
            tonic::Code::Internal => Self::Internal,
            tonic::Code::Unavailable => Self::Unavailable,
            tonic::Code::DataLoss => Self::DataLoss,
            tonic::Code::Unauthenticated => Self::Unauthenticated,
        }
    }
}

#[cfg(feature = "tonic")]
impl From<Code> for tonic::Code {
    fn from(code: Code) -> Self {
        Self::from_i32(i32::from(code as u8))
    }
}

#[cfg(test)]
#[path = "code_tests.rs"]
mod tests;
