//! Webhook signatures: lowercase hex HMAC-SHA256 over the exact bytes of the body.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The signature of a body, for both providers.
#[must_use]
pub fn sign(secret: &str, body: &[u8]) -> String {
    // Cannot fail: HMAC accepts keys of any length. An empty signature would be refused.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return String::new();
    };
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}
