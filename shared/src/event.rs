//! What is published of a payment: the pure part, without bus or stream.
//!
//! Guarantees: every change of the status from `pending` on is one event, everything new that a person should look at
//! though the payment is completed is one after it, and nothing else is any; the same change gives the same event,
//! whenever and however often it is asked for; an event says what `GET /payments/{id}` says, with the caller's metadata,
//! and no more.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::id::{PaymentId, Provider};
use crate::payment::{Attention, Payment};
use crate::personal::Personal;
use crate::status::Status;
use crate::store::stream::Change;
use crate::view::PaymentView;

/// What all events name as their source.
pub const SOURCE: &str = "payment-functions";

/// An event as it is put on the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The payment that it is about.
    pub payment_id: PaymentId,
    /// `payment.<status>` or `payment.attention`.
    pub detail_type: String,
    /// When the payment changed.
    pub time: Timestamp,
    /// A JSON object. It holds the caller's metadata, so it goes into no log.
    pub detail: Personal<String>,
    /// The status that it tells of, for the metrics.
    pub reached: Option<Reached>,
}

/// A payment reached a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Whose payment it is.
    pub provider: Provider,
    /// The status.
    pub status: Status,
    /// How long after the payment's creation.
    pub age: Duration,
}

/// A payment that no event can be made of: its metadata is not the JSON that this program stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payment's metadata is not JSON")]
pub struct Unpublishable;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Detail<'a> {
    event_id: &'a str,
    version: u64,
    #[serde(flatten)]
    payment: PaymentView<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attention: Option<&'a BTreeSet<Attention>>,
}

/// The events that follow from a change, in the order in which they are put on the bus.
///
/// # Errors
/// [`Unpublishable`].
pub fn of_change(change: &Change) -> Result<Vec<Entry>, Unpublishable> {
    let Change { before, after } = change;
    let before = before.as_ref();
    let is_new_status = before.map(|before| before.status) != Some(after.status);
    let is_noted_more = after.noted.len() > before.map_or(0, |before| before.noted.len());
    entries(after, is_new_status, is_noted_more)
}

/// The events that say where a payment stands now; none for one that is still being created.
///
/// # Errors
/// [`Unpublishable`].
pub fn of_payment(payment: &Payment) -> Result<Vec<Entry>, Unpublishable> {
    entries(payment, true, true)
}

fn entries(payment: &Payment, status: bool, attention: bool) -> Result<Vec<Entry>, Unpublishable> {
    let status = (status && payment.status >= Status::Pending).then(|| of_status(payment));
    let attention = (attention && !payment.attention.is_empty()).then(|| of_attention(payment));
    status.into_iter().chain(attention).collect()
}

/// A status is reached once, so that it names the change for good, also when the payment has other versions since.
fn of_status(payment: &Payment) -> Result<Entry, Unpublishable> {
    let reached = Reached {
        provider: payment.provider,
        status: payment.status,
        age: payment.updated_at.since(payment.created_at),
    };
    let entry = entry(payment, payment.status.name(), payment.status.name(), None)?;
    Ok(Entry {
        reached: Some(reached),
        ..entry
    })
}

/// What a person should look at only grows, so that how much there is names the change.
fn of_attention(payment: &Payment) -> Result<Entry, Unpublishable> {
    let change = format!("attention:{}", payment.noted.len());
    entry(payment, "attention", &change, Some(&payment.attention))
}

fn entry(
    payment: &Payment,
    kind: &str,
    change: &str,
    attention: Option<&BTreeSet<Attention>>,
) -> Result<Entry, Unpublishable> {
    let metadata = payment.metadata.as_ref();
    let metadata = metadata
        .map(|metadata| serde_json::from_str(metadata.expose()))
        .transpose()
        .map_err(|_| Unpublishable)?;
    let detail = Detail {
        event_id: &format!("{}:{change}", payment.id),
        version: payment.version,
        payment: PaymentView::current(payment),
        metadata,
        attention,
    };
    Ok(Entry {
        payment_id: payment.id,
        detail_type: format!("payment.{kind}"),
        time: payment.updated_at,
        detail: Personal::new(serde_json::to_string(&detail).map_err(|_| Unpublishable)?),
        reached: None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::id::{OrderId, Reference};
    use crate::money::{Currency, Money};
    use crate::payment::Handoff;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_123);

    fn payment(status: Status, attention: &[Attention]) -> Payment {
        let money = Money::from_minor(2550, Currency::USD);
        Payment {
            status,
            attention: attention.iter().copied().collect(),
            ..Payment::intend(PaymentId::random(), Provider::FinvyPay, money, NOW)
        }
    }

    fn types(entries: &[Entry]) -> Vec<&str> {
        entries.iter().map(|entry| entry.detail_type.as_str()).collect()
    }

    fn detail(entry: &Entry) -> Value {
        serde_json::from_str(entry.detail.expose()).unwrap()
    }

    fn of(before: &Payment, after: &Payment) -> Vec<Entry> {
        let change = Change {
            before: Some(before.clone()),
            after: after.clone(),
        };
        of_change(&change).unwrap()
    }

    /// Over every pair of statuses that there is, and none.
    #[test]
    fn every_new_status_from_pending_on_is_one_event() {
        for status in Status::LADDER {
            let after = payment(status, &[]);
            let expected = (status != Status::Creating).then(|| format!("payment.{status}"));
            let new = Change {
                before: None,
                after: after.clone(),
            };
            assert_eq!(types(&of_change(&new).unwrap()), Vec::from_iter(expected.as_deref()));
            assert_eq!(types(&of_payment(&after).unwrap()), Vec::from_iter(expected.as_deref()));
            for was in Status::LADDER {
                let before = Payment {
                    status: was,
                    ..after.clone()
                };
                let expected = expected.as_deref().filter(|_| was != status);
                assert_eq!(types(&of(&before, &after)), Vec::from_iter(expected), "{was} {status}");
            }
        }
    }

    #[test]
    fn what_is_new_for_a_person_is_an_event_after_the_status() {
        use Attention::{PaidTwice, WrongMoney};
        use Status::{Completed, Review};
        let (completed, attention) = ("payment.completed", "payment.attention");
        for ((was, noted_before), (is, noted_after), kinds, expected) in [
            ((Completed, 0), (Completed, 1), &[PaidTwice][..], &[attention][..]),
            ((Completed, 1), (Completed, 2), &[PaidTwice, WrongMoney], &[attention]),
            // Once more of a kind that is known.
            ((Completed, 1), (Completed, 2), &[PaidTwice], &[attention]),
            ((Completed, 1), (Completed, 1), &[PaidTwice], &[]),
            ((Completed, 2), (Completed, 1), &[PaidTwice], &[]),
            // Other money in review is what the status says.
            ((Review, 1), (Review, 2), &[], &[]),
            ((Review, 1), (Completed, 1), &[], &[completed]),
            ((Review, 1), (Completed, 2), &[WrongMoney], &[completed, attention]),
        ] {
            let noted = |count: u8| (0..count).map(|nth| nth.to_string()).collect();
            let after = Payment {
                noted: noted(noted_after),
                ..payment(is, kinds)
            };
            let before = Payment {
                status: was,
                noted: noted(noted_before),
                ..after.clone()
            };
            let entries = of(&before, &after);
            assert_eq!(types(&entries), expected, "{before:?}");
            if let Some(entry) = entries.iter().find(|entry| entry.detail_type == attention) {
                assert_eq!(detail(entry)["attention"], json!(after.attention));
                assert!(entries.iter().all(|entry| detail(entry)["version"] == after.version));
            }
        }
        let both = of_payment(&payment(Completed, &[WrongMoney, PaidTwice])).unwrap();
        assert_eq!(types(&both), ["payment.completed", "payment.attention"]);
        assert_eq!(detail(&both[1])["attention"], json!(["paid_twice", "wrong_money"]));
    }

    #[test]
    fn an_event_is_the_payment_as_get_has_it_with_metadata_version_and_id() {
        let handoff = Handoff {
            reference: Reference::parse("pay_apm_1").unwrap(),
            redirect_url: Some("https://pay.example/1".into()),
            expires_at: Some(NOW),
        };
        let before = Payment {
            order_id: OrderId::parse("ORD-1"),
            payment_method: Some("apple_pay".into()),
            metadata: Some(Personal::new(r#"{"a":1.50,"b":[12345678901234567890.1]}"#.into())),
            ..payment(Status::Creating, &[])
        };
        let pending = before.accept(handoff, [Reference::parse("FP1").unwrap()], NOW);
        let entries = of(&before, &pending);
        let id = pending.id;
        let expected =
            format!(r#"{{"eventId":"{id}:pending","version":2,"id":"{id}","provider":"finvypay","status":"pending","#)
                + r#""redirectUrl":"https://pay.example/1","orderId":"ORD-1","amount":25.50,"currency":"USD","#
                + r#""createdAt":"2027-01-15T08:00:00.123Z","updatedAt":"2027-01-15T08:00:00.123Z","#
                + r#""expiresAt":"2027-01-15T08:00:00.123Z","metadata":{"a":1.50,"b":[12345678901234567890.1]}}"#;
        assert_eq!(entries.len(), 1);
        assert_eq!(
            entries[0].detail.expose(),
            &expected,
            "numbers are the ones that were stored"
        );
        assert_eq!((entries[0].payment_id, entries[0].time), (id, NOW));
        let reached = Reached {
            provider: pending.provider,
            status: Status::Pending,
            age: Duration::ZERO,
        };
        assert_eq!(entries[0].reached, Some(reached));

        let view = serde_json::to_value(PaymentView::current(&pending)).unwrap();
        let mut seen = detail(&entries[0]);
        for own in ["eventId", "version", "metadata"] {
            seen.as_object_mut().unwrap().remove(own);
        }
        assert_eq!(seen, view);

        let bare = detail(&of_payment(&payment(Status::Completed, &[])).unwrap()[0]);
        for absent in ["metadata", "attention", "redirectUrl", "orderId"] {
            assert_eq!(bare.get(absent), None, "{absent}");
        }
        let broken = Payment {
            metadata: Some(Personal::new("{".into())),
            ..pending
        };
        assert_eq!(of_payment(&broken), Err(Unpublishable));
    }

    /// A life of changes, as versions of one payment: its status, and what is noted.
    fn lives() -> impl Strategy<Value = Vec<(Status, Option<Attention>)>> {
        let status = prop::sample::select(Status::LADDER.to_vec());
        let attention = prop::sample::select(vec![
            None,
            None,
            Some(Attention::PaidTwice),
            Some(Attention::WrongMoney),
        ]);
        prop::collection::vec((status, attention), 1..12)
    }

    proptest! {
        #[test]
        fn a_life_is_told_once_in_order_and_again_under_the_same_ids(life in lives()) {
            let mut payment = payment(Status::Creating, &[]);
            let mut entries = Vec::new();
            for (status, attention) in life {
                let mut after = payment.clone();
                after.status = payment.status.join(status);
                if let Some(attention) = attention {
                    after.attention.insert(attention);
                    after.noted.insert(after.version.to_string());
                }
                after.version += 1;
                entries.extend(of(&payment, &after));
                payment = after;
            }
            let member = |entry: &Entry, name: &str| detail(entry)[name].clone();
            let ids: BTreeSet<_> = entries.iter().map(|entry| member(entry, "eventId").to_string()).collect();
            prop_assert_eq!(ids.len(), entries.len(), "one id, one change");
            let versions: Vec<_> = entries.iter().map(|entry| member(entry, "version").as_u64()).collect();
            prop_assert!(versions.is_sorted());
            let statuses: Vec<_> = entries.iter().filter(|entry| entry.detail_type != "payment.attention").collect();
            let reached = statuses.last().map(|entry| entry.detail_type.clone());
            prop_assert_eq!(reached, (payment.status > Status::Creating).then(|| format!("payment.{}", payment.status)));

            // What is published again later has versions of its own, and the ids of the changes.
            payment.version += 1;
            for entry in of_payment(&payment).unwrap() {
                let told = entries.iter().rev().find(|told| told.detail_type == entry.detail_type).unwrap();
                prop_assert_eq!(member(told, "eventId"), member(&entry, "eventId"));
            }
        }
    }
}
