//! A payment's metadata: its limits, and the forms that go to the provider and into the table.

use crate::api::validation::Fields;
use crate::domain::id::PaymentId;
use crate::domain::json::{Json, Object, push_pointer};
use crate::domain::payment::Payment;
use crate::domain::redacted::Redacted;
use crate::providers::PAYMENT_ID_MEMBER;

/// The metadata member for the buyer's e-mail address, as in ApoloPay's examples.
pub const CUSTOMER_EMAIL: &str = "customerEmail";

/// Maximum size of the provider's metadata as compact JSON, in bytes.
const MAX_BYTES: usize = 10_000;

/// Maximum nesting of arrays and objects. A webhook nests the metadata some levels deeper and must stay readable.
const MAX_DEPTH: usize = 32;

/// Metadata as sent to the provider. Adds our payment id to `provider_metadata`: the caller's metadata, with the
/// members that the function adds for this provider (`orderId` and `customerEmail` at ApoloPay). May hold personal
/// data.
pub fn with_payment_id(provider_metadata: &Object, id: PaymentId) -> Redacted<Object> {
    let mut metadata = provider_metadata.clone();
    metadata.set(PAYMENT_ID_MEMBER, Json::String(id.to_string()));
    Redacted::new(metadata)
}

/// Metadata as sent to the provider for `payment`: `provider_metadata`, which is that of this request. If another
/// request stored the payment with other metadata, it is the stored one, with the members `not_stored` of this request.
/// `requested` is this request's metadata as it would be stored.
pub fn for_payment(
    payment: &Payment,
    provider_metadata: &Object,
    requested: Option<&Redacted<String>>,
    not_stored: &[&str],
) -> Redacted<Object> {
    if payment.metadata.as_ref() == requested {
        return with_payment_id(provider_metadata, payment.id);
    }
    let stored = payment.metadata.as_ref();
    let stored = stored.and_then(|stored| Json::parse(stored.expose().as_bytes()).ok());
    let mut metadata = stored.as_ref().and_then(Json::as_object).cloned().unwrap_or_default();
    for name in not_stored {
        if let Some(value) = provider_metadata.get(name) {
            metadata.set(name, value.clone());
        }
    }
    with_payment_id(&metadata, payment.id)
}

/// Metadata as stored and published: the caller's, without the buyer's e-mail address, as compact JSON. `None` if it is
/// empty.
pub fn without_email(metadata: &Object) -> Option<Redacted<String>> {
    let mut metadata = metadata.clone();
    metadata.remove(CUSTOMER_EMAIL);
    (!metadata.is_empty()).then(|| Redacted::new(metadata.to_compact()))
}

/// Checks the limits that apply at every provider: nesting, size, numbers in the range of a double, and no member under
/// the name of our payment id.
pub fn check(fields: &mut Fields<'_>, provider_metadata: &Object) {
    if provider_metadata.get(PAYMENT_ID_MEMBER).is_some() {
        fields.wrong(&["metadata", PAYMENT_ID_MEMBER], "is set by the server");
    }
    if provider_metadata.depth() > MAX_DEPTH {
        fields.wrong(&["metadata"], format!("must be nested at most {MAX_DEPTH} levels deep"));
    }
    let metadata = with_payment_id(provider_metadata, PaymentId::random());
    if metadata.expose().to_compact().len() > MAX_BYTES {
        fields.wrong(
            &["metadata"],
            format!("must be at most {MAX_BYTES} bytes as compact JSON, including the members that the server adds"),
        );
    }
    check_members(fields, provider_metadata.iter(), "/metadata");
}

/// Checks the numbers in the members of an object at `pointer`, or in the items of an array.
fn check_members<'a>(
    fields: &mut Fields<'_>,
    members: impl Iterator<Item = (impl AsRef<str>, &'a Json)>,
    pointer: &str,
) {
    for (name, value) in members {
        let mut pointer = pointer.to_owned();
        push_pointer(&mut pointer, name.as_ref());
        check_numbers(fields, value, &pointer);
    }
}

/// Rejects numbers beyond the range of a double, such as `1e400`: other programs read them as infinite, or not at all.
fn check_numbers(fields: &mut Fields<'_>, value: &Json, pointer: &str) {
    match value {
        Json::Number(text) => {
            let is_finite = text.parse::<f64>().is_ok_and(f64::is_finite);
            if !is_finite && !fields.is_wrong(pointer) {
                fields.wrong_at(pointer, "must be a number in the range of a double");
            }
        }
        Json::Array(items) => {
            let items = items.iter().enumerate();
            check_members(fields, items.map(|(index, item)| (index.to_string(), item)), pointer);
        }
        Json::Object(object) => check_members(fields, object.iter(), pointer),
        Json::Null | Json::Bool(_) | Json::String(_) => {}
    }
}
