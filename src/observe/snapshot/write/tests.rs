use super::*;

#[test]
fn durations_are_written_for_people() {
    for (micros, words) in [
        (0, "0 us"),
        (999, "999 us"),
        (1_000, "1.0 ms"),
        (9_949, "9.9 ms"),
        (12_000, "12 ms"),
        (999_999, "999 ms"),
        (1_000_000, "1.0 s"),
        (119_000_000, "119.0 s"),
        (120_000_000, "2 min"),
        (7_199_000_000, "119 min"),
        (7_200_000_000, "2 h"),
    ] {
        let duration = Duration::from_micros(micros);
        assert_eq!(InWords(duration).to_string(), words);
    }
    assert!(InWords(Duration::MAX).to_string().ends_with(" h"));
}
