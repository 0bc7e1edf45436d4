//! An operator's commands, and what is checked before anything is written.

use payment_functions::domain::attention::AttentionReason;
use reconcile_payments::acknowledge::{Acknowledgement, acknowledge};
use reconcile_payments::operator::{Command, CommandError, CommandResult, close, complete};

use super::*;
use crate::ledger;

fn command(payment: &Payment, reference: Option<&str>) -> Command {
    Command {
        payment_id: payment.id,
        reference: reference.map(super::reference),
        actor: "on call".to_owned(),
        reason: "seen as paid".to_owned(),
    }
}

impl Shop {
    async fn complete(&self, command: &Command) -> Result<CommandResult, CommandError> {
        complete(&self.store, command, self.start).await
    }

    async fn close(&self, command: &Command) -> Result<CommandResult, CommandError> {
        close(&self.store, command, self.start).await
    }

    async fn in_review(&self, id: &str) -> Payment {
        let payment = self.pending(Provider::FinvyPay, &unique("o"), id).await;
        let wrong = Fact {
            amount: Decimal::parse("1"),
            ..reported(Outcome::Completed)
        };
        self.deliver(&notification(Some(payment.id), wrong)).await;
        assert_eq!(self.status(payment.id).await, Status::Review);
        payment
    }
}

#[tokio::test]
async fn command_without_valid_actor_and_reason_is_refused() {
    let shop = Shop::open();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    let good = command(&payment, None);
    let text = |length: usize| "ü".repeat(length);
    for (actor, reason, invalid) in [
        ("", "y", Some("actor")),
        ("  ", "y", Some("actor")),
        ("a\tb", "y", Some("actor")),
        (&text(201), "y", Some("actor")),
        ("w", "", Some("reason")),
        ("w", "\u{a0}", Some("reason")),
        ("w", "a\nb", Some("reason")),
        ("w", &text(1001), Some("reason")),
        (&text(200), &text(1000), None),
    ] {
        let sent = Command {
            actor: actor.to_owned(),
            reason: reason.to_owned(),
            ..good.clone()
        };
        let result = shop.complete(&sent).await;
        match (invalid, result) {
            (None, Ok(result)) => assert!(result.changed),
            (Some(name), Err(CommandError::InvalidText { field, .. })) => assert_eq!(field, name),
            (_, result) => panic!("{sent:?}: {result:?}"),
        }
        assert_eq!(
            ledger(&shop.table, payment.id).len(),
            usize::from(invalid.is_none()),
            "{sent:?}"
        );
    }
}

#[tokio::test]
async fn refused_command_changes_nothing() {
    let shop = Shop::open();
    let one = shop.pending(Provider::FinvyPay, "o1", "p1").await;
    shop.pending(Provider::FinvyPay, "o2", "p2").await;
    let missing = Payment {
        id: PaymentId::random(),
        ..one.clone()
    };
    let before = shop.table.items().unwrap();

    let result = shop.complete(&command(&missing, None)).await;
    assert!(
        matches!(result, Err(CommandError::PaymentNotFound(id)) if id == missing.id),
        "{result:?}"
    );
    let result = shop.complete(&command(&one, Some("p2"))).await;
    assert!(
        matches!(result, Err(CommandError::ReferenceOwnedByOther(_))),
        "{result:?}"
    );
    let mut unreadable = command(&one, None);
    // As it comes in an event: deserialized without validation.
    unreadable.reference = Some(serde_json::from_value(serde_json::json!("a\u{7}b")).unwrap());
    let result = shop.complete(&unreadable).await;
    assert!(matches!(result, Err(CommandError::InvalidReference)), "{result:?}");
    let result = shop.close(&command(&one, None)).await;
    assert!(
        matches!(result, Err(CommandError::NotInReview(Status::Pending))),
        "{result:?}"
    );
    let result = shop.close(&command(&one, Some("p1"))).await;
    assert!(matches!(result, Err(CommandError::ReferenceNotAllowed)), "{result:?}");
    assert_eq!(shop.table.items().unwrap(), before);
}

#[tokio::test]
async fn complete_is_recorded_once_with_actor_and_reason() {
    for (provider, reference, as_transaction) in [
        (Provider::ApoloPay, None, None),
        (Provider::ApoloPay, Some("p"), Some(false)),
        // At ApoloPay any reference is a payment's id. At FinvyPay an unknown one is a transaction's.
        (Provider::ApoloPay, Some("p2"), Some(false)),
        (Provider::FinvyPay, Some("p"), Some(false)),
        (Provider::FinvyPay, Some("FP"), Some(true)),
    ] {
        let shop = Shop::open();
        let payment = shop.pending(provider, "o", "p").await;
        let sent = command(&payment, reference);
        for changed in [true, false] {
            let expected = CommandResult {
                payment_id: payment.id,
                status: Status::Completed,
                changed,
            };
            assert_eq!(shop.complete(&sent).await.unwrap(), expected, "{sent:?}");
        }
        let completed = shop.payment(payment.id).await;
        assert!(completed.attention.is_empty(), "{completed:?}");
        assert!(shop.is_resolved(payment.id).await);
        if let Some(reference) = &sent.reference {
            let owner = shop.store.owner(provider, reference).await.unwrap();
            assert_eq!(owner, Some(payment.id), "{sent:?}");
        }
        let facts = ledger(&shop.table, payment.id);
        assert_eq!(facts.len(), 1, "{sent:?}");
        let fact = &facts[0];
        let operator = &fact["operator"]["M"];
        let signed = ["actor", "reason"].map(|name| operator[name]["S"].as_str().unwrap());
        assert_eq!(signed, [&sent.actor, &sent.reason]);
        let named = [false, true].map(|is_transaction| {
            let name = if is_transaction { "transaction" } else { "payment" };
            fact[name]["S"].as_str()
        });
        let expected = [false, true].map(|is_transaction| reference.filter(|_| as_transaction == Some(is_transaction)));
        assert_eq!(named, expected, "{sent:?}");
        assert_eq!(fact["currency"]["S"], "USD");
    }
}

/// Money is unmatched under an id that the provider names with no payment, and the payment is completed.
#[tokio::test]
async fn unmatched_money_is_recorded_with_the_completed_payment_an_operator_names() {
    let shop = Shop::open();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    shop.pending(Provider::FinvyPay, "o", "other").await;
    let paid = Fact {
        payment: Some(reference("p")),
        ..reported(Outcome::Completed)
    };
    shop.deliver(&notification(None, paid)).await;
    let listed = Fact {
        transaction: Some(reference("FP1")),
        order_id: OrderId::parse("o"),
        ..reported(Outcome::Completed)
    };
    shop.deliver(&notification(None, listed)).await;
    let is_unmatched = async || {
        shop.store
            .unmatched(Provider::FinvyPay, "FP1", MAX_MOVED)
            .await
            .unwrap()
            .is_some()
    };
    assert!(is_unmatched().await);
    for _ in 0..2 {
        let result = shop.complete(&command(&payment, Some("FP1"))).await.unwrap();
        assert_eq!((result.status, result.changed), (Status::Completed, false));
        assert!(!is_unmatched().await);
        let facts = ledger(&shop.table, payment.id);
        assert_eq!(
            facts.len(),
            3,
            "the webhook's, the operator's and the unmatched one: {facts:?}"
        );
    }
    assert!(
        shop.payment(payment.id).await.attention.is_empty(),
        "the money came once"
    );
}

#[tokio::test]
async fn closed_review_is_not_reported_again() {
    let shop = Shop::open();
    let payment = shop.in_review("p").await;
    assert_eq!(shop.due(Queue::Review, MINUTE).await, [Subject::Payment(payment.id)]);
    for changed in [true, false] {
        let result = shop.close(&command(&payment, None)).await.unwrap();
        assert_eq!((result.status, result.changed), (Status::Review, changed));
    }
    assert!(shop.is_resolved(payment.id).await);
    assert_eq!(ledger(&shop.table, payment.id).len(), 2);

    let payment = shop.in_review("p2").await;
    let result = shop.complete(&command(&payment, None)).await.unwrap();
    assert_eq!((result.status, result.changed), (Status::Completed, true));
    let result = shop.close(&command(&payment, None)).await;
    assert!(
        matches!(result, Err(CommandError::NotInReview(Status::Completed))),
        "{result:?}"
    );
}

#[tokio::test]
async fn money_after_a_closed_review_is_reported() {
    let shop = Shop::open();
    let payment = shop.in_review("p").await;
    let provider = FakeProvider::default();
    let report = |outcome, amount| {
        let amount = Decimal::parse(amount);
        notification(
            Some(payment.id),
            Fact {
                amount,
                ..reported(outcome)
            },
        )
    };
    for amount in ["2", "3"] {
        shop.close(&command(&payment, None)).await.unwrap();
        // A known fact, and one that is no money.
        shop.deliver(&report(Outcome::Completed, "1")).await;
        shop.deliver(&report(Outcome::Failed, amount)).await;
        assert!(shop.is_resolved(payment.id).await);

        shop.deliver(&report(Outcome::Completed, amount)).await;
        shop.sweep(MINUTE, &provider).await;
        assert_eq!(shop.store.count(Queue::Review).await.unwrap(), 1, "{amount}");
    }
    assert_eq!(ledger(&shop.table, payment.id).len(), 7, "two closes and five reports");
    shop.close(&command(&payment, None)).await.unwrap();

    // Also money that was unmatched until its id became known.
    let unmatched = Fact {
        transaction: Some(reference("t")),
        amount: Decimal::parse("4"),
        ..reported(Outcome::Completed)
    };
    shop.deliver(&notification(None, unmatched)).await;
    assert!(shop.is_resolved(payment.id).await);
    let named = Fact {
        payment: Some(reference("p")),
        transaction: Some(reference("t")),
        ..reported(Outcome::Pending)
    };
    shop.deliver(&notification(None, named)).await;
    assert_eq!(shop.due(Queue::Review, MINUTE).await, [Subject::Payment(payment.id)]);
}

#[tokio::test]
async fn more_money_in_open_review_does_not_hasten_its_daily_poll() {
    let shop = Shop::open();
    let payment = shop.in_review("p").await;
    let provider = FakeProvider::default();
    assert_eq!(shop.sweep(MINUTE, &provider).await.checked, 1);
    let more = Fact {
        amount: Decimal::parse("2"),
        ..reported(Outcome::Completed)
    };
    shop.deliver(&notification(Some(payment.id), more)).await;
    assert_eq!(shop.sweep(HOUR, &provider).await.checked, 0);
    assert_eq!(shop.sweep(DAY + MINUTE, &provider).await.checked, 1);
}

#[tokio::test]
async fn acknowledged_attention_goes_and_only_a_new_fact_raises_it_again() {
    let shop = Shop::open();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    let unknown = |word: &str| {
        let fact = Fact {
            raw_status: word.to_owned(),
            ..reported(Outcome::Unrecognised)
        };
        notification(Some(payment.id), fact)
    };
    let acknowledgement = |reason_code| Acknowledgement {
        payment_id: payment.id,
        reason_code,
        actor: "on call".to_owned(),
        reason: "asked FinvyPay".to_owned(),
    };
    let acknowledge = async |reason| {
        let done = acknowledge(&shop.store, &acknowledgement(reason), shop.start).await;
        done.unwrap().changed
    };
    let has_attention = async || !shop.payment(payment.id).await.attention.is_empty();
    shop.deliver(&unknown("SETTLED")).await;
    assert!(
        !acknowledge(AttentionReason::Refunded).await,
        "the payment does not have it"
    );
    assert!(has_attention().await);
    assert!(acknowledge(AttentionReason::UnrecognisedStatus).await);
    assert!(!acknowledge(AttentionReason::UnrecognisedStatus).await, "a repetition");
    assert!(!has_attention().await);
    shop.deliver(&unknown("SETTLED")).await;
    assert!(!has_attention().await, "the same fact again");
    shop.deliver(&unknown("CLEARED")).await;
    assert!(has_attention().await);
    assert!(
        acknowledge(AttentionReason::UnrecognisedStatus).await,
        "by the same person, in the same words"
    );
    let words: Vec<serde_json::Value> = ledger(&shop.table, payment.id)
        .iter()
        .map(|fact| fact["rawStatus"]["S"].clone())
        .collect();
    for change in [1, 3] {
        let word = format!("unrecognised_status acknowledged by an operator; change {change}");
        assert!(words.contains(&word.clone().into()), "{word}: {words:?}");
    }
}
