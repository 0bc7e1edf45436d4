//! Changes of payments in the table's DynamoDB stream.
//!
//! Guarantees: images are read by the same code as items of the table. An unreadable or missing image is an error that
//! names its payment; it is never skipped.

use serde::Deserialize;
use serde_dynamo::Item as Image;
use serde_json::Value;

use super::schema;
use crate::domain::payment::Payment;

/// A payment before and after a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The payment before the write; `None` for a new payment.
    pub before: Option<Payment>,
    /// The payment after the write.
    pub after: Payment,
}

/// A record does not have the form that the stream of this table has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream's record cannot be read")]
pub struct Unreadable {
    /// The payment's id in the item's key, if the record has a key.
    pub payment_id: Option<String>,
}

/// Reads the change of a payment from a stream record that has new and old images. `None` for a record of another item,
/// and for a deletion.
///
/// # Errors
/// [`Unreadable`] if the record is malformed.
pub fn change_of(record: &Value) -> Result<Option<Change>, Unreadable> {
    let key = |name: &str| record.pointer(&format!("/dynamodb/Keys/{name}/S"))?.as_str();
    let (Some(pk), Some(sk)) = (key("pk"), key("sk")) else {
        return Err(Unreadable { payment_id: None });
    };
    let Some(id) = schema::payment_id_in_key(pk, sk) else {
        return Ok(None);
    };
    let unreadable = || Unreadable {
        payment_id: Some(id.to_owned()),
    };
    let image = |name: &str| {
        let image = record.pointer(&format!("/dynamodb/{name}"))?;
        schema::payment_of(Image::deserialize(image).ok()?).ok()
    };
    let before = match record.get("eventName").and_then(Value::as_str) {
        Some("REMOVE") => return Ok(None),
        Some("INSERT") => None,
        Some("MODIFY") => Some(image("OldImage").ok_or_else(unreadable)?),
        _ => return Err(unreadable()),
    };
    let after = image("NewImage").ok_or_else(unreadable)?;
    Ok(Some(Change { before, after }))
}

#[cfg(test)]
mod tests;
