//! The span (feature `tracing`) in which something runs; without the feature it is nothing at all.

use std::fmt;

use crate::runtime::scoped::Scope;
use crate::vocabulary::correlation_id::CorrelationId;
use crate::vocabulary::name::InstanceName;

/// On which side of a request a span is opened. The span has its name: those of OpenTelemetry's kinds, and not `request`, which is the name of the
/// span of tower-http's `TraceLayer` around it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Side {
    Server,
    Consumer,
    Client,
}

/// A span, unless nobody wants it: entering even a disabled one costs more than a whole layer.
pub struct InSpan {
    #[cfg(feature = "tracing")]
    span: Option<Box<tracing::Span>>,
}

/// In it without borrowing it.
#[cfg(feature = "tracing")]
pub(crate) type OwnedEntered = Option<tracing::span::EnteredSpan>;
#[cfg(not(feature = "tracing"))]
pub(crate) type OwnedEntered = ();

/// Whether anybody may be interested in one of ours.
#[cfg_attr(not(debug_assertions), inline(always))]
pub(crate) fn are_wanted() -> bool {
    #[cfg(feature = "tracing")]
    return tracing::level_enabled!(tracing::Level::INFO);
    #[cfg(not(feature = "tracing"))]
    false
}

#[cfg(feature = "tracing")]
impl InSpan {
    /// A new one, for the request with this ID; of this instance, if it is one of a standard stack. The ID is a copy: were the place of the one in the
    /// future known to somebody else, all calls would be slower, also those without a span.
    #[cold]
    pub(crate) fn of_request(
        side: Side,
        id: CorrelationId,
        instance: Option<&InstanceName>,
    ) -> Self {
        let name = instance.map(InstanceName::name);
        macro_rules! named {
            ($span:literal) => {
                tracing::info_span!(target: "mainstay::correlation", $span, correlation_id = %id, name)
            };
        }
        Self::of(match side {
            Side::Server => named!("server"),
            Side::Consumer => named!("consumer"),
            Side::Client => named!("client"),
        })
    }

    /// A new one, for one attempt of this instance; `None` where nobody wants it.
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
        let (layer, name) = (instance.layer(), instance.name());
        let span = Self::of(
            tracing::info_span!(target: "mainstay::retry", "attempt", layer, name, attempt),
        );
        span.span.is_some().then_some(span)
    }

    /// None.
    pub(crate) const fn none() -> Self {
        Self { span: None }
    }

    /// The one that this is running in.
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
