use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::vocabulary::sealed::Sealed;
use pin_project_lite::pin_project;
use reqwest::{Request, RequestBuilder};
use tower_service::Service;

/// Sends a request of reqwest's builder through a stack instead of through the bare client.
///
/// See the [module](crate::reqwest) for an example.
///
/// This trait is sealed: only mainstay implements it.
pub trait SendThrough: Sealed {
    /// Sends the request through a clone of this service, once it is ready.
    ///
    /// The service's client is used, not the one of the builder. Dropping the future drops the
    /// call.
    ///
    /// # Errors
    ///
    /// The future returns the service's error. If the request cannot be built, it is converted by
    /// `From<reqwest::Error>`.
    fn send_through<S>(self, service: &S) -> SendFuture<S>
    where
        S: Service<Request> + Clone,
        S::Error: From<reqwest::Error>;
}

impl Sealed for RequestBuilder {}

impl SendThrough for RequestBuilder {
    fn send_through<S>(self, service: &S) -> SendFuture<S>
    where
        S: Service<Request> + Clone,
        S::Error: From<reqwest::Error>,
    {
        SendFuture {
            state: State::Readying {
                // Boxed to keep the future small. The call itself costs more.
                request: Some(self.build().map(Box::new)),
                service: service.clone(),
            },
        }
    }
}

pin_project! {
    /// The future of [`send_through`](SendThrough::send_through).
    #[must_use = "futures do nothing unless polled"]
    pub struct SendFuture<S>
    where
        S: Service<Request>,
    {
        #[pin]
        state: State<S, S::Future>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F> {
        Readying {
            request: Option<reqwest::Result<Box<Request>>>,
            service: S,
        },
        Calling {
            #[pin]
            call: F,
        },
        Done,
    }
}

impl<S> Future for SendFuture<S>
where
    S: Service<Request>,
    S::Error: From<reqwest::Error>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let result = match state.as_mut().project() {
                StateProj::Readying { request, service } => {
                    let ready = match request {
                        Some(Ok(_)) => ready!(service.poll_ready(cx)),
                        _ => Ok(()),
                    };
                    match (ready, request.take()) {
                        (Ok(()), Some(Ok(request))) => {
                            let call = service.call(*request);
                            state.set(State::Calling { call });
                            continue;
                        }
                        (_, Some(Err(error))) => Err(error.into()),
                        (Err(error), _) => Err(error),
                        (Ok(()), None) => return Poll::Pending,
                    }
                }
                StateProj::Calling { call } => ready!(call.poll(cx)),
                StateProj::Done => return Poll::Pending,
            };
            state.set(State::Done);
            return Poll::Ready(result);
        }
    }
}

impl<S: Service<Request>> fmt::Debug for SendFuture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendFuture").finish_non_exhaustive()
    }
}
