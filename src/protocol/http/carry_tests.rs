use super::*;

#[test]
fn a_repeated_header_has_an_empty_value() {
    let mut headers = HeaderMap::new();
    assert_eq!(Carry::get(&headers, "x-correlation-id"), None);
    headers.append("x-correlation-id", HeaderValue::from_static("a"));
    assert_eq!(Carry::get(&headers, "x-correlation-id"), Some(&b"a"[..]));
    headers.append("x-correlation-id", HeaderValue::from_static("a"));
    assert_eq!(Carry::get(&headers, "x-correlation-id"), Some(&b""[..]));
}

#[test]
fn bytes_are_not_decoded() {
    let mut headers = HeaderMap::new();
    headers.insert("x-request-id", HeaderValue::from_bytes(b"\xff\t").unwrap());
    assert_eq!(Carry::get(&headers, "x-request-id"), Some(&b"\xff\t"[..]));
}

#[test]
fn set_replaces_all_values_and_ignores_invalid_ones() {
    let mut headers = HeaderMap::new();
    headers.append("x-correlation-id", HeaderValue::from_static("a"));
    headers.append("x-correlation-id", HeaderValue::from_static("b"));
    headers.set("x-correlation-id", "c");
    assert_eq!(Carry::get(&headers, "x-correlation-id"), Some(&b"c"[..]));
    headers.set("x-trace.id", "d");
    assert_eq!(Carry::get(&headers, "x-trace.id"), Some(&b"d"[..]));

    headers.set("not a name", "x");
    headers.set("", "x");
    headers.set("x-correlation-id", "two\nlines");
    assert_eq!(Carry::get(&headers, "x-correlation-id"), Some(&b"c"[..]));
    assert_eq!(headers.len(), 2);
}

#[test]
fn over_http_2_it_stays_out_of_the_table() {
    for (version, stays_out) in [(Version::HTTP_11, false), (Version::HTTP_2, true)] {
        let mut request = http::Request::new(());
        *request.version_mut() = version;
        Carry::set(&mut request, "x-correlation-id", "a");
        assert_eq!(
            request.headers()["x-correlation-id"].is_sensitive(),
            stays_out
        );

        let mut response = http::Response::new(());
        *response.version_mut() = version;
        Carry::set(&mut response, "x-correlation-id", "a");
        assert_eq!(
            response.headers()["x-correlation-id"].is_sensitive(),
            stays_out
        );
    }
}

#[test]
fn a_full_map_is_left_alone() {
    let mut headers = HeaderMap::new();
    header::fill(&mut headers);
    for field in ["x-correlation-id", "x-trace.id"] {
        headers.set(field, "a");
        assert_eq!(Carry::get(&headers, field), None);
        let mut response = http::Response::new(());
        *response.headers_mut() = headers.clone();
        Carry::set(&mut response, field, "a");
        assert_eq!(Carry::get(&response, field), None);
    }
}
