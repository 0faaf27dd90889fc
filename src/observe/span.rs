//! Tracing spans (feature `tracing`). Without the feature they compile to nothing.

use std::fmt;

use crate::runtime::scoped::Scope;
use crate::vocabulary::correlation_id::CorrelationId;
use crate::vocabulary::name::InstanceName;

/// The side of a request, and the name of its span. The names are OpenTelemetry's span kinds; the
/// span of tower-http's `TraceLayer` has the name `request` already.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Side {
    Server,
    Consumer,
    Client,
}

/// An enabled span, or none: entering even a disabled span costs more than a whole layer.
pub(crate) struct InSpan {
    #[cfg(feature = "tracing")]
    span: Option<Box<tracing::Span>>,
}

/// Entered without a borrow.
#[cfg(feature = "tracing")]
pub(crate) type OwnedEntered = Option<tracing::span::EnteredSpan>;
#[cfg(not(feature = "tracing"))]
pub(crate) type OwnedEntered = ();

/// Whether there may be a subscriber for the crate's spans.
#[cfg_attr(not(debug_assertions), inline(always))]
pub(crate) fn are_wanted() -> bool {
    #[cfg(feature = "tracing")]
    return tracing::level_enabled!(tracing::Level::INFO);
    #[cfg(not(feature = "tracing"))]
    false
}

#[cfg(feature = "tracing")]
impl InSpan {
    /// A new span for the request with this ID, and for this instance in a standard stack. The ID
    /// is passed by value: a reference to the one in the future would slow down all calls.
    #[cold]
    pub(crate) fn of_request(
        side: Side,
        id: CorrelationId,
        instance: Option<&InstanceName>,
    ) -> Self {
        // Not `name`: log lines in JSON have the span's own name there.
        let instance = instance.map(InstanceName::name);
        macro_rules! named {
            ($span:literal) => {
                tracing::info_span!(target: "mainstay::correlation", $span, correlation_id = %id, instance)
            };
        }
        Self::of(match side {
            Side::Server => named!("server"),
            Side::Consumer => named!("consumer"),
            Side::Client => named!("client"),
        })
    }

    /// A new span for an attempt; `None` without a subscriber for it.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn of_attempt(instance: &InstanceName, attempt: u32) -> Option<Self> {
        if are_wanted() {
            Self::new_of_attempt(instance, attempt)
        } else {
            None
        }
    }

    #[cold]
    fn new_of_attempt(instance: &InstanceName, attempt: u32) -> Option<Self> {
        let (layer, instance) = (instance.layer(), instance.name());
        let span = Self::of(
            tracing::info_span!(target: "mainstay::retry", "attempt", layer, instance, attempt),
        );
        span.span.is_some().then_some(span)
    }

    /// No span.
    pub(crate) const fn none() -> Self {
        Self { span: None }
    }

    /// The current span.
    pub(crate) fn current() -> Self {
        Self::of(tracing::Span::current())
    }

    fn of(span: tracing::Span) -> Self {
        Self {
            span: (!span.is_disabled()).then(|| Box::new(span)),
        }
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn enter_owned(&self) -> OwnedEntered {
        self.span.as_deref().map(|span| span.clone().entered())
    }
}

#[cfg(not(feature = "tracing"))]
impl InSpan {
    pub(crate) fn of_request(_: Side, _: CorrelationId, _: Option<&InstanceName>) -> Self {
        Self {}
    }

    pub(crate) const fn of_attempt(_: &InstanceName, _: u32) -> Option<Self> {
        None
    }

    pub(crate) const fn none() -> Self {
        Self {}
    }

    pub(crate) fn current() -> Self {
        Self {}
    }

    #[inline]
    pub(crate) fn enter_owned(&self) -> OwnedEntered {}
}

impl Scope for InSpan {
    #[cfg(feature = "tracing")]
    type Entered<'a> = Option<tracing::span::Entered<'a>>;
    #[cfg(not(feature = "tracing"))]
    type Entered<'a> = ();

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn enter(&self) -> Self::Entered<'_> {
        #[cfg(feature = "tracing")]
        return self.span.as_deref().map(tracing::Span::enter);
    }
}

impl fmt::Debug for InSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InSpan")
    }
}
