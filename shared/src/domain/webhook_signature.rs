//! Webhook signatures: lower-case hex HMAC-SHA256 over the exact bytes of a body.
//!
//! Guarantees: nothing verifies without a secret, because a [`WebhookSecret`] cannot be empty and a [`Verifier`] cannot
//! be made of none; comparison is in constant time; no secret is shown by `Debug`.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// The secret that a provider signs its webhooks with. Never empty or blank.
#[derive(Clone)]
pub struct WebhookSecret(SecretString);

impl WebhookSecret {
    /// `None` where there is nothing to verify with.
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

/// Thirty-two bytes that somebody claims to be the signature.
#[derive(Clone, Copy, Debug)]
pub struct Signature([u8; 32]);

impl Signature {
    /// Reads 64 lower-case hexadecimal digits. `None` for anything else, prefixes and blanks included.
    pub fn parse(text: &str) -> Option<Self> {
        let is_lower_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .ok()
            .filter(|()| is_lower_hex)
            .map(|()| Self(bytes))
    }
}

/// The secrets that are good at one moment: the current one and, while it is being rotated, the one before.
#[derive(Clone, Debug)]
pub struct Verifier {
    current: WebhookSecret,
    previous: Option<WebhookSecret>,
}

impl Verifier {
    /// A verifier for one secret or two.
    pub fn new(current: WebhookSecret, previous: Option<WebhookSecret>) -> Self {
        Self { current, previous }
    }

    /// Whether `signature` is the body's under one of the secrets. Constant time in the signature.
    pub fn verifies(&self, body: &[u8], signature: &Signature) -> bool {
        let good = |secret: &WebhookSecret| {
            secret
                .mac()
                .is_some_and(|mac| mac.chain_update(body).verify_slice(&signature.0).is_ok())
        };
        good(&self.current) || self.previous.as_ref().is_some_and(good)
    }
}

#[cfg(test)]
mod tests;
