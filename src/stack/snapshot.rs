//! The snapshots of a stack's layers.

use std::fmt;

use crate::bulkhead::{self, BulkheadLayer};
use crate::circuit_breaker::{self, CircuitBreakerLayer};
use crate::load_shed::{self, Limited, LoadShedLayer};
use crate::retry::{self, RetryLayer};
use crate::timeout::{self, TimeoutLayer};

/// A layer with a snapshot.
pub(super) trait Snapshots {
    type Snapshot;

    fn snapshot(&self) -> Self::Snapshot;
}

macro_rules! snapshots {
    ($([$($parameter:ident),*] $layer:ty, $snapshot:ty, $by:expr;)*) => {$(
        impl<$($parameter),*> Snapshots for $layer {
            type Snapshot = $snapshot;

            fn snapshot(&self) -> $snapshot {
                $by(self)
            }
        }
    )*};
}

snapshots! {
    [P, B] TimeoutLayer<P, B>, timeout::Snapshot, Self::snapshot;
    [P, R] RetryLayer<P, R>, retry::Snapshot, Self::snapshot;
    [T] CircuitBreakerLayer<T>, circuit_breaker::Snapshot, |layer: &Self| layer.handle().snapshot();
    [T] LoadShedLayer<Limited<T>>, load_shed::Snapshot, Self::snapshot;
    [M, T] BulkheadLayer<M, T>, bulkhead::Snapshot, Self::snapshot;
}

/// One line each, outermost first.
pub(super) fn lines(
    f: &mut fmt::Formatter<'_>,
    layers: &[Option<&dyn fmt::Display>],
) -> fmt::Result {
    for (at, line) in layers.iter().flatten().enumerate() {
        let end = if at == 0 { "" } else { "\n" };
        write!(f, "{end}{line}")?;
    }
    Ok(())
}
