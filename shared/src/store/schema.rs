//! The key of every item of the table, and the conversion of most from and to domain types.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use crate::domain::attention::{Acknowledged, Attention, AttentionList, AttentionReason};
use crate::domain::fact::{CaptureReference, Fact, Reversal};
use crate::domain::id::{OrderId, PaymentId, Reference};
use crate::domain::idempotency::{
    Fingerprint, IdempotencyKey, IdempotentRequest, KeyRecord, KnownKey, KnownQuote, QuoteDigest, RecordName,
    RequestRecord,
};
use crate::domain::money::{Currency, Money};
use crate::domain::payment::{CheckoutSession, Payment};
use crate::domain::provider::{Environment, Provider};
use crate::domain::redacted::Redacted;
use crate::domain::request_rate::Lane;
use crate::domain::status::Status;
use crate::domain::time::Timestamp;
use crate::providers::Notification;

/// An item of the table.
pub(super) type Item = HashMap<String, AttributeValue>;

fn key(pk: String, sk: String) -> Item {
    Item::from([
        ("pk".to_owned(), AttributeValue::S(pk)),
        ("sk".to_owned(), AttributeValue::S(sk)),
    ])
}

pub(super) fn state_key(id: PaymentId) -> Item {
    key(format!("PAYMENT#{id}"), "STATE".to_owned())
}

/// The partition key of an item.
pub(super) fn pk_of(item: &Item) -> Option<&str> {
    item.get("pk").and_then(|pk| pk.as_s().ok()).map(String::as_str)
}

/// The payment's id in the key of a payment's item, unparsed. `None` for any other item.
pub(super) fn payment_id_in_key<'a>(pk: &'a str, sk: &str) -> Option<&'a str> {
    pk.strip_prefix("PAYMENT#").filter(|_| sk == "STATE")
}

pub(super) fn fact_key(id: PaymentId, digest: &str) -> Item {
    key(format!("PAYMENT#{id}"), format!("FACT#{digest}"))
}

pub(super) fn reference_pk(provider: Provider, reference: &Reference) -> String {
    format!("REF#{provider}#{reference}")
}

pub(super) fn reference_key(provider: Provider, reference: &Reference) -> Item {
    key(reference_pk(provider, reference), "REF".to_owned())
}

pub(super) fn order_pk(provider: Provider, order_id: &OrderId) -> String {
    format!("ORDER#{provider}#{}", order_id.as_str())
}

pub(super) fn order_key(provider: Provider, order_id: &OrderId, id: PaymentId) -> Item {
    key(order_pk(provider, order_id), format!("PAYMENT#{id}"))
}

/// The sort key of a group of unmatched notifications, which comes before those of the notifications.
const GROUP: &str = "GROUP";

pub(super) fn unmatched_pk(provider: Provider, lookup_key: &str) -> String {
    format!("UNMATCHED#{provider}#{lookup_key}")
}

pub(super) fn unmatched_group_key(provider: Provider, lookup_key: &str) -> Item {
    key(unmatched_pk(provider, lookup_key), GROUP.to_owned())
}

pub(super) fn unmatched_key(provider: Provider, lookup_key: &str, digest: &str) -> Item {
    key(unmatched_pk(provider, lookup_key), format!("NOTIFICATION#{digest}"))
}

pub(super) fn quarantine_pk(provider: Provider) -> String {
    format!("QUARANTINE#{provider}")
}

pub(super) fn quarantine_key(provider: Provider, digest: &str) -> Item {
    key(quarantine_pk(provider), digest.to_owned())
}

pub(super) fn rate_key(provider: Provider, lane: Lane) -> Item {
    key(format!("RATE#{provider}"), lane.name().to_owned())
}

pub(super) fn list_key(provider: Provider) -> Item {
    key(format!("LIST#{provider}"), "LIST".to_owned())
}

pub(super) fn idempotency_key(idempotency_key: &IdempotencyKey) -> Item {
    key(format!("KEY#{idempotency_key}"), "KEY".to_owned())
}

pub(super) fn quote_key(digest: &QuoteDigest) -> Item {
    key(format!("QUOTE#{digest}"), "QUOTE".to_owned())
}

/// The key of a request's record.
pub(super) fn record_key(name: &RecordName) -> Item {
    match name {
        RecordName::Key(key) => idempotency_key(key),
        RecordName::Quote(digest) => quote_key(digest),
    }
}

/// A payment as stored. Amounts are in minor units, times in milliseconds since 1970.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StateItem {
    id: PaymentId,
    provider: Provider,
    environment: Environment,
    status: Status,
    rank: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<OrderId>,
    amount: u64,
    currency: Currency,
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
    version: u64,
    #[serde(
        default,
        skip_serializing_if = "BTreeSet::is_empty",
        serialize_with = "serde_dynamo::string_set::serialize"
    )]
    references: BTreeSet<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checkout_session: Option<CheckoutSession>,
    #[serde(
        default,
        skip_serializing_if = "BTreeSet::is_empty",
        serialize_with = "serde_dynamo::string_set::serialize"
    )]
    capture_references: BTreeSet<CaptureReference>,
    /// Written by [`attention_attributes`], like the next three.
    #[serde(default, skip_serializing)]
    attention: Vec<Attention>,
    #[serde(default, skip_serializing)]
    attention_changes: u64,
    #[serde(default, skip_serializing)]
    acknowledged: Vec<AttentionReason>,
    #[serde(default, skip_serializing)]
    acknowledged_claims: Vec<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    mismatches: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    reversals: Vec<Reversal>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    has_evidence_of_money: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    quote_kept_until: Option<Timestamp>,
    /// When the payment is deleted, in seconds since 1970. Its references and its order's item have the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

pub(super) fn state_item(payment: &Payment) -> Result<Item, StoreError> {
    let payment = payment.clone();
    let attention = attention_attributes(&payment.attention)?;
    let mut item = to_item(StateItem {
        id: payment.id,
        provider: payment.provider,
        environment: payment.environment,
        status: payment.status,
        rank: payment.status.rank(),
        order_id: payment.order_id,
        amount: payment.money.minor(),
        currency: payment.money.currency(),
        payment_method: payment.payment_method,
        metadata: payment.metadata.map(|metadata| metadata.expose().clone()),
        created_at: payment.created_at,
        updated_at: payment.updated_at,
        version: payment.version,
        references: payment.references,
        checkout_session: payment.checkout_session,
        capture_references: payment.capture_references,
        attention: payment.attention.entries().to_vec(),
        attention_changes: payment.attention.changes(),
        acknowledged: payment.attention.acknowledged().reasons.clone(),
        acknowledged_claims: payment.attention.acknowledged().claims.clone(),
        mismatches: payment.mismatches,
        reversals: payment.reversals,
        has_evidence_of_money: payment.has_evidence_of_money,
        quote_kept_until: payment.quote_kept_until,
        ttl: payment.delete_at.map(Timestamp::as_seconds),
    })?;
    item.extend(attention);
    item.extend(state_key(payment.id));
    Ok(item)
}

/// The attributes of the reasons for attention. There are none before the first change, and always afterwards.
pub(super) fn attention_attributes(list: &AttentionList) -> Result<Item, StoreError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Attributes<'a> {
        attention: &'a [Attention],
        attention_changes: u64,
        acknowledged: &'a [AttentionReason],
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        acknowledged_claims: &'a [String],
    }
    if list.changes() == 0 {
        return Ok(Item::new());
    }
    to_item(Attributes {
        attention: list.entries(),
        attention_changes: list.changes(),
        acknowledged: &list.acknowledged().reasons,
        acknowledged_claims: &list.acknowledged().claims,
    })
}

pub(super) fn payment_of(item: impl Into<serde_dynamo::Item>) -> Result<Payment, StoreError> {
    let state: StateItem = from_item(item)?;
    let acknowledged = Acknowledged {
        reasons: state.acknowledged,
        claims: state.acknowledged_claims,
    };
    Ok(Payment {
        id: state.id,
        provider: state.provider,
        environment: state.environment,
        status: state.status,
        order_id: state.order_id,
        money: Money::from_minor(state.amount, state.currency),
        payment_method: state.payment_method,
        metadata: state.metadata.map(Redacted::new),
        created_at: state.created_at,
        updated_at: state.updated_at,
        version: state.version,
        references: state.references,
        checkout_session: state.checkout_session,
        capture_references: state.capture_references,
        attention: AttentionList::new(state.attention, state.attention_changes, acknowledged),
        mismatches: state.mismatches,
        reversals: state.reversals,
        has_evidence_of_money: state.has_evidence_of_money,
        quote_kept_until: state.quote_kept_until,
        delete_at: state.ttl.map(Timestamp::from_seconds),
    })
}

pub(super) fn fact_item(id: PaymentId, fact: &Fact) -> Result<Item, StoreError> {
    let mut item = to_item(fact)?;
    item.extend(fact_key(id, &fact.digest()));
    Ok(item)
}

/// The item that leads from a provider id to a payment. It is deleted with the payment.
pub(super) fn reference_item(payment: &Payment, reference: &Reference) -> Item {
    let mut item = reference_key(payment.provider, reference);
    item.insert("paymentId".to_owned(), AttributeValue::S(payment.id.to_string()));
    item.extend(payment.delete_at.map(|at| ("ttl".to_owned(), number(at.as_seconds()))));
    item
}

/// The payment that an item points to.
pub(super) fn owner_of(item: &Item) -> Result<PaymentId, StoreError> {
    let text = item.get("paymentId").and_then(|value| value.as_s().ok());
    text.and_then(|text| PaymentId::parse(text)).ok_or(StoreError::Corrupt)
}

/// What an idempotency key adds to its record, or to its pointer to the record of its quote.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyItem {
    fingerprint: Fingerprint,
    payment_id: PaymentId,
    #[serde(skip_serializing_if = "Option::is_none")]
    quote: Option<QuoteDigest>,
}

/// What a quote adds to its record.
#[derive(Serialize, Deserialize)]
struct QuoteItem {
    provider: Provider,
}

/// A key with a record of its own.
pub(super) fn key_item(request: &IdempotentRequest, record: &RequestRecord) -> Result<Item, StoreError> {
    let mut item = to_item(record)?;
    item.extend(to_item(KeyItem {
        fingerprint: request.fingerprint.clone(),
        payment_id: record.payment_id,
        quote: None,
    })?);
    item.extend(expiry(record.expires_at));
    item.extend(idempotency_key(&request.key));
    Ok(item)
}

/// A key whose record is under a quote.
pub(super) fn alias_item(
    request: &IdempotentRequest,
    payment_id: PaymentId,
    quote: &QuoteDigest,
    expires_at: Timestamp,
) -> Result<Item, StoreError> {
    let mut item = to_item(KeyItem {
        fingerprint: request.fingerprint.clone(),
        payment_id,
        quote: Some(quote.clone()),
    })?;
    item.extend(expiry(expires_at));
    item.extend(idempotency_key(&request.key));
    Ok(item)
}

pub(super) fn quote_item(digest: &QuoteDigest, provider: Provider, record: &RequestRecord) -> Result<Item, StoreError> {
    let mut item = to_item(record)?;
    item.extend(to_item(QuoteItem { provider })?);
    item.extend(expiry(record.expires_at));
    item.extend(quote_key(digest));
    Ok(item)
}

/// The attributes of an item that is kept until `expires_at`.
fn expiry(expires_at: Timestamp) -> Item {
    Item::from([
        ("expiresAt".to_owned(), number(expires_at.as_millis())),
        ("ttl".to_owned(), number(expires_at.as_seconds())),
    ])
}

/// A time attribute, in milliseconds since 1970.
pub(super) fn time_of(item: &Item, name: &str) -> Result<Timestamp, StoreError> {
    number_of(item, name).map(Timestamp::from_millis)
}

/// A whole number.
pub(super) fn number_of(item: &Item, name: &str) -> Result<u64, StoreError> {
    let text = item.get(name).and_then(|value| value.as_n().ok());
    text.and_then(|text| text.parse().ok()).ok_or(StoreError::Corrupt)
}

pub(super) fn record_of(item: Item) -> Result<RequestRecord, StoreError> {
    from_item(item)
}

pub(super) fn known_key_of(item: Item) -> Result<KnownKey, StoreError> {
    let key: KeyItem = from_item(item.clone())?;
    let record = match key.quote {
        Some(digest) => KeyRecord::UnderQuote(digest),
        None => KeyRecord::Own(record_of(item)?),
    };
    Ok(KnownKey {
        fingerprint: key.fingerprint,
        payment_id: key.payment_id,
        record,
    })
}

pub(super) fn known_quote_of(item: Item) -> Result<KnownQuote, StoreError> {
    let QuoteItem { provider } = from_item(item.clone())?;
    Ok(KnownQuote {
        provider,
        record: record_of(item)?,
    })
}

/// Whether the item is a group of unmatched notifications, not one of them.
pub(super) fn is_unmatched_group(item: &Item) -> bool {
    let sk = item.get("sk").and_then(|value| value.as_s().ok());
    sk.is_some_and(|sk| sk == GROUP)
}

pub(super) fn unmatched_item(lookup_key: &str, notification: &Notification, digest: &str) -> Result<Item, StoreError> {
    let mut item = to_item(notification)?;
    item.extend(unmatched_key(notification.fact.provider, lookup_key, digest));
    Ok(item)
}

pub(super) fn unmatched_notification_of(item: &Item) -> Result<Notification, StoreError> {
    from_item(item.clone())
}

pub(super) fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

pub(super) fn to_item<T: Serialize>(value: T) -> Result<Item, StoreError> {
    serde_dynamo::to_item(value).map_err(|_| StoreError::Corrupt)
}

pub(super) fn from_item<T: serde::de::DeserializeOwned>(item: impl Into<serde_dynamo::Item>) -> Result<T, StoreError> {
    serde_dynamo::from_item(item).map_err(|_| StoreError::Corrupt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::decimal::Decimal;
    use crate::domain::fact::ReversalKind;

    #[test]
    fn payment_round_trips_through_its_item() {
        let now = Timestamp::from_millis(1_800_000_000_123);
        let bare = Payment::new(
            PaymentId::random(),
            Provider::FinvyPay,
            Environment::Sandbox,
            Money::from_minor(2550, Currency::USD),
            now,
        );
        let checkout_session = CheckoutSession {
            reference: Reference::parse("pay_apm_1").unwrap(),
            redirect_url: Some("https://pay.example/1".into()),
            expires_at: Some(now),
        };
        let full = Payment {
            order_id: OrderId::parse("ORD-1"),
            payment_method: Some("apple_pay".into()),
            metadata: Some(Redacted::new(r#"{"a":1.50}"#.into())),
            attention: AttentionList::new(
                vec![
                    Attention::new(AttentionReason::DuplicatePayment, now),
                    Attention {
                        amount: Decimal::parse("2.50"),
                        currency: Some("USD".into()),
                        at: Some(now),
                        ..Attention::new(AttentionReason::Refunded, now)
                    },
                ],
                3,
                Acknowledged {
                    reasons: vec![AttentionReason::ProviderSilent],
                    claims: vec!["digest".into()],
                },
            ),
            mismatches: 1,
            reversals: vec![Reversal {
                kind: ReversalKind::Chargeback,
                undone: true,
                id: None,
                amount: None,
                currency: None,
                at: Some(now),
                reported_at: Some(now),
            }],
            has_evidence_of_money: true,
            quote_kept_until: Some(now),
            delete_at: Some(Timestamp::from_seconds(1_834_560_000)),
            capture_references: BTreeSet::new(),
            ..bare.accept(checkout_session, [Reference::parse("FP1").unwrap()], now)
        };
        for payment in [bare, full] {
            let item = state_item(&payment).unwrap();
            assert_eq!(item.get("rank"), Some(&number(payment.status.rank().into())));
            assert!(item.get("references").is_none_or(AttributeValue::is_ss));
            assert_eq!(payment_of(item).unwrap(), payment);
        }
    }
}
