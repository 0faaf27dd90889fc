//! The layers, a folder each.

pub mod admission;
pub mod bulkhead;
pub mod circuit_breaker;
pub mod correlation;
pub mod load_shed;
pub mod rate_limit;
pub mod retry;
pub mod timeout;
