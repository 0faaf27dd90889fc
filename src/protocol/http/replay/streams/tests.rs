//! Tests of the tape.

#[cfg(all(
    feature = "axum",
    feature = "hyper",
    feature = "reqwest",
    feature = "tonic"
))]
#[path = "bodies_tests.rs"]
mod bodies;
#[path = "concurrency_tests.rs"]
mod concurrency;
#[path = "model_tests.rs"]
mod model;

use std::pin::Pin;
use std::task::{Context, Waker};

use bytes::Bytes;
use http_body::Body;

use super::reader::Polled;

fn data(size: usize) -> Bytes {
    Bytes::from(vec![u8::try_from(size % 251).unwrap(); size])
}

fn poll<B: Body + Unpin>(body: &mut B, waker: &Waker) -> Polled<B> {
    Pin::new(body).poll_frame(&mut Context::from_waker(waker))
}
