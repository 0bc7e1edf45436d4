use super::*;
use std::collections::VecDeque;
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::Algorithm;
use proptest::prelude::*;
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::hs256::HS256;
use super::token::MAX_TOKEN;
use crate::api::problem::Code;
use crate::domain::decimal::Decimal;
use crate::domain::id::{OrderId, PaymentId};
use crate::domain::money::{Currency, Money};
use crate::domain::provider::{Environment, Provider};

const KEY: &str = "quote_test_key_of_32_bytes_00001";
const OTHER: &str = "quote_test_key_of_32_bytes_00002";
const EXP: u64 = 1_800_000_000;
const NOW: Timestamp = Timestamp::from_millis((EXP - 300) * 1000);

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
const CLAIMS: &str = r#"{"orderId":"ORD-1","amount":"25.50","currency":"USD","exp":1800000000}"#;

fn encode(part: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(part)
}

macro_rules! mac {
    ($hash:ty, $key:expr, $message:expr) => {
        Hmac::<$hash>::new_from_slice($key.as_ref())
            .unwrap()
            .chain_update($message)
            .finalize()
            .into_bytes()
    };
}

fn sign(message: &str, key: impl AsRef<[u8]>) -> String {
    format!("{message}.{}", encode(mac!(Sha256, key, message)))
}

fn jwt(header: &str, claims: &str) -> String {
    sign(&format!("{}.{}", encode(header), encode(claims)), KEY)
}

fn key(bytes: impl AsRef<[u8]>) -> DecodingKey {
    DecodingKey::from_secret(bytes.as_ref()).unwrap()
}

fn read_text(text: &str) -> Result<Quote, QuoteError> {
    read(&QuoteToken(text.into()), &key(KEY), NOW)
}

fn claims(text: &str) -> Result<Quote, QuoteError> {
    read_text(&jwt(HEADER, text))
}

/// The claims with one replaced, or left out where there is no value.
fn claims_with(name: &str, value: Option<&str>) -> String {
    let mut members: serde_json::Map<String, serde_json::Value> = serde_json::from_str(CLAIMS).unwrap();
    members.remove(name);
    let rest = serde_json::to_string(&members).unwrap();
    match value {
        Some(value) => rest.replacen('{', &format!(r#"{{"{name}":{value},"#), 1),
        None => rest,
    }
}

fn good() -> Quote {
    Quote {
        order_id: "ORD-1".to_owned(),
        amount: Decimal::parse("25.5").unwrap(),
        currency: "USD".to_owned(),
        expires_at: Timestamp::from_millis(EXP * 1000),
    }
}

/// An intent over 25.50 USD for ORD-1.
fn intent(now: Timestamp) -> Payment {
    let money = Money::from_minor(2550, Currency::USD);
    Payment {
        order_id: OrderId::parse("ORD-1"),
        ..Payment::new(
            PaymentId::random(),
            Provider::FinvyPay,
            Environment::Sandbox,
            money,
            now,
        )
    }
}

/// RFC 7515, appendix A.1. Its claims are not those of a quote, so this tests the HMAC alone.
#[test]
fn published_hs256_example_verifies() {
    let _ = HS256.install_default();
    let published = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let published = key(URL_SAFE_NO_PAD.decode(published).unwrap());
    let message = b"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
        eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let verifies = |key: &DecodingKey, algorithm| {
        let signature = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        jsonwebtoken::crypto::verify(signature, message, key, algorithm).ok()
    };
    assert_eq!(verifies(&published, Algorithm::HS256), Some(true));
    assert_eq!(verifies(&key(KEY), Algorithm::HS256), Some(false));
    for algorithm in [Algorithm::HS384, Algorithm::HS512, Algorithm::RS256, Algorithm::EdDSA] {
        assert_eq!(verifies(&published, algorithm), None, "no other algorithm is linked");
    }
}

#[test]
fn valid_quote_is_read() {
    for header in [
        HEADER,
        r#"{"alg":"HS256"}"#,
        r#" { "typ" : "quote+jwt", "kid":"2026-11", "alg" : "HS256" } "#,
        r#"{"alg":"\u0048S256","x":{"alg":"none"}}"#,
    ] {
        assert_eq!(read_text(&jwt(header, CLAIMS)), Ok(good()), "{header}");
    }
    for text in [
        CLAIMS,
        r#" { "exp":1800000000, "currency":"\u0055SD","amount":"25.50","orderId":"ORD\u002d1" } "#,
        r#"{"iss":"shop","sub":"cart 7","iat":1,"nbf":1799999700,"jti":"x","more":{"amount":"1","exp":[]},
            "orderId":"ORD-1","amount":"25.50","currency":"USD","exp":1800000000}"#,
    ] {
        assert_eq!(claims(text), Ok(good()), "{text}");
    }
    for amount in ["25.5", "25.500000000000000000000000000000000000", "2550e-2", "0.255E+2"] {
        let text = claims_with("amount", Some(&format!("\"{amount}\"")));
        assert_eq!(claims(&text), Ok(good()), "{amount}");
    }
}

#[test]
fn malformed_token_is_unsuitable() {
    let token = jwt(HEADER, CLAIMS);
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let with_header = |header: &str| sign(&format!("{header}.{payload}"), KEY);
    let with_claims = |claims: &str| sign(&format!("{header}.{claims}"), KEY);
    for text in [
        String::new(),
        " ".to_owned(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        "quote".to_owned(),
        "null".to_owned(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}.{signature}."),
        format!(".{header}.{payload}.{signature}"),
        format!("{header}..{payload}.{signature}"),
        format!("{header}.{payload}.{signature}.{signature}"),
        format!("{payload}.{signature}"),
        format!("{token} "),
        format!(" {token}"),
        format!("{token}\n"),
        format!("Bearer {token}"),
        token.replace('.', ","),
        format!("{header}.{payload}.{signature}="),
        format!("{header}.{payload}.*{signature}"),
        format!("{header}.{payload}.é"),
        // Signed, but not canonical base64url.
        with_header(&format!("{header}=")),
        with_header(&format!("{header}A")),
        with_header(&STANDARD.encode(r#"{"alg":"HS256","kid":"???>>>"}"#)),
        with_header(&encode("")),
        with_header(&encode("HS256")),
        with_header(&encode("[]")),
        with_header(&encode("{}{}")),
        with_header(&encode(b"{\"alg\":\"HS256\",\"x\":\"\xff\"}")),
        with_claims(&URL_SAFE.encode(format!("{CLAIMS} "))),
        with_claims(&encode("")),
        with_claims(&encode("null")),
        with_claims(&encode("[]")),
        with_claims(&encode(format!("[{CLAIMS}]"))),
        with_claims(&encode(format!("{CLAIMS}{CLAIMS}"))),
        with_claims(&encode(CLAIMS.trim_end_matches('}'))),
        with_claims(&encode(b"{\"orderId\":\"\xff\"}")),
    ] {
        assert_eq!(read_text(&text), Err(QuoteError::Unsuitable), "{text}");
    }
}

/// RFC 7519, section 4.1.3. Only `aud` is invalid.
#[test]
fn quote_with_audience_is_unsuitable() {
    for (name, aud) in [
        ("another service", r#""another-service""#),
        ("a list of services", r#"["another-service"]"#),
        ("an empty name", r#""""#),
        ("an empty list", "[]"),
        ("a list of an empty name", r#"[""]"#),
        // Malformed: neither a string nor a list of strings.
        ("a number", "5"),
        ("a number too large for a float", "1e400"),
        ("an object", "{}"),
        ("an object with a name", r#"{"0":"another-service"}"#),
        ("null", "null"),
        ("a boolean", "true"),
        ("a list of a number", "[5]"),
        ("a list of null", "[null]"),
        ("a list of a list", r#"[["another-service"]]"#),
        ("a list of a service and a number", r#"["another-service",5]"#),
    ] {
        let text = claims_with("aud", Some(aud));
        assert_eq!(claims(&text), Err(QuoteError::Unsuitable), "{name}: {text}");
        let escaped = text.replacen("aud", "\\u0061ud", 1);
        assert_eq!(claims(&escaped), Err(QuoteError::Unsuitable), "{name}: {escaped}");
    }
}

/// RFC 7515, section 4.1.11, and RFC 7797 for `b64`. Only the header is invalid.
#[test]
fn quote_with_critical_header_is_unsuitable() {
    for header in [
        r#"{"alg":"HS256","crit":["exp"],"exp":1}"#,
        r#"{"alg":"HS256","crit":["alg"]}"#,
        r#"{"alg":"HS256","crit":["b64"]}"#,
        r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
        // The crate accepts this one.
        r#"{"alg":"HS256","crit":["b64"],"b64":true}"#,
        r#"{"alg":"HS256","crit":["b64","b64"],"b64":true}"#,
        r#"{"alg":"HS256","crit":["b64","exp"],"b64":true,"exp":1}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","crit":[5]}"#,
        r#"{"alg":"HS256","crit":"exp"}"#,
        r#"{"alg":"HS256","crit":{}}"#,
        r#"{"alg":"HS256","\u0063rit":["exp"],"exp":1}"#,
        // The claims would not be base64url.
        r#"{"alg":"HS256","b64":false}"#,
    ] {
        assert_eq!(read_text(&jwt(header, CLAIMS)), Err(QuoteError::Unsuitable), "{header}");
    }
}

#[test]
fn token_over_4096_bytes_is_too_long() {
    let of_length = |length: usize| {
        let rest = jwt(HEADER, CLAIMS).len() + r#""x":"","#.len() * 4 / 3;
        (length - rest - 8..)
            .map(|more| {
                jwt(
                    HEADER,
                    &claims_with("x", Some(&format!("\"{}\"", "x".repeat(more * 3 / 4)))),
                )
            })
            .find(|token| token.len() >= length)
            .unwrap()
    };
    let longest = of_length(MAX_TOKEN - 4);
    assert!(
        longest.len() <= MAX_TOKEN && read_text(&longest).is_ok(),
        "{}",
        longest.len()
    );
    assert_eq!(read_text(&of_length(MAX_TOKEN + 1)), Err(QuoteError::TooLong));
    // The longest order id fits, even if JSON escapes every character.
    let order = "\\ud83d\\ude00".repeat(128);
    let text = claims_with("orderId", Some(&format!("\"{order}\"")));
    assert_eq!(claims(&text).unwrap().order_id, "😀".repeat(128));
}

/// Each is signed with the right key, so only the algorithm is invalid.
#[test]
fn other_algorithm_is_unsuitable() {
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"None"}"#,
        r#"{"alg":"NONE"}"#,
        r#"{"alg":""}"#,
        r#"{"alg":null}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":0}"#,
        r#"{"alg":"hs256"}"#,
        r#"{"alg":"HS256 "}"#,
        r#"{"ALG":"HS256"}"#,
        r#"{"typ":"JWT"}"#,
        r#"{"alg":"HS384"}"#,
        r#"{"alg":"HS512"}"#,
        r#"{"alg":"RS256"}"#,
        r#"{"alg":"PS256"}"#,
        r#"{"alg":"ES256"}"#,
        r#"{"alg":"EdDSA"}"#,
        r#"{"alg":"HS256","alg":"none"}"#,
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":"HS256","\u0061lg":"HS512"}"#,
    ] {
        let signed = jwt(header, CLAIMS);
        assert_eq!(read_text(&signed), Err(QuoteError::Unsuitable), "{header}");
        let (message, _) = signed.rsplit_once('.').unwrap();
        for unsigned in [format!("{message}."), message.to_owned()] {
            assert_eq!(read_text(&unsigned), Err(QuoteError::Unsuitable), "{unsigned}");
        }
    }
    let honest = |algorithm: &str| format!("{}.{}", encode(format!(r#"{{"alg":"{algorithm}"}}"#)), encode(CLAIMS));
    let (hs384, hs512) = (honest("HS384"), honest("HS512"));
    for text in [
        format!("{hs384}.{}", encode(mac!(Sha384, KEY, &hs384))),
        format!("{hs512}.{}", encode(mac!(Sha512, KEY, &hs512))),
    ] {
        assert_eq!(read_text(&text), Err(QuoteError::Unsuitable), "{text}");
    }
}

#[test]
fn quote_without_valid_signature_is_forged() {
    let token = jwt(HEADER, CLAIMS);
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = message.split_once('.').unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let cheaper = encode(CLAIMS.replace("25.50", "00.01"));
    for (text, what) in [
        (sign(message, OTHER), "another key"),
        (sign(message, ""), "no key"),
        (sign(message, &KEY.as_bytes()[..31]), "a part of the key"),
        (sign(message, hex::encode(KEY)), "the key in hex"),
        (sign(message, STANDARD.encode(KEY)), "the key in base64"),
        (format!("{header}.{cheaper}.{signature}"), "another price"),
        (format!("{message}."), "no signature"),
        (format!("{message}.{}", encode(&bytes[..31])), "a shorter one"),
        (
            format!("{message}.{}", encode([&bytes[..], &[0]].concat())),
            "a longer one",
        ),
        (format!("{message}.{}", encode([0; 32])), "zeros"),
        (format!("{message}.{}", encode(mac!(Sha384, KEY, message))), "HS384's"),
        (format!("{message}.{}", encode(mac!(Sha512, KEY, message))), "HS512's"),
        (format!("{message}.{}", encode(hex::encode(&bytes))), "in hex"),
        // Claims are neither checked nor reported before the signature has verified.
        (sign(&format!("{header}.{}", encode("{}")), OTHER), "no claims"),
        (sign(&format!("{header}.{}", encode("not JSON")), OTHER), "not JSON"),
    ] {
        assert_eq!(read_text(&text), Err(QuoteError::Forged), "{what}: {text}");
    }
}

#[test]
fn invalid_claim_is_reported() {
    for name in ["orderId", "amount", "currency", "exp"] {
        assert!(
            matches!(claims(&claims_with(name, None)), Err(QuoteError::Claim(_))),
            "no {name}"
        );
        for value in ["null", "true", "{}", "[]", "[\"25.50\"]"] {
            let text = claims_with(name, Some(value));
            assert!(claims(&text).is_err(), "{text}");
        }
        // A duplicate member is refused, also if its name is escaped.
        let member = CLAIMS
            .trim_matches(['{', '}'])
            .split(',')
            .find(|member| member.contains(name))
            .unwrap();
        let escaped = name.replacen(['o', 'a', 'c', 'e'], &format!("\\u{:04x}", name.as_bytes()[0]), 1);
        for again in [member.to_owned(), member.replace(name, &escaped)] {
            let text = CLAIMS.replacen('{', &format!("{{{again},"), 1);
            assert_eq!(claims(&text), Err(QuoteError::Unsuitable), "{text}");
        }
    }
    let inside = claims_with("more", Some(r#"{"a":1,"a":2}"#));
    assert_eq!(claims(&inside), Err(QuoteError::Unsuitable));
    for (name, values) in [
        ("orderId", &["7", "1e3"][..]),
        ("currency", &["840"]),
        (
            "amount",
            &[
                "25.50",
                "2550e-2",
                "\"\"",
                "\" \"",
                "\"25.50 \"",
                "\" 25.50\"",
                "\"25,50\"",
                "\"$25.50\"",
                "\"25.50 USD\"",
                "\"+25.50\"",
                "\"025.50\"",
                "\"25.\"",
                "\".5\"",
                "\"0x19\"",
                "\"NaN\"",
                "\"Infinity\"",
                "\"٢٥\"",
                "\"1_000\"",
            ],
        ),
        (
            "exp",
            &[
                "\"1800000000\"",
                "-1",
                "-0",
                "-1800000000",
                "1.8e9",
                "18E8",
                "1800000000.0e0",
                "253402300800",
                "1800000000000",
                "18446744073709551616",
                "1e400",
            ],
        ),
        (
            "nbf",
            &["null", "\"0\"", "-1", "1e9", "{}", "1799999761", "1799999761.0"],
        ),
    ] {
        for value in values {
            let text = claims_with(name, Some(value));
            assert!(claims(&text).is_err(), "{text}");
        }
    }
}

#[test]
fn quote_expires_one_minute_after_exp() {
    let validity = |exp: &str, now: u64| {
        let token = QuoteToken(jwt(HEADER, &claims_with("exp", Some(exp))).as_str().into());
        let now = Timestamp::from_millis(now);
        read(&token, &key(KEY), now).unwrap().validity(now)
    };
    let end = (EXP + 60) * 1000;
    for (exp, now, expected) in [
        ("1800000000", 0, QuoteValidity::Valid),
        ("1800000000", EXP * 1000, QuoteValidity::Valid),
        ("1800000000", end - 1, QuoteValidity::Valid),
        ("1800000000", end, QuoteValidity::Expired),
        ("1800000000", end + 1, QuoteValidity::Expired),
        ("1800000000.999", end - 1, QuoteValidity::Valid),
        ("1800000000.999", end, QuoteValidity::Expired),
        ("0", 59_999, QuoteValidity::Valid),
        ("0", 60_000, QuoteValidity::Expired),
        ("0.5", 60_000, QuoteValidity::Expired),
        ("253402300799", end, QuoteValidity::Valid),
    ] {
        assert_eq!(validity(exp, now), expected, "{exp} at {now}");
    }
    for nbf in ["1799999760", "1799999760.5", "0"] {
        assert!(claims(&claims_with("nbf", Some(nbf))).is_ok(), "{nbf}");
    }
}

#[test]
fn quote_for_another_payment_reports_the_differing_claims() {
    for (name, value, differences) in [
        ("orderId", "ORD-1", &[][..]),
        ("orderId", "ORD-2", &["orderId"]),
        ("orderId", "ord-1", &["orderId"]),
        ("orderId", "ORD-1 ", &["orderId"]),
        ("orderId", "", &["orderId"]),
        ("amount", "25.5", &[]),
        ("amount", "25.500", &[]),
        ("amount", "2550E-2", &[]),
        ("amount", "25.51", &["amount"]),
        ("amount", "25.500000001", &["amount"]),
        ("amount", "25.499999999999999999999999999999", &["amount"]),
        ("amount", "2550", &["amount"]),
        ("amount", "25", &["amount"]),
        ("amount", "-25.50", &["amount"]),
        ("amount", "0", &["amount"]),
        ("amount", "1e99999999999999999999", &["amount"]),
        ("currency", "EUR", &["currency"]),
        ("currency", "usd", &["currency"]),
        ("currency", "USD ", &["currency"]),
        ("currency", "", &["currency"]),
    ] {
        let quote = claims(&claims_with(name, Some(&format!("\"{value}\"")))).unwrap();
        assert_eq!(quote.differences(&intent(NOW)), differences, "{name} {value}");
    }
    let anonymous = Payment {
        order_id: None,
        ..intent(NOW)
    };
    assert_eq!(good().differences(&anonymous), ["orderId"]);
    let in_yen = Payment {
        money: Money::from_minor(2550, "JPY".parse().unwrap()),
        ..intent(NOW)
    };
    assert_eq!(good().differences(&in_yen), ["amount", "currency"]);
}

fn secret(key: &str) -> SecretString {
    format!(r#"{{"key":"{key}"}}"#).into()
}

fn versions(current: &str, previous: Option<&str>) -> Versions {
    Versions {
        current: secret(current),
        created_at: NOW,
        previous: previous.map(secret),
    }
}

#[test]
fn key_under_32_bytes_is_malformed() {
    for text in [
        "",
        KEY,
        "[]",
        "{}",
        r#"{"key":null}"#,
        r#"{"key":""}"#,
        r#"{"key":["quote_test_key_of_32_bytes_00001"]}"#,
        r#"{"key":"quote_test_key_of_31_bytes_0001"}"#,
        r#"{"secretKey":"quote_test_key_of_32_bytes_00001"}"#,
    ] {
        let versions = Versions {
            current: text.into(),
            ..versions(KEY, None)
        };
        let error = QuoteKeys::from_versions(&versions, "key").unwrap_err();
        assert!(!error.to_string().contains("quote_test"), "{error}");
    }
    // The limit counts bytes, not characters.
    for key in [KEY, &"é".repeat(16), &"x".repeat(1000)] {
        assert!(QuoteKeys::from_versions(&versions(key, None), "key").is_ok(), "{key}");
    }
    let keys = QuoteKeys::from_versions(&versions(KEY, Some("short")), "key").unwrap();
    assert!(keys.previous.is_none(), "an unusable key before is none");
    let keys = QuoteKeys::from_versions(&versions(KEY, Some(OTHER)), "key").unwrap();
    let token = QuoteToken(jwt(HEADER, CLAIMS).as_str().into());
    let shown = format!("{keys:?} {token:?}");
    assert!(!shown.contains("quote_test") && !shown.contains("eyJ"), "{shown}");
}

#[test]
fn previous_key_verifies_for_one_day() {
    let keys = QuoteKeys::from_versions(&versions(OTHER, Some(KEY)), "key").unwrap();
    let token = QuoteToken(jwt(HEADER, CLAIMS).as_str().into());
    let last = NOW.plus(ROTATION - Duration::from_millis(1));
    assert_eq!(keys.read(&token, NOW), Ok(good()));
    assert_eq!(keys.read(&token, last), Ok(good()));
    assert_eq!(keys.read(&token, NOW.plus(ROTATION)), Err(QuoteError::Forged));
    let by_current = QuoteToken(
        sign(&format!("{}.{}", encode(HEADER), encode(CLAIMS)), OTHER)
            .as_str()
            .into(),
    );
    assert_eq!(keys.read(&by_current, NOW.plus(ROTATION)), Ok(good()));
}

/// A source that returns scripted results.
struct Scripted(Mutex<VecDeque<Result<Versions, SecretError>>>);

impl SecretSource for Scripted {
    async fn fetch(&self, _previous_since: Option<Timestamp>) -> Result<Versions, SecretError> {
        self.0.lock().unwrap().pop_front().unwrap_or_else(|| Err(down()))
    }
}

fn down() -> SecretError {
    SecretError::Unavailable("script".to_owned())
}

fn quotes(answers: impl IntoIterator<Item = Result<Versions, SecretError>>) -> Quotes<Scripted> {
    Quotes::new(Scripted(Mutex::new(answers.into_iter().collect())))
}

async fn check(quotes: &Quotes<Scripted>, token: Option<&str>) -> Result<QuoteValidity, (Code, String)> {
    let token = token.map(|text| QuoteToken(text.into()));
    let checked = quotes.check(token.as_ref(), &intent(NOW)).await;
    let validity = checked.map(|(_, validity)| validity);
    validity.map_err(|problem| (problem.code(), problem.to_stored_response().body))
}

#[tokio::test]
async fn verified_quote_is_known_by_what_is_signed() {
    let quotes = quotes([Ok(versions(KEY, None))]);
    let claims = [CLAIMS.to_owned(), claims_with("jti", Some("\"1\""))];
    let mut digests = Vec::new();
    for claims in claims {
        let token = jwt(HEADER, &claims);
        let (message, _) = token.rsplit_once('.').unwrap();
        let token = QuoteToken(token.as_str().into());
        let (verified, _) = quotes.check(Some(&token), &intent(NOW)).await.unwrap();
        assert_eq!(verified.digest.to_string(), hex::encode(Sha256::digest(message)));
        assert_eq!(verified.expires_at, Timestamp::from_millis(EXP * 1000));
        digests.push(verified.digest);
    }
    assert_ne!(digests[0], digests[1], "a jti makes another quote");
}

#[tokio::test]
async fn problem_explains_why_a_quote_is_refused() {
    let quotes = quotes([Ok(versions(KEY, None)), Ok(versions(KEY, None))]);
    assert_eq!(
        check(&quotes, Some(&jwt(HEADER, CLAIMS))).await,
        Ok(QuoteValidity::Valid)
    );
    let past = jwt(HEADER, &claims_with("exp", Some("1799999640")));
    assert_eq!(check(&quotes, Some(&past)).await, Ok(QuoteValidity::Expired));
    let long = "x".repeat(MAX_TOKEN + 1);
    let past_and_cheaper = jwt(HEADER, &claims_with("exp", Some("1")).replace("25.50", "0.01"));
    for (token, code, words) in [
        (
            None,
            Code::QuoteInvalid,
            "The quote is not valid: it is missing. Get a new one from the shop.",
        ),
        (
            Some(""),
            Code::QuoteInvalid,
            "it is not a JWT for this purpose, signed with HS256.",
        ),
        (Some(&long), Code::QuoteInvalid, "it is too long."),
        (
            Some(&sign(&format!("{}.{}", encode(HEADER), encode(CLAIMS)), OTHER)),
            Code::QuoteInvalid,
            "it is not signed with the shop's key.",
        ),
        (
            Some(&jwt(HEADER, &claims_with("amount", Some("25.50")))),
            Code::QuoteInvalid,
            "its amount must be a decimal number in a string.",
        ),
        (
            Some(&jwt(
                HEADER,
                &claims_with("amount", Some("\"25.49\"")).replace("ORD-1", "ORD-2"),
            )),
            Code::QuoteMismatch,
            "The quote has another orderId and amount than the request.",
        ),
        (Some(&past_and_cheaper), Code::QuoteMismatch, "another amount than"),
    ] {
        let (seen, body) = check(&quotes, token).await.unwrap_err();
        assert_eq!(seen, code, "{token:?}");
        assert!(body.contains(words), "{body}");
        assert!(!body.contains("eyJ") && !body.contains("quote_test"), "{body}");
    }
}

#[tokio::test]
async fn unavailable_key_refuses_every_quote() {
    let good = jwt(HEADER, CLAIMS);
    for error in [down(), SecretError::NotFound] {
        let quotes = quotes([Err(error)]);
        assert_eq!(check(&quotes, Some(&good)).await.unwrap_err().0, Code::Unavailable);
    }
    let quotes = quotes([Ok(versions("short", None)), Ok(versions(KEY, None))]);
    assert_eq!(check(&quotes, Some(&good)).await.unwrap_err().0, Code::Unavailable);
    assert_eq!(check(&quotes, Some(&good)).await, Ok(QuoteValidity::Valid));
}

#[tokio::test]
async fn forged_quote_refreshes_the_key() {
    let message = format!("{}.{}", encode(HEADER), encode(CLAIMS));
    let [by_old, by_new, by_stranger] = [KEY, OTHER, "a stranger's"].map(|key| sign(&message, key));
    let quotes = quotes([Ok(versions(KEY, None)), Ok(versions(OTHER, Some(KEY)))]);
    assert_eq!(check(&quotes, Some(&by_old)).await, Ok(QuoteValidity::Valid));
    assert_eq!(check(&quotes, Some(&by_new)).await, Ok(QuoteValidity::Valid));
    assert_eq!(check(&quotes, Some(&by_old)).await, Ok(QuoteValidity::Valid));
    // The script is at its end, so any fetch would fail.
    assert_eq!(
        check(&quotes, Some(&by_stranger)).await.unwrap_err().0,
        Code::QuoteInvalid
    );

    let quotes = self::quotes([Ok(versions(KEY, None)), Err(down())]);
    for _ in 0..2 {
        let refused = check(&quotes, Some(&by_stranger)).await.unwrap_err().0;
        assert_eq!(refused, Code::Unavailable, "there may be a newer key");
    }
    assert_eq!(check(&quotes, Some(&by_old)).await, Ok(QuoteValidity::Valid));
    // A quote that no key can make valid fetches no key.
    let quotes = self::quotes([Ok(versions(KEY, None))]);
    for token in ["", "x.y.z", &jwt(r#"{"alg":"none"}"#, CLAIMS), &jwt(HEADER, "{}")] {
        assert_eq!(
            check(&quotes, Some(token)).await.unwrap_err().0,
            Code::QuoteInvalid,
            "{token}"
        );
    }
}

proptest! {
    #[test]
    fn quote_with_one_changed_character_is_refused(at in any::<prop::sample::Index>(), by in "[A-Za-z0-9_.=+/ -]") {
        let mut token = jwt(HEADER, CLAIMS);
        let at = at.index(token.len());
        prop_assume!(token.as_bytes()[at] != by.as_bytes()[0]);
        token.replace_range(at..=at, &by);
        prop_assert!(read_text(&token).is_err(), "{}", token);
    }

    #[test]
    fn reading_any_token_does_not_panic(text in any::<String>(), header in any::<String>(), claims in any::<String>()) {
        let _ = read_text(&text);
        let _ = read_text(&jwt(&header, &claims));
        let _ = read_text(&jwt(HEADER, &claims));
    }

    #[test]
    fn reading_any_claim_does_not_panic(name in "orderId|amount|currency|exp|nbf|aud", value in "-?[0-9]{1,25}(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,5})?|\"[^\"\\\\]*\"") {
        let _ = claims(&claims_with(&name, Some(&value)));
    }
}
