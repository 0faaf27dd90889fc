//! How a call went, in the four words that every policy understands.

/// How a call went.
///
/// A classifier says which; a policy counts it. `Cancelled` is what a policy records by itself when
/// the caller dropped the call before it had a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The call did what it should.
    Success,
    /// The call failed in a way that says something about the health of what was called.
    Failure,
    /// The call says nothing about health (a bad request, say): it is as if it had not been made.
    Ignored,
    /// The caller went away before there was a result.
    Cancelled,
}
