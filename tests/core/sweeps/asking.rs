//! What the provider answers, and what follows from it.

use payment_functions::domain::payment::AttentionReason;

use super::*;

fn paid(id: &str) -> Fact {
    Fact {
        payment: Some(reference(id)),
        transaction: Some(reference(&format!("FP-{id}"))),
        ..said(Outcome::Completed)
    }
}

#[tokio::test]
async fn a_payment_whose_webhook_was_lost_is_completed() {
    let shop = Shop::open();
    let book = Book::default();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    book.knows("p", event(Some(payment.id), paid("p")));
    assert_eq!(
        shop.sweep(30 * MINUTE / 60, &book).await.checked,
        0,
        "a webhook may still come"
    );
    let report = shop.sweep(MINUTE, &book).await;
    assert_eq!((report.checked, report.resolved), (1, 1));
    let after = shop.payment(payment.id).await;
    assert_eq!(after.status, Status::Completed);
    assert!(
        after.references.contains(&reference("FP-p")),
        "the transaction's id is known now"
    );
    assert!(shop.is_settled(payment.id).await);
    assert_eq!(book.asked(), ["p"]);
    // The webhook comes after all: the same money, told twice.
    let late = event(
        Some(payment.id),
        Fact {
            transaction: None,
            ..paid("p")
        },
    );
    shop.deliver(&late).await;
    assert_eq!(shop.payment(payment.id).await.attention.len(), 0);
}

#[tokio::test]
async fn an_id_that_was_never_handed_out_is_found_by_the_order() {
    let shop = Shop::open();
    let book = Book::default();
    // The create call timed out, so no id is known; another payment of the order is pending.
    let lost = shop.intent(Provider::FinvyPay, "o").await;
    let other = shop.pending(Provider::FinvyPay, "o", "p2").await;
    let transaction = Fact {
        transaction: Some(reference("FP1")),
        order_id: OrderId::parse("o"),
        ..said(Outcome::Completed)
    };
    book.lists("o", vec![event(Some(lost.id), transaction)]);
    shop.sweep(MINUTE, &book).await;
    assert_eq!(shop.status(lost.id).await, Status::Completed);
    assert_eq!(shop.status(other.id).await, Status::Pending);
    assert_eq!(
        shop.store.owner(Provider::FinvyPay, &reference("FP1")).await.unwrap(),
        Some(lost.id)
    );
}

/// The first attempt's answer was lost, and the second was refused: what the first made is payable all the same.
#[tokio::test]
async fn a_refused_payment_is_looked_for_by_its_order() {
    let shop = Shop::open();
    let book = Book::default();
    let refused = shop.refused("o").await;
    shop.sweep(MINUTE, &book).await;
    assert_eq!(shop.status(refused.id).await, Status::Failed);
    assert_eq!(book.asked(), ["order o"], "nothing is known there yet");

    // It cannot be asked when the payment would have expired: that look does not count.
    book.fails(Some(down));
    shop.sweep(DAY, &book).await;
    assert!(!shop.is_settled(refused.id).await);
    book.fails(None);
    let transaction = Fact {
        transaction: Some(reference("FP1")),
        order_id: OrderId::parse("o"),
        ..said(Outcome::Completed)
    };
    book.lists("o", vec![event(Some(refused.id), transaction)]);
    shop.sweep(3 * DAY, &book).await;
    assert_eq!(shop.status(refused.id).await, Status::Completed);
}

/// The provider has it under the order, promised but not paid yet when a payment that it does not know is let go.
#[tokio::test]
async fn a_refused_payment_that_an_earlier_attempt_made_is_asked_about_as_any_other() {
    let shop = Shop::open();
    let book = Book::default();
    let refused = shop.refused("o").await;
    let listed = |outcome| {
        let transaction = Fact {
            transaction: Some(reference("FP1")),
            order_id: OrderId::parse("o"),
            ..said(outcome)
        };
        event(Some(refused.id), transaction)
    };
    book.lists("o", vec![listed(Outcome::Authorized)]);
    shop.sweep(45 * MINUTE, &book).await;
    assert_eq!(shop.status(refused.id).await, Status::Failed, "it is not paid");
    book.lists("o", vec![listed(Outcome::Completed)]);
    shop.sweep(2 * HOUR, &book).await;
    assert_eq!(shop.status(refused.id).await, Status::Completed);
}

#[tokio::test]
async fn a_refused_payment_that_the_provider_does_not_know_is_let_go() {
    let shop = Shop::open();
    let book = Book::default();
    let refused = shop.refused("o").await;
    let report = shop.sweep(DAY, &book).await;
    assert_eq!(book.asked(), ["order o"]);
    assert!(shop.is_settled(refused.id).await);
    assert_eq!(matters(&report), [], "it was refused, and that is all");

    // Nor is one kept for ever that cannot be asked about, but that is a matter for a person.
    let refused = shop.refused("p").await;
    book.fails(Some(down));
    let report = shop.sweep(9 * DAY, &book).await;
    assert!(shop.is_settled(refused.id).await);
    assert_eq!(matters(&report), [(Matter::PollError, Some(refused.id))]);
}

#[tokio::test]
async fn the_id_learnt_from_a_webhook_is_asked_first_and_the_order_last() {
    let shop = Shop::open();
    let book = Book::default();
    let payment = shop.pending(Provider::FinvyPay, "o", "a-given").await;
    let authorized = Fact {
        transaction: Some(reference("z-learnt")),
        ..said(Outcome::Authorized)
    };
    shop.deliver(&event(Some(payment.id), authorized)).await;
    shop.sweep(6 * MINUTE, &book).await;
    assert_eq!(book.asked(), ["z-learnt", "a-given", "order o"]);
}

#[tokio::test]
async fn every_word_of_the_provider_counts_as_its_webhooks_do() {
    for (fact, status) in [
        (said(Outcome::Completed), Status::Completed),
        (said(Outcome::Pending), Status::Pending),
        (said(Outcome::Authorized), Status::Authorized),
        (said(Outcome::Cancelled), Status::Cancelled),
        (said(Outcome::Failed), Status::Failed),
        (
            Fact {
                raw_status: "SETTLED".to_owned(),
                ..said(Outcome::Unrecognised)
            },
            Status::Pending,
        ),
        (
            Fact {
                amount: Decimal::parse("25.49"),
                ..said(Outcome::Completed)
            },
            Status::Review,
        ),
        (
            Fact {
                currency: Some("EUR".to_owned()),
                ..said(Outcome::Completed)
            },
            Status::Review,
        ),
        (
            Fact {
                amount: None,
                ..said(Outcome::Completed)
            },
            Status::Review,
        ),
        // An answer about another order is none.
        (
            Fact {
                order_id: OrderId::parse("another"),
                ..said(Outcome::Completed)
            },
            Status::Pending,
        ),
    ] {
        let shop = Shop::open();
        let book = Book::default();
        let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
        let fact = Fact {
            payment: Some(reference("p")),
            ..fact
        };
        book.knows("p", event(Some(payment.id), fact.clone()));
        shop.sweep(MINUTE, &book).await;
        assert_eq!(shop.status(payment.id).await, status, "{fact:?}");
        assert_eq!(
            shop.is_settled(payment.id).await,
            status == Status::Completed,
            "{fact:?}"
        );
        let asked_for_the_order = book.asked().contains(&"order o".to_owned());
        assert_eq!(asked_for_the_order, status < Status::Review, "{fact:?}");
    }
}

#[tokio::test]
async fn what_is_heard_late_in_a_run_has_that_time() {
    let shop = Shop::open();
    let book = Book::default();
    let delay = Duration::from_millis(50);
    book.takes(delay);
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    book.knows("p", event(Some(payment.id), paid("p")));
    shop.sweep(MINUTE, &book).await;
    let paid = shop.payment(payment.id).await;
    assert_eq!(paid.status, Status::Completed);
    assert!(paid.updated_at >= shop.after(MINUTE + delay), "{paid:?}");
}

#[tokio::test]
async fn a_second_receipt_is_noted() {
    let shop = Shop::open();
    let book = Book::default();
    let payment = shop.pending(Provider::FinvyPay, "o", "p1").await;
    let pending = Fact {
        payment: Some(reference("p2")),
        ..said(Outcome::Pending)
    };
    shop.deliver(&event(Some(payment.id), pending)).await;
    for id in ["p1", "p2"] {
        book.knows(id, event(Some(payment.id), paid(id)));
    }
    shop.sweep(MINUTE, &book).await;
    let after = shop.payment(payment.id).await;
    assert_eq!(after.status, Status::Completed);
    assert!(
        after.attention.contains(&AttentionReason::DuplicatePayment),
        "{after:?}"
    );
}

#[tokio::test]
async fn a_provider_that_is_down_is_asked_ever_more_slowly_and_our_clock_runs_on() {
    let shop = Shop::open();
    let book = Book::default();
    book.fails(Some(down));
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    let mut looks = Vec::new();
    for minute in 1..=120 {
        if shop.sweep(minute * MINUTE, &book).await.checked > 0 {
            looks.push(minute);
        }
        let expected = if minute < 45 { Status::Pending } else { Status::Expired };
        assert_eq!(shop.status(payment.id).await, expected, "minute {minute}");
    }
    assert_eq!(looks, [1, 6, 12, 24, 45, 90]);
    // It is back, and what was expired is completed.
    book.fails(None);
    book.knows("p", event(Some(payment.id), paid("p")));
    shop.sweep(180 * MINUTE, &book).await;
    assert_eq!(shop.status(payment.id).await, Status::Completed);
}

#[tokio::test]
async fn expiry_is_soft_and_each_provider_has_its_own() {
    let shop = Shop::open();
    let book = Book::default();
    let card = shop.pending(Provider::FinvyPay, "o1", "p1").await;
    let unanswered = shop.intent(Provider::FinvyPay, "o2").await;
    let crypto = shop
        .pending(Provider::ApoloPay, "o3", "a3b2c3d4-e5f6-7890-abcd-ef1234567890")
        .await;
    shop.sweep(44 * MINUTE, &book).await;
    assert_eq!(
        shop.status(card.id).await,
        Status::Pending,
        "half an hour and 15 minutes are not over"
    );
    shop.sweep(45 * MINUTE, &book).await;
    assert_eq!(shop.status(card.id).await, Status::Expired);
    assert_eq!(shop.status(unanswered.id).await, Status::Expired);
    shop.sweep(DAY - MINUTE, &book).await;
    assert_eq!(shop.status(crypto.id).await, Status::Pending);
    let report = shop.sweep(DAY, &book).await;
    assert_eq!(shop.status(crypto.id).await, Status::Expired);
    assert_eq!(
        matters(&report),
        [(Matter::Unconfirmed, Some(crypto.id))],
        "a lost webhook looks just like this"
    );
    assert!(shop.is_settled(crypto.id).await);
    for payment in [&card, &unanswered, &crypto] {
        let late = Fact {
            provider: payment.provider,
            ..said(Outcome::Completed)
        };
        shop.deliver(&event(Some(payment.id), late)).await;
        assert_eq!(shop.status(payment.id).await, Status::Completed, "money wins");
    }
}

#[tokio::test]
async fn an_expiry_is_reported_although_the_run_that_wrote_it_died() {
    let shop = Shop::open();
    let payment = shop.pending(Provider::ApoloPay, "o", "p").await;
    shop.commit(&payment, &payment.expire(shop.after(DAY))).await;
    let report = shop.sweep(DAY + MINUTE, &Book::default()).await;
    assert_eq!(matters(&report), [(Matter::Unconfirmed, Some(payment.id))]);
    assert!(shop.is_settled(payment.id).await);
}

/// A webhook that arrives while the reconciler makes up its mind is not overwritten.
#[tokio::test]
async fn a_webhook_in_the_middle_of_an_expiry_wins() {
    let shop = Shop::open();
    let payment = shop.pending(Provider::ApoloPay, "o", "p").await;
    let expired = payment.expire(shop.after(DAY));
    let fact = Fact {
        provider: Provider::ApoloPay,
        payment: Some(reference("p")),
        ..said(Outcome::Completed)
    };
    shop.deliver(&event(Some(payment.id), fact)).await;
    let commit = shop
        .store
        .commit(&payment, &expired, &CommitExtras::default(), shop.after(DAY))
        .await
        .unwrap();
    assert!(matches!(commit, CommitResult::Conflict(_)), "{commit:?}");
    shop.sweep(2 * DAY, &Book::default()).await;
    assert_eq!(shop.status(payment.id).await, Status::Completed);
}

#[tokio::test]
async fn a_throttled_run_stops_asking_and_the_rest_stays_due() {
    let shop = Shop::open();
    let book = Book::default();
    for index in 0..6 {
        shop.pending(Provider::FinvyPay, &format!("o{index}"), &format!("p{index}"))
            .await;
    }
    // Two calls for each: its id and its order.
    book.has_turns(5);
    let report = shop.sweep(MINUTE, &book).await;
    assert_eq!((book.asked().len(), report.unfinished), (5, true));
    assert_eq!(report.checked, 3, "the third ran out of turns in the middle");
    assert_eq!(
        shop.due(Queue::Of(Provider::FinvyPay), MINUTE).await.len(),
        3,
        "what had none stays as it was, and the third makes way for it"
    );
    book.has_turns(100);
    assert_eq!(shop.sweep(MINUTE, &book).await.checked, 3);
    assert_eq!(shop.sweep(2 * MINUTE, &book).await.checked, 1);
    assert_eq!(shop.due(Queue::Of(Provider::FinvyPay), 2 * MINUTE).await.len(), 0);

    book.asked();
    book.fails(Some(out_of_turns));
    let report = shop.sweep(6 * MINUTE, &book).await;
    assert_eq!(
        (report.checked, book.asked().len()),
        (1, 1),
        "one refusal is enough for a run"
    );
}

/// More than are read at once: the clock reaches those behind, too.
#[tokio::test]
async fn our_clock_runs_on_for_all_while_the_provider_answers_nobody() {
    let shop = Shop::open();
    let book = Book::default();
    let mut payments = Vec::new();
    for index in 0..120 {
        let (order, id) = (format!("o{index}"), format!("p{index}"));
        payments.push(shop.pending(Provider::FinvyPay, &order, &id).await.id);
    }
    let review = shop.pending(Provider::FinvyPay, "reviewed", "reviewed").await;
    let wrong = Fact {
        payment: Some(reference("reviewed")),
        amount: Decimal::parse("1"),
        ..said(Outcome::Completed)
    };
    shop.deliver(&event(Some(review.id), wrong)).await;
    book.fails(Some(closed));
    let report = shop.sweep(HOUR, &book).await;
    assert_eq!((report.expired, report.failed, report.unfinished), (120, 0, true));
    assert_eq!(book.asked(), ["reviewed"], "one refusal is enough for a run");
    assert_eq!(matters(&report), [(Matter::Review, Some(review.id))]);
    assert_eq!(shop.due(Queue::Of(Provider::FinvyPay), HOUR).await.len(), 0);

    // Soon, all of them are asked about, but what is in review is reported daily and no sooner.
    book.fails(None);
    let report = shop.sweep(HOUR + MINUTE, &book).await;
    assert_eq!((report.checked, report.for_a_person_count), (120, 0));
    assert_eq!(shop.sweep(DAY + HOUR, &book).await.for_a_person_count, 1);
}

#[tokio::test]
async fn what_stays_authorized_to_the_end_is_left_to_a_person() {
    let shop = Shop::open();
    let book = Book::default();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    let authorized = Fact {
        payment: Some(reference("p")),
        ..said(Outcome::Authorized)
    };
    book.knows("p", event(Some(payment.id), authorized));
    let mut matters = Vec::new();
    for day in 0..40 {
        let report = shop.sweep(MINUTE + day * DAY, &book).await;
        matters.extend(
            report
                .for_a_person
                .iter()
                .map(|matter| (day, format!("{:?}", matter.matter))),
        );
    }
    assert_eq!(matters, [(30, "Unsettled".to_owned())]);
    assert!(shop.is_settled(payment.id).await);
}

/// What is left to a person, and in which hour, with a run each hour of the first day and then daily, for longer than anybody
/// is asked.
async fn matters_of_forty_days(shop: &Shop, book: &Book) -> Vec<(u32, Matter, Option<PaymentId>)> {
    let mut all = Vec::new();
    for hour in (0..24).chain((1..40).map(|day| 24 * day)) {
        let report = shop.sweep(hour * HOUR + MINUTE, book).await;
        all.extend(matters(&report).into_iter().map(|(matter, id)| (hour, matter, id)));
    }
    all
}

/// The list names transactions and none of our ids, and the order has two payments: one is known by its transaction, and
/// the other's webhook was lost.
#[tokio::test]
async fn money_that_only_the_list_tells_of_is_kept_and_left_to_a_person() {
    let shop = Shop::open();
    let book = Book::default();
    let paid = shop.pending(Provider::FinvyPay, "o", "p1").await;
    let known = shop.pending(Provider::FinvyPay, "o", "p2").await;
    let listed = |transaction, outcome| Fact {
        transaction: Some(reference(transaction)),
        order_id: OrderId::parse("o"),
        ..said(outcome)
    };
    shop.deliver(&event(Some(known.id), listed("FP2", Outcome::Pending)))
        .await;
    book.lists(
        "o",
        vec![
            event(None, listed("FP1", Outcome::Completed)),
            event(None, listed("FP2", Outcome::Pending)),
        ],
    );
    let matters = matters_of_forty_days(&shop, &book).await;
    let parked = shop.store.unmatched(Provider::FinvyPay, "FP1").await.unwrap().unwrap();
    assert_eq!(parked.events.len(), 1);
    assert!(matters.contains(&(1, Matter::Unmatched, None)), "{matters:?}");
    let about_payments = matters
        .into_iter()
        .filter(|(_, matter, _)| *matter != Matter::Unmatched);
    assert_eq!(
        about_payments.collect::<Vec<_>>(),
        [(8 * 24, Matter::PollError, Some(paid.id))],
        "what is said of the one says nothing of the other"
    );
}

#[tokio::test]
async fn a_word_that_nobody_documented_is_left_to_a_person() {
    for status in [Status::Expired, Status::Failed] {
        let shop = Shop::open();
        let book = Book::default();
        let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
        let told = |outcome| {
            let fact = Fact {
                payment: Some(reference("p")),
                raw_status: "settled".to_owned(),
                ..said(outcome)
            };
            event(Some(payment.id), fact)
        };
        if status == Status::Failed {
            shop.deliver(&told(Outcome::Failed)).await;
        }
        book.knows("p", told(Outcome::Unrecognised));
        let matters = matters_of_forty_days(&shop, &book).await;
        assert_eq!(shop.status(payment.id).await, status);
        let first = (status == Status::Expired).then_some(1);
        let expected: Vec<_> = first
            .into_iter()
            .chain((2..=8).map(|day| 24 * day))
            .map(|hour| (hour, Matter::Unrecognised, Some(payment.id)))
            .collect();
        assert_eq!(matters, expected, "when it expires, and daily from the second day on");
    }
}

/// Under the id that was given up nothing else may ever be said.
#[tokio::test]
async fn what_was_given_up_is_looked_for_by_its_order_too() {
    for outcome in [Outcome::Cancelled, Outcome::Failed] {
        for is_known in [false, true] {
            let shop = Shop::open();
            let book = Book::default();
            let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
            let given_up = Fact {
                payment: Some(reference("p")),
                ..said(outcome)
            };
            let given_up = event(Some(payment.id), given_up);
            shop.deliver(&given_up).await;
            if is_known {
                book.knows("p", given_up);
            }
            let listed = Fact {
                transaction: Some(reference("FP2")),
                order_id: OrderId::parse("o"),
                ..said(Outcome::Completed)
            };
            book.lists("o", vec![event(None, listed)]);
            shop.sweep(MINUTE, &book).await;
            assert_eq!(shop.status(payment.id).await, Status::Completed, "{outcome:?}");
        }
        for is_down in [false, true] {
            let shop = Shop::open();
            let book = Book::default();
            let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
            shop.deliver(&event(Some(payment.id), said(outcome))).await;
            book.fails(is_down.then_some(down));
            let matters = matters_of_forty_days(&shop, &book).await;
            let expected = is_down.then_some((8 * 24, Matter::PollError, Some(payment.id)));
            assert_eq!(matters, Vec::from_iter(expected), "{outcome:?}");
        }
    }
}

/// Eight days, one run a day after the first hours: in the end a person looks where nobody ever knew it.
#[tokio::test]
async fn what_the_provider_knows_nothing_of_is_left_to_a_person() {
    for (knows, matters) in [
        (None, &[Matter::PollError][..]),
        (Some("status"), &[]),
        // The list knows it, though the status call fails.
        (Some("list"), &[]),
    ] {
        let shop = Shop::open();
        let book = Book::default();
        let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
        let fact = Fact {
            payment: Some(reference("p")),
            order_id: OrderId::parse("o"),
            ..said(Outcome::Pending)
        };
        let told = event(Some(payment.id), fact);
        match knows {
            Some("status") => book.knows("p", told),
            Some(_) => book.lists("o", vec![told]),
            None => {}
        }
        if knows == Some("list") {
            book.fails_about_ids();
        }
        let left = matters_of_forty_days(&shop, &book).await;
        let left: Vec<Matter> = left.into_iter().map(|(_, matter, _)| matter).collect();
        assert_eq!(left, matters, "{knows:?}");
        assert_eq!(shop.status(payment.id).await, Status::Expired);
        assert!(shop.is_settled(payment.id).await);
    }
}
