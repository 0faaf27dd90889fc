//! A limit in its feedback loop: it decides how many calls a server gets, and the server's queue
//! decides their latency.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use super::*;

const MS: Duration = Duration::from_millis(1);

/// A server that works on one call per worker; the others wait in order of arrival.
#[derive(Clone, Copy)]
struct Server {
    workers: usize,
    takes: fn(now: Duration, random: f64) -> Duration,
}

#[derive(Clone, Copy)]
enum Callers {
    /// Calls per second, independent of results.
    Calling(u32),
    /// The number of callers. Each makes one call after the other, with a pause of 50 ms after a
    /// shed one.
    Waiting(u32),
    /// One such caller at first, and one more after each of these times.
    MoreAndMore(Duration),
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Comes,
    OneMore,
    GivesUp(u64),
    Ends(u64),
}

struct Simulation {
    server: Server,
    callers: Callers,
    /// The time after which a caller gives up, unknown to the server.
    patience: Duration,
    limit: Adaptive,
    now: Duration,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    count: u64,
    random: u64,
    waiting: VecDeque<u64>,
    busy: usize,
    /// The start times. An abandoned call is not in flight.
    in_flight: BTreeMap<u64, Duration>,
    report: Report,
}

#[derive(Debug, Default)]
struct Report {
    /// Calls answered in time, in each second.
    answered: Vec<u32>,
    last_shed: Duration,
    /// The longest call of each second.
    longest: Vec<Duration>,
    peak: u32,
    end: u32,
}

impl Report {
    /// The second with the fewest calls in time, from this one on.
    fn worst_second(&self, from: usize) -> u32 {
        self.answered[from..].iter().copied().min().unwrap_or(0)
    }
}

impl Simulation {
    fn run(limit: Limit, server: Server, callers: Callers, seconds: usize, seed: u64) -> Report {
        let mut simulation = Self {
            server,
            callers,
            patience: MS * 1_500,
            limit: Adaptive::new(&limit, Duration::ZERO),
            now: Duration::ZERO,
            events: BinaryHeap::new(),
            count: 0,
            random: seed,
            waiting: VecDeque::new(),
            busy: 0,
            in_flight: BTreeMap::new(),
            report: Report::default(),
        };
        simulation.report.answered = vec![0; seconds];
        simulation.report.longest = vec![Duration::ZERO; seconds];
        let first = match callers {
            Callers::Calling(_) | Callers::MoreAndMore(_) => 1,
            Callers::Waiting(callers) => callers,
        };
        for _ in 0..first {
            simulation.later(Duration::ZERO, Event::Comes);
        }
        if let Callers::MoreAndMore(after) = callers {
            simulation.later(after, Event::OneMore);
        }
        while let Some(Reverse((now, _, event))) = simulation.events.pop() {
            simulation.now = now;
            if now.as_secs() >= seconds as u64 {
                break;
            }
            simulation.happens(event);
        }
        simulation.report.end = simulation.limit.limit();
        simulation.report
    }

    fn later(&mut self, after: Duration, event: Event) {
        self.count += 1;
        self.events
            .push(Reverse((self.now + after, self.count, event)));
    }

    /// From 0 to 1 (splitmix64).
    fn draw(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Comes => {
                if let Callers::Calling(rate) = self.callers {
                    let pause = exponential(Duration::from_secs(1) / rate, self.draw());
                    self.later(pause, Event::Comes);
                }
                if self.in_flight.len() >= self.limit.limit() as usize {
                    self.report.last_shed = self.now;
                    self.comes_again(MS * 50);
                    return;
                }
                let call = self.count;
                self.in_flight.insert(call, self.now);
                self.waiting.push_back(call);
                self.later(self.patience, Event::GivesUp(call));
            }
            Event::OneMore => {
                if let Callers::MoreAndMore(after) = self.callers {
                    self.later(after, Event::OneMore);
                    self.later(Duration::ZERO, Event::Comes);
                }
            }
            Event::GivesUp(call) => {
                if self.in_flight.contains_key(&call) {
                    let in_flight = self.in_flight.len() as u32;
                    self.limit.dropped(self.now, in_flight);
                    self.in_flight.remove(&call);
                    self.comes_again(Duration::ZERO);
                }
            }
            Event::Ends(call) => {
                self.busy -= 1;
                let in_flight = self.in_flight.len() as u32;
                if let Some(since) = self.in_flight.remove(&call) {
                    self.limit.sample(self.now, self.now - since, in_flight, 1);
                    let second = self.now.as_secs() as usize;
                    self.report.answered[second] += 1;
                    let longest = &mut self.report.longest[second];
                    *longest = (*longest).max(self.now - since);
                    self.comes_again(Duration::ZERO);
                }
            }
        }
        self.report.peak = self.report.peak.max(self.limit.limit());
        while self.busy < self.server.workers {
            let Some(call) = self.waiting.pop_front() else {
                break;
            };
            self.busy += 1;
            let random = self.draw();
            self.later((self.server.takes)(self.now, random), Event::Ends(call));
        }
    }

    fn comes_again(&mut self, pause: Duration) {
        if let Callers::Waiting(_) | Callers::MoreAndMore(_) = self.callers {
            self.later(pause, Event::Comes);
        }
    }
}

fn exponential(mean: Duration, random: f64) -> Duration {
    mean.mul_f64(-(1.0 - random).ln())
}

fn gradient2() -> Limit {
    Limit::gradient2().max(1_000).build().expect("valid")
}

fn aimd() -> Limit {
    let builder = Limit::aimd().max(1_000).timeout(MS * 1_000);
    builder.build().expect("valid")
}

/// Four times of what the server can do, where a call takes 100 ms.
fn overload(
    limit: Limit,
    workers: u32,
    takes: fn(Duration, f64) -> Duration,
    seconds: usize,
) -> Report {
    let server = Server {
        workers: workers as usize,
        takes,
    };
    Simulation::run(limit, server, Callers::Calling(workers * 40), seconds, 1)
}

#[test]
fn a_healthy_server_sheds_only_at_the_beginning() {
    let ten: fn(Duration, f64) -> Duration = |_, _| MS * 10;
    let fifty: fn(Duration, f64) -> Duration = |_, _| MS * 50;
    let uneven: fn(Duration, f64) -> Duration =
        |_, random| MS * if random < 0.1 { 275 } else { 25 };
    for limit in [gradient2(), aimd(), Limit::adaptive()] {
        for (takes, by, seeds) in [(ten, 700, 1), (fifty, 1_300, 1), (uneven, 1_500, 5)] {
            for seed in 0..seeds {
                let server = Server {
                    workers: 500,
                    takes,
                };
                let report = Simulation::run(limit, server, Callers::Waiting(150), 3, seed);
                assert!(
                    report.last_shed < MS * by,
                    "{limit:?}: {:?}, not {by} ms",
                    report.last_shed
                );
            }
        }
    }
}

#[test]
fn an_overload_from_the_first_moment_is_not_taken_for_the_usual() {
    let even: fn(Duration, f64) -> Duration = |_, _| MS * 100;
    let uneven: fn(Duration, f64) -> Duration = |_, random| MS.mul_f64(50.0 + 100.0 * random);
    for workers in [25, 30, 40, 59, 75, 200] {
        for takes in [even, uneven] {
            let report = overload(gradient2(), workers, takes, 10);
            // As many calls as its tolerance of 1.5 lets wait, and some more: for its queue, and
            // for what ten seconds taught.
            assert!(
                (workers..=workers * 2 + 4).contains(&report.end),
                "{workers}: {}",
                report.end
            );
            assert!(report.peak <= workers * 3, "{workers}: {}", report.peak);
            // It takes longer to be there where there is further to go.
            let from = if workers > 100 { 4 } else { 2 };
            assert!(
                report.worst_second(from) > workers * 9,
                "{workers}: {:?}",
                report.answered
            );
        }
    }
}

#[test]
fn a_cold_start_is_not_taken_for_the_usual() {
    // With caches that are filled within three seconds.
    let report = overload(
        gradient2(),
        40,
        |now, _| match now.as_millis() {
            ..3_000 => MS * 500,
            _ => MS * 100,
        },
        10,
    );
    assert!(report.end <= 80, "{}", report.end);
    assert!(report.worst_second(6) > 360, "{:?}", report.answered);
}

#[test]
fn a_lucky_start_is_not_held_against_what_follows() {
    // Only quick calls at first, as they may be.
    let server = Server {
        workers: 500,
        takes: |now, _| match now.as_millis() {
            ..700 => MS * 10,
            _ => MS * 50,
        },
    };
    let report = Simulation::run(gradient2(), server, Callers::Waiting(150), 60, 1);
    assert!(report.last_shed < MS * 30_000, "{:?}", report.last_shed);
}

#[test]
fn aimd_does_not_lose_a_service_that_is_overloaded_from_the_first_moment() {
    for workers in [25, 40, 75] {
        let report = overload(aimd(), workers, |_, _| MS * 100, 30);
        // As many as are answered within its time-out of a second.
        assert!(
            (workers..=workers * 11).contains(&report.end),
            "{workers}: {}",
            report.end
        );
        assert!(
            report.worst_second(2) > workers * 9,
            "{workers}: {:?}",
            report.answered
        );
    }
}

#[test]
fn a_queue_that_grows_slowly_is_seen() {
    // One more caller every five seconds, for ten workers.
    let server = Server {
        workers: 10,
        takes: |_, _| MS * 50,
    };
    for limit in [Limit::adaptive(), gradient2()] {
        let callers = Callers::MoreAndMore(MS * 5_000);
        let report = Simulation::run(limit, server, callers, 1_500, 1);
        let worst = report.longest.iter().max().unwrap();
        assert!(*worst < MS * 300, "{limit}: {worst:?}");
        assert!(
            report.worst_second(60) > 150,
            "{limit}: {:?}",
            &report.answered[60..]
        );
    }
}
