use super::*;
use crate::vocabulary::reason::Reason;
use std::time::Duration;
use tonic::Code::{DeadlineExceeded, ResourceExhausted, Unavailable};

const REASONS: [(Reason, tonic::Code); Reason::ALL.len()] = [
    (Reason::CircuitOpen, Unavailable),
    (Reason::NotReady, Unavailable),
    (Reason::Full, Unavailable),
    (Reason::QueueTimeout, Unavailable),
    (Reason::Shed, Unavailable),
    (Reason::TimedOut, DeadlineExceeded),
    (Reason::DeadlinePassed, DeadlineExceeded),
    (Reason::RateLimited, ResourceExhausted),
    (Reason::Refused, Unavailable),
];

#[test]
fn every_reason_has_its_own_status() {
    for (reason, code) in REASONS {
        let status = reason.grpc_status();
        assert_eq!(status.code(), code);
        assert_eq!(status.message(), reason.describe());
        assert!(std::ptr::eq(status, reason.grpc_status()));
    }
}

#[test]
fn a_status_carries_the_rejection() {
    for (reason, code) in REASONS {
        let rejection = Rejection::new("bulkhead", "users", reason)
            .with_retry_after(Duration::from_micros(1_500));
        let status = Status::reject(rejection.clone());
        assert_eq!(status.code(), code);
        assert_eq!(status.message(), rejection.to_string());
        assert_eq!(status.rejection(), Some(&rejection));
        let pushback = status.metadata().get(PUSHBACK).unwrap();
        assert_eq!(pushback.to_str().unwrap(), "2");
    }
    assert_eq!(Status::unavailable("").rejection(), None);
    let status = Status::reject(Rejection::new("bulkhead", "users", Reason::Full));
    assert!(status.metadata().get(PUSHBACK).is_none());
}

#[test]
fn the_code_is_found_behind_any_box() {
    for (reason, code) in REASONS {
        let rejection = Rejection::new("bulkhead", "users", reason);
        let error = crate::vocabulary::error::Error::<std::io::Error>::Rejected(rejection.clone());
        let boxed: BoxError = Box::new(std::io::Error::other(error));
        let status = Status::from_error(boxed);
        assert_eq!(status.code(), code);
        assert_eq!(status.rejection(), Some(&rejection));
    }
}
