//! The counts of keys in the snapshot of a layer.

use std::fmt;

use super::group::{Group, Instance};

/// The keys of a layer: see the [module](crate::keyed).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct KeyCounts {
    /// The number of keys that have an instance.
    pub keys: u64,
    /// The most keys that can have one at the same time.
    pub max_keys: u64,
    /// How many instances were dropped in favour of other keys. Their counts are included in
    /// the snapshot.
    pub evicted: u64,
    /// How many calls had a temporary instance of their own, because no other could be dropped.
    /// Their counts are included in the snapshot once the service has called again, or was dropped.
    pub temporary: u64,
}

impl KeyCounts {
    pub(crate) fn of<A: Instance>(group: &Group<A>) -> Self {
        let keys = group.keys();
        Self {
            keys: keys.len() as u64,
            max_keys: keys.limit() as u64,
            evicted: keys.evicted(),
            temporary: keys.temporaries(),
        }
    }
}

impl fmt::Display for KeyCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            keys,
            max_keys,
            evicted,
            temporary,
        } = self;
        write!(f, "{keys} of {max_keys} keys")?;
        if *evicted > 0 {
            write!(f, ", {evicted} evicted")?;
        }
        if *temporary > 0 {
            write!(f, ", {temporary} temporary")?;
        }
        Ok(())
    }
}

/// The name of an instance in a snapshot: `payments`, or `payments [api.example.com]`.
pub(crate) struct NameAndKey<'a>(pub(crate) &'a str, pub(crate) Option<&'a str>);

impl fmt::Display for NameAndKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)?;
        match self.1 {
            Some(key) => write!(f, " [{key}]"),
            None => Ok(()),
        }
    }
}
