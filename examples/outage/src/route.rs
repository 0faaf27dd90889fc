//! The gateway's two routes.

/// A route of the gateway, each with an upstream of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Its upstream suffers the outage.
    Catalog,
    /// Its upstream is healthy all the time.
    Pricing,
}

impl Route {
    pub(crate) const COUNT: usize = 2;
    pub(crate) const ALL: [Self; Self::COUNT] = [Self::Catalog, Self::Pricing];

    /// The name of its upstream.
    pub(crate) fn upstream(self) -> &'static str {
        match self {
            Self::Catalog => "catalog",
            Self::Pricing => "pricing",
        }
    }

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Catalog => "/catalog",
            Self::Pricing => "/pricing",
        }
    }

    /// The index of this route in an array of all routes.
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}
