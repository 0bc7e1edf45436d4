//! An operator's word, and what it is checked for before anything is written.

use reconcile_payments::operator::{Command, Done, Refused, close, complete};

use super::*;
use crate::ledger;

fn word(payment: &Payment, reference: Option<&str>) -> Command {
    Command {
        payment_id: payment.id,
        reference: reference.map(super::reference),
        actor: "on call".to_owned(),
        reason: "seen as paid".to_owned(),
    }
}

impl Shop {
    async fn complete(&self, word: &Command) -> Result<Done, Refused> {
        complete(&self.store, word, self.start).await
    }

    async fn close(&self, word: &Command) -> Result<Done, Refused> {
        close(&self.store, word, self.start).await
    }

    async fn in_review(&self, id: &str) -> Payment {
        let payment = self.pending(Provider::FinvyPay, &unique("o"), id).await;
        let wrong = Fact {
            amount: Decimal::parse("1"),
            ..said(Outcome::Completed)
        };
        self.deliver(&event(Some(payment.id), wrong)).await;
        assert_eq!(self.status(payment.id).await, Status::Review);
        payment
    }
}

#[tokio::test]
async fn somebody_must_answer_for_a_word() {
    let shop = Shop::open();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    let good = word(&payment, None);
    let text = |length: usize| "ü".repeat(length);
    for (who, why, fault) in [
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
        let said = Command {
            actor: who.to_owned(),
            reason: why.to_owned(),
            ..good.clone()
        };
        let done = shop.complete(&said).await;
        match (fault, done) {
            (None, Ok(done)) => assert!(done.changed),
            (Some(name), Err(Refused::Unsigned(named, _))) => assert_eq!(named, name),
            (_, done) => panic!("{said:?}: {done:?}"),
        }
        assert_eq!(
            ledger(&shop.table, payment.id).len(),
            usize::from(fault.is_none()),
            "{said:?}"
        );
    }
}

#[tokio::test]
async fn a_word_about_what_is_not_so_changes_nothing() {
    let shop = Shop::open();
    let one = shop.pending(Provider::FinvyPay, "o1", "p1").await;
    shop.pending(Provider::FinvyPay, "o2", "p2").await;
    let nobody = Payment {
        id: PaymentId::random(),
        ..one.clone()
    };
    let before = shop.table.items().unwrap();

    let done = shop.complete(&word(&nobody, None)).await;
    assert!(
        matches!(done, Err(Refused::NoPayment(id)) if id == nobody.id),
        "{done:?}"
    );
    let done = shop.complete(&word(&one, Some("p2"))).await;
    assert!(matches!(done, Err(Refused::AnothersReference(_))), "{done:?}");
    let mut unreadable = word(&one, None);
    // As it comes in an event, where nothing has read it yet.
    unreadable.reference = Some(serde_json::from_value(serde_json::json!("a\u{7}b")).unwrap());
    let done = shop.complete(&unreadable).await;
    assert!(matches!(done, Err(Refused::BadReference)), "{done:?}");
    let done = shop.close(&word(&one, None)).await;
    assert!(matches!(done, Err(Refused::NotInReview(Status::Pending))), "{done:?}");
    let done = shop.close(&word(&one, Some("p1"))).await;
    assert!(matches!(done, Err(Refused::ReferenceToClose)), "{done:?}");
    assert_eq!(shop.table.items().unwrap(), before);
}

#[tokio::test]
async fn a_completed_payment_is_completed_once_with_who_and_why() {
    for (provider, reference, as_transaction) in [
        (Provider::ApoloPay, None, None),
        (Provider::ApoloPay, Some("p"), Some(false)),
        // Whatever ApoloPay gives is a payment's id; FinvyPay names what was paid by a transaction's.
        (Provider::ApoloPay, Some("p2"), Some(false)),
        (Provider::FinvyPay, Some("p"), Some(false)),
        (Provider::FinvyPay, Some("FP"), Some(true)),
    ] {
        let shop = Shop::open();
        let payment = shop.pending(provider, "o", "p").await;
        let said = word(&payment, reference);
        for changed in [true, false] {
            let expected = Done {
                payment_id: payment.id,
                status: Status::Completed,
                changed,
            };
            assert_eq!(shop.complete(&said).await.unwrap(), expected, "{said:?}");
        }
        let completed = shop.payment(payment.id).await;
        assert!(completed.attention.is_empty(), "{completed:?}");
        assert!(shop.is_settled(payment.id).await);
        if let Some(reference) = &said.reference {
            let owner = shop.store.owner(provider, reference).await.unwrap();
            assert_eq!(owner, Some(payment.id), "{said:?}");
        }
        let facts = ledger(&shop.table, payment.id);
        assert_eq!(facts.len(), 1, "{said:?}");
        let fact = &facts[0];
        let operator = &fact["operator"]["M"];
        let signed = ["actor", "reason"].map(|name| operator[name]["S"].as_str().unwrap());
        assert_eq!(signed, [&said.actor, &said.reason]);
        let named = [false, true].map(|is_transaction| {
            let name = if is_transaction { "transaction" } else { "payment" };
            fact[name]["S"].as_str()
        });
        let expected = [false, true].map(|is_transaction| reference.filter(|_| as_transaction == Some(is_transaction)));
        assert_eq!(named, expected, "{said:?}");
        assert_eq!(fact["currency"]["S"], "USD");
    }
}

/// Money is parked under an id that no provider will say of a payment, and the payment is paid already.
#[tokio::test]
async fn what_is_parked_under_an_id_is_given_to_the_completed_payment_that_an_operator_names() {
    let shop = Shop::open();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    shop.pending(Provider::FinvyPay, "o", "other").await;
    let paid = Fact {
        payment: Some(reference("p")),
        ..said(Outcome::Completed)
    };
    shop.deliver(&event(None, paid)).await;
    let listed = Fact {
        transaction: Some(reference("FP1")),
        order_id: OrderId::parse("o"),
        ..said(Outcome::Completed)
    };
    shop.deliver(&event(None, listed)).await;
    let is_parked = async || shop.store.unmatched(Provider::FinvyPay, "FP1").await.unwrap().is_some();
    assert!(is_parked().await);
    for _ in 0..2 {
        let done = shop.complete(&word(&payment, Some("FP1"))).await.unwrap();
        assert_eq!((done.status, done.changed), (Status::Completed, false));
        assert!(!is_parked().await);
        let facts = ledger(&shop.table, payment.id);
        assert_eq!(
            facts.len(),
            3,
            "the webhook's, the operator's and what was parked: {facts:?}"
        );
    }
    assert!(shop.payment(payment.id).await.attention.is_empty(), "it came once");
}

#[tokio::test]
async fn a_review_is_closed_once_and_reported_no_more() {
    let shop = Shop::open();
    let payment = shop.in_review("p").await;
    assert_eq!(shop.due(Queue::Review, MINUTE).await, [Subject::Payment(payment.id)]);
    for changed in [true, false] {
        let done = shop.close(&word(&payment, None)).await.unwrap();
        assert_eq!((done.status, done.changed), (Status::Review, changed));
    }
    assert!(shop.is_settled(payment.id).await);
    assert_eq!(ledger(&shop.table, payment.id).len(), 2);

    let payment = shop.in_review("p2").await;
    let done = shop.complete(&word(&payment, None)).await.unwrap();
    assert_eq!((done.status, done.changed), (Status::Completed, true));
    let done = shop.close(&word(&payment, None)).await;
    assert!(matches!(done, Err(Refused::NotInReview(Status::Completed))), "{done:?}");
}

#[tokio::test]
async fn money_that_comes_after_a_review_was_closed_is_reported() {
    let shop = Shop::open();
    let payment = shop.in_review("p").await;
    let provider = Book::default();
    let told = |outcome, amount| {
        let amount = Decimal::parse(amount);
        event(
            Some(payment.id),
            Fact {
                amount,
                ..said(outcome)
            },
        )
    };
    for amount in ["2", "3"] {
        shop.close(&word(&payment, None)).await.unwrap();
        // What is known already, and what is no money.
        shop.deliver(&told(Outcome::Completed, "1")).await;
        shop.deliver(&told(Outcome::Failed, amount)).await;
        assert!(shop.is_settled(payment.id).await);

        shop.deliver(&told(Outcome::Completed, amount)).await;
        let report = shop.sweep(MINUTE, &provider).await;
        assert_eq!(matters(&report), [(Matter::Review, Some(payment.id))], "{amount}");
    }
    assert_eq!(ledger(&shop.table, payment.id).len(), 7, "two words, of five things");
    shop.close(&word(&payment, None)).await.unwrap();

    // CommitExtras what was parked until its id became known.
    let parked = Fact {
        transaction: Some(reference("t")),
        amount: Decimal::parse("4"),
        ..said(Outcome::Completed)
    };
    shop.deliver(&event(None, parked)).await;
    assert!(shop.is_settled(payment.id).await);
    let named = Fact {
        payment: Some(reference("p")),
        transaction: Some(reference("t")),
        ..said(Outcome::Pending)
    };
    shop.deliver(&event(None, named)).await;
    assert_eq!(shop.due(Queue::Review, MINUTE).await, [Subject::Payment(payment.id)]);
}

#[tokio::test]
async fn more_money_in_an_open_review_waits_for_the_daily_report() {
    let shop = Shop::open();
    let payment = shop.in_review("p").await;
    let provider = Book::default();
    let review = [(Matter::Review, Some(payment.id))];
    assert_eq!(matters(&shop.sweep(MINUTE, &provider).await), review);
    let more = Fact {
        amount: Decimal::parse("2"),
        ..said(Outcome::Completed)
    };
    shop.deliver(&event(Some(payment.id), more)).await;
    assert_eq!(matters(&shop.sweep(HOUR, &provider).await), []);
    assert_eq!(matters(&shop.sweep(DAY + MINUTE, &provider).await), review);
}
