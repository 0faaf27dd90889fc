//! What the layers know at the moment, as their handles tell it.

use mainstay::stack::{ClientStack, Protocol, ServerStack};
use serde::Serialize;

use crate::clients::{Catalog, Pricing};

/// What there is to ask.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) catalog: Catalog,
    pub(crate) pricing: Pricing,
    pub(crate) servers: Vec<ServerStack>,
}

#[derive(Serialize)]
pub(crate) struct Snapshot {
    clients: Vec<Client>,
    servers: Vec<Server>,
}

#[derive(Serialize)]
struct Client {
    name: String,
    circuit_breaker: Circuit,
    bulkhead: Places,
    retry: Retry,
}

#[derive(Serialize)]
struct Circuit {
    state: &'static str,
    calls: u64,
    failures: u64,
    slow_calls: u64,
    opened: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u128>,
}

#[derive(Serialize)]
struct Places {
    in_flight: u32,
    limit: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<u32>,
}

#[derive(Serialize)]
struct Retry {
    budget_balance: Option<u64>,
}

#[derive(Serialize)]
struct Server {
    name: String,
    load_shed: Places,
    bulkhead: Places,
}

impl Sources {
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            clients: vec![client(&self.catalog.stack), client(&self.pricing.stack)],
            servers: self.servers.iter().map(server).collect(),
        }
    }
}

fn client<P: Protocol>(stack: &ClientStack<P>) -> Client {
    let circuit = stack.circuit_breaker().snapshot();
    let bulkhead = stack.bulkhead();
    Client {
        name: stack.describe().name().to_owned(),
        circuit_breaker: Circuit {
            state: circuit.state.as_str(),
            calls: circuit.calls,
            failures: circuit.failures,
            slow_calls: circuit.slow_calls,
            opened: circuit.opened,
            retry_after_ms: circuit.retry_after.map(|left| left.as_millis()),
        },
        bulkhead: Places {
            in_flight: bulkhead.in_flight(),
            limit: bulkhead.limit(),
            waiting: Some(bulkhead.waiting()),
        },
        retry: Retry {
            budget_balance: stack.retry_budget().map(mainstay::RetryBudget::balance),
        },
    }
}

fn server(stack: &ServerStack) -> Server {
    let (load_shed, bulkhead) = (stack.load_shed(), stack.bulkhead());
    Server {
        name: stack.describe().name().to_owned(),
        load_shed: Places {
            in_flight: load_shed.in_flight(),
            limit: load_shed.limit(),
            waiting: None,
        },
        bulkhead: Places {
            in_flight: bulkhead.in_flight(),
            limit: bulkhead.limit(),
            waiting: Some(bulkhead.waiting()),
        },
    }
}
