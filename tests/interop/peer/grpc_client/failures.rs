//! What breaks: streams half-way, servers, and callers who leave.

use std::time::{Duration, Instant};

use mainstay::{BoxError, State};
use tonic::{Code, Status, Streaming};

use super::{GROUP, Peer, case, failing, fails, once, plan, same};
use crate::cases::{Outcome, between, holds, until};
use crate::proto::echo_client::EchoClient;
use crate::proto::{Call, Reply};
use crate::stacks::{Calling, grpc_client};

pub(super) async fn run(peer: &Peer) {
    let name = "failures open the circuit, and nothing more is sent";
    case(GROUP, name, circuit(peer)).await;
    let name = "streams that fail half-way open the circuit";
    case(GROUP, name, half_way(peer)).await;
    let name = "streams that end well do not open the circuit";
    case(GROUP, name, ends_well(peer)).await;
    let name = "a call that is dropped is cancelled at the server";
    case(GROUP, name, dropped_call(peer)).await;
    let name = "a stream that is dropped half-way is cancelled at the server";
    case(GROUP, name, dropped_stream(peer)).await;
    let name = "a server that is killed in the middle of a call gives UNAVAILABLE";
    case(GROUP, name, killed(peer)).await;
    let name = "a server that is killed in the middle of a stream gives an error, and counts against the circuit";
    case(GROUP, name, killed_stream(peer)).await;
}

/// One attempt, and a circuit that opens after two failures.
fn two_failures() -> Calling {
    Calling {
        failures: 2,
        ..once()
    }
}

/// How a stream ended, and after how many messages.
async fn read(mut replies: Streaming<Reply>) -> (u32, Option<Status>) {
    let mut count = 0;
    loop {
        match replies.message().await {
            Ok(Some(_)) => count += 1,
            Ok(None) => return (count, None),
            Err(status) => return (count, Some(status)),
        }
    }
}

async fn circuit(peer: &Peer) -> Outcome {
    let (mut stub, circuit) = peer.stub(two_failures())?;
    for _ in 0..2 {
        same("circuit", circuit.state(), State::Closed)?;
        fails(stub.unary(failing(Code::Internal, 0)).await, Code::Internal)?;
    }
    same("circuit", circuit.state(), State::Open)?;
    let plan = plan();
    let status = fails(stub.unary(plan.clone()).await, Code::Unavailable)?;
    holds("no pushback", {
        status.metadata().contains_key("grpc-retry-pushback-ms")
    })?;
    same("calls", peer.journal(&plan).await?.len(), 0)
}

async fn half_way(peer: &Peer) -> Outcome {
    let (mut stub, circuit) = peer.stub(two_failures())?;
    for _ in 0..2 {
        same("circuit", circuit.state(), State::Closed)?;
        let plan = Call {
            messages: 2,
            ..failing(Code::Internal, 0)
        };
        let replies = stub.server_stream(plan).await?.into_inner();
        let (count, status) = read(replies).await;
        same("messages", count, 2)?;
        same("code", status.map(|status| status.code()), {
            Some(Code::Internal)
        })?;
    }
    same("circuit", circuit.state(), State::Open)
}

async fn ends_well(peer: &Peer) -> Outcome {
    let (mut stub, circuit) = peer.stub(two_failures())?;
    for code in [Code::Ok, Code::NotFound, Code::InvalidArgument] {
        let plan = Call {
            messages: 2,
            ..failing(code, 0)
        };
        read(stub.server_stream(plan).await?.into_inner()).await;
    }
    same("circuit", circuit.state(), State::Closed)?;
    same("calls counted", circuit.snapshot().calls, 3)?;
    same("failures counted", circuit.snapshot().failures, 0)
}

/// Waits until the server knows that the one call of the plan is cancelled.
async fn is_cancelled(peer: &Peer, plan: &Call) -> Outcome {
    let begun = Instant::now();
    until("the server knows", async || {
        let entries = peer.journal(plan).await?;
        Ok(entries.iter().any(|entry| entry.dropped))
    })
    .await?;
    between("time until the server knew", begun.elapsed(), 0, 500)?;
    let entries = peer.journal(plan).await?;
    same("calls", entries.len(), 1)?;
    same("ended", entries[0].ended, false)
}

async fn dropped_call(peer: &Peer) -> Outcome {
    let (mut stub, _) = peer.stub(Calling::default())?;
    let plan = Call {
        sleep_ms: 4_000,
        ..plan()
    };
    let sent = plan.clone();
    let call = tokio::spawn(async move { stub.unary(sent).await });
    until("the call has begun", async || {
        Ok(peer.journal(&plan).await?.len() == 1)
    })
    .await?;
    call.abort();
    is_cancelled(peer, &plan).await
}

async fn dropped_stream(peer: &Peer) -> Outcome {
    let (mut stub, _) = peer.stub(Calling::default())?;
    let plan = Call {
        messages: 1_000,
        size: 10,
        pause_ms: 20,
        ..plan()
    };
    let mut replies = stub.server_stream(plan.clone()).await?.into_inner();
    replies.message().await?;
    drop(replies);
    is_cancelled(peer, &plan).await
}

/// A stub of a server that may be killed.
fn victim(
    peer: &Peer,
    number: usize,
) -> Result<(super::Stub, mainstay::CircuitBreakerHandle), BoxError> {
    let address = peer.victims.get(number).ok_or("there is no victim")?;
    let (stack, circuit) = grpc_client(address, two_failures())?;
    Ok((EchoClient::new(stack), circuit))
}

async fn killed(peer: &Peer) -> Outcome {
    let (mut stub, circuit) = victim(peer, 0)?;
    stub.unary(plan()).await?;
    let begun = Instant::now();
    let plan = Call {
        die: true,
        ..plan()
    };
    fails(stub.unary(plan.clone()).await, Code::Unavailable)?;
    // There is nobody to connect to any more.
    fails(stub.unary(plan).await, Code::Unavailable)?;
    holds("it took long", begun.elapsed() < Duration::from_secs(1))?;
    same("circuit", circuit.state(), State::Open)
}

async fn killed_stream(peer: &Peer) -> Outcome {
    let (mut stub, circuit) = victim(peer, 1)?;
    let plan = Call {
        die: true,
        messages: 10,
        ..plan()
    };
    let replies = stub.server_stream(plan).await?.into_inner();
    let (count, status) = read(replies).await;
    same("messages", count, 1)?;
    // The body is tonic's own, and so is the code.
    same("code", status.map(|status| status.code()), {
        Some(Code::Unknown)
    })?;
    same("failures counted", circuit.snapshot().failures, 1)
}
