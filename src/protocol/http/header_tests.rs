use super::*;
use http::header::ACCEPT;

/// A map with `others` other headers and `times` values of this one.
fn headers(others: usize, times: usize) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for n in 0..others {
        let name = HeaderName::from_bytes(format!("x-{n}").as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_static("other"));
    }
    for n in 0..times {
        headers.append(ACCEPT, HeaderValue::from(n));
    }
    headers
}

#[test]
fn many_headers_or_few() {
    for others in [0, 1, FEW - 1, FEW, FEW + 1, 100] {
        assert_eq!(first(&headers(others, 0), &ACCEPT), None);
        assert_eq!(first(&headers(others, 1), &ACCEPT).unwrap(), "0");
        assert_eq!(first(&headers(others, 2), &ACCEPT).unwrap(), "0");

        let single = |times, expected: fn(Single<'_>) -> bool| {
            assert!(expected(Single::of(&headers(others, times), &ACCEPT)));
        };
        single(0, |single| matches!(single, Single::Missing));
        single(
            1,
            |single| matches!(single, Single::Value(value) if value == "0"),
        );
        for times in [2, 3, 20] {
            single(times, |single| matches!(single, Single::Repeated));
        }
    }
}

#[test]
fn a_full_map_refuses_a_new_name_and_replaces_an_old_one() {
    let mut headers = HeaderMap::new();
    headers.append(ACCEPT, HeaderValue::from_static("a"));
    headers.append(ACCEPT, HeaderValue::from_static("b"));
    fill(&mut headers);
    let all = headers.keys_len();
    set(
        &mut headers,
        &http::header::RETRY_AFTER,
        HeaderValue::from_static("1"),
    );
    assert_eq!(
        (headers.keys_len(), headers.get("retry-after")),
        (all, None)
    );
    set(&mut headers, &ACCEPT, HeaderValue::from_static("c"));
    assert_eq!(headers.keys_len(), all);
    assert!(headers.get_all(ACCEPT).iter().eq(["c"]));
}
