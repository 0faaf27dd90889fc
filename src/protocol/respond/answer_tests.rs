use super::super::body::{EmptyBody, KnownBody};
use super::*;
use crate::layers::rate_limit::RateLimitLayer;
use std::time::Duration;

const STYLE: Style = Style {
    full: StatusCode::SERVICE_UNAVAILABLE,
    names: false,
    quota: None,
};

fn rejection(reason: Reason) -> Rejection {
    Rejection::new("bulkhead", "payments/eu", reason)
}

#[test]
fn every_reason_has_a_status_and_valid_problem_details() {
    for (reason, status, code) in [
        (Reason::CircuitOpen, 503, "14"),
        (Reason::NotReady, 503, "14"),
        (Reason::Full, 503, "14"),
        (Reason::QueueTimeout, 503, "14"),
        (Reason::Shed, 503, "14"),
        (Reason::TimedOut, 504, "4"),
        (Reason::DeadlinePassed, 504, "4"),
        (Reason::RateLimited, 429, "8"),
    ] {
        let response: Response<String> =
            answer(rejection(reason), Format::Http, &STYLE, &KnownBody);
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        let json: serde_json::Value = serde_json::from_str(response.body()).unwrap();
        assert_eq!(json["type"], "about:blank");
        assert_eq!(json["status"], status);
        assert_eq!(json["title"], response.status().canonical_reason().unwrap());
        assert_eq!(json["reason"], reason.as_str());
        assert_eq!(json["detail"], reason.describe());
        assert!(json.get("name").is_none() && json.get("layer").is_none());
        assert!(!response.body().contains("payments"));
        let carried = response.extensions().get::<Rejection>();
        assert_eq!(carried, Some(&rejection(reason)));

        let format = Format::Grpc("application/grpc");
        let response: Response<String> = answer(rejection(reason), format, &STYLE, &KnownBody);
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], code);
        assert_eq!(response.headers()["grpc-message"], reason.describe());
        assert_eq!(response.headers()[CONTENT_TYPE], "application/grpc");
        assert_eq!(response.body(), "");
    }
}

#[test]
fn full_may_be_a_429_and_names_may_be_shown() {
    let style = Style {
        full: StatusCode::TOO_MANY_REQUESTS,
        names: true,
        quota: None,
    };
    for reason in [Reason::Full, Reason::QueueTimeout] {
        let response: Response<String> =
            answer(rejection(reason), Format::Http, &style, &KnownBody);
        assert_eq!(response.status(), 429);
        let json: serde_json::Value = serde_json::from_str(response.body()).unwrap();
        assert_eq!(json["layer"], "bulkhead");
        assert_eq!(json["name"], "payments/eu");
        let format = Format::Grpc("application/grpc");
        let response: Response<String> = answer(rejection(reason), format, &style, &KnownBody);
        assert_eq!(response.headers()["grpc-status"], "8");
    }
    let shed = rejection(Reason::Shed);
    let response: Response<String> = answer(shed.clone(), Format::Http, &style, &KnownBody);
    assert_eq!(response.status(), 503);
    let format = Format::Grpc("application/grpc");
    let response: Response<String> = answer(shed.clone(), format, &style, &KnownBody);
    assert_eq!(response.headers()["grpc-message"], shed.to_string());
}

#[test]
fn the_answer_carries_the_time_if_it_is_known() {
    let late = rejection(Reason::CircuitOpen).with_retry_after(Duration::from_micros(1_200_300));
    let response: Response<String> = answer(late.clone(), Format::Http, &STYLE, &KnownBody);
    assert_eq!(response.headers()["retry-after"], "2");
    let format = Format::Grpc("application/grpc");
    let response: Response<String> = answer(late, format, &STYLE, &KnownBody);
    assert_eq!(response.headers()["grpc-retry-pushback-ms"], "1201");
    assert!(!response.headers().contains_key("retry-after"));

    let unknown = rejection(Reason::CircuitOpen);
    let response: Response<String> = answer(unknown, Format::Http, &STYLE, &KnownBody);
    assert!(!response.headers().contains_key("retry-after"));
}

#[test]
fn an_empty_body_is_not_called_json() {
    let response: Response<String> =
        answer(rejection(Reason::Full), Format::Http, &STYLE, &EmptyBody);
    assert_eq!(response.body(), "");
    assert!(!response.headers().contains_key(CONTENT_TYPE));
}

#[test]
fn content_types() {
    for (value, expected) in [
        ("application/grpc", Some("application/grpc")),
        ("Application/GRPC", Some("application/grpc")),
        ("application/grpc+proto", Some("application/grpc+proto")),
        ("application/grpc+thrift", Some("application/grpc")),
        ("application/grpc;charset=x", Some("application/grpc")),
        ("application/grpc-web", Some("application/grpc-web")),
        (
            "application/grpc-web+proto",
            Some("application/grpc-web+proto"),
        ),
        (
            "application/grpc-web-text",
            Some("application/grpc-web-text"),
        ),
        ("application/grpcfoo", None),
        ("application/grpc-foo", None),
        ("application/json", None),
        ("text/application/grpc", None),
        ("", None),
    ] {
        let expected = expected.map_or(Format::Http, Format::Grpc);
        assert_eq!(
            Format::of_content_type(value.as_bytes()),
            expected,
            "{value}"
        );
    }
    assert_eq!(Format::of(&Method::GET, &HeaderMap::new()), Format::Http);
}

#[test]
fn a_message_is_percent_encoded() {
    assert_eq!(percent_encoded("100 % `plain` ~"), "100 %25 `plain` ~");
    assert_eq!(percent_encoded("a\nb\u{e9}\u{7f}"), "a%0Ab%C3%A9%7F");
}

#[test]
fn an_error_is_never_an_ok_to_who_speaks_grpc() {
    for (status, code) in [(200, "2"), (204, "2"), (503, "14"), (404, "12")] {
        let mut response = Response::new(String::from("made by a closure"));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        let answered = in_format(response, Format::Grpc("application/grpc"), &KnownBody);
        assert_eq!(answered.status(), 200);
        assert_eq!(answered.headers()["grpc-status"], code, "{status}");
        assert_eq!(answered.body(), "");
    }
}

#[test]
fn a_rate_limit_carries_the_remaining_time_and_its_rate_if_set() {
    let limit = RateLimitLayer::builder()
        .name("search")
        .per(100, Duration::from_secs(60))
        .keyed(|key: &String| key.into())
        .build()
        .unwrap();
    let limit = limit.handle();
    let rejection = |name| {
        let rejection = Rejection::new("rate_limit", name, Reason::RateLimited);
        rejection.with_retry_after(Duration::from_millis(600))
    };
    let fields = |name, style: &Style| {
        let response: Response<String> = answer(rejection(name), Format::Http, style, &KnownBody);
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "1");
        let field = |name| {
            let field = response.headers().get(name);
            field.map(|field| field.to_str().unwrap().to_owned())
        };
        (field("ratelimit").unwrap(), field("ratelimit-policy"))
    };
    let style = Style {
        quota: Some(limit.clone()),
        ..STYLE
    };
    let answered = r#""default";r=0;t=1"#.to_owned();
    assert_eq!(fields("search", &STYLE), (answered.clone(), None));
    assert_eq!(fields("orders", &style), (answered.clone(), None));
    let policy = r#""default";q=100;w=60"#.to_owned();
    assert_eq!(fields("search", &style), (answered, Some(policy)));
    let named = Style {
        names: true,
        ..style.clone()
    };
    let (answered, policy) = fields("search", &named);
    assert_eq!(answered, r#""search";r=0;t=1"#);
    assert_eq!(policy.unwrap(), r#""search";q=100;w=60"#);

    // The rate in force.
    let _ = limit.change(|settings| settings.permits = 50).unwrap();
    let (_, policy) = fields("search", &style);
    assert_eq!(policy.unwrap(), r#""default";q=50;w=60"#);

    let format = Format::Grpc("application/grpc");
    let response: Response<String> = answer(rejection("search"), format, &style, &KnownBody);
    assert_eq!(response.headers()["grpc-status"], "8");
    assert_eq!(response.headers()["grpc-retry-pushback-ms"], "600");
    assert!(!response.headers().contains_key("ratelimit"));
}
