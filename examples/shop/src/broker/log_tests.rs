use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::message::Kind;

const PATIENCE: Duration = Duration::from_millis(100);

fn event(id: u8) -> Message {
    let mut event = Message::new(Kind::Event, "order.confirmed", json!(id));
    event.id = format!("m{id}");
    event
}

fn ids(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|one| &*one.message.id).collect()
}

#[test]
fn each_group_gets_each_message_and_each_consumer_a_part() {
    let mut log = Log::in_memory().unwrap();
    log.join("orders", "mail").unwrap();
    for id in 0..4 {
        assert!(log.publish("orders", &event(id), 0).unwrap());
    }
    assert!(
        !log.publish("orders", &event(2), 0).unwrap(),
        "published twice"
    );
    // A group that joins later begins with the oldest.
    log.join("orders", "stock").unwrap();
    let mut take = |group, consumer, most| {
        let found = log
            .take(("orders", group, consumer), most, PATIENCE, 7)
            .unwrap();
        ids(&found).join(" ")
    };
    assert_eq!(take("mail", "a", 2), "m0 m1");
    assert_eq!(take("mail", "b", 9), "m2 m3");
    assert_eq!(take("mail", "a", 9), "");
    assert_eq!(take("stock", "c", 9), "m0 m1 m2 m3");
}

#[test]
fn a_group_that_is_not_there_is_an_error() {
    let mut log = Log::in_memory().unwrap();
    log.publish("orders", &event(0), 0).unwrap();
    let unknown = log.take(("orders", "mail", "a"), 9, PATIENCE, 0);
    assert!(
        matches!(unknown, Err(Error::QueryReturnedNoRows)),
        "{unknown:?}"
    );
}

#[test]
fn what_is_not_acknowledged_is_due_again() {
    let mut log = Log::in_memory().unwrap();
    log.join("orders", "mail").unwrap();
    log.publish("orders", &event(0), 1_000).unwrap();
    let first = log
        .take(("orders", "mail", "a"), 9, PATIENCE, 1_010)
        .unwrap();
    assert_eq!(
        (first[0].tries, first[0].age),
        (1, Duration::from_millis(10))
    );
    assert_eq!(log.next_due("orders", "mail").unwrap(), Some(1_110));
    assert!(
        log.take(("orders", "mail", "b"), 9, PATIENCE, 1_109)
            .unwrap()
            .is_empty()
    );
    let again = log
        .take(("orders", "mail", "b"), 9, PATIENCE, 1_110)
        .unwrap();
    assert_eq!((again[0].tries, ids(&again)), (2, vec!["m0"]));
    assert!(log.ack("orders", "mail", again[0].seq).unwrap());
    assert!(!log.ack("orders", "mail", again[0].seq).unwrap(), "once");
    assert_eq!(log.next_due("orders", "mail").unwrap(), None);
    assert!(
        log.take(("orders", "mail", "b"), 9, PATIENCE, 9_999)
            .unwrap()
            .is_empty()
    );
    assert_eq!(log.len("orders").unwrap(), 0, "nobody needs it any more");
}

#[test]
fn what_fails_too_often_becomes_a_dead_letter_and_holds_up_nobody() {
    let mut log = Log::in_memory().unwrap();
    log.join("orders", "mail").unwrap();
    log.publish("orders", &event(0), 0).unwrap();
    log.publish("orders", &event(1), 0).unwrap();
    for try_number in 1..=3 {
        let now = try_number * 10;
        let found = log.take(("orders", "mail", "a"), 1, PATIENCE, now).unwrap();
        assert_eq!(
            (ids(&found), found[0].tries),
            (vec!["m0"], try_number as u32)
        );
        let is_dead = log.fail(
            ("orders", "mail", found[0].seq),
            (3, Duration::ZERO),
            "no address",
            now,
        );
        assert_eq!(is_dead.unwrap(), try_number == 3);
    }
    let next = log.take(("orders", "mail", "a"), 9, PATIENCE, 99).unwrap();
    assert_eq!(ids(&next), ["m1"]);
    log.join("orders.dead", "people").unwrap();
    let dead = log
        .take(("orders.dead", "people", "me"), 9, PATIENCE, 99)
        .unwrap();
    assert_eq!(dead[0].message.id, "m0@mail");
    assert_eq!(dead[0].message.context["dead-because"], "no address");
    assert_eq!(dead[0].message.payload, json!(0));
}

#[test]
fn what_is_published_is_still_there_after_a_crash() {
    let directory = std::env::temp_dir().join(format!("shop-log-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir(&directory).unwrap();
    let path = directory.join("broker.db");
    let mut log = Log::open(&path).unwrap();
    log.join("orders", "mail").unwrap();
    log.publish("orders", &event(0), 0).unwrap();
    let taken = log.take(("orders", "mail", "a"), 1, PATIENCE, 0).unwrap();
    assert_eq!(taken.len(), 1);
    // Not closed, as a process that is killed.
    std::mem::forget(log);
    let mut log = Log::open(&path).unwrap();
    assert!(!log.publish("orders", &event(0), 0).unwrap());
    let again = log.take(("orders", "mail", "a"), 1, PATIENCE, 100).unwrap();
    assert_eq!((ids(&again), again[0].tries), (vec!["m0"], 2));
    std::fs::remove_dir_all(directory).unwrap();
}

#[derive(Debug, Clone)]
enum Act {
    Publish(u8),
    Take { group: u8, most: u32 },
    Ack(u8),
    Fail(u8),
    Wait(u64),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every message is acknowledged or dead once in each group, and none before it was taken.
    #[test]
    fn nothing_is_lost_in_any_order_of_events(acts in vec(prop_oneof![
        3 => (0..20_u8).prop_map(Act::Publish),
        3 => (0..2_u8, 1..4_u32).prop_map(|(group, most)| Act::Take { group, most }),
        2 => any::<u8>().prop_map(Act::Ack),
        2 => any::<u8>().prop_map(Act::Fail),
        1 => (1..200_u64).prop_map(Act::Wait),
    ], 0..80)) {
        const GROUPS: [&str; 2] = ["mail", "stock"];
        let mut log = Log::in_memory().unwrap();
        for group in GROUPS {
            log.join("orders", group).unwrap();
        }
        let mut now = 0;
        let mut published = Vec::new();
        let mut in_hand: Vec<(usize, i64, String)> = Vec::new();
        let mut ended: BTreeMap<(usize, String), u32> = BTreeMap::new();
        for act in acts {
            match act {
                Act::Publish(id) => {
                    let message = event(id);
                    let is_new = log.publish("orders", &message, now).unwrap();
                    // One that all groups are done with is forgotten, with its ID.
                    let is_done = (0..2).all(|group| ended.contains_key(&(group, message.id.clone())));
                    if !is_done {
                        prop_assert_eq!(is_new, !published.contains(&message.id));
                    }
                    if is_new && !published.contains(&message.id) {
                        published.push(message.id);
                    } else if is_new {
                        for group in 0..2 {
                            ended.remove(&(group, message.id.clone()));
                        }
                    }
                }
                Act::Take { group, most } => {
                    let group = usize::from(group);
                    let found = log.take(("orders", GROUPS[group], "c"), most, PATIENCE, now).unwrap();
                    prop_assert!(found.len() <= most as usize);
                    for one in found {
                        let id = one.message.id;
                        prop_assert!(!ended.contains_key(&(group, id.clone())), "{} again", id);
                        in_hand.push((group, one.seq, id));
                    }
                }
                Act::Ack(which) | Act::Fail(which) if in_hand.is_empty() => { let _ = which; }
                Act::Ack(which) => {
                    let (group, seq, id) = in_hand.swap_remove(usize::from(which) % in_hand.len());
                    if log.ack("orders", GROUPS[group], seq).unwrap() {
                        *ended.entry((group, id)).or_default() += 1;
                    }
                }
                Act::Fail(which) => {
                    let (group, seq, id) = in_hand.swap_remove(usize::from(which) % in_hand.len());
                    let of = ("orders", GROUPS[group], seq);
                    if log.fail(of, (3, Duration::ZERO), "told to", now).unwrap() {
                        *ended.entry((group, id)).or_default() += 1;
                    }
                }
                Act::Wait(time) => now += time,
            }
        }
        // After all faults, the rest is done.
        now += 1_000;
        for (number, group) in GROUPS.into_iter().enumerate() {
            for one in log.take(("orders", group, "c"), 1_000, PATIENCE, now).unwrap() {
                prop_assert!(log.ack("orders", group, one.seq).unwrap());
                *ended.entry((number, one.message.id)).or_default() += 1;
            }
            for id in &published {
                prop_assert_eq!(ended.get(&(number, id.clone())), Some(&1), "{} in {}", id, group);
            }
        }
        prop_assert_eq!(log.len("orders").unwrap(), 0);
    }
}
