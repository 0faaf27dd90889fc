//! The classifier of an HTTP or gRPC stack. The type of a custom classifier is erased.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::call::track::{AtResponse, Head};
use crate::protocol::http::{ClassifyEnd, End, EndOfBody, ErasedError, HttpResponse, ResponseHead};
use crate::vocabulary::sealed::Sealed;
use crate::vocabulary::{
    error::WithRejection,
    outcome::{Classify, Verdict},
};

/// The classifier of a standard stack over HTTP or gRPC: the protocol's classifier `C`, unless you
/// [set another one](super#how-a-stack-classifies).
///
/// Clones share a custom classifier. No call allocates.
#[derive(Clone)]
pub struct StackClassifier<C> {
    standard: C,
    custom: Option<CustomClassifier>,
}

/// A custom classifier, one word in size.
#[derive(Clone)]
pub struct CustomClassifier(Arc<Box<dyn DynClassifier>>);

impl CustomClassifier {
    fn new<C>(classifier: C) -> Self
    where
        C: ClassifyEnd + for<'a> Classify<ResponseHead<'a>, ErasedError> + Send + Sync + 'static,
    {
        Self(Arc::new(Box::new(classifier)))
    }

    fn get(&self) -> &dyn DynClassifier {
        &**self.0
    }
}

/// [`Classify`] and [`ClassifyEnd`] of all responses and errors.
trait DynClassifier: Any + Send + Sync {
    fn at_head(&self, head: &ResponseHead<'_>, ended: bool) -> Option<Head<End>>;
    fn at_error(&self, error: &dyn Any) -> Option<Verdict>;
    fn classify(&self, result: Result<&ResponseHead<'_>, &ErasedError>) -> Verdict;
}

impl<C> DynClassifier for C
where
    C: ClassifyEnd + for<'a> Classify<ResponseHead<'a>, ErasedError> + Send + Sync + 'static,
{
    fn at_head(&self, head: &ResponseHead<'_>, ended: bool) -> Option<Head<End>> {
        ClassifyEnd::at_head(self, head, ended)
    }

    fn at_error(&self, error: &dyn Any) -> Option<Verdict> {
        ClassifyEnd::at_error(self, error)
    }

    fn classify(&self, result: Result<&ResponseHead<'_>, &ErasedError>) -> Verdict {
        Classify::classify(self, result)
    }
}

impl<C: Clone + 'static> StackClassifier<C> {
    pub(super) fn new(standard: C, custom: Option<CustomClassifier>) -> Self {
        let any: Option<&dyn Any> = custom.as_ref().map(|custom| custom.get() as _);
        match any.and_then(|any| any.downcast_ref::<C>()) {
            // The protocol's classifier, perhaps with other settings, needs no dynamic dispatch.
            Some(same_type) => Self {
                standard: same_type.clone(),
                custom: None,
            },
            None => Self { standard, custom },
        }
    }
}

impl<C, Res, Err> Classify<Res, Err> for StackClassifier<C>
where
    C: Classify<Res, Err>,
    Res: HttpResponse,
    Err: WithRejection,
{
    #[inline]
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict {
        let Some(custom) = &self.custom else {
            return self.standard.classify(result);
        };
        match result {
            Ok(response) => custom.get().classify(Ok(&ResponseHead::of(response))),
            Err(error) => custom.get().classify(Err(&ErasedError::of(error))),
        }
    }
}

impl<C: ClassifyEnd> ClassifyEnd for StackClassifier<C> {
    #[inline]
    fn at_head(&self, head: &ResponseHead<'_>, ended: bool) -> Option<Head<End>> {
        match &self.custom {
            None => self.standard.at_head(head, ended),
            Some(custom) => custom.get().at_head(head, ended),
        }
    }

    fn at_error(&self, error: &dyn Any) -> Option<Verdict> {
        match &self.custom {
            None => self.standard.at_error(error),
            Some(custom) => custom.get().at_error(error),
        }
    }
}

impl<C> fmt::Debug for StackClassifier<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.custom {
            None => "StackClassifier(standard)",
            Some(_) => "StackClassifier(custom)",
        })
    }
}

impl fmt::Debug for CustomClassifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomClassifier(..)")
    }
}

/// The tracker of a load shedder's or circuit breaker's builder, as a standard stack accepts it.
///
/// This trait is sealed: only mainstay implements it.
#[diagnostic::on_unimplemented(
    message = "a standard stack cannot classify responses by a `{Self}`",
    note = "it accepts `classify_head(|head| ...)`, or `tracker(EndOfBody::new(classifier))` with a `ClassifyEnd` that is `Send`, `Sync` and `'static`; for any other classifier, combine the layers yourself"
)]
pub trait StackTracker: Sealed {
    /// The classifier, if one was set.
    #[doc(hidden)]
    fn classifier(self) -> Option<CustomClassifier>;
}

impl Sealed for AtResponse {}

/// The default of the builders: no classifier was set.
impl StackTracker for AtResponse {
    fn classifier(self) -> Option<CustomClassifier> {
        None
    }
}

impl<C> Sealed for EndOfBody<C> {}

impl<C> StackTracker for EndOfBody<C>
where
    C: ClassifyEnd + for<'a> Classify<ResponseHead<'a>, ErasedError> + Send + Sync + 'static,
{
    fn classifier(self) -> Option<CustomClassifier> {
        Some(CustomClassifier::new(self.0))
    }
}
