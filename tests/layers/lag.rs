//! The task that measures the scheduler's lag: where it runs, and where it does not.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use mainstay::{BulkheadLayer, LoadShedLayer};
use tokio::runtime::{Builder, Handle, Runtime};
use tower::{Layer as _, Service, ServiceExt as _, service_fn};

type Shed = LoadShedLayer;

fn layer() -> Shed {
    LoadShedLayer::builder().build().unwrap()
}

fn service(
    layer: &Shed,
) -> impl Service<u32, Response = u32, Error = mainstay::Rejection, Future: Send> + Clone {
    layer.layer(service_fn(|n: u32| async move { Ok::<_, Infallible>(n) }))
}

async fn call(layer: &Shed) {
    assert_eq!(service(layer).oneshot(7).await.unwrap(), 7);
    assert_eq!(layer.handle().limit(), None);
}

/// The tasks of this runtime.
fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

async fn until_tasks_are(number: usize) {
    let began = Instant::now();
    while tasks() != number {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{} tasks",
            tasks()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn runtimes() -> [Runtime; 2] {
    let mut several = Builder::new_multi_thread();
    several.worker_threads(2).enable_all();
    let mut one = Builder::new_current_thread();
    one.enable_all();
    [several.build().unwrap(), one.build().unwrap()]
}

#[test]
fn there_is_one_for_each_runtime_and_it_ends_with_the_last_layer() {
    for runtime in runtimes() {
        runtime.block_on(async {
            assert_eq!(tasks(), 0);
            let layers = [layer(), layer(), layer()];
            assert_eq!(tasks(), 0, "nobody calls");
            for layer in &layers {
                for _ in 0..10 {
                    call(layer).await;
                }
            }
            assert_eq!(tasks(), 1);
            let [first, second, third] = layers;
            drop((first, second));
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!(tasks(), 1);
            drop(third);
            until_tasks_are(0).await;
            // And it begins again.
            call(&layer()).await;
            assert_eq!(tasks(), 1);
        });
        // It keeps no runtime alive.
        let began = Instant::now();
        drop(runtime);
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn runtimes_that_share_a_layer_have_one_each() {
    let layer = layer();
    let [several, one] = runtimes();
    for runtime in [&several, &one] {
        runtime.block_on(async {
            call(&layer).await;
            assert_eq!(tasks(), 1);
        });
    }
    drop(several);
    one.block_on(async {
        call(&layer).await;
        assert_eq!(tasks(), 1);
        drop(layer);
        until_tasks_are(0).await;
    });
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_has_none() {
    let layer = layer();
    let began = Instant::now();
    for _ in 0..100 {
        call(&layer).await;
        assert_eq!(tasks(), 0);
        tokio::time::sleep(Duration::from_secs(36_000)).await;
    }
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_clock_that_is_paused_later_ends_it() {
    let layer = layer();
    call(&layer).await;
    assert_eq!(tasks(), 1);
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(36_000)).await;
    assert_eq!(tasks(), 0);
    call(&layer).await;
    assert_eq!(tasks(), 0);
    tokio::time::resume();
    call(&layer).await;
    assert_eq!(
        tasks(),
        0,
        "a clock that was moved is no clock to measure by"
    );
}

#[test]
fn a_thread_outside_of_tokio_has_none() {
    let layer = layer();
    for _ in 0..3 {
        futures::executor::block_on(call(&layer));
    }
}

#[test]
fn a_runtime_without_a_time_driver_has_none() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let layer = layer();
    runtime.block_on(async {
        for _ in 0..3 {
            call(&layer).await;
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            assert_eq!(tasks(), 0);
        }
    });
}

#[test]
fn a_runtime_without_a_time_driver_remembers_no_layer() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let used = || {
        for _ in 0..10_000 {
            runtime.block_on(async {
                call(&layer()).await;
                tokio::task::yield_now().await;
            });
        }
    };
    used();
    let counted = allocation_counter::measure(used);
    assert!(counted.bytes_current < 10_000, "{counted:?}");
}

#[tokio::test]
async fn a_limit_that_is_set_needs_none() {
    let fixed = LoadShedLayer::builder().limit(mainstay::Limit::fixed(9));
    let latency = LoadShedLayer::builder().limit(mainstay::Limit::adaptive());
    for layer in [fixed, latency] {
        let layer = layer.build().unwrap();
        assert_eq!(service(&layer).oneshot(7).await.unwrap(), 7);
    }
    let bulkhead = BulkheadLayer::new(3);
    let service = bulkhead.layer(service_fn(|n: u32| async move { Ok::<_, Infallible>(n) }));
    assert_eq!(service.oneshot(7).await.unwrap(), 7);
    assert_eq!(tasks(), 0);
}
