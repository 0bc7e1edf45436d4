//! The reconciler's run, struck at every step: over a table of its own each time, since a run looks at all that is due.
//!
//! In the table are, a day after they were created: two payments of one order at FinvyPay, of which one was paid and a
//! webhook came that names nothing but the order; one that was paid although the call that created it was cut off; and
//! one at ApoloPay that nobody has heard of.

use std::collections::BTreeSet;
use std::sync::Arc;

use payment_functions::domain::provider::Provider as PaymentProvider;
use payment_functions::flows::record_notification::record_notification;
use payment_functions::platform::clock;
use payment_functions::providers::webhooks;
use payment_functions::store::Store;
use payment_functions_local::sandbox::Kind;
use payment_functions_tests::world::AwsProxy;

use super::blows::Blow;
use super::points::{Step, Wire};
use super::shop::Town;
use super::verdict::Table;
use super::*;

pub const NAME: &str = "a run of the reconciler";

/// A table, and what is in it.
#[derive(Clone, Debug)]
pub struct Stock {
    items: Vec<Value>,
    /// The order of two payments.
    several: String,
    lost: String,
    crypto: String,
    /// Our id of the one of the two that was paid.
    paid: String,
}

impl Stock {
    /// Puts everything into a table, through the functions.
    pub async fn fill(town: &Town, table: &str) -> Self {
        aws::create_memory_table(table).await;
        let [several, lost, crypto] = ["several", "lost", "crypto"].map(unique);
        let preorders = town.lambda("create-preorder", table, 0, &[]).await;
        let apms = town.lambda("create-apm", table, 0, &[]).await;
        let webhooks = Arc::new(town.lambda("webhook-handler", table, 0, &[]).await);
        town.gate.put(table, &webhooks);
        let create = async |provider, order: &str| {
            let lambda = match provider {
                Provider::Apolopay => &preorders,
                Provider::Finvypay => &apms,
            };
            let key = unique("key");
            let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
            let body = body(provider, order).to_string();
            let answer = lambda.http("POST", route(provider), &headers, body.as_bytes()).await;
            Answer::from(answer.expect("an answer"))
        };
        let paid = create(Provider::Finvypay, &several).await;
        assert_eq!(create(Provider::Finvypay, &several).await.status, 201);
        let cut_off = json!([{ "drop": "beforeReply" }]);
        town.control.replies(Provider::Finvypay, &lost, cut_off).await.unwrap();
        assert_eq!(create(Provider::Finvypay, &lost).await.status, 502);
        let there = town.control.payments(Provider::Finvypay, &lost).await.unwrap();
        town.control
            .set_status(Provider::Finvypay, &there[0].id, "COMPLETED")
            .await
            .unwrap();
        assert_eq!(create(Provider::Apolopay, &crypto).await.status, 201);
        let webhook = json!({
            "provider": "finvypay", "payment": paid.str("paymentId"), "shape": "W1", "omit": ["txn_id"],
        });
        let told = town.control.webhooks(&webhook).await.unwrap();
        assert_eq!(told[0].status, Some(200), "{told:?}");
        town.gate.remove(table);
        Self {
            items: aws::all_items(table).await,
            several,
            lost,
            crypto,
            paid: paid.str("id"),
        }
    }

    /// Another table with the same in it.
    pub async fn copy(&self) -> String {
        let table = unique("run");
        aws::create_memory_table(&table).await;
        aws::put_items(&table, &self.items).await;
        table
    }
}

/// Runs it undisturbed, and gives its steps.
pub async fn learn(town: &Town, stock: &Stock) -> (Vec<Step>, Outcome) {
    let proxy = aws::proxy().await;
    let changes = [("AWS_ENDPOINT_URL", Some(proxy.url())), ("FAILPOINTS", Some("log"))];
    let table = stock.copy().await;
    let lambda = town.lambda("reconcile-payments", &table, SWEEPS[2], &changes).await;
    let report = run(&lambda).await.expect("a report");
    lambda.kill().await;
    assert_eq!(
        (&report["failed"], &report["unfinished"]),
        (&json!(0), &json!(false)),
        "{report}"
    );
    let steps = points::steps(&lambda.log());
    points::assert_all_logged(NAME, &steps, &proxy);
    let mut outcome = Outcome::new(Cell::undisturbed(Life::Reconciler));
    outcome.reported = left_to_a_person(&lambda.log());
    outcome.carry_on(town, stock, &table).await;
    (steps, outcome)
}

/// A struck run, and what was wrong after it.
pub struct Outcome {
    pub cell: Cell,
    pub wrongs: Vec<String>,
    /// The payments that were left to a person.
    reported: BTreeSet<String>,
}

/// Goes through a cell. What is struck waits as long for AWS as a busy machine needs, so that it comes to its step.
pub async fn strike(town: &Town, shared: &Stock, proxy: &AwsProxy, cell: &Cell) -> Outcome {
    let turn = town.turn().await;
    let mut outcome = Outcome::new(cell.clone());
    let (step, blow) = cell.blow.clone().expect("a blow");
    // Replies are scripted by order, so such a cell has orders of its own.
    let own;
    let mut scripted = None;
    let (stock, table) = match &blow {
        Blow::Provider(_, reply) => {
            let table = unique("run");
            own = Stock::fill(town, &table).await;
            let call = if step.wire() == Wire::Provider(Kind::List) {
                "list"
            } else {
                "status"
            };
            let script = |replies: Value| json!({ "provider": "finvypay", "orderId": own.several, "call": call, "replies": replies });
            town.control.script(&script(json!([reply]))).await.expect("a script");
            scripted = Some(script(json!([])));
            (&own, table)
        }
        Blow::Die(_) | Blow::Aws(..) => (shared, shared.copy().await),
    };
    proxy.reset();
    let mut changes = vec![("AWS_ENDPOINT_URL", Some(proxy.url()))];
    let death;
    if let Blow::Die(side) = &blow {
        death = format!("{}=die", step.point(*side));
        changes.push(("FAILPOINTS", Some(death.as_str())));
    }
    blow.set_up(proxy, &step);
    let lambda = town.lambda("reconcile-payments", &table, SWEEPS[2], &changes).await;
    drop(turn);
    let report = run(&lambda).await;
    let _turn = town.turn().await;
    let waiting = match &scripted {
        Some(script) => town.control.script(script).await.expect("a script"),
        None => 0,
    };
    let is_struck = match (&blow, &report) {
        (Blow::Die(_), Err(NoAnswer::Died { status, .. })) => status.code() == Some(134),
        (Blow::Aws(..), Ok(_)) => !proxy.injected().is_empty(),
        (Blow::Aws(..), Err(NoAnswer::Failed(words))) => words["errorType"] == "UNAVAILABLE",
        (Blow::Provider(..), Ok(report)) => report["failed"] == 0 && waiting == 0,
        _ => false,
    };
    if !is_struck {
        outcome
            .wrongs
            .push(format!("not struck as it should be: {report:?}\n{}", lambda.log()));
    }
    outcome.reported = left_to_a_person(&lambda.log());
    drop(lambda);
    proxy.reset();
    outcome.carry_on(town, stock, &table).await;
    aws::delete_memory_table(&table).await;
    outcome
}

async fn run(lambda: &payment_functions_tests::world::Lambda) -> Result<Value, NoAnswer> {
    let report = lambda.invoke(r#"{"action":"sweep"}"#).await?;
    Ok(serde_json::from_slice(&report).expect("JSON"))
}

/// The payments that a run left to a person, be it that it came to no end.
fn left_to_a_person(log: &str) -> BTreeSet<String> {
    entries(log)
        .filter(|line| line["message"] == "a person must look")
        .filter_map(|line| Some(line["payment"].as_str()?.to_owned()))
        .collect()
}

impl Outcome {
    fn new(cell: Cell) -> Self {
        Self {
            cell,
            wrongs: Vec::new(),
            reported: BTreeSet::new(),
        }
    }

    pub fn name(&self) -> String {
        let life = self.cell.life.name();
        match &self.cell.blow {
            None => format!("{NAME}: undisturbed, then {life}"),
            Some((step, blow)) => format!(
                "{NAME}: {}#{}: {}, then {life}",
                step.call.name(),
                step.nth,
                blow.name()
            ),
        }
    }

    /// The next run, and before it, in half of the cells, the webhooks that were late; then another day's run.
    async fn carry_on(&mut self, town: &Town, stock: &Stock, table: &str) {
        let webhooks = self.cell.life == Life::Webhook;
        if webhooks {
            self.late_webhooks(town, stock, table).await;
        }
        let left = town.sweep(table, SWEEPS[2] + 3 * MINUTE).await;
        let payments = left.iter().filter_map(|matter| matter.payment_id);
        self.reported.extend(payments.map(|id| id.to_string()));
        self.judge(stock, table, "the next run", webhooks).await;
        if !webhooks {
            self.late_webhooks(town, stock, table).await;
        }
        town.sweep(table, SWEEPS[2] + DAY).await;
        self.judge(stock, table, "everything", true).await;
    }

    /// Everything that was paid, and ApoloPay's payment too.
    async fn late_webhooks(&mut self, town: &Town, stock: &Stock, table: &str) {
        let store = Store::open(&aws::clients(town.aws.url()), table.to_owned());
        for (provider, order) in [(Provider::Finvypay, &stock.lost), (Provider::Apolopay, &stock.crypto)] {
            for there in town.control.payments(provider, order).await.expect("the payments") {
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
                let event = webhooks(reader).read(body.to_string().as_bytes()).expect("an event");
                if let Err(error) = record_notification(&store, &event, clock::now()).await {
                    self.wrongs.push(format!("a webhook after it: {error}"));
                }
            }
        }
    }

    async fn judge(&mut self, stock: &Stock, table: &str, when: &str, is_crypto_paid: bool) {
        let table = Table::read(table).await;
        let wrongs = &mut self.wrongs;
        let mut wrong = |what: String| wrongs.push(format!("{when}: {what}"));
        let expected = |order: &String, payment: &Value| {
            if *order == stock.crypto {
                if is_crypto_paid { "completed" } else { "expired" }
            } else if *order == stock.lost {
                "completed"
            } else if payment["id"] != stock.paid.as_str() {
                "expired"
            } else {
                // CommitExtras after it was told of other money once: it is asked about again.
                "completed"
            }
        };
        for (order, count) in [(&stock.several, 2), (&stock.lost, 1), (&stock.crypto, 1)] {
            let payments = table.of_order(order);
            if payments.len() != count {
                wrong(format!("{} payments of {order}", payments.len()));
            }
            for payment in payments {
                let status = expected(order, payment);
                if payment["status"] != status {
                    wrong(format!("not {status}: {payment}"));
                }
                let completions = table.completions(payment);
                if (status == "completed") == (completions == 0) {
                    wrong(format!("{completions} completions: {payment}"));
                }
                if let Some(difference) = table.stray_references(payment) {
                    wrong(difference);
                }
                let id = payment["id"].as_str().expect("an id");
                if *order == stock.crypto && status == "expired" && !self.reported.contains(id) {
                    wrong(format!("expired, and nobody was told: {payment}"));
                }
            }
        }
        // What did not fit the provider's word is asked about again later.
        let is_asked_later = when == "the next run" && self.cell.is("other money");
        if !table.is_nothing_parked() && !is_asked_later {
            wrong("something is still parked".to_owned());
        }
    }
}
