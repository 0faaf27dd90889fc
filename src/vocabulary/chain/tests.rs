use super::*;
use crate::vocabulary::{error::Error, reason::Reason, rejection::Rejection};

#[test]
fn an_error_is_found_behind_any_other() {
    let rejection = Rejection::new("bulkhead", "disk", Reason::Full);
    assert_eq!(find(&rejection), Some(&rejection));
    let error: Error<io::Error> = Error::Rejected(rejection.clone());
    assert_eq!(find(&error), Some(&rejection));
    let inner = io::Error::other(io::Error::other(rejection.clone()));
    let error = Error::Inner(inner);
    assert_eq!(find(&error), Some(&rejection));
    assert_eq!(find::<std::fmt::Error>(&error), None);
    let shared = io::Error::other(Arc::new(rejection.clone()));
    assert_eq!(find(&shared), Some(&rejection));
    assert_eq!(find(&Box::new(rejection.clone())), Some(&rejection));
}
