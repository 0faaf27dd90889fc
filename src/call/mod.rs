//! One call through a layer: readiness, entry time, permit, response future, and its end.

pub(crate) mod admit;
pub(crate) mod call_time;
pub(crate) mod entry;
pub(crate) mod future;
pub(crate) mod inner;
pub(crate) mod permit;
pub(crate) mod progress;
pub(crate) mod readiness;
pub(crate) mod replay;
pub(crate) mod spawn;
pub(crate) mod ticket;
pub(crate) mod track;
