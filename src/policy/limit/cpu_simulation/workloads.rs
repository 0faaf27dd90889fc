//! Workloads for a limit by scheduler lag, healthy and overloaded.
//!
//! # Results
//!
//! The test at the end computes this table: without a limit, with the former default of server
//! stacks (`Gradient2`, up to 1 024 calls), and with the present default. Shed and given-up calls
//! are those of the whole run. Calls answered in time, and their median, are those of the seconds
//! that count (from the tenth on under overload). Callers of work give up after a second. Of a fixed
//! number of callers, a shed one calls again after 50 ms.
//!
//! | workload | limit | shed | given up | in time, a second | median |
//! |---|---|---|---|---|---|
//! | constant: 90 callers of 1 s | no limit | 0 | 0 | 88 | 983 ms |
//! | constant: 90 callers of 1 s | Gradient2 | 18542 | 0 | 50 | 995 ms |
//! | constant: 90 callers of 1 s | scheduler lag | 0 | 0 | 88 | 983 ms |
//! | two routes of 10 ms and 1.5 s, 300/s | no limit | 0 | 0 | 305 | 15 ms |
//! | two routes of 10 ms and 1.5 s, 300/s | Gradient2 | 3449 | 0 | 169 | 14 ms |
//! | two routes of 10 ms and 1.5 s, 300/s | scheduler lag | 0 | 0 | 305 | 15 ms |
//! | step: 90 callers of 0.1 s, from 15 s on of 1 s | no limit | 0 | 0 | 384 | 108 ms |
//! | step: 90 callers of 0.1 s, from 15 s on of 1 s | Gradient2 | 16080 | 0 | 350 | 105 ms |
//! | step: 90 callers of 0.1 s, from 15 s on of 1 s | scheduler lag | 0 | 0 | 384 | 108 ms |
//! | burst of 150 from cold | no limit | 0 | 0 | 50 | 100 ms |
//! | burst of 150 from cold | Gradient2 | 130 | 0 | 7 | 87 ms |
//! | burst of 150 from cold | scheduler lag | 0 | 0 | 50 | 100 ms |
//! | start: 400 calls of 3 ms at once, then 100/s | no limit | 0 | 0 | 140 | 13 ms |
//! | start: 400 calls of 3 ms at once, then 100/s | Gradient2 | 397 | 0 | 97 | 10 ms |
//! | start: 400 calls of 3 ms at once, then 100/s | scheduler lag | 0 | 0 | 140 | 13 ms |
//! | slow drift: 100/s of 10 ms to 1.5 s in a minute | no limit | 0 | 0 | 101 | 430 ms |
//! | slow drift: 100/s of 10 ms to 1.5 s in a minute | Gradient2 | 2965 | 0 | 52 | 101 ms |
//! | slow drift: 100/s of 10 ms to 1.5 s in a minute | scheduler lag | 0 | 0 | 101 | 430 ms |
//! | 2 000 long polls | no limit | 0 | 0 | 52 | 22681 ms |
//! | 2 000 long polls | Gradient2 | 708661 | 0 | 1 | 25865 ms |
//! | 2 000 long polls | scheduler lag | 0 | 0 | 52 | 22681 ms |
//! | CPU at 40 %: 190/s of 2 ms | no limit | 0 | 0 | 194 | 2 ms |
//! | CPU at 40 %: 190/s of 2 ms | Gradient2 | 0 | 0 | 194 | 2 ms |
//! | CPU at 40 %: 190/s of 2 ms | scheduler lag | 0 | 0 | 194 | 2 ms |
//! | CPU at 80 %: 380/s of 2 ms | no limit | 0 | 0 | 384 | 4 ms |
//! | CPU at 80 %: 380/s of 2 ms | Gradient2 | 0 | 0 | 384 | 4 ms |
//! | CPU at 80 %: 380/s of 2 ms | scheduler lag | 0 | 0 | 384 | 4 ms |
//! | CPU at 3 x: 1 440/s of 2 ms | no limit | 0 | 40831 | 0 | none |
//! | CPU at 3 x: 1 440/s of 2 ms | Gradient2 | 0 | 40831 | 0 | none |
//! | CPU at 3 x: 1 440/s of 2 ms | scheduler lag | 29784 | 0 | 443 | 26 ms |
//! | CPU at 3 x, in two pieces | no limit | 0 | 41041 | 0 | none |
//! | CPU at 3 x, in two pieces | Gradient2 | 29828 | 0 | 443 | 162 ms |
//! | CPU at 3 x, in two pieces | scheduler lag | 29858 | 71 | 443 | 31 ms |
//! | CPU at 3 x, after a wait of 300 ms | no limit | 0 | 41058 | 0 | none |
//! | CPU at 3 x, after a wait of 300 ms | Gradient2 | 31901 | 776 | 393 | 589 ms |
//! | CPU at 3 x, after a wait of 300 ms | scheduler lag | 30047 | 4442 | 406 | 345 ms |
//! | CPU at 3 x, after a wait of 50 ms | no limit | 0 | 40950 | 0 | none |
//! | CPU at 3 x, after a wait of 50 ms | Gradient2 | 30220 | 0 | 432 | 127 ms |
//! | CPU at 3 x, after a wait of 50 ms | scheduler lag | 30463 | 5206 | 426 | 77 ms |
//! | CPU at 3 x, two workers | no limit | 0 | 82581 | 0 | none |
//! | CPU at 3 x, two workers | Gradient2 | 59485 | 0 | 885 | 87 ms |
//! | CPU at 3 x, two workers | scheduler lag | 59527 | 0 | 886 | 31 ms |
//! | CPU at 3 x, eight workers | no limit | 0 | 134189 | 0 | none |
//! | CPU at 3 x, eight workers | Gradient2 | 103570 | 0 | 3538 | 15 ms |
//! | CPU at 3 x, eight workers | scheduler lag | 102875 | 6855 | 3539 | 32 ms |
//! | CPU at 3 x beside 2 000 long polls | no limit | 0 | 37178 | 0 | none |
//! | CPU at 3 x beside 2 000 long polls | Gradient2 | 341361 | 0 | 0 | 266 ms |
//! | CPU at 3 x beside 2 000 long polls | scheduler lag | 34203 | 1249 | 430 | 28 ms |
//! | CPU at 3 x from 10 s on, beside 2 000 long polls | no limit | 0 | 23816 | 0 | none |
//! | CPU at 3 x from 10 s on, beside 2 000 long polls | Gradient2 | 334279 | 0 | 0 | 128 ms |
//! | CPU at 3 x from 10 s on, beside 2 000 long polls | scheduler lag | 21074 | 0 | 419 | 22 ms |
//! | CPU at 1.2 x | no limit | 0 | 14006 | 0 | none |
//! | CPU at 1.2 x | Gradient2 | 0 | 14006 | 0 | none |
//! | CPU at 1.2 x | scheduler lag | 3161 | 0 | 473 | 16 ms |
//! | heavy calls of 50 ms at 3 x | no limit | 0 | 1558 | 0 | none |
//! | heavy calls of 50 ms at 3 x | Gradient2 | 0 | 1558 | 0 | none |
//! | heavy calls of 50 ms at 3 x | scheduler lag | 1243 | 8 | 20 | 284 ms |

use super::*;

const fn waits(steps: &'static [(Duration, Duration)]) -> Route {
    Route {
        steps,
        patient: true,
    }
}

const fn works(steps: &'static [(Duration, Duration)]) -> Route {
    Route {
        steps,
        patient: false,
    }
}

const NOTHING: Duration = Duration::ZERO;
/// A tenth of a millisecond of work, and a wait.
const SECOND: Route = waits(&[(Duration::from_micros(100), Duration::from_secs(1))]);
const TENTH: Route = waits(&[(Duration::from_micros(100), Duration::from_millis(100))]);
const SHORT: Route = waits(&[(Duration::from_micros(100), Duration::from_millis(10))]);
const LONG: Route = waits(&[(Duration::from_micros(100), Duration::from_millis(1_500))]);
const HALF: Route = waits(&[(Duration::from_micros(100), Duration::from_millis(500))]);
const POLL: Route = waits(&[(Duration::from_micros(100), Duration::from_secs(25))]);
/// A connection at the start: 3 ms of work in six pieces.
const START: Route = waits(&[(Duration::from_micros(500), Duration::from_millis(5)); 6]);
/// 2 ms of work, in one piece and in two with a wait between.
const WORK: Route = works(&[(Duration::from_millis(2), NOTHING)]);
const PIECES: Route = works(&[
    (Duration::from_millis(1), Duration::from_millis(5)),
    (Duration::from_millis(1), NOTHING),
]);
const HEAVY: Route = works(&[(Duration::from_millis(50), NOTHING)]);
const WORK_SOON: Route = works(&[
    (Duration::from_micros(50), Duration::from_millis(50)),
    (Duration::from_millis(2), NOTHING),
]);
const WORK_LATER: Route = works(&[
    (Duration::from_micros(50), Duration::from_millis(300)),
    (Duration::from_millis(2), NOTHING),
]);

/// With work that does not get slower as more of it runs, or within the capacity.
const HEALTHY: &[Workload] = &[
    Workload {
        name: "constant: 90 callers of 1 s",
        workers: 1,
        seconds: 25,
        from: 0,
        all_count: true,
        median: 0,
        callers: &[(Callers::Closed(90), |_, _| SECOND)],
    },
    Workload {
        name: "two routes of 10 ms and 1.5 s, 300/s",
        workers: 1,
        seconds: 25,
        from: 2,
        all_count: true,
        median: 0,
        callers: &[(Callers::Open(|_| 300), |_, random| {
            if random < 0.5 { SHORT } else { LONG }
        })],
    },
    Workload {
        name: "step: 90 callers of 0.1 s, from 15 s on of 1 s",
        workers: 1,
        seconds: 40,
        from: 0,
        all_count: true,
        median: 0,
        callers: &[(Callers::Closed(90), |now, _| {
            if now.as_secs() < 15 { TENTH } else { SECOND }
        })],
    },
    Workload {
        name: "burst of 150 from cold",
        workers: 1,
        seconds: 3,
        from: 0,
        all_count: true,
        median: 0,
        callers: &[(Callers::Burst(150, NOTHING), |_, _| TENTH)],
    },
    Workload {
        name: "start: 400 calls of 3 ms at once, then 100/s",
        workers: 1,
        seconds: 10,
        from: 0,
        all_count: true,
        median: 0,
        callers: &[
            (Callers::Burst(400, NOTHING), |_, _| START),
            (Callers::Open(|_| 100), |_, _| SHORT),
        ],
    },
    Workload {
        name: "slow drift: 100/s of 10 ms to 1.5 s in a minute",
        workers: 1,
        seconds: 60,
        from: 0,
        all_count: true,
        median: 0,
        callers: &[(Callers::Open(|_| 100), |now, random| {
            match (now.as_secs() as f64 / 15.0 + random) as u32 {
                0 => SHORT,
                1 => TENTH,
                2 => HALF,
                3 => SECOND,
                _ => LONG,
            }
        })],
    },
    Workload {
        name: "2 000 long polls",
        workers: 1,
        seconds: 60,
        from: 0,
        all_count: true,
        median: 0,
        callers: &[(Callers::Closed(2_000), |_, _| POLL)],
    },
    Workload {
        name: "CPU at 40 %: 190/s of 2 ms",
        workers: 1,
        seconds: 30,
        from: 0,
        all_count: true,
        median: 0,
        callers: &[(Callers::Open(|_| 190), |_, _| WORK)],
    },
    Workload {
        name: "CPU at 80 %: 380/s of 2 ms",
        workers: 1,
        seconds: 30,
        from: 0,
        all_count: true,
        median: 0,
        callers: &[(Callers::Open(|_| 380), |_, _| WORK)],
    },
];

/// With more than the process can do.
const OVERLOADED: &[Workload] = &[
    Workload {
        name: "CPU at 3 x: 1 440/s of 2 ms",
        workers: 1,
        seconds: 30,
        from: 10,
        all_count: false,
        median: 200,
        callers: &[(Callers::Open(|_| 1_440), |_, _| WORK)],
    },
    Workload {
        name: "CPU at 3 x, in two pieces",
        workers: 1,
        seconds: 30,
        from: 10,
        all_count: false,
        median: 200,
        callers: &[(Callers::Open(|_| 1_440), |_, _| PIECES)],
    },
    Workload {
        name: "CPU at 3 x, after a wait of 300 ms",
        workers: 1,
        seconds: 30,
        from: 10,
        all_count: false,
        median: 500,
        callers: &[(Callers::Open(|_| 1_440), |_, _| WORK_LATER)],
    },
    Workload {
        name: "CPU at 3 x, after a wait of 50 ms",
        workers: 1,
        seconds: 30,
        from: 10,
        all_count: false,
        median: 200,
        callers: &[(Callers::Open(|_| 1_440), |_, _| WORK_SOON)],
    },
    Workload {
        name: "CPU at 3 x, two workers",
        workers: 2,
        seconds: 30,
        from: 10,
        all_count: false,
        median: 200,
        callers: &[(Callers::Open(|_| 2_880), |_, _| PIECES)],
    },
    Workload {
        name: "CPU at 3 x, eight workers",
        workers: 8,
        seconds: 13,
        from: 10,
        all_count: false,
        median: 200,
        callers: &[(Callers::Open(|_| 11_520), |_, _| PIECES)],
    },
    Workload {
        name: "CPU at 3 x beside 2 000 long polls",
        workers: 1,
        seconds: 30,
        from: 10,
        all_count: false,
        median: 200,
        callers: &[
            (Callers::Closed(2_000), |_, _| POLL),
            (Callers::Open(|_| 1_300), |_, _| PIECES),
        ],
    },
    Workload {
        name: "CPU at 3 x from 10 s on, beside 2 000 long polls",
        workers: 1,
        seconds: 30,
        from: 12,
        all_count: false,
        median: 200,
        callers: &[
            (Callers::Closed(2_000), |_, _| POLL),
            (
                Callers::Open(|now| if now.as_secs() >= 10 { 1_300 } else { 100 }),
                |_, _| WORK,
            ),
        ],
    },
    Workload {
        name: "CPU at 1.2 x",
        workers: 1,
        seconds: 30,
        from: 10,
        all_count: false,
        median: 200,
        callers: &[(Callers::Open(|_| 576), |_, _| WORK)],
    },
    Workload {
        name: "heavy calls of 50 ms at 3 x",
        workers: 1,
        seconds: 30,
        from: 10,
        all_count: false,
        median: 500,
        callers: &[(Callers::Open(|_| 60), |_, _| HEAVY)],
    },
];

fn by_lag(load: &Workload, seed: u64) -> Report {
    Process::run(Limit::scheduler_lag(), true, load, seed)
}

/// The highest goodput that any fixed limit comes to.
fn best(load: &Workload) -> f64 {
    let limits = [6, 16, 40, 80, 160];
    // Beside long polls, which are in flight, too.
    let polls = load.callers.iter().map(|(callers, _)| match callers {
        Callers::Closed(callers) => *callers,
        _ => 0,
    });
    let polls = polls.sum::<u32>();
    let goodputs = limits
        .map(|limit| Process::run(Limit::fixed(polls + limit), true, load, 1).goodput(load.from));
    goodputs.into_iter().fold(0.0, f64::max)
}

#[test]
fn healthy_workloads_are_never_shed() {
    for load in HEALTHY {
        for seed in 1..4 {
            let report = by_lag(load, seed);
            assert_eq!((report.shed(), report.given_up()), (0, 0), "{}", load.name);
        }
    }
}

#[test]
fn overload_is_found_within_ten_seconds_and_goodput_held() {
    for load in OVERLOADED {
        let best = best(load);
        for seed in 1..3 {
            let report = by_lag(load, seed);
            let goodput = report.goodput(load.from);
            assert!(goodput >= best * 0.9, "{}: {goodput} of {best}", load.name);
            assert!(
                report.median() <= MS * load.median,
                "{}: {:?}",
                load.name,
                report.median()
            );
        }
    }
}

#[test]
fn it_is_lifted_when_the_overload_is_over() {
    let load = Workload {
        name: "CPU at 3 x for ten seconds, then at 40 %",
        workers: 1,
        seconds: 30,
        from: 0,
        all_count: false,
        median: 0,
        callers: &[(
            Callers::Open(|now| if now.as_secs() < 10 { 1_440 } else { 190 }),
            |_, _| PIECES,
        )],
    };
    let report = by_lag(&load, 1);
    assert!(report.shed() > 1_000);
    assert_eq!(
        report.shed[14..].iter().sum::<u32>(),
        0,
        "{:?}",
        report.shed
    );
    assert_eq!(report.given_up[14..].iter().sum::<u32>(), 0);
}

/// The table of this module's documentation is computed. Another processor's logarithms may move a
/// figure a little.
#[test]
fn the_table_is_what_the_simulation_gives() {
    let limits = [
        ("no limit", Limit::fixed(u32::MAX)),
        (
            "Gradient2",
            Limit::gradient2().max(1_024).build().expect("valid"),
        ),
        ("scheduler lag", Limit::scheduler_lag()),
    ];
    let mut computed = Vec::new();
    for load in HEALTHY.iter().chain(OVERLOADED) {
        for (name, limit) in &limits {
            let report = Process::run(*limit, *name == "scheduler lag", load, 1);
            let median = match report.median() {
                NOTHING => "none".to_owned(),
                median => format!("{} ms", median.as_millis()),
            };
            computed.push(format!(
                "//! | {} | {name} | {} | {} | {:.0} | {median} |",
                load.name,
                report.shed(),
                report.given_up(),
                report.goodput(load.from),
            ));
        }
    }
    // What to write there, should it fail.
    println!("{}", computed.join("\n"));
    let figures = |row: &str| {
        let cells = row.split('|').skip(3).map(|cell| cell.trim().to_owned());
        let cells = cells.map(|cell| cell.trim_end_matches(" ms").parse().unwrap_or(-1.0));
        cells.collect::<Vec<f64>>()
    };
    let source = include_str!("workloads.rs");
    let rows = source.lines().filter(|line| line.starts_with("//! | "));
    let documented: Vec<_> = rows.skip(1).collect();
    assert_eq!(documented.len(), computed.len(), "{computed:#?}");
    for (documented, computed) in documented.iter().zip(&computed) {
        for (one, other) in figures(documented).iter().zip(figures(computed)) {
            let close = (one - other).abs() <= 10.0 + 0.05 * one.abs();
            assert!(close, "\n{documented}\n{computed}");
        }
    }
}
