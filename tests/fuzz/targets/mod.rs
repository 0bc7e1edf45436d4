//! The fuzz targets: every parser of external input, with properties that hold for any bytes.
//!
//! No input may panic. Properties compare results with another implementation: serde_json, longhand arithmetic, or a
//! search in the text.

mod decimal;
mod event;
mod headers;
mod json;
mod longhand;
mod quote;
mod redaction;
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
    /// The name, also of the directory of its seeds.
    pub name: &'static str,
    /// Panics if a property is violated. Returns whether the bytes are valid input.
    pub check: fn(&[u8]) -> bool,
}

/// Every fuzz target.
pub const ALL: [Target; 16] = [
    target("create_apm", request::apm),
    target("create_preorder", request::preorder),
    target("decimal", decimal::check),
    target("event", event::check),
    target("headers", headers::check),
    target("json", json::check),
    target("quote", quote::check),
    target("redaction", redaction::check),
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

/// The bytes before the first `separator`, and the bytes after it.
fn split<'a>(bytes: &'a [u8], separator: &[u8]) -> (&'a [u8], &'a [u8]) {
    let at = bytes.windows(separator.len()).position(|window| window == separator);
    at.map_or((bytes, &[]), |at| (&bytes[..at], &bytes[at + separator.len()..]))
}
