//! The bodies of the two create requests, and the problems for invalid ones.

use std::collections::BTreeSet;

use create_apm::request::ApmRequest;
use create_preorder::request::PreorderRequest;
use lambda_http::http::header::CONTENT_TYPE;
use lambda_http::http::{self as http_types, HeaderValue};
use lambda_http::{Body, Request};
use payment_functions::api::problem::{MAX_ERRORS, Problem};
use payment_functions::api::request::RequestBody;
use payment_functions::api::{metadata, request};
use payment_functions::domain::id::{OrderId, PaymentId};
use payment_functions::domain::idempotency::Fingerprint;
use payment_functions::domain::json::{Json, Object};
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::Environment;
use payment_functions::domain::redacted::Redacted;
use payment_functions::domain::time::Timestamp;
use payment_functions::flows::quote::QUOTE_FIELD;
use payment_functions::providers::PAYMENT_ID_MEMBER;

use super::json::{compact, pretty, reversed};
use super::{longhand, return_url};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const ORDER_ID: &str = "orderId";
const CUSTOMER_EMAIL: &str = "customerEmail";

pub fn preorder(bytes: &[u8]) -> bool {
    let read = |body, quoted| {
        let request = PreorderRequest::read(body, quoted)?;
        let payment = request.intent(PaymentId::random(), NOW);
        let fingerprint = request.fingerprint();
        Ok(Read {
            payment,
            fingerprint,
            has_quote: request.quote.is_some(),
            rest: request.provider_metadata,
        })
    };
    let Some((body, payment, provider_metadata)) = valid(bytes, read) else {
        return false;
    };
    let mut metadata = body
        .get("metadata")
        .and_then(Json::as_object)
        .cloned()
        .unwrap_or_default();
    for (name, max) in [(ORDER_ID, 128), (CUSTOMER_EMAIL, 254)] {
        let given = [body.str(name), metadata.str(name)].into_iter().flatten();
        let given: BTreeSet<&str> = given
            .map(|text| {
                if name == CUSTOMER_EMAIL {
                    without_outer_blanks(text)
                } else {
                    text
                }
            })
            .filter(|text| !text.is_empty())
            .collect();
        assert!(given.len() <= 1, "{name} in two places");
        assert_eq!(provider_metadata.str(name), given.first().copied(), "{name}");
        assert_eq!(provider_metadata.get(name).is_some(), !given.is_empty(), "{name}");
        assert!(given.iter().all(|text| is_short(text, max) && is_trimmed(text)));
    }
    if metadata.str(ORDER_ID) == Some("") {
        metadata.remove(ORDER_ID);
    }
    assert_eq!(
        payment.order_id.as_ref().map(OrderId::as_str),
        provider_metadata.str(ORDER_ID)
    );
    assert_eq!(payment.money.currency().code(), "USD");
    let is_added = |name: &str| [ORDER_ID, CUSTOMER_EMAIL].contains(&name);
    let other = |object: &Object| -> Vec<(String, Json)> {
        let members = object.iter().filter(|(name, _)| !is_added(name));
        members.map(|(name, value)| (name.to_owned(), value.clone())).collect()
    };
    assert_eq!(
        other(&metadata),
        other(&provider_metadata),
        "other metadata is unchanged"
    );
    check_metadata(&metadata, &provider_metadata, &payment);
    true
}

pub fn apm(bytes: &[u8]) -> bool {
    let origins = return_url::origins();
    let read = |body, quoted| {
        let request = ApmRequest::read(body, &origins, quoted)?;
        Ok(Read {
            payment: request.intent(PaymentId::random(), Environment::Sandbox, NOW),
            fingerprint: request.fingerprint(),
            has_quote: request.quote.is_some(),
            rest: request,
        })
    };
    let Some((body, payment, request)) = valid(bytes, read) else {
        return false;
    };
    let details = &request.details;
    let text = |name: &str, max: usize| {
        let text = body.str(name).filter(|text| !text.is_empty());
        let text = if name == "email" {
            text.map(without_outer_blanks)
        } else {
            text
        };
        assert!(text.is_none_or(|text| is_short(text, max)), "{name}");
        text
    };
    for name in [ORDER_ID, "firstName", "lastName"] {
        assert!(text(name, 128).is_some_and(is_trimmed), "{name}");
    }
    assert_eq!(payment.order_id.as_ref().map(OrderId::as_str), text(ORDER_ID, 128));
    assert_eq!(Some(payment.money.currency().code()), text("currency", 3));
    assert_eq!(payment.payment_method.as_deref(), text("paymentMethod", 64));
    for (forwarded, name, max) in [
        (Some(&details.first_name), "firstName", 100),
        (Some(&details.last_name), "lastName", 100),
        (Some(&details.email), "email", 254),
        (details.phone_number.as_ref(), "phoneNumber", 32),
    ] {
        assert_eq!(forwarded.map(|text| text.expose().as_str()), text(name, max));
    }
    assert_eq!(details.description.as_deref(), text("description", 1000));
    assert_eq!(Some(details.return_url.as_str()), text("returnUrl", 2048));
    assert_eq!(details.cancel_url.as_deref(), text("cancelUrl", 2048));
    for url in [Some(&details.return_url), details.cancel_url.as_ref()]
        .into_iter()
        .flatten()
    {
        return_url::assert_has_allowed_origin(url);
    }
    match (details.merchant_profile_id, body.get("merchantProfileId")) {
        (None, None) => {}
        (Some(id), Some(Json::Number(text))) => {
            let written = longhand::write_out(text).unwrap();
            let integer = format!("{:0>1}", written.integer);
            assert_eq!(
                (integer, written.negative, written.fraction.as_str()),
                (id.to_string(), false, "")
            );
        }
        (id, given) => panic!("{id:?} {given:?}"),
    }
    let metadata = body
        .get("metadata")
        .and_then(Json::as_object)
        .cloned()
        .unwrap_or_default();
    assert_eq!(request.metadata, metadata);
    check_metadata(&metadata, &metadata, &payment);
    true
}

/// A parsed body.
struct Read<T> {
    payment: Payment,
    fingerprint: Fingerprint,
    has_quote: bool,
    rest: T,
}

/// Reads a body. Equal requests must have equal fingerprints, and different amounts different ones. The second argument
/// of `read` is whether quotes are configured.
fn valid<T>(
    bytes: &[u8],
    read: impl Fn(RequestBody, bool) -> Result<Read<T>, Problem>,
) -> Option<(Object, Payment, T)> {
    let mut request = Request::new(Body::from(bytes));
    let media_type = HeaderValue::from_static("application/json");
    request.headers_mut().insert(CONTENT_TYPE, media_type);
    let body = match request::read_json(&request) {
        Ok(body) => body,
        Err(problem) => {
            let is_large = bytes.len() > request::MAX_BODY;
            check_problem(&problem, None, if is_large { 413 } else { 400 });
            return None;
        }
    };
    check_quoted(&body, &read);
    let has_lone_surrogate = Json::parse(bytes).is_err();
    let json = body.json.clone();
    let plain = |json: &Json| read(well_formed(json), false);
    let Read {
        payment,
        fingerprint,
        rest: valid,
        ..
    } = match read(body, false) {
        Ok(valid) => {
            assert!(!has_lone_surrogate);
            valid
        }
        Err(problem) => {
            check_problem(&problem, Some(&json), 422);
            return None;
        }
    };
    for same in [compact(&json), pretty(&json), compact(&reversed(&json))] {
        let again = plain(&Json::parse(same.as_bytes()).unwrap()).unwrap();
        assert_eq!(
            (again.payment.money, &again.fingerprint),
            (payment.money, &fingerprint),
            "{same}"
        );
    }
    let Json::Object(body) = json else {
        panic!("valid, but not an object")
    };
    let Some(Json::Number(amount)) = body.get("amount") else {
        panic!("valid, but the amount is not a number")
    };
    let decimals = payment.money.currency().decimals();
    assert_eq!(Some(payment.money.minor()), longhand::minor(amount, decimals));
    let mut other = body.clone();
    let is_one = payment.money.amount().to_string().trim_end_matches(['0', '.']) == "1";
    other.set("amount", Json::Number(if is_one { "2" } else { "1" }.to_owned()));
    let other = plain(&Json::Object(other)).unwrap();
    assert_ne!(other.fingerprint, fingerprint, "a different amount");
    Some((body, payment, valid))
}

/// If quotes are configured, a body needs an order, and its quote changes nothing else. Otherwise a quote is wrong. An
/// empty quote is none.
fn check_quoted<T>(body: &RequestBody, read: &impl Fn(RequestBody, bool) -> Result<Read<T>, Problem>) {
    let json = &body.json;
    let given = json.as_object().and_then(|body| body.get(QUOTE_FIELD));
    let mut bare = body.clone();
    if let Json::Object(body) = &mut bare.json {
        body.remove(QUOTE_FIELD);
    }
    let is_elsewhere = |pointer: &&String| *pointer != "/quote" && !pointer.starts_with("/quote/");
    let elsewhere: Vec<String> = body
        .lone_surrogates
        .expose()
        .iter()
        .filter(is_elsewhere)
        .cloned()
        .collect();
    let is_well_formed = elsewhere.len() == body.lone_surrogates.expose().len();
    bare.lone_surrogates = Redacted::new(elsewhere);
    let plain = read(bare, false);
    let is_text = |value: &Json| value.as_str().is_some();
    let is_for_an_order = |read: &Read<T>| read.payment.order_id.is_some();
    let is_valid = plain.as_ref().is_ok_and(is_for_an_order) && given.is_none_or(is_text) && is_well_formed;
    let given = given.filter(|quote| quote.as_str() != Some(""));
    match (read(body.clone(), true), plain) {
        (Ok(quoted), Ok(plain)) => {
            assert!(is_valid, "{json:?}");
            assert_eq!(quoted.has_quote, given.is_some());
            let payment = Payment {
                id: plain.payment.id,
                ..quoted.payment
            };
            assert_eq!((payment, quoted.fingerprint), (plain.payment, plain.fingerprint));
            assert!(!plain.has_quote);
        }
        (Ok(_), Err(problem)) => panic!("{problem:?} without the quote"),
        (Err(problem), _) => {
            assert!(!is_valid, "{problem:?} {json:?}");
            check_problem(&problem, Some(json), 422);
        }
    }
    if given.is_some() {
        let problem = read(body.clone(), false).err().expect("a wrong field");
        let errors = problem.errors();
        assert!(errors.len() == MAX_ERRORS || errors.iter().any(|error| error.pointer == "/quote"));
    }
}

/// Checks the caller's metadata, and the metadata for the provider without our id.
fn check_metadata(metadata: &Object, provider_metadata: &Object, payment: &Payment) {
    let with_our_id = metadata::with_payment_id(provider_metadata, payment.id);
    let text = with_our_id.expose().to_compact();
    assert!(text.len() <= 10_000, "{}", text.len());
    let in_range = serde_json::from_str::<serde_json::Value>(&text);
    assert!(in_range.is_ok(), "serde_json refuses numbers beyond a double");
    let sent = Json::parse(text.as_bytes()).unwrap();
    let sent = sent.as_object().unwrap();
    assert_eq!(sent.str(PAYMENT_ID_MEMBER), Some(payment.id.to_string().as_str()));
    assert_eq!(
        sent.iter().count(),
        provider_metadata.iter().count() + 1,
        "only our id is added"
    );

    let stored = payment
        .metadata
        .as_ref()
        .map(|metadata| Json::parse(metadata.expose().as_bytes()).unwrap());
    let mut expected = metadata.clone();
    expected.remove(CUSTOMER_EMAIL);
    assert_eq!(stored, (!expected.is_empty()).then_some(Json::Object(expected)));
}

fn is_short(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

fn is_trimmed(text: &str) -> bool {
    text.trim() == text
}

/// A control character is no blank, but it makes an address invalid, so a valid one has none.
fn without_outer_blanks(address: &str) -> &str {
    address.trim()
}

/// A body without lone surrogates.
fn well_formed(json: &Json) -> RequestBody {
    RequestBody {
        json: json.clone(),
        lone_surrogates: Redacted::new(Vec::new()),
    }
}

/// The possible details of errors without digits. They contain nothing of the request.
const DETAILS: [&str; 22] = [
    "differs from /customerEmail",
    "differs from /orderId",
    "is not a field of this request",
    "is required",
    "is set by the server",
    "must be a JSON object",
    "must be a number",
    "must be a string",
    "must be a whole number,  or more",
    "must be an absolute URL",
    "must be an e-mail address",
    "must be an object",
    "must be the upper-case ISO  code of a current currency, such as USD",
    "must be at most  bytes as compact JSON, including the members that the server adds",
    "must be at most .",
    "must be greater than ",
    "must be https, or http on a loopback host",
    "must be on an allowed origin",
    "must have  to  characters",
    "must write its host in the normal form",
    "must not be null; leave it out",
    "must not have blanks, backslashes or control characters",
];
const MORE_DETAILS: [&str; 6] = [
    "must be a number in the range of a double",
    "must be left out, because quotes are not configured",
    "must not begin or end with a blank",
    "must not have a lone surrogate",
    "must not have control characters",
    "must not have user information",
];

/// The start of the detail if the pointer is that of an enclosing value.
const LONG_PATH: &str = "contains a value whose path is too long to show, which ";

/// The maximum size of an error response, in bytes.
const MAX_RESPONSE: usize = 45_000;

/// An error response follows RFC 9457 and the API, and repeats nothing of the body but the names of its fields.
pub fn check_problem(problem: &Problem, body: Option<&Json>, status: u16) {
    let response = problem.to_response();
    assert_eq!(response.status(), http_types::StatusCode::from_u16(status).unwrap());
    assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    let text: &[u8] = response.body();
    assert!(text.len() <= MAX_RESPONSE, "{}", text.len());
    assert!(problem.errors().len() <= MAX_ERRORS);
    let json: serde_json::Value = serde_json::from_slice(text).unwrap();
    assert_eq!(json["status"], status);
    let names: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    let members = ["code", "detail", "status", "title", "type"];
    assert!(
        names
            .iter()
            .all(|name| members.contains(name) || (*name == "errors" && status == 422)),
        "{names:?}"
    );
    assert_eq!(problem.errors().is_empty(), status != 422);
    for error in problem.errors() {
        let detail: String = error.detail.chars().filter(|char| !char.is_ascii_digit()).collect();
        let (is_enclosing, detail) = match detail.strip_prefix(LONG_PATH) {
            Some(detail) => (true, detail),
            None => (false, detail.as_str()),
        };
        let decimals = detail.strip_prefix("must have at most  decimals in ");
        let is_code = |code: &str| code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase());
        assert!(
            decimals.is_some_and(is_code) || [&DETAILS[..], &MORE_DETAILS].concat().contains(&detail),
            "{detail}"
        );
        let values = body.map_or(Vec::new(), |body| values_at(&error.pointer, body));
        let is_left_out = values.iter().all(|value| value.as_str() == Some(""));
        let is_expected = if detail == "is required" && !is_enclosing {
            is_left_out
        } else {
            !values.is_empty()
        };
        assert!(is_expected, "{} {detail}", error.pointer);
    }
}

/// The values to which a JSON pointer refers. There can be several, as names that differ only in lone surrogates look
/// alike.
fn values_at<'a>(pointer: &str, json: &'a Json) -> Vec<&'a Json> {
    let Some(rest) = pointer.strip_prefix('/') else {
        return if pointer.is_empty() { vec![json] } else { Vec::new() };
    };
    let (name, rest) = rest
        .split_once('/')
        .map_or((rest, String::new()), |(name, rest)| (name, format!("/{rest}")));
    let name = name.replace("~1", "/").replace("~0", "~");
    let next: Vec<&Json> = match json {
        Json::Object(object) => object
            .iter()
            .filter_map(|(member, value)| (member == name).then_some(value))
            .collect(),
        Json::Array(items) => {
            let index = name.parse::<usize>().ok();
            index.and_then(|index| items.get(index)).into_iter().collect()
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => Vec::new(),
    };
    next.into_iter().flat_map(|value| values_at(&rest, value)).collect()
}
