//! What is never paid goes: the payment, its provider ids and its order's item get the time when DynamoDB deletes them.
//!
//! DynamoDB deletes them one by one and late, so these tests delete items themselves.

use payment_functions::domain::list_reading::ReadMarks;
use payment_functions::flows::record_notification::{RecordResult, record_with_payment};

use super::*;
use crate::recorded::Recorded;

/// When a FinvyPay payment of these tests expires.
const EXPIRES_AFTER: Duration = Duration::from_secs(46 * 60);
const DELETE_AFTER: Duration = Duration::from_secs(400 * 24 * 60 * 60);

impl Shop {
    /// A run at `time`, until when the list was read as it should be.
    async fn sweep_with_list(&self, time: Duration) -> Report {
        let (before, now) = (
            self.store.list_state(Provider::FinvyPay).await.unwrap(),
            self.after(time),
        );
        let mut marks = ReadMarks::new(now);
        while let Some(window) = marks.next_window(now) {
            marks = marks.after(window, now);
        }
        let mut after = before.clone();
        after.marks = Some(marks);
        let saved = self.store.save_list_state(Provider::FinvyPay, &before, &after).await;
        assert_eq!(saved.unwrap(), None);
        self.sweep(time, &FakeProvider::default()).await
    }

    /// A FinvyPay payment that has expired.
    async fn expired(&self, order: &str, id: &str) -> Payment {
        let payment = self.pending(Provider::FinvyPay, order, id).await;
        self.sweep_with_list(EXPIRES_AFTER).await;
        let payment = self.payment(payment.id).await;
        assert_eq!(payment.status, Status::Expired);
        payment
    }

    /// The `ttl` of each item but facts and keys, by its partition key up to the id.
    fn ttls(&self) -> Vec<(String, Option<String>)> {
        let items = self.table.items().unwrap();
        let is_lasting =
            |item: &&serde_json::Value| ["STATE", "REF"].contains(&sk(item)) || pk(item).starts_with("ORDER");
        let mut ttls: Vec<_> = items
            .iter()
            .filter(is_lasting)
            .map(|item| {
                let kind = pk(item).split('#').next().unwrap().to_owned();
                (kind, item["ttl"]["N"].as_str().map(str::to_owned))
            })
            .collect();
        ttls.sort();
        ttls
    }

    /// Deletes an item as DynamoDB does when its time has come.
    async fn delete(&self, pk: &str, sk: &str) {
        let key = |text: &str| AttributeValue::S(text.to_owned());
        let delete = self.table.client().delete_item().table_name(self.store.table());
        let delete = delete.key("pk", key(pk)).key("sk", key(sk));
        let deleted = delete
            .return_values(aws_sdk_dynamodb::types::ReturnValue::AllOld)
            .send()
            .await
            .unwrap();
        assert!(deleted.attributes.is_some(), "{pk} {sk}");
    }

    async fn delete_payment(&self, id: PaymentId) {
        self.delete(&format!("PAYMENT#{id}"), "STATE").await;
    }

    async fn record(&self, notification: &Notification, time: Duration) -> RecordResult {
        record_notification(&self.store, notification, OrderMatching::default(), self.after(time))
            .await
            .unwrap()
    }
}

fn pk(item: &serde_json::Value) -> &str {
    item["pk"]["S"].as_str().unwrap()
}

fn sk(item: &serde_json::Value) -> &str {
    item["sk"]["S"].as_str().unwrap()
}

fn all_with(kinds: &[&str], ttl: Option<&str>) -> Vec<(String, Option<String>)> {
    let with = |kind: &&str| ((*kind).to_owned(), ttl.map(str::to_owned));
    kinds.iter().map(with).collect()
}

#[tokio::test]
async fn expired_payment_and_what_points_to_it_get_their_ttl() {
    let provider = FakeProvider::default();
    let kinds = &["ORDER", "PAYMENT", "REF"];
    for (at, after) in [(Provider::FinvyPay, EXPIRES_AFTER), (Provider::ApoloPay, DAY)] {
        let shop = Shop::open();
        shop.pending(at, "o", "p").await;
        shop.sweep(after - MINUTE, &provider).await;
        assert_eq!(shop.ttls(), all_with(kinds, None), "it is not expired yet");
        shop.sweep(after, &provider).await;
        let ttl = shop.after(after + DELETE_AFTER).as_seconds().to_string();
        assert_eq!(shop.ttls(), all_with(kinds, Some(&ttl)), "{at}");
        // A later check does not move it.
        shop.sweep(after + DAY, &provider).await;
        assert_eq!(shop.ttls(), all_with(kinds, Some(&ttl)), "{at}");
    }
}

#[tokio::test]
async fn nothing_is_deleted_if_the_shop_wants_so() {
    let shop = Shop::open();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    let sweep = Sweep::new(&shop.store, FakeProvider::default(), shop.after(HOUR)).delete_unpaid_after(None);
    sweep.run(TIME).await.unwrap();
    assert_eq!(shop.status(payment.id).await, Status::Expired);
    assert_eq!(shop.ttls(), all_with(&["ORDER", "PAYMENT", "REF"], None));
}

/// A cancelled or failed payment gets its ttl too once its time is over, and no event or count of an expiry.
#[tokio::test]
async fn cancelled_and_failed_payments_go_after_their_time() {
    for outcome in [Outcome::Cancelled, Outcome::Failed] {
        let shop = Shop::open();
        let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
        shop.deliver(&notification(Some(payment.id), reported(outcome))).await;
        shop.sweep(12 * MINUTE, &FakeProvider::default()).await;
        let kinds = ["ORDER", "PAYMENT", "REF"];
        assert_eq!(shop.ttls(), all_with(&kinds, None), "its time is not over");
        let report = shop.sweep_with_list(DAY).await;
        assert_eq!(report.expired, 0);
        let ttl = shop.after(DAY + DELETE_AFTER).as_seconds().to_string();
        assert_eq!(shop.ttls(), all_with(&kinds, Some(&ttl)), "{outcome:?}");
    }
}

/// Whatever it says, whatever it is matched by, and whether or not the time of deletion has passed.
#[tokio::test]
async fn late_fact_keeps_the_payment_and_what_points_to_it() {
    let mismatch = Fact {
        amount: Decimal::parse("1"),
        ..reported(Outcome::Completed)
    };
    for fact in [
        reported(Outcome::Pending),
        reported(Outcome::Authorized),
        reported(Outcome::Cancelled),
        reported(Outcome::Failed),
        reported(Outcome::Completed),
        reported(Outcome::Unrecognised),
        reported(Outcome::Contradictory),
        mismatch,
    ] {
        for by in ["our id", "the provider's id", "the order"] {
            for time in [DAY, EXPIRES_AFTER + DELETE_AFTER + DAY] {
                let shop = Shop::open();
                let payment = shop.expired("o", "p").await;
                let of = |id: bool, order: bool| Fact {
                    payment: id.then(|| reference("p")),
                    order_id: order.then(|| OrderId::parse("o").unwrap()),
                    ..fact.clone()
                };
                let late = match by {
                    "our id" => notification(Some(payment.id), of(false, false)),
                    "the provider's id" => notification(None, of(true, false)),
                    _ => notification(None, of(false, true)),
                };
                let result = shop.record(&late, time).await;
                if by == "the order" && fact.outcome == Outcome::Completed {
                    assert_eq!(result, RecordResult::Unmatched, "an order alone is no proof");
                    continue;
                }
                assert!(matches!(result, RecordResult::Recorded { .. }), "{late:?} {result:?}");
                assert_eq!(shop.ttls(), all_with(&["ORDER", "PAYMENT", "REF"], None), "{late:?}");
                assert_eq!(shop.record(&late, time).await, RecordResult::Duplicate(payment.id));
            }
        }
    }
}

/// A new id that the late webhook brings is attached without a ttl, like the others.
#[tokio::test]
async fn late_money_under_a_new_id_keeps_all_ids() {
    let shop = Shop::open();
    let payment = shop.expired("o", "p").await;
    let result = shop.record(&notification(Some(payment.id), paid("p")), DAY).await;
    assert!(matches!(result, RecordResult::Recorded { .. }), "{result:?}");
    assert_eq!(shop.status(payment.id).await, Status::Completed);
    assert_eq!(shop.ttls(), all_with(&["ORDER", "PAYMENT", "REF", "REF"], None));
}

#[tokio::test]
async fn repeated_old_fact_does_not_keep_the_payment() {
    let shop = Shop::open();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    let early = notification(Some(payment.id), reported(Outcome::Pending));
    shop.deliver(&early).await;
    shop.sweep_with_list(EXPIRES_AFTER).await;
    let ttls = shop.ttls();
    assert!(ttls.iter().all(|(_, ttl)| ttl.is_some()), "{ttls:?}");
    assert_eq!(shop.record(&early, DAY).await, RecordResult::Duplicate(payment.id));
    assert_eq!(shop.ttls(), ttls);
}

/// A webhook whose meaning is not known may be about money.
#[tokio::test]
async fn payment_with_an_unclear_fact_stays() {
    for outcome in [Outcome::Unrecognised, Outcome::Contradictory] {
        let shop = Shop::open();
        let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
        shop.deliver(&notification(Some(payment.id), reported(outcome))).await;
        shop.sweep(HOUR, &FakeProvider::default()).await;
        assert_eq!(shop.status(payment.id).await, Status::Expired);
        assert_eq!(shop.ttls(), all_with(&["ORDER", "PAYMENT", "REF"], None), "{outcome:?}");
    }
}

/// An unclear fact that is recorded while a run decides to expire the payment is not overlooked.
#[tokio::test]
async fn unclear_fact_during_expiry_keeps_the_payment() {
    let shop = Shop::open();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    let expired = payment.expire(shop.after(HOUR), Some(DELETE_AFTER));
    assert!(expired.delete_at.is_some());
    shop.deliver(&notification(Some(payment.id), reported(Outcome::Unrecognised)))
        .await;
    let commit = shop
        .store
        .commit(&payment, &expired, &CommitExtras::default(), shop.after(HOUR))
        .await
        .unwrap();
    assert!(matches!(commit, CommitResult::Conflict(_)), "{commit:?}");
}

/// DynamoDB may have deleted an id or the order's item already when a late webhook keeps the payment. Unmatched
/// webhooks that came under the id meanwhile move to the payment.
#[tokio::test]
async fn late_webhook_attaches_what_was_deleted_before_the_payment() {
    let shop = Shop::open();
    let payment = shop.expired("o", "p").await;
    shop.delete("REF#finvypay#p", "REF").await;
    shop.delete("ORDER#finvypay#o", &format!("PAYMENT#{}", payment.id))
        .await;
    let late = EXPIRES_AFTER + DELETE_AFTER + DAY;
    let of_id = Fact {
        payment: Some(reference("p")),
        ..reported(Outcome::Completed)
    };
    assert_eq!(
        shop.record(&notification(None, of_id), late).await,
        RecordResult::Unmatched
    );
    let named = notification(Some(payment.id), reported(Outcome::Failed));
    shop.record(&named, late).await;
    assert_eq!(shop.ttls(), all_with(&["ORDER", "PAYMENT", "REF"], None));
    assert_eq!(shop.status(payment.id).await, Status::Completed, "by the unmatched one");
    let left = shop.store.unmatched(Provider::FinvyPay, "p", MAX_MOVED).await.unwrap();
    assert_eq!(left, None);
}

/// A webhook of a deleted payment is kept as unmatched, whatever still points to the payment.
#[tokio::test]
async fn webhook_for_a_deleted_payment_is_unmatched() {
    for (by_us, ids, order) in [
        (true, &["p"][..], false),
        (false, &["p"][..], false),
        (false, &["p"][..], true),
        (false, &["FP1", "p"][..], true),
        (false, &[][..], true),
        (true, &[][..], false),
    ] {
        let shop = Shop::open();
        let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
        shop.delete_payment(payment.id).await;
        let fact = Fact {
            payment: ids.last().map(|id| reference(id)),
            transaction: ids.first().map(|id| reference(id)),
            order_id: order.then(|| OrderId::parse("o").unwrap()),
            ..reported(Outcome::Completed)
        };
        let late = notification(by_us.then_some(payment.id), fact);
        for _ in 0..2 {
            assert_eq!(shop.record(&late, DAY).await, RecordResult::Unmatched, "{late:?}");
        }
        assert_eq!(shop.store.payment(payment.id).await.unwrap(), None);
    }
}

/// The provider gives the id of a deleted payment to a new one.
#[tokio::test]
async fn id_of_a_deleted_payment_can_belong_to_another() {
    let shop = Shop::open();
    let gone = shop.pending(Provider::FinvyPay, "o", "p").await;
    shop.delete_payment(gone.id).await;
    let new = shop.pending(Provider::FinvyPay, "o", "p").await;
    let owner = shop.store.owner(Provider::FinvyPay, &reference("p")).await.unwrap();
    assert_eq!(owner, Some(new.id));
    let result = shop.record(&notification(None, paid("p")), MINUTE).await;
    assert!(matches!(result, RecordResult::Recorded { .. }), "{result:?}");
    assert_eq!(shop.status(new.id).await, Status::Completed);
}

/// Money with an id of a deleted payment beside one's own is no money of two payments.
#[tokio::test]
async fn id_of_a_deleted_payment_is_not_another_payments() {
    let shop = Shop::open();
    let gone = shop.pending(Provider::FinvyPay, "o", "FP-p").await;
    let payment = shop.pending(Provider::FinvyPay, "o2", "p").await;
    shop.delete_payment(gone.id).await;
    let result = shop.record(&notification(None, paid("p")), MINUTE).await;
    assert!(matches!(result, RecordResult::Recorded { .. }), "{result:?}");
    assert_eq!(shop.status(payment.id).await, Status::Completed);
}

/// Of an order's two payments one was deleted, so the other is the only one.
#[tokio::test]
async fn deleted_payment_of_an_order_does_not_count() {
    for deleted in 0..2 {
        let shop = Shop::open();
        let mut payments = Vec::new();
        for id in ["p", "q"] {
            payments.push(shop.pending(Provider::FinvyPay, "o", id).await);
        }
        let gone = payments.remove(deleted);
        shop.delete_payment(gone.id).await;
        let of_order = Fact {
            transaction: Some(reference("FP1")),
            order_id: OrderId::parse("o"),
            ..reported(Outcome::Failed)
        };
        let result = shop.record(&notification(None, of_order), MINUTE).await;
        assert!(matches!(result, RecordResult::Recorded { .. }), "{result:?}");
        assert_eq!(shop.status(payments[0].id).await, Status::Failed);
    }
}

/// The payment is deleted after the webhook has read it.
#[tokio::test]
async fn payment_deleted_during_a_webhook_is_looked_up_again() {
    let shop = Shop::open();
    let payment = shop.expired("o", "p").await;
    shop.delete_payment(payment.id).await;
    let late = notification(Some(payment.id), paid("p"));
    let recorded = record_with_payment(&shop.store, &late, &payment, false, shop.after(DAY)).await;
    assert_eq!(recorded.unwrap(), None);
    assert_eq!(shop.record(&late, DAY).await, RecordResult::Unmatched);
}

#[tokio::test]
async fn operator_may_use_the_id_of_a_deleted_payment() {
    let shop = Shop::open();
    let gone = shop.pending(Provider::ApoloPay, "o", "p").await;
    let payment = shop.pending(Provider::ApoloPay, "o2", "q").await;
    shop.delete_payment(gone.id).await;
    let command = reconcile_payments::operator::Command {
        payment_id: payment.id,
        reference: Some(reference("p")),
        actor: "on call".to_owned(),
        reason: "seen as paid".to_owned(),
    };
    let result = reconcile_payments::operator::complete(&shop.store, &command, shop.start)
        .await
        .unwrap();
    assert_eq!((result.status, result.changed), (Status::Completed, true));
}

/// The usual webhook takes one write, and the late webhook of an expired payment two.
#[tokio::test]
async fn only_an_expired_payment_needs_a_second_write() {
    let recorded = Recorded::new();
    let shop = Shop {
        store: recorded.store(),
        table: recorded.table.clone(),
        start: clock::now(),
    };
    let completed = |payment: &Payment| notification(Some(payment.id), reported(Outcome::Completed));
    for (order, expires, writes) in [("o1", false, 1), ("o2", true, 2)] {
        let payment = shop.pending(Provider::FinvyPay, order, order).await;
        if expires {
            shop.sweep_with_list(EXPIRES_AFTER).await;
        }
        recorded.take();
        shop.deliver(&completed(&payment)).await;
        let actions: Vec<_> = recorded.take().into_iter().map(|(action, _)| action).collect();
        assert_eq!(actions, vec!["TransactWriteItems"; writes]);
    }
}

/// While the list cannot be read, the payment is polled for eight days, and what is heard would take its ttl away.
#[tokio::test]
async fn payment_that_is_still_polled_has_no_ttl() {
    let shop = Shop::open();
    let provider = FakeProvider::default().without_list();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    let kinds = ["ORDER", "PAYMENT", "REF"];
    shop.sweep(EXPIRES_AFTER, &provider).await;
    assert_eq!(shop.status(payment.id).await, Status::Expired);
    assert_eq!(shop.ttls(), all_with(&kinds, None));
    shop.sweep(9 * DAY, &provider).await;
    let ttl = shop.after(9 * DAY + DELETE_AFTER).as_seconds().to_string();
    assert_eq!(shop.ttls(), all_with(&kinds, Some(&ttl)));
}
