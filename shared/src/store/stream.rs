//! Changes of payments in the table's DynamoDB stream.
//!
//! Guarantees: images are read by the same code as items of the table. An unreadable or missing image is an error that
//! names its payment, and the reasons for attention that were raised on it; it is never skipped.

use serde::Deserialize;
use serde_dynamo::Item as Image;
use serde_json::Value;

use super::due_index::{self, Due, Subject};
use super::schema;
use crate::domain::attention::{Attention, AttentionReason};
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
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("the stream's record cannot be read")]
pub struct Unreadable {
    /// The payment's id in the item's key, if the record has a key.
    pub payment_id: Option<String>,
    /// The reasons for attention that this write raised, if those can be read.
    pub raised: Vec<AttentionReason>,
}

/// The part of a payment's image that may be readable when the rest is not.
#[derive(Default, Deserialize)]
#[serde(default)]
struct AttentionImage {
    attention: Vec<Attention>,
}

/// Reads the change of a payment from a stream record that has new and old images. `None` for a record of another item,
/// and for a deletion.
///
/// # Errors
/// [`Unreadable`] if the record is malformed.
pub fn change_of(record: &Value) -> Result<Option<Change>, Unreadable> {
    let key = |name: &str| record.pointer(&format!("/dynamodb/Keys/{name}/S"))?.as_str();
    let (Some(pk), Some(sk)) = (key("pk"), key("sk")) else {
        return Err(Unreadable::default());
    };
    let Some(id) = schema::payment_id_in_key(pk, sk) else {
        return Ok(None);
    };
    let raw_image = |name: &str| Image::deserialize(record.pointer(&format!("/dynamodb/{name}"))?).ok();
    let image = |name: &str| schema::payment_of(raw_image(name)?).ok();
    let unreadable = || {
        let attention = |name| {
            let image = raw_image(name).and_then(|image| schema::from_item::<AttentionImage>(image).ok());
            image.unwrap_or_default().attention
        };
        let before = attention("OldImage");
        let raised = attention("NewImage")
            .into_iter()
            .filter(|entry| !before.contains(entry));
        Unreadable {
            payment_id: Some(id.to_owned()),
            raised: raised.map(|entry| entry.reason).collect(),
        }
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

/// The group of the new unmatched notification that a stream record is about, if it has to be checked. It is due at the
/// time that the notification's item has.
pub fn due_group_of(record: &Value) -> Option<Due> {
    let image = Image::deserialize(record.pointer("/dynamodb/NewImage")?).ok()?;
    let due = due_index::due_of(&image.into()).ok()?;
    matches!(due.subject, Subject::Unmatched(..)).then_some(due)
}

#[cfg(test)]
mod tests;
