//! Any history of deliveries, in any order, repeated and concurrent, ends as the pure core predicts, with the highest
//! reported rank as its status.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use payment_functions::domain::attention::AttentionReason;
use payment_functions::domain::decimal::Decimal;
use payment_functions::domain::fact::{Fact, Outcome};
use payment_functions::domain::id::Reference;
use payment_functions::domain::order_matching::OrderMatching;
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::Provider;
use payment_functions::domain::status::Status;
use payment_functions::flows::record_notification::{RecordResult, record_notification};
use payment_functions::platform::clock;
use payment_functions::providers::Notification;
use payment_functions::store::Store;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{completion, created, notification, reference, store};
use crate::aws;
use crate::facts;

/// The provider's id of a fact.
#[derive(Clone, Copy, Debug)]
enum Under {
    /// The id from the create response.
    Known,
    /// One of two unknown ids.
    New(usize),
    /// None, only the payment's own id or its order.
    Nothing,
}

#[derive(Clone, Debug)]
struct Report {
    outcome: Outcome,
    under: Under,
    as_transaction: bool,
    amount: Option<&'static str>,
    currency: Option<&'static str>,
    names_ours: bool,
}

#[derive(Clone, Debug)]
struct History {
    provider: Provider,
    reports: Vec<Report>,
    /// The deliveries, as indices of `reports`; each occurs at least once.
    deliveries: Vec<usize>,
    at_once: bool,
}

fn report() -> impl Strategy<Value = Report> {
    let outcome = facts::outcomes();
    let under = prop_oneof![
        Just(Under::Known),
        (0..2_usize).prop_map(Under::New),
        Just(Under::Nothing)
    ];
    let amount = prop::sample::select(vec![Some("25.50"), Some("25.5"), Some("25.50"), Some("1"), None]);
    let currency = prop::sample::select(vec![Some("USD"), Some("USD"), Some("usd"), Some("EUR"), None]);
    (outcome, under, any::<bool>(), amount, currency, any::<bool>()).prop_map(
        |(outcome, under, as_transaction, amount, currency, names_ours)| Report {
            outcome,
            under,
            as_transaction,
            amount,
            currency,
            names_ours,
        },
    )
}

fn history() -> impl Strategy<Value = History> {
    let provider = prop::sample::select(Provider::ALL.to_vec());
    (provider, prop::collection::vec(report(), 1..6), any::<bool>()).prop_flat_map(|(provider, reports, at_once)| {
        let count = reports.len();
        let all: Vec<usize> = (0..count).collect();
        prop::collection::vec(0..count, 0..4)
            .prop_flat_map(move |repeated| Just([all.clone(), repeated].concat()).prop_shuffle())
            .prop_map(move |deliveries| History {
                provider,
                reports: reports.clone(),
                deliveries,
                at_once,
            })
    })
}

/// The notification, with our payment id if nothing else identifies the payment.
fn notification_of(report: &Report, payment: &Payment, known: &Reference, new: &[Reference]) -> Notification {
    let id = match report.under {
        Under::Known => Some(known),
        Under::New(nth) => Some(&new[nth]),
        Under::Nothing => None,
    };
    // The known id is a payment's; as a transaction's it would be another fact, but the same id.
    let as_transaction = report.as_transaction && !matches!(report.under, Under::Known);
    let words = if report.outcome == Outcome::Unrecognised {
        "settled"
    } else {
        "word"
    };
    let fact = Fact {
        payment: id.filter(|_| !as_transaction).cloned(),
        transaction: id.filter(|_| as_transaction).cloned(),
        order_id: payment.order_id.clone(),
        outcome: report.outcome,
        raw_status: words.to_owned(),
        amount: report.amount.and_then(Decimal::parse),
        currency: report.currency.map(str::to_owned),
        ..completion(payment.provider, None)
    };
    // An order alone makes a completion a claim, and attaches no ids.
    let leads_there = matches!(report.under, Under::Known);
    notification((report.names_ours || !leads_there).then_some(payment.id), fact)
}

/// The comparable result: a wrong amount is flagged only if it came after the completion.
type Outcomes = (Status, BTreeSet<Reference>, Vec<String>, bool);

fn outcomes(payment: &Payment) -> Outcomes {
    (
        payment.status,
        payment.references.clone(),
        payment.capture_references.iter().map(ToString::to_string).collect(),
        payment.attention.get(AttentionReason::DuplicatePayment).is_some(),
    )
}

/// Runs a history; returns the final payment.
async fn play(store: &Store, history: &History) -> Result<Payment, TestCaseError> {
    let (known, new) = (reference("known"), [reference("new"), reference("new")]);
    let payment = created(store, history.provider, &known).await;
    let notifications: Vec<Notification> = history
        .reports
        .iter()
        .map(|report| notification_of(report, &payment, &known, &new))
        .collect();
    let now = clock::now();

    let expected = notifications.iter().fold(payment.clone(), |payment, notification| {
        payment.apply(&notification.fact, false, now)
    });
    let digests: BTreeSet<String> = notifications
        .iter()
        .map(|notification| notification.fact.digest())
        .collect();

    let one = |nth: &usize| {
        let (store, notification) = (store.clone(), notifications[*nth].clone());
        async move { record_notification(&store, &notification, OrderMatching::default(), now).await }
    };
    let results = if history.at_once {
        let tasks = history.deliveries.iter().map(|nth| tokio::spawn(one(nth)));
        join_all(tasks).await.into_iter().map(Result::unwrap).collect()
    } else {
        let mut results = Vec::new();
        for nth in &history.deliveries {
            results.push(one(nth).await);
        }
        results
    };
    let results: Vec<RecordResult> = results.into_iter().collect::<Result<_, _>>().unwrap();

    let after = store.payment(payment.id).await.unwrap().unwrap();
    prop_assert_eq!(outcomes(&after), outcomes(&expected));
    let ranks = notifications
        .iter()
        .filter_map(|notification| facts::implied_status(&notification.fact));
    prop_assert_eq!(
        after.status,
        ranks
            .max()
            .map_or(Status::Pending, |highest| highest.max(Status::Pending))
    );
    let recorded: Vec<&RecordResult> = results
        .iter()
        .filter(|delivery| matches!(delivery, RecordResult::Recorded { .. }))
        .collect();
    prop_assert_eq!(
        recorded.len(),
        digests.len(),
        "each fact is recorded once: {:?}",
        results
    );
    prop_assert!(
        results.iter().all(|delivery| *delivery != RecordResult::Unmatched),
        "{:?}",
        results
    );
    let facts = aws::facts(&payment.id.to_string()).await;
    let ledger = facts
        .iter()
        .map(|fact| fact["sk"].as_str().unwrap().replace("FACT#", ""))
        .collect();
    prop_assert_eq!(digests, ledger);
    for reference in &after.references {
        prop_assert_eq!(
            store.owner(payment.provider, reference).await.unwrap(),
            Some(payment.id)
        );
    }
    Ok(after)
}

#[test]
fn any_history_ends_as_the_model_predicts() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = runtime.block_on(store());
    let config = Config {
        cases: 64,
        max_shrink_iters: 60,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&history(), |history| runtime.block_on(play(&store, &history)).map(drop))
        .unwrap_or_else(|failure| panic!("{failure}"));
}

/// The four most important notifications, in all 24 orders and concurrently.
#[tokio::test(flavor = "multi_thread")]
async fn every_order_of_four_notifications_ends_in_completed() {
    let store = store().await;
    let tell = |outcome, amount| Report {
        outcome,
        under: Under::Known,
        as_transaction: false,
        amount: Some(amount),
        currency: Some("USD"),
        names_ours: true,
    };
    let reports = vec![
        tell(Outcome::Authorized, "25.50"),
        tell(Outcome::Failed, "25.50"),
        tell(Outcome::Completed, "1"),
        tell(Outcome::Completed, "25.50"),
    ];
    let orders: Vec<Vec<usize>> = (0..256_usize)
        .map(|code| [code % 4, code / 4 % 4, code / 16 % 4, code / 64].to_vec())
        .filter(|order| order.iter().collect::<BTreeSet<_>>().len() == 4)
        .collect();
    assert_eq!(orders.len(), 24);
    let plays = orders
        .into_iter()
        .flat_map(|deliveries| [(deliveries.clone(), false), (deliveries, true)]);
    join_all(plays.map(async |(deliveries, at_once)| {
        let history = History {
            provider: Provider::FinvyPay,
            reports: reports.clone(),
            deliveries,
            at_once,
        };
        let after = play(&store, &history).await;
        let after = after.unwrap_or_else(|failure| panic!("{failure} {history:?}"));
        assert_eq!(after.status, Status::Completed, "{history:?}");
    }))
    .await;
}
