use super::*;
use bytes::Bytes;

#[test]
fn every_part_of_a_request_is_sent_again() {
    let mut request = http::Request::builder()
        .method("PUT")
        .uri("https://shop.example/orders?id=1")
        .version(http::Version::HTTP_2)
        .header("a", "1")
        .header("a", "2")
        .body(Bytes::from_static(b"body"))
        .unwrap();
    request.extensions_mut().insert(7_u32);
    let mut kept = request.keep(0).unwrap();
    for _ in 0..3 {
        let again = http::Request::<Bytes>::again(&mut kept).unwrap();
        assert_eq!(again.method(), request.method());
        assert_eq!(again.uri(), request.uri());
        assert_eq!(again.version(), request.version());
        assert_eq!(again.headers(), request.headers());
        assert_eq!(again.extensions().get::<u32>(), Some(&7));
        assert_eq!(again.body(), request.body());
    }
}
