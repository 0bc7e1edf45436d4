//! The AWS usage of a payment: the quantities that docs/cost.md multiplies.

use payment_functions_local::sandbox::sign;
use payment_functions_local::workspace;
use payment_functions_tests::world::{AwsProxy, Lambda};

use crate::aws;
use crate::quotes;
use crate::routes::{body, function, route};
use crate::support::{Provider, Response, Value, json, unique, world};
use crate::units::{size, writes};
use crate::webhooks::{SECRET, completion, header};

/// The usage of one payment.
struct Used {
    /// Write request units, including the index.
    writes: usize,
    /// Read request units.
    reads: usize,
    /// Bytes that stay in the table.
    kept: usize,
    /// Invocations, with each event published separately.
    invocations: usize,
    /// Published events.
    events: usize,
    /// Bytes of log output.
    logged: usize,
}

/// How often a frontend polls the status until it is final.
const POLLS: usize = 5;

/// The functions on a table of their own.
struct Stack {
    table: String,
    proxy: AwsProxy,
    functions: Vec<Lambda>,
    requires_quotes: bool,
}

impl Stack {
    async fn open(names: &[&str], requires_quotes: bool) -> Self {
        let table = unique("cost");
        aws::create_table(&table).await;
        let proxy = aws::proxy().await;
        let changes = [
            ("PAYMENTS_TABLE", Some(table.as_str())),
            ("AWS_ENDPOINT_URL", Some(proxy.url())),
        ];
        let quotes = quotes::secret().await;
        let mut functions = Vec::new();
        for name in names {
            let mut changes = changes.to_vec();
            if name.starts_with("create-") && requires_quotes {
                changes.push(("QUOTE_SECRET_ID", Some(quotes.as_str())));
            }
            functions.push(world().await.lambda(name, &changes).await.expect("a function"));
        }
        Self {
            table,
            proxy,
            functions,
            requires_quotes,
        }
    }

    /// The functions that sell at a provider.
    async fn selling(provider: Provider, requires_quotes: bool) -> Self {
        let names = [function(provider), "webhook-handler", "get-payment", "publish-events"];
        Self::open(&names, requires_quotes).await
    }

    /// A typical payment: created with a key, paid, polled, published.
    async fn sell(&self, provider: Provider) -> Used {
        self.sell_with(provider, true).await
    }

    /// The same with a key or none, and with a quote if quotes are required.
    async fn sell_with(&self, provider: Provider, has_key: bool) -> Used {
        let [creating, hearing, looking, publishing] = self.functions.as_slice() else {
            panic!("four functions");
        };
        let before = aws::stream_records(&self.table).await.len();
        let logged = || -> usize { self.functions.iter().map(|function| function.log().len()).sum() };
        let logged_before = logged();

        let (order, key) = (unique("ORD"), unique("key"));
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(has_key.then_some(("idempotency-key", key.as_str())));
        let mut order = body(provider, &order);
        if self.requires_quotes {
            order["quote"] = json!(quotes::token(&order, 300));
        }
        let order = order.to_string();
        self.proxy.reset();
        let created = creating.http("POST", route(provider), &headers, order.as_bytes()).await;
        let created: Response = created.expect("a response").into();
        assert_eq!(created.status, 201, "{created:?}");
        let id = created.str("id");

        let webhook_body = completion(&created, &json!({ "paymentFunctionsId": id })).to_string();
        let signature = sign(SECRET, webhook_body.as_bytes());
        let headers = [
            ("content-type", "application/json"),
            (header(provider), signature.as_str()),
        ];
        let path = format!("/webhooks/{}", aws::name(provider));
        let heard = hearing
            .http("POST", &path, &headers, webhook_body.as_bytes())
            .await
            .expect("a response");
        assert_eq!(heard.status, 200, "{}", heard.text());
        let writes = self
            .proxy
            .calls()
            .into_iter()
            .filter(|call| call.action == "TransactWriteItems");

        self.proxy.reset();
        for _ in 0..POLLS {
            let polled = looking.http("GET", &format!("/payments/{id}"), &[], b"").await;
            assert_eq!(Response::from(polled.expect("a response")).str("status"), "completed");
        }
        assert_eq!(self.proxy.calls().len(), POLLS);

        let records = aws::stream_records(&self.table).await.split_off(before);
        // The stream filter of template.yaml.
        let passed: Vec<&Value> = records
            .iter()
            .filter(|record| record["eventName"] == "MODIFY" && record["dynamodb"]["Keys"]["sk"]["S"] == "STATE")
            .collect();
        self.proxy.reset();
        for record in &passed {
            let response = publishing.invoke(json!({ "Records": [record] }).to_string()).await;
            assert_eq!(response.expect("a response"), r#"{"batchItemFailures":[]}"#);
        }
        let published = self.proxy.calls();
        let of_publisher = |action| published.iter().filter(move |call| call.action == action);
        let events = of_publisher("PutEvents").map(|call| call.body["Entries"].as_array().expect("events").len());
        // Each query reads less than four kilobytes.
        let queries = of_publisher("Query").count();
        assert_eq!(of_publisher("GetItem").count(), 0);

        let items = aws::all_items(&self.table).await;
        let is_key = |item: &Value| {
            let pk = item["pk"]["S"].as_str().unwrap();
            pk.starts_with("KEY#") || pk.starts_with("QUOTE#")
        };
        let stays = |item: &&Value| item.to_string().contains(&id) && !is_key(item);
        let state = items
            .iter()
            .find(|item| item["id"]["S"] == id.as_str())
            .expect("the payment");
        Used {
            writes: writes
                .chain(of_publisher("TransactWriteItems").cloned())
                .map(|call| transaction(&call.body, &items))
                .sum::<usize>()
                + records.iter().map(index).sum::<usize>(),
            reads: POLLS * size(state).div_ceil(4096) + queries,
            kept: items.iter().filter(stays).map(size).sum(),
            invocations: 1 + 1 + POLLS + passed.len(),
            events: events.sum(),
            logged: logged() - logged_before,
        }
    }
}

/// The write units of a transaction.
fn transaction(body: &Value, items: &[Value]) -> usize {
    writes(body, items).iter().map(|(_, units)| units).sum()
}

/// The index's write units for a changed item: one to put an entry, one to delete it.
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
async fn payment_usage_matches_the_cost_page() {
    let page = std::fs::read_to_string(workspace().join("docs/cost.md")).unwrap();
    let mut quantities = Vec::new();
    for provider in [Provider::Apolopay, Provider::Finvypay] {
        let stack = Stack::selling(provider, false).await;
        // Discards log lines that are written once per process.
        stack.sell(provider).await;
        let sold = stack.sell(provider).await;
        // Times and their lengths vary.
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
        "missing in docs/cost.md:\n{}",
        rows.join("\n")
    );
}

#[tokio::test]
async fn quotes_write_units_match_the_cost_page() {
    let page = std::fs::read_to_string(workspace().join("docs/cost.md")).unwrap();
    let mut rows = Vec::new();
    for (name, requires_quotes, has_key) in [
        ("neither", false, false),
        ("a key", false, true),
        ("a quote", true, false),
        ("a quote and a key", true, true),
    ] {
        let mut writes = Vec::new();
        for provider in [Provider::Apolopay, Provider::Finvypay] {
            let stack = Stack::selling(provider, requires_quotes).await;
            writes.push(stack.sell_with(provider, has_key).await.writes);
        }
        rows.push(format!("| {name} | {} | {} |", writes[0], writes[1]));
    }
    assert!(
        page.contains(&rows.join("\n")),
        "missing in docs/cost.md:\n{}",
        rows.join("\n")
    );
}

#[tokio::test]
async fn idle_reconciler_usage_matches_the_cost_page() {
    let stack = Stack::open(&["reconcile-payments"], false).await;
    let sweep = async || {
        stack.functions[0]
            .invoke(r#"{"action":"sweep"}"#)
            .await
            .expect("a report")
    };
    // Four of the queries look for the first payment of FinvyPay's. Once it was made, the list is read instead.
    sweep().await;
    let page = std::fs::read_to_string(workspace().join("docs/cost.md")).unwrap();
    // Half a unit each, the minimum of an index query.
    let row = format!("| queries of an idle run | {} |", stack.proxy.operations("Query"));
    assert!(page.contains(&row), "missing in docs/cost.md:\n{row}");
    assert_eq!(stack.proxy.operations("GetItem"), 1, "how far the list was read");
    let written = stack.proxy.operations("TransactWriteItems");
    assert_eq!(
        stack.proxy.operations("Query") + 1 + written,
        stack.proxy.operations("*")
    );
}
