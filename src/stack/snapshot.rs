//! What a standard stack looks like at one moment.

use std::fmt;

use crate::{bulkhead, circuit_breaker, load_shed, retry, timeout};

/// The layers of a client's stack at one moment, those that are in it: see [`snapshot`](crate::snapshot).
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ClientSnapshot {
    /// The time limit of whole calls.
    pub timeout: Option<timeout::Snapshot>,
    /// The retries.
    pub retry: Option<retry::Snapshot>,
    /// The circuit breaker.
    pub circuit_breaker: Option<circuit_breaker::Snapshot>,
    /// The bulkhead.
    pub bulkhead: Option<bulkhead::Snapshot>,
    /// The time limit of each attempt.
    pub attempt_timeout: Option<timeout::Snapshot>,
}

/// The layers of a server's stack at one moment, those that are in it: see [`snapshot`](crate::snapshot).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ServerSnapshot {
    /// The time limit.
    pub timeout: Option<timeout::Snapshot>,
    /// The load shedder.
    pub load_shed: Option<load_shed::Snapshot>,
    /// The bulkhead.
    pub bulkhead: Option<bulkhead::Snapshot>,
}

/// One line each, outermost first.
fn lines(f: &mut fmt::Formatter<'_>, lines: &[Option<&dyn fmt::Display>]) -> fmt::Result {
    for (at, line) in lines.iter().flatten().enumerate() {
        let end = if at == 0 { "" } else { "\n" };
        write!(f, "{end}{line}")?;
    }
    Ok(())
}

fn line<T: fmt::Display>(of: &Option<T>) -> Option<&dyn fmt::Display> {
    of.as_ref().map(|of| of as &dyn fmt::Display)
}

impl fmt::Display for ClientSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            timeout,
            retry,
            circuit_breaker,
            bulkhead,
            attempt_timeout,
        } = self;
        let layers = [
            line(timeout),
            line(retry),
            line(circuit_breaker),
            line(bulkhead),
            line(attempt_timeout),
        ];
        lines(f, &layers)
    }
}

impl fmt::Display for ServerSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            timeout,
            load_shed,
            bulkhead,
        } = self;
        lines(f, &[line(timeout), line(load_shed), line(bulkhead)])
    }
}
