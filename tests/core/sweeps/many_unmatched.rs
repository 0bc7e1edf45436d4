//! Unmatched notifications have no bound: any number under one id, and any number of repetitions.

use serde_json::Value;

use super::*;

/// More than fit into a transaction, and into one page that the reconciler reads.
const MANY: usize = 120;

/// A failure of a transaction of its own, under the payment's id `id`.
fn failure(id: &str, number: usize) -> Notification {
    let fact = Fact {
        payment: Some(reference(id)),
        transaction: Some(reference(&format!("{id}-{number}"))),
        ..reported(Outcome::Failed)
    };
    notification(None, fact)
}

/// The number of items whose sort key begins with `sk`.
fn count(shop: &Shop, sk: &str) -> usize {
    let items = shop.table.items().unwrap();
    let has_sk = |item: &&Value| item["sk"]["S"].as_str().is_some_and(|text| text.starts_with(sk));
    items.iter().filter(has_sk).count()
}

#[tokio::test]
async fn many_unmatched_notifications_under_one_id_do_not_block_its_payment() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    for number in 0..MANY {
        shop.deliver(&failure("p9", number)).await;
    }
    assert_eq!(
        count(&shop, "NOTIFICATION#"),
        2 * MANY,
        "under the payment's and the transaction's id"
    );
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    let completion = Fact {
        payment: Some(reference("p9")),
        ..reported(Outcome::Completed)
    };
    shop.deliver(&notification(Some(payment.id), completion)).await;
    assert_eq!(shop.status(payment.id).await, Status::Completed, "at once");
    assert_eq!(count(&shop, "FACT#"), 1, "the others are left to the reconciler");

    let report = shop.sweep(Duration::ZERO, &provider).await;
    assert_eq!((report.failed, report.unfinished), (0, false), "{report:?}");
    assert_eq!(count(&shop, "FACT#"), 1 + MANY);
    assert_eq!((count(&shop, "NOTIFICATION#"), count(&shop, "GROUP")), (0, 0));
    assert_eq!(shop.status(payment.id).await, Status::Completed);
    assert_eq!(provider.take_calls(), [""; 0], "the owner of the id is known");
}

#[tokio::test]
async fn create_that_gets_an_id_with_many_unmatched_notifications_is_accepted() {
    let shop = Shop::open();
    for number in 0..MANY {
        shop.deliver(&failure("p", number)).await;
    }
    let completion = Fact {
        payment: Some(reference("p")),
        ..reported(Outcome::Completed)
    };
    shop.deliver(&notification(None, completion)).await;
    let intent = shop.intent(Provider::FinvyPay, "o").await;
    let notification = notification(
        Some(intent.id),
        Fact {
            payment: Some(reference("p")),
            ..reported(Outcome::Pending)
        },
    );
    shop.deliver(&notification).await;
    shop.sweep(Duration::ZERO, &FakeProvider::default()).await;
    assert_eq!(shop.status(intent.id).await, Status::Completed);
    assert_eq!(count(&shop, "FACT#"), MANY + 2);
}

#[tokio::test]
async fn unknown_id_with_many_unmatched_notifications_is_polled_once() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    for number in 0..MANY {
        let fact = Fact {
            payment: Some(reference("p9")),
            raw_status: format!("NEW_{number}"),
            ..reported(Outcome::Unrecognised)
        };
        shop.deliver(&notification(None, fact)).await;
    }
    shop.sweep(MINUTE, &provider).await;
    assert_eq!(provider.take_calls(), ["p9"]);
    assert_eq!(count(&shop, "NOTIFICATION#"), MANY);
}

#[tokio::test]
async fn unmatched_notification_with_another_time_or_status_word_is_stored_once() {
    let shop = Shop::open();
    let words = ["COMPLETED", "SUCCESS", "APPROVED", "SUCCEEDED", "completed"];
    for (minute, word) in (0..).zip(words) {
        let fact = Fact {
            payment: Some(reference("p9")),
            reversals: Vec::new(),
            occurred_at: Some(format!("2026-11-30T00:0{minute}:00Z")),
            raw_status: word.to_owned(),
            received_at: shop.after(minute * MINUTE),
            ..reported(Outcome::Completed)
        };
        shop.deliver(&notification(None, fact)).await;
    }
    let group = shop
        .store
        .unmatched(Provider::FinvyPay, "p9", MAX_MOVED)
        .await
        .unwrap()
        .unwrap();
    let [kept] = group.notifications.as_slice() else {
        panic!("expected one: {group:?}");
    };
    assert_eq!(kept.fact.received_at, shop.start, "the first one");
}

#[tokio::test]
async fn fact_keeps_its_time_of_receipt_until_it_is_in_the_ledger() {
    let shop = Shop::open();
    let received_at = shop.start;
    let completion = Fact {
        payment: Some(reference("p")),
        received_at,
        ..reported(Outcome::Completed)
    };
    shop.deliver(&notification(None, completion)).await;
    let payment = shop.intent(Provider::FinvyPay, "o").await;
    let accepted = payment.accept(
        CheckoutSession {
            reference: reference("q"),
            redirect_url: None,
            expires_at: None,
        },
        [],
        shop.after(HOUR),
    );
    shop.commit(&payment, &accepted).await;
    let pending = Fact {
        payment: Some(reference("p")),
        received_at: shop.after(2 * HOUR),
        ..reported(Outcome::Pending)
    };
    let later = shop.after(3 * HOUR);
    record_notification(
        &shop.store,
        &notification(Some(payment.id), pending),
        OrderMatching::default(),
        later,
    )
    .await
    .unwrap();
    let received: BTreeMap<String, String> = crate::ledger(&shop.table, payment.id)
        .iter()
        .map(|fact| {
            let text = |name: &str, kind: &str| fact[name][kind].as_str().unwrap().to_owned();
            (text("outcome", "S"), text("receivedAt", "N"))
        })
        .collect();
    let millis = |time: Timestamp| time.as_millis().to_string();
    assert_eq!(
        received,
        BTreeMap::from([
            ("completed".to_owned(), millis(received_at)),
            ("pending".to_owned(), millis(shop.after(2 * HOUR))),
        ])
    );
}

/// One id with eight transactions, each with five notifications: each group is small, but all of them together are more
/// than a transaction can move.
#[tokio::test]
async fn small_groups_that_are_many_together_do_not_block_a_payment() {
    let shop = Shop::open();
    for transaction in 0..8 {
        let id = reference(&format!("t{transaction}"));
        let joined = Fact {
            payment: Some(reference("p9")),
            transaction: Some(id.clone()),
            ..reported(Outcome::Pending)
        };
        shop.deliver(&notification(None, joined)).await;
        for number in 1..5 {
            let fact = Fact {
                transaction: Some(id.clone()),
                raw_status: format!("NEW_{number}"),
                ..reported(Outcome::Unrecognised)
            };
            shop.deliver(&notification(None, fact)).await;
        }
    }
    assert_is_completed_by(&shop, "p9", 8 * 5).await;
}

/// Each notification leads to the next id.
#[tokio::test]
async fn long_chain_of_ids_does_not_block_a_payment() {
    let shop = Shop::open();
    let links = 40;
    for link in 0..links {
        for transaction in [link, link + 1] {
            let fact = Fact {
                payment: Some(reference(&format!("p{link}"))),
                transaction: Some(reference(&format!("t{transaction}"))),
                ..reported(Outcome::Failed)
            };
            shop.deliver(&notification(None, fact)).await;
        }
    }
    assert_is_completed_by(&shop, "p0", 2 * links).await;
}

/// Delivers a completion under `id` that names a payment, which is completed at once. The reconciler then moves all
/// unmatched notifications to it.
async fn assert_is_completed_by(shop: &Shop, id: &str, unmatched: usize) {
    let payment = shop.pending(Provider::FinvyPay, "o", "own").await;
    let completion = Fact {
        payment: Some(reference(id)),
        ..reported(Outcome::Completed)
    };
    shop.deliver(&notification(Some(payment.id), completion)).await;
    assert_eq!(shop.status(payment.id).await, Status::Completed);
    // Each run moves some, and makes the next ones due.
    for minute in 0..40 {
        if count(shop, "NOTIFICATION#") == 0 {
            break;
        }
        let report = shop.sweep(minute * MINUTE, &FakeProvider::default()).await;
        assert_eq!(report.failed, 0, "{report:?}");
    }
    assert_eq!(count(shop, "FACT#"), 1 + unmatched);
    assert_eq!((count(shop, "NOTIFICATION#"), count(shop, "GROUP")), (0, 0));
}
