//! The cases of a tonic client behind the layers against a server of grpcio, which writes down what it sees.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mainstay::{BoxError, CircuitBreakerHandle};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

use crate::cases::{case, same};
use crate::proto::echo_client::EchoClient;
use crate::proto::watch_client::WatchClient;
use crate::proto::{Call, Entry, Key};
use crate::stacks::{Calling, GrpcStack, grpc_client};

mod answers;
mod deadlines;
mod failures;
mod retries;
mod streams;

const GROUP: &str = "tonic -> grpcio";

/// Not ASCII, and with a percent sign.
const TEXT: &str = "naïve: 100 % of ½ ✓";

/// Against what the cases are run.
struct Peer {
    address: String,
    /// Servers that a case may kill.
    victims: Vec<String>,
    watch: WatchClient<Channel>,
}

type Stub = EchoClient<GrpcStack>;

impl Peer {
    fn stub(&self, calling: Calling) -> Result<(Stub, CircuitBreakerHandle), BoxError> {
        let (stack, circuit) = grpc_client(&self.address, calling)?;
        Ok((EchoClient::new(stack), circuit))
    }

    /// What the server saw of the calls of a plan.
    async fn journal(&self, plan: &Call) -> Result<Vec<Entry>, BoxError> {
        let key = plan.key.clone();
        let entries = self.watch.clone().journal(Key { key }).await?;
        Ok(entries.into_inner().entries)
    }
}

/// A plan of a key that no other has.
fn plan() -> Call {
    static PLAN: AtomicU32 = AtomicU32::new(0);
    Call {
        key: format!("plan-{}", PLAN.fetch_add(1, Ordering::Relaxed)),
        ..Call::default()
    }
}

/// A plan that fails with this code: so many first calls, or all where it is 0.
fn failing(code: Code, failures: u32) -> Call {
    Call {
        code: code as u32,
        failures,
        ..plan()
    }
}

/// One attempt, and a circuit that does not open.
fn once() -> Calling {
    Calling {
        attempts: 1,
        failures: 1_000,
        ..Calling::default()
    }
}

/// So long all attempts together take.
fn within(total: u64) -> Calling {
    Calling {
        total: Duration::from_millis(total),
        ..Calling::default()
    }
}

fn status_of<T>(result: Result<Response<T>, Status>) -> Result<Status, BoxError> {
    match result {
        Ok(_) => Err("the call succeeded".into()),
        Err(status) => Ok(status),
    }
}

/// Fails unless the call failed with this code.
fn fails<T>(result: Result<Response<T>, Status>, code: Code) -> Result<Status, BoxError> {
    let status = status_of(result)?;
    same(&format!("code of {status:?}"), status.code(), code)?;
    Ok(status)
}

pub(crate) async fn run(address: &str, victims: Vec<String>) -> Result<(), BoxError> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect_lazy();
    let peer = Peer {
        address: address.to_owned(),
        victims,
        watch: WatchClient::new(channel),
    };
    answers::run(&peer).await;
    streams::run(&peer).await;
    retries::run(&peer).await;
    deadlines::run(&peer).await;
    failures::run(&peer).await;
    Ok(())
}
