//! Claims: completions that name only an order. Nothing completes by them before FinvyPay confirms the transaction.

use payment_functions::domain::idempotency::RequestNames;
use payment_functions::store::{CommitExtras, InsertResult};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
/// Longer than a reservation, and than the wait from one check of a claim to the next.
const NEXT_RUN: Duration = Duration::from_secs(5 * 60);

/// What FinvyPay says of a claim's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Paid, with our id.
    WithMetadata,
    /// Paid, with order and money only.
    WithoutMetadata,
    Unknown,
}

const ANSWERS: [Answer; 3] = [Answer::WithMetadata, Answer::WithoutMetadata, Answer::Unknown];

/// A claim on the payment of a scenario.
struct Claim<'a> {
    scenario: &'a Scenario<'a>,
    transaction: Reference,
    provider: FakeProvider,
}

impl<'a> Claim<'a> {
    fn new(scenario: &'a Scenario<'a>, answer: Answer) -> Self {
        let claim = Self {
            scenario,
            transaction: Reference::parse(&unique("FP")).unwrap(),
            provider: FakeProvider::default(),
        };
        let paid = |payment_id| Notification {
            payment_id,
            ..claim.webhook()
        };
        match answer {
            Answer::WithMetadata => claim.answers(paid(Some(scenario.payment))),
            Answer::WithoutMetadata => claim.answers(paid(None)),
            Answer::Unknown => {}
        }
        claim
    }

    fn answers(&self, report: Notification) {
        self.provider.set_status(self.transaction.as_str(), report);
    }

    /// FinvyPay's general webhook, received now.
    fn webhook(&self) -> Notification {
        Notification {
            payment_id: None,
            fact: Fact {
                transaction: Some(self.transaction.clone()),
                order_id: OrderId::parse(&self.scenario.order),
                received_at: clock::now(),
                ..self.scenario.fact(Outcome::Completed, None)
            },
        }
    }

    async fn deliver(&self) {
        self.scenario.delivered(&self.webhook()).await;
    }

    /// A run of the reconciler.
    async fn run(&self) {
        let sweep = Sweep::new(self.scenario.store, self.provider.clone(), clock::now());
        let report = sweep.check_singly(Instant::now() + RUN).await.unwrap();
        assert_eq!(report.failed, 0, "{report:?}");
    }

    /// A later run, alone.
    async fn run_later(&self) {
        alone(2 * NEXT_RUN, self.run()).await;
    }

    /// The claim is with the payment, once, and nothing is left of it.
    async fn assert_confirmed(&self, facts: usize) {
        let scenario = self.scenario;
        assert_eq!(self.captures(scenario.payment), 1, "never lost, never twice");
        let owner = scenario
            .store
            .owner(Provider::FinvyPay, &self.transaction)
            .await
            .unwrap();
        assert_eq!(owner, Some(scenario.payment));
        assert!(!scenario.is_unmatched(self.transaction.as_str()).await);
        let payment = scenario.store.payment(scenario.payment).await.unwrap().unwrap();
        assert_eq!(payment.status, Status::Completed, "{payment:?}");
        assert!(payment.attention.is_empty(), "{payment:?}");
        assert_eq!(scenario.table.facts(scenario.payment), facts);
    }

    /// The claim is kept, and has changed nothing.
    async fn assert_open(&self, payment: PaymentId) {
        let scenario = self.scenario;
        let stored = scenario.store.payment(payment).await.unwrap().unwrap();
        assert_eq!(stored.status, Status::Pending, "nobody has confirmed it");
        assert!(!stored.references.contains(&self.transaction), "{stored:?}");
        assert!(stored.attention.is_empty(), "{stored:?}");
        assert!(scenario.is_unmatched(self.transaction.as_str()).await, "never lost");
        assert_eq!(scenario.table.facts(payment), 0);
    }

    /// How often the transaction is in a payment's ledger as paid.
    fn captures(&self, payment: PaymentId) -> usize {
        let ledger = ledger(&self.scenario.table.memory, payment);
        let is_it = |fact: &&serde_json::Value| {
            fact["transaction"]["S"] == self.transaction.as_str() && fact["outcome"]["S"] == "completed"
        };
        ledger.iter().filter(is_it).count()
    }
}

/// Runs one flow alone, with its clock ahead.
async fn alone(ahead: Duration, flow: impl Future<Output = ()>) {
    let done = run_interleaved(vec![task_later(ahead, flow)], &mut Exhaustive::default(), 0).await;
    assert_eq!(done, Some(vec![true]));
}

impl Scenario<'_> {
    /// A payment that FinvyPay has accepted, made with a quote or without.
    async fn pending(&self, is_quoted: bool) {
        let intent = Payment {
            quote_kept_until: is_quoted.then(|| clock::now().plus(RUN)),
            ..self.intent()
        };
        let inserted = self
            .store
            .insert_payment(&intent, RequestNames::default(), clock::now());
        assert_eq!(inserted.await.unwrap(), InsertResult::Inserted);
        let session = CheckoutSession {
            reference: self.reference.clone(),
            redirect_url: None,
            expires_at: None,
        };
        let after = intent.accept(session, [], clock::now());
        self.store
            .commit(&intent, &after, &CommitExtras::default(), clock::now())
            .await
            .unwrap();
    }

    /// Another payment of the same order.
    fn another(&self) -> Self {
        Self {
            order: self.order.clone(),
            ..Scenario::new(self.table, self.provider)
        }
    }
}

/// The claim is stored, a reconciler looks, and the create call's response arrives. One of the three crashes.
#[tokio::test(flavor = "multi_thread")]
async fn claim_racing_the_create_call_and_a_reconciler_completes_only_what_is_confirmed() {
    for answer in ANSWERS {
        let name = format!("claim, create call and reconciler, {answer:?}");
        let orders = random_orders(&name, async |table, scheduler| {
            let (start, scenario) = (clock::now(), Scenario::new(table, Provider::FinvyPay));
            let claim = Claim::new(&scenario, answer);
            let tasks = vec![
                task(scenario.created()),
                task_later(SECOND, claim.deliver()),
                task_later(2 * SECOND, claim.run()),
            ];
            let done = run_interleaved(tasks, scheduler, 1).await?;
            scenario.recover(&[]).await;
            if !done[1] {
                // FinvyPay repeats what was not acknowledged.
                alone(LEASE_OVER, claim.deliver()).await;
            }
            claim.run_later().await;
            let payment = scenario.store.payment(scenario.payment).await.unwrap().unwrap();
            // The request crashed before it stored its intent, and was repeated after the event.
            let is_later = payment.created_at >= start.plus(LEASE_OVER);
            match answer {
                Answer::Unknown => claim.assert_open(scenario.payment).await,
                Answer::WithoutMetadata if is_later => claim.assert_open(scenario.payment).await,
                Answer::WithMetadata | Answer::WithoutMetadata => claim.assert_confirmed(1).await,
            }
            Some(())
        });
        orders.await;
    }
}

/// Two reconcilers at once: the second begins when the first one's reservation is over. One of them crashes.
#[tokio::test(flavor = "multi_thread")]
async fn two_reconcilers_confirm_a_claim_once() {
    for answer in ANSWERS {
        let name = format!("two reconcilers and a claim, {answer:?}");
        let orders = random_orders(&name, async |table, scheduler| {
            let scenario = Scenario::new(table, Provider::FinvyPay);
            scenario.pending(false).await;
            let claim = Claim::new(&scenario, answer);
            alone(SECOND, claim.deliver()).await;
            let check = |later| check_later(&scenario, later, &claim.provider);
            let tasks = vec![check(2 * SECOND).await, check(NEXT_RUN).await];
            run_interleaved(tasks, scheduler, 1).await?;
            claim.run_later().await;
            if answer == Answer::Unknown {
                claim.assert_open(scenario.payment).await;
            } else {
                claim.assert_confirmed(1).await;
            }
            Some(())
        });
        orders.await;
    }
}

/// A second payment of the order, made after the event. The claim is about the first, with a quote at once.
#[tokio::test(flavor = "multi_thread")]
async fn claim_never_completes_a_payment_made_after_it() {
    for (is_quoted, answer) in [
        (true, Answer::Unknown),
        (false, Answer::WithoutMetadata),
        (false, Answer::Unknown),
    ] {
        let name = format!("claim and a later payment, quoted {is_quoted}, {answer:?}");
        let orders = random_orders(&name, async |table, scheduler| {
            let scenario = Scenario::new(table, Provider::FinvyPay);
            scenario.pending(is_quoted).await;
            let (claim, second) = (Claim::new(&scenario, answer), scenario.another());
            let tasks = vec![
                task_later(SECOND, claim.deliver()),
                task_later(2 * SECOND, second.pending(true)),
                task_later(3 * SECOND, claim.run()),
            ];
            assert_eq!(run_interleaved(tasks, scheduler, 0).await?, [true; 3]);
            claim.run_later().await;
            assert_eq!(
                (second.status().await, claim.captures(second.payment)),
                (Status::Pending, 0)
            );
            if is_quoted || answer == Answer::WithoutMetadata {
                claim.assert_confirmed(1).await;
            } else {
                claim.assert_open(scenario.payment).await;
            }
            Some(())
        });
        orders.await;
    }
}

/// Two payments of the order, both made before the event. FinvyPay has to say which was paid.
#[tokio::test(flavor = "multi_thread")]
async fn claim_on_one_of_two_payments_waits_until_exactly_one_is_paid() {
    for is_paid in [true, false] {
        let name = format!("claim on one of two payments, paid {is_paid}");
        let orders = random_orders(&name, async |table, scheduler| {
            let scenario = Scenario::new(table, Provider::FinvyPay);
            let (claim, second) = (Claim::new(&scenario, Answer::WithoutMetadata), scenario.another());
            scenario.pending(false).await;
            if is_paid {
                let own = scenario.notification(Outcome::Completed, true);
                claim.provider.set_status(scenario.reference.as_str(), own);
            }
            let tasks = vec![task(second.pending(false)), task_later(SECOND, claim.deliver())];
            assert_eq!(run_interleaved(tasks, scheduler, 0).await?, [true; 2]);
            claim.run_later().await;
            if is_paid {
                claim.assert_confirmed(2).await;
            } else {
                claim.assert_open(scenario.payment).await;
            }
            assert_eq!(
                (second.status().await, claim.captures(second.payment)),
                (Status::Pending, 0)
            );
            Some(())
        });
        orders.await;
    }
}

/// An operator completes the payment, by the same transaction, by another one, or without any, while the reconciler
/// confirms the claim. Only another transaction is a second payment.
#[tokio::test(flavor = "multi_thread")]
async fn operator_and_reconciler_complete_a_claimed_payment_once() {
    for (answer, reference) in [
        (Answer::WithMetadata, "none"),
        (Answer::WithoutMetadata, "none"),
        (Answer::WithoutMetadata, "the same"),
        (Answer::WithoutMetadata, "another"),
        (Answer::Unknown, "none"),
        (Answer::Unknown, "the same"),
    ] {
        let name = format!("operator and claim, {reference} reference, {answer:?}");
        let orders = random_orders(&name, async |table, scheduler| {
            let scenario = Scenario::new(table, Provider::FinvyPay);
            scenario.pending(false).await;
            let claim = Claim::new(&scenario, answer);
            alone(SECOND, claim.deliver()).await;
            let command = Command {
                payment_id: scenario.payment,
                reference: match reference {
                    "the same" => Some(claim.transaction.clone()),
                    "another" => Reference::parse(&unique("FP")),
                    _ => None,
                },
                actor: "on call".to_owned(),
                reason: "seen as paid".to_owned(),
            };
            let operate = async || {
                let done = operator::complete(scenario.store, &command, clock::now())
                    .await
                    .unwrap();
                assert_eq!(done.status, Status::Completed);
            };
            let tasks = vec![
                task_later(2 * SECOND, operate()),
                check_later(&scenario, 2 * SECOND, &claim.provider).await,
            ];
            let done = run_interleaved(tasks, scheduler, 1).await?;
            if !done[0] {
                alone(3 * SECOND, operate()).await;
            }
            claim.run_later().await;
            let payment = scenario.store.payment(scenario.payment).await.unwrap().unwrap();
            assert_eq!(payment.status, Status::Completed);
            let is_second = payment.attention.get(AttentionReason::DuplicatePayment).is_some();
            assert_eq!(is_second, reference == "another", "{payment:?}");
            let is_kept = scenario.is_unmatched(claim.transaction.as_str()).await;
            assert_eq!(is_kept, answer == Answer::Unknown && reference == "none", "{answer:?}");
            let by_provider = ledger(&table.memory, scenario.payment)
                .iter()
                .filter(|fact| fact["operator"].is_null())
                .count();
            assert_eq!(by_provider, usize::from(!is_kept), "never lost, never twice");
            Some(())
        });
        orders.await;
    }
}
