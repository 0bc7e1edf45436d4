//! Reading the provider's list of transactions in bulk.

use payment_functions::store::ListState;

use super::*;

/// A list of paid transactions.
fn list(rows: impl IntoIterator<Item = (Timestamp, ListRow)>) -> FakeList {
    FakeList {
        rows: rows.into_iter().collect(),
        ..FakeList::default()
    }
}

fn row(payment_id: Option<PaymentId>, status: &str, fact: Fact) -> ListRow {
    ListRow {
        notification: notification(payment_id, fact),
        status: Some(status.to_owned()),
    }
}

/// The row of a paid transaction `FP-…`. The list does not name the payment's own id.
fn paid_row(payment: &Payment, transaction: &str) -> ListRow {
    let fact = Fact {
        transaction: Some(reference(transaction)),
        order_id: payment.order_id.clone(),
        ..reported(Outcome::Completed)
    };
    row(Some(payment.id), "SUCCESS", fact)
}

fn calls(provider: &FakeProvider) -> Vec<ListQuery> {
    let state = provider.state();
    std::mem::take(&mut *state.list.calls.lock().unwrap())
}

async fn state(shop: &Shop) -> ListState {
    shop.store.list_state(Provider::FinvyPay).await.unwrap()
}

#[tokio::test]
async fn lost_webhooks_are_replaced_by_reading_the_list() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let mut rows = Vec::new();
    let mut payments = Vec::new();
    for index in 0..250 {
        let payment = shop
            .pending(Provider::FinvyPay, &format!("o{index}"), &format!("p{index}"))
            .await;
        rows.push((shop.start, paid_row(&payment, &format!("FP{index}"))));
        payments.push(payment.id);
    }
    provider.set_list(list(rows));
    let report = shop.sweep(2 * MINUTE, &provider).await;
    assert_eq!((report.resolved, report.failed, report.unfinished), (250, 0, false));
    for id in &payments {
        assert_eq!(shop.status(*id).await, Status::Completed);
        assert!(shop.is_resolved(*id).await);
    }
    assert_eq!(provider.take_calls(), [""; 0], "no single calls");
    let pages: Vec<u64> = calls(&provider).iter().map(|call| call.page).collect();
    assert!(pages.contains(&3), "{pages:?}");

    // What was recorded is no news.
    let versions: Vec<u64> = join_versions(&shop, &payments).await;
    let report = shop.sweep(4 * MINUTE, &provider).await;
    assert_eq!(report.resolved, 0);
    assert_eq!(join_versions(&shop, &payments).await, versions);
}

async fn join_versions(shop: &Shop, payments: &[PaymentId]) -> Vec<u64> {
    let mut versions = Vec::new();
    for id in payments {
        versions.push(shop.payment(*id).await.version);
    }
    versions
}

/// The filter must show what the whole list shows.
#[tokio::test]
async fn list_is_filtered_once_the_filter_was_seen_to_work() {
    for ignores_status in [false, true] {
        let shop = Shop::open();
        let provider = FakeProvider::default();
        let payment = shop.pending(Provider::FinvyPay, "o1", "p1").await;
        let open = shop.pending(Provider::FinvyPay, "o2", "p2").await;
        let unpaid = Fact {
            transaction: Some(reference("FP2")),
            order_id: OrderId::parse("o2"),
            ..reported(Outcome::Pending)
        };
        provider.set_list(FakeList {
            ignores_status,
            ..list([
                (shop.start, paid_row(&payment, "FP1")),
                (shop.start, row(Some(open.id), "PENDING", unpaid)),
            ])
        });
        shop.sweep(2 * MINUTE, &provider).await;
        assert_eq!(shop.status(payment.id).await, Status::Completed);
        let filter = state(&shop).await.paid_filter.and_then(|filter| filter.status);
        assert_eq!(filter.as_deref(), (!ignores_status).then_some("SUCCESS"));
        calls(&provider);
        shop.sweep(4 * MINUTE, &provider).await;
        let filters: BTreeSet<Option<String>> = calls(&provider).into_iter().map(|call| call.status).collect();
        let expected = if ignores_status {
            None
        } else {
            Some("SUCCESS".to_owned())
        };
        assert_eq!(filters, BTreeSet::from([expected]), "ignored: {ignores_status}");
    }
}

/// The list names two statuses for what was paid. A filter by one of them would hide the others.
#[tokio::test]
async fn filter_that_hides_paid_transactions_is_not_used() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let one = shop.pending(Provider::FinvyPay, "o1", "p1").await;
    let other = shop.pending(Provider::FinvyPay, "o2", "p2").await;
    let mut approved = paid_row(&other, "FP2");
    approved.status = Some("APPROVED".to_owned());
    provider.set_list(list([(shop.start, paid_row(&one, "FP1")), (shop.start, approved)]));
    shop.sweep(2 * MINUTE, &provider).await;
    let filter = state(&shop).await.paid_filter.unwrap();
    assert_eq!(filter.status, None, "not tried again at once");
    assert_eq!(shop.status(other.id).await, Status::Completed);
}

#[tokio::test]
async fn list_without_a_count_is_read_to_its_end() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let mut rows = Vec::new();
    for index in 0..1100_u32 {
        let payment = Payment::new(
            PaymentId::random(),
            Provider::FinvyPay,
            Environment::Sandbox,
            Money::from_minor(2550, Currency::USD),
            shop.start,
        );
        shop.store
            .insert_payment(&payment, RequestNames::default(), shop.start)
            .await
            .unwrap();
        rows.push((
            shop.start.plus(index * Duration::from_millis(100)),
            paid_row(&payment, &format!("FP{index}")),
        ));
    }
    provider.set_list(FakeList {
        is_uncounted: true,
        ..list(rows)
    });
    // The window has more rows than are read at once, so it is cut.
    let report = shop.sweep(5 * MINUTE, &provider).await;
    assert_eq!((report.resolved, report.failed), (1100, 0));
}

#[tokio::test]
async fn window_with_too_many_rows_is_cut_and_read_in_parts() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let foreign = |index: u32| {
        let fact = Fact {
            transaction: Some(reference(&format!("FP{index}"))),
            order_id: OrderId::parse(&format!("another system's {index}")),
            ..reported(Outcome::Completed)
        };
        (
            shop.start.plus(index * Duration::from_millis(10)),
            row(None, "SUCCESS", fact),
        )
    };
    provider.set_list(list((0..1_500).map(foreign)));
    shop.intent(Provider::FinvyPay, "open").await;
    let report = shop.sweep(3 * MINUTE, &provider).await;
    let lengths = calls(&provider);
    assert!(!report.unfinished);
    assert!(lengths.iter().all(|call| call.page <= 10), "{lengths:?}");
    assert!(state(&shop).await.marks.unwrap().is_up_to_date(shop.after(3 * MINUTE)));
    // Nothing of another system's is stored.
    let kinds: BTreeSet<String> = shop
        .table
        .items()
        .unwrap()
        .iter()
        .map(|item| item["pk"]["S"].to_string())
        .collect();
    assert!(!kinds.iter().any(|pk| pk.contains("UNMATCHED#")), "{kinds:?}");
}

#[tokio::test]
async fn unusable_list_is_replaced_by_single_calls_newest_first() {
    let shop = Shop::open();
    let provider = FakeProvider::default().without_list();
    for (order, age) in [("old", 20), ("new", 5), ("middle", 10)] {
        let created_at = shop.after((30 - age) * MINUTE);
        let payment = Payment {
            order_id: OrderId::parse(order),
            ..Payment::new(
                PaymentId::random(),
                Provider::FinvyPay,
                Environment::Sandbox,
                Money::from_minor(2550, Currency::USD),
                created_at,
            )
        };
        shop.store
            .insert_payment(&payment, RequestNames::default(), created_at)
            .await
            .unwrap();
    }
    shop.sweep(30 * MINUTE, &provider).await;
    assert_eq!(provider.take_calls(), ["order new", "order middle", "order old"]);
    // The list is back.
    provider.set_list(list([]));
    shop.sweep(31 * MINUTE, &provider).await;
    assert_eq!(provider.take_calls(), [""; 0]);
}

#[tokio::test]
async fn late_payment_is_found_eight_days_after_its_creation() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    for minutes in 1..=50 {
        shop.sweep(minutes * MINUTE, &provider).await;
    }
    assert_eq!(shop.status(payment.id).await, Status::Expired);
    assert!(shop.is_resolved(payment.id).await, "nothing of our own clock is left");
    for hours in 1..=7 * 24 {
        shop.sweep(hours * HOUR, &provider).await;
    }
    provider.set_list(list([(shop.start, paid_row(&payment, "FP1"))]));
    let mut hours = 7 * 24;
    while shop.status(payment.id).await != Status::Completed {
        hours += 1;
        assert!(hours <= 8 * 24 + 7, "it is never read again");
        shop.sweep(hours * HOUR, &provider).await;
    }
    assert!(hours >= 8 * 24, "{hours}");
}

/// Its webhook came, but FinvyPay lists a second transaction of the payment.
#[tokio::test]
async fn listed_second_capture_is_flagged() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let payment = shop.pending(Provider::FinvyPay, "o", "p1").await;
    let paid = paid_row(&payment, "FP1");
    shop.deliver(&paid.notification).await;
    shop.intent(Provider::FinvyPay, "open").await;
    provider.set_list(list([(shop.start, paid), (shop.start, paid_row(&payment, "FP2"))]));
    shop.sweep(2 * MINUTE, &provider).await;
    assert_eq!(shop.reasons(payment.id).await, [AttentionReason::DuplicatePayment]);
}

/// The dates of refunds stand in the list beside an unchanged status.
#[tokio::test]
async fn listed_refund_of_a_completed_payment_is_recorded() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let payment = shop.pending(Provider::FinvyPay, "o", "p1").await;
    let mut paid = paid_row(&payment, "FP1");
    shop.deliver(&paid.notification).await;
    paid.notification.fact.outcome = Outcome::Reversed;
    paid.notification.fact.reversals = vec![Reversal {
        kind: ReversalKind::Refund,
        undone: false,
        id: None,
        amount: None,
        currency: None,
        at: Some(shop.start),
        reported_at: None,
    }];
    shop.intent(Provider::FinvyPay, "open").await;
    provider.set_list(list([(shop.start, paid)]));
    shop.sweep(2 * MINUTE, &provider).await;
    assert_eq!(shop.reasons(payment.id).await, [AttentionReason::Refunded]);
    assert_eq!(shop.status(payment.id).await, Status::Completed);
}

/// A row with our payment's id confirms a claim. One that names only the order is a claim itself.
#[tokio::test]
async fn row_confirms_a_claim_only_by_our_payment_id() {
    for names_payment in [true, false] {
        let shop = Shop::open();
        let provider = FakeProvider::default();
        let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
        let mut paid = paid_row(&payment, "FP1");
        shop.deliver(&notification(None, paid.fact().clone())).await;
        assert_eq!(shop.status(payment.id).await, Status::Pending);
        if !names_payment {
            paid.notification.payment_id = None;
        }
        provider.limit_slots(0);
        provider.set_list(list([(shop.start, paid)]));
        shop.sweep(2 * MINUTE, &provider).await;
        let expected = if names_payment {
            Status::Completed
        } else {
            Status::Pending
        };
        assert_eq!(shop.status(payment.id).await, expected, "names it: {names_payment}");
        let is_unmatched = shop
            .store
            .unmatched(Provider::FinvyPay, "FP1", 10)
            .await
            .unwrap()
            .is_some();
        assert_eq!(is_unmatched, !names_payment);
    }
}

/// Without an owner a row is kept if it names one of our orders, or a payment of ours that is not there.
#[tokio::test]
async fn row_without_an_owner_is_kept_only_if_it_names_something_of_ours() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    shop.pending(Provider::FinvyPay, "ours", "p").await;
    let of = |order: &str, transaction: &str, payment_id, outcome| {
        let fact = Fact {
            transaction: Some(reference(transaction)),
            order_id: OrderId::parse(order),
            ..reported(outcome)
        };
        (shop.start.plus(MINUTE), row(payment_id, "X", fact))
    };
    let unknown = Some(PaymentId::random());
    provider.set_list(list([
        of("ours", "FP1", None, Outcome::Completed),
        of("theirs", "FP2", None, Outcome::Completed),
        of("theirs", "FP3", unknown, Outcome::Completed),
        of("ours", "FP4", None, Outcome::Pending),
        of("theirs", "FP5", unknown, Outcome::Pending),
    ]));
    shop.sweep(3 * MINUTE, &provider).await;
    for (transaction, is_kept) in [
        ("FP1", true),
        ("FP2", false),
        ("FP3", true),
        ("FP4", false),
        ("FP5", false),
    ] {
        let group = shop.store.unmatched(Provider::FinvyPay, transaction, 10).await.unwrap();
        assert_eq!(group.is_some(), is_kept, "{transaction}");
    }
}

/// Two runs at once, and one that dies before it can store how far it came.
#[tokio::test]
async fn concurrent_or_dead_run_only_repeats_reads() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    provider.set_list(list([(shop.start, paid_row(&payment, "FP1"))]));
    let (one, other) = tokio::join!(shop.sweep(2 * MINUTE, &provider), shop.sweep(2 * MINUTE, &provider));
    assert_eq!((one.resolved + other.resolved, one.failed + other.failed), (1, 0));
    let marks = state(&shop).await.marks.unwrap();
    assert!(marks.is_up_to_date(shop.after(2 * MINUTE)));
    assert_eq!(marks.next_window(shop.after(2 * MINUTE)), None);
    assert!(shop.reasons(payment.id).await.is_empty());
}

/// A shop that does not use the provider has no key for it.
#[tokio::test]
async fn reading_begins_with_the_first_payment() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    shop.intent(Provider::ApoloPay, "crypto").await;
    shop.sweep(MINUTE, &provider).await;
    assert_eq!((calls(&provider).len(), state(&shop).await.marks), (0, None));
    shop.intent(Provider::FinvyPay, "card").await;
    shop.sweep(2 * MINUTE, &provider).await;
    assert!(!calls(&provider).is_empty());
    // And goes on when none is open.
    shop.sweep(10 * DAY, &provider).await;
    shop.sweep(10 * DAY + MINUTE, &provider).await;
    calls(&provider);
    shop.sweep(10 * DAY + 2 * MINUTE, &provider).await;
    assert!(!calls(&provider).is_empty());
}

/// The first run expires the only payment, and dies while it reads the list.
#[tokio::test]
async fn reading_begins_although_the_first_run_dies() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let payment = shop.intent(Provider::FinvyPay, "o").await;
    provider.set_list(list([(shop.start, paid_row(&payment, "FP1"))]));
    provider.delay_by(DAY);
    let expired = async {
        while shop.status(payment.id).await != Status::Expired {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        report = shop.sweep(2 * DAY, &provider) => panic!("it ended: {report:?}"),
        () = expired => {}
    }
    provider.delay_by(Duration::ZERO);
    shop.sweep(2 * DAY + MINUTE, &provider).await;
    assert_eq!(shop.status(payment.id).await, Status::Completed);
}

/// Rows for which a run has no time left stay unread for the next one.
#[tokio::test]
async fn run_without_time_leaves_the_rows_to_the_next_one() {
    let shop = Shop::open();
    let provider = FakeProvider::default();
    let payment = shop.pending(Provider::FinvyPay, "o", "p").await;
    provider.set_list(list([(shop.start, paid_row(&payment, "FP1"))]));
    let report = shop.sweep_for(2 * MINUTE, &provider, Duration::ZERO).await;
    assert!(report.unfinished);
    assert_eq!(shop.status(payment.id).await, Status::Pending);
    shop.sweep(2 * MINUTE, &provider).await;
    assert_eq!(shop.status(payment.id).await, Status::Completed);
}
