//! The metadata of a payment on its three ways: from the caller, to the provider, and into the store.

use crate::api::validation::Fields;
use crate::domain::id::PaymentId;
use crate::domain::json::{Json, Object};
use crate::domain::redacted::Redacted;
use crate::providers::OUR_ID;

/// The member of the metadata in which ApoloPay's own examples carry the buyer's address.
pub const CUSTOMER_EMAIL: &str = "customerEmail";

/// The most bytes of metadata, as compact JSON as it is sent to a provider.
const MAX_BYTES: usize = 10_000;

/// How deep arrays and objects in it may nest. On its way back it lies some levels deeper, and must still be read there.
const MAX_DEPTH: usize = 32;

/// Metadata as the provider gets it: the caller's, what travels in it, and our payment id. May hold personal data.
pub fn to_send(own: &Object, id: PaymentId) -> Redacted<Object> {
    let mut sent = own.clone();
    sent.set(OUR_ID, Json::String(id.to_string()));
    Redacted::new(sent)
}

/// Metadata as it is stored and published: the caller's own, without the buyer's address. `None` if the caller gave
/// none.
pub fn to_store(own: &Object) -> Option<Redacted<String>> {
    let mut stored = own.clone();
    stored.remove(CUSTOMER_EMAIL);
    (!stored.is_empty()).then(|| Redacted::new(stored.to_compact()))
}

/// Checks what holds for metadata at every provider: our own member is ours, and it is neither too deep nor, with that,
/// too large.
pub fn check(fields: &mut Fields<'_>, sent: &Object) {
    if sent.get(OUR_ID).is_some() {
        fields.wrong(&["metadata", OUR_ID], "is set by the server");
    }
    if sent.depth() > MAX_DEPTH {
        fields.wrong(&["metadata"], format!("must be nested at most {MAX_DEPTH} levels deep"));
    }
    let with_our_id = to_send(sent, PaymentId::random());
    if with_our_id.expose().to_compact().len() > MAX_BYTES {
        fields.wrong(
            &["metadata"],
            format!("must be at most {MAX_BYTES} bytes as compact JSON, with what is added to it on the way"),
        );
    }
}
