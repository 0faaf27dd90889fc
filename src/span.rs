//! The span (feature `tracing`) in which something runs; without the feature it is nothing at all.

use std::fmt;

use crate::CorrelationId;
use crate::scoped::Scope;

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

#[cfg(feature = "tracing")]
impl InSpan {
    /// A new one, for the request of this name.
    #[inline]
    pub(crate) fn of_request(id: &CorrelationId) -> Self {
        if !tracing::level_enabled!(tracing::Level::INFO) {
            return Self::none();
        }
        Self::of(tracing::info_span!("request", correlation_id = %id))
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
    #[inline]
    pub(crate) fn of_request(_: &CorrelationId) -> Self {
        Self {}
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
