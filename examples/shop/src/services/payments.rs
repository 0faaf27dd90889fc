//! Charges and refunds. Every step of an order has its effect once, however often it is asked for.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::Config;
use crate::message::{Code, Failure, Message};
use crate::process::{Process, listen};
use crate::store::{Error, Store};
use crate::tcp::{self, Limits, message_service};
use crate::{demo, stacks};
use mainstay::BoxError;

const MIGRATIONS: &[&str] = &["
    create table accounts (
        user text not null primary key,
        balance integer not null
    ) without rowid;
    create table charges (
        order_id text not null primary key,
        user text not null,
        amount integer not null,
        state text not null check (state in ('charged', 'declined', 'refunded'))
    ) without rowid;
"];

/// Runs until SIGTERM.
///
/// # Errors
///
/// The address is in use, or the database cannot be opened.
pub async fn run(config: Config, process: Process) -> Result<(), BoxError> {
    let payments = Payments::open(&config.data)?;
    payments.seed().await?;
    let listener = listen(config.listen).await?;
    process.break_store(&payments.0);
    let service = process.slow(payments);
    let service = stacks::server("payments", service)?;
    process.ready();
    let shutdown = process.shutdown();
    let serving = tcp::serve(listener, service, Limits::default(), shutdown.closing());
    shutdown.run(serving).await??;
    Ok(())
}

/// The payments, as a service. Clones share the database.
#[derive(Debug, Clone)]
pub struct Payments(Store);

/// `payments.charge`
#[derive(Debug, Serialize, Deserialize)]
pub struct Charge {
    /// The key: an order is charged once.
    pub order: String,
    /// Who pays.
    pub user: String,
    /// In cents.
    pub amount: i64,
}

/// `payments.refund`
#[derive(Debug, Serialize, Deserialize)]
pub struct Refund {
    /// Whose charge is undone. One that comes later is declined.
    pub order: String,
}

impl Payments {
    /// Opens the database of the service.
    ///
    /// # Errors
    ///
    /// See [`Store::open`].
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        Store::open(folder, "payments", MIGRATIONS).map(Self)
    }

    /// Opens the accounts of the users that have none.
    ///
    /// # Errors
    ///
    /// The database cannot be written.
    pub async fn seed(&self) -> Result<(), Failure> {
        self.0
            .run(|connection| {
                let seeding = connection.transaction()?;
                for user in demo::users() {
                    let add = "insert into accounts values (?, ?) on conflict do nothing";
                    seeding.execute(add, params![user.id, user.balance])?;
                }
                seeding.commit()
            })
            .await
    }

    fn charge(connection: &mut Connection, charge: &Charge) -> Result<&'static str, Error> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let known = "select state from charges where order_id = ?";
        let known: Option<String> = transaction
            .query_row(known, params![charge.order], |row| row.get(0))
            .optional()?;
        if let Some(state) = known {
            // The result that was given before, or the refund that came first.
            return Ok(if state == "charged" {
                "charged"
            } else {
                "declined"
            });
        }
        let pay = "update accounts set balance = balance - ?1 where user = ?2 and balance >= ?1";
        let has_paid = transaction.execute(pay, params![charge.amount, charge.user])? == 1;
        let state = if has_paid { "charged" } else { "declined" };
        let add = "insert into charges values (?, ?, ?, ?)";
        transaction.execute(
            add,
            params![charge.order, charge.user, charge.amount, state],
        )?;
        transaction.commit()?;
        Ok(state)
    }

    fn refund(connection: &mut Connection, refund: &Refund) -> Result<(), Error> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let pay_back = "update accounts set balance = balance + charges.amount from charges
            where charges.order_id = ? and charges.state = 'charged' and accounts.user = charges.user";
        transaction.execute(pay_back, params![refund.order])?;
        let mark = "insert into charges values (?, '', 0, 'refunded')
            on conflict do update set state = 'refunded'";
        transaction.execute(mark, params![refund.order])?;
        transaction.commit()
    }

    async fn handle(self, call: Message) -> Result<Value, Failure> {
        match &*call.pattern {
            "payments.charge" => {
                let charge: Charge = call.read()?;
                if charge.amount <= 0 {
                    let text = format!("amount = {} is refused: must be over 0", charge.amount);
                    return Err(Failure::new(Code::Invalid, text));
                }
                match self.0.run(move |disk| Self::charge(disk, &charge)).await? {
                    "charged" => Ok(json!("charged")),
                    _ => Err(Failure::new(
                        Code::Declined,
                        "the account does not cover it",
                    )),
                }
            }
            "payments.refund" => {
                let refund: Refund = call.read()?;
                self.0.run(move |disk| Self::refund(disk, &refund)).await?;
                Ok(json!("refunded"))
            }
            other => {
                let text = format!("{other}: payments knows no such pattern");
                Err(Failure::new(Code::UnknownPattern, text))
            }
        }
    }
}

message_service!(Payments);
