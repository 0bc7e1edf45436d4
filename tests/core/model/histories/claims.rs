//! Notifications that name only an order, and what FinvyPay says about the transactions of nobody known.

use super::*;

/// What FinvyPay says of a claim's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Unknown,
    Pending,
    /// Paid, without metadata.
    Paid,
    /// Paid, with our id in its metadata.
    PaidByName,
    OtherMoney,
    OtherOrder,
    Failed,
}

impl Verdict {
    pub const ALL: [Self; 7] = [
        Self::Unknown,
        Self::Pending,
        Self::Paid,
        Self::PaidByName,
        Self::OtherMoney,
        Self::OtherOrder,
        Self::Failed,
    ];

    pub fn is_paid(self) -> bool {
        matches!(self, Self::Paid | Self::PaidByName)
    }
}

/// A transaction that a general webhook claims for the order of a payment.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The payment that is meant.
    pub payment: usize,
    pub transaction: String,
    pub amount: &'static str,
    /// In the order in which they are sent, all with the time of the first receipt.
    pub webhooks: Vec<Notification>,
    /// Whether they were acknowledged.
    pub is_delivered: bool,
    /// What FinvyPay says at first and in the end.
    pub verdicts: [Verdict; 2],
    /// Whether the order's list has the transaction once it is paid.
    pub is_listed: bool,
}

impl Claim {
    /// FinvyPay's data about the transaction.
    fn data(&self, verdict: Verdict, order: &str, our_id: Option<PaymentId>) -> Option<Value> {
        let status = match verdict {
            Verdict::Unknown => return None,
            Verdict::Pending => "PENDING",
            Verdict::Failed => "FAILED",
            Verdict::Paid | Verdict::PaidByName | Verdict::OtherMoney | Verdict::OtherOrder => "COMPLETED",
        };
        let amount = if verdict == Verdict::OtherMoney {
            "1"
        } else {
            self.amount
        };
        let order = if verdict == Verdict::OtherOrder {
            "elsewhere"
        } else {
            order
        };
        let mut data = json!({
            "transactionId": self.transaction, "orderId": order, "status": status,
            "amount": amount.parse::<f64>().unwrap(), "currency": "USD",
        });
        if verdict == Verdict::PaidByName {
            data["metadata"] = json!({ "paymentFunctionsId": our_id? });
        }
        Some(data)
    }
}

impl Simulation {
    /// Sends general webhooks about a transaction that no payment has.
    pub async fn claim(&self, mut claim: Claim, has_pending: bool) {
        let order = self.history(claim.payment).order.clone();
        claim.transaction = format!("C{}", self.id_count.fetch_add(1, Ordering::Relaxed));
        let outcomes = [Outcome::Pending, Outcome::Completed];
        let ids = ProviderIds {
            payment: String::new(),
            transaction: claim.transaction.clone(),
        };
        for outcome in &outcomes[usize::from(!has_pending)..] {
            let content = Content {
                outcome: *outcome,
                amount: Some(claim.amount),
                ..Content::completion(1)
            };
            let webhook = Webhook {
                provider: Provider::FinvyPay,
                ids: &ids,
                order: &order,
                our_id: None,
                content: &content,
            };
            claim.webhooks.push(webhook.read());
        }
        let nth = {
            let mut claims = self.claims.lock().unwrap();
            claims.push(claim);
            claims.len() - 1
        };
        self.deliver_claim(nth).await;
    }

    /// Sends a claim, or repeats it.
    pub async fn deliver_claim(&self, nth: usize) {
        let webhooks = self.claims.lock().unwrap()[nth].webhooks.clone();
        for webhook in &webhooks {
            record_notification(&self.store, webhook, self.matching, clock::now())
                .await
                .unwrap();
        }
        self.claims.lock().unwrap()[nth].is_delivered = true;
    }

    /// FinvyPay's answers about the transactions of claims. Returns the entries of lists, by order.
    pub fn answer_claims(&self) -> Vec<(String, Notification)> {
        let mut listed = Vec::new();
        for claim in self.claims.lock().unwrap().iter().filter(|claim| claim.is_delivered) {
            let (order, our_id) = {
                let history = self.history(claim.payment);
                (history.order.clone(), history.id)
            };
            let verdict = claim.verdicts[usize::from(self.is_recovering)];
            let Some(data) = claim.data(verdict, &order, our_id) else {
                continue;
            };
            let body = json!({ "success": true, "data": data });
            let id = Reference::parse(&claim.transaction).unwrap();
            let read = finvypay::status::read_status(&messages::reply(&body), &id, clock::now());
            self.status_api.set_status(&claim.transaction, read.unwrap().unwrap());
            if claim.is_listed && verdict.is_paid() {
                let body = json!({ "success": true, "data": { "transactions": [data] } });
                let order_id = OrderId::parse(&order).unwrap();
                let rows = finvypay::status::read_transactions(&messages::reply(&body), &order_id, clock::now());
                listed.extend(rows.unwrap().into_iter().map(|row| (order.clone(), row)));
            }
        }
        listed
    }
}

/// Where a notification that names only an order may end.
#[derive(Clone, Debug, Default)]
pub struct Fate {
    /// The payments that it may be recorded with.
    pub may: BTreeSet<usize>,
    /// Whether it must be recorded with one of them.
    pub is_certain: bool,
    /// Unless it is recorded: the payments that need attention for it.
    pub open_for: BTreeSet<usize>,
    /// Payments that may have had attention for it.
    pub touches: BTreeSet<usize>,
    /// Whether FinvyPay may have said the same when it was asked.
    pub may_be_said_too: bool,
}

impl Fate {
    fn certain(payment: usize) -> Self {
        Self {
            may: BTreeSet::from([payment]),
            is_certain: true,
            ..Self::default()
        }
    }

    /// The same notification, received again.
    pub fn merge(&mut self, other: Self) {
        self.may.extend(other.may);
        self.is_certain |= other.is_certain;
        self.open_for.extend(other.open_for);
        self.touches.extend(other.touches);
        self.may_be_said_too |= other.may_be_said_too;
    }
}

/// What decides about the notifications of one order: its payments by index, oldest first.
pub struct Order<'a> {
    pub payments: Vec<(usize, &'a Payment, &'a History)>,
    pub trusts: bool,
}

impl Order<'_> {
    /// The payments that were there, and those of them with the money, or the only one.
    fn existing(&self, fact: &Fact) -> (Vec<usize>, Vec<usize>) {
        let there = self
            .payments
            .iter()
            .filter(|(_, payment, _)| payment.created_at <= fact.received_at);
        let there: Vec<usize> = there.map(|(index, ..)| *index).collect();
        // All payments have the same money.
        let with_money = if facts::has_own_money(fact) {
            there.clone()
        } else {
            Vec::new()
        };
        (there, with_money)
    }

    fn history(&self, index: usize) -> (&Payment, &History) {
        let (_, payment, history) = self.payments.iter().find(|(of, ..)| *of == index).unwrap();
        (payment, history)
    }

    fn is_vouched(&self, index: usize) -> bool {
        self.trusts || self.history(index).1.is_quoted
    }

    /// What belongs to the order alone, whatever FinvyPay says: the only payment.
    fn at_once(&self, fact: &Fact) -> Option<usize> {
        let (there, with_money) = self.existing(fact);
        let has_no_money = fact.amount.is_none() || fact.currency.is_none();
        let meant = if fact.outcome != Outcome::Completed && has_no_money {
            there.as_slice()
        } else {
            with_money.as_slice()
        };
        match meant {
            [only] if fact.outcome != Outcome::Completed || self.is_vouched(*only) => Some(*only),
            _ => None,
        }
    }

    /// The payments that a completion may mean.
    fn meant(&self, fact: &Fact) -> Vec<usize> {
        let (there, with_money) = self.existing(fact);
        if with_money.is_empty() && there.len() == 1 {
            there
        } else {
            with_money
        }
    }

    /// A webhook about one of a payment's own ids, which may be unknown to us.
    pub fn fate_of_own(&self, owner: usize, webhook: &Notification) -> Fate {
        let fact = &webhook.fact;
        let everyone: BTreeSet<usize> = self.payments.iter().map(|(index, ..)| *index).collect();
        let history = self.history(owner).1;
        let is_learnt = fact.references().any(|id| history.is_learnt(id));
        if fact.outcome == Outcome::Reversed {
            // The only completed payment of the order at some time.
            return Fate {
                may: everyone,
                is_certain: is_learnt,
                ..Fate::default()
            };
        }
        if is_learnt {
            return Fate {
                touches: everyone,
                ..Fate::certain(owner)
            };
        }
        if let Some(only) = self.at_once(fact) {
            assert_eq!(only, owner, "an id is there only after its payment");
            return Fate::certain(only);
        }
        // While the other payment of the order is made, it is the only one.
        let is_believed = fact.outcome != Outcome::Completed || self.is_vouched(owner);
        // A sibling may attach the id.
        let may_be_recorded = is_believed || self.payments.len() > 1;
        let is_denied = matches!(history.answer(fact), Some(Status::Failed | Status::Cancelled));
        let open = if fact.outcome == Outcome::Completed {
            self.meant(fact)
        } else {
            Vec::new()
        };
        Fate {
            may: BTreeSet::from_iter(may_be_recorded.then_some(owner)),
            is_certain: false,
            open_for: open.iter().copied().filter(|_| !is_denied).collect(),
            touches: open.into_iter().collect(),
            ..Fate::default()
        }
    }

    /// A claim. `attached`: the payment that has its transaction.
    pub fn fate_of_claim(&self, claim: &Claim, webhook: &Notification, attached: Option<usize>) -> Fate {
        let fact = &webhook.fact;
        let at_once = self.at_once(fact).map(Fate::certain);
        if fact.outcome != Outcome::Completed {
            let mut fate = attached.map(Fate::certain).unwrap_or_default();
            // A confirmed claim of other money leaves its transaction to whom FinvyPay names.
            fate.is_certain &= facts::has_own_money(fact) || claim.verdicts[1] == Verdict::PaidByName;
            fate.merge(at_once.unwrap_or_default());
            if claim.verdicts.contains(&Verdict::Pending) {
                fate.may_be_said_too = true;
                fate.may.extend(self.payments.iter().map(|(index, ..)| *index));
            }
            return fate;
        }
        if let Some(at_once) = at_once {
            return at_once;
        }
        let meant = self.meant(fact);
        let touches: BTreeSet<usize> = meant.iter().copied().collect();
        let verdict = claim.verdicts[1];
        let open_for = |is_open: bool| if is_open { touches.clone() } else { BTreeSet::new() };
        match verdict {
            Verdict::PaidByName if self.payments.iter().any(|(index, ..)| *index == claim.payment) => Fate {
                touches: self.payments.iter().map(|(index, ..)| *index).collect(),
                ..Fate::certain(claim.payment)
            },
            Verdict::Unknown | Verdict::Pending | Verdict::PaidByName => Fate {
                open_for: open_for(true),
                touches,
                ..Fate::default()
            },
            Verdict::OtherMoney | Verdict::OtherOrder | Verdict::Failed => Fate {
                touches,
                ..Fate::default()
            },
            Verdict::Paid => {
                let own = |index: &usize| {
                    let (payment, history) = self.history(*index);
                    let session = payment.checkout_session.as_ref()?;
                    history.answer_to(session.reference.as_str())
                };
                let may: BTreeSet<usize> = match meant.as_slice() {
                    [only] => BTreeSet::from([*only]),
                    several => {
                        let paid = several.iter().filter(|index| own(index) == Some(Status::Completed));
                        paid.copied().collect()
                    }
                };
                let is_contradictory = meant.iter().any(|index| self.history(*index).1.contradiction.is_some());
                let is_certain = match meant.as_slice() {
                    [only] => !is_contradictory && matches!(own(only), None | Some(Status::Completed)),
                    _ => false,
                };
                // Of several, none or more than one is paid.
                let is_open = is_contradictory || meant.len() > 1;
                Fate {
                    may,
                    is_certain,
                    open_for: open_for(is_open),
                    touches,
                    // One of other money leaves its transaction unattached, so that the order's list brings it again.
                    may_be_said_too: claim.is_listed && !facts::has_own_money(fact),
                }
            }
        }
    }
}
