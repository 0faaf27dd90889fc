//! A call through reqwest lasts until the end of its response body.

use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use reqwest::{Body, Response, ResponseBuilderExt};

use crate::call::track::{Head, Settle, Track};
use crate::protocol::http::{
    ClassifyEnd, End, EndOfBody, ResponseHead, Rest, is_over_at_head, rest_of,
};
use crate::vocabulary::outcome::Classify;

impl<C, Err> Track<Response, Err> for EndOfBody<C>
where
    C: Classify<Response, Err> + ClassifyEnd,
    Err: 'static,
{
    type Pending = End;
    type Response = Response;

    fn head(&self, result: Result<&Response, &Err>) -> Head<End> {
        self.classify(result, |response| {
            (ResponseHead::of(response), ended(response))
        })
    }

    fn attach<G: Settle>(
        response: Response,
        pending: Option<End>,
        guard: &mut Option<G>,
    ) -> Response {
        let rest = rest_of(guard, pending, || {
            ended(&response) || is_over_at_head(&ResponseHead::of(&response))
        });
        match rest {
            Some(rest) => follow(response, rest),
            None => response,
        }
    }
}

fn ended(response: &Response) -> bool {
    response.content_length() == Some(0)
}

/// The rests of all layers around a response, innermost first. They are in the response's
/// extensions until the body is read, so that outer layers add to them and the body is boxed only
/// once.
#[derive(Clone)]
struct Rests(Arc<Mutex<Option<Vec<Rest>>>>);

impl Rests {
    fn take(&self) -> Vec<Rest> {
        let mut rests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rests.take().unwrap_or_default()
    }

    /// Returns the rest if the body is already being read: then it needs a body of its own.
    fn add(&self, rest: Rest) -> Option<Rest> {
        let mut rests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *rests {
            Some(rests) => {
                rests.push(rest);
                None
            }
            None => Some(rest),
        }
    }
}

fn follow(response: Response, rest: Rest) -> Response {
    let rest = match response.extensions().get::<Rests>() {
        Some(rests) => match rests.add(rest) {
            None => return response,
            Some(rest) => rest,
        },
        None => rest,
    };
    let rests = Rests(Arc::new(Mutex::new(Some(vec![rest]))));
    rebuilt(response, |mut response| {
        response.extensions_mut().insert(rests.clone());
        response.map(|body| {
            Body::wrap(FollowedBody {
                body,
                rests: Unread { rests, taken: None },
            })
        })
    })
}

/// Changes a response as an `http::Response`, and keeps its URL.
pub(super) fn rebuilt(
    response: Response,
    by: impl FnOnce(http::Response<Body>) -> http::Response<Body>,
) -> Response {
    let url = response.url().clone();
    let (mut head, body) = by(response.into()).into_parts();
    // reqwest offers no other way to set the URL.
    let mut builder = http::response::Builder::new();
    if let Some(extensions) = builder.extensions_mut() {
        *extensions = mem::take(&mut head.extensions);
    }
    if let Ok(with_url) = builder.url(url).body(()) {
        head.extensions = with_url.into_parts().0.extensions;
    }
    http::Response::from_parts(head, body).into()
}

pin_project! {
    struct FollowedBody {
        // Dropped first, as in a `GuardedBody`.
        #[pin]
        body: Body,
        rests: Unread,
    }
}

/// The rests, which the body takes at its first read.
struct Unread {
    rests: Rests,
    taken: Option<Vec<Rest>>,
}

impl Unread {
    fn get(&mut self) -> &mut Vec<Rest> {
        self.taken.get_or_insert_with(|| self.rests.take())
    }
}

impl Drop for Unread {
    /// Also drops the rests of an unread body, so that kept extensions hold no permits.
    fn drop(&mut self) {
        self.get().clear();
    }
}

impl http_body::Body for FollowedBody {
    type Data = bytes::Bytes;
    type Error = reqwest::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let rests = this.rests.get();
        rests.iter_mut().for_each(Rest::enter);
        let polled = this.body.as_mut().poll_frame(cx);
        let body = this.body.as_ref();
        rests.retain_mut(|rest| !rest.left(&polled, || body.is_end_stream()));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
