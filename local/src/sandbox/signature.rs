//! Webhook signatures: lowercase hex HMAC-SHA256 over the exact bytes of the body.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The signature of a body, as both providers make it.
#[must_use]
pub fn sign(secret: &str, body: &[u8]) -> String {
    // HMAC takes keys of any length; were that ever to change, an empty signature is refused by all.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return String::new();
    };
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}
