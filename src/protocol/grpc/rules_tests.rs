use super::*;

#[test]
fn the_most_specific_rule_holds() {
    const FIELD: (&str, &str) = ("retry", "never");
    let mut rules = Rules::default();
    assert_eq!(rules.find("/shop.Orders/Create"), None);
    rules.set(FIELD, "shop.Orders", 1).unwrap();
    rules.set(FIELD, "shop.Orders/Create", 2).unwrap();
    rules.set(FIELD, "Root", 3).unwrap();
    let of = |rules: &Rules<u32>, path| rules.find(path).and_then(|rule| rules.get(rule).copied());
    assert_eq!(of(&rules, "/shop.Orders/Create"), Some(2));
    assert_eq!(of(&rules, "/shop.Orders/Get"), Some(1));
    assert_eq!(of(&rules, "/shop.Orders/CreateAll"), Some(1));
    assert_eq!(of(&rules, "/Root/Get"), Some(3));
    for other in [
        "/shop.OrdersOld/Create",
        "/shop/Orders",
        "/",
        "",
        "*",
        "shop.Orders/Create",
    ] {
        assert_eq!(of(&rules, other), None, "{other}");
    }
    // The later rule replaces the earlier one.
    rules.set(FIELD, "shop.Orders/Create", 4).unwrap();
    assert_eq!(of(&rules, "/shop.Orders/Create"), Some(4));
}

#[test]
fn invalid_names_are_refused() {
    for name in ["shop.Orders", "Orders", "a.b.C/D_2", "_a/_b"] {
        let set = Rules::default().set(("retry", "never"), name, ());
        assert!(set.is_ok(), "{name}");
    }
    for name in [
        "",
        "/",
        "/shop.Orders",
        "shop.Orders/",
        "/shop.Orders/Create",
        "shop.Orders/Create/Now",
        "shop..Orders",
        ".Orders",
        "shop.Orders.",
        "shop.1",
        "shop.*",
        "shop Orders",
        "shöp",
    ] {
        let error = Rules::default().set(("retry", "never"), name, ());
        assert_eq!(error.unwrap_err().field(), "never", "{name}");
    }
}
