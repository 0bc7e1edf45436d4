//! The quote in a request: a token of the browser's, which must be the shop's own.
//!
//! The header, a line; the claims, a line; then how the token is written, `{header}.{claims}.{current}` where nothing is
//! said: `{header}` and `{claims}` stand for those two in base64url, and `{current}`, `{previous}`, `{other}`, `{hs384}`
//! and `{hs512}` for a signature of what stands before the last dot, by one key and algorithm or another, which no fuzzer
//! would ever guess.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt;
use hmac::{Hmac, KeyInit, Mac};
use payment_functions::api::problem::Problem;
use payment_functions::domain::id::{OrderId, PaymentId};
use payment_functions::domain::json::Json;
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::Provider;
use payment_functions::domain::time::Timestamp;
use payment_functions::flows::quote::{QuoteValidity, Quotes, Token};
use payment_functions::platform::secrets::{SecretError, SecretSource, Versions};
use payment_functions_local::sandbox::sign;
use serde_json::{Value, json};
use sha2::{Sha384, Sha512};

use super::{paper, split};

const CURRENT: &str = "quote_key_that_is_good_and_no_secret";
const PREVIOUS: &str = "quote_key_that_was_good_before_it_";
const OTHER: &str = "quote_key_of_somebody_else_entirely";

const NOW: u64 = 1_800_000_000;
const HOUR: u64 = 60 * 60;
const SKEW: u64 = 60;
const MOST_BYTES: usize = 4096;
/// The last second of the year 9999.
const LATEST: u64 = 253_402_300_799;

const ORDER_ID: &str = "ORD-1";
/// 25.50 US dollars.
const MINOR: u64 = 2550;

/// The header as everybody writes it.
const USUAL_HEADER: &[u8] = br#"{"alg":"HS256","typ":"JWT"}"#;

pub fn check(bytes: &[u8]) -> bool {
    let token = token(bytes);
    let given = Token::read(&Json::String(token.clone())).unwrap();
    let other = Token::read(&Json::String("another".to_owned())).unwrap();
    assert_eq!(format!("{given:?}"), format!("{other:?}"), "nothing of it is shown");
    let intent = Payment {
        order_id: OrderId::parse(ORDER_ID),
        ..Payment::new(
            PaymentId::random(),
            Provider::FinvyPay,
            Money::from_minor(MINOR, Currency::USD),
            Timestamp::from_millis(NOW * 1000),
        )
    };
    let mut any = false;
    // The key was changed an hour ago, or long ago.
    for (changed_at, keys) in [(NOW - HOUR, &[CURRENT, PREVIOUS][..]), (NOW - 24 * HOUR, &[CURRENT])] {
        let quotes = Quotes::new(Keys { changed_at });
        let checked = quotes.check(Some(&given), &intent).now_or_never();
        let checked = checked.expect("there is nothing to wait for");
        let signed = signed(&token, keys);
        let meant = signed.as_ref().and_then(|(_, claims)| meaning(claims));
        match &checked {
            Ok(standing) => {
                let (header, _) = signed.as_ref().expect("a quote that nobody signed");
                is_by_hs256(header);
                let meant = meant.as_ref().expect("a quote of no meaning");
                assert_eq!(meant.differences, [""; 0], "a quote for another payment");
                assert_eq!(*standing == QuoteValidity::Valid, NOW < meant.end, "{}", meant.end);
                any = true;
            }
            Err(problem) => {
                let answer = answer(problem, &token);
                if answer["code"] == "QUOTE_MISMATCH" {
                    let (header, _) = signed.as_ref().expect("told apart, though nobody signed it");
                    is_by_hs256(header);
                    let names = meant
                        .as_ref()
                        .expect("different, though of no meaning")
                        .differences
                        .join(" and ");
                    let detail = format!("The quote has another {names} than the request.");
                    assert_eq!(answer["detail"], detail);
                }
            }
        }
        // What the shop makes in the usual way is refused for a reason.
        if let (Some((header, claims)), Some(meant)) = (&signed, &meant)
            && header == USUAL_HEADER
            && is_without_issuer_and_subject(claims)
        {
            assert_eq!(checked.is_ok(), meant.differences.is_empty(), "{token}");
        }
    }
    any
}

/// The shop's keys, one of which was changed at some time.
struct Keys {
    changed_at: u64,
}

impl SecretSource for Keys {
    async fn fetch(&self, _previous_since: Option<Timestamp>) -> Result<Versions, SecretError> {
        let secret = |key| json!({ "key": key }).to_string().into();
        Ok(Versions {
            current: secret(CURRENT),
            created_at: Timestamp::from_millis(self.changed_at * 1000),
            previous: Some(secret(PREVIOUS)),
        })
    }
}

/// The token as it is written.
fn token(bytes: &[u8]) -> String {
    let (header, rest) = split(bytes, b"\n");
    let (claims, written) = split(rest, b"\n");
    let written = String::from_utf8_lossy(written);
    let written = if written.is_empty() {
        "{header}.{claims}.{current}"
    } else {
        &written
    };
    let token = written
        .replace("{header}", &URL_SAFE_NO_PAD.encode(header))
        .replace("{claims}", &URL_SAFE_NO_PAD.encode(claims));
    let message = token.rsplit_once('.').map_or("", |(message, _)| message).to_owned();
    let by_sha256 = |key| hex::decode(sign(key, message.as_bytes())).unwrap();
    [
        ("{current}", by_sha256(CURRENT)),
        ("{previous}", by_sha256(PREVIOUS)),
        ("{other}", by_sha256(OTHER)),
        ("{hs384}", by::<Hmac<Sha384>>(&message)),
        ("{hs512}", by::<Hmac<Sha512>>(&message)),
    ]
    .into_iter()
    .fold(token, |token, (place, signature)| {
        token.replace(place, &URL_SAFE_NO_PAD.encode(signature))
    })
}

/// A message authenticated in another way with the right key.
fn by<M: Mac + KeyInit>(message: &str) -> Vec<u8> {
    let mac = <M as KeyInit>::new_from_slice(CURRENT.as_bytes()).unwrap();
    mac.chain_update(message).finalize().into_bytes().to_vec()
}

/// The header and the claims of a token that is signed with one of the keys, by HMAC-SHA256.
fn signed(token: &str, keys: &[&str]) -> Option<(Vec<u8>, Vec<u8>)> {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts.try_into().ok()?;
    let [header_bytes, claims_bytes, signature] =
        [header, claims, signature].map(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let (signature, message) = (hex::encode(signature?), format!("{header}.{claims}"));
    let is_good = token.len() <= MOST_BYTES && keys.iter().any(|key| sign(key, message.as_bytes()) == signature);
    is_good.then_some((header_bytes?, claims_bytes?))
}

/// The header names our algorithm and no other, and nothing that we would have to know.
fn is_by_hs256(header: &[u8]) {
    let header: Value = serde_json::from_slice(header).unwrap();
    let text = header["alg"].as_str();
    // The other way in which serde reads the name.
    assert!(
        text == Some("HS256") || header["alg"] == json!({ "HS256": null }),
        "{header}"
    );
    assert_eq!(header["crit"], Value::Null);
    // The claims are base64url (RFC 7797).
    assert!(matches!(header.get("b64"), None | Some(Value::Bool(true))), "{header}");
}

/// What the claims of a quote say beside the payment that is asked for.
struct Meaning {
    differences: Vec<&'static str>,
    /// From when on it is good for nothing, in seconds since 1970.
    end: u64,
}

/// `None`: they are no quote's, are not good yet, or have an `aud`, well-formed or not.
fn meaning(claims: &[u8]) -> Option<Meaning> {
    let claims = Json::parse(claims).ok()?;
    let claims = claims.as_object()?;
    if claims.get("aud").is_some() {
        return None;
    }
    let end = seconds(claims.get("exp")?)? + SKEW;
    if let Some(begin) = claims.get("nbf")
        && seconds(begin)? > NOW + SKEW
    {
        return None;
    }
    let amount = claims.str("amount").filter(|amount| paper::is_number(amount))?;
    let (order_id, currency) = (claims.str("orderId")?, claims.str("currency")?);
    let is_equal = [
        ("orderId", order_id == ORDER_ID),
        ("amount", paper::minor(amount, 2) == Some(MINOR)),
        ("currency", currency == "USD"),
    ];
    Some(Meaning {
        differences: is_equal
            .into_iter()
            .filter(|(_, is)| !is)
            .map(|(name, _)| name)
            .collect(),
        end,
    })
}

/// A time in whole seconds, what is after the point left out; no exponent, no sign.
fn seconds(value: &Json) -> Option<u64> {
    let Json::Number(text) = value else { return None };
    let is_plain = text.bytes().all(|byte| byte == b'.' || byte.is_ascii_digit());
    let whole = text.split('.').next().filter(|_| is_plain)?;
    whole.parse().ok().filter(|seconds| *seconds <= LATEST)
}

/// Whether `iss` and `sub` are absent. A quote may have them, but some malformed ones are refused.
fn is_without_issuer_and_subject(claims: &[u8]) -> bool {
    let claims = Json::parse(claims).unwrap();
    let claims = claims.as_object().unwrap();
    ["iss", "sub"].iter().all(|name| claims.get(name).is_none())
}

/// What is answered: 422, and nothing of the token or the keys.
fn answer(problem: &Problem, token: &str) -> Value {
    let answer: Value = serde_json::from_str(&problem.to_answer().body).unwrap();
    assert_eq!(answer["status"], 422, "{answer}");
    if answer["code"] != "QUOTE_MISMATCH" {
        assert_eq!(answer["code"], "QUOTE_INVALID");
        let is_told = |reason: &str| {
            answer["detail"] == format!("The quote is not valid: {reason}. Get a new one from the shop.")
        };
        assert_eq!(is_told("it is too long"), token.len() > MOST_BYTES);
        assert!(token.len() > MOST_BYTES || REASONS.into_iter().any(is_told), "{answer}");
    }
    answer
}

/// What can be wrong with a quote, but for its length.
const REASONS: [&str; 7] = [
    "it is not a JWT for this purpose, signed with HS256",
    "it is not signed with the shop's key",
    "its orderId must be a string",
    "its amount must be a decimal number in a string",
    "its currency must be a string",
    "its exp must be a number of seconds since 1970",
    "its nbf must be a number of seconds since 1970, and past",
];
