//! What must hold after every case, whatever happened to it: in the table itself, and in the provider's record.

use std::collections::{BTreeMap, BTreeSet};

use payment_functions::domain::decimal::Decimal;
use payment_functions_local::sandbox::{Call, Outcome};

use super::blows::Blow;
use super::flows::Act;
use super::*;

/// How far a case has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// What came next has come.
    CarriedOn,
    /// Everything has.
    Everything,
    /// After faults at random, every key has its answer, and the reconciler has run.
    Calm,
}

/// A table, by what is in it.
pub struct Table {
    /// Payments by their order.
    payments: BTreeMap<String, Vec<Value>>,
    /// Ledgers by payment.
    facts: BTreeMap<String, Vec<Value>>,
    /// Owners of the providers' ids, by `provider#id`.
    owners: BTreeMap<String, String>,
    /// What is parked, by `provider#place`.
    parked: BTreeMap<String, Vec<Value>>,
    keys: BTreeMap<String, Value>,
}

impl Table {
    pub async fn read(name: &str) -> Self {
        let mut table = Self {
            payments: BTreeMap::new(),
            facts: BTreeMap::new(),
            owners: BTreeMap::new(),
            parked: BTreeMap::new(),
            keys: BTreeMap::new(),
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
                ("UNMATCHED", _) => {
                    let events = item["facts"].as_array().expect("events").iter();
                    let events = events.map(|text| serde_json::from_str(text.as_str().unwrap()).unwrap());
                    table.parked.insert(rest, events.collect());
                }
                ("KEY", _) => {
                    table.keys.insert(rest, item);
                }
                ("ORDER" | "PACE", _) => {}
                other => panic!("an item of an unknown kind: {other:?}"),
            }
        }
        table
    }

    pub fn of_order(&self, order: &str) -> &[Value] {
        self.payments.get(order).map_or(&[], Vec::as_slice)
    }

    /// The orders of all payments.
    pub fn orders(&self) -> impl Iterator<Item = &String> {
        self.payments.keys()
    }

    /// How many facts there are in all ledgers.
    pub fn facts(&self) -> usize {
        self.facts.values().map(Vec::len).sum()
    }

    /// The payments that a fact, an id or a key leads to, and that are not there.
    pub fn missing_payments(&self) -> BTreeSet<&str> {
        let there: BTreeSet<&str> = self
            .payments
            .values()
            .flatten()
            .map(|payment| text(payment, "id"))
            .collect();
        let owners = self.owners.values().map(String::as_str);
        let of_keys = self.keys.values().map(|key| text(key, "paymentId"));
        let named = self.facts.keys().map(String::as_str).chain(owners).chain(of_keys);
        named.filter(|id| !there.contains(id)).collect()
    }

    /// Each payment's id and the status that it has come to.
    pub fn statuses(&self) -> impl Iterator<Item = (&str, &str)> {
        let payments = self.payments.values().flatten();
        payments.map(|payment| (text(payment, "id"), text(payment, "status")))
    }

    pub fn is_nothing_parked(&self) -> bool {
        self.parked.is_empty()
    }

    /// How many completions are in a payment's ledger.
    pub fn completions(&self, payment: &Value) -> usize {
        let facts = self.facts.get(text(payment, "id")).map_or(&[][..], Vec::as_slice);
        facts.iter().filter(|fact| fact["outcome"] == "completed").count()
    }

    /// What is amiss between the ids that a payment knows and those that lead to it.
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
            .map(|(place, _)| place.split_once('#').expect("a provider").1)
            .collect();
        (known != leading).then(|| format!("known {known:?}, leading here {leading:?}"))
    }

    fn unmatched(&self, provider: Provider, id: &str) -> &[Value] {
        let parked = self.parked.get(&format!("{}#{id}", aws::name(provider)));
        parked.map_or(&[], Vec::as_slice)
    }

    fn owner(&self, provider: Provider, id: &str) -> Option<&str> {
        let owner = self.owners.get(&format!("{}#{id}", aws::name(provider)));
        owner.map(String::as_str)
    }
}

fn text<'a>(item: &'a Value, name: &str) -> &'a str {
    item[name].as_str().unwrap_or_else(|| panic!("no {name}: {item}"))
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

/// Judges cases by the table that they were all in, and by the providers' records.
pub fn judge(table: &Table, records: &[Record; 2], cases: &mut [Case], stage: Stage) {
    for case in cases {
        let record = match case.flow.provider {
            Provider::Apolopay => &records[0],
            Provider::Finvypay => &records[1],
        };
        let before = case.wrongs.len();
        Judge {
            table,
            stage,
            there: record.payments.get(&case.order).map_or(&[], Vec::as_slice),
            calls: record.calls.get(&case.order).map_or(&[], Vec::as_slice),
            in_flight: record.in_flight.get(&case.order).copied().unwrap_or(1),
            case,
        }
        .judge();
        for wrong in &mut case.wrongs[before..] {
            *wrong = format!("{stage:?}: {wrong}");
        }
    }
}

struct Judge<'a> {
    table: &'a Table,
    stage: Stage,
    /// What exists at the provider.
    there: &'a [Payment],
    /// What the provider was asked for.
    calls: &'a [Call],
    /// How many calls to create it were under way at one time, at most.
    in_flight: usize,
    case: &'a mut Case,
}

impl Judge<'_> {
    fn judge(mut self) {
        let in_flight = self.in_flight;
        self.case.check(in_flight <= 1, || format!("{in_flight} calls at once"));
        self.calls();
        let payments = self.table.of_order(&self.case.order);
        let payment = match payments {
            [] => return self.nothing(),
            [payment] => payment,
            _ => return self.case.wrong(format!("{} payments", payments.len())),
        };
        let id = text(payment, "id");
        if let Some(told) = self.case.id.clone() {
            self.case
                .check(told == id, || format!("{told} was told, {id} is stored"));
        }
        self.key(payment);
        self.references(payment);
        self.ledger(payment);
        self.unmatched();
        self.timetable(payment);
    }

    /// No intent was stored.
    fn nothing(&mut self) {
        let case = &mut *self.case;
        let calls = self.calls.len();
        case.check(calls == 0, || format!("{calls} calls, and no payment"));
        let promised = case.id.clone();
        case.check(promised.is_none(), || format!("a payment was promised: {promised:?}"));
        let came_again = case.cell.life == Life::SameKey || self.stage != Stage::CarriedOn;
        case.check(case.key.is_none() || !came_again, || "no payment".to_owned());
    }

    /// Each call is for the one payment, and a repeated one is known as such.
    fn calls(&mut self) {
        let (calls, callers) = (self.calls.len(), self.case.callers);
        // With a key that is good no more it is called once in vain.
        let is_rotated = self.case.flow.rotated;
        let is_in_vain = |call: &Call| is_rotated && call.status == Some(401);
        let others = [self.case.is_dead, self.case.flow.has_dead_holder()];
        let in_vain = self.calls.iter().any(is_in_vain);
        let most = callers + others.into_iter().chain([in_vain]).filter(|one| *one).count();
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
                format!("the provider was blamed {errors} times for {failed} calls")
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
            self.case
                .check(is_stored, || format!("the provider was asked for {id}"));
        }
        if self.case.flow.provider == Provider::Finvypay {
            for pair in self.calls.windows(2) {
                let keys = [&pair[0], &pair[1]].map(|call| call.headers["idempotency-key"].clone());
                // Nothing but an answer of the provider's own ends an attempt.
                let no_answer = [409, 408, 425, 502, 503, 504].map(Some);
                let is_answered = pair[0].outcome == Outcome::Answered && !no_answer.contains(&pair[0].status);
                let is_repeated = keys[0] == keys[1];
                self.case.check(is_answered || is_repeated, || {
                    format!("another attempt without an answer: {keys:?}")
                });
                if !self.case.is_struck_at_the_store() && is_answered && !is_in_vain(&pair[0]) {
                    self.case
                        .check(!is_repeated, || format!("an answered attempt again: {keys:?}"));
                }
            }
        }
    }

    fn key(&mut self, payment: &Value) {
        let Some(key) = &self.case.key else { return };
        let name = format!("{}#{key}", function(self.case.flow.provider));
        let Some(record) = self.table.keys.get(&name) else {
            return self.case.wrong("the key is not kept".to_owned());
        };
        let case = &mut *self.case;
        case.check(record["paymentId"] == payment["id"], || {
            format!("the key leads elsewhere: {record}")
        });
        if let Some(answer) = &case.answer {
            let is_kept = record["answer"]["body"] == answer.text.as_str();
            let wrong = format!("the answer is not kept: {answer:?}, {record}");
            case.check(is_kept, || wrong);
        }
    }

    /// Every id leads to the payment, and the payment knows it.
    fn references(&mut self, payment: &Value) {
        let (provider, id) = (self.case.flow.provider, text(payment, "id"));
        if let Some(stray) = self.table.stray_references(payment) {
            self.case.wrong(stray);
        }
        let mut must: Vec<String> = self.case.handed.clone();
        if !self.case.is_struck_at_the_store() {
            must.extend(self.calls.iter().flat_map(|call| ids_received(provider, call)));
        }
        let ids = |there: &Payment| [Some(there.id.clone()), there.transaction_id.clone()];
        let heard_of: Vec<Option<String>> = match (self.stage, self.case.cell.life) {
            (Stage::Everything, _) => self.there.iter().flat_map(ids).collect(),
            (Stage::CarriedOn, Life::Webhook) => self.there.iter().map(|there| Some(there.id.clone())).collect(),
            (Stage::CarriedOn, Life::Reconciler)
                if provider == Provider::Finvypay && !self.is_settled_by_webhook(id) =>
            {
                // Its list tells nothing but the transactions'.
                self.there.iter().map(|there| there.transaction_id.clone()).collect()
            }
            (Stage::CarriedOn, Life::SameKey | Life::Reconciler) | (Stage::Calm, _) => Vec::new(),
        };
        must.extend(heard_of.into_iter().flatten());
        for reference in must {
            let is_known = self.table.owner(provider, &reference) == Some(id);
            self.case
                .check(is_known, || format!("{reference} does not lead to the payment"));
        }
    }

    /// FinvyPay is not asked about what a webhook has settled; its answers, unlike those webhooks, name transactions.
    fn is_settled_by_webhook(&self, id: &str) -> bool {
        let mut facts = self.table.facts.get(id).into_iter().flatten();
        facts.any(|fact| fact["outcome"] == "completed" && fact["transaction"].is_null())
    }

    /// The status is what the ledger says and what we know ourselves, and nothing that was taken is missing.
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
        let rank = |status: &str| ALL.iter().position(|rung| *rung == status).expect("a rung");
        let is_own_money = |amount: &Value, currency: &Value| {
            let (own, needs_currency) = match provider {
                Provider::Apolopay => ("25.50", false),
                Provider::Finvypay => ("99.99", true),
            };
            let amount = Decimal::parse(&amount.as_str().map_or_else(|| amount.to_string(), str::to_owned));
            amount.is_some() && amount == Decimal::parse(own) && (!needs_currency || currency == "USD")
        };
        let rung = |fact: &Value| match text(fact, "outcome") {
            "completed" if is_own_money(&fact["amount"], &fact["currency"]) => Some(rank("completed")),
            "completed" => Some(rank("review")),
            "unrecognised" => None,
            outcome => Some(rank(outcome)),
        };
        let verified = facts.iter().filter_map(rung).max().unwrap_or(0);
        let status = rank(text(payment, "status"));
        let has_handoff = payment["checkoutSession"].is_object();
        let is_refused = |call: &Call| {
            let said_so = matches!(call.status, Some(400 | 422));
            said_so && call.outcome == Outcome::Answered
        };
        let was_swept = self.case.cell.life == Life::Reconciler || self.stage != Stage::CarriedOn;
        let is_our_own = match ALL[status] {
            "creating" => !has_handoff,
            "pending" => has_handoff,
            "expired" => was_swept,
            "failed" => self.calls.iter().any(is_refused) && !has_handoff,
            _ => false,
        };
        let case = &mut *self.case;
        let by_operator = facts.iter().filter(|fact| fact["operator"].is_object()).count();
        case.check(by_operator <= 1 && (by_operator == 1 || !case.is_closed), || {
            format!("{by_operator} words of the operator's")
        });
        case.check(!case.is_completed || status == rank("completed"), || {
            format!("completed by an operator, and {}", ALL[status])
        });
        case.check(status >= verified, || {
            format!("{payment} is below its ledger {facts:?}")
        });
        case.check(status == verified || is_our_own, || {
            format!("{payment} is above its ledger {facts:?}")
        });
        case.check(!has_handoff || status >= 1, || format!("accepted, and {}", ALL[status]));
        case.check(payment["rank"] == status.to_string().as_str(), || {
            format!("the rank of {payment}")
        });

        // What a person should look at beside it: wrong money is noted only where it came later.
        let has = |attention: &str| {
            let mut noted = payment["attention"].as_array().into_iter().flatten();
            noted.any(|noted| noted == attention)
        };
        let is_paid = |fact: &&Value| {
            fact["operator"].is_object() && fact["outcome"] == "completed" || rung(fact) == Some(rank("completed"))
        };
        let receipts = |kind: &str| {
            let ids = facts.iter().filter(is_paid).filter_map(|fact| fact[kind].as_str());
            ids.collect::<BTreeSet<_>>().len()
        };
        let came_twice = receipts("payment") > 1 || receipts("transaction") > 1;
        case.check(has("duplicate_payment") == came_twice, || {
            format!("paid twice, or not: {payment}, {facts:?}")
        });
        let is_other_money = |fact: &Value| rung(fact) == Some(rank("review"));
        case.check(!has("amount_mismatch") || facts.iter().any(is_other_money), || {
            format!("wrong money, or not: {payment}, {facts:?}")
        });

        let recorded = |said: &Said| {
            facts.iter().any(|fact| {
                let same = |name: &str, said: &Option<String>| fact[name].as_str() == said.as_deref();
                same("payment", &said.payment)
                    && same("transaction", &said.transaction)
                    && (fact["outcome"] == "completed") == said.is_completion
            })
        };
        for said in case.taken.clone() {
            let kept = recorded(&said) || said.ids().all(|id| !self.table.unmatched(provider, id).is_empty());
            case.check(kept, || format!("taken and forgotten: {said:?}"));
            let leads_here = said.names_ours || said.ids().any(|id| self.table.owner(provider, id).is_some());
            let is_paid = leads_here && said.is_completion && is_own_money(&said.amount, &json!("USD"));
            case.check(!is_paid || status == rank("completed"), || {
                format!("paid, and {}: {said:?}", ALL[status])
            });
        }
        if case.is_paid && was_swept {
            case.check(status == rank("completed"), || {
                format!("paid at the provider, and {}", ALL[status])
            });
        }
    }

    /// Nothing waits that could have been collected.
    fn unmatched(&mut self) {
        let provider = self.case.flow.provider;
        for id in self
            .there
            .iter()
            .flat_map(|there| [Some(&there.id), there.transaction_id.as_ref()])
            .flatten()
        {
            let events = self.table.unmatched(provider, id);
            let is_attached = self.table.owner(provider, id).is_some();
            // FinvyPay is asked whose an id is, and each order has one payment.
            let is_asked = self.stage == Stage::Calm && provider == Provider::Finvypay;
            let must_be_empty = is_attached || is_asked || self.stage == Stage::Everything;
            self.case.check(events.is_empty() || !must_be_empty, || {
                format!("still parked: {events:?}")
            });
        }
    }

    /// What is not settled is looked at, and what is settled is not.
    fn timetable(&mut self, payment: &Value) {
        let is_due = payment["dueAt"].is_string();
        let expected = match text(payment, "status") {
            "review" if self.case.is_closed => Some(false),
            // What was not told may have been done.
            "review" if matches!(self.case.flow.act, Act::Close) => None,
            "creating" | "pending" | "review" => Some(true),
            "completed" => Some(false),
            "expired" => Some(self.case.flow.provider == Provider::Finvypay),
            _ => None,
        };
        self.case.check(expected.is_none_or(|expected| expected == is_due), || {
            format!("the timetable of {payment}")
        });
    }
}

/// The ids in an answer that reached whoever asked.
fn ids_received(provider: Provider, call: &Call) -> Vec<String> {
    let body = call
        .answer
        .as_deref()
        .and_then(|text| serde_json::from_str::<Value>(text).ok());
    let Some(body) = body.filter(|_| call.outcome == Outcome::Answered) else {
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
    /// Whether what is known now depends on a store that failed, or a process that died.
    fn is_struck_at_the_store(&self) -> bool {
        let blow = self.cell.blow.as_ref().map(|(_, blow)| blow);
        let is_struck = matches!(blow, Some(Blow::Aws(..) | Blow::Die(_)));
        is_struck || self.flow.has_dead_holder() || self.flow.at_random
    }
}
