use super::*;

#[test]
fn every_kind_has_its_number_and_its_name() {
    for (number, id) in Id::ALL.into_iter().enumerate() {
        assert_eq!(id as usize, number);
        let named = Id::ALL.iter().filter(|other| other.layer() == id.layer());
        assert_eq!(named.count(), 1, "{id:?}");
    }
}
