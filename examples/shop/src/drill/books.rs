//! The books: what must hold after a drill, whatever was killed. Pure arithmetic on what the callers
//! were told and what the databases contain.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What a caller asked for, and what it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Promise {
    /// The user of the caller.
    pub(super) user: String,
    /// The idempotency key.
    pub(super) key: String,
    /// The order of the answer.
    pub(super) order: String,
    /// The end that the answer told; `None` if the saga went on.
    pub(super) told: Option<End>,
}

/// How an order ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The customer has it.
    Confirmed,
    /// It was undone.
    Compensated,
}

/// A row of the orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) id: String,
    pub(super) user: String,
    pub(super) key: String,
    /// `None` if its saga goes on.
    pub(super) end: Option<End>,
    pub(super) total: i64,
    /// Products and quantities.
    pub(super) items: Vec<(String, i64)>,
}

/// A row of the charges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Charge {
    pub(super) order: String,
    pub(super) user: String,
    pub(super) amount: i64,
    /// Whether the money is taken: not declined, not refunded.
    pub(super) is_charged: bool,
}

/// A row of the products in stock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stock {
    pub(super) product: String,
    pub(super) available: i64,
    pub(super) sold: i64,
}

/// A row of the reservations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reservation {
    pub(super) order: String,
    pub(super) product: String,
    pub(super) quantity: i64,
    /// Whether it is neither sold nor released.
    pub(super) is_open: bool,
    /// Whether it was sold.
    pub(super) is_sold: bool,
}

/// Everything that the books are made from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) promises: Vec<Promise>,
    /// Calls that were answered after their deadline and its margin.
    pub(super) late: Vec<String>,
    pub(super) orders: Vec<Order>,
    pub(super) charges: Vec<Charge>,
    /// Of each user, at first and now.
    pub(super) balances: BTreeMap<String, (i64, i64)>,
    /// Of each product at first: price and quantity.
    pub(super) products: BTreeMap<String, (i64, i64)>,
    pub(super) stock: Vec<Stock>,
    pub(super) reservations: Vec<Reservation>,
    /// Of each notification: the order, and its end; `None` if it was placed.
    pub(super) notifications: Vec<(String, Option<End>)>,
}

/// A book: what is wrong, a sentence for each deviation.
pub(super) type Book = Vec<String>;

/// What is wrong. All are empty after a good drill.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Books {
    /// Orders that callers were told about and that are not there once, at the end that was told.
    pub(super) lost: Book,
    /// Charges without a confirmed order, confirmed orders without one charge, wrong balances.
    pub(super) charged_twice: Book,
    /// Products that were sold but not ordered, ordered but not sold, or are still reserved.
    pub(super) stock_wrong: Book,
    /// Answers after the deadline of their caller.
    pub(super) late_answers: Book,
    /// Orders that have come to no end.
    pub(super) sagas_open: Book,
    /// Orders whose placing or end was not notified once.
    pub(super) notified_wrong: Book,
}

impl Books {
    /// Does the books.
    #[must_use]
    pub(super) fn of(facts: &Facts) -> Self {
        let open = facts.orders.iter().filter(|order| order.end.is_none());
        Self {
            lost: lost(facts),
            charged_twice: charged_twice(facts),
            stock_wrong: stock_wrong(facts),
            late_answers: facts.late.clone(),
            sagas_open: open
                .map(|order| format!("order {} has come to no end", order.id))
                .collect(),
            notified_wrong: notified_wrong(facts),
        }
    }

    /// Each book with its name and what it checks.
    #[must_use]
    pub(super) fn all(&self) -> [(&'static str, &'static str, &Book); 6] {
        [
            (
                "lost",
                "each order that a caller was told about is there once, at the end that was told",
                &self.lost,
            ),
            (
                "charged_twice",
                "one charge for each confirmed order, none for others; balance = initial - confirmed",
                &self.charged_twice,
            ),
            (
                "stock_wrong",
                "available + sold + reserved = initial; sold = confirmed; reserved = 0",
                &self.stock_wrong,
            ),
            (
                "late_answers",
                "each call was answered within its deadline",
                &self.late_answers,
            ),
            (
                "sagas_open",
                "each saga has come to an end",
                &self.sagas_open,
            ),
            (
                "notified_wrong",
                "each order was notified once when it was placed, and once at its end",
                &self.notified_wrong,
            ),
        ]
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub(super) fn are_balanced(&self) -> bool {
        self.all().iter().all(|(_, _, book)| book.is_empty())
    }
}

fn lost(facts: &Facts) -> Book {
    let mut wrong = Book::new();
    let by_id: HashMap<_, _> = facts
        .orders
        .iter()
        .map(|order| (&*order.id, order))
        .collect();
    let mut by_key: HashMap<_, u32> = HashMap::new();
    for order in &facts.orders {
        *by_key.entry((&*order.user, &*order.key)).or_default() += 1;
    }
    let mut seen = BTreeSet::new();
    for promise in &facts.promises {
        let Promise {
            user,
            key,
            order,
            told,
        } = promise;
        let Some(stored) = by_id.get(&**order) else {
            wrong.push(format!("order {order} of {user} is not there"));
            continue;
        };
        if (&stored.user, &stored.key) != (user, key) {
            wrong.push(format!("order {order} of {user} is another order"));
        }
        match (told, stored.end) {
            (Some(told), Some(end)) if *told != end => wrong.push(format!(
                "order {order} of {user} was told as {told:?}, and is {end:?}"
            )),
            _ => {}
        }
        let copies = by_key.get(&(&**user, &**key)).copied().unwrap_or(0);
        if copies > 1 && seen.insert((user, key)) {
            wrong.push(format!("{user} has {copies} orders for the key {key}"));
        }
    }
    wrong
}

fn charged_twice(facts: &Facts) -> Book {
    let mut wrong = Book::new();
    let mut charges: HashMap<&str, Vec<&Charge>> = HashMap::new();
    for charge in facts.charges.iter().filter(|charge| charge.is_charged) {
        charges.entry(&charge.order).or_default().push(charge);
    }
    let mut spent: BTreeMap<&str, i64> = BTreeMap::new();
    for order in &facts.orders {
        let id = &order.id;
        let own = charges.remove(&*order.id).unwrap_or_default();
        match order.end {
            Some(End::Confirmed) => {
                *spent.entry(&order.user).or_default() += order.total;
                let price = price(facts, &order.items);
                if price != Some(order.total) {
                    let total = order.total;
                    wrong.push(format!("order {id} costs {total}, and its items {price:?}"));
                }
                match &*own {
                    [one] if (&one.user, one.amount) == (&order.user, order.total) => {}
                    [one] => wrong.push(format!(
                        "order {id} of {} for {} was charged to {} as {}",
                        order.user, order.total, one.user, one.amount
                    )),
                    all => wrong.push(format!("order {id} has {} charges", all.len())),
                }
            }
            Some(End::Compensated) if !own.is_empty() => {
                wrong.push(format!("order {id} was compensated, and is charged"));
            }
            Some(End::Compensated) | None => {}
        }
    }
    let unknown = charges.keys();
    wrong.extend(unknown.map(|order| format!("order {order} is charged, and is not there")));
    for (user, (initial, now)) in &facts.balances {
        let spent = spent.get(&**user).copied().unwrap_or(0);
        if initial - spent != *now {
            wrong.push(format!(
                "{user} had {initial}, has spent {spent}, and has {now}"
            ));
        }
    }
    wrong
}

/// By the prices of the products; `None` if one has none.
fn price(facts: &Facts, items: &[(String, i64)]) -> Option<i64> {
    let prices = items.iter().map(|(product, quantity)| {
        facts
            .products
            .get(product)
            .map(|(price, _)| price * quantity)
    });
    prices.sum()
}

fn stock_wrong(facts: &Facts) -> Book {
    let mut wrong = Book::new();
    let confirmed = facts
        .orders
        .iter()
        .filter(|order| order.end == Some(End::Confirmed));
    let ordered = sums(
        confirmed
            .flat_map(|order| &order.items)
            .map(|(product, quantity)| (&**product, *quantity)),
    );
    let of = |of: fn(&Reservation) -> bool| {
        let some = facts.reservations.iter().filter(|one| of(one));
        sums(some.map(|one| (&*one.product, one.quantity)))
    };
    let (reserved, sold) = (of(|one| one.is_open), of(|one| one.is_sold));
    let get = |sums: &BTreeMap<&str, i64>, product: &str| sums.get(product).copied().unwrap_or(0);
    let stock: BTreeMap<_, _> = facts
        .stock
        .iter()
        .map(|stock| (&*stock.product, stock))
        .collect();
    for (product, (_, initial)) in &facts.products {
        let Some(stock) = stock.get(&**product) else {
            wrong.push(format!("{product} is not in stock"));
            continue;
        };
        let open = get(&reserved, product);
        let Stock {
            available,
            sold: counted,
            ..
        } = stock;
        if available + counted + open != *initial {
            wrong.push(format!(
                "{product}: {available} available + {counted} sold + {open} reserved is not {initial}"
            ));
        }
        let ordered = get(&ordered, product);
        let rows = get(&sold, product);
        if *counted != ordered || rows != ordered {
            wrong.push(format!(
                "{product}: {counted} sold, {rows} in sold reservations, {ordered} in confirmed orders"
            ));
        }
        if open != 0 {
            wrong.push(format!("{product}: {open} are still reserved"));
        }
    }
    wrong
}

fn sums<'a>(all: impl Iterator<Item = (&'a str, i64)>) -> BTreeMap<&'a str, i64> {
    let mut sums = BTreeMap::new();
    for (product, quantity) in all {
        *sums.entry(product).or_default() += quantity;
    }
    sums
}

fn notified_wrong(facts: &Facts) -> Book {
    let mut told: HashMap<&str, (u32, Vec<End>)> = HashMap::new();
    for (order, end) in &facts.notifications {
        let (placed, ends) = told.entry(order).or_default();
        match end {
            Some(end) => ends.push(*end),
            None => *placed += 1,
        }
    }
    let mut wrong = Book::new();
    for order in &facts.orders {
        let id = &order.id;
        let (placed, ends) = told.remove(&*order.id).unwrap_or_default();
        if placed != 1 {
            wrong.push(format!("order {id} was notified {placed} times as placed"));
        }
        if ends.iter().copied().ne(order.end) {
            let end = order.end;
            wrong.push(format!(
                "order {id} ended as {end:?}, and was notified as {ends:?}"
            ));
        }
    }
    let unknown = told.into_keys();
    wrong.extend(unknown.map(|order| format!("order {order} was notified, and is not there")));
    wrong
}

#[cfg(test)]
#[path = "books_tests.rs"]
mod tests;
