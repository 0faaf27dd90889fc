//! Tracks a call of HTTP or gRPC to the end of its response.

use http_body::Body;

use super::body::{GuardedBody, Rest};
use super::end::{ClassifyEnd, End, is_over_at_head, plain};
use super::head::ResponseHead;
use crate::call::track::{Head, Settle, Track};
use crate::vocabulary::outcome::Classify;

/// A tracker that ends a call with the body of its response: at the last frame, at an error, or
/// when the body is dropped.
///
/// Until then the call holds its permit (the adaptive limit of a load shedder counts it up to its
/// head only). The head or the end settles its outcome: see [`ClassifyEnd`]. Its latency is that of
/// the head, so a long stream is not a slow call. Switches of protocol (101) and event streams
/// (`text/event-stream`) are over at their head.
///
/// The body of an `http::Response` becomes a [`GuardedBody`], which allocates nothing. The type
/// `reqwest::Response` (feature `reqwest`) stays the same; its body is boxed once, by however many
/// layers.
#[derive(Debug, Clone, Copy, Default)]
pub struct EndOfBody<C>(pub(crate) C);

impl<C> EndOfBody<C> {
    /// Classifies responses with this classifier.
    #[must_use]
    pub const fn new(classifier: C) -> Self {
        Self(classifier)
    }

    #[inline]
    pub(crate) fn classify<Res, Err>(
        &self,
        result: Result<&Res, &Err>,
        look: impl FnOnce(&Res) -> (ResponseHead<'_>, bool),
    ) -> Head<End>
    where
        C: Classify<Res, Err> + ClassifyEnd,
        Err: 'static,
    {
        let response = match result {
            Ok(response) => response,
            Err(error) => {
                let verdict = self.0.at_error(error);
                return Head::Final(verdict.unwrap_or_else(|| self.0.classify(result)));
            }
        };
        let (head, ended) = look(response);
        match self.0.at_head(&head, ended) {
            Some(head) => head,
            None => plain(&head, self.0.classify(result), ended),
        }
    }
}

/// The remainder of a call after the head of its response, if the call is not over.
#[inline]
pub(crate) fn rest_of<G: Settle>(
    guard: &mut Option<G>,
    pending: Option<End>,
    is_over: impl FnOnce() -> bool,
) -> Option<Rest> {
    let stays = guard
        .as_ref()
        .is_some_and(|guard| pending.is_some() || (guard.holds_permit() && !is_over()));
    if stays {
        guard.take().map(|guard| Rest::new(guard.erase(), pending))
    } else {
        // Dropped in place: a move would cost more.
        *guard = None;
        None
    }
}

impl<C, B, Err> Track<http::Response<B>, Err> for EndOfBody<C>
where
    C: Classify<http::Response<B>, Err> + ClassifyEnd,
    B: Body,
    Err: 'static,
{
    type Pending = End;
    type Response = http::Response<GuardedBody<B>>;

    #[inline]
    fn head(&self, result: Result<&http::Response<B>, &Err>) -> Head<End> {
        self.classify(result, |response| {
            (ResponseHead::of(response), response.body().is_end_stream())
        })
    }

    #[inline]
    fn attach<G: Settle>(
        response: http::Response<B>,
        pending: Option<End>,
        guard: &mut Option<G>,
    ) -> Self::Response {
        let rest = rest_of(guard, pending, || {
            response.body().is_end_stream() || is_over_at_head(&ResponseHead::of(&response))
        });
        response.map(|body| GuardedBody::new(body, rest))
    }
}
