use proptest::prelude::*;

use super::*;

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap()
}

#[test]
fn grpc_values_are_parsed_in_every_unit() {
    for (value, expected) in [
        ("0n", Duration::ZERO),
        ("82n", Duration::from_nanos(82)),
        ("2u", Duration::from_micros(2)),
        ("13m", Duration::from_millis(13)),
        ("42S", Duration::from_secs(42)),
        ("1M", Duration::from_secs(60)),
        ("3H", Duration::from_secs(3 * 3_600)),
        ("00000001S", Duration::from_secs(1)),
        ("99999999H", Duration::from_secs(99_999_999 * 3_600)),
    ] {
        assert_eq!(
            Form::Grpc.parse(value.as_bytes()),
            Some(expected),
            "{value}"
        );
    }
}

#[test]
fn invalid_values_are_no_limit() {
    for value in [
        &b""[..],
        b"S",
        b"1",
        b"1s",
        b"1h",
        b"1 S",
        b" 1S",
        b"-1S",
        b"+1S",
        b"1.5S",
        b"000000001S",
        b"123456789n",
        b"1SS",
        b"\xffS",
        b"1\xff",
        "1\u{b5}".as_bytes(),
        b"1S,2S",
    ] {
        assert_eq!(Form::Grpc.parse(value), None, "{value:?}");
    }
    for value in [
        &b""[..],
        b"-1",
        b"+1",
        b"1.5",
        b" 1",
        b"1 ",
        b"1ms",
        b"0x10",
        b"\xff",
        b"1,2",
        b"18446744073709551616",
        b"99999999999999999999",
        b"000000000000000000001",
    ] {
        assert_eq!(Form::Millis.parse(value), None, "{value:?}");
    }
    assert_eq!(Form::Millis.parse(b"0"), Some(Duration::ZERO));
    assert_eq!(
        Form::Millis.parse(b"1500"),
        Some(Duration::from_millis(1_500))
    );
    assert_eq!(
        Form::Millis.parse(b"18446744073709551615"),
        Some(Duration::from_millis(u64::MAX))
    );
}

#[test]
fn a_repeated_header_is_ignored() {
    let mut headers = HeaderMap::new();
    assert_eq!(Form::Millis.of_header(&headers, &TIMEOUT_MS), None);
    headers.append(&TIMEOUT_MS, HeaderValue::from_static("7"));
    assert_eq!(
        Form::Millis.of_header(&headers, &TIMEOUT_MS),
        Some(Duration::from_millis(7))
    );
    headers.append(&TIMEOUT_MS, HeaderValue::from_static("7"));
    assert_eq!(Form::Millis.of_header(&headers, &TIMEOUT_MS), None);
}

#[test]
fn the_remaining_time_is_formatted_in_the_finest_unit_that_fits() {
    for (left, grpc, millis) in [
        (Duration::ZERO, "0n", "0"),
        (Duration::from_nanos(1), "1n", "1"),
        (Duration::from_nanos(99_999_999), "99999999n", "99"),
        (Duration::from_nanos(100_000_999), "100000u", "100"),
        (Duration::from_micros(99_999_999), "99999999u", "99999"),
        (Duration::from_secs(100), "100000m", "100000"),
        (Duration::from_secs(100_000), "100000S", "100000000"),
        (Duration::from_secs(100_000_059), "1666667M", "100000059000"),
        (Duration::MAX, "99999999H", "18446744073709551615"),
    ] {
        assert_eq!(text(&Form::Grpc.format(left)), grpc);
        assert_eq!(text(&Form::Millis.format(left)), millis);
    }
}

/// All durations, half of them short.
fn durations() -> impl Strategy<Value = Duration> {
    (any::<u64>(), 0..64_u32, 0..1_000_000_000_u32, any::<bool>()).prop_map(
        |(n, shift, nanos, short)| {
            if short {
                Duration::from_nanos(n >> shift)
            } else {
                Duration::new(n >> shift, nanos)
            }
        },
    )
}

proptest! {
    #[test]
    fn a_parsed_value_is_at_most_the_remaining_time_and_above_zero(left in durations()) {
        for (form, grain) in [(Form::Grpc, Duration::ZERO), (Form::Millis, Duration::from_millis(1))] {
            let value = form.format(left);
            let read = form.parse(value.as_bytes()).unwrap();
            prop_assert!(read <= left.max(grain), "{left:?}: {value:?}");
            prop_assert_eq!(read.is_zero(), left.is_zero());
            // It survives a second round trip, and the format's precision is used.
            prop_assert_eq!(form.parse(form.format(read).as_bytes()), Some(read));
            let exact = match form {
                Form::Millis => Duration::from_millis(1),
                Form::Grpc => left / 100_000 + Duration::from_nanos(1),
            };
            if left < Duration::from_secs(99_999_999 * 3_600) {
                prop_assert!(left.saturating_sub(read) < exact, "{left:?}: {value:?}");
            }
        }
    }

    /// Only gRPC's value is always sent over HTTP/2: see `never_indexed`.
    #[test]
    fn only_grpc_values_stay_out_of_the_table(left in durations()) {
        prop_assert!(Form::Grpc.format(left).is_sensitive());
        prop_assert!(!Form::Millis.format(left).is_sensitive());
    }

    #[test]
    fn grpc_values_follow_the_specification(left in durations()) {
        let value = Form::Grpc.format(left);
        let (digits, unit) = text(&value).split_at(value.len() - 1);
        prop_assert!((1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()));
        prop_assert!("HMSmun".contains(unit));
    }

    #[test]
    fn any_bytes_can_be_parsed(value in prop::collection::vec(any::<u8>(), 0..24), digits in "[0-9]{0,22}[HMSmun]?") {
        for form in [Form::Grpc, Form::Millis] {
            let _ = (form.parse(&value), form.parse(digits.as_bytes()));
        }
    }
}
