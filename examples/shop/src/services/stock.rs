//! How much there is of each product, and who has reserved it. Every step of an order has its effect
//! once, however often it is asked for.

use std::path::Path;

use mainstay::BoxError;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::broker::Broker;
use crate::broker::requests;
use crate::config::Config;
use crate::message::{Code, Failure, Message};
use crate::process::{Check, Process, listen};
use crate::store::{Error, Store};
use crate::tcp::{self, Limits, message_service};
use crate::{demo, stacks};

const MIGRATIONS: &[&str] = &["
    create table products (
        id text not null primary key,
        available integer not null check (available >= 0),
        sold integer not null default 0
    ) without rowid;
    create table orders (
        id text not null primary key,
        state text not null check (state in ('reserved', 'declined', 'sold', 'released'))
    ) without rowid;
    create table reservations (
        order_id text not null references orders (id),
        product text not null references products (id),
        quantity integer not null check (quantity > 0),
        primary key (order_id, product)
    ) without rowid;
"];

/// The stock, as a service. Clones share the database.
#[derive(Debug, Clone)]
pub struct Stock(Store);

/// `stock.reserve`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reserve {
    /// The key: an order reserves once.
    pub order: String,
    /// What it needs: all or nothing.
    pub items: Vec<Item>,
}

/// A product of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The ID of the product.
    pub product: String,
    /// How many, from 1.
    pub quantity: u32,
}

/// `stock.confirm` and `stock.release`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OfOrder {
    /// Whose reservation becomes a sale or is given back.
    pub order: String,
}

/// Runs until SIGTERM.
///
/// # Errors
///
/// The address is in use, the database cannot be opened, or the broker's URL is none.
pub async fn run(config: Config, process: Process) -> Result<(), BoxError> {
    let stock = Stock::open(&config.data)?;
    stock.seed().await?;
    let broker = Broker::new(&config.broker)?;
    let listener = listen(config.listen).await?;
    process.break_store(&stock.0);
    let service = stacks::server("stock", process.slow(stock))?;
    let of_check = broker.clone();
    process.ready_if(vec![Check::reported("broker", move || {
        let broker = of_check.clone();
        async move { broker.ping().await }
    })]);
    let shutdown = process.shutdown();
    // The same handlers by both transports. Callers choose.
    let by_tcp = tcp::serve(
        listener,
        service.clone(),
        Limits::default(),
        shutdown.closing(),
    );
    let by_broker = requests::serve(broker, "stock", service, shutdown.closing());
    let (by_tcp, ()) = shutdown
        .run(async { tokio::join!(by_tcp, by_broker) })
        .await?;
    Ok(by_tcp?)
}

impl Stock {
    /// Opens the database of the service.
    ///
    /// # Errors
    ///
    /// See [`Store::open`].
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        Store::open(folder, "stock", MIGRATIONS).map(Self)
    }

    /// Fills the shelves of new products.
    ///
    /// # Errors
    ///
    /// The database cannot be written.
    pub async fn seed(&self) -> Result<(), Failure> {
        self.0
            .run(|connection| {
                let seeding = connection.transaction()?;
                for product in demo::PRODUCTS {
                    let add = "insert into products values (?, ?, 0) on conflict do nothing";
                    seeding.execute(add, params![product.id, product.stock])?;
                }
                seeding.commit()
            })
            .await
    }

    async fn handle(self, call: Message) -> Result<Value, Failure> {
        match &*call.pattern {
            "stock.reserve" => {
                let reserve: Reserve = call.read()?;
                if let Some(item) = reserve.items.iter().find(|item| item.quantity == 0) {
                    let text = format!(
                        "quantity = 0 of {} is refused: must be over 0",
                        item.product
                    );
                    return Err(Failure::new(Code::Invalid, text));
                }
                match self.0.run(move |disk| try_reserve(disk, &reserve)).await? {
                    Ok(()) => Ok(json!("reserved")),
                    Err(reason) => Err(Failure::new(Code::Declined, reason)),
                }
            }
            "stock.confirm" => {
                let OfOrder { order } = call.read()?;
                match self.0.run(move |disk| confirm(disk, &order)).await? {
                    true => Ok(json!("sold")),
                    false => Err(Failure::new(Code::Declined, "nothing is reserved")),
                }
            }
            "stock.release" => {
                let OfOrder { order } = call.read()?;
                match self.0.run(move |disk| release(disk, &order)).await? {
                    true => Ok(json!("released")),
                    false => Err(Failure::new(Code::Declined, "it is sold already")),
                }
            }
            other => {
                let text = format!("{other}: stock knows no such pattern");
                Err(Failure::new(Code::UnknownPattern, text))
            }
        }
    }
}

/// The state of an order; empty for one that is not known.
fn state(of: &Transaction<'_>, order: &str) -> Result<String, Error> {
    let state = "select coalesce((select state from orders where id = ?), '')";
    of.query_row(state, params![order], |row| row.get(0))
}

fn set_state(of: &Transaction<'_>, order: &str, state: &str) -> Result<(), Error> {
    let set = "insert into orders values (?1, ?2) on conflict do update set state = ?2";
    of.execute(set, params![order, state]).map(drop)
}

/// Reserves all, or says why not. The answer to an order is always the same.
fn try_reserve(disk: &mut Connection, reserve: &Reserve) -> Result<Result<(), String>, Error> {
    let mut change = disk.transaction_with_behavior(TransactionBehavior::Immediate)?;
    match &*state(&change, &reserve.order)? {
        "" => {}
        "reserved" | "sold" => return Ok(Ok(())),
        "declined" => return Ok(Err("there is not enough".to_owned())),
        // The release came first.
        _ => return Ok(Err("the order was released".to_owned())),
    }
    set_state(&change, &reserve.order, "reserved")?;
    // What was reserved before a product that there is not enough of is given back.
    let all = change.savepoint()?;
    let mut missing = None;
    for Item { product, quantity } in &reserve.items {
        let take = "update products set available = available - ?2
            where id = ?1 and available >= ?2";
        if all.execute(take, params![product, quantity])? == 0 {
            missing = Some(product);
            break;
        }
        let hold = "insert into reservations values (?, ?, ?)
            on conflict do update set quantity = quantity + excluded.quantity";
        all.execute(hold, params![reserve.order, product, quantity])?;
    }
    if let Some(product) = missing {
        drop(all);
        set_state(&change, &reserve.order, "declined")?;
        change.commit()?;
        return Ok(Err(format!("there is not enough of {product}")));
    }
    all.commit()?;
    change.commit()?;
    Ok(Ok(()))
}

/// Turns a reservation into a sale. Returns whether there is one.
fn confirm(disk: &mut Connection, order: &str) -> Result<bool, Error> {
    let change = disk.transaction_with_behavior(TransactionBehavior::Immediate)?;
    match &*state(&change, order)? {
        "sold" => return Ok(true),
        "reserved" => {}
        _ => return Ok(false),
    }
    let sell = "update products set sold = sold + reservations.quantity from reservations
        where reservations.order_id = ? and products.id = reservations.product";
    change.execute(sell, params![order])?;
    set_state(&change, order, "sold")?;
    change.commit()?;
    Ok(true)
}

/// Gives a reservation back, or forbids one that comes later. Returns whether it is not sold.
fn release(disk: &mut Connection, order: &str) -> Result<bool, Error> {
    let change = disk.transaction_with_behavior(TransactionBehavior::Immediate)?;
    match &*state(&change, order)? {
        "sold" => return Ok(false),
        "reserved" => {
            let give_back = "update products set available = available + reservations.quantity
                from reservations
                where reservations.order_id = ? and products.id = reservations.product";
            change.execute(give_back, params![order])?;
        }
        _ => {}
    }
    set_state(&change, order, "released")?;
    change.commit()?;
    Ok(true)
}

message_service!(Stock);
