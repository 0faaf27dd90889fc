//! The four kinds of calls, with a lot in them and with nothing.

use futures::channel::mpsc;
use futures::{SinkExt as _, StreamExt as _, stream};
use mainstay::BoxError;
use tonic::Streaming;

use super::{GROUP, Peer, case, plan, same};
use crate::cases::Outcome;
use crate::proto::{Call, Reply};
use crate::stacks::Calling;

const MEGABYTE: usize = 1 << 20;

pub(super) async fn run(peer: &Peer) {
    let name = "a single message of one megabyte goes there and back";
    case(GROUP, name, unary(peer)).await;
    let name = "a stream of replies: one megabyte, and none";
    case(GROUP, name, replies(peer)).await;
    let name = "a stream of requests: one megabyte, and none";
    case(GROUP, name, requests(peer)).await;
    let name = "both at once: one megabyte, and none";
    case(GROUP, name, both(peer)).await;
    let name = "both at once: each reply comes before the next request is sent";
    case(GROUP, name, in_turn(peer)).await;
}

/// So many messages of 4 KiB each.
fn calls(count: usize) -> Vec<Call> {
    let call = Call {
        payload: vec![b'y'; 4096],
        ..plan()
    };
    vec![call; count]
}

async fn collect(mut replies: Streaming<Reply>) -> Result<Vec<Reply>, BoxError> {
    let mut all = Vec::new();
    while let Some(reply) = replies.message().await? {
        all.push(reply);
    }
    Ok(all)
}

async fn unary(peer: &Peer) -> Outcome {
    let (mut stub, _) = peer.stub(Calling::default())?;
    let call = Call {
        payload: (0..MEGABYTE).map(|number| number as u8).collect(),
        ..plan()
    };
    let reply = stub.unary(call.clone()).await?.into_inner();
    same("bytes", reply.payload.len(), MEGABYTE)?;
    same("payload is the same", reply.payload == call.payload, true)
}

async fn replies(peer: &Peer) -> Outcome {
    let (mut stub, _) = peer.stub(Calling::default())?;
    let call = Call {
        messages: 256,
        size: 4096,
        ..plan()
    };
    let replies = collect(stub.server_stream(call).await?.into_inner()).await?;
    let numbers: Vec<_> = replies.iter().map(|reply| reply.messages).collect();
    same("messages", numbers, (1..=256).collect::<Vec<_>>())?;
    let bytes: usize = replies.iter().map(|reply| reply.payload.len()).sum();
    same("bytes", bytes, MEGABYTE)?;
    let none = collect(stub.server_stream(plan()).await?.into_inner()).await?;
    same("messages", none.len(), 0)
}

async fn requests(peer: &Peer) -> Outcome {
    let (mut stub, _) = peer.stub(Calling::default())?;
    for count in [256, 0] {
        let reply = stub.client_stream(stream::iter(calls(count))).await?;
        let reply = reply.into_inner();
        same("messages", reply.messages as usize, count)?;
        same("bytes", reply.bytes as usize, count * 4096)?;
    }
    Ok(())
}

async fn both(peer: &Peer) -> Outcome {
    let (mut stub, _) = peer.stub(Calling::default())?;
    for count in [256, 0] {
        let replies = stub.bidi(stream::iter(calls(count))).await?.into_inner();
        let replies = collect(replies).await?;
        same("messages", replies.len(), count)?;
        let bytes: usize = replies.iter().map(|reply| reply.payload.len()).sum();
        same("bytes", bytes, count * 4096)?;
    }
    Ok(())
}

async fn in_turn(peer: &Peer) -> Outcome {
    let (mut stub, _) = peer.stub(Calling::default())?;
    let (mut sender, requests) = mpsc::channel(0);
    let call = |number: u8| Call {
        payload: vec![number],
        ..plan()
    };
    // grpcio sends the head of its response with the first reply, so that one request must be on its way.
    let first = async { sender.send(call(0)).await };
    let (sent, response) = tokio::join!(first, stub.bidi(requests));
    sent?;
    let mut replies = response?.into_inner();
    for number in 0..5 {
        let reply = replies.next().await.ok_or("the stream ended")??;
        same("payload", reply.payload, [number])?;
        sender.send(call(number + 1)).await?;
    }
    Ok(())
}
