//! Runs the sagas: one task for each order that has not come to its end.
//!
//! A step is repeated with back-off until it is answered. Each repetition has its own time limit. A
//! step that nobody has answered for [`PATIENCE`] after the order was placed is given up, and the
//! order is compensated. Compensations are repeated until they are done.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use mainstay::shutdown::Shutdown;
use mainstay::{Backoff, Context, CorrelationId};
use metrics::{counter, gauge, histogram};
use serde_json::json;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::Instrument;

use super::order::Order;
use super::store::Orders;
use crate::message::{Code, Failure, Message};
use crate::saga::{Answer, State, Step};
use crate::services::payments::{Charge, Refund};
use crate::services::stock::{OfOrder, Reserve};
use crate::stacks::Messages;

/// How long after it was placed an order may wait for its stock and its payment.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The time limit of a step, with all attempts of the client's stack.
pub const STEP: Duration = Duration::from_millis(1_500);
/// The longest pause that an upstream can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often orders are looked for whose sagas do not run.
const SWEEP: Duration = Duration::from_secs(2);
/// The most steps in flight.
const IN_FLIGHT: usize = 256;

/// The sagas of this process. Clones share them.
#[derive(Debug, Clone)]
pub struct Sagas(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    orders: Orders,
    stock: Messages,
    payments: Messages,
    running: Mutex<Open>,
    tasks: TaskTracker,
    room: Semaphore,
    outbox: Arc<Notify>,
    shutdown: Shutdown,
}

/// The sagas that run.
#[derive(Debug, Default)]
struct Open {
    orders: HashMap<String, watch::Receiver<Progress>>,
    of_users: HashMap<String, usize>,
}

impl Open {
    fn insert(&mut self, order: &Order, progress: watch::Receiver<Progress>) {
        self.orders.insert(order.id.clone(), progress);
        *self.of_users.entry(order.user.clone()).or_default() += 1;
        self.show();
    }

    fn remove(&mut self, id: &str) {
        let Some(progress) = self.orders.remove(id) else {
            return;
        };
        let user = &progress.borrow().order.user;
        if let Some(open) = self.of_users.get_mut(user) {
            *open -= 1;
            if *open == 0 {
                self.of_users.remove(user);
            }
        }
        self.show();
    }

    fn show(&self) {
        gauge!("shop_sagas_open").set(count(self.orders.len()));
    }
}

/// How far an order is.
#[derive(Debug, Clone)]
pub struct Progress {
    /// The order, as it was stored last.
    pub order: Order,
    /// Why its step is being repeated.
    pub waiting_for: Option<String>,
}

impl Sagas {
    /// Sagas over these services. `outbox` is told of new events.
    #[must_use]
    pub fn new(
        orders: Orders,
        (stock, payments): (Messages, Messages),
        outbox: Arc<Notify>,
        shutdown: &Shutdown,
    ) -> Self {
        Self(Arc::new(Shared {
            orders,
            stock,
            payments,
            running: Mutex::default(),
            tasks: TaskTracker::new(),
            room: Semaphore::new(IN_FLIGHT),
            outbox,
            shutdown: shutdown.clone(),
        }))
    }

    /// Goes on with all orders that the last process left. Then, for as long as it is polled, with those
    /// that were stored although nobody knows: their request was dropped, or the connection to the
    /// database was lost, before their saga could start.
    ///
    /// # Errors
    ///
    /// The database failed at the start.
    pub async fn sweep(&self) -> Result<Infallible, Failure> {
        self.start_all(Duration::ZERO).await?;
        loop {
            sleep(SWEEP).await;
            if let Err(failure) = self.start_all(SWEEP).await {
                tracing::warn!(%failure, "orders are not read");
            }
        }
    }

    /// Starts those that do not run and are at least this old.
    async fn start_all(&self, least: Duration) -> Result<(), Failure> {
        let unfinished = self.0.orders.unfinished().await?;
        let mut count = 0_u32;
        for order in unfinished {
            // A request that has stored it a moment ago starts it itself. One from the future was
            // stored before the clock was set back.
            let is_young = age(&order) < least && order.placed_at <= now();
            if !is_young && !self.lock().orders.contains_key(&order.id) {
                count += 1;
                self.start(order, false);
            }
        }
        if count > 0 {
            tracing::info!(count, "sagas go on");
        }
        Ok(())
    }

    /// Starts the saga of an order that is stored, unless it runs already. The progress ends with the
    /// end of the order. `is_new` says that nobody else can have changed it.
    pub fn start(&self, order: Order, is_new: bool) -> watch::Receiver<Progress> {
        let mut running = self.lock();
        if let Some(progress) = running.orders.get(&order.id) {
            return progress.clone();
        }
        let (id, is_end) = (order.id.clone(), order.state.is_end());
        let context = order.correlation_id.parse::<CorrelationId>();
        let context = context.map_or_else(
            |_| Context::default(),
            |id| Context::default().with_correlation_id(id),
        );
        let span = tracing::info_span!(
            parent: None,
            "saga",
            correlation_id = %order.correlation_id,
            order = %order.id,
        );
        let (progress, watched) = watch::channel(Progress {
            order,
            waiting_for: None,
        });
        if is_end {
            return watched;
        }
        running.insert(&progress.borrow().order, watched.clone());
        drop(running);
        let running = Running(self.clone(), id);
        let run = async move {
            let Running(sagas, _) = &running;
            if is_new || sagas.reread(&progress).await.is_some() {
                sagas.run(&progress).await;
            }
        };
        self.0.tasks.spawn(context.scope(run.instrument(span)));
        watched
    }

    /// How many orders have not come to their end: of all users, and of this one.
    #[must_use]
    pub fn open(&self, user: &str) -> (usize, usize) {
        let running = self.lock();
        let of_user = running.of_users.get(user).copied();
        (running.orders.len(), of_user.unwrap_or_default())
    }

    /// Waits for the steps in flight of a service that ends. Their orders go on at the next start.
    pub async fn stopped(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        let running = &self.0.running;
        running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads an order once more, now that nobody else changes it. A saga may have ended since it was
    /// read. `None` at the end of the process.
    async fn reread(&self, progress: &watch::Sender<Progress>) -> Option<()> {
        let id = progress.borrow().order.id.clone();
        let mut pauses = Pauses::new();
        loop {
            match self.0.orders.get(&id).await {
                Ok(Some(order)) => {
                    progress.send_modify(|progress| progress.order = order);
                    return Some(());
                }
                Ok(None) => return None,
                Err(failure) => tracing::warn!(%failure, "the order is not read"),
            }
            self.pause(pauses.next(None)).await?;
        }
    }

    async fn run(&self, progress: &watch::Sender<Progress>) {
        let began = Instant::now();
        let mut undoing: Option<Undoing> = None;
        loop {
            let order = progress.borrow().order.clone();
            let Some(step) = order.state.next() else {
                return;
            };
            if matches!(step, Step::Refund | Step::Release) {
                undoing.get_or_insert_with(Undoing::begin);
            }
            let answered = self.until_answered(progress, &order, (step, began)).await;
            let Some((answer, reason)) = answered else {
                return;
            };
            let mut next = order.clone();
            next.state = order.state.after(answer);
            if answer != Answer::Done && next.reason.is_none() {
                next.reason = reason;
            }
            match self.store(progress, &next, order.state).await {
                Some(true) => {}
                // Another process goes on with it, or the end of this one has begun.
                Some(false) | None => return,
            }
            tracing::info!(state = next.state.as_str(), reason = next.reason, "order");
            if next.state.is_end() {
                ended(&next, began);
            }
            if next.event().is_some() {
                self.0.outbox.notify_one();
            }
            progress.send_modify(|progress| {
                progress.order = next;
                progress.waiting_for = None;
            });
        }
    }

    /// Repeats a step until it is answered, or until its time is over. `None` at the end of the
    /// process.
    async fn until_answered(
        &self,
        progress: &watch::Sender<Progress>,
        order: &Order,
        (step, began): (Step, Instant),
    ) -> Option<(Answer, Option<String>)> {
        let mut pauses = Pauses::new();
        loop {
            let failure = match self.ask(order, step).await {
                Ok(()) => return Some((Answer::Done, None)),
                Err(failure) if failure.code == Code::Declined => {
                    return Some((Answer::Declined, Some(failure.message)));
                }
                Err(failure) => failure,
            };
            counter!("shop_step_failures_total", "step" => step.as_str()).increment(1);
            let may_give_up = matches!(step, Step::Reserve | Step::Charge);
            let is_over = is_over(age(order), began.elapsed()) || !failure.code.is_transient();
            if may_give_up && is_over {
                tracing::warn!(%failure, step = step.as_str(), "given up");
                let what = match step {
                    Step::Charge => "the payment was not possible in time",
                    _ => "the stock could not be asked in time",
                };
                return Some((Answer::Unknown, Some(what.to_owned())));
            }
            let after = failure.retry_after_ms.map(Duration::from_millis);
            let why = shown(step, failure);
            progress.send_modify(|progress| progress.waiting_for = Some(why));
            self.pause(pauses.next(after)).await?;
        }
    }

    /// One call of the service of a step.
    async fn ask(&self, order: &Order, step: Step) -> Result<(), Failure> {
        let Ok(_room) = self.0.room.acquire().await else {
            return Err(Failure::new(Code::NotSent, "the process ends"));
        };
        let id = order.id.clone();
        let (service, pattern, payload) = match step {
            Step::Reserve => {
                let items = order.items.clone();
                let reserve = json!(Reserve { order: id, items });
                (&self.0.stock, "stock.reserve", reserve)
            }
            Step::Charge => {
                let (user, amount) = (order.user.clone(), order.total);
                let charge = json!(Charge {
                    order: id,
                    user,
                    amount
                });
                (&self.0.payments, "payments.charge", charge)
            }
            Step::Confirm => (&self.0.stock, "stock.confirm", json!(OfOrder { order: id })),
            Step::Refund => (
                &self.0.payments,
                "payments.refund",
                json!(Refund { order: id }),
            ),
            Step::Release => (&self.0.stock, "stock.release", json!(OfOrder { order: id })),
        };
        let call = service.clone().oneshot(Message::request(pattern, payload));
        call.await.map(drop)
    }

    /// Stores a new state. A database that fails is tried again. `None` at the end of the process.
    async fn store(
        &self,
        progress: &watch::Sender<Progress>,
        next: &Order,
        from: State,
    ) -> Option<bool> {
        let mut pauses = Pauses::new();
        loop {
            match self.0.orders.advance(next, from).await {
                Ok(true) => return Some(true),
                // It may be our own change, whose answer was lost.
                Ok(false) => match self.0.orders.get(&next.id).await {
                    Ok(Some(stored)) => return Some(stored.state == next.state),
                    Ok(None) => return Some(false),
                    Err(failure) => tracing::warn!(%failure, "the order is not read"),
                },
                Err(_) => {
                    let why = "the database of orders".to_owned();
                    progress.send_modify(|progress| progress.waiting_for = Some(why));
                }
            }
            self.pause(pauses.next(None)).await?;
        }
    }

    /// `None` at the end of the process.
    async fn pause(&self, pause: Duration) -> Option<()> {
        tokio::select! {
            () = sleep(pause) => Some(()),
            () = self.0.shutdown.closing() => None,
        }
    }
}

/// A saga that runs. Also after a panic it does not run any more, so that the next sweep starts it.
struct Running(Sagas, String);

impl Drop for Running {
    fn drop(&mut self) {
        let Self(sagas, id) = self;
        sagas.lock().remove(id);
    }
}

/// The waits between the repetitions of a step.
struct Pauses {
    backoff: Backoff,
    number: u32,
    last: Option<Duration>,
}

impl Pauses {
    fn new() -> Self {
        let backoff = Backoff::exponential(Duration::from_millis(50)).cap(Duration::from_secs(2));
        Self {
            backoff,
            number: 0,
            last: None,
        }
    }

    /// At least as long as the upstream has asked for.
    fn next(&mut self, least: Option<Duration>) -> Duration {
        self.number = self.number.saturating_add(1);
        let pause = self.backoff.delay(self.number, self.last, rand::random());
        self.last = Some(pause);
        // With some of the random part, so that not all come back at the same time.
        least.map_or(pause, |least| {
            least.min(LONGEST_PAUSE).max(pause) + pause / 2
        })
    }
}

/// What a customer may know of a failure: not the addresses and errors of transports.
fn shown(step: Step, failure: Failure) -> String {
    let service = match step {
        Step::Reserve | Step::Confirm | Step::Release => "stock",
        Step::Charge | Step::Refund => "payments",
    };
    match failure.code {
        Code::Overloaded | Code::DeadlineExceeded => failure.message,
        _ => {
            // Each order repeats its step: warnings would be thousands a second in an outage, which
            // the layers and the circuits report.
            tracing::debug!(%failure, service, "no answer");
            format!("{service} gives no answer")
        }
    }
}

/// Whether an order has waited for too long: since it was placed, by the clock, and since this process
/// goes on with it. A clock that is an hour ahead gives up no order at once, and one that is an hour
/// behind keeps none waiting.
fn is_over(age: Duration, running: Duration) -> bool {
    running > PATIENCE || (age > PATIENCE && running > PATIENCE / 3)
}

/// How long ago it was placed.
fn age(order: &Order) -> Duration {
    let age = now().saturating_sub(order.placed_at);
    Duration::from_millis(u64::try_from(age).unwrap_or(0))
}

/// In milliseconds since 1970.
#[must_use]
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// An order that is being compensated.
struct Undoing(Instant);

impl Undoing {
    fn begin() -> Self {
        gauge!("shop_compensations_open").increment(1);
        Self(Instant::now())
    }
}

impl Drop for Undoing {
    fn drop(&mut self) {
        gauge!("shop_compensations_open").decrement(1);
        histogram!("shop_compensation_seconds").record(self.0.elapsed().as_secs_f64());
    }
}

fn ended(order: &Order, began: Instant) {
    counter!("shop_orders_total", "state" => order.state.as_str()).increment(1);
    histogram!("shop_saga_seconds").record(began.elapsed().as_secs_f64());
}

fn count(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}
