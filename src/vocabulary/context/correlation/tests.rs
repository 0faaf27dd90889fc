use super::*;

#[test]
fn a_text_is_dropped_when_its_scope_is_left() {
    let text: Arc<str> = "order-4711".into();
    let id = CorrelationId::of_text(Arc::clone(&text));
    let other = CorrelationId::of_uuid(1, 2);
    {
        let _outer = CorrelationScope::enter(Some(&id));
        let _inner = CorrelationScope::enter(Some(&other));
        assert_eq!(current(), Some(other.clone()));
    }
    assert_eq!(current(), None);
    drop(id);
    assert_eq!(Arc::strong_count(&text), 1);
}
