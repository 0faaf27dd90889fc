//! What is tried again, when, and what the server is told of it.

use std::time::Duration;

use futures::stream;
use mainstay::BoxError;
use tonic::Code;

use super::{GROUP, Peer, case, failing, fails, same};
use crate::cases::{Outcome, between};
use crate::proto::{Call, Entry};
use crate::stacks::Calling;

pub(super) async fn run(peer: &Peer) {
    let name = "UNAVAILABLE is retried, and grpc-previous-rpc-attempts says how often before";
    case(GROUP, name, unavailable(peer)).await;
    let name = "UNAVAILABLE that lasts is given back after the last attempt";
    case(GROUP, name, lasting(peer)).await;
    let name = "other codes are not retried";
    case(GROUP, name, other_codes(peer)).await;
    let name = "grpc-retry-pushback-ms of the server is waited out";
    case(GROUP, name, pushback(peer)).await;
    let name = "a grpc-retry-pushback-ms that is negative or none forbids a retry";
    case(GROUP, name, never(peer)).await;
    let name = "a stream of replies is retried before its first message";
    case(GROUP, name, before_messages(peer)).await;
    let name = "a stream of replies is not retried after its first message";
    case(GROUP, name, after_messages(peer)).await;
    let name = "a stream of requests is retried with all its messages";
    case(GROUP, name, client_stream(peer)).await;
    let name = "a stream of requests that is too long to be kept is sent once";
    case(GROUP, name, long_client_stream(peer)).await;
}

fn attempts(entries: &[Entry]) -> Vec<&str> {
    let told = entries.iter().map(|entry| &*entry.previous_attempts);
    told.collect()
}

/// How long after one call the next began, by the server's clock.
fn pause(entries: &[Entry]) -> Result<Duration, BoxError> {
    let [first, second] = entries else {
        return Err(format!("{} calls, not 2", entries.len()).into());
    };
    Ok(Duration::from_millis(second.began_ms - first.began_ms))
}

async fn unavailable(peer: &Peer) -> Outcome {
    let (mut stub, _) = peer.stub(Calling::default())?;
    let plan = Call {
        payload: b"order".to_vec(),
        ..failing(Code::Unavailable, 2)
    };
    let reply = stub.unary(plan.clone()).await?.into_inner();
    same("payload", reply.payload, b"order")?;
    let entries = peer.journal(&plan).await?;
    same("attempts before", attempts(&entries), ["", "1", "2"])
}

async fn lasting(peer: &Peer) -> Outcome {
    let (mut stub, _) = peer.stub(Calling::default())?;
    let plan = failing(Code::Unavailable, 0);
    fails(stub.unary(plan.clone()).await, Code::Unavailable)?;
    same("calls", peer.journal(&plan).await?.len(), 3)
}

async fn other_codes(peer: &Peer) -> Outcome {
    let (mut stub, _) = peer.stub(Calling::default())?;
    for number in (1..=16).filter(|number| *number != Code::Unavailable as i32) {
        let code = Code::from_i32(number);
        let plan = failing(code, 1);
        fails(stub.unary(plan.clone()).await, code)?;
        same("calls", peer.journal(&plan).await?.len(), 1)?;
    }
    Ok(())
}

async fn pushback(peer: &Peer) -> Outcome {
    let (mut stub, _) = peer.stub(Calling::default())?;
    for millis in [300, 120] {
        let plan = Call {
            pushback: millis.to_string(),
            ..failing(Code::Unavailable, 1)
        };
        stub.unary(plan.clone()).await?;
        // The server's clock is cut to whole milliseconds, twice.
        let pause = pause(&peer.journal(&plan).await?)?;
        between("pause", pause, millis - 1, millis + 150)?;
    }
    Ok(())
}

async fn never(peer: &Peer) -> Outcome {
    let (mut stub, _) = peer.stub(Calling::default())?;
    for pushback in ["-1", "soon", "1.5"] {
        let plan = Call {
            pushback: pushback.to_owned(),
            ..failing(Code::Unavailable, 1)
        };
        fails(stub.unary(plan.clone()).await, Code::Unavailable)?;
        same("calls", peer.journal(&plan).await?.len(), 1)?;
    }
    Ok(())
}

async fn before_messages(peer: &Peer) -> Outcome {
    let (mut stub, _) = peer.stub(Calling::default())?;
    let plan = failing(Code::Unavailable, 1);
    let mut replies = stub.server_stream(plan.clone()).await?.into_inner();
    same("message", replies.message().await?, None)?;
    let entries = peer.journal(&plan).await?;
    same("attempts before", attempts(&entries), ["", "1"])
}

async fn after_messages(peer: &Peer) -> Outcome {
    let (mut stub, _) = peer.stub(Calling::default())?;
    let plan = Call {
        messages: 2,
        ..failing(Code::Unavailable, 0)
    };
    let mut replies = stub.server_stream(plan.clone()).await?.into_inner();
    for number in 1..=2 {
        let reply = replies.message().await?.ok_or("the stream ended")?;
        same("message", reply.messages, number)?;
    }
    let status = match replies.message().await {
        Ok(other) => return Err(format!("no failure, but {other:?}").into()),
        Err(status) => status,
    };
    same("code", status.code(), Code::Unavailable)?;
    same("calls", peer.journal(&plan).await?.len(), 1)
}

async fn client_stream(peer: &Peer) -> Outcome {
    let (mut stub, _) = peer.stub(Calling::default())?;
    let plan = Call {
        payload: vec![b'y'; 1_000],
        ..failing(Code::Unavailable, 2)
    };
    let calls = stream::iter(vec![plan.clone(); 5]);
    let reply = stub.client_stream(calls).await?.into_inner();
    same("messages", reply.messages, 5)?;
    same("bytes", reply.bytes, 5_000)?;
    let entries = peer.journal(&plan).await?;
    same("attempts before", attempts(&entries), ["", "1", "2"])
}

async fn long_client_stream(peer: &Peer) -> Outcome {
    let (mut stub, _) = peer.stub(Calling::default())?;
    let plan = Call {
        payload: vec![b'y'; 4096],
        ..failing(Code::Unavailable, 1)
    };
    let calls = stream::iter(vec![plan.clone(); 256]);
    fails(stub.client_stream(calls).await, Code::Unavailable)?;
    same("calls", peer.journal(&plan).await?.len(), 1)
}
