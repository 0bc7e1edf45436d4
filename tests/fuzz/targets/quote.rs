//! The quote in a request: a token that the shop's backend must have signed.
//!
//! The input is the header, a line; the claims, a line; and the token's form, by default `{header}.{claims}.{current}`.
//! `{header}` and `{claims}` are replaced by those two in base64url. `{current}`, `{previous}`, `{other}`, `{hs384}`
//! and `{hs512}` are replaced by signatures of the text before the last dot with different keys and algorithms, since
//! no fuzzer could guess a signature.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt;
use hmac::{Hmac, KeyInit, Mac};
use payment_functions::api::problem::Problem;
use payment_functions::domain::id::{OrderId, PaymentId};
use payment_functions::domain::json::Json;
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::{Environment, Provider};
use payment_functions::domain::time::Timestamp;
use payment_functions::flows::quote::{QuoteToken, QuoteValidity, Quotes};
use payment_functions::platform::secrets::{SecretError, SecretSource, Versions};
use payment_functions_local::sandbox::sign;
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::{longhand, split};

const CURRENT: &str = "quote_key_that_is_good_and_no_secret";
const PREVIOUS: &str = "quote_key_that_was_good_before_it_";
const OTHER: &str = "quote_key_of_somebody_else_entirely";

const NOW: u64 = 1_800_000_000;
const HOUR: u64 = 60 * 60;
const SKEW: u64 = 60;
const MAX_BYTES: usize = 4096;
/// The last second of the year 9999.
const LATEST: u64 = 253_402_300_799;

const ORDER_ID: &str = "ORD-1";
/// 25.50 US dollars.
const MINOR: u64 = 2550;

/// The usual header.
const USUAL_HEADER: &[u8] = br#"{"alg":"HS256","typ":"JWT"}"#;

pub fn check(bytes: &[u8]) -> bool {
    let token = token(bytes);
    let given = QuoteToken::read(&Json::String(token.clone())).unwrap();
    let other = QuoteToken::read(&Json::String("another".to_owned())).unwrap();
    assert_eq!(format!("{given:?}"), format!("{other:?}"), "the token is not shown");
    let intent = Payment {
        order_id: OrderId::parse(ORDER_ID),
        ..Payment::new(
            PaymentId::random(),
            Provider::FinvyPay,
            Environment::Sandbox,
            Money::from_minor(MINOR, Currency::USD),
            Timestamp::from_millis(NOW * 1000),
        )
    };
    let mut is_accepted = false;
    // The key was changed an hour ago, or long ago.
    for (changed_at, keys) in [(NOW - HOUR, &[CURRENT, PREVIOUS][..]), (NOW - 24 * HOUR, &[CURRENT])] {
        let quotes = Quotes::new(Keys { changed_at });
        let checked = quotes.check(Some(&given), &intent).now_or_never();
        let checked = checked.expect("no waiting");
        let signed = signed(&token, keys);
        let quote = signed.as_ref().and_then(|(_, claims)| read_claims(claims));
        match &checked {
            Ok((verified, validity)) => {
                let (header, _) = signed.as_ref().expect("accepted without a signature");
                assert_is_hs256(header);
                let quote = quote.as_ref().expect("accepted with invalid claims");
                assert_eq!(quote.differences, [""; 0], "accepted for another payment");
                assert_eq!(*validity == QuoteValidity::Valid, NOW < quote.end, "{}", quote.end);
                let exp = Timestamp::from_millis((quote.end - SKEW) * 1000);
                assert_eq!(verified.expires_at, exp);
                let message = token.rsplit_once('.').expect("a signature").0;
                assert_eq!(verified.digest.to_string(), hex::encode(Sha256::digest(message)));
                is_accepted = true;
            }
            Err(problem) => {
                let json = problem_json(problem, &token);
                if json["code"] == "QUOTE_MISMATCH" {
                    let (header, _) = signed.as_ref().expect("a mismatch without a signature");
                    assert_is_hs256(header);
                    let names = quote
                        .as_ref()
                        .expect("a mismatch with invalid claims")
                        .differences
                        .join(" and ");
                    let detail = format!("The quote has another {names} than the request.");
                    assert_eq!(json["detail"], detail);
                }
            }
        }
        // A quote in the usual form is rejected only for a mismatch.
        if let (Some((header, claims)), Some(quote)) = (&signed, &quote)
            && header == USUAL_HEADER
            && is_without_issuer_and_subject(claims)
        {
            assert_eq!(checked.is_ok(), quote.differences.is_empty(), "{token}");
        }
    }
    is_accepted
}

/// The shop's keys, changed at `changed_at` in seconds since 1970.
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

/// The token in its form, with the placeholders replaced.
fn token(bytes: &[u8]) -> String {
    let (header, rest) = split(bytes, b"\n");
    let (claims, form) = split(rest, b"\n");
    let form = String::from_utf8_lossy(form);
    let form = if form.is_empty() {
        "{header}.{claims}.{current}"
    } else {
        &form
    };
    let token = form
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

/// The signature of a message with the right key and another algorithm.
fn by<M: Mac + KeyInit>(message: &str) -> Vec<u8> {
    let mac = <M as KeyInit>::new_from_slice(CURRENT.as_bytes()).unwrap();
    mac.chain_update(message).finalize().into_bytes().to_vec()
}

/// The header and the claims of a token that is signed with one of the keys and HMAC-SHA256.
fn signed(token: &str, keys: &[&str]) -> Option<(Vec<u8>, Vec<u8>)> {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts.try_into().ok()?;
    let [header_bytes, claims_bytes, signature] =
        [header, claims, signature].map(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let (signature, message) = (hex::encode(signature?), format!("{header}.{claims}"));
    let is_good = token.len() <= MAX_BYTES && keys.iter().any(|key| sign(key, message.as_bytes()) == signature);
    is_good.then_some((header_bytes?, claims_bytes?))
}

/// The header has our algorithm only, and no critical extensions.
fn assert_is_hs256(header: &[u8]) {
    let header: Value = serde_json::from_slice(header).unwrap();
    let text = header["alg"].as_str();
    // serde also accepts a variant's name as a map.
    assert!(
        text == Some("HS256") || header["alg"] == json!({ "HS256": null }),
        "{header}"
    );
    assert_eq!(header["crit"], Value::Null);
    // The claims are in base64url (RFC 7797).
    assert!(matches!(header.get("b64"), None | Some(Value::Bool(true))), "{header}");
}

/// A quote's claims compared with the requested payment.
struct Claims {
    /// The names of the claims that differ from the payment.
    differences: Vec<&'static str>,
    /// The end of the validity, in seconds since 1970.
    end: u64,
}

/// Reads claims. `None` if they are not those of a quote, are not valid yet, or have an `aud`, well-formed or not.
fn read_claims(claims: &[u8]) -> Option<Claims> {
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
    let amount = claims.str("amount").filter(|amount| longhand::is_number(amount))?;
    let (order_id, currency) = (claims.str("orderId")?, claims.str("currency")?);
    let is_equal = [
        ("orderId", order_id == ORDER_ID),
        ("amount", longhand::minor(amount, 2) == Some(MINOR)),
        ("currency", currency == "USD"),
    ];
    Some(Claims {
        differences: is_equal
            .into_iter()
            .filter(|(_, is)| !is)
            .map(|(name, _)| name)
            .collect(),
        end,
    })
}

/// A time in whole seconds, without its fraction. `None` if it has an exponent or a sign.
fn seconds(value: &Json) -> Option<u64> {
    let Json::Number(text) = value else { return None };
    let is_plain = text.bytes().all(|byte| byte == b'.' || byte.is_ascii_digit());
    let whole = text.split('.').next().filter(|_| is_plain)?;
    whole.parse().ok().filter(|seconds| *seconds <= LATEST)
}

/// Whether `iss` and `sub` are absent. A quote may have them, but some malformed values are rejected.
fn is_without_issuer_and_subject(claims: &[u8]) -> bool {
    let claims = Json::parse(claims).unwrap();
    let claims = claims.as_object().unwrap();
    ["iss", "sub"].iter().all(|name| claims.get(name).is_none())
}

/// The problem's JSON: status 422, and nothing of the token or the keys.
fn problem_json(problem: &Problem, token: &str) -> Value {
    let json: Value = serde_json::from_str(&problem.to_stored_response().body).unwrap();
    assert_eq!(json["status"], 422, "{json}");
    if json["code"] != "QUOTE_MISMATCH" {
        assert_eq!(json["code"], "QUOTE_INVALID");
        let has_reason =
            |reason: &str| json["detail"] == format!("The quote is not valid: {reason}. Get a new one from the shop.");
        assert_eq!(has_reason("it is too long"), token.len() > MAX_BYTES);
        assert!(token.len() > MAX_BYTES || REASONS.into_iter().any(has_reason), "{json}");
    }
    json
}

/// The reasons for rejecting a quote, except its length.
const REASONS: [&str; 7] = [
    "it is not a JWT for this purpose, signed with HS256",
    "it is not signed with the shop's key",
    "its orderId must be a string",
    "its amount must be a decimal number in a string",
    "its currency must be a string",
    "its exp must be a number of seconds since 1970",
    "its nbf must be a number of seconds since 1970, and past",
];
