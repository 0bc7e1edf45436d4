//! FinvyPay's responses to status queries: a line with the HTTP status; headers and a body.

use lambda_http::http::StatusCode;
use payment_functions::domain::id::{OrderId, Reference};
use payment_functions::domain::json::{Json, Object};
use payment_functions::domain::provider::Provider;
use payment_functions::domain::time::Timestamp;
use payment_functions::providers::Notification;
use payment_functions::providers::finvypay::status::{read_status, read_transactions};
use payment_functions::providers::gateway::CallError;
use payment_functions::providers::http_client::{self, Reply};

use super::headers::Message;
use super::json::{compact, pretty, reversed};
use super::webhook::{assert_is_finvypays, assert_survives_storage, distinct_ids, is_test, word_of};
use super::{longhand, split};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// The queried id and order.
const ID: &str = "pay_apm_1234567890";
const ORDER_ID: &str = "ORD-APM-78901";

/// Each response is read as that to a query by id and by order.
pub fn check(bytes: &[u8]) -> bool {
    let (status, rest) = split(bytes, b"\n");
    let status = StatusCode::from_bytes(status).unwrap_or(StatusCode::OK);
    let message = Message::read(rest);
    if http_client::check_status(status, &message.headers, http_client::Quota::default()).is_err() {
        return false;
    }
    let (id, order_id) = (Reference::parse(ID).unwrap(), OrderId::parse(ORDER_ID).unwrap());
    let read = |body: &[u8]| {
        let reply = Reply::new(status, body);
        (read_status(&reply, &id, NOW), read_transactions(&reply, &order_id, NOW))
    };
    let (of_id, of_order) = read(message.body);
    let json = Json::parse_liberal(message.body).ok();
    if let Some(json) = &json {
        let marked = format!("\u{feff}{}", compact(json));
        for same in [compact(json), pretty(json), compact(&reversed(json)), marked] {
            assert_eq!(read(same.as_bytes()), (of_id.clone(), of_order.clone()), "{same}");
        }
    }
    for error in [of_id.as_ref().err(), of_order.as_ref().err()].into_iter().flatten() {
        assert_is_fixed_text(error, status);
    }

    let body = json.as_ref().and_then(Json::as_object);
    let success = body.filter(|body| status.is_success() && body.get("success") == Some(&Json::Bool(true)));
    let data = success.and_then(|body| body.get("data")).and_then(Json::as_object);
    if let Ok(found) = &of_id {
        match found {
            Some(notification) => assert_is_about_id(notification, success.unwrap(), data.expect("no data"), &id),
            None => {
                let error = body.and_then(|body| body.get("error")).and_then(Json::as_object);
                let code = error.and_then(|error| error.str("code")).map(str::to_ascii_uppercase);
                assert_eq!((status.as_u16(), code.as_deref()), (404, Some("NOT_FOUND")));
            }
        }
    }
    if let Ok(notifications) = &of_order {
        let listed = ["transactions", "data"].map(|name| data.and_then(|data| data.get(name)).and_then(Json::as_array));
        let listed = listed.into_iter().flatten().next().expect("no list");
        let listed = listed.iter().filter_map(Json::as_object);
        let is_of_the_order = |transaction: &&Object| {
            distinct_ids(&[transaction], &["orderId", "order_id"])
                .first()
                .is_some_and(|order| order == ORDER_ID)
                && has_status(transaction)
                && ids(transaction).iter().any(Option::is_some)
        };
        let listed: Vec<&Object> = listed.filter(is_of_the_order).collect();
        assert_eq!(notifications.len(), listed.len(), "only transactions of the order");
        for (notification, transaction) in notifications.iter().zip(listed) {
            let kept = [&notification.fact.payment, &notification.fact.transaction];
            assert_eq!(
                kept.map(|id| id.as_ref().map(|id| id.as_str().to_owned())),
                ids(transaction)
            );
            assert_matches_data(notification, success.unwrap(), transaction);
        }
    }
    matches!(of_id, Ok(Some(_))) || of_order.is_ok_and(|notifications| !notifications.is_empty())
}

/// The notification is about the queried id, and has the ids of the response.
fn assert_is_about_id(notification: &Notification, envelope: &Object, data: &Object, queried: &Reference) {
    let [payment, transaction] = ids(data);
    let fact = &notification.fact;
    assert_eq!(fact.transaction.as_ref().map(Reference::as_str), transaction.as_deref());
    if payment.is_some() {
        assert_eq!(fact.payment.as_ref().map(Reference::as_str), payment.as_deref());
    }
    assert!(fact.references().any(|id| id == queried), "another id");
    assert_matches_data(notification, envelope, data);
}

/// Everything in the notification is in the response.
fn assert_matches_data(notification: &Notification, envelope: &Object, data: &Object) {
    let fact = &notification.fact;
    assert_survives_storage(notification);
    assert_eq!(
        (fact.provider, &fact.operator, fact.received_at),
        (Provider::FinvyPay, &None, NOW)
    );
    assert!(has_status(data));
    // The queried id is not repeated in every response, so it is no id of the data.
    let mut repeated = notification.clone();
    if distinct_ids(&[data], &["paymentId"]).is_empty() {
        repeated.fact.payment = None;
    }
    assert_is_finvypays(&repeated, &[envelope, data], &[data]);

    let (amount, currency) = (data.get("amount"), data.get("currency"));
    let number = match amount {
        Some(Json::Number(text) | Json::String(text)) if longhand::is_number(text) => Some(text),
        Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) | Json::Object(_))
        | None => None,
    };
    let kept = fact.amount.as_ref().map(ToString::to_string);
    assert!(
        kept.is_some() == number.is_some() || number.is_some_and(|number| number.len() > 64),
        "{amount:?}"
    );
    let [kept, number] = [kept.as_ref(), number].map(|text| text.and_then(|text| longhand::write_out(text)));
    if let (Some(kept), Some(number)) = (kept, number) {
        assert_eq!(kept, number);
    }
    let code = currency.and_then(Json::as_str);
    let is_plain = |code: &str| (1..=16).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphabetic());
    assert!(fact.currency.is_some() || !code.is_some_and(is_plain), "{currency:?}");
    if fact.currency.is_some() {
        assert_eq!(fact.currency, code.map(str::to_ascii_uppercase));
    }

    if let Some(order_id) = &fact.order_id {
        assert_eq!(distinct_ids(&[data], &["orderId", "order_id"]), [order_id.as_str()]);
    }
}

/// Whether the data has a status of its own: a text or a number, or a type that marks a test.
fn has_status(data: &Object) -> bool {
    let is_word = |value: &Json| match value {
        Json::String(text) => !word_of(text).is_empty(),
        Json::Number(_) => true,
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => false,
    };
    let has_word = |name| data.get(name).is_some_and(is_word);
    has_word("status") || has_word("event") || data.str("type").is_some_and(is_test)
}

/// The payment's id and the transaction's id.
fn ids(data: &Object) -> [Option<String>; 2] {
    [&["paymentId"][..], &["txn_id", "transactionId"]].map(|names| distinct_ids(&[data], names).into_iter().next())
}

/// Errors are logged, so they have only fixed texts, and no ids.
fn assert_is_fixed_text(error: &CallError, status: StatusCode) {
    let (reason, references) = match error {
        CallError::Unusable { reason, references } => (*reason, references),
        CallError::OutcomeUnknown { references } => {
            assert!([408, 409, 425, 502, 503, 504].contains(&status.as_u16()), "{status}");
            ("", references)
        }
        CallError::Rejected { .. } | CallError::Throttled { .. } | CallError::KeyRefused | CallError::TimedOut => {
            panic!("{error:?}")
        }
    };
    let reasons = [
        "",
        "server error",
        "undocumented response",
        "no status for the queried id",
        "no list of transactions",
    ];
    assert!(reasons.contains(&reason) && references.is_empty(), "{error:?}");
}
