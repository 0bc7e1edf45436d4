//! Payments in the table's DynamoDB stream.
//!
//! Guarantees: an image is read by the code that reads the table; one that cannot be read, or is missing, is told with
//! the payment that it is of, and never passed over.

use serde::Deserialize;
use serde_dynamo::Item as Image;
use serde_json::Value;

use super::schema;
use crate::domain::payment::Payment;

/// A payment before and after a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it was; `None` for one that is new.
    pub before: Option<Payment>,
    /// What it is.
    pub after: Payment,
}

/// A record is not what the stream of this table has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream's record cannot be read")]
pub struct Unreadable {
    /// The payment's id as it stands in the item's key, if the record has a key.
    pub payment_id: Option<String>,
}

/// The change of a payment that a record of the stream tells of, as Lambda hands it on (with new and old images). `None`
/// for a record of any other item, and for a deletion.
///
/// # Errors
/// [`Unreadable`].
pub fn change_of(record: &Value) -> Result<Option<Change>, Unreadable> {
    let key = |name: &str| record.pointer(&format!("/dynamodb/Keys/{name}/S"))?.as_str();
    let (Some(pk), Some(sk)) = (key("pk"), key("sk")) else {
        return Err(Unreadable { payment_id: None });
    };
    let Some(id) = schema::payment_named(pk, sk) else {
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
