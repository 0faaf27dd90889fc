use super::*;

#[test]
fn a_code_is_read_as_it_is_written() {
    for (number, (code, text)) in CODES.into_iter().enumerate() {
        assert_eq!(code as usize, number);
        assert_eq!(text, number.to_string());
        assert_eq!(Code::from_bytes(text.as_bytes()), code);
        assert_eq!(code.as_str(), text);
    }
    for hostile in [
        &b""[..],
        b"17",
        b"-1",
        b"00",
        b" 0",
        b"0 ",
        b"\xff",
        b"14,0",
    ] {
        assert_eq!(Code::from_bytes(hostile), Code::Unknown);
    }
}

#[cfg(feature = "tonic")]
#[test]
fn tonics_codes_are_the_same() {
    for (code, text) in CODES {
        let theirs = tonic::Code::from(code);
        assert_eq!(theirs, tonic::Code::from_bytes(text.as_bytes()));
        assert_eq!(Code::from(theirs), code);
    }
}
