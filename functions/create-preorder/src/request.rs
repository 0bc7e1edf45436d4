//! The body of `POST /preorders`.

use payment_functions::clock::Timestamp;
use payment_functions::fields::{self, Fields};
use payment_functions::id::{OrderId, PaymentId, Provider};
use payment_functions::idempotency::Fingerprint;
use payment_functions::json::{Json, Object};
use payment_functions::metadata::{self, CUSTOMER_EMAIL};
use payment_functions::money::{Currency, Money};
use payment_functions::payment::Payment;
use payment_functions::problem::Problem;
use payment_functions::quote::{FIELD as QUOTE, Token};

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
        let money = fields.required("amount", |value| fields::money(value, Some(Currency::USD)));
        let own = fields.optional("metadata", fields::object).cloned().unwrap_or_default();
        let mut sent = own.clone();
        let order_id = travels_in_metadata(&mut fields, &mut sent, ORDER_ID, |value| fields::text(value, 128));
        travels_in_metadata(&mut fields, &mut sent, CUSTOMER_EMAIL, fields::email);
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
            ..Payment::intend(id, Provider::ApoloPay, self.money, now)
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
    read: fn(&Json) -> Result<&str, fields::Wrong>,
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
mod tests {
    use super::*;

    fn read(text: &str) -> Result<PreorderRequest, Problem> {
        read_as(text, false)
    }

    fn read_as(text: &str, quoted: bool) -> Result<PreorderRequest, Problem> {
        PreorderRequest::read(&Json::parse(text.as_bytes()).unwrap(), quoted)
    }

    fn pointers(text: &str) -> Vec<String> {
        let problem = read(text).unwrap_err();
        problem.errors().iter().map(|error| error.pointer.clone()).collect()
    }

    #[test]
    fn the_documented_request() {
        let request =
            read(r#"{"amount":25.50,"orderId":"ORD-9821","customerEmail":"jane@example.com","metadata":{"a":1.50}}"#)
                .unwrap();
        assert_eq!(
            request.sent.to_compact(),
            r#"{"a":1.50,"orderId":"ORD-9821","customerEmail":"jane@example.com"}"#
        );
        let payment = request.intent(PaymentId::random(), Timestamp::from_millis(0));
        assert_eq!(payment.order_id.as_ref().map(OrderId::as_str), Some("ORD-9821"));
        assert_eq!(payment.metadata.unwrap().expose(), r#"{"a":1.50}"#);
    }

    #[test]
    fn the_buyers_address_is_never_stored() {
        let request =
            read(r#"{"amount":1,"metadata":{"customerEmail":"jane@example.com","b":[],"orderId":"o"}}"#).unwrap();
        let payment = request.intent(PaymentId::random(), Timestamp::from_millis(0));
        assert_eq!(payment.metadata.unwrap().expose(), r#"{"b":[],"orderId":"o"}"#);
        assert!(!format!("{request:?}").contains("jane"));
    }

    #[test]
    fn every_wrong_field_at_once() {
        for (text, expected) in [
            ("[]", vec![""]),
            ("{}", vec!["/amount"]),
            (r#"{"amount":"25.50"}"#, vec!["/amount"]),
            (
                r#"{"amount":null,"orderId":"","customerEmail":"x","metadata":[],"webhookUrl":1}"#,
                vec!["/amount", "/metadata", "/orderId", "/customerEmail", "/webhookUrl"],
            ),
            (
                r#"{"amount":1,"orderId":"a","metadata":{"orderId":"b"}}"#,
                vec!["/metadata/orderId"],
            ),
            (
                r#"{"amount":1,"metadata":{"orderId":7,"customerEmail":null}}"#,
                vec!["/metadata/orderId", "/metadata/customerEmail"],
            ),
            (
                r#"{"amount":1,"metadata":{"paymentFunctionsId":"x"}}"#,
                vec!["/metadata/paymentFunctionsId"],
            ),
            (r#"{"amount":1,"a/b~c":1}"#, vec!["/a~1b~0c"]),
            (r#"{"amount":1,"quote":"x"}"#, vec!["/quote"]),
        ] {
            assert_eq!(pointers(text), expected, "{text}");
        }
    }

    #[test]
    fn metadata_is_measured_as_it_is_sent() {
        // With `paymentFunctionsId` and its value, a comma and the braces of the rest: 59 bytes more.
        let with = |length: usize| {
            read(&format!(
                r#"{{"amount":1,"metadata":  {{ "m" : "{}"}}}}"#,
                "x".repeat(length)
            ))
        };
        let own = r#"{"m":""}"#.len();
        let ours = r#","paymentFunctionsId":"00000000-0000-0000-0000-000000000000""#.len();
        assert!(with(10_000 - own - ours).is_ok());
        assert!(with(10_000 - own - ours + 1).is_err());
    }

    /// So deep that it can be read wherever it comes back.
    #[test]
    fn metadata_is_nested_at_most_so_deep() {
        let with = |levels: usize| {
            let (open, close) = (r#"{"m":"#.repeat(levels), "}".repeat(levels));
            read(&format!(r#"{{"amount":1,"metadata":{open}1{close}}}"#))
        };
        assert!(with(32).is_ok());
        let problem = with(33).unwrap_err();
        assert_eq!(problem.errors()[0].pointer, "/metadata");
        let back = format!(
            r#"{{"success":true,"data":{{"transactions":[{{"metadata":{}1{}}}]}}}}"#,
            r#"{"m":"#.repeat(32),
            "}".repeat(32)
        );
        assert!(Json::parse(back.as_bytes()).is_ok());
    }

    #[test]
    fn with_quotes_there_must_be_an_order_and_may_be_a_quote() {
        for (text, expected) in [
            ("{}", vec!["/amount", "/orderId"]),
            (r#"{"amount":1,"quote":"x"}"#, vec!["/orderId"]),
            (r#"{"amount":1,"quote":"x","metadata":{"a":1}}"#, vec!["/orderId"]),
            (
                r#"{"amount":1,"quote":null,"metadata":[]}"#,
                vec!["/metadata", "/quote", "/orderId"],
            ),
            (r#"{"amount":1,"orderId":"","quote":7}"#, vec!["/orderId", "/quote"]),
            (
                r#"{"amount":1,"orderId":"o","metadata":{"orderId":7},"quote":{}}"#,
                vec!["/metadata/orderId", "/quote"],
            ),
            (
                r#"{"amount":1,"metadata":{"orderId":null,"quote":"x"}}"#,
                vec!["/metadata/orderId"],
            ),
        ] {
            let problem = read_as(text, true).unwrap_err();
            let pointers: Vec<_> = problem.errors().iter().map(|error| error.pointer.as_str()).collect();
            assert_eq!(pointers, expected, "{text}");
        }
        let without = read_as(r#"{"amount":1,"orderId":"o"}"#, true).unwrap();
        assert!(
            without.quote.is_none(),
            "whether one is needed is not for the body to say"
        );
        let quoted = read_as(
            r#"{"amount":1,"quote":"eyJ","metadata":{"orderId":"o","quote":"the caller's"}}"#,
            true,
        )
        .unwrap();
        assert!(quoted.quote.is_some() && !format!("{quoted:?}").contains("eyJ"));
        assert_eq!(quoted.sent.to_compact(), r#"{"quote":"the caller's","orderId":"o"}"#);
        let other = read_as(
            r#"{"amount":1,"quote":"x","metadata":{"orderId":"o","quote":"the caller's"}}"#,
            true,
        );
        assert_eq!(quoted.fingerprint(), other.unwrap().fingerprint());
        assert_ne!(quoted.fingerprint(), without.fingerprint());
    }

    #[test]
    fn equal_meaning_equal_fingerprint() {
        let print = |text: &str| read(text).unwrap().fingerprint();
        let one = print(r#"{"amount":25.50,"orderId":"o","metadata":{"a":1,"b":2.0}}"#);
        for same in [
            r#"{"metadata":{"b":2,"a":1.0},"orderId":"o","amount":25.5}"#,
            r#"{"amount":2550e-2,"metadata":{"orderId":"o","a":1,"b":2}}"#,
            r#"{"amount":25.5,"orderId":"\u006f","metadata":{"orderId":"o","a":1,"b":2}}"#,
        ] {
            assert_eq!(one, print(same), "{same}");
        }
        for other in [
            r#"{"amount":25.51,"orderId":"o","metadata":{"a":1,"b":2.0}}"#,
            r#"{"amount":25.50,"orderId":"p","metadata":{"a":1,"b":2.0}}"#,
            r#"{"amount":25.50,"orderId":"o","metadata":{"a":"1","b":2.0}}"#,
            r#"{"amount":25.50,"orderId":"o","customerEmail":"a@b","metadata":{"a":1,"b":2.0}}"#,
        ] {
            assert_ne!(one, print(other), "{other}");
        }
    }
}
