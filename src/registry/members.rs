//! The weak references of a registry to instances and stacks.

use std::collections::btree_map::BTreeMap;
use std::collections::hash_map::{self, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use tokio::sync::broadcast;

use super::instance::{Instance, WeakInstance};
use super::live::LiveStack;
use crate::observe::emitter::Membership;
use crate::observe::event::Event;
#[cfg(feature = "tracing")]
use crate::runtime::isolate::isolate;
use crate::vocabulary::mode::Mode;
use crate::vocabulary::name::InstanceName;

/// Number of events that a subscription to a registry stores for a slow reader.
pub(super) const BACKLOG: usize = 1_024;

/// The state that clones of a registry share.
#[derive(Default)]
pub(super) struct Members {
    locked: Mutex<Locked>,
    /// The channel of its subscribers, made for the first one.
    channel: OnceLock<broadcast::Sender<Event>>,
}

/// No instance is dropped, and no other lock is taken, while this is locked.
#[derive(Default)]
struct Locked {
    next: u64,
    /// In the order in which they joined.
    entries: BTreeMap<u64, Weak<Entry>>,
    /// The number of instances that have a name.
    names: HashMap<InstanceName, u32>,
}

/// A stack or a single layer. Its instances own it: it leaves the registry with the last of them.
pub(super) struct Entry {
    number: u64,
    members: Weak<Members>,
    pub(super) stack: Option<Arc<dyn LiveStack>>,
    layers: Vec<Layer>,
}

/// A layer of an entry.
struct Layer {
    instance: WeakInstance,
    name: InstanceName,
    is_on: bool,
}

/// A layer of a stack.
pub(crate) struct Member {
    pub(crate) instance: Instance,
    /// Whether it was on when the stack was built.
    pub(crate) is_on: bool,
}

impl Member {
    /// Whether a list shows it: whether it is on, or has rejected a call although it is off.
    pub(super) fn is_listed(&self) -> bool {
        let is_on = match self.instance.mode() {
            Some(mode) => mode != Mode::Off,
            None => self.is_on,
        };
        is_on || self.instance.has_rejected()
    }
}

impl Members {
    /// Adds a stack, or a single layer unless it is in the registry already.
    pub(super) fn add(self: &Arc<Self>, stack: Option<Arc<dyn LiveStack>>, members: &[Member]) {
        let layers = members.iter().map(|Member { instance, is_on }| Layer {
            instance: instance.downgrade(),
            name: instance.emitter().instance().clone(),
            is_on: *is_on,
        });
        let number = {
            let mut locked = self.lock();
            locked.next += 1;
            locked.next
        };
        let entry = Arc::new(Entry {
            number,
            members: Arc::downgrade(self),
            stack,
            layers: layers.collect(),
        });
        let is_single = entry.stack.is_none();
        let is_same = |other: &Membership| {
            let other = other.downcast_ref::<Entry>();
            is_single && other.is_some_and(|other| other.is_of(self))
        };
        let membership: Membership = entry.clone();
        let mut is_new = false;
        for Member { instance, .. } in members {
            is_new |= instance.emitter().join(&membership, is_same);
        }
        if !is_new {
            return;
        }
        let twice = self.insert(&entry);
        warn(&twice);
        if let Some(channel) = self.channel.get()
            && channel.receiver_count() > 0
        {
            for Member { instance, .. } in members {
                instance.emitter().send_to(channel);
            }
        }
    }

    /// Returns the names that a second instance has now.
    fn insert(&self, entry: &Arc<Entry>) -> Vec<InstanceName> {
        let mut locked = self.lock();
        locked.entries.insert(entry.number, Arc::downgrade(entry));
        let mut twice = Vec::new();
        for name in entry.counted() {
            let count = locked.names.entry(name.clone()).or_default();
            *count += 1;
            if *count == 2 {
                twice.push(name.clone());
            }
        }
        twice
    }

    /// Subscribes to the events of all instances, of those that join later, too.
    pub(super) fn subscribe(self: &Arc<Self>) -> broadcast::Receiver<Event> {
        let channel = self.channel.get_or_init(|| broadcast::channel(BACKLOG).0);
        // First, so that an instance that joins meanwhile finds it.
        let receiver = channel.subscribe();
        for entry in self.entries() {
            for member in entry.members() {
                member.instance.emitter().send_to(channel);
            }
        }
        receiver
    }

    pub(super) fn entries(&self) -> Vec<Arc<Entry>> {
        let locked = self.lock();
        locked.entries.values().filter_map(Weak::upgrade).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Locked> {
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn is_of(&self, members: &Arc<Members>) -> bool {
        std::ptr::eq(self.members.as_ptr(), Arc::as_ptr(members))
    }

    /// The layers that are still alive, on or off, outermost first.
    pub(super) fn members(&self) -> impl Iterator<Item = Member> {
        self.layers.iter().filter_map(|layer| {
            let instance = layer.instance.upgrade()?;
            let is_on = layer.is_on;
            Some(Member { instance, is_on })
        })
    }

    /// All layers; `None` if one of them is gone.
    pub(super) fn all_members(&self) -> Option<Vec<Member>> {
        let members: Vec<_> = self.members().collect();
        (members.len() == self.layers.len()).then_some(members)
    }

    /// The names that count as taken.
    fn counted(&self) -> impl Iterator<Item = &InstanceName> {
        let on = self.layers.iter().filter(|layer| layer.is_on);
        on.map(|layer| &layer.name)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let Some(members) = self.members.upgrade() else {
            return;
        };
        let mut locked = members.lock();
        if locked.entries.remove(&self.number).is_none() {
            return;
        }
        for name in self.counted() {
            if let hash_map::Entry::Occupied(mut count) = locked.names.entry(name.clone()) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
        let (len, capacity) = (locked.names.len(), locked.names.capacity());
        if 4 * len < capacity {
            locked.names.shrink_to(2 * len);
        }
    }
}

/// Logs that a second instance has a name.
#[cfg(feature = "tracing")]
fn warn(twice: &[InstanceName]) {
    let Some(first) = twice.first() else { return };
    let layers: Vec<_> = twice.iter().map(InstanceName::layer).collect();
    // The `tracing` subscriber is user code.
    isolate(|| {
        tracing::warn!(
            target: "mainstay::registry",
            name = first.name(),
            layers = layers.join(" "),
            "two instances have the same name"
        );
    });
}

#[cfg(not(feature = "tracing"))]
fn warn(_: &[InstanceName]) {}
