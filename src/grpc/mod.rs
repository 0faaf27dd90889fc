//! gRPC, on the types of the `http` crate and (feature `tonic`) of tonic.

use std::sync::OnceLock;

use tonic::Status;

use crate::Reason;

/// A status of the reason's code, to be found in a rejection's chain of sources.
pub(crate) fn status_of(reason: Reason) -> &'static Status {
    static STATUSES: [OnceLock<Status>; 3] = [const { OnceLock::new() }; 3];
    let (slot, make): (_, fn(&str) -> Status) = match reason {
        Reason::CircuitOpen | Reason::NotReady => (0, |text| Status::unavailable(text)),
        Reason::Full | Reason::QueueTimeout | Reason::Shed => {
            (1, |text| Status::resource_exhausted(text))
        }
        Reason::TimedOut | Reason::DeadlinePassed => (2, |text| Status::deadline_exceeded(text)),
    };
    STATUSES[slot].get_or_init(|| make(reason.describe()))
}
