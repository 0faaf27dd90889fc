use proptest::prelude::*;

use super::*;

const ALLOWED: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:/+=@-";

fn parse(text: &str) -> Result<CorrelationId, InvalidCorrelationId> {
    text.parse()
}

proptest! {
    #[test]
    fn takes_what_the_list_allows_and_nothing_else(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            "[A-Za-z0-9._:/+=@-]{0,140}".prop_map(String::into_bytes),
            "[0-9a-fA-F]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
                .prop_map(String::into_bytes),
        ],
    ) {
        let fits = (1..=128).contains(&bytes.len());
        let expected = fits && bytes.iter().all(|byte| ALLOWED.as_bytes().contains(byte));
        let id = CorrelationId::try_from(bytes.as_slice());
        prop_assert_eq!(id.is_ok(), expected);
        if let Ok(id) = id {
            let mut buffer = [0; 36];
            prop_assert_eq!(id.encode(&mut buffer).as_bytes(), bytes.as_slice());
            prop_assert_eq!(id.to_string().into_bytes(), bytes);
            prop_assert_eq!(&parse(&id.to_string()).expect("valid"), &id);
        }
    }

    #[test]
    fn what_differs_from_a_uuid_in_one_byte_is_taken_as_it_is(
        text in "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        at in 0..36_usize,
        byte in prop::sample::select(ALLOWED.as_bytes()),
    ) {
        let mut bytes = text.into_bytes();
        bytes[at] = byte;
        let id = CorrelationId::try_from(bytes.as_slice()).expect("valid");
        prop_assert_eq!(id.to_string().into_bytes(), bytes);
    }

    #[test]
    fn a_uuid_is_written_as_the_crate_uuid_writes_it(high in any::<u64>(), low in any::<u64>()) {
        let text = uuid::Uuid::from_u64_pair(high, low).to_string();
        prop_assert_eq!(CorrelationId::of_uuid(high, low).to_string(), text);
    }

    #[test]
    fn new_ones_are_uuids_of_version_7_that_come_back_equal(
        millis in 0..1_u64 << 48,
        random in any::<[u8; 10]>(),
    ) {
        let id = CorrelationId::new(millis, random);
        let text = id.to_string();
        prop_assert_eq!(&parse(&text).expect("valid"), &id);
        prop_assert_eq!(&text[14..15], "7");
        prop_assert!("89ab".contains(&text[19..20]));
        let time = format!("{}{}", &text[..8], &text[9..13]);
        prop_assert_eq!(u64::from_str_radix(&time, 16), Ok(millis));
    }
}

#[test]
fn nothing_harmful_is_echoed() {
    let long = "a".repeat(100_000);
    for bytes in [
        &b"a\tb"[..],
        b"\xFF",
        b"",
        b"a b",
        b"a\r\nSet-Cookie:x",
        long.as_bytes(),
    ] {
        assert!(CorrelationId::try_from(bytes).is_err());
    }
    assert!(parse(&"a".repeat(128)).is_ok());
    assert!(parse(&"a".repeat(129)).is_err());
}

#[test]
fn the_error_names_the_rule_and_not_the_value() {
    let message = |text: &str| parse(text).expect_err("invalid").to_string();
    assert_eq!(message(""), "invalid correlation ID: it is empty");
    let long = message(&"z".repeat(1_000));
    assert_eq!(
        long,
        "invalid correlation ID: it is 1000 bytes long, more than 128"
    );
    assert!(message("secret<script>").contains("byte 6 is none of"));
    assert!(!message("secret<script>").contains("secret"));
}

#[test]
fn only_the_lower_case_spelling_of_a_uuid_is_kept_as_one() {
    let lower = "0192f0c1-2a3b-7c4d-8e5f-a0b1c2d3e4f5";
    let is_uuid = |text: &str| matches!(parse(text).expect("valid").0, Repr::Uuid(..));
    assert!(is_uuid(lower));
    assert!(!is_uuid(&lower.to_uppercase()));
    assert!(!is_uuid(&lower.replace('-', "")));
    assert!(!is_uuid("0192f0c1-2a3b-7c4d-8e5f-a0b1c2d3e4fg"));
    assert_eq!(
        parse(&lower.to_uppercase()).expect("valid").to_string(),
        lower.to_uppercase()
    );
}

#[test]
fn debug_shows_the_text() {
    let id = parse("order-4711").expect("valid");
    assert_eq!(format!("{id:?}"), "CorrelationId(\"order-4711\")");
    assert_eq!(format!("{id:>12}"), "  order-4711");
}

proptest! {
    #[test]
    fn eight_digits_at_a_time_are_what_one_by_one_says(
        text in prop_oneof![
            any::<[u8; 8]>(),
            "[0-9a-f]{8}".prop_map(|text| text.into_bytes().try_into().expect("eight")),
            "[0-9a-g/:`A-F]{8}".prop_map(|text| text.into_bytes().try_into().expect("eight")),
        ],
    ) {
        let one_by_one = text.iter().try_fold(0, |number, byte| {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                _ => return None,
            };
            Some(number << 4 | u64::from(digit))
        });
        prop_assert_eq!(digits(u64::from_be_bytes(text)), one_by_one);
    }
}
