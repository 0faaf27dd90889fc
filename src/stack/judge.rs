//! How a standard stack judges responses: one type for every way there is, so that the stack has no type parameter for it.

use std::fmt;
use std::sync::Arc;

use crate::grpc::GrpcClassifier;
use crate::http::{
    ClassifyEnd, ClassifyHead, End, EndOfBody, HeadVerdict, HttpClassifier, HttpResponse,
    ResponseHead,
};
use crate::{AtResponse, Classify, Head, Verdict, WithRejection};

/// How the layers of a standard stack judge responses, and how long they follow them: to the end of the body.
pub type Tracker = EndOfBody<Judge>;

/// The classifier of a standard stack: that of HTTP, that of gRPC, or a closure over heads.
#[derive(Clone)]
pub struct Judge(By);

#[derive(Clone)]
enum By {
    Http,
    Grpc(GrpcClassifier),
    /// Boxed once more, because a call carries one of these for each layer: so it is two words.
    Closure(Arc<Box<Closure>>),
}

type Closure = dyn Fn(&ResponseHead<'_>) -> Verdict + Send + Sync;

impl Judge {
    pub(super) const HTTP: Tracker = EndOfBody::new(Self(By::Http));
    pub(super) const GRPC: Tracker = EndOfBody::new(Self(By::Grpc(GrpcClassifier::new())));
}

impl<Res, Err> Classify<Res, Err> for Judge
where
    Res: HttpResponse,
    Err: WithRejection + 'static,
{
    #[inline]
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict {
        match (&self.0, result) {
            (By::Grpc(grpc), result) => grpc.classify(result),
            (By::Closure(judge), Ok(response)) => judge(&ResponseHead::of(response)),
            (By::Http, _) | (By::Closure(_), Err(_)) => HttpClassifier.classify(result),
        }
    }
}

impl ClassifyEnd for Judge {
    #[inline]
    fn at_head(&self, head: &ResponseHead<'_>, ended: bool) -> Option<Head<End>> {
        match &self.0 {
            By::Http => HttpClassifier.at_head(head, ended),
            By::Grpc(grpc) => grpc.at_head(head, ended),
            By::Closure(_) => None,
        }
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            By::Http => "Http",
            By::Grpc(_) => "Grpc",
            By::Closure(_) => "Closure",
        })
    }
}

/// A judgement of responses that a standard stack can take over.
#[diagnostic::on_unimplemented(
    message = "a standard stack cannot judge responses by a `{Self}`",
    note = "it takes those of `mainstay::http` and `mainstay::grpc`, and `classify_head(|head| ...)`; for any other, put the layers together by hand"
)]
pub trait Judgement {
    #[doc(hidden)]
    fn judge(self, default: Tracker) -> Tracker;
}

/// Nothing was said of it.
impl Judgement for AtResponse {
    fn judge(self, default: Tracker) -> Tracker {
        default
    }
}

impl Judgement for Tracker {
    fn judge(self, _: Tracker) -> Tracker {
        self
    }
}

impl Judgement for EndOfBody<HttpClassifier> {
    fn judge(self, _: Tracker) -> Tracker {
        Judge::HTTP
    }
}

impl Judgement for EndOfBody<GrpcClassifier> {
    fn judge(self, _: Tracker) -> Tracker {
        EndOfBody(Judge(By::Grpc(self.0)))
    }
}

impl<F, V> Judgement for EndOfBody<Arc<ClassifyHead<F>>>
where
    F: Fn(&ResponseHead<'_>) -> V + Send + Sync + 'static,
    V: HeadVerdict,
{
    fn judge(self, _: Tracker) -> Tracker {
        let EndOfBody(closure) = self;
        let judge = move |head: &ResponseHead<'_>| closure.of_head(head);
        EndOfBody(Judge(By::Closure(Arc::new(Box::new(judge)))))
    }
}
