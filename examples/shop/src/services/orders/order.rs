//! An order, as it is stored and as it is shown.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use crate::message::{Code, Failure, Message};
use crate::saga::State;
use crate::services::stock::Item;

/// The most products of an order, and the most of one product.
const MOST_ITEMS: usize = 50;
const MOST_OF_ONE: u32 = 1_000;

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Order {
    /// Made by this service.
    pub id: String,
    /// Who has placed it.
    pub user: String,
    /// The idempotency key of its request: a user has one order for each.
    #[serde(skip)]
    pub key: String,
    /// Where its saga is.
    pub state: State,
    /// In cents.
    pub total: i64,
    /// The products.
    pub items: Vec<Item>,
    /// Why it was compensated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of the request. All that is done for the order has it, also after a restart.
    #[serde(skip)]
    pub correlation_id: String,
    /// In milliseconds since 1970, by the clock of this service.
    #[serde(skip)]
    pub placed_at: i64,
}

/// The body of a request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The products.
    #[serde(deserialize_with = "items")]
    pub items: Vec<Item>,
}

/// Items without unknown fields. Those of messages may have some.
fn items<'de, D: Deserializer<'de>>(items: D) -> Result<Vec<Item>, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Strict {
        product: String,
        quantity: u32,
    }
    let items = Vec::<Strict>::deserialize(items)?.into_iter();
    Ok(items
        .map(|Strict { product, quantity }| Item { product, quantity })
        .collect())
}

impl Request {
    /// Refuses what no order can be.
    ///
    /// # Errors
    ///
    /// The text names the field, the value and the rule.
    pub fn check(&self) -> Result<(), Failure> {
        let refuse = |text: String| Err(Failure::new(Code::Invalid, text));
        let length = self.items.len();
        if !(1..=MOST_ITEMS).contains(&length) {
            let rule = format!("must be from 1 to {MOST_ITEMS}");
            return refuse(format!("items has {length} products: {rule}"));
        }
        for (at, Item { product, quantity }) in self.items.iter().enumerate() {
            if !(1..=MOST_OF_ONE).contains(quantity) {
                let rule = format!("must be from 1 to {MOST_OF_ONE}");
                return refuse(format!(
                    "items[{at}].quantity = {quantity} is refused: {rule}"
                ));
            }
            if product.is_empty() || product.len() > 64 {
                let rule = "must have from 1 to 64 bytes";
                return refuse(format!("items[{at}].product is refused: {rule}"));
            }
            if self
                .items
                .iter()
                .take(at)
                .any(|other| other.product == *product)
            {
                let rule = "each product must be there once, with its quantity";
                return refuse(format!(
                    "items[{at}].product = {product:?} is refused: {rule}"
                ));
            }
        }
        Ok(())
    }
}

impl Order {
    /// The event that tells others of its state, if there is one for this state.
    #[must_use]
    pub fn event(&self) -> Option<Message> {
        let pattern = match self.state {
            State::FIRST => "order.placed",
            State::Confirmed => "order.confirmed",
            State::Compensated => "order.compensated",
            _ => return None,
        };
        let mut payload = json!({
            "order": self.id,
            "user": self.user,
            "state": self.state,
            "total": self.total,
        });
        if let Some(reason) = &self.reason {
            payload["reason"] = json!(reason);
        }
        let mut event = Message::event(pattern, payload);
        let field = "x-correlation-id".to_owned();
        event.context.insert(field, self.correlation_id.clone());
        Some(event)
    }
}
