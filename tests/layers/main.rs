//! How each layer behaves alone, without a protocol.

mod builders;
mod bulkhead;
mod circuit_breaker;
mod clock;
mod configuration;
mod correlation;
mod keyed;
mod keyed_load_shed;
mod keyed_retry;
mod lag;
mod lifetimes;
mod load_shed;
mod overrides;
mod priority;
mod rate_limit;
mod readiness;
mod retry;
mod retry_clones;
mod settings;
mod settings_race;
mod settings_retry;
mod settings_timeout;
mod testing;
mod timeout;

#[path = "../support/mod.rs"]
mod support;
