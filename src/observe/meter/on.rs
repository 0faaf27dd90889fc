//! Metrics, found once for each instance.

use std::collections::HashMap;
use std::mem::size_of_val;
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use metrics::Recorder;

use super::handles::{Handles, describe};
use super::table;
use crate::runtime::isolate::isolate;
use crate::vocabulary::name::Origin;

/// The metrics of an instance: the number of its handles, and 0 where nobody records anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meter(u32);

/// Where an instance keeps its meter that has no state: 0 as long as nobody has looked for it, else its number and 1.
#[derive(Debug, Default)]
pub(crate) struct Metered(AtomicU32);

const NOBODY: u32 = Meter::NOBODY.0 + 1;

impl Metered {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }
}

/// The facade's own, which is there until another one is installed: the only one that is of no size.
fn records_nothing(recorder: &dyn Recorder) -> bool {
    size_of_val(recorder) == 0
}

fn address(recorder: &dyn Recorder) -> usize {
    ptr::from_ref(recorder).cast::<()>().addr()
}

/// Whether a recorder is that of the whole process, which is never dropped. One that was set for this thread alone may be gone, and another one in its
/// place, before the next instance asks.
fn is_global(recorder: &dyn Recorder) -> bool {
    static GLOBAL: AtomicUsize = AtomicUsize::new(0);
    let this = address(recorder);
    let known = GLOBAL.load(Ordering::Relaxed);
    if known != 0 {
        return known == this;
    }
    // The facade does not say; but a thread of its own sees no other. Once in a process, mostly.
    let seen = thread::scope(|scope| {
        let look = || {
            metrics::with_recorder(|recorder| {
                if records_nothing(recorder) {
                    0
                } else {
                    address(recorder)
                }
            })
        };
        let looking = thread::Builder::new().spawn_scoped(scope, look);
        looking.map_or(0, |looking| looking.join().unwrap_or(0))
    });
    GLOBAL.store(seen, Ordering::Relaxed);
    seen == this
}

/// How many there are, and which are of instances that the recorder of the whole process counts for.
#[derive(Default)]
struct Made {
    /// The last number; the first one is 1.
    number: u32,
    global: HashMap<(&'static str, &'static str), Meter>,
}

fn made<R>(with: impl FnOnce(&mut Made) -> R) -> R {
    static MADE: Mutex<Option<Made>> = Mutex::new(None);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    with(made.get_or_insert_default())
}

impl Made {
    fn known(&self, origin: &Origin) -> Option<Meter> {
        let key = (origin.layer(), origin.name());
        self.global.get(&key).copied()
    }

    fn add(&mut self, origin: &Origin, handles: Handles, is_global: bool) -> Meter {
        let number = self.number + 1;
        if number as usize >= table::MOST {
            return Meter::NOBODY;
        }
        self.number = number;
        table::put(number as usize, handles);
        let meter = Meter(number);
        if is_global {
            let key = (origin.layer(), origin.name());
            self.global.insert(key, meter);
        }
        meter
    }
}

impl Meter {
    /// Nobody records anything.
    pub(crate) const NOBODY: Self = Self(0);

    #[inline]
    pub(crate) const fn of_number(number: u32) -> Self {
        Self(number)
    }

    #[inline]
    pub(crate) const fn number(self) -> u32 {
        self.0
    }

    #[inline]
    pub(crate) const fn is_on(self) -> bool {
        self.0 > Self::NOBODY.0
    }

    /// The meter of an instance: one for all that have the same name.
    #[cold]
    pub(crate) fn of(origin: &'static Origin) -> Self {
        let find = |recorder: &dyn Recorder| {
            if records_nothing(recorder) {
                return Self::NOBODY;
            }
            let is_global = is_global(recorder);
            if is_global && let Some(known) = made(|made| made.known(origin)) {
                return known;
            }
            // Two instances that come first at the same time both describe, which is as good.
            if !is_global || made(|made| made.global.is_empty()) {
                describe(recorder);
            }
            // A recorder is somebody else's code: no lock is held while it runs.
            let handles = Handles::new(origin, recorder);
            made(|made| match made.known(origin).filter(|_| is_global) {
                Some(known) => known,
                None => made.add(origin, handles, is_global),
            })
        };
        isolate(|| metrics::with_recorder(find)).unwrap_or(Self::NOBODY)
    }

    /// Tells its handles something, if anybody records it.
    #[inline]
    pub(crate) fn tell(self, tell: impl FnOnce(&Handles)) {
        if self.is_on()
            && let Some(handles) = table::get(self.0 as usize)
        {
            isolate(|| tell(handles));
        }
    }
}

/// Whether there is a recorder.
pub(crate) fn is_recorded() -> bool {
    metrics::with_recorder(|recorder| !records_nothing(recorder))
}

/// Tells the handles of an instance that keeps no meter of its own, because it has no state.
#[inline]
pub(crate) fn tell_of(origin: &'static Origin, tell: impl FnOnce(&Handles)) {
    if origin.metered().0.load(Ordering::Relaxed) != NOBODY {
        tell_of_again(origin, tell);
    }
}

/// The same for what is told rarely: a recorder that was installed late is found then.
pub(crate) fn tell_of_again(origin: &'static Origin, tell: impl FnOnce(&Handles)) {
    match origin.metered().0.load(Ordering::Relaxed) {
        0 | NOBODY => find_and_tell(origin, tell),
        known => Meter(known - 1).tell(tell),
    }
}

#[cold]
fn find_and_tell(origin: &'static Origin, tell: impl FnOnce(&Handles)) {
    let find = |recorder: &dyn Recorder| {
        if records_nothing(recorder) {
            return None;
        }
        if is_global(recorder) {
            return Some(None);
        }
        describe(recorder);
        Some(Some(Handles::new(origin, recorder)))
    };
    match isolate(|| metrics::with_recorder(find)).flatten() {
        None => origin.metered().0.store(NOBODY, Ordering::Relaxed),
        Some(Some(own)) => {
            isolate(|| tell(&own));
        }
        Some(None) => {
            let meter = Meter::of(origin);
            origin.metered().0.store(meter.0 + 1, Ordering::Relaxed);
            meter.tell(tell);
        }
    }
}
