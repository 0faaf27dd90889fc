//! The gateway's two routes.

/// A route of the gateway. Each has its own upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Its upstream has the outage.
    Catalog,
    /// Its upstream is always healthy.
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
