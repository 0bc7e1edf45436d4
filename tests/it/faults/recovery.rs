//! Runs a case: its preconditions, the fault, and the recovery.

use std::sync::Arc;
use std::time::Instant;

use futures_util::stream::{self, StreamExt};
use payment_functions_local::sandbox::{Call, Delivery};
use payment_functions_tests::world::Lambda;

use super::audit::{Record, Stage, Table, audit};
use super::content::is_accepted;
use super::fault::Fault;
use super::flows::{Action, Before, numbered_webhook};
use super::points::Step;
use super::stack::{Harness, Stack, Worker, command_at, create_at};
use super::*;
use crate::webhooks::SECRET;

/// Maximum attempts of a case that a busy machine cuts short.
const TRIES: usize = 5;
/// The status of a response after an AWS timeout.
const UNAVAILABLE: u16 = 503;
/// The number of cases of a stack that recover concurrently.
const TOGETHER: usize = 4;

impl Stack {
    /// A case with its preconditions met. `None` if the holder that should crash ran into an AWS timeout instead.
    async fn prepare(&self, harness: &Harness, flow: &Arc<Flow>, cell: &Cell) -> Option<Case> {
        let mut case = Case::new(flow, cell);
        if flow.rotated {
            case.secret = Some(aws::create_secret(&keys("old", "old", "old")).await);
        }
        for before in &flow.before {
            match before {
                Before::Created | Before::CreatedWithoutKey => {
                    let key = case.key.clone();
                    if matches!(before, Before::CreatedWithoutKey) {
                        case.key = None;
                    }
                    let created = self.create(&case, When::Early).await.expect("a response");
                    case.key = key;
                    assert_eq!(created.status, 201, "{}: {created:?}", flow.name);
                    case.record_response(&created);
                }
                Before::HolderCrashed => {
                    if let Some(response) = self.crash_holder(&case).await {
                        assert_eq!(response, UNAVAILABLE, "{}: the holder did not crash", flow.name);
                        return None;
                    }
                }
                Before::Webhook(spec) => {
                    let delivered = case
                        .send_webhook(harness, spec, &harness.function_urls.url(&self.table))
                        .await
                        .pop();
                    assert!(
                        delivered.as_ref().is_some_and(is_accepted),
                        "{}: {delivered:?}",
                        flow.name
                    );
                    if let Some(body) = spec["body"].as_str() {
                        case.note_quarantined(&body.replace("ORDER", &case.order));
                    }
                }
                Before::ManyWebhooks(of_payment, of_transaction) => {
                    let base_url = harness.function_urls.url(&self.table);
                    for number in 0..of_payment + of_transaction {
                        let spec = numbered_webhook(flow.provider, number, number >= *of_payment);
                        let delivered = case.send_webhook(harness, &spec, &base_url).await;
                        assert!(delivered.iter().all(is_accepted), "{}: {delivered:?}", flow.name);
                    }
                }
                Before::Quarantined => case.quarantine_readable(harness, &self.table).await,
                Before::Reply(reply) => case.script_reply(harness, reply).await,
                Before::WebhookBeforeReply => {
                    let url = format!(
                        "{}/webhooks/{}",
                        harness.function_urls.url(&self.table),
                        aws::name(flow.provider)
                    );
                    let webhook = json!({ "omit": ["metadata"], "url": url });
                    case.script_reply(harness, &json!({ "webhookBeforeReply": webhook }))
                        .await;
                }
            }
        }
        Some(case)
    }

    async fn prepare_with_retries(&self, harness: &Harness, flow: &Arc<Flow>, cell: &Cell) -> Case {
        for _ in 0..TRIES {
            if let Some(case) = self.prepare(harness, flow, cell).await {
                return case;
            }
            harness.count_retry("crashing holder");
        }
        panic!("preparation failed: {}", flow.name);
    }

    /// Runs a flow without a fault; returns its steps.
    pub async fn record_steps(&self, harness: &Harness, flow: &Arc<Flow>) -> (Case, Vec<Step>) {
        let _permit = harness.permit().await;
        let mut case = self
            .prepare_with_retries(harness, flow, &Cell::without_fault(self.recovery))
            .await;
        let proxy = aws::proxy().await;
        let changes = [("AWS_ENDPOINT_URL", Some(proxy.url())), ("FAILPOINTS", Some("log"))];
        let lambda = Arc::new(harness.lambda_for(&case, &self.table, &changes).await);
        let name = unique("record");
        harness.function_urls.put(&name, &lambda);
        let response = case.perform(harness, &lambda, (&name, &self.table)).await;
        harness.function_urls.remove(&name);
        lambda.kill().await;
        assert_eq!(response, Some(flow.status), "{}: {:?}", flow.name, case.violations);
        let steps = points::steps(&lambda.log());
        points::assert_all_logged(&flow.name, &steps, &proxy);
        (case, steps)
    }

    /// Crashes the process at a step, and recovers.
    pub async fn crash(&self, harness: &Harness, flow: &Arc<Flow>, cell: &Cell) -> Case {
        let Some((step, Fault::Crash(side))) = &cell.fault else {
            panic!("not a crash: {cell:?}");
        };
        let crash = format!("{}=die", step.point(*side));
        let changes = [("FAILPOINTS", Some(crash.as_str()))];
        let permit = harness.permit().await;
        let mut case = self.prepare_with_retries(harness, flow, cell).await;
        let lambda = Arc::new(harness.lambda_for(&case, &self.table, &changes).await);
        drop(permit);
        let name = unique("crash");
        harness.function_urls.put(&name, &lambda);
        let response = case.perform(harness, &lambda, (&name, &self.table)).await;
        harness.function_urls.remove(&name);
        let status = lambda.ended().and_then(|status| status.code());
        // 128 + SIGABRT
        case.check(status == Some(134), || {
            format!("the process did not crash: {status:?}, {response:?}\n{}", lambda.log())
        });
        case.has_crashed = true;
        let _permit = harness.permit().await;
        self.recover(harness, &mut case).await;
        case
    }

    /// Injects a fault into a call, and recovers.
    pub async fn inject(&self, harness: &Harness, worker: &mut Worker, flow: &Arc<Flow>, cell: &Cell) -> Case {
        let Some((step, fault)) = &cell.fault else {
            panic!("no fault: {cell:?}");
        };
        let (mut violations, mut tries) = (Vec::new(), 0);
        loop {
            tries += 1;
            let permit = harness.permit().await;
            let mut case = self.prepare_with_retries(harness, flow, cell).await;
            if step.is_at_start || step.is_forced() || !worker.matches(&case, fault) {
                worker.restart(harness, &case, step, fault).await;
            }
            if !step.is_at_start {
                worker.warm_up(cell).await;
                worker.proxy.reset();
                fault.set_up(&worker.proxy, step);
            }
            if let Fault::Provider(_, reply) = fault {
                case.script_reply(harness, reply).await;
            }
            drop(permit);
            let lambda = worker.lambda();
            let response = case.perform(harness, &lambda, (&worker.name, &self.table)).await;
            if step.is_at_start {
                worker.warm_up(cell).await;
            }
            let _permit = harness.permit().await;
            let is_injected = match fault {
                Fault::Aws(..) => !worker.proxy.injected().is_empty(),
                Fault::Crash(_) | Fault::Provider(..) => case.was_provider_called(harness, step.nth).await,
            };
            if let Some(status) = lambda.ended() {
                case.violation(format!("the process ended: {status}\n{}", lambda.log()));
                worker.end(harness);
            }
            worker.proxy.reset();
            violations.append(&mut case.violations);
            let gave_up = fault.needs_usual_limits() && response == Some(UNAVAILABLE);
            if !is_injected && gave_up && tries < TRIES {
                // A busy machine caused a timeout before the step.
                harness.count_retry(fault.name());
                continue;
            }
            case.violations = violations;
            case.check(is_injected, || format!("the fault was not injected: {response:?}"));
            self.recover(harness, &mut case).await;
            return case;
        }
    }

    /// Recovers a case at once by the same key or a webhook. The reconciler recovers all cases together.
    async fn recover(&self, harness: &Harness, case: &mut Case) {
        match self.recovery {
            Recovery::SameKey => {
                self.same_key(harness, case, &[When::Soon, When::Later]).await;
                self.repeat_command(case).await;
            }
            Recovery::Webhook => {
                let harder = match (case.flow.provider, case.nth % 3) {
                    (Provider::Finvypay, 0) => Webhook::Order,
                    (_, 1) => Webhook::OurId,
                    _ => Webhook::ProviderId,
                };
                self.redeliver(harness, case).await;
                self.webhooks(harness, case, &[harder, Webhook::OurId]).await;
            }
            Recovery::Reconciler => {
                if case.nth % 2 == 1 && case.flow.provider == Provider::Finvypay {
                    // The buyer pays, but no webhook comes.
                    for payment in case.at_provider(harness).await {
                        let paid = harness
                            .stand_ins
                            .control
                            .set_status(Provider::Finvypay, &payment.id, "COMPLETED")
                            .await;
                        paid.expect("a payment");
                        case.is_paid = true;
                    }
                }
            }
        }
    }

    /// The reconciler's recovery, then all others; an audit after each.
    pub async fn recover_all(&self, harness: &Harness, mut cases: Vec<Case>) -> Vec<Case> {
        if self.recovery == Recovery::Reconciler {
            for ahead in SWEEPS {
                harness.sweep(&harness.stand_ins, &self.table, ahead).await;
            }
        }
        self.audit(harness, &mut cases, Stage::Recovered).await;
        let each = cases.into_iter().map(|mut case| async {
            let _permit = harness.permit().await;
            self.everything(harness, &mut case).await;
            case
        });
        let cases: Vec<Case> = stream::iter(each).buffer_unordered(TOGETHER).collect().await;
        for ahead in SWEEPS {
            let offset = if self.recovery == Recovery::Reconciler {
                AFTER_SWEEPS
            } else {
                0
            };
            harness.sweep(&harness.stand_ins, &self.table, ahead + offset).await;
        }
        let each = cases.into_iter().map(|mut case| async {
            if harness.is_full || case.nth % 3 == 0 {
                let _permit = harness.permit().await;
                self.webhooks(harness, &mut case, &[Webhook::ProviderId]).await;
            }
            case
        });
        let mut cases: Vec<Case> = stream::iter(each).buffer_unordered(TOGETHER).collect().await;
        self.audit(harness, &mut cases, Stage::Everything).await;
        cases
    }

    async fn audit(&self, harness: &Harness, cases: &mut [Case], stage: Stage) {
        let _permit = harness.permit().await;
        let table = Table::read(&self.table).await;
        audit(&table, &Record::of_both(&harness.stand_ins.control).await, cases, stage);
        if stage == Stage::Everything {
            for case in cases {
                if let Some(payment) = table.of_order(&case.order).first() {
                    let seen = self.get(payment["id"].as_str().expect("an id")).await;
                    let is_seen = seen.status == 200 && seen.json()["status"] == payment["status"];
                    case.check(is_seen, || format!("GET: {seen:?}, {payment}"));
                }
            }
        }
    }

    /// The recoveries that the case has not had yet.
    async fn everything(&self, harness: &Harness, case: &mut Case) {
        if self.recovery != Recovery::SameKey {
            self.same_key(harness, case, &[When::Later]).await;
        }
        let mut webhooks = Vec::new();
        if self.recovery != Recovery::Webhook {
            self.redeliver(harness, case).await;
            webhooks.push(Webhook::OurId);
        }
        if case.flow.provider == Provider::Finvypay {
            webhooks.push(Webhook::Order);
        }
        self.webhooks(harness, case, &webhooks).await;
        // A closed payment is completed by now.
        if matches!(case.flow.action, Action::Complete | Action::Replay) {
            self.repeat_command(case).await;
        }
    }

    /// Repeats an operator's command.
    async fn repeat_command(&self, case: &mut Case) {
        if let Some(command) = case.flow.action.command() {
            let response = case.operate(self.operator_function(), command).await;
            case.check(response == Some(200), || {
                format!("repeated operator command: {response:?}")
            });
        }
        if matches!(case.flow.action, Action::Replay)
            && let Err(error) = case.replay(self.operator_function()).await
        {
            case.violation(format!("repeated replay: {error}"));
        }
    }

    /// Repeats the request at these times.
    async fn same_key(&self, harness: &Harness, case: &mut Case, times: &[When]) {
        if !case.is_repeatable() {
            return;
        }
        let own = case.flow.status;
        for when in times {
            let mut response = self.repeat_create(case, *when).await;
            // The provider sends the flow's own reply once.
            let failed = own >= 500 && response.status == own && case.has_own_reply(harness).await;
            let waits = *when == When::Soon && (failed || response.status == 409);
            if failed && !waits {
                response = self.repeat_create(case, *when).await;
            }
            case.check(is_final(&response) || waits, || {
                format!("repeated request, {when:?}: {response:?}")
            });
        }
    }

    async fn repeat_create(&self, case: &mut Case, when: When) -> Response {
        let response = self.create(case, when).await.expect("a response");
        case.record_response(&response);
        response
    }

    /// Sends the webhook of the flow under test again.
    async fn redeliver(&self, harness: &Harness, case: &mut Case) {
        if let Action::Webhook(spec) = case.flow.action.clone() {
            let delivered = case
                .send_webhook(harness, &spec, &harness.function_urls.url(&self.table))
                .await;
            case.check(delivered.iter().all(is_accepted), || {
                format!("webhook response {delivered:?}: {spec}")
            });
        }
    }

    /// Sends the provider's webhooks for its payments of the order, one after the other.
    async fn webhooks(&self, harness: &Harness, case: &mut Case, webhooks: &[Webhook]) {
        let base_url = harness.function_urls.url(&self.table);
        for payment in case.at_provider(harness).await {
            for webhook in webhooks {
                let spec = with(webhook.spec(case.flow.provider), json!({ "payment": payment.id }));
                let delivered = case.send_webhook(harness, &spec, &base_url).await.pop();
                case.check(delivered.as_ref().is_some_and(is_accepted), || {
                    format!("webhook response {delivered:?}: {spec}")
                });
            }
        }
    }
}

/// A provider's webhook, by the ids in it.
#[derive(Clone, Copy, Debug)]
pub enum Webhook {
    /// Our payment id and the provider's.
    OurId,
    /// Only the provider's id.
    ProviderId,
    /// The order and a transaction.
    Order,
}

impl Webhook {
    pub const ALL: [Self; 3] = [Self::OurId, Self::ProviderId, Self::Order];

    pub fn spec(self, provider: Provider) -> Value {
        match (provider, self) {
            (Provider::Apolopay, Self::OurId) => json!({ "shape": "A" }),
            (Provider::Apolopay, Self::ProviderId) => json!({ "shape": "A", "omit": ["metadata"] }),
            // ApoloPay always sends its own id; use the documented shape.
            (Provider::Apolopay, Self::Order) => json!({ "shape": "B" }),
            (Provider::Finvypay, Self::OurId) => json!({ "shape": "W2" }),
            (Provider::Finvypay, Self::ProviderId) => json!({ "shape": "W2", "omit": ["metadata"] }),
            (Provider::Finvypay, Self::Order) => json!({ "shape": "W1" }),
        }
    }
}

/// The value of a secret.
fn keys(apolopay: &str, finvypay: &str, webhooks: &str) -> Value {
    json!({ "secretKey": apolopay, "apiKey": finvypay, "webhookSecret": webhooks })
}

/// Whether the function with this log stored an intent or took one over.
fn has_begun(log: &str) -> bool {
    ["intent stored", "request taken over"]
        .iter()
        .any(|words| log.contains(words))
}

/// Whether the idempotency key keeps this response.
pub fn is_final(response: &Response) -> bool {
    response.status == 201 || (response.status == 422 && response.json()["code"] == "PROVIDER_REJECTED")
}

impl Case {
    /// Sets the provider's reply to the next call of this order.
    pub async fn script_reply(&self, harness: &Harness, reply: &Value) {
        let replies = json!([reply]);
        let scripted = harness
            .stand_ins
            .control
            .replies(self.flow.provider, &self.order, replies)
            .await;
        scripted.expect("a script");
    }

    /// The create calls of the order.
    async fn calls(&self, harness: &Harness) -> Vec<Call> {
        let calls = harness.stand_ins.control.calls(self.flow.provider, &self.order).await;
        calls.expect("the calls").calls
    }

    /// Records webhooks that the provider sent during the create call.
    pub async fn record_early_webhooks(&mut self, harness: &Harness) {
        let calls = self.calls(harness).await;
        self.record_sent(calls.iter().flat_map(|call| &call.webhooks));
    }

    fn record_sent<'a>(&mut self, deliveries: impl IntoIterator<Item = &'a Delivery>) {
        self.sent
            .extend(deliveries.into_iter().map(WebhookContent::of_delivery));
    }

    /// Whether the function under test made this many create calls.
    async fn was_provider_called(&self, harness: &Harness, times: usize) -> bool {
        self.calls(harness).await.len() >= times + usize::from(self.flow.has_crashed_holder())
    }

    /// Whether the last reply is the flow's own. FinvyPay repeats it for the same attempt.
    async fn has_own_reply(&self, harness: &Harness) -> bool {
        let calls = self.calls(harness).await;
        calls.len() == 1 || calls.last().is_some_and(|call| call.replayed)
    }

    /// Performs the flow's action with the function `name` on a table; returns the response's status.
    async fn perform(&mut self, harness: &Harness, lambda: &Lambda, (name, table): (&str, &str)) -> Option<u16> {
        if let Some(secret) = &self.secret {
            // The function has fetched the old secret.
            lambda.ready().await;
            let good = keys("sk_local_apolopay", "fp_local_finvypay", SECRET);
            aws::put_secret(secret, &good).await;
        }
        let (begin, log) = (Instant::now(), lambda.log().len());
        let status = match self.flow.action.clone() {
            Action::Create => match create_at(lambda, self, &self.body_of_the_flow()).await {
                Ok(response) => {
                    // With Lambda's timeouts, it may give up earlier on a busy machine.
                    let is_patient = !self.fault().is_some_and(Fault::needs_usual_limits);
                    self.first_response(&response, is_patient || has_begun(&lambda.log()[log..]));
                    self.record_response(&response);
                    Some(response.status)
                }
                Err(error) => self.no_response(&error),
            },
            Action::Webhook(spec) => {
                let delivery = self
                    .send_webhook(harness, &spec, &harness.function_urls.url(name))
                    .await
                    .pop();
                let status = delivery.as_ref().and_then(|delivery| delivery.status);
                let is_expected = matches!(status, Some(200 | 503)) || (status == Some(502) && self.crashes());
                self.check(is_expected, || format!("webhook response {delivery:?}"));
                status
            }
            Action::Get => {
                let id = self.id.clone().expect("an id");
                match lambda.http("GET", &format!("/payments/{id}"), &[], b"").await {
                    Ok(response) => {
                        let is_expected = [200, 503].contains(&response.status);
                        self.check(is_expected, || format!("GET response {response:?}"));
                        Some(response.status)
                    }
                    Err(error) => self.no_response(&error),
                }
            }
            action @ (Action::Complete | Action::Close) => {
                let command = action.command().expect("a command");
                self.operate(lambda, command).await
            }
            Action::CheckClaim => {
                let records = self.claim_records(harness, table).await;
                match lambda.invoke(json!({ "Records": records }).to_string()).await {
                    Ok(_) => Some(200),
                    Err(error) => self.failed_command(&error),
                }
            }
            Action::Replay => match self.replay(lambda).await {
                Ok(()) => Some(200),
                Err(error) => self.failed_command(&error),
            },
        };
        let took = begin.elapsed();
        self.check(took < RESPONSE_LIMIT, || format!("the response took {took:?}"));
        status
    }

    /// The stream's records of the claims on the order's payments.
    async fn claim_records(&self, harness: &Harness, table: &str) -> Vec<Value> {
        let there = self.at_provider(harness).await;
        let keys: Vec<String> = there
            .iter()
            .filter_map(|there| Some(format!("UNMATCHED#finvypay#{}", there.transaction_id.as_ref()?)))
            .collect();
        let items = aws::all_items(table).await;
        let is_claim =
            |item: &&Value| item["sk"]["S"] == "GROUP" && keys.iter().any(|key| item["pk"]["S"] == key.as_str());
        let records = items.iter().filter(is_claim);
        records
            .map(|item| json!({ "eventName": "INSERT", "dynamodb": { "NewImage": item } }))
            .collect()
    }

    /// Sends an operator's command; `status` is the expected status of the payment.
    async fn operate(&mut self, lambda: &Lambda, (action, status): (&str, &str)) -> Option<u16> {
        let id = self.id.clone().expect("an id");
        match command_at(lambda, action, &id).await {
            Ok(done) => {
                self.check(done["status"] == status, || format!("operator command: {done}"));
                self.is_completed |= action == "complete";
                self.is_closed |= action == "close";
                Some(200)
            }
            Err(error) => self.failed_command(&error),
        }
    }

    fn failed_command(&mut self, error: &InvokeError) -> Option<u16> {
        let is_unavailable = matches!(error, InvokeError::Failed(words) if words["errorType"] == "UNAVAILABLE");
        self.check(is_unavailable || self.crashes(), || {
            format!("operator command: {error}")
        });
        is_unavailable.then_some(UNAVAILABLE)
    }

    pub fn body(&self) -> Value {
        let body = body(self.flow.provider, &self.order);
        match &self.quote {
            Some(quote) => with(body, json!({ "quote": quote })),
            None => body,
        }
    }

    /// The request body of the flow under test.
    fn body_of_the_flow(&self) -> Value {
        match self.flow.quote {
            Quote::Late | Quote::Other => quotes::expired(&self.body()),
            Quote::None | Quote::One | Quote::OneExpiring => self.body(),
        }
    }

    fn fault(&self) -> Option<&Fault> {
        self.cell.fault.as_ref().map(|(_, fault)| fault)
    }

    fn crashes(&self) -> bool {
        matches!(self.fault(), Some(Fault::Crash(_)))
    }

    fn no_response(&mut self, error: &InvokeError) -> Option<u16> {
        let crashes = self.crashes() && matches!(error, InvokeError::Died { .. });
        self.check(crashes, || format!("no response: {error}"));
        None
    }

    /// Sends a webhook for the order.
    pub async fn send_webhook(&mut self, harness: &Harness, spec: &Value, base_url: &str) -> Vec<Delivery> {
        let mut spec = spec.clone();
        spec["provider"] = json!(self.flow.provider);
        spec["url"] = json!(format!("{base_url}/webhooks/{}", aws::name(self.flow.provider)));
        if spec.get("payment").is_none() {
            let Some(there) = self.at_provider(harness).await.pop() else {
                return Vec::new();
            };
            spec["payment"] = json!(there.id);
            if spec["extra"]["transactionId"] == "TRANSACTION" {
                spec["extra"]["transactionId"] = json!(there.transaction_id);
            }
        }
        if let Some(body) = spec["body"].as_str() {
            spec["body"] = json!(body.replace("ORDER", &self.order));
        }
        let deliveries = harness.stand_ins.control.webhooks(&spec).await.expect("a delivery");
        self.record_sent(&deliveries);
        deliveries
    }
}
