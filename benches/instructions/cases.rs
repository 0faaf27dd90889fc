//! The cases by name, each with the bare service that is subtracted.

use mainstay::BoxError;

use crate::services::Work;
use crate::{http, layers};

/// A service that is called in a loop.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The case whose counts are subtracted; `None` for a bare service.
    pub(crate) over: Option<&'static str>,
    pub(crate) work: fn() -> Result<Work, BoxError>,
}

impl Case {
    pub(crate) const fn bare(name: &'static str, work: fn() -> Result<Work, BoxError>) -> Self {
        Self {
            name,
            over: None,
            work,
        }
    }

    pub(crate) const fn over(
        bare: &'static str,
        name: &'static str,
        work: fn() -> Result<Work, BoxError>,
    ) -> Self {
        Self {
            name,
            over: Some(bare),
            work,
        }
    }
}

pub(crate) fn all() -> Vec<Case> {
    let mut cases = layers::all();
    cases.extend(http::all());
    cases
}

pub(crate) fn find(name: &str) -> Result<Work, BoxError> {
    let case = all().into_iter().find(|case| case.name == name);
    (case
        .ok_or_else(|| format!("there is no case {name:?}"))?
        .work)()
}
