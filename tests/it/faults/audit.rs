//! Invariants that hold after every case, checked in the table and in the provider's record.

use std::collections::{BTreeMap, BTreeSet};

use payment_functions::domain::decimal::Decimal;
use payment_functions_local::sandbox::{Call, Outcome};

use super::content::{attention, number, reversals_in};
use super::fault::Fault;
use super::flows::Action;
use super::replay::ACTOR;
use super::*;

/// How far the recovery of a case has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its own recovery is done.
    Recovered,
    /// All recoveries are done.
    Everything,
    /// After random faults: every key has its response, and the reconciler has run.
    Calm,
}

/// The items of a table.
pub struct Table {
    /// Payments by order id.
    payments: BTreeMap<String, Vec<Value>>,
    /// Facts by payment id.
    facts: BTreeMap<String, Vec<Value>>,
    groups: BTreeMap<String, Value>,
    /// Payment ids by `provider#reference`.
    owners: BTreeMap<String, String>,
    /// Unmatched notifications by `provider#id`.
    unmatched: BTreeMap<String, Vec<Value>>,
    keys: BTreeMap<String, Value>,
    /// The records of used quotes by digest.
    quotes: BTreeMap<String, Value>,
    /// The webhooks in quarantine.
    quarantine: Vec<Value>,
}

impl Table {
    pub async fn read(name: &str) -> Self {
        let mut table = Self {
            payments: BTreeMap::new(),
            facts: BTreeMap::new(),
            groups: BTreeMap::new(),
            owners: BTreeMap::new(),
            unmatched: BTreeMap::new(),
            keys: BTreeMap::new(),
            quotes: BTreeMap::new(),
            quarantine: Vec::new(),
        };
        for raw in aws::all_items(name).await {
            let item = aws::item(&raw);
            let (kind, rest) = text(&item, "pk").split_once('#').expect("a kind");
            let (kind, rest) = (kind.to_owned(), rest.to_owned());
            match (kind.as_str(), text(&item, "sk")) {
                ("PAYMENT", "STATE") => {
                    let order = text(&item, "orderId").to_owned();
                    table.payments.entry(order).or_default().push(item);
                }
                ("PAYMENT", _) => table.facts.entry(rest).or_default().push(item),
                ("REF", _) => {
                    table.owners.insert(rest, text(&item, "paymentId").to_owned());
                }
                // A group whose notifications were all moved is no longer needed, but may be left by a crash.
                ("UNMATCHED", "GROUP") => {
                    table.groups.insert(rest, item);
                }
                ("UNMATCHED", _) => table.unmatched.entry(rest).or_default().push(item),
                ("KEY", _) => {
                    table.keys.insert(rest, item);
                }
                ("QUOTE", _) => {
                    table.quotes.insert(rest, item);
                }
                ("QUARANTINE", _) => table.quarantine.push(item),
                ("ORDER" | "RATE" | "LIST", _) => {}
                other => panic!("item of an unknown kind: {other:?}"),
            }
        }
        table
    }

    pub fn of_order(&self, order: &str) -> &[Value] {
        self.payments.get(order).map_or(&[], Vec::as_slice)
    }

    pub fn orders(&self) -> impl Iterator<Item = &String> {
        self.payments.keys()
    }

    /// The number of facts.
    pub fn facts(&self) -> usize {
        self.facts.values().map(Vec::len).sum()
    }

    /// Payment ids in facts, references and keys that have no payment.
    pub fn missing_payments(&self) -> BTreeSet<&str> {
        let there: BTreeSet<&str> = self
            .payments
            .values()
            .flatten()
            .map(|payment| text(payment, "id"))
            .collect();
        let owners = self.owners.values().map(String::as_str);
        let of_keys = self.keys.values().chain(self.quotes.values());
        let of_keys = of_keys.map(|item| text(item, "paymentId"));
        let named = self.facts.keys().map(String::as_str).chain(owners).chain(of_keys);
        named.filter(|id| !there.contains(id)).collect()
    }

    /// Payment ids and statuses.
    pub fn statuses(&self) -> impl Iterator<Item = (&str, &str)> {
        let payments = self.payments.values().flatten();
        payments.map(|payment| (text(payment, "id"), text(payment, "status")))
    }

    /// The notifications that belong to no payment yet, by the key under which they are kept.
    pub fn all_unmatched(&self) -> &BTreeMap<String, Vec<Value>> {
        &self.unmatched
    }

    /// The contents of webhooks in quarantine that nobody can read, about this order.
    fn unreadable(&self, order: &str) -> Vec<&str> {
        let contents = self.quarantine.iter().map(|item| text(item, "content"));
        let is_unreadable = |content: &&str| {
            let content: Value = serde_json::from_str(content).expect("JSON");
            content["result"]["orderId"] == order
        };
        contents
            .filter(|content| content.contains(order))
            .filter(is_unreadable)
            .collect()
    }

    /// The number of webhooks in quarantine.
    pub fn quarantined(&self) -> usize {
        self.quarantine.len()
    }

    /// The number of completions of a payment.
    pub fn completions(&self, payment: &Value) -> usize {
        self.facts_with(payment, "completed")
    }

    /// The number of a payment's facts with an undocumented status.
    pub fn unrecognised(&self, payment: &Value) -> usize {
        self.facts_with(payment, "unrecognised")
    }

    fn facts_with(&self, payment: &Value, outcome: &str) -> usize {
        let facts = self.facts.get(text(payment, "id")).map_or(&[][..], Vec::as_slice);
        facts.iter().filter(|fact| fact["outcome"] == outcome).count()
    }

    /// The reasons for attention that follow from the money received: a second matching completion, or one that does
    /// not match beside one that does.
    pub fn money_attention(&self, payment: &Value) -> BTreeSet<&'static str> {
        let facts = self.facts.get(text(payment, "id")).map_or(&[][..], Vec::as_slice);
        let completions: Vec<&Value> = facts.iter().filter(|fact| fact["outcome"] == "completed").collect();
        let (paid, other): (Vec<_>, Vec<_>) = completions.into_iter().partition(|fact| is_paid(fact));
        let captures = |kind: &str| {
            let ids = paid.iter().filter_map(|fact| fact[kind].as_str());
            ids.collect::<BTreeSet<_>>().len()
        };
        let reasons = [
            (
                "duplicate_payment",
                captures("payment") > 1 || captures("transaction") > 1,
            ),
            ("amount_mismatch", !paid.is_empty() && !other.is_empty()),
        ];
        let reasons = reasons.into_iter().filter(|(_, holds)| *holds);
        reasons.map(|(reason, _)| reason).collect()
    }

    /// A difference between a payment's references and the reference items that name it.
    pub fn stray_references(&self, payment: &Value) -> Option<String> {
        let id = text(payment, "id");
        let known: BTreeSet<&str> = payment["references"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|reference| reference.as_str().expect("a text"))
            .collect();
        let leading: BTreeSet<&str> = self
            .owners
            .iter()
            .filter(|(_, owner)| *owner == id)
            .map(|(function_name, _)| function_name.split_once('#').expect("a provider").1)
            .collect();
        (known != leading).then(|| format!("references {known:?} of the payment, reference items {leading:?}"))
    }

    /// Whether a claim of this transaction is unmatched, and the transaction is no payment's.
    pub fn is_kept_as_claim(&self, transaction: &str) -> bool {
        !self.unmatched(Provider::Finvypay, transaction).is_empty()
            && self.owner(Provider::Finvypay, transaction).is_none()
    }

    fn unmatched(&self, provider: Provider, id: &str) -> &[Value] {
        let unmatched = self.unmatched.get(&format!("{}#{id}", aws::name(provider)));
        unmatched.map_or(&[], Vec::as_slice)
    }

    fn owner(&self, provider: Provider, id: &str) -> Option<&str> {
        let owner = self.owners.get(&format!("{}#{id}", aws::name(provider)));
        owner.map(String::as_str)
    }
}

fn text<'a>(item: &'a Value, name: &str) -> &'a str {
    item[name].as_str().unwrap_or_else(|| panic!("no {name}: {item}"))
}

fn decimal(amount: &Value) -> Option<Decimal> {
    Decimal::parse(&amount.as_str().map_or_else(|| amount.to_string(), str::to_owned))
}

/// Whether this is the amount of all payments.
fn is_own_money(provider: &Value, amount: &Value, currency: &Value) -> bool {
    let (own, needs_currency) = if provider == "apolopay" {
        ("25.50", false)
    } else {
        ("99.99", true)
    };
    decimal(amount) == Decimal::parse(own) && (!needs_currency || currency == "USD")
}

/// Whether a completion is the right money, or an operator's word.
fn is_paid(completion: &Value) -> bool {
    completion["operator"].is_object()
        || is_own_money(&completion["provider"], &completion["amount"], &completion["currency"])
}

/// The reasons for attention that are stored with a payment.
pub fn stored_attention(payment: &Value) -> Vec<&str> {
    let entries = payment["attention"].as_array().into_iter().flatten();
    let mut reasons: Vec<&str> = entries.map(|entry| text(entry, "reason")).collect();
    reasons.sort_unstable();
    reasons
}

/// A provider's own record.
pub struct Record {
    calls: BTreeMap<String, Vec<Call>>,
    payments: BTreeMap<String, Vec<Payment>>,
    in_flight: BTreeMap<String, usize>,
}

impl Record {
    pub async fn of_both(control: &Control) -> [Self; 2] {
        [
            Self::read(control, Provider::Apolopay).await,
            Self::read(control, Provider::Finvypay).await,
        ]
    }

    async fn read(control: &Control, provider: Provider) -> Self {
        let (mut calls, mut payments) = (BTreeMap::new(), BTreeMap::new());
        for call in control.all_calls(provider).await.expect("the calls") {
            let order = call.order_id.clone().unwrap_or_default();
            calls.entry(order).or_insert_with(Vec::new).push(call);
        }
        for payment in control.all_payments(provider).await.expect("the payments") {
            let order = payment.order_id.clone().unwrap_or_default();
            payments.entry(order).or_insert_with(Vec::new).push(payment);
        }
        Self {
            calls,
            payments,
            in_flight: control.in_flight(provider).await.expect("the calls").orders,
        }
    }
}

/// Audits cases, all of one table.
pub fn audit(table: &Table, records: &[Record; 2], cases: &mut [Case], stage: Stage) {
    for case in cases {
        let record = match case.flow.provider {
            Provider::Apolopay => &records[0],
            Provider::Finvypay => &records[1],
        };
        let before = case.violations.len();
        Audit {
            table,
            stage,
            there: record.payments.get(&case.order).map_or(&[], Vec::as_slice),
            calls: record.calls.get(&case.order).map_or(&[], Vec::as_slice),
            in_flight: record.in_flight.get(&case.order).copied().unwrap_or(1),
            case,
        }
        .audit();
        for violation in &mut case.violations[before..] {
            *violation = format!("{stage:?}: {violation}");
        }
    }
}

struct Audit<'a> {
    table: &'a Table,
    stage: Stage,
    /// The order's payments at the provider.
    there: &'a [Payment],
    /// The create calls that the provider received.
    calls: &'a [Call],
    /// The maximum of concurrent create calls.
    in_flight: usize,
    case: &'a mut Case,
}

impl Audit<'_> {
    fn audit(mut self) {
        let in_flight = self.in_flight;
        self.case
            .check(in_flight <= 1, || format!("{in_flight} concurrent calls"));
        self.calls();
        let payments = self.table.of_order(&self.case.order);
        let payment = match payments {
            [] => return self.nothing(),
            [payment] => payment,
            _ => return self.case.violation(format!("{} payments", payments.len())),
        };
        let id = text(payment, "id");
        if let Some(delivered) = self.case.id.clone() {
            self.case
                .check(delivered == id, || format!("{delivered} was returned, {id} is stored"));
        }
        self.key(payment);
        self.references(payment);
        self.ledger(payment);
        self.unmatched();
        self.replays();
        self.due_index(payment);
    }

    /// Checks an order without a stored payment.
    fn nothing(&mut self) {
        let case = &mut *self.case;
        let calls = self.calls.len();
        case.check(calls == 0, || format!("{calls} calls, but no payment"));
        let promised = case.id.clone();
        case.check(promised.is_none(), || {
            format!("no payment stored, but its id was returned: {promised:?}")
        });
        let came_again = case.cell.recovery == Recovery::SameKey || self.stage != Stage::Recovered;
        case.check(!case.is_repeatable() || !came_again, || "no payment stored".to_owned());
    }

    /// All calls concern the one payment, and repeated attempts use the same provider key.
    fn calls(&mut self) {
        let (calls, possible_calls) = (self.calls.len(), self.case.possible_calls);
        // The rotated API key costs one refused call.
        let is_rotated = self.case.flow.rotated;
        let is_in_vain = |call: &Call| is_rotated && call.status == Some(401);
        let others = [self.case.has_crashed, self.case.flow.has_crashed_holder()];
        let in_vain = self.calls.iter().any(is_in_vain);
        let most = possible_calls + others.into_iter().chain([in_vain]).filter(|one| *one).count();
        self.case
            .check(calls <= most, || format!("{calls} calls by {most} requests"));
        if self.case.flow.at_random {
            let provider = self.case.flow.provider;
            let errors = self.case.provider_errors;
            let failed = self
                .calls
                .iter()
                .filter(|call| ids_received(provider, call).is_empty())
                .count();
            self.case.check(errors <= failed, || {
                format!("{errors} responses blame the provider for {failed} failed calls")
            });
        }
        let our_id = |call: &Call| {
            let body: Value = serde_json::from_str(&call.body).expect("JSON");
            body["metadata"]["paymentFunctionsId"].clone()
        };
        let stored = self.table.of_order(&self.case.order).first();
        for call in self.calls {
            let id = our_id(call);
            let is_stored = stored.is_some_and(|payment| payment["id"] == id);
            self.case.check(is_stored, || {
                format!("the provider was called for a payment that is not stored: {id}")
            });
        }
        if self.case.flow.provider == Provider::Finvypay {
            for pair in self.calls.windows(2) {
                let keys = [&pair[0], &pair[1]].map(|call| call.headers["idempotency-key"].clone());
                // Only a definite response of the provider ends an attempt.
                let no_answer = [409, 408, 425, 502, 503, 504].map(Some);
                let is_answered = pair[0].outcome == Outcome::Responded && !no_answer.contains(&pair[0].status);
                let is_repeated = keys[0] == keys[1];
                self.case.check(is_answered || is_repeated, || {
                    format!("new attempt without a definite response: {keys:?}")
                });
                if !self.case.may_lose_store_state() && is_answered && !is_in_vain(&pair[0]) {
                    self.case.check(!is_repeated, || {
                        format!("attempt reused after a definite response: {keys:?}")
                    });
                }
            }
        }
    }

    fn key(&mut self, payment: &Value) {
        let digest = self.case.quote.as_deref().map(quotes::digest);
        if let Some(digest) = &digest {
            let Some(record) = self.table.quotes.get(digest) else {
                return self.case.violation("no item for the quote".to_owned());
            };
            self.record(payment, record);
        }
        let Some(key) = &self.case.key else { return };
        let name = format!("{}#{key}", function(self.case.flow.provider));
        let Some(record) = self.table.keys.get(&name) else {
            // A new key is bound by the first replay.
            let came_again = self.case.cell.recovery == Recovery::SameKey || self.stage != Stage::Recovered;
            return self.case.check(self.case.flow.is_replay() && !came_again, || {
                "no item for the idempotency key".to_owned()
            });
        };
        let Some(digest) = digest else {
            return self.record(payment, record);
        };
        let is_alias = record["quote"] == digest.as_str() && record["paymentId"] == payment["id"];
        self.case.check(is_alias && record["response"].is_null(), || {
            format!("the key does not lead to the quote: {record}")
        });
    }

    /// A request's record names the payment, and keeps its response.
    fn record(&mut self, payment: &Value, record: &Value) {
        let case = &mut *self.case;
        case.check(record["paymentId"] == payment["id"], || {
            format!("the key names another payment: {record}")
        });
        if let Some(response) = &case.response {
            let is_kept = record["response"]["body"] == response.text.as_str();
            let violation = format!("stored response differs: {response:?}, {record}");
            case.check(is_kept, || violation);
        }
    }

    /// Every reference belongs to the payment, and the payment knows it.
    fn references(&mut self, payment: &Value) {
        let (provider, id) = (self.case.flow.provider, text(payment, "id"));
        if let Some(stray) = self.table.stray_references(payment) {
            self.case.violation(stray);
        }
        let mut must: Vec<String> = self.case.given_ids.clone();
        if !self.case.may_lose_store_state() {
            must.extend(self.calls.iter().flat_map(|call| ids_received(provider, call)));
        }
        let ids = |there: &Payment| [Some(there.id.clone()), there.transaction_id.clone()];
        let known_later: Vec<Option<String>> = match (self.stage, self.case.cell.recovery) {
            (Stage::Everything, _) => self.there.iter().flat_map(ids).collect(),
            (Stage::Recovered, Recovery::Webhook) => self.there.iter().map(|there| Some(there.id.clone())).collect(),
            (Stage::Recovered, Recovery::Reconciler)
                if provider == Provider::Finvypay && !self.is_resolved_by_webhook(id) =>
            {
                // FinvyPay's list contains only transaction ids, and only of one that is paid it tells whose it is.
                let paid = self.there.iter().filter(|there| is_paid_there(there));
                paid.map(|there| there.transaction_id.clone()).collect()
            }
            (Stage::Recovered, Recovery::SameKey | Recovery::Reconciler) | (Stage::Calm, _) => Vec::new(),
        };
        must.extend(known_later.into_iter().flatten());
        for reference in must {
            let is_known = self.table.owner(provider, &reference) == Some(id);
            self.case
                .check(is_known, || format!("{reference} is not a reference of the payment"));
        }
    }

    /// The reconciler does not poll payments that a webhook completed, so their transactions may stay unknown.
    fn is_resolved_by_webhook(&self, id: &str) -> bool {
        let mut facts = self.table.facts.get(id).into_iter().flatten();
        facts.any(|fact| fact["outcome"] == "completed" && fact["transaction"].is_null())
    }

    /// The status matches the facts and our own knowledge, and no accepted webhook is missing.
    fn ledger(&mut self, payment: &Value) {
        const ALL: [&str; 8] = [
            "creating",
            "pending",
            "expired",
            "authorized",
            "cancelled",
            "failed",
            "review",
            "completed",
        ];
        let (provider, id) = (self.case.flow.provider, text(payment, "id"));
        let none = Vec::new();
        let facts = self.table.facts.get(id).unwrap_or(&none);
        let rank = |status: &str| ALL.iter().position(|known| *known == status).expect("a known status");
        let fact_rank = |fact: &Value| match text(fact, "outcome") {
            "completed" if is_paid(fact) => Some(rank("completed")),
            "completed" => Some(rank("review")),
            "unrecognised" | "contradictory" | "reversed" => None,
            outcome => Some(rank(outcome)),
        };
        let verified = facts.iter().filter_map(fact_rank).max().unwrap_or(0);
        let status = rank(text(payment, "status"));
        let has_checkout_session = payment["checkoutSession"].is_object();
        let is_refused = |call: &Call| {
            let said_so = matches!(call.status, Some(400 | 422));
            said_so && call.outcome == Outcome::Responded
        };
        let was_reconciled = self.case.cell.recovery == Recovery::Reconciler || self.stage != Stage::Recovered;
        let is_our_own = match ALL[status] {
            "creating" => !has_checkout_session,
            "pending" => has_checkout_session,
            "expired" => was_reconciled,
            "failed" => self.calls.iter().any(is_refused) && !has_checkout_session,
            _ => false,
        };
        let case = &mut *self.case;
        let by_operator = facts.iter().filter(|fact| fact["operator"].is_object()).count();
        case.check(by_operator <= 1 && (by_operator == 1 || !case.is_closed), || {
            format!("{by_operator} operator facts")
        });
        case.check(!case.is_completed || status == rank("completed"), || {
            format!("completed by an operator, but the status is {}", ALL[status])
        });
        case.check(status >= verified, || {
            format!("{payment} is below its ledger {facts:?}")
        });
        case.check(status == verified || is_our_own, || {
            format!("{payment} is above its ledger {facts:?}")
        });
        case.check(!has_checkout_session || status >= 1, || {
            format!("has a checkout session, but the status is {}", ALL[status])
        });
        case.check(payment["rank"] == status.to_string().as_str(), || {
            format!("rank does not match the status: {payment}")
        });

        let recorded = |said: &WebhookContent| {
            facts.iter().any(|fact| {
                let same = |name: &str, said: &Option<String>| fact[name].as_str() == said.as_deref();
                let raw_status = text(fact, "rawStatus").to_lowercase();
                same("payment", &said.payment)
                    && same("transaction", &said.transaction)
                    && (fact["outcome"] == "completed") == said.is_completion
                    && (fact["outcome"] == "contradictory") == said.is_contradictory
                    && decimal(&fact["amount"]) == decimal(&said.amount)
                    && reversals_in(fact) == said.reversals
                    && said
                        .new_status
                        .as_ref()
                        .is_none_or(|status| raw_status.contains(status))
            })
        };
        let is_own = |said: &WebhookContent| is_own_money(&json!(aws::name(provider)), &said.amount, &json!("USD"));
        for said in case.accepted().cloned().collect::<Vec<_>>() {
            if let Some(order) = &said.unreadable {
                let kept = self.table.unreadable(order);
                case.check(
                    matches!(kept.as_slice(), [content] if !content.contains("Jane")),
                    || format!("accepted unreadable webhook: {kept:?}"),
                );
                continue;
            }
            let kept = recorded(&said) || said.ids().all(|id| !self.table.unmatched(provider, id).is_empty());
            case.check(kept, || format!("accepted webhook is not stored: {said:?}"));
            let leads_here = said.names_ours || said.ids().any(|id| self.table.owner(provider, id).is_some());
            let is_paid = leads_here && said.is_completion && is_own(&said);
            case.check(!is_paid || status == rank("completed"), || {
                format!("paid, but the status is {}: {said:?}", ALL[status])
            });
        }
        // A replay whose response was lost may have been applied.
        let replayed = case.quarantined.iter().filter_map(|kept| kept.content.as_ref());
        let may_be_paid = case
            .sent
            .iter()
            .chain(replayed)
            .any(|said| said.is_completion && is_own(said) && !said.names_only_order())
            || by_operator > 0
            || self.there.iter().any(is_paid_there);
        case.check(status < rank("completed") || may_be_paid, || {
            format!("completed, but nobody said that it is paid: {facts:?}")
        });

        // Those before a response that came to nobody are in the provider's record only.
        let early = self.calls.iter().flat_map(|call| &call.webhooks);
        let early: Vec<WebhookContent> = early.map(WebhookContent::of_delivery).collect();
        let known: Vec<&WebhookContent> = case
            .sent
            .iter()
            .chain(&early)
            .filter(|said| recorded(said))
            .chain(&case.provider_says)
            .collect();
        let mut expected = self.table.money_attention(payment);
        // A report with a date raises a reason once, however often and under whatever id it comes. Others may differ.
        let (dated, others): (Vec<_>, Vec<_>) = known
            .iter()
            .flat_map(|said| &said.reversals)
            .partition(|reversal| reversal[3].is_number());
        let reversals = dated.iter().map(ToString::to_string).collect::<BTreeSet<_>>().len() + others.len();
        let raising = |fact: &&Value| match text(fact, "outcome") {
            "unrecognised" | "contradictory" => true,
            "completed" => !expected.is_empty(),
            _ => false,
        };
        let most = reversals + facts.iter().filter(raising).count();
        expected.extend(attention(provider, &known));
        // A completion that names only an order raises the reason when FinvyPay has not confirmed it for a day, and loses
        // it when that, or another completion, is decided.
        let claims = case.sent.iter().chain(&early);
        let claims = claims
            .filter(|said| said.is_completion && said.names_only_order())
            .count();
        let is_unconfirmed = case.unconfirmed.late.is_some() && status < rank("completed");
        expected.extend(is_unconfirmed.then_some("unconfirmed_match"));
        let mut stored = stored_attention(payment);
        if claims > 0 && !is_unconfirmed {
            stored.retain(|reason| *reason != "unconfirmed_match");
        }
        let most = most + 2 * claims;
        let changes = number(&payment["attentionChanges"]).unwrap_or_default();
        case.check(usize::try_from(changes).is_ok_and(|changes| changes <= most), || {
            format!("{changes} changes of attention, at most {most} expected: {payment}, {facts:?}")
        });
        case.check(stored == Vec::from_iter(expected.clone()), || {
            format!("attention, expected {expected:?}: {payment}, {facts:?}")
        });
        if let Some(expected) = case.provider_status {
            case.check(status == rank(expected), || {
                format!("{expected} at the provider, but the status is {}", ALL[status])
            });
        }
        if case.is_paid && was_reconciled {
            case.check(status == rank("completed"), || {
                format!("paid at the provider, but the status is {}", ALL[status])
            });
        }
    }

    /// No notification of a known payment is left unmatched.
    fn unmatched(&mut self) {
        let provider = self.case.flow.provider;
        let ids = self.there.iter().flat_map(|there| {
            let ids = [Some(&there.id), there.transaction_id.as_ref()];
            ids.into_iter().flatten().map(move |id| (there, id))
        });
        for (there, id) in ids {
            let owner = self.table.owner(provider, id);
            let is_attached = owner.is_some();
            let ledger = owner
                .and_then(|owner| self.table.facts.get(owner))
                .map_or(&[][..], Vec::as_slice);
            // What names only the order and is no completion stays under an id that is nobody's. A copy of what its
            // payment's ledger has does no harm.
            let mut events = self.table.unmatched(provider, id).to_vec();
            let is_recorded = |event: &Value| {
                let same = |fact: &&Value| {
                    ["outcome", "rawStatus", "transaction"]
                        .iter()
                        .all(|name| fact[name] == event["fact"][name])
                };
                ledger.iter().find(same).is_some()
            };
            let may_stay = |event: &Value| {
                event["paymentId"].is_null()
                    && event["fact"]["outcome"] != "completed"
                    && (!is_attached || is_recorded(event))
            };
            events.retain(|event| !may_stay(event));
            // The reconciler can ask FinvyPay for the owner of an id.
            let is_polled = self.stage == Stage::Calm && provider == Provider::Finvypay && is_paid_there(there);
            // One commit moves only some of many. The reconciler moves the others.
            let are_moved =
                is_attached && (self.case.cell.recovery == Recovery::Reconciler || !self.case.flow.has_many_webhooks());
            let must_be_empty = match self.stage {
                Stage::Recovered => are_moved,
                Stage::Calm => is_attached || is_polled,
                Stage::Everything => true,
            };
            self.case.check(events.is_empty() || !must_be_empty, || {
                let group = self.table.groups.get(&format!("{}#{id}", aws::name(provider)));
                format!("still unmatched: {events:?}; group {group:?}; the id's ledger {ledger:?}")
            });
        }
    }

    /// Each webhook that was replayed is still in quarantine, with the mark of the replay.
    fn replays(&mut self) {
        for kept in self.case.quarantined.clone().iter().filter(|kept| kept.is_replayed) {
            let mut items = self.table.quarantine.iter();
            let mark = items
                .find(|item| item["digest"] == kept.digest.as_str())
                .map(|item| &item["replay"]);
            let is_marked = mark.is_some_and(|mark| {
                let is_result = |result: &&str| mark["result"] == *result;
                mark["operator"]["actor"] == ACTOR && kept.results().iter().any(is_result)
            });
            self.case.check(is_marked, || format!("replayed, but marked {mark:?}"));
        }
    }

    /// Unresolved payments are in the due index, resolved ones are not.
    fn due_index(&mut self, payment: &Value) {
        let is_due = payment["dueAt"].is_string();
        let expected = match text(payment, "status") {
            "review" if self.case.is_closed => Some(false),
            // A command without a response may have been applied.
            "review" if matches!(self.case.flow.action, Action::Close) => None,
            "creating" | "pending" | "review" => Some(true),
            "completed" => Some(false),
            "expired" => Some(self.case.flow.provider == Provider::Finvypay),
            _ => None,
        };
        self.case.check(expected.is_none_or(|expected| expected == is_due), || {
            format!("due time does not match the status: {payment}")
        });
    }
}

/// Whether a payment is paid at its provider.
fn is_paid_there(there: &Payment) -> bool {
    ["COMPLETED", "SUCCESS"].contains(&there.status.as_str()) && there.extra.members().next().is_none()
}

/// The ids in a response that reached the caller.
fn ids_received(provider: Provider, call: &Call) -> Vec<String> {
    let body = call
        .response
        .as_deref()
        .and_then(|text| serde_json::from_str::<Value>(text).ok());
    let Some(body) = body.filter(|_| call.outcome == Outcome::Responded) else {
        return Vec::new();
    };
    let ids = match provider {
        Provider::Apolopay => [&body["processId"], &body["result"]["id"]],
        Provider::Finvypay => [&body["data"]["paymentId"], &body["data"]["transactionId"]],
    };
    let is_id = |id: &&str| provider == Provider::Finvypay || uuid::Uuid::try_parse(id).is_ok();
    ids.into_iter()
        .filter_map(Value::as_str)
        .filter(is_id)
        .map(str::to_owned)
        .collect()
}

impl Case {
    /// Whether the expected state depends on a failed store call or a crashed process.
    fn may_lose_store_state(&self) -> bool {
        let fault = self.cell.fault.as_ref().map(|(_, fault)| fault);
        let is_injected = matches!(fault, Some(Fault::Aws(..) | Fault::Crash(_)));
        is_injected || self.flow.has_crashed_holder() || self.flow.at_random
    }
}
