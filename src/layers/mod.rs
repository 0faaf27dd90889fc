//! The layers, a folder each.

pub mod admission;
pub mod bulkhead;
pub mod circuit_breaker;
pub mod correlation;
#[cfg_attr(
    not(feature = "http"),
    allow(dead_code, reason = "only HTTP has headers")
)]
pub(crate) mod deadline;
pub(crate) mod handle;
pub mod keyed;
pub mod load_shed;
pub mod rate_limit;
pub mod retry;
pub mod timeout;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::kind::{Id, Kind};
    use crate::vocabulary::reason::Reason;

    static KINDS: [&Kind; 9] = [
        &bulkhead::KIND,
        &circuit_breaker::KIND,
        &correlation::KIND,
        &deadline::KIND,
        &load_shed::KIND,
        &rate_limit::KIND,
        &retry::KIND,
        &timeout::ATTEMPT_KIND,
        &timeout::KIND,
    ];

    #[test]
    fn every_kind_has_an_id_of_its_own() {
        for id in Id::ALL {
            let times = KINDS.iter().filter(|kind| kind.id == id).count();
            let is_users = matches!(id, Id::Admission | Id::Unknown);
            assert_eq!(times, usize::from(!is_users), "{id:?}");
        }
    }

    #[test]
    fn every_reason_is_that_of_a_kind_or_of_a_users_policy() {
        for reason in Reason::ALL {
            let known = KINDS.iter().any(|kind| kind.reasons.contains(&reason));
            let users = reason == Reason::Refused;
            assert!(known || users, "{reason}");
        }
    }
}
