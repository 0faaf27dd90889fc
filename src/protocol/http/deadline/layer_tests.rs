use std::convert::Infallible;
use std::time::Duration;

use http::Request;
use tower::{Service, ServiceExt, service_fn};

use super::*;
use crate::layers::timeout::TimeoutLayer;
use crate::vocabulary::{reason::Reason, rejection::Rejection};

/// The number of headers that a request with this limit arrives with, 50 ms later.
async fn arrives(layer: DeadlineLayer, millis: u64) -> Result<usize, Rejection> {
    let behind = layer.layer(service_fn(async |request: Request<()>| {
        Ok::<_, Infallible>(request.headers().len())
    }));
    // 50 ms pass before the deadline layer. The time limit checks only when it is polled.
    let late = service_fn(move |request| {
        let mut behind = behind.clone();
        async move {
            tokio::time::advance(Duration::from_millis(50)).await;
            behind.ready().await?.call(request).await
        }
    });
    let within = TimeoutLayer::new(Duration::from_millis(millis));
    let mut service = within.layer(late);
    service.ready().await?.call(Request::new(())).await
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_is_off_writes_and_rejects_nothing() {
    let on = arrives(DeadlineLayer::new(), 100).await;
    assert_eq!(on.unwrap(), 1);
    let on = arrives(DeadlineLayer::new(), 50).await.unwrap_err();
    assert_eq!(on.reason(), Reason::DeadlinePassed);
    for millis in [100, 50] {
        let off = arrives(DeadlineLayer::off(), millis).await;
        assert_eq!(off.unwrap(), 0);
    }
}
