//! Webhook signatures: lower-case hex HMAC-SHA256 over the exact bytes of a body.
//!
//! Guarantees: no signature verifies without a secret, because a [`Verifier`] needs a [`WebhookSecret`] and that cannot
//! be empty. Signatures are compared in constant time. `Debug` shows no secret.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// The secret with which a provider signs its webhooks. Never blank.
#[derive(Clone)]
pub struct WebhookSecret(SecretString);

impl WebhookSecret {
    /// A secret; `None` if the text is blank.
    pub fn new(text: &str) -> Option<Self> {
        (!text.trim().is_empty()).then(|| Self(text.into()))
    }

    fn mac(&self) -> Option<Hmac<Sha256>> {
        Hmac::new_from_slice(self.0.expose_secret().as_bytes()).ok()
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret([redacted])")
    }
}

/// A claimed signature of 32 bytes, not verified yet.
#[derive(Clone, Copy, Debug)]
pub struct Signature([u8; 32]);

impl Signature {
    /// Reads 64 lower-case hexadecimal digits. `None` for anything else, including prefixes and blanks.
    pub fn parse(text: &str) -> Option<Self> {
        let is_lower_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .ok()
            .filter(|()| is_lower_hex)
            .map(|()| Self(bytes))
    }
}

/// The valid secrets: the current one and, during a rotation, the previous one.
#[derive(Clone, Debug)]
pub struct Verifier {
    current: WebhookSecret,
    previous: Option<WebhookSecret>,
}

impl Verifier {
    /// A verifier for the current secret and perhaps the previous one.
    pub fn new(current: WebhookSecret, previous: Option<WebhookSecret>) -> Self {
        Self { current, previous }
    }

    /// Whether `signature` signs the body with one of the secrets. Takes constant time in the signature.
    pub fn verifies(&self, body: &[u8], signature: &Signature) -> bool {
        let is_valid = |secret: &WebhookSecret| {
            secret
                .mac()
                .is_some_and(|mac| mac.chain_update(body).verify_slice(&signature.0).is_ok())
        };
        is_valid(&self.current) || self.previous.as_ref().is_some_and(is_valid)
    }
}

#[cfg(test)]
mod tests;
