//! What breaks during a drill, and when: at fractions of its progress, so that a slow machine sees the
//! same drill as a fast one.

use std::fmt;
use std::time::Duration;

use mainstay::BoxError;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::ledger;
use crate::config::Name;
use crate::launcher::System;
use crate::process::Faults;

/// How long a process stays down.
const DOWN: Duration = Duration::from_millis(400);

/// How long a process hangs.
const FROZEN: Duration = Duration::from_secs(2);

/// How much slower the catalogue is, in milliseconds.
const SLOW: u64 = 400;

/// How long answers wait before a kill, in milliseconds: then there are charges and reservations that
/// nobody knows, and that are asked for again.
const UNKNOWN: u64 = 300;

/// A disk is full for at most so long: it may stop all progress.
const FULL: Duration = Duration::from_secs(2);

/// If there is no progress for so long, the next fault comes all the same.
const STUCK: Duration = Duration::from_secs(30);

/// A fault, or its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// `kill -9`, and a new start after a moment.
    Kill(Name),
    /// It answers nothing, and its connections stay open, as of a host that hangs. After a moment it
    /// goes on.
    Freeze(Name),
    /// The catalogue becomes slow.
    Slow,
    /// And fast again.
    Fast,
    /// A database cannot grow.
    Fill(Name),
    /// It can again.
    Free(Name),
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(name) => write!(f, "{name} killed"),
            Self::Freeze(name) => write!(f, "{name} frozen"),
            Self::Slow | Self::Fast => f.write_str("catalog slow"),
            Self::Fill(name) | Self::Free(name) => write!(f, "{name} disk full"),
        }
    }
}

/// One round of faults, by hundredths of it.
const ROUND: [(u64, Act); 14] = [
    (4, Act::Kill(Name::Payments)),
    (18, Act::Slow),
    (28, Act::Fast),
    (31, Act::Freeze(Name::Payments)),
    (34, Act::Kill(Name::Broker)),
    (44, Act::Kill(Name::Stock)),
    (52, Act::Fill(Name::Stock)),
    (60, Act::Free(Name::Stock)),
    (66, Act::Kill(Name::Orders)),
    (76, Act::Kill(Name::Notifications)),
    (82, Act::Fill(Name::Orders)),
    (90, Act::Free(Name::Orders)),
    (94, Act::Kill(Name::Payments)),
    (97, Act::Freeze(Name::Stock)),
];

/// The faults of a drill, each after so many answers: a round for every two thousand orders.
pub(super) fn plan(orders: u64) -> Vec<(u64, Act)> {
    let rounds = (orders / 2_000).max(1);
    let round = |number: u64| {
        ROUND.map(|(place, act)| ((number * 100 + place) * orders / (rounds * 100), act))
    };
    (0..rounds).flat_map(round).collect()
}

/// A fault that was there, after the begin of the drill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) what: String,
    pub(super) from: Duration,
    pub(super) to: Duration,
}

/// What was broken.
#[derive(Debug, Default)]
pub(super) struct Broken {
    pub(super) marks: Vec<Mark>,
    pub(super) kills: u64,
    /// Sagas that were in the middle when the orders were killed.
    pub(super) cut: u64,
}

/// The progress that the faults follow and hold up.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) began: Instant,
    pub(super) callers: u64,
    /// How many orders have an answer.
    pub(super) answered: watch::Receiver<u64>,
    /// Orders from this number on wait. No fault is overtaken, however fast the callers are.
    pub(super) gate: watch::Sender<u64>,
}

impl Progress {
    /// Lets orders pass until all callers wait for the fault after this number of answers.
    pub(super) fn open(&self, next: Option<u64>) {
        let until = next.map_or(u64::MAX, |next| next + self.callers);
        self.gate.send_replace(until);
    }
}

/// Breaks the shop as planned. In the end nothing is broken.
pub(super) async fn execute(
    system: &System,
    plan: Vec<(u64, Act)>,
    mut progress: Progress,
    mut say: impl FnMut(&str),
) -> Result<Broken, BoxError> {
    let mut broken = Broken::default();
    // The faults that go on, and since when.
    let mut begun: Vec<(Act, Duration)> = Vec::new();
    for (place, (after, act)) in plan.iter().enumerate() {
        let limit = match act {
            Act::Free(_) => FULL,
            _ => STUCK,
        };
        let answered = progress.answered.wait_for(|answered| answered >= after);
        let _ = timeout(limit, answered).await;
        progress.open(plan.get(place + 1).map(|(after, _)| *after));
        let from = progress.began.elapsed();
        match *act {
            Act::Kill(name) => {
                say(&act.to_string());
                if kill(system, name, &mut broken).await? {
                    let to = progress.began.elapsed();
                    let what = act.to_string();
                    broken.marks.push(Mark { what, from, to });
                }
            }
            Act::Freeze(name) => {
                say(&act.to_string());
                system.freeze(name, true);
                sleep(FROZEN).await;
                system.freeze(name, false);
                let to = progress.began.elapsed();
                let what = act.to_string();
                broken.marks.push(Mark { what, from, to });
            }
            Act::Slow => {
                say(&act.to_string());
                system.set_faults(Name::Catalog, slow(SLOW)).await?;
                begun.push((*act, from));
            }
            Act::Fill(name) => {
                say(&act.to_string());
                let full = Faults {
                    disk_pages: Some(0),
                    ..Faults::default()
                };
                system.set_faults(name, full).await?;
                begun.push((*act, from));
            }
            Act::Fast | Act::Free(_) => {
                let name = match *act {
                    Act::Free(name) => name,
                    _ => Name::Catalog,
                };
                system.set_faults(name, Faults::default()).await?;
                if let Some((act, from)) = begun.pop() {
                    let to = progress.began.elapsed();
                    let what = act.to_string();
                    broken.marks.push(Mark { what, from, to });
                }
            }
        }
    }
    progress.open(None);
    Ok(broken)
}

fn slow(delay_ms: u64) -> Faults {
    Faults {
        delay_ms,
        ..Faults::default()
    }
}

/// Kills a process, and starts it again. Returns false if it is not one of ours.
async fn kill(system: &System, name: Name, broken: &mut Broken) -> Result<bool, BoxError> {
    let answers = match name {
        Name::Payments | Name::Orders => Some(Name::Payments),
        Name::Stock => Some(Name::Stock),
        _ => None,
    };
    if let Some(answers) = answers {
        system.set_faults(answers, slow(UNKNOWN)).await?;
        // Until there are some that wait.
        sleep(Duration::from_millis(UNKNOWN / 2)).await;
    }
    if !system.kill(name).await {
        return Ok(false);
    }
    broken.kills += 1;
    if name == Name::Orders {
        broken.cut += ledger::open_sagas(&system.settings().data)?;
        system.set_faults(Name::Payments, Faults::default()).await?;
    }
    sleep(DOWN).await;
    system.revive(name).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(plan: &[(u64, Act)], act: Act) -> usize {
        plan.iter().filter(|(_, one)| *one == act).count()
    }

    #[test]
    fn a_short_drill_has_each_fault_and_a_long_one_several() {
        let kills = [Name::Payments, Name::Broker, Name::Orders].map(Act::Kill);
        let others = [
            Act::Slow,
            Act::Fast,
            Act::Fill(Name::Stock),
            Act::Free(Name::Stock),
            Act::Fill(Name::Orders),
            Act::Free(Name::Orders),
        ];
        for (orders, times) in [(1, 1), (200, 1), (10_000, 5)] {
            let plan = plan(orders);
            for act in kills.into_iter().chain(others) {
                assert!(has(&plan, act) >= times, "{orders}: {act:?}");
            }
            assert!(plan.is_sorted_by_key(|(after, _)| *after));
            assert!(plan.iter().all(|(after, _)| *after < orders));
        }
    }

    #[test]
    fn what_is_broken_is_healed_by_the_next_act() {
        // `execute` relies on it.
        let plan = plan(10_000);
        for pair in plan.windows(2) {
            match pair {
                [(_, Act::Slow), (_, next)] => assert_eq!(*next, Act::Fast),
                [(_, Act::Fill(name)), (_, next)] => assert_eq!(*next, Act::Free(*name)),
                _ => {}
            }
        }
    }
}
