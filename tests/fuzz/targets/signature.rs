//! The verification of webhook signatures.
//!
//! In a header's value `{current}`, `{previous}` and `{other}` are replaced by the body's signature with different
//! secrets, since no fuzzer could guess a signature.

use lambda_http::http::{HeaderMap, HeaderValue};
use payment_functions::domain::provider::Provider;
use payment_functions::domain::webhook_signature::{Signature, Verifier, WebhookSecret};
use payment_functions_local::sandbox::sign;

use super::headers::Message;

const SECRETS: [(&str, &str); 3] = [
    ("{current}", "whsec_test_secret"),
    ("{previous}", "whsec_before"),
    ("{other}", "whsec_of_someone_else"),
];

pub fn check(bytes: &[u8]) -> bool {
    let message = Message::read(bytes);
    let [current, previous, _] = SECRETS.map(|(_, secret)| sign(secret, message.body));
    let secret = |at: usize| WebhookSecret::new(SECRETS[at].1);
    let headers = signed(&message);
    let mut is_accepted = false;
    for rotating in [false, true] {
        let verifier = Verifier::new(secret(0).unwrap(), secret(1).filter(|_| rotating));
        for provider in Provider::ALL {
            let names: &[&str] = match provider {
                Provider::ApoloPay => &["x-signature", "x-apolopay-signature"],
                Provider::FinvyPay => &["fs-webhook-hash"],
            };
            let values: Vec<&[u8]> = names
                .iter()
                .flat_map(|name| headers.get_all(*name))
                .map(HeaderValue::as_bytes)
                .collect();
            let is_right = |value: &&[u8]| *value == current.as_bytes() || (rotating && *value == previous.as_bytes());
            let signatures = payment_functions::providers::webhooks(provider).signatures(&headers);
            let verifies = signatures
                .as_ref()
                .is_some_and(|all| all.iter().all(|signature| verifier.verifies(message.body, signature)));
            assert_eq!(
                verifies,
                !values.is_empty() && values.iter().all(is_right),
                "{provider}"
            );

            is_accepted |= verifies;

            let is_signature =
                |value: &&[u8]| value.len() == 64 && value.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            let well_formed = !values.is_empty() && values.iter().all(is_signature);
            assert_eq!(
                signatures.map(|all| all.len()),
                well_formed.then_some(values.len()),
                "{provider}"
            );
        }
    }
    let text = String::from_utf8_lossy(message.body);
    if let Some(signature) = Signature::parse(&text) {
        assert!(text.len() == 64 && hex::decode(&*text).is_ok());
        assert!(!format!("{signature:?}").is_empty());
    }
    is_accepted
}

/// The headers with the placeholders replaced by signatures.
fn signed(message: &Message<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &message.headers {
        let value = match std::str::from_utf8(value.as_bytes()) {
            Ok(text) => {
                let fill = |text: String, (placeholder, secret)| text.replace(placeholder, &sign(secret, message.body));
                HeaderValue::from_bytes(SECRETS.into_iter().fold(text.to_owned(), fill).as_bytes()).unwrap()
            }
            Err(_) => value.clone(),
        };
        headers.append(name, value);
    }
    headers
}
