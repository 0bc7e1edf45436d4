//! The publisher beside the load, and the audit of its events.

use payment_functions_local::TableStream;

use super::*;

/// A change of a payment, and its event.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    id: String,
    version: u64,
    /// The event's `detail-type`.
    kind: String,
    event_id: String,
    /// The reasons for attention after the change.
    attention: Vec<String>,
}

impl Change {
    fn new(id: &str, version: u64, kind: String, event_id: String, attention: &[&Value]) -> Self {
        let attention = attention
            .iter()
            .map(|reason| reason.as_str().expect("a text").to_owned());
        Self {
            id: id.to_owned(),
            version,
            kind,
            event_id,
            attention: attention.collect(),
        }
    }
}

/// Stream records per batch.
const BATCH: usize = 100;

impl Soak {
    /// Feeds the table's stream to publish-events, as Lambda does, until it is empty and all changes are done. Returns
    /// all changes that must be published.
    pub async fn publish(&self) -> BTreeSet<Change> {
        let aws = self.harness.world.aws();
        let mut stream = TableStream::open(aws, &self.table).await.expect("a stream");
        let mut stored = BTreeSet::new();
        loop {
            let is_over = self.is_over.load(Ordering::Relaxed);
            let records = stream.read().await.expect("records");
            if records.is_empty() {
                if is_over {
                    return stored;
                }
                tokio::time::sleep(POLL).await;
            }
            let is_payment = |record: &&Value| record["dynamodb"]["Keys"]["sk"]["S"] == "STATE";
            let payments: Vec<Value> = records.iter().filter(is_payment).cloned().collect();
            stored.extend(payments.iter().flat_map(|record| self.changes(record)));
            for batch in payments.chunks(BATCH) {
                self.deliver(batch).await;
            }
        }
    }

    /// Delivers records; retries from the first failed record.
    async fn deliver(&self, mut batch: &[Value]) {
        let mut tries = 0;
        while !batch.is_empty() {
            self.count("batch of records");
            let lambda = self.harness.function_urls.function(&function_name("publish-events", 0));
            let response = lambda.invoke(json!({ "Records": batch }).to_string()).await;
            let rest = match response {
                Ok(response) => {
                    let response: Value = serde_json::from_slice(&response).expect("JSON");
                    let failure = &response["batchItemFailures"][0]["itemIdentifier"];
                    let is_first = |record: &Value| record["dynamodb"]["SequenceNumber"] == *failure;
                    let done = batch.iter().position(is_first);
                    done.map_or(&[][..], |done| &batch[done..])
                }
                Err(InvokeError::Died { .. }) => batch,
                Err(error) => return self.violation(format!("not published: {error}")),
            };
            tries = if rest.len() < batch.len() { 0 } else { tries + 1 };
            if tries == MOST_TRIES {
                return self.violation(format!("never published: {}", batch[0]));
            }
            batch = rest;
            if !batch.is_empty() {
                tokio::time::sleep(POLL).await;
            }
        }
    }

    /// Checks that every status in the table is in the stream, that all changes were published and nothing else, each
    /// under its own event id, and that first deliveries were in order. Returns the number of events.
    pub async fn audit_events(&self, stored: &BTreeSet<Change>, table: &Table) -> usize {
        let changes = stored.iter().map(|change| (change.id.as_str(), change.kind.as_str()));
        let changes: BTreeSet<(&str, &str)> = changes.collect();
        for (id, status) in table.statuses().filter(|(_, status)| *status != "creating") {
            if !changes.contains(&(id, format!("payment.{status}").as_str())) {
                self.violation(format!("{id} is {status}, but the stream has no such record"));
            }
        }
        let messages = aws::receive_all(&self.arrivals).await;
        let (mut seen, mut latest) = (BTreeSet::new(), BTreeMap::new());
        for message in &messages {
            let event: Value = serde_json::from_str(message["Body"].as_str().expect("a body")).expect("JSON");
            let (detail, text) = (&event["detail"], |value: &Value| {
                value.as_str().expect("a text").to_owned()
            });
            let (id, version) = (text(&detail["id"]), detail["version"].as_u64().expect("a version"));
            let attention: Vec<_> = detail["attention"].as_array().into_iter().flatten().collect();
            let attention: Vec<_> = attention.into_iter().map(|entry| &entry["reason"]).collect();
            let change = Change::new(
                &id,
                version,
                text(&event["detail-type"]),
                text(&detail["eventId"]),
                &attention,
            );
            if seen.insert(change) {
                let before = latest.insert(id, version).unwrap_or_default();
                if before > version {
                    self.violation(format!("published after version {before}: {event}"));
                }
            }
        }
        for delivered in stored.difference(&seen) {
            self.violation(format!("stored, but not published: {delivered:?}"));
        }
        for delivered in seen.difference(stored) {
            self.violation(format!("published, but not stored: {delivered:?}"));
        }
        for message in aws::receive_all(&self.dead_letters).await {
            self.violation(format!("dead-letter message: {message}"));
        }
        messages.len()
    }

    /// The changes of a payment's stream record that must be published: its new status, from `pending` on, and a
    /// change of its attention, which must be counted.
    fn changes(&self, record: &Value) -> Vec<Change> {
        let [old, new] = ["OldImage", "NewImage"].map(|name| &record["dynamodb"][name]);
        let number = |value: &Value| {
            value["N"]
                .as_str()
                .map_or(0, |number| number.parse().expect("a number"))
        };
        let id = new["pk"]["S"]
            .as_str()
            .and_then(|pk| pk.strip_prefix("PAYMENT#"))
            .expect("an id");
        let entries = new["attention"]["L"].as_array().into_iter().flatten();
        let attention: Vec<_> = entries.map(|entry| &entry["M"]["reason"]["S"]).collect();
        let mut kinds = Vec::new();
        let status = new["status"]["S"].as_str().expect("a status");
        if old["status"] != new["status"] && status != "creating" {
            kinds.push((status, status.to_owned()));
        }
        let [before, after]: [u64; 2] = [old, new].map(|image| number(&image["attentionChanges"]));
        if before < after {
            self.count("change of attention");
            kinds.push(("attention", format!("attention:{after}")));
        }
        let is_counted = before < after || (before == after && old["attention"] == new["attention"]);
        if !is_counted {
            self.violation(format!("attention changed, but not its number: {record}"));
        }
        let change = |(kind, change)| {
            let version = number(&new["version"]);
            Change::new(
                id,
                version,
                format!("payment.{kind}"),
                format!("{id}:{change}"),
                &attention,
            )
        };
        kinds.into_iter().map(change).collect()
    }
}
