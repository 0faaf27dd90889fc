use super::*;
use crate::vocabulary::reason::Reason;

#[derive(Default)]
struct Frame(Option<Vec<u8>>);

impl Carry for Frame {
    fn get(&self, field: &str) -> Option<&[u8]> {
        self.0.as_deref().filter(|_| field == FIELD)
    }

    fn set(&mut self, _: &str, value: &str) {
        self.0 = Some(value.into());
    }
}

#[test]
fn untrusted_values_are_checked() {
    let frame = |value: &str| Frame(Some(value.into()));
    for value in ["", "-1", "1.5", "1 ", "abc", "99999999999999999999", "1\n"] {
        assert_eq!(asked(&frame(value)), None, "{value:?}");
    }
    assert_eq!(asked(&Frame::default()), None);
    assert_eq!(asked(&frame("0")), Some(Duration::ZERO));
    assert_eq!(asked(&frame("3")), Some(FLOOR));
    assert_eq!(asked(&frame("250")), Some(Duration::from_millis(250)));
    assert_eq!(
        asked(&frame("18446744073709551615")),
        Some(Duration::from_millis(u64::MAX))
    );
}

#[tokio::test(start_paused = true)]
async fn a_late_attempt_is_rejected_in_the_name_of_the_stack() {
    use tower::{ServiceExt as _, service_fn};

    let layer = CarriedDeadlineLayer::new("queue", None).unwrap();
    let service = layer.layer(service_fn(async |frame: Frame| {
        Ok::<_, std::convert::Infallible>(frame.0)
    }));
    let context =
        crate::vocabulary::context::Context::current().with_timeout(Duration::from_millis(50));
    let call = async || service.clone().oneshot(Frame::default()).await;
    let in_time = context.clone().scope(call()).await;
    assert_eq!(in_time.unwrap().as_deref(), Some(&b"50"[..]));
    tokio::time::advance(Duration::from_millis(50)).await;
    let late = context.scope(call()).await.unwrap_err();
    assert_eq!((late.layer(), late.name()), ("deadline", "queue"));
    assert_eq!(late.reason(), Reason::DeadlinePassed);
}

#[test]
fn the_shorter_limit_stays_and_a_remainder_is_never_zero() {
    let written = |own: Option<&str>, left| {
        let mut frame = Frame(own.map(Into::into));
        DeadlineField.write(&mut frame, left);
        String::from_utf8(frame.0.unwrap()).unwrap()
    };
    let second = Duration::from_secs(1);
    assert_eq!(written(None, second), "1000");
    assert_eq!(written(Some("20"), second), "20");
    assert_eq!(written(Some("2000"), second), "1000");
    assert_eq!(written(Some("soon"), second), "1000");
    assert_eq!(written(None, Duration::from_micros(1_999)), "1");
    assert_eq!(written(None, Duration::from_nanos(1)), "1");
}
