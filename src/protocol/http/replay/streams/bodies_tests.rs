//! The bodies of all supported libraries.

use std::task::{Poll, Waker};

use bytes::Bytes;
use http_body::Body;
use http_body_util::combinators::{BoxBody, UnsyncBoxBody};
use http_body_util::{Empty, Full};

use super::poll;
use crate::protocol::http::ReplayBody;

/// The text of a body that is always ready.
fn text<B: Body<Data = Bytes, Error: std::fmt::Debug> + Unpin>(mut body: B) -> String {
    let mut text = String::new();
    while let Poll::Ready(Some(frame)) = poll(&mut body, Waker::noop()) {
        let data = frame.unwrap().into_data().unwrap();
        text.push_str(str::from_utf8(&data).unwrap());
    }
    text
}

fn replayed<B>(make: impl Fn(Full<Bytes>) -> B, empty: B)
where
    B: ReplayBody + Body<Data = Bytes, Error: std::fmt::Debug> + Unpin,
{
    let full = || make(Full::new(Bytes::from_static(b"order")));
    let mut body = full();
    let mut kept = body.keep(5).unwrap();
    for _ in 0..3 {
        assert_eq!(body.size_hint().exact(), full().size_hint().exact());
        assert!(!body.is_end_stream());
        assert_eq!(text(body), "order");
        body = B::again(&mut kept).unwrap();
    }
    assert!(full().keep(4).is_none(), "its size exceeds the limit");
    assert!(full().keep(0).is_none());
    // An empty body needs no limit.
    let mut body = empty;
    let mut kept = body.keep(0).unwrap();
    assert!(body.is_end_stream() && B::again(&mut kept).unwrap().is_end_stream());
}

#[test]
fn the_bodies_of_every_library_are_replayed() {
    replayed(axum_core::body::Body::new, axum_core::body::Body::empty());
    replayed(tonic::body::Body::new, tonic::body::Body::empty());
    replayed(
        reqwest::Body::wrap,
        reqwest::Body::wrap(Empty::<Bytes>::new()),
    );
    replayed(BoxBody::new, BoxBody::new(Empty::new()));
    replayed(UnsyncBoxBody::new, UnsyncBoxBody::new(Empty::new()));
}

#[test]
fn bodies_in_memory_are_shared_without_a_limit() {
    let bytes = Bytes::from(vec![b'x'; 100]);
    let mut body = reqwest::Body::from(bytes.clone());
    let mut kept = body.keep(0).unwrap();
    let again = reqwest::Body::again(&mut kept).unwrap();
    for body in [body, again] {
        assert_eq!(body.as_bytes().map(<[u8]>::as_ptr), Some(bytes.as_ptr()));
    }
    let mut body = Full::new(bytes.clone());
    let mut kept = body.keep(0).unwrap();
    let mut again = Full::again(&mut kept).unwrap();
    let Poll::Ready(Some(Ok(frame))) = poll(&mut again, Waker::noop()) else {
        panic!("nothing");
    };
    assert_eq!(frame.into_data().unwrap().as_ptr(), bytes.as_ptr());
}
