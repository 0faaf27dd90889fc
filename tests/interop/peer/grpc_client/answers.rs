//! Codes, messages, details and metadata.

use mainstay::Context;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request};

use super::{GROUP, Peer, TEXT, case, failing, once, plan, same, status_of};
use crate::cases::{Outcome, holds};
use crate::proto::Call;
use crate::stacks::Calling;

pub(super) async fn run(peer: &Peer) {
    case(GROUP, "every code arrives as it is", codes(peer)).await;
    case(GROUP, "grpc-status-details-bin arrives", details(peer)).await;
    let name = "custom metadata goes there and back, binary metadata, too";
    case(GROUP, name, metadata(peer)).await;
    let name = "trailing metadata of a failure arrives";
    case(GROUP, name, trailing(peer)).await;
    let name = "the correlation ID of the context reaches the server";
    case(GROUP, name, correlation(peer)).await;
}

async fn codes(peer: &Peer) -> Outcome {
    let (mut stub, _) = peer.stub(once())?;
    stub.unary(plan()).await?;
    for number in 1..=16 {
        let code = Code::from_i32(number);
        let failing = Call {
            message: TEXT.to_owned(),
            ..failing(code, 0)
        };
        let status = status_of(stub.unary(failing).await)?;
        same("code", status.code(), code)?;
        same("message", status.message(), TEXT)?;
    }
    Ok(())
}

async fn details(peer: &Peer) -> Outcome {
    let (mut stub, _) = peer.stub(once())?;
    let details: Vec<u8> = (0..=255).collect();
    let failing = Call {
        details: details.clone(),
        ..failing(Code::FailedPrecondition, 0)
    };
    let status = status_of(stub.unary(failing).await)?;
    same("details", status.details(), details)
}

async fn metadata(peer: &Peer) -> Outcome {
    let (mut stub, _) = peer.stub(once())?;
    let bytes: Vec<u8> = (0..=255).collect();
    let mut request = Request::new(plan());
    let metadata = request.metadata_mut();
    metadata.insert("x-custom", "a, b; c".parse()?);
    metadata.insert_bin("x-custom-bin", MetadataValue::from_bytes(&bytes));
    let response = stub.unary(request).await?;
    let text = response.metadata().get("x-custom");
    same("text", text.map(MetadataValue::to_str).transpose()?, {
        Some("a, b; c")
    })?;
    let binary = response.metadata().get_bin("x-custom-bin");
    let binary = binary.map(MetadataValue::to_bytes).transpose()?;
    same("binary", binary.as_deref(), Some(&*bytes))?;
    let seen = response.into_inner().metadata;
    same("seen", seen.get("x-custom").map(String::as_str), {
        Some("a, b; c")
    })
}

async fn trailing(peer: &Peer) -> Outcome {
    let (mut stub, _) = peer.stub(once())?;
    let mut failing = failing(Code::NotFound, 0);
    let because = ("x-why".to_owned(), "because".to_owned());
    failing.trailing.extend([because]);
    let status = status_of(stub.unary(failing).await)?;
    let why = status.metadata().get("x-why");
    same("x-why", why.map(MetadataValue::to_str).transpose()?, {
        Some("because")
    })
}

async fn correlation(peer: &Peer) -> Outcome {
    let (mut stub, _) = peer.stub(Calling::default())?;
    let plan = failing(Code::Unavailable, 1);
    let context = Context::current().with_correlation_id("order-4711".parse()?);
    // Whether it is retried is another case.
    drop(context.scope(stub.unary(plan.clone())).await);
    let entries = peer.journal(&plan).await?;
    holds("the server saw no call", !entries.is_empty())?;
    for entry in entries {
        same("ID", &*entry.correlation_id, "order-4711")?;
    }
    Ok(())
}
