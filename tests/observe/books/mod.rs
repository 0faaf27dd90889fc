//! The books balance: whatever happens to calls, and in whatever order, each is in exactly one count, and the snapshot, the metrics and the events agree.
#![cfg(all(feature = "http", feature = "metrics"))]

mod bodies;
mod calls;
mod ledger;
