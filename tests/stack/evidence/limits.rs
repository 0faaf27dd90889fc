//! The same callers in front of an adaptive limit.

use mainstay::{Context, Limit, LoadShedLayer, TimeoutLayer};
use tokio::time::{sleep, timeout};
use tower::{Layer, ServiceExt as _};

use crate::support::{Act, Probe, ms, secs};

fn layer() -> LoadShedLayer {
    let limit = Limit::aimd().initial(100).build().unwrap();
    LoadShedLayer::builder().limit(limit).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn callers_lower_no_limit_and_a_service_that_hangs_does() {
    for inside in [false, true] {
        for (millis, falls) in [(3, false), (900, false), (2_000, true)] {
            for hang_ups in [false, true] {
                let shed = layer();
                let limit = || TimeoutLayer::builder().build().unwrap();
                let service = if inside {
                    tower::util::BoxCloneService::new(shed.layer(limit().layer(Probe::default())))
                } else {
                    tower::util::BoxCloneService::new(limit().layer(shed.layer(Probe::default())))
                };
                let mut tasks = Vec::new();
                for _ in 0..200 {
                    let call = service.clone().oneshot(Act::Hang);
                    tasks.push(tokio::spawn(async move {
                        if hang_ups {
                            let _ = timeout(ms(millis), call).await;
                        } else {
                            let context = Context::current().with_timeout(ms(millis));
                            let _ = context.scope(call).await;
                        }
                    }));
                    sleep(ms(50)).await;
                }
                for task in tasks {
                    task.await.unwrap();
                }
                let shown = format!("inside: {inside}, {millis} ms, hang-ups: {hang_ups}");
                let limit = shed.handle().snapshot().limit;
                assert_eq!(limit < Some(100), falls, "{shown}: {limit:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_route_is_no_overload_to_callers_in_a_hurry() {
    let shed = layer();
    let limit = TimeoutLayer::builder().build().unwrap();
    let service = limit.layer(shed.layer(Probe::default()));
    service
        .clone()
        .oneshot(Act::OkAfter(secs(3)))
        .await
        .unwrap();
    for _ in 0..100 {
        let call = service.clone().oneshot(Act::OkAfter(secs(3)));
        let call = Context::current().with_timeout(ms(1_500)).scope(call);
        tokio::spawn(call);
        sleep(ms(50)).await;
    }
    sleep(secs(3)).await;
    assert!(shed.handle().snapshot().limit >= Some(100));
}

#[tokio::test(start_paused = true)]
async fn the_programs_own_limit_is_overload_in_full() {
    let shed = layer();
    let service = TimeoutLayer::new(ms(400)).layer(shed.layer(Probe::default()));
    for _ in 0..50 {
        assert!(service.clone().oneshot(Act::Hang).await.is_err());
    }
    assert!(shed.handle().snapshot().limit < Some(100));
}
