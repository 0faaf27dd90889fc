use super::*;

#[test]
fn known_error_types_are_created() {
    let why = CutOff::Panicked;
    let made = make::<BoxError>(why).unwrap();
    assert_eq!(made.downcast_ref(), Some(&why));
    assert!(make::<io::Error>(why).is_some());
    assert!(make::<std::convert::Infallible>(why).is_none());
    #[cfg(feature = "axum")]
    assert!(make::<axum_core::Error>(why).is_some());
    #[cfg(feature = "tonic")]
    assert!(make::<tonic::Status>(why).is_some());
}
