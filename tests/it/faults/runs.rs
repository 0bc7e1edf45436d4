//! Reconciler runs with a fault at every step, each on its own table because a run processes everything due.
//!
//! The table is a day old and contains: two FinvyPay payments of one order, of which one was paid and has a webhook
//! with only the order id; a FinvyPay payment that was paid although its create call was cut off; a paid one with more
//! unmatched webhooks than the commit that attached its id could move; and an ApoloPay payment without a webhook.

use std::sync::Arc;

use payment_functions::domain::order_matching::OrderMatching;
use payment_functions::domain::provider::Provider as PaymentProvider;
use payment_functions::flows::record_notification::record_notification;
use payment_functions::platform::clock;
use payment_functions::providers::webhooks;
use payment_functions::store::Store;
use payment_functions_local::sandbox::Kind;

use super::audit::{Table, stored_attention};
use super::fault::Fault;
use super::flows::{MANY, numbered_webhook};
use super::points::{Step, Wire};
use super::stack::{Harness, StandIns};
use super::*;

pub const NAME: &str = "reconciler run";

/// The contents of a table.
pub struct Fixture {
    /// Its own, so that their list names no payments of other tables.
    stand_ins: StandIns,
    items: Vec<Value>,
    /// The order of two payments.
    several: String,
    lost: String,
    /// The order of the payment with many unmatched webhooks.
    many: String,
    crypto: String,
    /// Our id of the paid one of the two.
    paid: String,
}

impl Fixture {
    /// Creates the contents in a table with the real functions.
    pub async fn fill(harness: &Harness, table: &str) -> Self {
        aws::create_memory_table(table).await;
        let stand_ins = StandIns::start().await;
        let control = &stand_ins.control;
        let [several, lost, many, crypto] = ["several", "lost", "many", "crypto"].map(unique);
        let start = |function| harness.lambda_beside(&stand_ins, function, table, 0, &[]);
        let [preorders, apms, webhooks] = join_all(["create-preorder", "create-apm", "webhook-handler"].map(start))
            .await
            .try_into()
            .expect("three");
        let webhooks = Arc::new(webhooks);
        harness.function_urls.put(table, &webhooks);
        let create = async |provider, order: &str| {
            let lambda = match provider {
                Provider::Apolopay => &preorders,
                Provider::Finvypay => &apms,
            };
            let key = unique("key");
            let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
            let body = body(provider, order).to_string();
            let response = lambda.http("POST", route(provider), &headers, body.as_bytes()).await;
            Response::from(response.expect("a response"))
        };
        let paid = create(Provider::Finvypay, &several).await;
        assert_eq!(create(Provider::Finvypay, &several).await.status, 201);
        for order in [&lost, &many] {
            let cut_off = json!([{ "drop": "beforeReply" }]);
            let scripted = control.replies(Provider::Finvypay, order, cut_off);
            scripted.await.unwrap();
            assert_eq!(create(Provider::Finvypay, order).await.status, 502);
        }
        let there = control.payments(Provider::Finvypay, &lost).await.unwrap();
        control
            .set_status(Provider::Finvypay, &there[0].id, "COMPLETED")
            .await
            .unwrap();
        assert_eq!(create(Provider::Apolopay, &crypto).await.status, 201);
        let webhook = json!({
            "provider": "finvypay", "payment": paid.str("paymentId"), "shape": "W1", "omit": ["txn_id"],
        });
        let there = control.payments(Provider::Finvypay, &many).await.unwrap();
        let of_many = |spec: Value| with(spec, json!({ "provider": "finvypay", "payment": there[0].id }));
        let numbered = (0..MANY).map(|number| of_many(numbered_webhook(Provider::Finvypay, number, false)));
        let webhooks = [webhook].into_iter().chain(numbered).chain([of_many(json!({}))]);
        let delivered = control.webhooks(webhooks.collect::<Vec<_>>()).await.unwrap();
        assert!(
            delivered.iter().all(|delivery| delivery.status == Some(200)),
            "{delivered:?}"
        );
        harness.function_urls.remove(table);
        Self {
            stand_ins,
            items: aws::all_items(table).await,
            several,
            lost,
            many,
            crypto,
            paid: paid.str("id"),
        }
    }

    /// Copies the contents to a new table.
    pub async fn copy(&self) -> String {
        let table = unique("run");
        aws::create_memory_table(&table).await;
        aws::put_items(&table, &self.items).await;
        table
    }
}

/// Runs the reconciler without a fault; returns its steps.
pub async fn record_steps(harness: &Harness, fixture: &Fixture) -> (Vec<Step>, RunResult) {
    let proxy = aws::proxy().await;
    let changes = [("AWS_ENDPOINT_URL", Some(proxy.url())), ("FAILPOINTS", Some("log"))];
    let table = fixture.copy().await;
    let lambda = harness
        .lambda_beside(&fixture.stand_ins, "reconcile-payments", &table, SWEEPS[2], &changes)
        .await;
    let report = run(&lambda).await.expect("a report");
    lambda.kill().await;
    assert_eq!(
        (&report["failed"], &report["unfinished"]),
        (&json!(0), &json!(false)),
        "{report}"
    );
    let steps = points::steps(&lambda.log());
    points::assert_all_logged(NAME, &steps, &proxy);
    let mut result = RunResult::new(Cell::without_fault(Recovery::Reconciler));
    result.recover(harness, fixture, &table).await;
    (steps, result)
}

/// The result of a run with a fault.
pub struct RunResult {
    pub cell: Cell,
    pub violations: Vec<String>,
}

/// Runs a cell. The function has long AWS timeouts so that it reaches the step on a busy machine.
pub async fn inject(harness: &Harness, shared: &Fixture, cell: &Cell) -> RunResult {
    let permit = harness.permit().await;
    let mut result = RunResult::new(cell.clone());
    let (step, fault) = cell.fault.clone().expect("a fault");
    // Replies are scripted by order, so such a cell needs its own orders.
    let own;
    let mut scripted = None;
    let (fixture, table) = match &fault {
        Fault::Provider(_, reply) => {
            let table = unique("run");
            own = Fixture::fill(harness, &table).await;
            let (call, order) = if step.call == ExternalCall::ReadListPage {
                ("list", "")
            } else if step.wire() == Wire::Provider(Kind::List) {
                ("list", own.several.as_str())
            } else {
                ("status", own.several.as_str())
            };
            let script =
                |replies: Value| json!({ "provider": "finvypay", "orderId": order, "call": call, "replies": replies });
            own.stand_ins
                .control
                .script(&script(json!([reply])))
                .await
                .expect("a script");
            scripted = Some(script(json!([])));
            (&own, table)
        }
        Fault::Crash(_) | Fault::Aws(..) => (shared, shared.copy().await),
    };
    // Its own: calls of another run that arrive late are not counted.
    let proxy = aws::proxy().await;
    let mut changes = vec![("AWS_ENDPOINT_URL", Some(proxy.url()))];
    let crash;
    if let Fault::Crash(side) = &fault {
        crash = format!("{}=die", step.point(*side));
        changes.push(("FAILPOINTS", Some(crash.as_str())));
    }
    fault.set_up(&proxy, &step);
    let lambda = harness
        .lambda_beside(&fixture.stand_ins, "reconcile-payments", &table, SWEEPS[2], &changes)
        .await;
    drop(permit);
    let report = run(&lambda).await;
    let _permit = harness.permit().await;
    let waiting = match &scripted {
        Some(script) => fixture.stand_ins.control.script(script).await.expect("a script"),
        None => 0,
    };
    let is_injected = match (&fault, &report) {
        (Fault::Crash(_), Err(InvokeError::Died { status, .. })) => status.code() == Some(134),
        (Fault::Aws(..), Ok(_)) => !proxy.injected().is_empty(),
        (Fault::Aws(..), Err(InvokeError::Failed(words))) => words["errorType"] == "UNAVAILABLE",
        (Fault::Provider(..), Ok(report)) => report["failed"] == 0 && waiting == 0,
        _ => false,
    };
    if !is_injected {
        result.violations.push(format!(
            "the fault was not injected as planned: {report:?}\n{}",
            lambda.log()
        ));
    }
    drop(lambda);
    result.recover(harness, fixture, &table).await;
    aws::delete_memory_table(&table).await;
    result
}

async fn run(lambda: &payment_functions_tests::world::Lambda) -> Result<Value, InvokeError> {
    let report = lambda.invoke(r#"{"action":"sweep"}"#).await?;
    Ok(serde_json::from_slice(&report).expect("JSON"))
}

impl RunResult {
    fn new(cell: Cell) -> Self {
        Self {
            cell,
            violations: Vec::new(),
        }
    }

    pub fn name(&self) -> String {
        let recovery = self.cell.recovery.name();
        match &self.cell.fault {
            None => format!("{NAME}: no fault, then {recovery}"),
            Some((step, fault)) => format!(
                "{NAME}: {}#{}: {}, then {recovery}",
                step.call.name(),
                step.nth,
                fault.name()
            ),
        }
    }

    /// The next run, with the late webhooks before or after it, then a run a day later.
    async fn recover(&mut self, harness: &Harness, fixture: &Fixture, table: &str) {
        let webhooks = self.cell.recovery == Recovery::Webhook;
        if webhooks {
            self.late_webhooks(harness, fixture, table).await;
        }
        harness.sweep(&fixture.stand_ins, table, SWEEPS[2] + 3 * MINUTE).await;
        self.audit(fixture, table, "the next run", webhooks).await;
        if !webhooks {
            self.late_webhooks(harness, fixture, table).await;
        }
        harness.sweep(&fixture.stand_ins, table, SWEEPS[2] + DAY).await;
        self.audit(fixture, table, "everything", true).await;
    }

    /// Sends webhooks for everything that was paid, and for ApoloPay's payment.
    async fn late_webhooks(&mut self, harness: &Harness, fixture: &Fixture, table: &str) {
        let store = Store::open(&aws::clients(harness.aws.url()), table.to_owned());
        for (provider, order) in [
            (Provider::Finvypay, &fixture.lost),
            (Provider::Apolopay, &fixture.crypto),
        ] {
            for there in fixture
                .stand_ins
                .control
                .payments(provider, order)
                .await
                .expect("the payments")
            {
                let (reader, body) = match provider {
                    Provider::Apolopay => (
                        PaymentProvider::ApoloPay,
                        json!({ "id": there.id, "status": "completed", "amount": 25.5 }),
                    ),
                    Provider::Finvypay => (
                        PaymentProvider::FinvyPay,
                        json!({
                            "status": "SUCCESS",
                            "data": { "order_id": order, "txn_id": there.transaction_id, "amount": 99.99, "currency": "USD" },
                        }),
                    ),
                };
                let event = webhooks(reader)
                    .read(body.to_string().as_bytes(), clock::now())
                    .expect("a notification");
                if let Err(error) = record_notification(&store, &event, OrderMatching::default(), clock::now()).await {
                    self.violations.push(format!("late webhook: {error}"));
                }
            }
        }
    }

    async fn audit(&mut self, fixture: &Fixture, table: &str, when: &str, is_crypto_paid: bool) {
        let table = Table::read(table).await;
        // A claim of yesterday is checked again a day after a call that failed or brought another amount, and meanwhile a
        // person is told.
        let is_polled_later = when == "the next run" && matches!(self.cell.fault, Some((_, Fault::Provider(..))));
        let violations = &mut self.violations;
        let mut violation = |what: String| violations.push(format!("{when}: {what}"));
        let expected = |order: &String, payment: &Value| {
            if *order == fixture.crypto {
                if is_crypto_paid { "completed" } else { "expired" }
            } else if *order == fixture.lost || *order == fixture.many {
                "completed"
            } else if payment["id"] != fixture.paid.as_str() {
                "expired"
            } else {
                // The reconciler polls again after a response with another amount.
                "completed"
            }
        };
        for (order, count) in [
            (&fixture.several, 2),
            (&fixture.lost, 1),
            (&fixture.many, 1),
            (&fixture.crypto, 1),
        ] {
            let payments = table.of_order(order);
            if payments.len() != count {
                violation(format!("{} payments of {order}", payments.len()));
            }
            for payment in payments {
                let status = expected(order, payment);
                if payment["status"] != status {
                    violation(format!("not {status}: {payment}"));
                }
                let completions = table.completions(payment);
                if (status == "completed") == (completions == 0) {
                    violation(format!("{completions} completions: {payment}"));
                }
                let unrecognised = table.unrecognised(payment);
                if *order == fixture.many && unrecognised != MANY {
                    violation(format!("{unrecognised} of {MANY} webhooks moved: {payment}"));
                }
                let mut stored = stored_attention(payment);
                if is_polled_later {
                    stored.retain(|reason| *reason != "unconfirmed_match");
                }
                let mut attention = table.money_attention(payment);
                attention.extend((unrecognised > 0).then_some("unrecognised_status"));
                if stored != Vec::from_iter(attention) {
                    violation(format!("attention does not match the facts: {payment}"));
                }
                if let Some(difference) = table.stray_references(payment) {
                    violation(difference);
                }
            }
        }
        if !table.all_unmatched().is_empty() && !is_polled_later {
            violation(format!("unmatched notifications are left: {:?}", table.all_unmatched()));
        }
    }
}
