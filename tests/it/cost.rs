//! What a payment uses of what AWS charges for: the quantities that docs/cost.md multiplies.

use payment_functions_local::sandbox::sign;
use payment_functions_local::workspace;
use payment_functions_tests::world::{AwsProxy, Lambda};

use crate::aws;
use crate::routes::{body, function, route};
use crate::support::{Answer, Provider, Value, json, unique, world};
use crate::units::{size, writes};
use crate::webhooks::{SECRET, completion, header};

/// What one payment used.
struct Used {
    /// Write request units, those of the index included.
    writes: usize,
    /// Read request units.
    reads: usize,
    /// What stays in the table for good, in bytes.
    kept: usize,
    /// Invocations, each event being published alone.
    invocations: usize,
    /// Events on the bus.
    events: usize,
    /// What the functions wrote into their logs, in bytes.
    logged: usize,
}

/// How often a frontend looks at the status until it is final.
const LOOKS: usize = 5;

/// The functions over a table of their own.
struct Shop {
    table: String,
    proxy: AwsProxy,
    functions: Vec<Lambda>,
}

impl Shop {
    async fn open(names: &[&str]) -> Self {
        let table = unique("cost");
        aws::create_table(&table).await;
        let proxy = aws::proxy().await;
        let changes = [
            ("PAYMENTS_TABLE", Some(table.as_str())),
            ("AWS_ENDPOINT_URL", Some(proxy.url())),
        ];
        let mut functions = Vec::new();
        for name in names {
            functions.push(world().await.lambda(name, &changes).await.expect("a function"));
        }
        Self {
            table,
            proxy,
            functions,
        }
    }

    /// A payment's usual life: created under a key of the shop's, paid, looked at, published.
    async fn sell(&self, provider: Provider) -> Used {
        let [creating, hearing, looking, publishing] = self.functions.as_slice() else {
            panic!("four functions");
        };
        let before = aws::stream_records(&self.table).await.len();
        let logged = || -> usize { self.functions.iter().map(|function| function.log().len()).sum() };
        let logged_before = logged();

        let (order, key) = (unique("ORD"), unique("key"));
        let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
        let order = body(provider, &order).to_string();
        self.proxy.reset();
        let created = creating.http("POST", route(provider), &headers, order.as_bytes()).await;
        let created: Answer = created.expect("an answer").into();
        assert_eq!(created.status, 201, "{created:?}");
        let id = created.str("id");

        let told = completion(&created, &json!({ "paymentFunctionsId": id })).to_string();
        let signature = sign(SECRET, told.as_bytes());
        let headers = [
            ("content-type", "application/json"),
            (header(provider), signature.as_str()),
        ];
        let path = format!("/webhooks/{}", aws::name(provider));
        let heard = hearing
            .http("POST", &path, &headers, told.as_bytes())
            .await
            .expect("an answer");
        assert_eq!(heard.status, 200, "{}", heard.text());
        let writes = self
            .proxy
            .calls()
            .into_iter()
            .filter(|call| call.action == "TransactWriteItems");

        self.proxy.reset();
        for _ in 0..LOOKS {
            let looked = looking.http("GET", &format!("/payments/{id}"), &[], b"").await;
            assert_eq!(Answer::from(looked.expect("an answer")).str("status"), "completed");
        }
        assert_eq!(self.proxy.calls().len(), LOOKS);

        let records = aws::stream_records(&self.table).await.split_off(before);
        // What the filter in template.yaml lets through.
        let passed: Vec<&Value> = records
            .iter()
            .filter(|record| record["eventName"] == "MODIFY" && record["dynamodb"]["Keys"]["sk"]["S"] == "STATE")
            .collect();
        self.proxy.reset();
        for record in &passed {
            let answer = publishing.invoke(json!({ "Records": [record] }).to_string()).await;
            assert_eq!(answer.expect("an answer"), r#"{"batchItemFailures":[]}"#);
        }
        let puts = self.proxy.calls().into_iter().filter(|call| call.action == "PutEvents");
        let events = puts
            .map(|call| call.body["Entries"].as_array().expect("events").len())
            .sum();

        let items = aws::all_items(&self.table).await;
        let is_key = |item: &Value| item["pk"]["S"].as_str().unwrap().starts_with("KEY#");
        let stays = |item: &&Value| item.to_string().contains(&id) && !is_key(item);
        let state = items
            .iter()
            .find(|item| item["id"]["S"] == id.as_str())
            .expect("the payment");
        Used {
            writes: writes.map(|call| transaction(&call.body, &items)).sum::<usize>()
                + records.iter().map(index).sum::<usize>(),
            reads: LOOKS * size(state).div_ceil(4096),
            kept: items.iter().filter(stays).map(size).sum(),
            invocations: 1 + 1 + LOOKS + passed.len(),
            events,
            logged: logged() - logged_before,
        }
    }
}

/// The write units of a transaction.
fn transaction(body: &Value, items: &[Value]) -> usize {
    writes(body, items).iter().map(|(_, units)| units).sum()
}

/// The write units of the index for a change of an item: one to put an entry there, one to take it away.
fn index(record: &Value) -> usize {
    let entry = |image: &Value| image["dueAt"].is_object().then(|| image["dueAt"].clone());
    let (old, new) = (
        entry(&record["dynamodb"]["OldImage"]),
        entry(&record["dynamodb"]["NewImage"]),
    );
    if old == new {
        0
    } else {
        usize::from(old.is_some()) + usize::from(new.is_some())
    }
}

#[tokio::test]
async fn a_payment_uses_what_the_page_on_cost_says() {
    let page = std::fs::read_to_string(workspace().join("docs/cost.md")).unwrap();
    let mut quantities = Vec::new();
    for provider in [Provider::Apolopay, Provider::Finvypay] {
        let shop = Shop::open(&[function(provider), "webhook-handler", "get-payment", "publish-events"]).await;
        // The first one's log has what is said once.
        shop.sell(provider).await;
        let sold = shop.sell(provider).await;
        // Times, and how many digits they have, differ.
        let logged = sold.logged.next_multiple_of(250);
        quantities.push([
            sold.writes,
            sold.reads,
            sold.kept,
            sold.invocations,
            sold.events,
            logged,
        ]);
    }
    let names = [
        "DynamoDB write request units",
        "DynamoDB read request units",
        "bytes that stay in the table",
        "invocations of the functions",
        "events on the bus",
        "bytes that the functions log, at most",
    ];
    let row = |(nth, name)| format!("| {name} | {} | {} |", quantities[0][nth], quantities[1][nth]);
    let rows: Vec<_> = names.iter().enumerate().map(row).collect();
    assert!(
        page.contains(&rows.join("\n")),
        "docs/cost.md does not say:\n{}",
        rows.join("\n")
    );
}

#[tokio::test]
async fn an_idle_run_of_the_reconciler_uses_what_the_page_on_cost_says() {
    let shop = Shop::open(&["reconcile-payments"]).await;
    let report = shop.functions[0].invoke(r#"{"action":"sweep"}"#).await;
    report.expect("a report");
    let page = std::fs::read_to_string(workspace().join("docs/cost.md")).unwrap();
    // Half a unit each, as the least that a query of an index costs.
    let row = format!("| queries of an idle run | {} |", shop.proxy.operations("Query"));
    assert_eq!(shop.proxy.operations("Query"), shop.proxy.operations("*"));
    assert!(page.contains(&row), "docs/cost.md does not say:\n{row}");
}
