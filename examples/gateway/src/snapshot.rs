//! The snapshots of all stacks.

use std::collections::BTreeMap;

use mainstay::stack::{ClientSnapshot, ServerSnapshot, ServerStack};
use serde::Serialize;

use crate::clients::{Catalog, Pricing};

/// The stacks.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) catalog: Catalog,
    pub(crate) pricing: Pricing,
    pub(crate) servers: Vec<ServerStack>,
}

#[derive(Serialize)]
pub(crate) struct Snapshot {
    clients: BTreeMap<String, ClientSnapshot>,
    servers: BTreeMap<String, ServerSnapshot>,
}

impl Sources {
    pub(crate) fn snapshot(&self) -> Snapshot {
        let (catalog, pricing) = (&self.catalog.stack, &self.pricing.stack);
        let servers = self.servers.iter();
        Snapshot {
            clients: BTreeMap::from([
                (catalog.describe().name().to_owned(), catalog.snapshot()),
                (pricing.describe().name().to_owned(), pricing.snapshot()),
            ]),
            servers: servers
                .map(|stack| (stack.describe().name().to_owned(), stack.snapshot()))
                .collect(),
        }
    }
}
