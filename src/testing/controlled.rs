use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::sync::{mpsc, oneshot};
use tower_service::Service;

use super::probe::Probe;

/// An inner service, in a [`Probe`], and the calls that reach it. The test answers them.
///
/// The service is always ready, unless [`Probe::set_ready`] or [`Calls::fail_readiness`] say
/// otherwise. See the [module](super) for an example.
#[must_use]
#[allow(clippy::type_complexity, reason = "a pair, as of a channel")]
pub fn controlled<Req, Res, E>() -> (Probe<Controlled<Req, Res, E>>, Calls<Req, Res, E>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let plans = Arc::new(Plans::new());
    let service = Controlled {
        sender,
        plans: Arc::clone(&plans),
    };
    (Probe::new(service), Calls { receiver, plans })
}

/// An inner service whose calls the test answers. Made by [`controlled`].
///
/// All clones are one service, with one queue of calls.
pub struct Controlled<Req, Res, E> {
    sender: mpsc::UnboundedSender<Call<Req, Res, E>>,
    plans: Arc<Plans<Res, E>>,
}

/// The calls that reach a [`Controlled`] service, in their order.
pub struct Calls<Req, Res, E> {
    receiver: mpsc::UnboundedReceiver<Call<Req, Res, E>>,
    plans: Arc<Plans<Res, E>>,
}

/// A call that waits for the answer of the test.
///
/// The test holds the call by holding this. It must end it by one of the methods that answer: if it
/// is dropped instead, the call panics, so that a test does not hang for an answer that it forgot.
pub struct Call<Req, Res, E> {
    request: Req,
    answer: oneshot::Sender<Answer<Res, E>>,
}

enum Answer<Res, E> {
    Result(Result<Res, E>),
    Panic(String),
}

/// Answers ahead of their calls.
struct Plans<Res, E>(Mutex<Queues<Res, E>>);

struct Queues<Res, E> {
    answers: VecDeque<Result<Res, E>>,
    readiness_errors: VecDeque<E>,
}

impl<Res, E> Plans<Res, E> {
    fn new() -> Self {
        Self(Mutex::new(Queues {
            answers: VecDeque::new(),
            readiness_errors: VecDeque::new(),
        }))
    }

    fn queues(&self) -> MutexGuard<'_, Queues<Res, E>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Req, Res, E> Calls<Req, Res, E> {
    /// Waits for the next call that has no answer yet.
    ///
    /// # Panics
    ///
    /// When the service and all its clones are gone, so that no call can come.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no call.
    pub async fn next(&mut self) -> Call<Req, Res, E> {
        match self.receiver.recv().await {
            Some(call) => call,
            None => panic!("no call will come: the controlled service and its clones are dropped"),
        }
    }

    /// The next call that has no answer yet, if it is already there.
    pub fn try_next(&mut self) -> Option<Call<Req, Res, E>> {
        self.receiver.try_recv().ok()
    }

    /// Answers the next call at once when it comes, so that neither [`next`](Self::next) nor
    /// [`try_next`](Self::try_next) returns it. Several answers are given in their order.
    pub fn answer_next(&self, answer: Result<Res, E>) {
        self.plans.queues().answers.push_back(answer);
    }

    /// Makes the next `poll_ready` an error, once. Several errors are given in their order.
    pub fn fail_readiness(&self, error: E) {
        self.plans.queues().readiness_errors.push_back(error);
    }
}

impl<Req, Res, E> Call<Req, Res, E> {
    /// The request.
    pub fn request(&self) -> &Req {
        &self.request
    }

    /// The call returns this response.
    pub fn respond(self, response: Res) {
        self.answer(Ok(response));
    }

    /// The call returns this error.
    pub fn fail(self, error: E) {
        self.answer(Err(error));
    }

    /// The call returns this result.
    pub fn answer(self, result: Result<Res, E>) {
        self.answer_with(|_| result);
    }

    /// The call returns what a function makes of its request.
    pub fn answer_with(self, answer: impl FnOnce(Req) -> Result<Res, E>) {
        // The caller may have given the call up. Then nobody waits for the answer.
        let _ = self.answer.send(Answer::Result(answer(self.request)));
    }

    /// The call's future panics with this message when it is polled next.
    pub fn panic(self, message: impl Into<String>) {
        let _ = self.answer.send(Answer::Panic(message.into()));
    }

    /// Whether the caller dropped the call's future.
    pub fn is_cancelled(&self) -> bool {
        self.answer.is_closed()
    }

    /// Waits until the caller drops the call's future.
    pub async fn cancelled(&mut self) {
        self.answer.closed().await;
    }
}

impl<Req, Res, E> Service<Req> for Controlled<Req, Res, E> {
    type Response = Res;
    type Error = E;
    type Future = ControlledFuture<Res, E>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        match self.plans.queues().readiness_errors.pop_front() {
            Some(error) => Poll::Ready(Err(error)),
            None => Poll::Ready(Ok(())),
        }
    }

    /// # Panics
    ///
    /// When [`Calls`] is dropped, and no answer is queued.
    fn call(&mut self, request: Req) -> Self::Future {
        let (answer, receiver) = oneshot::channel();
        let planned = self.plans.queues().answers.pop_front();
        if let Some(planned) = planned {
            let _ = answer.send(Answer::Result(planned));
        } else if self.sender.send(Call { request, answer }).is_err() {
            panic!("a controlled service was called after its `Calls` had been dropped");
        }
        ControlledFuture { receiver }
    }
}

/// The future of a [`Controlled`] service.
pub struct ControlledFuture<Res, E> {
    receiver: oneshot::Receiver<Answer<Res, E>>,
}

impl<Res, E> Future for ControlledFuture<Res, E> {
    type Output = Result<Res, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match ready!(Pin::new(&mut self.receiver).poll(cx)) {
            Ok(Answer::Result(result)) => Poll::Ready(result),
            Ok(Answer::Panic(message)) => panic!("{message}"),
            Err(_) => panic!("the test dropped a `Call` without an answer"),
        }
    }
}

impl<Req, Res, E> Clone for Controlled<Req, Res, E> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            plans: Arc::clone(&self.plans),
        }
    }
}

impl<Req, Res, E> fmt::Debug for Controlled<Req, Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controlled").finish_non_exhaustive()
    }
}

impl<Req, Res, E> fmt::Debug for Calls<Req, Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls")
            .field("waiting", &self.receiver.len())
            .finish_non_exhaustive()
    }
}

impl<Req: fmt::Debug, Res, E> fmt::Debug for Call<Req, Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("request", &self.request)
            .field("is_cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}

impl<Res, E> fmt::Debug for ControlledFuture<Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlledFuture").finish_non_exhaustive()
    }
}
