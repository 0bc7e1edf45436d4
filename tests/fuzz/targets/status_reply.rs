//! What FinvyPay answers when it is asked about a payment or an order: the status, a line; headers and a body.

use lambda_http::http::StatusCode;
use payment_functions::domain::fact::Outcome;
use payment_functions::domain::id::{OrderId, PaymentId, Reference};
use payment_functions::domain::json::{Json, Object};
use payment_functions::domain::provider::Provider;
use payment_functions::providers::finvypay::status::{read_status, read_transactions};
use payment_functions::providers::gateway::CallError;
use payment_functions::providers::http_client::{self, Reply};
use payment_functions::providers::{Notification, OUR_ID};

use super::headers::Message;
use super::json::{compact, pretty, reversed};
use super::webhook::{believes_only_the_right_money, is_paid, survives_being_stored};
use super::{paper, split};

/// The id and the order that were asked about.
const ID: &str = "pay_apm_1234567890";
const ORDER_ID: &str = "ORD-APM-78901";

/// Each reply is read as the answer to both questions.
pub fn check(bytes: &[u8]) -> bool {
    let (status, rest) = split(bytes, b"\n");
    let status = StatusCode::from_bytes(status).unwrap_or(StatusCode::OK);
    let message = Message::read(rest);
    if http_client::check(status, &message.headers).is_err() {
        return false;
    }
    let (id, order_id) = (Reference::parse(ID).unwrap(), OrderId::parse(ORDER_ID).unwrap());
    let read = |body: &[u8]| {
        let reply = Reply::new(status, body);
        (read_status(&reply, &id), read_transactions(&reply, &order_id))
    };
    let (of_id, of_order) = read(message.body);
    let json = Json::parse(message.body).ok();
    for same in json
        .iter()
        .flat_map(|json| [compact(json), pretty(json), compact(&reversed(json))])
    {
        assert_eq!(read(same.as_bytes()), (of_id.clone(), of_order.clone()), "{same}");
    }
    for error in [of_id.as_ref().err(), of_order.as_ref().err()].into_iter().flatten() {
        is_known_beforehand(error);
    }

    let body = json.as_ref().and_then(Json::as_object);
    let success = body.filter(|body| status.is_success() && body.get("success") == Some(&Json::Bool(true)));
    let data = success.and_then(|body| body.get("data")).and_then(Json::as_object);
    if let Ok(found) = &of_id {
        match found {
            Some(event) => is_of_the_id(event, data.expect("an event of nothing"), &id),
            None => {
                let error = body.and_then(|body| body.get("error")).and_then(Json::as_object);
                let code = error.and_then(|error| error.str("code"));
                assert_eq!((status.as_u16(), code), (404, Some("NOT_FOUND")));
            }
        }
    }
    if let Ok(events) = &of_order {
        let listed = data.and_then(|data| data.get("transactions")).and_then(Json::as_array);
        let listed = listed.expect("a list of nothing").iter().filter_map(Json::as_object);
        let is_of_the_order = |transaction: &&Object| {
            let [payment, transaction_id] = ids(transaction);
            transaction.str("orderId") == Some(ORDER_ID)
                && transaction.str("status").is_some()
                && (payment.is_some() || transaction_id.is_some())
        };
        let listed: Vec<&Object> = listed.filter(is_of_the_order).collect();
        assert_eq!(events.len(), listed.len(), "what is of the order, and nothing else");
        for (event, transaction) in events.iter().zip(listed) {
            assert_eq!(
                [&event.fact.payment, &event.fact.transaction],
                ids(transaction).each_ref()
            );
            is_what_was_said(event, transaction);
        }
    }
    matches!(of_id, Ok(Some(_))) || of_order.is_ok_and(|events| !events.is_empty())
}

/// The event is about the id that was asked for, and takes no other's place.
fn is_of_the_id(event: &Notification, data: &Object, asked: &Reference) {
    let [payment, transaction] = ids(data);
    assert_eq!(event.fact.transaction, transaction);
    if payment.is_some() {
        assert_eq!(event.fact.payment, payment, "as it was answered");
    }
    assert!(event.fact.references().any(|id| id == asked), "about something else");
    is_what_was_said(event, data);
}

/// Nothing of the event is a guess.
fn is_what_was_said(event: &Notification, data: &Object) {
    let fact = &event.fact;
    survives_being_stored(event);
    assert_eq!((fact.provider, &fact.operator), (Provider::FinvyPay, &None));
    let word = data.str("status").expect("a status");
    assert_eq!(fact.outcome == Outcome::Completed, is_paid(word), "{word}");
    assert!(word.starts_with(&fact.raw_status));

    let (amount, currency) = (data.get("amount"), data.get("currency"));
    let number = match amount {
        Some(Json::Number(text) | Json::String(text)) if paper::is_number(text) => Some(text),
        Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) | Json::Object(_))
        | None => None,
    };
    let kept = fact.amount.as_ref().map(ToString::to_string);
    assert_eq!(kept.is_some(), number.is_some(), "{amount:?}");
    let [kept, number] = [kept.as_ref(), number].map(|text| text.and_then(|text| paper::write_out(text)));
    if let (Some(kept), Some(number)) = (kept, number) {
        assert_eq!(kept, number);
    }
    let code = currency.and_then(Json::as_str);
    assert!(
        match (fact.currency.as_deref(), code) {
            (Some(kept), Some(code)) => kept.eq_ignore_ascii_case(code),
            (kept, code) => kept == code,
        },
        "{currency:?}"
    );
    believes_only_the_right_money(event, &[amount], &[currency]);

    let metadata = data.get("metadata").and_then(Json::as_object);
    let ours = metadata.and_then(|metadata| metadata.str(OUR_ID));
    assert_eq!(event.payment_id, ours.and_then(PaymentId::parse));
    assert_eq!(
        fact.order_id.as_ref().map(OrderId::as_str),
        data.str("orderId").filter(is_order_id)
    );
}

fn is_order_id(text: &&str) -> bool {
    (1..=128).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

fn ids(data: &Object) -> [Option<Reference>; 2] {
    ["paymentId", "transactionId"].map(|name| data.str(name).and_then(Reference::parse))
}

/// Error texts go to the log, and no ids go with an answer that is of no use here.
fn is_known_beforehand(error: &CallError) {
    let CallError::Unusable { reason, references } = error else {
        panic!("{error:?}")
    };
    let reasons = ["not what is documented", "not what was asked for", "no list"];
    assert!(reasons.contains(reason) && references.is_empty(), "{error:?}");
}
