//! The callers: each places orders, one after the other, and repeats what was refused or not
//! answered, with the same idempotency key, as a careful client does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::books::{End, Promise};
use crate::demo;

/// How much later than its deadline an answer may come. The callers and all services share the
/// processors of one machine, so each may run later than it wants to.
pub(super) const MARGIN: Duration = Duration::from_millis(500);

/// A call without an answer is given up so much after its deadline.
const HANGS: Duration = Duration::from_secs(5);

/// An order that has no answer for so long is given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// The deadlines of callers, in milliseconds.
const DEADLINES: std::ops::RangeInclusive<u64> = 1_000..=3_000;

/// Pauses before a call is repeated: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How a call was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The order is confirmed.
    Confirmed,
    /// The order was compensated: the stock or the money was not there.
    Compensated,
    /// The order is stored, and will come to an end.
    Accepted,
    /// The call can be repeated.
    Refused,
    /// There was no answer.
    Unanswered,
    /// Anything else. No caller has made a mistake, so somebody else has.
    Unexpected,
}

/// A call, and when it was answered after the begin of the drill.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) at: Duration,
    pub(super) took: Duration,
    pub(super) kind: Kind,
}

/// What callers have seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) calls: Vec<Call>,
    pub(super) promises: Vec<Promise>,
    /// Answers that name a full disk as the cause.
    pub(super) full: u64,
    /// Late answers, a sentence for each.
    pub(super) late: Vec<String>,
    /// Unexpected answers, and orders that were given up.
    pub(super) unexpected: Vec<String>,
}

impl Seen {
    pub(super) fn add(&mut self, other: Self) {
        self.calls.extend(other.calls);
        self.promises.extend(other.promises);
        self.full += other.full;
        self.late.extend(other.late);
        self.unexpected.extend(other.unexpected);
    }
}

/// What all callers share.
#[derive(Debug, Clone)]
pub(super) struct Callers {
    pub(super) http: reqwest::Client,
    /// The URL of the gateway.
    pub(super) gateway: String,
    pub(super) seed: u64,
    pub(super) orders: u64,
    pub(super) began: Instant,
    /// The number of the next order.
    pub(super) next: Arc<AtomicU64>,
    /// Orders from this number on wait.
    pub(super) gate: watch::Receiver<u64>,
    /// How many orders have an answer.
    pub(super) answered: Arc<watch::Sender<u64>>,
}

/// An order that a caller wants.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wish {
    user: demo::User,
    key: String,
    items: Vec<(&'static str, u32)>,
    deadline: Duration,
    /// Whether it is asked for once more after its answer, as impatient people do.
    again: bool,
    /// If so, before it: another order, whose caller hangs up after this time and never asks again.
    gives_up: Option<Duration>,
}

/// The wish of this number. The same seed has the same wishes.
fn wish(seed: u64, number: u64, random: &mut StdRng) -> Wish {
    let users = demo::users();
    let user = users.choose(random).cloned();
    let mut items: Vec<(&'static str, u32)> = Vec::new();
    for _ in 0..random.random_range(1..=3) {
        // Mostly of what there is enough, and one in ten of what there may not be.
        let is_scarce = random.random_bool(0.1);
        let some = demo::PRODUCTS
            .iter()
            .filter(|product| (product.stock < 1_000) == is_scarce);
        let some: Vec<_> = some.collect();
        if let Some(product) = some.choose(random)
            && items.iter().all(|(other, _)| *other != product.id)
        {
            items.push((product.id, random.random_range(1..=3)));
        }
    }
    Wish {
        user: user.unwrap_or_else(|| users[0].clone()),
        key: format!("drill-{seed}-{number}"),
        items,
        deadline: Duration::from_millis(random.random_range(DEADLINES)),
        again: random.random_bool(0.05),
        gives_up: random
            .random_bool(0.05)
            .then(|| Duration::from_millis(random.random_range(1..50))),
    }
}

impl Callers {
    /// Places orders until all are placed.
    pub(super) async fn run(mut self) -> Seen {
        let mut seen = Seen::default();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.orders {
                return seen;
            }
            // It is never closed before the end.
            let _ = self.gate.wait_for(|until| number < *until).await;
            // Of its own, so that the wishes do not depend on who places them.
            let mut random = StdRng::seed_from_u64(self.seed.wrapping_mul(1 << 40) ^ number);
            let wish = wish(self.seed, number, &mut random);
            if let Some(after) = wish.gives_up {
                // Whether it is stored is unknown. If it is, it comes to an end.
                let request = self.request(&wish, &format!("{}-gone", wish.key));
                let _ = timeout(after, request.send()).await;
            }
            self.place(&wish, &mut seen, &mut random).await;
            self.answered.send_modify(|answered| *answered += 1);
            if wish.again {
                // If it is refused, there was nothing to repeat.
                self.call(&wish, &mut seen).await;
            }
        }
    }

    /// Until there is an answer that stores the order.
    async fn place(&self, wish: &Wish, seen: &mut Seen, random: &mut StdRng) {
        let began = Instant::now();
        let mut pause = PAUSES.0;
        loop {
            let (kind, hint) = self.call(wish, seen).await;
            match kind {
                Kind::Confirmed | Kind::Compensated | Kind::Accepted | Kind::Unexpected => return,
                Kind::Refused | Kind::Unanswered => {}
            }
            if began.elapsed() > PATIENCE {
                let text = format!("{} has no order after {PATIENCE:?}", wish.key);
                seen.unexpected.push(text);
                return;
            }
            let pause_now = pause.mul_f64(random.random_range(0.5..1.0));
            sleep(pause_now.max(hint.unwrap_or_default())).await;
            pause = (2 * pause).min(PAUSES.1);
        }
    }

    fn request(&self, wish: &Wish, key: &str) -> reqwest::RequestBuilder {
        let items = wish.items.iter();
        let items: Vec<_> = items
            .map(|(product, quantity)| json!({ "product": product, "quantity": quantity }))
            .collect();
        self.http
            .post(format!("{}/orders", self.gateway))
            .header("x-api-key", &wish.user.api_key)
            .header("x-correlation-id", key)
            .header("idempotency-key", key)
            .header(
                "x-request-timeout-ms",
                wish.deadline.as_millis().to_string(),
            )
            .timeout(wish.deadline + HANGS)
            .json(&json!({ "items": items }))
    }

    /// One call. Returns its kind, and when it may be repeated.
    async fn call(&self, wish: &Wish, seen: &mut Seen) -> (Kind, Option<Duration>) {
        let request = self.request(wish, &wish.key);
        let began = Instant::now();
        let answer = async {
            let answer = request.send().await?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            Ok::<_, reqwest::Error>((status, headers, answer.text().await?))
        };
        let answer = answer.await;
        let took = began.elapsed();
        let mut hint = None;
        let kind = match &answer {
            Ok((status, headers, text)) => {
                let after = headers.get(RETRY_AFTER);
                let after = after.and_then(|after| after.to_str().ok()?.parse().ok());
                hint = after.map(Duration::from_secs);
                seen.full += u64::from(text.contains("disk is full"));
                let kind = kind(*status);
                match promise(kind, text, wish) {
                    Some(promise) => seen.promises.push(promise),
                    None if matches!(kind, Kind::Refused) => {}
                    None => {
                        let key = &wish.key;
                        seen.unexpected
                            .push(format!("{key} was answered {status}: {text}"));
                    }
                }
                kind
            }
            Err(error) => {
                // Nobody kills the gateway. Silence is a late answer, which is a book of its own.
                if !error.is_timeout() {
                    let key = &wish.key;
                    seen.unexpected
                        .push(format!("{key} has no answer: {error:?}"));
                }
                Kind::Unanswered
            }
        };
        // A connection that breaks early is no late answer, but silence is.
        if took > wish.deadline + MARGIN {
            seen.late.push(format!(
                "{} was answered after {took:.1?}, and its deadline was {:?} ({})",
                wish.key,
                wish.deadline,
                answer.map_or_else(|error| error.to_string(), |(status, ..)| status.to_string()),
            ));
        }
        let at = self.began.elapsed();
        seen.calls.push(Call { at, took, kind });
        (kind, hint)
    }
}

fn kind(status: StatusCode) -> Kind {
    match status.as_u16() {
        201 => Kind::Confirmed,
        202 => Kind::Accepted,
        409 => Kind::Compensated,
        429 | 502..=504 => Kind::Refused,
        _ => Kind::Unexpected,
    }
}

/// What an answer of this kind promises; `None` if it promises nothing.
fn promise(kind: Kind, text: &str, wish: &Wish) -> Option<Promise> {
    let told = match kind {
        Kind::Confirmed => Some(End::Confirmed),
        Kind::Compensated => Some(End::Compensated),
        Kind::Accepted => None,
        Kind::Refused | Kind::Unanswered | Kind::Unexpected => return None,
    };
    let body: Value = serde_json::from_str(text).ok()?;
    Some(Promise {
        user: wish.user.id.clone(),
        key: wish.key.clone(),
        order: body.get("id")?.as_str()?.to_owned(),
        told,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(number: u64) -> Wish {
        wish(7, number, &mut StdRng::seed_from_u64(number))
    }

    #[test]
    fn wishes_are_varied_and_repeatable() {
        let wishes: Vec<_> = (0..1_000).map(of).collect();
        assert_eq!(wishes, (0..1_000).map(of).collect::<Vec<_>>());
        let count = |is: fn(&Wish) -> bool| wishes.iter().filter(|wish| is(wish)).count();
        assert!((20..100).contains(&count(|wish| wish.user.balance == 0)));
        assert!((20..100).contains(&count(|wish| wish.again)));
        let scarce = |wish: &Wish| {
            let names = ["gesha", "lever-machine", "signed-poster"];
            wish.items
                .iter()
                .any(|(product, _)| names.contains(product))
        };
        assert!((100..300).contains(&count(scarce)));
        assert!(wishes.iter().all(|wish| !wish.items.is_empty()));
    }

    #[test]
    fn only_an_answer_with_an_order_is_a_promise() {
        let wish = of(1);
        let body = r#"{"id":"o-1","state":"charging"}"#;
        let promised = promise(Kind::Accepted, body, &wish).unwrap();
        assert_eq!((&*promised.order, promised.told), ("o-1", None));
        let promised = promise(Kind::Confirmed, body, &wish).unwrap();
        assert_eq!(promised.told, Some(End::Confirmed));
        assert_eq!(promise(Kind::Confirmed, "{}", &wish), None);
        assert_eq!(promise(Kind::Refused, body, &wish), None);
        assert_eq!(kind(StatusCode::NOT_FOUND), Kind::Unexpected);
        assert_eq!(kind(StatusCode::SERVICE_UNAVAILABLE), Kind::Refused);
    }
}
