//! The current correlation ID.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use crate::vocabulary::correlation_id::{CorrelationId, Parts};

/// Restores the outer correlation ID when dropped.
///
/// It is entered around every poll, so it is cheap in the common case: without an outer ID, a UUID
/// is written to three cells, and one of them is cleared again.
#[derive(Debug)]
pub(crate) struct CorrelationScope {
    before: Option<Box<CorrelationId>>,
}

/// The form of the current correlation ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    None,
    Uuid,
    Text,
}

thread_local! {
    static KIND: Cell<Kind> = const { Cell::new(Kind::None) };
    static HIGH: Cell<u64> = const { Cell::new(0) };
    static LOW: Cell<u64> = const { Cell::new(0) };
    static TEXT: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

impl CorrelationScope {
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn enter(id: Option<&CorrelationId>) -> Self {
        let before = match KIND.get() {
            Kind::None => None,
            _ => current().map(Box::new),
        };
        set(id);
        Self { before }
    }

    /// Keeps the current ID.
    #[cold]
    pub(crate) fn unchanged() -> Self {
        Self {
            before: current().map(Box::new),
        }
    }
}

impl Drop for CorrelationScope {
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn drop(&mut self) {
        match (self.before.take(), KIND.get()) {
            (None, Kind::None | Kind::Uuid) => KIND.set(Kind::None),
            (before, _) => restore(before),
        }
    }
}

#[cfg_attr(not(debug_assertions), inline(always))]
fn set(id: Option<&CorrelationId>) {
    let before = KIND.get();
    match id.map(CorrelationId::parts) {
        None => KIND.set(Kind::None),
        Some(Parts::Uuid(high, low)) => {
            KIND.set(Kind::Uuid);
            HIGH.set(high);
            LOW.set(low);
        }
        Some(Parts::Text(text)) => {
            KIND.set(Kind::Text);
            set_text(Some(Arc::clone(text)));
            return;
        }
    }
    if before == Kind::Text {
        set_text(None);
    }
}

#[cold]
fn restore(before: Option<Box<CorrelationId>>) {
    set(before.as_deref());
}

#[cold]
fn set_text(text: Option<Arc<str>>) {
    // A thread that ends has no context. The old text is dropped once the cell is no longer
    // borrowed.
    drop(TEXT.try_with(|current| current.replace(text)));
}

/// The current correlation ID.
pub(crate) fn current() -> Option<CorrelationId> {
    match KIND.get() {
        Kind::None => None,
        Kind::Uuid => Some(CorrelationId::of_uuid(HIGH.get(), LOW.get())),
        Kind::Text => {
            let text = TEXT.try_with(|text| text.borrow().clone()).ok().flatten();
            text.map(CorrelationId::of_text)
        }
    }
}

#[cfg(test)]
mod tests;
