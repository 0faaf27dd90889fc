//! The deadline of a call in a field of its request.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tower_layer::Layer;
use tower_service::Service;

use crate::call::entry::Entry;
use crate::call::future::{CallFuture, Uncounted};
use crate::call::inner::{Inner, InnerFuture};
use crate::layers::correlation::Carry;
use crate::observe::emit::Emit as _;
use crate::observe::emitter::Emitter;
use crate::observe::event::Observer;
use crate::runtime::Moment;
use crate::runtime::shared::Shared;
use crate::vocabulary::kind::DEADLINE;
use crate::vocabulary::name::InstanceName;
use crate::vocabulary::{
    config::ConfigError,
    context,
    error::{Grown, WithRejection},
    reason::Reason,
};

pub(super) const LAYER: &str = "deadline";

/// The field, in milliseconds: the same as over HTTP.
pub(super) const FIELD: &str = "x-request-timeout-ms";

/// The least that a caller can ask for, unless it says that it has no time left.
const FLOOR: Duration = Duration::from_millis(10);

/// Writes the time left until the deadline into each request. Part of the stack that [`client`](super::client) builds, where the
/// context is [propagated](super::AnyClientBuilder::propagate).
#[derive(Clone)]
pub struct CarriedDeadlineLayer {
    emitter: Shared<Emitter>,
}

impl CarriedDeadlineLayer {
    pub(super) fn new(
        name: &str,
        observer: Option<Arc<dyn Observer>>,
    ) -> Result<Self, ConfigError> {
        let instance = InstanceName::new(&DEADLINE, Some(name))?;
        Ok(Self {
            emitter: Shared::new(Emitter::new(&DEADLINE, instance, observer)),
        })
    }
}

impl<S> Layer<S> for CarriedDeadlineLayer {
    type Service = CarriedDeadline<S>;

    fn layer(&self, inner: S) -> CarriedDeadline<S> {
        CarriedDeadline {
            inner: Inner::new(inner),
            emitter: self.emitter.clone(),
        }
    }
}

impl fmt::Debug for CarriedDeadlineLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CarriedDeadlineLayer")
    }
}

/// A service whose requests carry the time left: see [`CarriedDeadlineLayer`].
#[derive(Clone)]
pub struct CarriedDeadline<S> {
    inner: Inner<S>,
    emitter: Shared<Emitter>,
}

impl<S, Req> Service<Req> for CarriedDeadline<S>
where
    S: Service<Req>,
    S::Error: WithRejection,
    Req: Carry,
{
    type Response = S::Response;
    type Error = Grown<S::Error>;
    type Future = CallFuture<InnerFuture<S::Future>, Uncounted>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map(Ok)
    }

    fn call(&mut self, mut request: Req) -> Self::Future {
        let mut entry = Entry::of(self);
        let deadline = context::deadline();
        if deadline.local() != Moment::NEVER {
            let now = entry.now();
            if deadline.local() <= now {
                self.inner.take_ready();
                return CallFuture::rejected(self.emitter.reject(Reason::DeadlinePassed, None));
            }
            if deadline.propagated() != Moment::NEVER {
                write(&mut request, deadline.propagated().since(now));
            }
        }
        CallFuture::admitted(self.inner.call(request, &entry), Uncounted)
    }
}

impl<S: fmt::Debug> fmt::Debug for CarriedDeadline<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CarriedDeadline")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

/// Writes the time left, unless the request itself says less. It is rounded down, so that nobody takes longer than there is; less
/// than a millisecond is written as one, because none means late already.
fn write(request: &mut impl Carry, left: Duration) {
    if parsed(request).is_some_and(|own| own <= left) {
        return;
    }
    let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    request.set(FIELD, &millis.max(u64::from(!left.is_zero())).to_string());
}

/// The time that the caller of a request has left, by its own account.
pub(super) fn asked(request: &impl Carry) -> Option<Duration> {
    let asked = parsed(request)?;
    Some(if asked.is_zero() {
        asked
    } else {
        asked.max(FLOOR)
    })
}

/// The value of the field; `None` where it is no number.
fn parsed(request: &impl Carry) -> Option<Duration> {
    let value = request.get(FIELD)?;
    if value.is_empty() || value.len() > 20 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let millis = str::from_utf8(value).ok()?.parse().ok()?;
    Some(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Frame(Option<Vec<u8>>);

    impl Carry for Frame {
        fn get(&self, field: &str) -> Option<&[u8]> {
            self.0.as_deref().filter(|_| field == FIELD)
        }

        fn set(&mut self, _: &str, value: &str) {
            self.0 = Some(value.into());
        }
    }

    #[test]
    fn anyone_may_have_written_the_field() {
        let frame = |value: &str| Frame(Some(value.into()));
        for value in ["", "-1", "1.5", "1 ", "abc", "99999999999999999999", "1\n"] {
            assert_eq!(asked(&frame(value)), None, "{value:?}");
        }
        assert_eq!(asked(&Frame::default()), None);
        assert_eq!(asked(&frame("0")), Some(Duration::ZERO));
        assert_eq!(asked(&frame("3")), Some(FLOOR));
        assert_eq!(asked(&frame("250")), Some(Duration::from_millis(250)));
        assert_eq!(
            asked(&frame("18446744073709551615")),
            Some(Duration::from_millis(u64::MAX))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_comes_too_late_is_rejected_in_the_name_of_the_stack() {
        use tower::{ServiceExt as _, service_fn};

        let layer = CarriedDeadlineLayer::new("queue", None).unwrap();
        let service = layer.layer(service_fn(async |frame: Frame| {
            Ok::<_, std::convert::Infallible>(frame.0)
        }));
        let context =
            crate::vocabulary::context::Context::current().with_timeout(Duration::from_millis(50));
        let call = async || service.clone().oneshot(Frame::default()).await;
        let in_time = context.clone().scope(call()).await;
        assert_eq!(in_time.unwrap().as_deref(), Some(&b"50"[..]));
        tokio::time::advance(Duration::from_millis(50)).await;
        let late = context.scope(call()).await.unwrap_err();
        assert_eq!((late.layer(), late.name()), (LAYER, "queue"));
        assert_eq!(late.reason(), Reason::DeadlinePassed);
    }

    #[test]
    fn the_shorter_time_is_kept_and_some_time_is_never_none() {
        let written = |own: Option<&str>, left| {
            let mut frame = Frame(own.map(Into::into));
            write(&mut frame, left);
            String::from_utf8(frame.0.unwrap()).unwrap()
        };
        let second = Duration::from_secs(1);
        assert_eq!(written(None, second), "1000");
        assert_eq!(written(Some("20"), second), "20");
        assert_eq!(written(Some("2000"), second), "1000");
        assert_eq!(written(Some("soon"), second), "1000");
        assert_eq!(written(None, Duration::from_micros(1_999)), "1");
        assert_eq!(written(None, Duration::from_nanos(1)), "1");
    }
}
