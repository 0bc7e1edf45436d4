use payment_functions::domain::provider::Environment;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use payment_functions::domain::attention::AttentionList;
use payment_functions::domain::decimal::Decimal;
use payment_functions::domain::id::{OrderId, Reference};
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::payment::CheckoutSession;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_123);

fn payment(status: Status, attention: &[AttentionReason]) -> Payment {
    let money = Money::from_minor(2550, Currency::USD);
    let mut list = AttentionList::default();
    for reason in attention {
        list.raise(Attention::new(*reason, NOW));
    }
    Payment {
        status,
        attention: list,
        ..Payment::new(
            PaymentId::random(),
            Provider::FinvyPay,
            Environment::Sandbox,
            money,
            NOW,
        )
    }
}

fn types(entries: &[EventEntry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.detail_type.as_str()).collect()
}

fn detail(entry: &EventEntry) -> Value {
    serde_json::from_str(entry.detail.expose()).unwrap()
}

fn of(before: &Payment, after: &Payment) -> Vec<EventEntry> {
    let change = Change {
        before: Some(before.clone()),
        after: after.clone(),
    };
    from_change(&change).unwrap()
}

/// Covers every pair of statuses, and new payments.
#[test]
fn every_new_status_from_pending_on_is_one_event() {
    for status in Status::ALL {
        let after = payment(status, &[]);
        let expected = (status != Status::Creating).then(|| format!("payment.{status}"));
        let new = Change {
            before: None,
            after: after.clone(),
        };
        assert_eq!(types(&from_change(&new).unwrap()), Vec::from_iter(expected.as_deref()));
        assert_eq!(
            types(&from_payment(&after).unwrap()),
            Vec::from_iter(expected.as_deref())
        );
        for was in Status::ALL {
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
fn every_change_of_the_attention_is_one_event_after_the_status() {
    use AttentionReason::{AmountMismatch, DuplicatePayment, Refunded};
    use Status::{Completed, Pending, Review};
    let (completed, attention) = ("payment.completed", "payment.attention");
    let raise =
        |reason| move |list: &mut AttentionList| list.raise(Attention::new(reason, NOW.plus(Duration::from_secs(1))));
    let (second_capture, mismatch, refund) = (raise(DuplicatePayment), raise(AmountMismatch), raise(Refunded));
    let resolve = |list: &mut AttentionList| list.resolve(DuplicatePayment);
    let nothing = |_: &mut AttentionList| {};
    type Change<'a> = &'a dyn Fn(&mut AttentionList);
    type Case<'a> = (Status, Status, Change<'a>, &'a [&'a str], &'a [AttentionReason]);
    let cases: [Case<'_>; 7] = [
        // Another fact with the same reason.
        (Completed, Completed, &second_capture, &[attention], &[DuplicatePayment]),
        (Completed, Completed, &mismatch, &[attention], &[AmountMismatch]),
        (Completed, Completed, &resolve, &[attention], &[]),
        (Completed, Completed, &nothing, &[], &[]),
        (Pending, Pending, &refund, &[attention], &[Refunded]),
        (Review, Completed, &nothing, &[completed], &[]),
        (Review, Completed, &mismatch, &[completed, attention], &[AmountMismatch]),
    ];
    for (was, is, change, expected, raised) in cases {
        let before = payment(was, &[DuplicatePayment]);
        let mut after = Payment {
            status: is,
            ..before.clone()
        };
        change(&mut after.attention);
        let entries = of(&before, &after);
        assert_eq!(types(&entries), expected, "{before:?}");
        let reasons: Vec<&str> = after.attention.reasons().map(AttentionReason::name).collect();
        for entry in &entries {
            let detail = detail(entry);
            let shown: Vec<&Value> = detail["attention"].as_array().into_iter().flatten().collect();
            let shown: Vec<&str> = shown.iter().map(|entry| entry["reason"].as_str().unwrap()).collect();
            assert_eq!(shown, reasons, "in every event of a payment that needs attention");
            assert_eq!(detail["version"], after.version);
            let expected = if entry.detail_type == attention { raised } else { &[] };
            assert_eq!(entry.raised, expected);
        }
    }
}

#[test]
fn attention_is_published_with_exact_amounts_until_it_is_empty() {
    let mut payment = payment(Status::Completed, &[]);
    payment.attention.raise(Attention {
        amount: Decimal::parse("25.50"),
        currency: Some("USD".into()),
        at: Some(NOW),
        ..Attention::new(AttentionReason::Refunded, NOW)
    });
    let raised = r#""attention":[{"reason":"refunded","since":"2027-01-15T08:00:00.123Z","amount":25.5,"currency":"USD","at":"2027-01-15T08:00:00.123Z"}]}"#;
    let entries = from_payment(&payment).unwrap();
    assert_eq!(types(&entries), ["payment.completed", "payment.attention"]);
    for entry in &entries {
        assert!(entry.detail.expose().ends_with(raised), "{entry:?}");
        assert!(entry.raised.is_empty(), "it was counted when it was raised");
    }
    payment.attention.resolve(AttentionReason::Refunded);
    let entries = from_payment(&payment).unwrap();
    assert_eq!(detail(&entries[0]).get("attention"), None);
    assert_eq!(detail(&entries[1])["attention"], json!([]));
    assert_eq!(
        detail(&entries[1])["eventId"],
        json!(format!("{}:attention:2", payment.id))
    );
}

#[test]
fn event_detail_is_the_payment_view_with_metadata_version_and_event_id() {
    let checkout_session = CheckoutSession {
        reference: Reference::parse("pay_apm_1").unwrap(),
        redirect_url: Some("https://pay.example/1".into()),
        expires_at: Some(NOW),
    };
    let before = Payment {
        order_id: OrderId::parse("ORD-1"),
        payment_method: Some("apple_pay".into()),
        metadata: Some(Redacted::new(r#"{"a":1.50,"b":[12345678901234567890.1]}"#.into())),
        ..payment(Status::Creating, &[])
    };
    let pending = before.accept(checkout_session, [Reference::parse("FP1").unwrap()], NOW);
    let entries = of(&before, &pending);
    let id = pending.id;
    let expected = format!(
        r#"{{"eventId":"{id}:pending","version":2,"id":"{id}","provider":"finvypay","status":"pending","#
    ) + r#""redirectUrl":"https://pay.example/1","orderId":"ORD-1","amount":25.50,"currency":"USD","environment":"sandbox","#
        + r#""createdAt":"2027-01-15T08:00:00.123Z","updatedAt":"2027-01-15T08:00:00.123Z","#
        + r#""expiresAt":"2027-01-15T08:00:00.123Z","metadata":{"a":1.50,"b":[12345678901234567890.1]}}"#;
    assert_eq!(entries.len(), 1);
    assert_eq!(
        entries[0].detail.expose(),
        &expected,
        "numbers keep their stored digits"
    );
    assert_eq!((entries[0].payment_id, entries[0].time), (id, NOW));
    let change = StatusChange {
        provider: pending.provider,
        status: Status::Pending,
        age: Duration::ZERO,
    };
    assert_eq!(entries[0].status_change, Some(change));

    let view = serde_json::to_value(PaymentView::for_get(&pending)).unwrap();
    let mut seen = detail(&entries[0]);
    for own in ["eventId", "version", "metadata"] {
        seen.as_object_mut().unwrap().remove(own);
    }
    assert_eq!(seen, view);

    let bare = detail(&from_payment(&payment(Status::Completed, &[])).unwrap()[0]);
    for absent in ["metadata", "attention", "redirectUrl", "orderId"] {
        assert_eq!(bare.get(absent), None, "{absent}");
    }
    let broken = Payment {
        metadata: Some(Redacted::new("{".into())),
        ..pending
    };
    assert_eq!(from_payment(&broken), Err(Unpublishable));
}

/// A payment's history: in each version a status, and possibly a raised reason.
fn histories() -> impl Strategy<Value = Vec<(Status, Option<AttentionReason>)>> {
    let status = prop::sample::select(Status::ALL.to_vec());
    let attention = prop::sample::select(vec![
        None,
        None,
        Some(AttentionReason::DuplicatePayment),
        Some(AttentionReason::AmountMismatch),
    ]);
    prop::collection::vec((status, attention), 1..12)
}

proptest! {
    #[test]
    fn history_is_published_once_in_order_and_republished_under_the_same_ids(history in histories()) {
        let mut payment = payment(Status::Creating, &[]);
        let mut entries = Vec::new();
        for (status, attention) in history {
            let mut after = payment.clone();
            after.status = payment.status.join(status);
            if let Some(attention) = attention {
                after.attention.raise(Attention::new(attention, NOW));
            }
            after.version += 1;
            entries.extend(of(&payment, &after));
            payment = after;
        }
        let member = |entry: &EventEntry, name: &str| detail(entry)[name].clone();
        let ids: std::collections::BTreeSet<_> = entries.iter().map(|entry| member(entry, "eventId").to_string()).collect();
        prop_assert_eq!(ids.len(), entries.len(), "one id for each change");
        let versions: Vec<_> = entries.iter().map(|entry| member(entry, "version").as_u64()).collect();
        prop_assert!(versions.is_sorted());
        let statuses: Vec<_> = entries.iter().filter(|entry| entry.detail_type != "payment.attention").collect();
        let change = statuses.last().map(|entry| entry.detail_type.clone());
        prop_assert_eq!(change, (payment.status > Status::Creating).then(|| format!("payment.{}", payment.status)));

        // A republished event has a higher version and the id of the original.
        payment.version += 1;
        for entry in from_payment(&payment).unwrap() {
            let original = entries.iter().rev().find(|original| original.detail_type == entry.detail_type).unwrap();
            prop_assert_eq!(member(original, "eventId"), member(&entry, "eventId"));
        }
    }
}
