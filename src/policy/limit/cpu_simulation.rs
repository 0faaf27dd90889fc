//! A simulated process with workers and a run queue. A limit observes its scheduler lag, and the
//! admitted calls cause it.
//!
//! It is modelled on tokio. A worker polls one ready task after another. Sockets and timers are
//! polled when no task is ready, or after 61 polls. A caller that gives up is noticed only when its
//! task is polled again, so late calls still cause work.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use super::*;

const MS: Duration = Duration::from_millis(1);
const US: Duration = Duration::from_micros(1);
/// Task polls between two polls of sockets and timers.
const EVENT_INTERVAL: u32 = 61;
/// The time to read a request, or to answer it.
const READ: Duration = Duration::from_micros(40);
/// The time after which callers give up.
const PATIENCE: Duration = Duration::from_secs(1);

/// One kind of call: pairs of time on a worker and time spent waiting.
#[derive(Debug, Clone, Copy)]
struct Route {
    steps: &'static [(Duration, Duration)],
    /// Its callers never give up.
    patient: bool,
}

#[derive(Clone, Copy)]
enum Callers {
    /// Calls per second at a time, independent of results.
    Open(fn(Duration) -> u32),
    /// The number of callers. Each makes one call after the other, with a pause of 50 ms after a
    /// failure.
    Closed(u32),
    /// The number of calls, all at this time.
    Burst(u32, Duration),
}

/// Chooses the route of a call by time and a random number.
type Choice = fn(Duration, f64) -> Route;

struct Workload {
    name: &'static str,
    workers: usize,
    seconds: usize,
    /// The first second that counts.
    from: usize,
    /// Whether calls of patient callers count.
    all_count: bool,
    /// The highest permitted median, in milliseconds.
    median: u32,
    callers: &'static [(Callers, Choice)],
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Comes(usize),
    GivesUp(u64),
    Continues(u64),
    Ticks,
}

#[derive(Debug)]
enum Job {
    /// A request is to be read.
    Read(u64),
    /// An admitted call goes on with its next step.
    Step(u64),
    /// A caller hung up.
    HungUp(u64),
    /// Due at that time.
    Tick(Duration),
}

struct Call {
    callers: usize,
    since: Duration,
    route: Route,
    step: usize,
    admitted: bool,
    given_up: bool,
}

#[derive(Default)]
struct Worker {
    free_at: Duration,
    polls: u32,
    /// A call whose last step ends when the worker is free.
    ends: Option<u64>,
    /// A call whose step ends then, and the time that it waits.
    sleeps: Option<(u64, Duration)>,
}

struct Process<'a> {
    load: &'a Workload,
    limit: Adaptive,
    /// An admitted call goes to the end of the run queue, so that calls waiting for a worker are in
    /// flight.
    turns: bool,
    now: Duration,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    ready: VecDeque<Job>,
    workers: Vec<Worker>,
    calls: BTreeMap<u64, Call>,
    in_flight: u32,
    admitted: u64,
    count: u64,
    random: u64,
    report: Report,
}

#[derive(Debug, Default, Clone)]
struct Report {
    /// For each second: answered in time, shed, given up.
    answered: Vec<u32>,
    shed: Vec<u32>,
    given_up: Vec<u32>,
    /// Of those that were answered, in the seconds that count.
    latencies: Vec<Duration>,
}

impl Report {
    fn goodput(&self, from: usize) -> f64 {
        let seconds = &self.answered[from..];
        f64::from(seconds.iter().sum::<u32>()) / seconds.len() as f64
    }

    fn shed(&self) -> u32 {
        self.shed.iter().sum()
    }

    fn given_up(&self) -> u32 {
        self.given_up.iter().sum()
    }

    fn median(&self) -> Duration {
        let mut latencies = self.latencies.clone();
        latencies.sort();
        latencies
            .get(latencies.len() / 2)
            .copied()
            .unwrap_or_default()
    }
}

impl Process<'_> {
    fn run(limit: Limit, turns: bool, load: &Workload, seed: u64) -> Report {
        let mut process = Process {
            load,
            limit: Adaptive::new(&limit, Duration::ZERO),
            turns,
            now: Duration::ZERO,
            events: BinaryHeap::new(),
            ready: VecDeque::new(),
            workers: (0..load.workers).map(|_| Worker::default()).collect(),
            calls: BTreeMap::new(),
            in_flight: 0,
            admitted: 0,
            count: 0,
            random: seed,
            report: Report::default(),
        };
        for counts in [
            &mut process.report.answered,
            &mut process.report.shed,
            &mut process.report.given_up,
        ] {
            *counts = vec![0; load.seconds];
        }
        for (number, (callers, _)) in load.callers.iter().enumerate() {
            match callers {
                Callers::Open(_) => process.later(Duration::ZERO, Event::Comes(number)),
                // Not all in the same moment.
                Callers::Closed(callers) => {
                    for caller in 0..*callers {
                        process.later(MS * 10 * caller, Event::Comes(number));
                    }
                }
                Callers::Burst(calls, at) => {
                    for _ in 0..*calls {
                        process.later(*at, Event::Comes(number));
                    }
                }
            }
        }
        process.later(MS * 10, Event::Ticks);
        let end = Duration::from_secs(load.seconds as u64);
        while process.turn() < end {}
        process.report
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

    /// One poll of the worker that is free next; the time.
    fn turn(&mut self) -> Duration {
        let (number, worker) = self
            .workers
            .iter_mut()
            .enumerate()
            .min_by_key(|(_, worker)| worker.free_at)
            .expect("there is one");
        self.now = worker.free_at;
        let (ends, sleeps) = (worker.ends.take(), worker.sleeps.take());
        worker.polls += 1;
        let looks = worker.polls.is_multiple_of(EVENT_INTERVAL);
        if let Some(call) = ends {
            self.ends(call);
        }
        if let Some((call, time)) = sleeps {
            // No two waits are the same.
            let time = time.mul_f64(0.5 + self.draw());
            self.later(time, Event::Continues(call));
        }
        if looks || self.ready.is_empty() {
            self.look();
        }
        let Some(job) = self.ready.pop_front() else {
            // Parked until something happens.
            let next = self.events.peek().map(|Reverse((at, ..))| *at);
            let next = next.unwrap_or(Duration::MAX).max(self.now + US);
            self.workers[number].free_at = next;
            return self.now;
        };
        let took = self.poll(number, job);
        self.workers[number].free_at = self.now + took;
        self.now
    }

    /// Looks at sockets and timers.
    fn look(&mut self) {
        while let Some(Reverse((at, ..))) = self.events.peek()
            && *at <= self.now
            && let Some(Reverse((at, _, event))) = self.events.pop()
        {
            match event {
                Event::Comes(callers) => {
                    let (who, route) = self.load.callers[callers];
                    let random = self.draw();
                    let route = route(self.now, random);
                    let call = Call {
                        callers,
                        since: at,
                        route,
                        step: 0,
                        admitted: false,
                        given_up: false,
                    };
                    let number = self.count + 1;
                    if !route.patient {
                        self.events
                            .push(Reverse((at + PATIENCE, number, Event::GivesUp(number))));
                    }
                    self.count += 1;
                    self.calls.insert(number, call);
                    self.ready.push_back(Job::Read(number));
                    if let Callers::Open(rate) = who {
                        let mean = Duration::from_secs(1) / rate(at).max(1);
                        let pause = mean.mul_f64(-(1.0 - self.draw()).ln());
                        self.count += 1;
                        self.events
                            .push(Reverse((at + pause, self.count, Event::Comes(callers))));
                    }
                }
                Event::GivesUp(call) => {
                    if let Some(of) = self.calls.get_mut(&call) {
                        of.given_up = true;
                        let (callers, admitted) = (of.callers, of.admitted);
                        self.report.given_up[self.now.as_secs() as usize % self.load.seconds] += 1;
                        self.comes_again(callers, MS * 50);
                        if admitted {
                            self.ready.push_back(Job::HungUp(call));
                        }
                    }
                }
                Event::Continues(call) => self.ready.push_back(Job::Step(call)),
                Event::Ticks => self.ready.push_back(Job::Tick(at)),
            }
        }
    }

    /// Polls a task; how long that takes.
    fn poll(&mut self, worker: usize, job: Job) -> Duration {
        match job {
            Job::Read(number) => {
                let limit = self.limit.limit();
                let Some(call) = self.calls.get_mut(&number) else {
                    return US;
                };
                if self.in_flight >= limit {
                    let callers = call.callers;
                    if !call.given_up {
                        self.comes_again(callers, MS * 50);
                    }
                    self.calls.remove(&number);
                    self.report.shed[self.now.as_secs() as usize % self.load.seconds] += 1;
                    return READ * 2;
                }
                call.admitted = true;
                self.in_flight += 1;
                self.admitted += 1;
                if self.turns && limit < u32::MAX {
                    self.ready.push_back(Job::Step(number));
                    return READ;
                }
                READ + self.step(worker, number)
            }
            Job::Step(number) => self.step(worker, number),
            Job::HungUp(number) => {
                if self.calls.remove(&number).is_some() {
                    let in_flight = self.in_flight;
                    self.limit.dropped(self.now, in_flight);
                    self.in_flight -= 1;
                }
                US * 20
            }
            Job::Tick(due) => {
                let lateness = self.now - due;
                let shed = self.report.shed.iter().map(|shed| u64::from(*shed)).sum();
                let tick = lag::Tick {
                    runtime: 1,
                    workers: self.load.workers as u32,
                    lag: lateness,
                    in_flight: self.in_flight,
                    admitted: self.admitted,
                    shed,
                };
                self.limit.tick(self.now, &tick);
                self.later(MS * 10, Event::Ticks);
                US * 2
            }
        }
    }

    fn step(&mut self, worker: usize, number: u64) -> Duration {
        let Some(call) = self.calls.get_mut(&number) else {
            return US;
        };
        let (work, sleep) = call.route.steps[call.step];
        call.step += 1;
        let worker = &mut self.workers[worker];
        if call.step == call.route.steps.len() && sleep.is_zero() {
            worker.ends = Some(number);
            return work + READ;
        }
        if call.step == call.route.steps.len() {
            call.route.steps = &[(Duration::ZERO, Duration::ZERO)];
            call.step = 0;
        }
        worker.sleeps = Some((number, sleep));
        work
    }

    fn ends(&mut self, number: u64) {
        let Some(call) = self.calls.remove(&number) else {
            return;
        };
        let took = self.now - call.since;
        let in_flight = self.in_flight;
        self.in_flight -= 1;
        if call.given_up {
            self.limit.dropped(self.now, in_flight);
            return;
        }
        self.limit.sample(self.now, took, in_flight, 1);
        let second = self.now.as_secs() as usize;
        if second < self.load.seconds && (self.load.all_count || !call.route.patient) {
            self.report.answered[second] += 1;
            if second >= self.load.from {
                self.report.latencies.push(took);
            }
        }
        self.comes_again(call.callers, Duration::ZERO);
    }

    fn comes_again(&mut self, callers: usize, pause: Duration) {
        if let Callers::Closed(_) = self.load.callers[callers].0 {
            self.later(pause, Event::Comes(callers));
        }
    }
}

mod workloads;
