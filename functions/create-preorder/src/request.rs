//! The body of `POST /preorders`.

use payment_functions::api::metadata::{self, CUSTOMER_EMAIL};
use payment_functions::api::problem::Problem;
use payment_functions::api::validation::{self, Fields};
use payment_functions::domain::id::{OrderId, PaymentId};
use payment_functions::domain::idempotency::Fingerprint;
use payment_functions::domain::json::{Json, Object};
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::Provider;
use payment_functions::domain::time::Timestamp;
use payment_functions::flows::quote::{FIELD as QUOTE, Token};

const ORDER_ID: &str = "orderId";

/// A valid request for a preorder.
#[derive(Debug)]
pub struct PreorderRequest {
    money: Money,
    order_id: Option<OrderId>,
    /// The metadata as the caller gave it.
    own: Object,
    /// The same with the order and the buyer's address, which travel in it.
    pub sent: Object,
    /// What says that the shop decided the price, where that is asked for.
    pub quote: Option<Token>,
}

impl PreorderRequest {
    /// Reads a body. Where it is not `quoted`, there is no field for a quote; where it is, there must be an order, and
    /// whether a quote came, and a good one, is not for the body to say.
    ///
    /// # Errors
    /// 422 with every wrong field.
    pub fn read(body: &Json, quoted: bool) -> Result<Self, Problem> {
        let mut fields = Fields::of(body)?;
        let money = fields.required("amount", |value| validation::money(value, Some(Currency::USD)));
        let own = fields
            .optional("metadata", validation::object)
            .cloned()
            .unwrap_or_default();
        let mut sent = own.clone();
        let order_id = travels_in_metadata(&mut fields, &mut sent, ORDER_ID, |value| validation::text(value, 128));
        travels_in_metadata(&mut fields, &mut sent, CUSTOMER_EMAIL, validation::email);
        let quote = quoted.then(|| fields.optional(QUOTE, Token::read)).flatten();
        let names_order = |object: &Object| object.get(ORDER_ID).is_some();
        if quoted && !names_order(&own) && !body.as_object().is_some_and(names_order) {
            fields.wrong(&[ORDER_ID], "is required");
        }
        metadata::check(&mut fields, &sent);
        let order_id = order_id.and_then(|text| OrderId::parse(&text));
        fields.finish(money.map(|money| Self {
            money,
            order_id,
            own,
            sent,
            quote,
        }))
    }

    /// The payment to be created.
    pub fn intent(&self, id: PaymentId, now: Timestamp) -> Payment {
        Payment {
            order_id: self.order_id.clone(),
            metadata: metadata::to_store(&self.own),
            ..Payment::new(id, Provider::ApoloPay, self.money, now)
        }
    }

    /// Equal for requests that mean the same, wherever the order and the address were given.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut meaning = Object::default();
        meaning.set("amount", Json::Number(self.money.amount().to_string()));
        meaning.set("metadata", Json::Object(self.sent.clone()));
        Fingerprint::of(&Json::Object(meaning))
    }
}

/// Reads a field that may stand on top or in the metadata, or in both if they agree, and puts it into the metadata to
/// send.
fn travels_in_metadata<'a>(
    fields: &mut Fields<'a>,
    sent: &mut Object,
    name: &'static str,
    read: fn(&Json) -> Result<&str, validation::FieldProblem>,
) -> Option<String> {
    let on_top = fields.optional(name, read).map(str::to_owned);
    let inside = match sent.get(name).map(read) {
        None => None,
        Some(Ok(text)) => Some(text.to_owned()),
        Some(Err(wrong)) => {
            fields.wrong(&["metadata", name], wrong);
            return None;
        }
    };
    if on_top.is_some() && inside.is_some() && on_top != inside {
        fields.wrong(&["metadata", name], format!("differs from /{name}"));
    }
    let value = on_top.or(inside)?;
    sent.set(name, Json::String(value.clone()));
    Some(value)
}

#[cfg(test)]
mod tests;
