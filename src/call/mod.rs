//! One call through a layer: readiness, the entry time, the permit, the response future, and when the call is over.

pub(crate) mod entry;
pub(crate) mod guarded;
pub(crate) mod inner;
pub(crate) mod permit;
pub(crate) mod replay;
pub(crate) mod spawn;
pub(crate) mod time;
pub(crate) mod track;
pub(crate) mod unsent;
