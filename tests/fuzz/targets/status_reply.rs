//! FinvyPay's responses to status queries: a line with the HTTP status; headers and a body.

use lambda_http::http::StatusCode;
use payment_functions::domain::fact::Outcome;
use payment_functions::domain::id::{OrderId, PaymentId, Reference};
use payment_functions::domain::json::{Json, Object};
use payment_functions::domain::provider::Provider;
use payment_functions::providers::finvypay::status::{read_status, read_transactions};
use payment_functions::providers::gateway::CallError;
use payment_functions::providers::http_client::{self, Reply};
use payment_functions::providers::{Notification, PAYMENT_ID_MEMBER};

use super::headers::Message;
use super::json::{compact, pretty, reversed};
use super::webhook::{assert_completes_only_with_exact_money, assert_survives_storage, is_paid};
use super::{longhand, split};

/// The queried id and order.
const ID: &str = "pay_apm_1234567890";
const ORDER_ID: &str = "ORD-APM-78901";

/// Each response is read as that to a query by id and by order.
pub fn check(bytes: &[u8]) -> bool {
    let (status, rest) = split(bytes, b"\n");
    let status = StatusCode::from_bytes(status).unwrap_or(StatusCode::OK);
    let message = Message::read(rest);
    if http_client::check_status(status, &message.headers).is_err() {
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
        assert_is_fixed_text(error);
    }

    let body = json.as_ref().and_then(Json::as_object);
    let success = body.filter(|body| status.is_success() && body.get("success") == Some(&Json::Bool(true)));
    let data = success.and_then(|body| body.get("data")).and_then(Json::as_object);
    if let Ok(found) = &of_id {
        match found {
            Some(notification) => assert_is_about_id(notification, data.expect("no data"), &id),
            None => {
                let error = body.and_then(|body| body.get("error")).and_then(Json::as_object);
                let code = error.and_then(|error| error.str("code"));
                assert_eq!((status.as_u16(), code), (404, Some("NOT_FOUND")));
            }
        }
    }
    if let Ok(notifications) = &of_order {
        let listed = data.and_then(|data| data.get("transactions")).and_then(Json::as_array);
        let listed = listed.expect("no list").iter().filter_map(Json::as_object);
        let is_of_the_order = |transaction: &&Object| {
            let [payment, transaction_id] = ids(transaction);
            transaction.str("orderId") == Some(ORDER_ID)
                && transaction.str("status").is_some()
                && (payment.is_some() || transaction_id.is_some())
        };
        let listed: Vec<&Object> = listed.filter(is_of_the_order).collect();
        assert_eq!(notifications.len(), listed.len(), "only transactions of the order");
        for (notification, transaction) in notifications.iter().zip(listed) {
            assert_eq!(
                [&notification.fact.payment, &notification.fact.transaction],
                ids(transaction).each_ref()
            );
            assert_matches_data(notification, transaction);
        }
    }
    matches!(of_id, Ok(Some(_))) || of_order.is_ok_and(|notifications| !notifications.is_empty())
}

/// The notification is about the queried id, and has the ids of the response.
fn assert_is_about_id(notification: &Notification, data: &Object, queried: &Reference) {
    let [payment, transaction] = ids(data);
    assert_eq!(notification.fact.transaction, transaction);
    if payment.is_some() {
        assert_eq!(notification.fact.payment, payment);
    }
    assert!(notification.fact.references().any(|id| id == queried), "another id");
    assert_matches_data(notification, data);
}

/// Everything in the notification is in the response.
fn assert_matches_data(notification: &Notification, data: &Object) {
    let fact = &notification.fact;
    assert_survives_storage(notification);
    assert_eq!((fact.provider, &fact.operator), (Provider::FinvyPay, &None));
    let status = data.str("status").expect("a status");
    assert_eq!(fact.outcome == Outcome::Completed, is_paid(status), "{status}");
    assert!(status.starts_with(&fact.raw_status));

    let (amount, currency) = (data.get("amount"), data.get("currency"));
    let number = match amount {
        Some(Json::Number(text) | Json::String(text)) if longhand::is_number(text) => Some(text),
        Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) | Json::Object(_))
        | None => None,
    };
    let kept = fact.amount.as_ref().map(ToString::to_string);
    assert_eq!(kept.is_some(), number.is_some(), "{amount:?}");
    let [kept, number] = [kept.as_ref(), number].map(|text| text.and_then(|text| longhand::write_out(text)));
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
    assert_completes_only_with_exact_money(notification, &[amount], &[currency]);

    let metadata = data.get("metadata").and_then(Json::as_object);
    let our_id = metadata.and_then(|metadata| metadata.str(PAYMENT_ID_MEMBER));
    assert_eq!(notification.payment_id, our_id.and_then(PaymentId::parse));
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

/// Errors are logged, so they have only fixed texts, and no ids.
fn assert_is_fixed_text(error: &CallError) {
    let CallError::Unusable { reason, references } = error else {
        panic!("{error:?}")
    };
    let reasons = [
        "undocumented response",
        "no status for the queried id",
        "no list of transactions",
    ];
    assert!(reasons.contains(reason) && references.is_empty(), "{error:?}");
}
