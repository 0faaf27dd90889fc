use std::fmt;
use std::task::{Context, Poll};

use tower_service::Service;

use super::handle::LoadShedHandle;
use super::keyed::Common;
use super::layer::{Limited, OnReadiness};
use super::load::Load;
use crate::call::entry::Entry;
use crate::call::future::{CallFuture, Uncounted, uncounted_future};
use crate::call::inner::{Inner, Ready};
use crate::call::track::Track;
use crate::layers::admission::{self, admitted_future};
use crate::layers::keyed::{Keying, KeyingOf};
use crate::observe::emit::Emit as _;
use crate::vocabulary::{
    error::{Grown, WithRejection},
    mode::Mode,
};

/// Sheds calls to an inner service under overload. Made by a
/// [`LoadShedLayer`](crate::LoadShedLayer).
#[derive(Clone)]
pub struct LoadShed<S, M = Limited> {
    pub(super) inner: Inner<S>,
    pub(super) mode: M,
}

impl<S, M> LoadShed<S, M> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        self.inner.get_ref()
    }

    /// Unwraps the inner service.
    pub fn into_inner(self) -> S {
        self.inner.into_inner()
    }

    /// Polls the inner service, and is always ready.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll_always_ready<Req>(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Grown<S::Error>>>
    where
        S: Service<Req>,
        S::Error: WithRejection,
    {
        let _ = self.inner.poll_ready(cx);
        Poll::Ready(Ok(()))
    }
}

impl<S, T, K: Keying> LoadShed<S, Limited<T, K>> {
    /// A handle to inspect its instance.
    #[must_use]
    pub fn handle(&self) -> LoadShedHandle {
        self.mode.handle()
    }
}

impl<S, Req, T, K> Service<Req> for LoadShed<S, Limited<T, K>>
where
    S: Service<Req>,
    S::Error: WithRejection,
    T: Track<S::Response, Grown<S::Error>> + Clone,
    K: KeyingOf<Req>,
{
    type Response = T::Response;
    type Error = Grown<S::Error>;
    type Future = ResponseFuture<S::Future, T>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let load = &self.mode.load;
        if let Some(reason) = K::refuses::<Load>(load) {
            self.inner.will_reject(reason);
            return Poll::Ready(Ok(()));
        }
        if K::ask(load, Load::mode, Common::mode) != Mode::Enforce {
            return self.inner.poll_ready(cx).map(Ok);
        }
        self.poll_always_ready(cx)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn call(&mut self, request: Req) -> Self::Future {
        let entry = Entry::of(self);
        let Limited { load, tracker } = &mut self.mode;
        let load = K::pick::<Load>(load, &request);
        ResponseFuture::new(admission::call(
            &mut self.inner,
            load,
            tracker,
            request,
            entry,
        ))
    }
}

impl<S, Req> Service<Req> for LoadShed<S, OnReadiness>
where
    S: Service<Req>,
    S::Error: WithRejection,
{
    type Response = S::Response;
    type Error = Grown<S::Error>;
    type Future = OnReadinessFuture<S::Future>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.poll_always_ready(cx)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn call(&mut self, request: Req) -> Self::Future {
        let entry = Entry::of(self);
        OnReadinessFuture::new(match self.inner.take_ready() {
            Ready::Yes => CallFuture::admitted(self.inner.call(request, &entry), Uncounted),
            Ready::No(reason) => CallFuture::rejected(self.mode.emitter.reject(reason, None)),
        })
    }
}

admitted_future! {
    /// The future of a call through a load shedder with a limit.
    pub struct ResponseFuture<F> of Load
}

uncounted_future! {
    /// The future of a call through a load shedder that sheds
    /// [on readiness](crate::LoadShedLayer::on_readiness).
    pub struct OnReadinessFuture<F>
}

impl<S: fmt::Debug, M: fmt::Debug> fmt::Debug for LoadShed<S, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadShed")
            .field("inner", &self.inner)
            .field("mode", &self.mode)
            .finish()
    }
}
