//! What stands at the bottom of every measured stack, and how a stack is called.

use std::future::{self, Future};
use std::hint::black_box;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use mainstay::Carry;
use tower::Service;

/// Makes so many calls.
pub(crate) type Work = Box<dyn FnMut(u64) + Send>;

/// Ready at once, and so is its answer.
#[derive(Clone, Copy)]
pub(crate) struct Ready;

impl<Req> Service<Req> for Ready {
    type Response = u64;
    type Error = io::Error;
    type Future = future::Ready<io::Result<u64>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Req) -> Self::Future {
        future::ready(Ok(black_box(1)))
    }
}

/// Its answer has to be waited for once.
#[derive(Clone, Copy)]
pub(crate) struct Yields;

impl<Req> Service<Req> for Yields {
    type Response = u64;
    type Error = io::Error;
    type Future = OnceMore;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Req) -> Self::Future {
        OnceMore { waited: false }
    }
}

pub(crate) struct OnceMore {
    waited: bool,
}

impl Future for OnceMore {
    type Output = io::Result<u64>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        if std::mem::replace(&mut self.waited, true) {
            Poll::Ready(Ok(black_box(1)))
        } else {
            Poll::Pending
        }
    }
}

/// Every so many answers are errors.
#[derive(Clone, Copy)]
pub(crate) struct Fails {
    pub(crate) one_in: u64,
    pub(crate) answers: u64,
}

impl Fails {
    pub(crate) const fn one_in(one_in: u64) -> Self {
        Self { one_in, answers: 0 }
    }
}

impl<Req> Service<Req> for Fails {
    type Response = u64;
    type Error = io::Error;
    type Future = future::Ready<io::Result<u64>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Req) -> Self::Future {
        self.answers += 1;
        future::ready(if self.answers.is_multiple_of(self.one_in) {
            Err(io::ErrorKind::ConnectionRefused.into())
        } else {
            Ok(black_box(1))
        })
    }
}

/// A small request that can carry a correlation ID.
#[derive(Clone, Copy)]
pub(crate) struct Message {
    id: Text,
    length: usize,
}

/// Whole words, or every copy of an odd tail waits for the processor's store buffer, and that would be measured too.
#[derive(Clone, Copy)]
#[repr(align(8))]
struct Text([u8; 40]);

impl Message {
    /// As it comes from a caller who sends an ID along.
    pub(crate) const WITH_ID: Self = Self {
        id: Text(*b"0190d3a5-7c1e-7bb2-9f63-2a51d0c4e8f7    "),
        length: 36,
    };
    pub(crate) const WITHOUT_ID: Self = Self {
        id: Text([b' '; 40]),
        length: 0,
    };
}

impl Carry for Message {
    fn get(&self, field: &str) -> Option<&[u8]> {
        if field != "x-correlation-id" {
            return None;
        }
        self.id.0.get(..self.length).filter(|id| !id.is_empty())
    }

    fn set(&mut self, _: &str, value: &str) {
        if let Some(id) = self.id.0.get_mut(..value.len()) {
            id.copy_from_slice(value.as_bytes());
            self.length = value.len();
        }
    }
}

/// What every call of a case must come to, so that nothing is measured but what is meant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    Answers,
    Errors,
    Either,
}

/// Alone on its cache lines: services of two threads that happen to lie next to each other slow each other down.
#[repr(align(128))]
struct Apart<S>(S);

/// Calls a service in a loop, each call driven to its end before the next.
pub(crate) fn calls<S, Req>(service: S, request: Req, expect: Expect) -> Work
where
    S: Service<Req> + Send + 'static,
    Req: Clone + Send + 'static,
{
    let mut service = Apart(service);
    Box::new(move |calls| {
        // Names the whole of it, or the closure would take only what is inside.
        let Apart(service) = &mut service;
        let mut answers = 0;
        for _ in 0..calls {
            answers += u64::from(call(service, request.clone()));
        }
        match expect {
            Expect::Answers => assert_eq!(answers, calls, "a call failed"),
            Expect::Errors => assert_eq!(answers, 0, "a call was answered"),
            Expect::Either => {}
        }
    })
}

/// One call; whether it was answered.
fn call<S, Req>(service: &mut S, request: Req) -> bool
where
    S: Service<Req>,
{
    let cx = &mut Context::from_waker(Waker::noop());
    let ready = service.poll_ready(cx);
    assert!(matches!(ready, Poll::Ready(Ok(()))), "not ready");
    let mut call = pin!(service.call(black_box(request)));
    loop {
        if let Poll::Ready(result) = call.as_mut().poll(cx) {
            return black_box(result).is_ok();
        }
    }
}
