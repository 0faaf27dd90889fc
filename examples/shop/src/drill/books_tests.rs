use super::*;

/// One confirmed order, and one that was compensated after its charge.
fn facts() -> Facts {
    let promise = |order: &str, told| Promise {
        user: "u1".into(),
        key: format!("key-{order}"),
        order: order.into(),
        told,
    };
    let order = |id: &str, end| Order {
        id: id.into(),
        user: "u1".into(),
        key: format!("key-{id}"),
        end: Some(end),
        total: 30,
        items: vec![("cup".into(), 3)],
    };
    let charge = |order: &str, is_charged| Charge {
        order: order.into(),
        user: "u1".into(),
        amount: 30,
        is_charged,
    };
    let reservation = |order: &str, is_sold| Reservation {
        order: order.into(),
        product: "cup".into(),
        quantity: 3,
        is_open: false,
        is_sold,
    };
    Facts {
        promises: vec![promise("good", Some(End::Confirmed)), promise("bad", None)],
        late: Vec::new(),
        orders: vec![
            order("good", End::Confirmed),
            order("bad", End::Compensated),
        ],
        charges: vec![charge("good", true), charge("bad", false)],
        balances: BTreeMap::from([("u1".into(), (100, 70)), ("u2".into(), (100, 100))]),
        products: BTreeMap::from([("cup".into(), (10, 50))]),
        stock: vec![Stock {
            product: "cup".into(),
            available: 47,
            sold: 3,
        }],
        reservations: vec![reservation("good", true), reservation("bad", false)],
        notifications: vec![
            ("good".into(), None),
            ("bad".into(), None),
            ("good".into(), Some(End::Confirmed)),
            ("bad".into(), Some(End::Compensated)),
        ],
    }
}

/// The lengths of the books in the order of [`Books::all`] after a change.
fn wrong(change: impl FnOnce(&mut Facts)) -> [usize; 6] {
    let mut facts = facts();
    change(&mut facts);
    Books::of(&facts).all().map(|(_, _, book)| book.len())
}

#[test]
fn good_books_are_balanced() {
    assert_eq!(wrong(|_| {}), [0; 6]);
    assert!(Books::of(&facts()).are_balanced());
}

#[test]
fn an_order_that_is_not_there_is_lost() {
    // The money and the stock of it are wrong, too.
    assert_eq!(
        wrong(|facts| drop(facts.orders.remove(0))),
        [1, 2, 1, 0, 0, 1]
    );
    assert_eq!(
        wrong(|facts| facts.promises[1].order = "none".into()),
        [1, 0, 0, 0, 0, 0]
    );
}

#[test]
fn an_order_with_two_copies_or_another_end_is_lost() {
    let copy = |facts: &mut Facts| {
        facts.orders[1].key = "key-good".into();
        facts.promises[1].key = "key-good".into();
    };
    assert_eq!(wrong(copy), [1, 0, 0, 0, 0, 0]);
    let told = |facts: &mut Facts| facts.promises[1].told = Some(End::Confirmed);
    assert_eq!(wrong(told), [1, 0, 0, 0, 0, 0]);
    let unplaced = |facts: &mut Facts| drop(facts.notifications.remove(1));
    assert_eq!(wrong(unplaced), [0, 0, 0, 0, 0, 1]);
    let end_twice = |facts: &mut Facts| facts.notifications.push(facts.notifications[2].clone());
    assert_eq!(wrong(end_twice), [0, 0, 0, 0, 0, 1]);
    let other = |facts: &mut Facts| facts.orders[1].user = "u2".into();
    assert_eq!(wrong(other), [1, 0, 0, 0, 0, 0]);
}

#[test]
fn a_second_charge_is_found() {
    let second = |facts: &mut Facts| {
        facts.charges.push(facts.charges[0].clone());
        facts.balances.insert("u1".into(), (100, 40));
    };
    assert_eq!(wrong(second), [0, 2, 0, 0, 0, 0]);
}

#[test]
fn a_missing_charge_and_one_too_many_are_found() {
    assert_eq!(
        wrong(|facts| facts.charges[0].is_charged = false),
        [0, 1, 0, 0, 0, 0]
    );
    assert_eq!(
        wrong(|facts| facts.charges[1].is_charged = true),
        [0, 1, 0, 0, 0, 0]
    );
    assert_eq!(
        wrong(|facts| facts.charges[0].amount = 29),
        [0, 1, 0, 0, 0, 0]
    );
    assert_eq!(
        wrong(|facts| facts.charges[0].user = "u2".into()),
        [0, 1, 0, 0, 0, 0]
    );
    let unknown = |facts: &mut Facts| {
        facts.charges[1].order = "none".into();
        facts.charges[1].is_charged = true;
    };
    assert_eq!(wrong(unknown), [0, 1, 0, 0, 0, 0]);
}

#[test]
fn a_wrong_balance_and_a_wrong_total_are_found() {
    let poorer = |facts: &mut Facts| _ = facts.balances.insert("u2".into(), (100, 99));
    assert_eq!(wrong(poorer), [0, 1, 0, 0, 0, 0]);
    let dearer = |facts: &mut Facts| _ = facts.products.insert("cup".into(), (11, 50));
    assert_eq!(wrong(dearer), [0, 1, 0, 0, 0, 0]);
}

#[test]
fn wrong_stock_is_found() {
    assert_eq!(
        wrong(|facts| facts.stock[0].available = 46),
        [0, 0, 1, 0, 0, 0]
    );
    let sold = |facts: &mut Facts| {
        facts.stock[0].available = 44;
        facts.stock[0].sold = 6;
    };
    assert_eq!(wrong(sold), [0, 0, 1, 0, 0, 0]);
    assert_eq!(
        wrong(|facts| facts.reservations[0].is_sold = false),
        [0, 0, 1, 0, 0, 0]
    );
    // It is not sold twice, but nobody else can have it.
    let reserved = |facts: &mut Facts| {
        facts.stock[0].available = 44;
        facts.reservations[1].is_open = true;
    };
    assert_eq!(wrong(reserved), [0, 0, 1, 0, 0, 0]);
    assert_eq!(wrong(|facts| facts.stock.clear()), [0, 0, 1, 0, 0, 0]);
}

#[test]
fn late_answers_and_open_sagas_are_counted() {
    assert_eq!(
        wrong(|facts| facts.late.push("by 1 s".into())),
        [0, 0, 0, 1, 0, 0]
    );
    let open = |facts: &mut Facts| {
        facts.orders[1].end = None;
        facts.notifications.pop();
    };
    assert_eq!(wrong(open), [0, 0, 0, 0, 1, 0]);
}

#[test]
fn an_order_is_notified_once_as_placed_and_once_at_its_end() {
    assert_eq!(
        wrong(|facts| drop(facts.notifications.pop())),
        [0, 0, 0, 0, 0, 1]
    );
    let twice = |facts: &mut Facts| facts.notifications.push(facts.notifications[0].clone());
    assert_eq!(wrong(twice), [0, 0, 0, 0, 0, 1]);
    let unplaced = |facts: &mut Facts| drop(facts.notifications.remove(1));
    assert_eq!(wrong(unplaced), [0, 0, 0, 0, 0, 1]);
    let end_twice = |facts: &mut Facts| facts.notifications.push(facts.notifications[2].clone());
    assert_eq!(wrong(end_twice), [0, 0, 0, 0, 0, 1]);
    let other = |facts: &mut Facts| facts.notifications[2].1 = Some(End::Compensated);
    assert_eq!(wrong(other), [0, 0, 0, 0, 0, 1]);
    let unknown = |facts: &mut Facts| {
        facts
            .notifications
            .push(("none".into(), Some(End::Confirmed)))
    };
    assert_eq!(wrong(unknown), [0, 0, 0, 0, 0, 1]);
}
