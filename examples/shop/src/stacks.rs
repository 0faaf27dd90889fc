//! Messages through the standard stacks: what may be repeated, and what is the fault of an upstream.
//!
//! All messages of the shop may be repeated: their handlers know the order and the step, or the ID of
//! the message.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mainstay::{
    CircuitBreakerLayer, ConfigError, CorrelationLayer, Error, Outcome, Reason, Rejection,
    RetryLayer,
};
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt};

use crate::message::{Code, Failure, Message};
use crate::tcp::Reply;

/// A service of messages, whatever its transport and its layers.
pub type Messages = BoxCloneSyncService<Message, Reply, Failure>;

/// Whether this process has no stacks, to measure what they cost.
static ARE_REMOVED: AtomicBool = AtomicBool::new(false);

/// Makes all later stacks of this process empty.
pub fn remove() {
    ARE_REMOVED.store(true, Ordering::Relaxed);
}

/// The same stack, or none if this process has none.
pub fn unless_removed<T>(stack: T) -> Option<T> {
    (!ARE_REMOVED.load(Ordering::Relaxed)).then_some(stack)
}

/// The stack of a client around a transport.
///
/// `timeout` is for all attempts, and `attempt` for each. Neither is longer than the deadline of the
/// context.
///
/// # Errors
///
/// The times contradict each other.
pub fn client<S>(
    upstream: &str,
    timeout: Duration,
    attempt: Duration,
    transport: S,
) -> Result<Messages, ConfigError>
where
    S: Service<Message, Response = Reply, Error = Failure> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    if unless_removed(()).is_none() {
        return Ok(Messages::new(transport));
    }
    let stack = mainstay::client(upstream)
        .timeout(timeout)
        .attempt_timeout(attempt)
        .retry(RetryLayer::builder().attempts(3).retry_if(
            |_: &Message, result: Result<&Reply, &Error<Failure>>| match result {
                Ok(_) => false,
                Err(Error::Inner(failure)) => failure.code.is_transient(),
                Err(_) => true,
            },
        ))
        .classify(|result: Result<&Reply, &Error<Failure>>| match result {
            Ok(_) => Outcome::Success,
            // Our own mistake, or the answer of the business: the upstream is well.
            Err(Error::Inner(failure)) if !failure.code.is_transient() => Outcome::Success,
            Err(_) => Outcome::Failure,
        })
        .circuit_breaker(
            // Open after the first failures of a quiet hour, too, and closed soon after the repair.
            CircuitBreakerLayer::builder()
                .min_calls(10)
                .open_for(Duration::from_secs(1))
                .open_max(Duration::from_secs(5)),
        )
        .propagate(CorrelationLayer::client())
        .build()?;
    Ok(Messages::new(stack.wrap(transport).map_err(Failure::from)))
}

/// The stack of a server around its handlers. Its rejections are failures on the wire.
///
/// # Errors
///
/// The name is not valid.
pub fn server<S>(service: &str, handlers: S) -> Result<Messages, ConfigError>
where
    S: Service<Message, Response = Reply, Error = Failure> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    if unless_removed(()).is_none() {
        return Ok(Messages::new(handlers));
    }
    let stack = mainstay::server(service)
        .propagate(CorrelationLayer::consumer())
        .build()?;
    Ok(Messages::new(stack.wrap(handlers).map_err(Failure::from)))
}

// The layers add their rejections to it.
impl mainstay::Plain for Failure {}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        let code = match rejection.reason() {
            Reason::TimedOut | Reason::DeadlinePassed => Code::DeadlineExceeded,
            _ => Code::Overloaded,
        };
        let after = rejection.retry_after();
        Self {
            code,
            message: rejection.to_string(),
            retry_after_ms: after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

impl From<Error<Failure>> for Failure {
    fn from(error: Error<Failure>) -> Self {
        match error {
            Error::Rejected(rejection) => rejection.into(),
            Error::Inner(failure) => failure,
        }
    }
}
