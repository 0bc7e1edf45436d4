//! What is fuzzed: everything that reads bytes from outside, each with the properties that hold for any bytes.
//!
//! That nothing panics goes without saying. What a property compares with is made another way: by serde_json, by
//! arithmetic as on paper, or by looking at the very text.

mod decimal;
mod event;
mod headers;
mod json;
mod paper;
mod quote;
mod reply;
mod request;
mod return_url;
mod signature;
mod status_reply;
mod texts;
mod webhook;

/// A fuzz target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, which is also that of its seeds' directory.
    pub name: &'static str,
    /// Panics where a property does not hold. Tells whether the bytes were taken for what the target reads.
    pub check: fn(&[u8]) -> bool,
}

/// Every fuzz target.
pub const ALL: [Target; 15] = [
    target("create_apm", request::apm),
    target("create_preorder", request::preorder),
    target("decimal", decimal::check),
    target("event", event::check),
    target("headers", headers::check),
    target("json", json::check),
    target("quote", quote::check),
    target("reply_apolopay", reply::apolopay),
    target("reply_finvypay", reply::finvypay),
    target("return_url", return_url::check),
    target("signature", signature::check),
    target("status_reply", status_reply::check),
    target("texts", texts::check),
    target("webhook_apolopay", webhook::apolopay),
    target("webhook_finvypay", webhook::finvypay),
];

const fn target(name: &'static str, check: fn(&[u8]) -> bool) -> Target {
    Target { name, check }
}

/// The bytes before the first of `separator`, and those after it.
fn split<'a>(bytes: &'a [u8], separator: &[u8]) -> (&'a [u8], &'a [u8]) {
    let at = bytes.windows(separator.len()).position(|window| window == separator);
    at.map_or((bytes, &[]), |at| (&bytes[..at], &bytes[at + separator.len()..]))
}
