//! What the server knows of the time that is left, and what a client does when it is over.

use std::time::{Duration, Instant};

use tonic::{Code, Request};

use super::{GROUP, Peer, case, failing, fails, once, plan, same, within};
use crate::cases::{Outcome, between, holds, until};
use crate::proto::Call;
use crate::stacks::Calling;

pub(super) async fn run(peer: &Peer) {
    let name = "the server sees what the client has left";
    case(GROUP, name, sees_what_is_left(peer)).await;
    let name = "the server sees less at the second attempt";
    case(GROUP, name, sees_less(peer)).await;
    let name = "a limit of the user's own is kept where it is shorter";
    case(GROUP, name, own_shorter(peer)).await;
    let name = "a limit of the user's own is cut where it is longer";
    case(GROUP, name, own_longer(peer)).await;
    let name =
        "a call that takes too long fails with DEADLINE_EXCEEDED, and the server hears of it";
    case(GROUP, name, too_long(peer)).await;
    let name = "an attempt that takes too long fails with DEADLINE_EXCEEDED";
    case(GROUP, name, attempt_too_long(peer)).await;
}

/// What the server had left at each call of the plan.
async fn left(peer: &Peer, plan: &Call) -> Result<Vec<i64>, mainstay::BoxError> {
    let entries = peer.journal(plan).await?;
    Ok(entries.iter().map(|entry| entry.remaining_ms).collect())
}

async fn sees_what_is_left(peer: &Peer) -> Outcome {
    let (mut stub, _) = peer.stub(within(1_500))?;
    let plan = plan();
    stub.unary(plan.clone()).await?;
    let left = left(peer, &plan).await?;
    holds(&format!("left of 1500: {left:?}"), {
        matches!(left[..], [1_000..=1_500])
    })
}

async fn sees_less(peer: &Peer) -> Outcome {
    let (mut stub, _) = peer.stub(within(1_500))?;
    let plan = Call {
        pushback: "300".to_owned(),
        ..failing(Code::Unavailable, 1)
    };
    stub.unary(plan.clone()).await?;
    let left = left(peer, &plan).await?;
    holds(&format!("left of 1500, after 300 more: {left:?}"), {
        matches!(left[..], [first @ 1_000..=1_500, second @ 500..=1_200] if first - second >= 295)
    })
}

async fn own_shorter(peer: &Peer) -> Outcome {
    let (mut stub, _) = peer.stub(Calling::default())?;
    let plan = plan();
    let mut request = Request::new(plan.clone());
    request.set_timeout(Duration::from_millis(700));
    stub.unary(request).await?;
    let left = left(peer, &plan).await?;
    holds(&format!("left of 700: {left:?}"), {
        matches!(left[..], [400..=700])
    })
}

async fn own_longer(peer: &Peer) -> Outcome {
    let (mut stub, _) = peer.stub(within(1_500))?;
    let plan = plan();
    let mut request = Request::new(plan.clone());
    request.set_timeout(Duration::from_secs(60));
    stub.unary(request).await?;
    let left = left(peer, &plan).await?;
    holds(&format!("left of 1500: {left:?}"), {
        matches!(left[..], [1_000..=1_500])
    })
}

async fn too_long(peer: &Peer) -> Outcome {
    let (mut stub, _) = peer.stub(within(300))?;
    ends_with_deadline_exceeded(peer, &mut stub, 300).await
}

async fn attempt_too_long(peer: &Peer) -> Outcome {
    let calling = Calling {
        attempt: Duration::from_millis(200),
        ..once()
    };
    let (mut stub, _) = peer.stub(calling)?;
    ends_with_deadline_exceeded(peer, &mut stub, 200).await
}

async fn ends_with_deadline_exceeded(peer: &Peer, stub: &mut super::Stub, millis: u64) -> Outcome {
    let plan = Call {
        sleep_ms: 4_000,
        ..plan()
    };
    let begun = Instant::now();
    fails(stub.unary(plan.clone()).await, Code::DeadlineExceeded)?;
    between("time", begun.elapsed(), millis, millis + 200)?;
    until("the server knows", async || {
        let entries = peer.journal(&plan).await?;
        Ok(entries.iter().all(|entry| entry.dropped))
    })
    .await?;
    same("calls", peer.journal(&plan).await?.len(), 1)
}
