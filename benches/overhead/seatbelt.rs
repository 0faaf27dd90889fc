//! The same layers in Microsoft's seatbelt, twice: as a service of tower's, which boxes every
//! future, and by seatbelt's own trait, which boxes none and lends the service to the call.

use std::future::{self, Future};
use std::hint::black_box;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use layered::{Layer, Service};
use seatbelt::breaker::{Breaker, BreakerLayer};
use seatbelt::retry::{Retry, RetryLayer};
use seatbelt::timeout::{Timeout, TimeoutLayer};
use seatbelt::typestates::Set;
use seatbelt::{RecoveryInfo, ResilienceContext};
use tick::Clock;

use crate::cases::{Case, SPAN};
use crate::services::{Expect, Ready, Work, calls};
use crate::six_layers::LIMIT;

type Output = io::Result<u64>;

impl Service<u32> for Ready {
    type Out = Output;

    fn execute(&self, _: u32) -> impl Future<Output = Output> + Send {
        future::ready(Ok(black_box(1)))
    }
}

/// Each layer by tower's trait and by seatbelt's own.
pub(crate) fn breaker() -> [Case; 2] {
    let service = breaker_layer().layer(Ready);
    [
        Case::new("seatbelt_breaker", calls(service, 1, Expect::Answers)),
        Case::new(
            "seatbelt_breaker_unboxed",
            unboxed(breaker_layer().layer(Ready)),
        ),
    ]
}

pub(crate) fn retry() -> [Case; 2] {
    let service = retry_layer().layer(Ready);
    [
        Case::new("seatbelt_retry", calls(service, 1, Expect::Answers)),
        Case::new(
            "seatbelt_retry_unboxed",
            unboxed(retry_layer().layer(Ready)),
        ),
    ]
}

pub(crate) fn timeout() -> [Case; 2] {
    let service = timeout_layer().layer(Ready);
    [
        Case::new("seatbelt_timeout", calls(service, 1, Expect::Answers)),
        Case::new(
            "seatbelt_timeout_unboxed",
            unboxed(timeout_layer().layer(Ready)),
        ),
    ]
}

fn breaker_layer() -> BreakerLayer<u32, Output, Set, Set> {
    Breaker::layer("bench", &context())
        .recovery_with(|result, _| recovery(result))
        .rejected_input_error(|_, _| io::ErrorKind::Other.into())
        .sampling_duration(SPAN)
}

fn retry_layer() -> RetryLayer<u32, Output, Set, Set> {
    Retry::layer("bench", &context())
        .clone_input()
        .recovery_with(|result, _| recovery(result))
}

fn timeout_layer() -> TimeoutLayer<u32, Output, Set, Set> {
    Timeout::layer("bench", &context())
        .timeout_error(|_| io::ErrorKind::TimedOut.into())
        .timeout(LIMIT)
}

/// With tokio's timers. Needs an entered runtime.
fn context() -> ResilienceContext<u32, Output> {
    ResilienceContext::new(Clock::new_tokio())
}

fn recovery(result: &Output) -> RecoveryInfo {
    if result.is_ok() {
        RecoveryInfo::never()
    } else {
        RecoveryInfo::retry()
    }
}

/// The loop of `services::calls` for a service of seatbelt's own trait.
fn unboxed(service: impl Service<u32, Out = Output> + 'static) -> Work {
    Box::new(move |calls| {
        let cx = &mut Context::from_waker(Waker::noop());
        for _ in 0..calls {
            let mut call = pin!(service.execute(black_box(1)));
            let answer = loop {
                if let Poll::Ready(result) = call.as_mut().poll(cx) {
                    break black_box(result);
                }
            };
            assert!(answer.is_ok(), "a call failed");
        }
    })
}
