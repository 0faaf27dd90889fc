//! Reads the databases of the services for the books. It shares no code with the services.

use std::path::Path;
use std::time::Duration;

use mainstay::BoxError;
use rusqlite::{Connection, OpenFlags, Row};
use serde_json::Value;

use super::books::{Charge, End, Facts, Order, Reservation, Stock};
use crate::demo;

/// What is not done yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Open {
    /// Orders whose saga goes on.
    pub(super) sagas: u64,
    /// Orders at an end that was not notified.
    pub(super) events: u64,
}

/// Reads what is not done yet, also while the services run.
pub(super) fn open(data: &Path) -> Result<Open, BoxError> {
    let orders = orders(data)?;
    let sagas = orders.iter().filter(|order| order.end.is_none()).count();
    let told = notifications(data)?.len();
    Ok(Open {
        sagas: sagas as u64,
        // One when it is placed, one at its end.
        events: (2 * orders.len() - sagas).saturating_sub(told) as u64,
    })
}

/// How many sagas go on while `orders` is down. It reads a copy: a connection to the database itself
/// would recover it, and that is the work of the next process.
pub(super) fn open_sagas(data: &Path) -> Result<u64, BoxError> {
    let copy = data.join("copy");
    std::fs::create_dir_all(&copy)?;
    for file in ["orders.db", "orders.db-wal"] {
        std::fs::copy(data.join(file), copy.join(file))?;
    }
    let of = "select count(*) from orders where state not in ('confirmed', 'compensated')";
    let count = connect(&copy, "orders")?.query_row(of, [], |row| row.get(0))?;
    std::fs::remove_dir_all(&copy)?;
    Ok(count)
}

/// Everything that the databases contain. What the callers were told is left empty.
pub(super) fn read(data: &Path) -> Result<Facts, BoxError> {
    let balances = rows(
        data,
        "payments",
        "select user, balance from accounts",
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let balances: Vec<(String, i64)> = balances;
    let initial = |user: &str| {
        let user = demo::users().into_iter().find(|one| one.id == user);
        user.map_or(0, |user| user.balance)
    };
    let products = demo::PRODUCTS.iter();
    Ok(Facts {
        promises: Vec::new(),
        late: Vec::new(),
        orders: orders(data)?,
        charges: charges(data)?,
        balances: balances
            .into_iter()
            .map(|(user, now)| {
                let initial = initial(&user);
                (user, (initial, now))
            })
            .collect(),
        products: products
            .map(|product| (product.id.to_owned(), (product.price, product.stock)))
            .collect(),
        stock: stock(data)?,
        reservations: reservations(data)?,
        notifications: notifications(data)?,
    })
}

fn orders(data: &Path) -> Result<Vec<Order>, BoxError> {
    let all = "select id, user, key, state, total, items from orders";
    let all = rows(data, "orders", all, |row| {
        let (state, items): (String, String) = (row.get(3)?, row.get(5)?);
        let order = Order {
            id: row.get(0)?,
            user: row.get(1)?,
            key: row.get(2)?,
            end: end(&state),
            total: row.get(4)?,
            items: Vec::new(),
        };
        Ok((order, items))
    })?;
    all.into_iter()
        .map(|(order, items)| {
            let items: Vec<Value> = serde_json::from_str(&items)?;
            let items = items.iter().map(|item| {
                let product = item.get("product").and_then(Value::as_str)?;
                let quantity = item.get("quantity").and_then(Value::as_i64)?;
                Some((product.to_owned(), quantity))
            });
            let items: Option<_> = items.collect();
            let id = &order.id;
            let items = items.ok_or_else(|| format!("the items of order {id} are unreadable"))?;
            Ok(Order { items, ..order })
        })
        .collect()
}

fn charges(data: &Path) -> Result<Vec<Charge>, BoxError> {
    let all = "select order_id, user, amount, state = 'charged' from charges";
    rows(data, "payments", all, |row| {
        Ok(Charge {
            order: row.get(0)?,
            user: row.get(1)?,
            amount: row.get(2)?,
            is_charged: row.get(3)?,
        })
    })
}

fn stock(data: &Path) -> Result<Vec<Stock>, BoxError> {
    rows(
        data,
        "stock",
        "select id, available, sold from products",
        |row| {
            Ok(Stock {
                product: row.get(0)?,
                available: row.get(1)?,
                sold: row.get(2)?,
            })
        },
    )
}

fn reservations(data: &Path) -> Result<Vec<Reservation>, BoxError> {
    let all = "select order_id, product, quantity, state = 'reserved', state = 'sold'
        from reservations join orders on orders.id = order_id";
    rows(data, "stock", all, |row| {
        Ok(Reservation {
            order: row.get(0)?,
            product: row.get(1)?,
            quantity: row.get(2)?,
            is_open: row.get(3)?,
            is_sold: row.get(4)?,
        })
    })
}

fn notifications(data: &Path) -> Result<Vec<(String, Option<End>)>, BoxError> {
    let all = "select payload from notifications";
    let all: Vec<String> = rows(data, "notifications", all, |row| row.get(0))?;
    let all: Result<Vec<Value>, _> = all.iter().map(|text| serde_json::from_str(text)).collect();
    let told = all?.into_iter().filter_map(|event| {
        let order = event.get("order").and_then(Value::as_str)?;
        let state = event.get("state").and_then(Value::as_str)?;
        Some((order.to_owned(), end(state)))
    });
    Ok(told.collect())
}

fn end(state: &str) -> Option<End> {
    match state {
        "confirmed" => Some(End::Confirmed),
        "compensated" => Some(End::Compensated),
        _ => None,
    }
}

fn rows<T>(
    data: &Path,
    service: &str,
    query: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, BoxError> {
    let unreadable = |error| format!("the database of {service} cannot be read: {error}");
    let connection = connect(data, service)?;
    let mut query = connection.prepare(query).map_err(unreadable)?;
    let rows = query.query_map([], read).map_err(unreadable)?;
    let rows: rusqlite::Result<_> = rows.collect();
    Ok(rows.map_err(unreadable)?)
}

/// Not read-only: the log of a process that was killed is written into the file first.
fn connect(data: &Path, service: &str) -> Result<Connection, BoxError> {
    let path = data.join(format!("{service}.db"));
    let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .map_err(|error| format!("{} cannot be opened: {error}", path.display()))?;
    connection.busy_timeout(Duration::from_secs(5))?;
    Ok(connection)
}
