use super::*;

#[test]
fn every_reason_has_a_row_of_its_own() {
    for (at, reason) in Reason::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, at);
        assert_eq!(reason.row().reason, reason);
        assert_eq!(
            Reason::ALL
                .iter()
                .filter(|of| of.as_str() == reason.as_str())
                .count(),
            1
        );
    }
}
