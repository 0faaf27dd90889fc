//! Types that all layers share: names, reasons, rejections, errors, outcomes and the context.

pub(crate) mod chain;
pub(crate) mod config;
pub(crate) mod context;
pub(crate) mod correlation_id;
pub(crate) mod error;
pub(crate) mod grpc_name;
pub(crate) mod kind;
pub(crate) mod mode;
pub(crate) mod name;
pub(crate) mod outcome;
pub(crate) mod overrides;
pub(crate) mod priority;
pub(crate) mod reason;
pub(crate) mod rejection;
pub(crate) mod sealed;
pub mod settings;
