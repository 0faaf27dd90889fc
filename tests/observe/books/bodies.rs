//! Calls that end with the body of their response.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame};
use mainstay::{Limit, Rejection, http};
use proptest::prelude::*;
use tower::{Layer, Service, service_fn};

use super::ledger::{Books, balance, counted, observer, run, silent_panics};
use crate::support::ms;

/// What becomes of a response: its status, and the frames of its body.
#[derive(Debug, Clone, Default)]
struct Plan {
    waits: bool,
    failure: bool,
    frames: Vec<Given>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Given {
    Data,
    /// Nothing yet.
    Waits,
    Breaks,
    Panics,
}

impl Body for Plan {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if self.frames.is_empty() {
            return Poll::Ready(None);
        }
        match self.frames.remove(0) {
            Given::Data => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"data"))))),
            Given::Waits => Poll::Pending,
            Given::Breaks => Poll::Ready(Some(Err(std::io::Error::other("broken")))),
            Given::Panics => panic!("told to panic"),
        }
    }
}

async fn answer(request: ::http::Request<Plan>) -> Result<::http::Response<Plan>, Infallible> {
    let plan = request.into_body();
    if plan.waits {
        tokio::task::yield_now().await;
    }
    let status = if plan.failure { 500 } else { 200 };
    Ok(::http::Response::builder()
        .status(status)
        .body(plan)
        .unwrap())
}

#[derive(Debug, Clone)]
enum Step {
    Call(Plan),
    /// Polls what a call has come to: its future, and then its body.
    Poll(usize),
    Drop(usize),
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let given = prop_oneof![
        4 => Just(Given::Data),
        4 => Just(Given::Waits),
        1 => Just(Given::Breaks),
        1 => Just(Given::Panics),
    ];
    let frames = prop::collection::vec(given, 0..5);
    let plan = (any::<bool>(), any::<bool>(), frames);
    let plan = plan.prop_map(|(waits, failure, frames)| Plan {
        waits,
        failure,
        frames,
    });
    prop_oneof![
        5 => plan.prop_map(Step::Call),
        10 => (0_usize..6).prop_map(Step::Poll),
        3 => (0_usize..6).prop_map(Step::Drop),
        2 => (1_u64..60).prop_map(Step::Advance),
    ]
}

/// A call, or what is left of it.
enum Call<F, B> {
    Future(Pin<Box<F>>),
    Body(Pin<Box<B>>),
}

impl<F, B> Call<F, B>
where
    F: Future<Output = Result<::http::Response<B>, Rejection>>,
    B: Body,
{
    /// `None` when it is over.
    fn poll(self) -> Option<Self> {
        let cx = &mut Context::from_waker(Waker::noop());
        match self {
            Self::Future(mut future) => match future.as_mut().poll(cx) {
                Poll::Pending => Some(Self::Future(future)),
                Poll::Ready(Ok(response)) => Some(Self::Body(Box::pin(response.into_body()))),
                Poll::Ready(Err(_)) => None,
            },
            Self::Body(mut body) => match body.as_mut().poll_frame(cx) {
                Poll::Pending | Poll::Ready(Some(Ok(_))) => Some(Self::Body(body)),
                Poll::Ready(_) => None,
            },
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn of_layers_around_each_other(steps in prop::collection::vec(step(), 1..60), adapts in any::<bool>()) {
        silent_panics();
        run(async |handle| {
            let (waits, told_waits) = observer();
            let bulkhead = http::bulkhead().limit(3).queue(1, ms(50)).observer(waits);
            let bulkhead = bulkhead.build().unwrap();
            let (service, of_bulkhead) = counted(bulkhead.layer(service_fn(answer)));
            let (sheds, told_sheds) = observer();
            let limit = if adapts {
                Limit::aimd().min(1).max(4).initial(2).build().unwrap()
            } else {
                Limit::fixed(4)
            };
            let shed = http::load_shed().limit(limit).observer(sheds).build().unwrap();
            let (service, of_shed) = counted(shed.layer(service));
            let (breaks, told_breaks) = observer();
            let breaker = http::circuit_breaker().min_calls(5).open_for(ms(40)).observer(breaks);
            let breaker = breaker.build().unwrap();
            let (service, of_breaker) = counted(breaker.layer(service));

            let now = || {
                let b = bulkhead.handle().snapshot();
                let waits = Books::new(b.outcomes, &b.rejections, b.given_up);
                let s = shed.handle().snapshot();
                let sheds = Books::new(s.outcomes, &s.rejections, 0);
                let c = breaker.handle().snapshot();
                let breaks = Books::new(c.outcomes, &c.rejections, 0);
                let shed_holds = u64::from(s.in_flight) + u64::from(s.streaming);
                (waits, u64::from(b.in_flight), sheds, shed_holds, breaks)
            };
            let mut calls = Vec::new();
            for step in steps {
                match step {
                    Step::Call(plan) => {
                        let mut service = service.clone();
                        let cx = &mut Context::from_waker(Waker::noop());
                        if let Poll::Ready(Ok(())) = service.poll_ready(cx) {
                            let call = service.call(::http::Request::new(plan));
                            calls.push(Call::Future(Box::pin(call)));
                        }
                    }
                    Step::Poll(at) if at < calls.len() => {
                        let call = calls.remove(at);
                        if let Ok(Some(call)) = catch_unwind(AssertUnwindSafe(|| call.poll())) {
                            calls.insert(at, call);
                        }
                    }
                    Step::Drop(at) if at < calls.len() => drop(calls.remove(at)),
                    Step::Poll(_) | Step::Drop(_) => {}
                    Step::Advance(millis) => tokio::time::advance(ms(millis)).await,
                }
                let (waits, held, sheds, shed_holds, _) = now();
                assert!(waits.total() + held <= of_bulkhead.load(Ordering::SeqCst));
                assert_eq!(sheds.total() + shed_holds, of_shed.load(Ordering::SeqCst));
            }
            drop(calls);
            let (waits, held, sheds, shed_holds, breaks) = now();
            assert_eq!((held, shed_holds), (0, 0));
            balance("bulkhead", &of_bulkhead, &waits, &told_waits, &handle);
            balance("load_shed", &of_shed, &sheds, &told_sheds, &handle);
            balance("circuit_breaker", &of_breaker, &breaks, &told_breaks, &handle);
        });
    }
}
