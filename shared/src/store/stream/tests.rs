use serde_json::json;

use super::*;
use crate::domain::id::{PaymentId, Reference};
use crate::domain::money::{Currency, Money};
use crate::domain::payment::CheckoutSession;
use crate::domain::provider::{Environment, Provider};
use crate::domain::time::Timestamp;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_123);

fn payment() -> Payment {
    let money = Money::from_minor(2550, Currency::USD);
    Payment::new(
        PaymentId::random(),
        Provider::ApoloPay,
        Environment::Production,
        money,
        NOW,
    )
}

/// An item in DynamoDB's JSON.
fn image(payment: &Payment) -> Value {
    let item: Image = schema::state_item(payment).unwrap().into();
    serde_json::to_value(item).unwrap()
}

fn record(kind: &str, payment: &Payment, old: &Value, new: &Value) -> Value {
    json!({
        "eventSource": "aws:dynamodb", "eventName": kind,
        "dynamodb": {
            "Keys": { "pk": { "S": format!("PAYMENT#{}", payment.id) }, "sk": { "S": "STATE" } },
            "OldImage": old, "NewImage": new,
        },
    })
}

fn without(mut record: Value, member: &str) -> Value {
    record["dynamodb"].as_object_mut().unwrap().remove(member);
    record
}

#[test]
fn images_are_read_like_items_of_the_table() {
    let before = payment();
    let checkout_session = CheckoutSession {
        reference: Reference::parse("p").unwrap(),
        redirect_url: Some("https://pay.example/1".into()),
        expires_at: None,
    };
    let after = before.accept(checkout_session, [Reference::parse("q").unwrap()], NOW);
    let (old, new) = (image(&before), image(&after));
    let inserted = without(record("INSERT", &before, &old, &old), "OldImage");
    let expected = Change {
        before: None,
        after: before.clone(),
    };
    assert_eq!(change_of(&inserted), Ok(Some(expected)));
    let expected = Change {
        before: Some(before.clone()),
        after: after.clone(),
    };
    assert_eq!(change_of(&record("MODIFY", &after, &old, &new)), Ok(Some(expected)));
    let mut removed = without(record("REMOVE", &after, &new, &new), "NewImage");
    assert_eq!(change_of(&removed), Ok(None));
    // By DynamoDB, because its ttl has passed.
    removed["userIdentity"] = json!({ "type": "Service", "principalId": "dynamodb.amazonaws.com" });
    assert_eq!(change_of(&removed), Ok(None));
}

#[test]
fn records_of_other_items_are_ignored() {
    let payment = payment();
    for (pk, sk) in [
        (format!("PAYMENT#{}", payment.id), "FACT#0"),
        ("KEY#/preorders#k".to_owned(), "KEY"),
        ("REF#apolopay#x".to_owned(), "STATE"),
    ] {
        let mut record = record("MODIFY", &payment, &json!({}), &json!({}));
        record["dynamodb"]["Keys"] = json!({ "pk": { "S": pk }, "sk": { "S": sk } });
        assert_eq!(change_of(&record), Ok(None), "{pk} {sk}");
    }
}

#[test]
fn unreadable_record_names_its_payment() {
    let payment = payment();
    let good = image(&payment);
    let mut broken = good.clone();
    broken.as_object_mut().unwrap().remove("amount");
    let whole = record("MODIFY", &payment, &good, &good);
    let named = Err(Unreadable {
        payment_id: Some(payment.id.to_string()),
        raised: Vec::new(),
    });
    for record in [
        record("MODIFY", &payment, &good, &broken),
        record("MODIFY", &payment, &broken, &good),
        record("INSERT", &payment, &good, &json!("no image")),
        record("MODIFY", &payment, &good, &json!({ "amount": { "Q": "1" } })),
        record("UPSERT", &payment, &good, &good),
        // Another stream view type.
        without(whole.clone(), "OldImage"),
        without(whole.clone(), "NewImage"),
    ] {
        assert_eq!(change_of(&record), named, "{record}");
    }
    let nameless = Err(Unreadable::default());
    assert_eq!(change_of(&without(whole, "Keys")), nameless);
    assert_eq!(change_of(&json!(null)), nameless);
}

#[test]
fn unreadable_record_tells_the_attention_that_it_raised() {
    let before = payment();
    let reason = AttentionReason::Unprocessable;
    let after = before.update_attention(&[reason], &[], NOW);
    let unreadable = |payment: &Payment| {
        let mut image = image(payment);
        image.as_object_mut().unwrap().remove("amount");
        image
    };
    let (old, new) = (unreadable(&before), unreadable(&after));
    for (record, raised) in [
        (record("MODIFY", &after, &old, &new), vec![reason]),
        (record("MODIFY", &after, &new, &new), vec![]),
        (record("MODIFY", &after, &new, &old), vec![]),
    ] {
        let expected = Unreadable {
            payment_id: Some(after.id.to_string()),
            raised,
        };
        assert_eq!(change_of(&record), Err(expected), "{record}");
    }
}
