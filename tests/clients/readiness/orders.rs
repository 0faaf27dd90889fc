//! All layers, in any order.

use std::io;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use mainstay::{
    BulkheadLayer, CircuitBreakerLayer, CorrelationLayer, Error, Limit, LoadShedLayer, RetryLayer,
    TimeoutLayer,
};
use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceExt as _};

use super::upstream::Upstream;

type Req = Request<Full<Bytes>>;
type Boxed = BoxCloneService<Req, Response<Body>, Error<io::Error>>;

const LAYERS: usize = 10;

fn around(number: usize, inner: Boxed) -> Boxed {
    fn by<L>(layer: L, inner: Boxed) -> Boxed
    where
        L: Layer<Boxed>,
        L::Service: Service<Req, Response = Response<Body>, Error = Error<io::Error>, Future: Send>
            + Clone
            + Send
            + 'static,
    {
        layer.layer(inner).boxed_clone()
    }
    match number {
        0 => by(CorrelationLayer::client(), inner),
        1 => by(CorrelationLayer::consumer(), inner),
        2 => by(TimeoutLayer::new(Duration::from_secs(9)), inner),
        3 => by(CircuitBreakerLayer::new(), inner),
        4 => by(BulkheadLayer::new(2), inner),
        5 => {
            let queue = BulkheadLayer::builder()
                .limit(2)
                .queue(2, Duration::from_secs(1));
            by(queue.build().unwrap(), inner)
        }
        6 => by(LoadShedLayer::new(Limit::fixed(2)), inner),
        7 => by(LoadShedLayer::on_readiness(), inner),
        8 => by(mainstay::http::DeadlineLayer::new(), inner),
        _ => {
            let never = |_: &Req, _: Result<&Response<Body>, &Error<io::Error>>| false;
            by(
                RetryLayer::builder().retry_if(never).build().unwrap(),
                inner,
            )
        }
    }
}

/// Numbers as good as random, and the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

#[tokio::test(start_paused = true)]
async fn in_any_order_the_error_is_the_answer_to_the_call() {
    let mut random = Random(12);
    for round in 0..300 {
        let upstream: Upstream<Req, _, _> =
            Upstream::new(|| io::Error::other("no wire"), Response::<Body>::default);
        let mut numbers: Vec<usize> = (0..LAYERS).collect();
        for last in (1..LAYERS).rev() {
            numbers.swap(last, random.below(last + 1));
        }
        numbers.truncate(1 + random.below(LAYERS));
        let retried = numbers.contains(&9);
        println!("{round}: {numbers:?}");
        let mut service = upstream.clone().map_err(Error::Inner).boxed_clone();
        for number in numbers {
            service = around(number, service);
        }
        for fails in [1, 0, 100, 0, 1] {
            upstream.fail(fails);
            let calls = upstream.calls();
            std::future::poll_fn(|cx| service.poll_ready(cx))
                .await
                .expect("no error of readiness");
            let answer = service.call(Request::new(Full::default())).await;
            if fails == 0 || retried && fails == 1 {
                assert!(answer.is_ok());
                assert_eq!(upstream.calls(), calls + 1);
            } else {
                let error = answer.map(drop).unwrap_err();
                assert!(matches!(error, Error::Inner(error) if error.to_string() == "no wire"));
                assert_eq!(upstream.calls(), calls);
            }
        }
    }
}
