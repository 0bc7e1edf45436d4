//! Which payment a notification belongs to that names only an order, by rules of the model's own.

use super::*;

/// Where a notification that names only an order ends. Payments have indexes.
#[derive(Clone, Debug, Default)]
struct Fate {
    /// The payments that it may be recorded with.
    may: BTreeSet<usize>,
    /// The payments that it must be recorded with.
    must: BTreeSet<usize>,
    /// The payment that has its id. Only then it is no longer unmatched, unless it is a completion.
    owner: Option<usize>,
    /// Of a completion that is recorded nowhere: the payments that need attention for it.
    open_for: BTreeSet<usize>,
    /// Whether FinvyPay's list may bring it again after it was recorded.
    may_come_again: bool,
}

impl Fate {
    fn certain(payment: usize) -> Self {
        Self {
            must: BTreeSet::from([payment]),
            ..Self::default()
        }
    }

    fn open(open_for: Vec<usize>) -> Self {
        Self {
            open_for: open_for.into_iter().collect(),
            ..Self::default()
        }
    }
}

/// What decides about the notifications of one order: its payments by index, oldest first.
struct Order<'a> {
    payments: Vec<(usize, &'a Payment, &'a History)>,
    trusts: bool,
}

impl Order<'_> {
    fn history(&self, index: usize) -> (&Payment, &History) {
        let (_, payment, history) = self.payments.iter().find(|(of, ..)| *of == index).unwrap();
        (payment, history)
    }

    /// The payments that were there before a notification.
    fn existing(&self, fact: &Fact) -> Vec<usize> {
        let payments = self.payments.iter();
        let existing = payments.filter(|(_, payment, _)| payment.created_at <= fact.received_at);
        existing.map(|(index, ..)| *index).collect()
    }

    /// Those of them with the money of a completion, all of which have the same; or the only one, if it has not.
    fn meant(&self, completion: &Fact) -> Vec<usize> {
        let existing = self.existing(completion);
        if facts::has_own_money(completion) || existing.len() == 1 {
            existing
        } else {
            Vec::new()
        }
    }

    fn is_vouched(&self, index: usize) -> bool {
        self.trusts || self.history(index).1.is_quoted
    }

    /// The payment that a completion belongs to at once: the only one with that money, if the shop vouched for it.
    fn at_once(&self, completion: &Fact) -> Option<usize> {
        match self.existing(completion).as_slice() {
            [only] if facts::has_own_money(completion) && self.is_vouched(*only) => Some(*only),
            _ => None,
        }
    }

    /// An event that is no completion. Its order decides if that leaves one payment, and its id once that has an owner.
    fn fate_of_event(&self, fact: &Fact, owner: Option<usize>) -> Fate {
        let mut meant = self.existing(fact);
        let is_readable = fact.amount.is_some() && matches!(fact.currency.as_deref(), Some("USD" | "EUR"));
        if fact.outcome == Outcome::Reversed {
            meant.retain(|index| self.history(*index).0.status == Status::Completed);
        } else if is_readable && !facts::has_own_money(fact) {
            meant.clear();
        }
        let only = meant.first().copied().filter(|_| meant.len() == 1);
        Fate {
            // Another payment may have been made, or completed, only later. And once the id is known, only that counts.
            may: meant.into_iter().collect(),
            must: owner.or(only).into_iter().collect(),
            owner,
            ..Fate::default()
        }
    }

    /// A completion under an id of the payment `of`, which may be unknown to us. `owner`: the payment that gets the id.
    fn fate_of_own(&self, of: usize, fact: &Fact, owner: Option<usize>) -> Fate {
        if let Some(owner) = owner {
            return Fate::certain(owner);
        }
        if let Some(only) = self.at_once(fact) {
            assert_eq!(only, of, "an id is there only after its payment");
            return Fate::certain(only);
        }
        // While another payment of the order is made, this one is the only one.
        let was_only = self.is_vouched(of) && facts::has_own_money(fact);
        let open_for = match self.history(of).1.answer(fact) {
            Some(Status::Failed | Status::Cancelled) => Vec::new(),
            _ => self.meant(fact),
        };
        Fate {
            may: was_only.then_some(of).into_iter().collect(),
            ..Fate::open(open_for)
        }
    }

    fn fate_of_claim(&self, claim: &Claim, fact: &Fact) -> Fate {
        if let Some(only) = self.at_once(fact) {
            return Fate::certain(only);
        }
        let is_there = self.payments.iter().any(|(index, ..)| *index == claim.payment);
        let fate = match claim.verdict(true, is_there) {
            Verdict::PaidByName => Fate::certain(claim.payment),
            Verdict::Paid => self.fate_of_paid(fact),
            Verdict::Unknown | Verdict::Pending => Fate::open(self.meant(fact)),
            Verdict::OtherMoney | Verdict::OtherOrder | Verdict::Failed => Fate::default(),
        };
        Fate {
            // Such money attaches no id, so the transaction stays unknown.
            may_come_again: claim.is_listed && !facts::has_own_money(fact),
            ..fate
        }
    }

    /// A claim that FinvyPay reports as paid, without metadata.
    fn fate_of_paid(&self, fact: &Fact) -> Fate {
        let meant = self.meant(fact);
        let own = |index: usize| {
            let (payment, history) = self.history(index);
            let session = payment.checkout_session.as_ref()?;
            history.answer_to(session.reference.as_str())
        };
        let is_contradictory = |index: usize| self.history(index).1.contradiction.is_some();
        let [only] = meant[..] else {
            let is_paid = |index: &usize| own(*index) == Some(Status::Completed);
            return Fate {
                may: meant.iter().copied().filter(is_paid).collect(),
                ..Fate::open(meant)
            };
        };
        match own(only) {
            _ if is_contradictory(only) => Fate {
                may: BTreeSet::from([only]),
                ..Fate::open(meant)
            },
            None | Some(Status::Completed) => Fate::certain(only),
            // Denied, unless it was confirmed before.
            Some(_) => Fate {
                may: BTreeSet::from([only]),
                ..Fate::default()
            },
        }
    }
}

/// The notifications that name only an order.
#[derive(Default)]
pub struct ByOrder {
    /// Those that are recorded, by payment.
    pub recorded: BTreeMap<usize, Vec<Fact>>,
    /// How many are unmatched.
    pub unmatched: usize,
    /// The payments with a claim that is neither confirmed nor denied.
    pub open_for: BTreeSet<usize>,
    /// The payments that may have one: if a claim came several times, it may count from the first or a later time.
    pub may_be_open_for: BTreeSet<usize>,
}

/// The number of claims, of those that were recorded, and of payments with an open one.
pub static CLAIMS: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];

/// FinvyPay's payments, and what is stored.
struct Ledgers<'a> {
    items: &'a [Value],
    histories: Vec<History>,
    payments: BTreeMap<usize, Payment>,
    trusts: bool,
}

impl Ledgers<'_> {
    fn order_of(&self, index: usize) -> Order<'_> {
        let order = &self.histories[index].order;
        let of_order = self.payments.iter();
        let of_order = of_order.filter(|(other, _)| self.histories[**other].order == *order);
        Order {
            payments: of_order
                .map(|(other, payment)| (*other, payment, &self.histories[*other]))
                .collect(),
            trusts: self.trusts,
        }
    }

    /// The payments whose ledgers have a fact.
    fn places(&self, fact: &Fact) -> BTreeSet<usize> {
        let sk = format!("FACT#{}", fact.digest());
        let has_fact = |payment: &Payment| {
            let is_fact = is_in_ledger(payment.id);
            self.items
                .iter()
                .any(|item| is_fact(item) && item["sk"]["S"] == sk.as_str())
        };
        let there = self.payments.iter().filter(|(_, payment)| has_fact(payment));
        there.map(|(index, _)| *index).collect()
    }

    /// The payment that gets an id of a webhook about the payment `of`.
    fn owner_of(&self, of: usize, fact: &Fact) -> Option<usize> {
        let history = &self.histories[of];
        let is_money = fact.outcome == Outcome::Completed;
        // FinvyPay is asked about the ids of money only.
        let is_learnt = |id: &Reference| history.is_named(id) || is_money && history.is_paid(id);
        if fact.references().any(is_learnt) {
            return Some(of);
        }
        // A completion of its money may attach the id itself.
        let is_own_money = is_money && facts::has_own_money(fact);
        let mut ids = fact.references().filter(|_| !is_own_money);
        ids.find_map(|id| self.captured(id))
    }

    /// The payment that got an id with a completion of its money.
    fn captured(&self, id: &Reference) -> Option<usize> {
        let is_capture = |item: &Value| {
            let fact = fact_in(item);
            fact.outcome == Outcome::Completed && facts::has_own_money(&fact) && fact.references().any(|of| of == id)
        };
        let mut payments = self.payments.iter();
        let captured = payments.find(|(_, payment)| {
            let is_fact = is_in_ledger(payment.id);
            self.items.iter().any(|item| is_fact(item) && is_capture(item))
        });
        captured.map(|(index, _)| *index)
    }

    /// Where the notifications may end, each as often as it came, by digest.
    fn fates(&self, claims: &[Claim]) -> BTreeMap<String, (Fact, Vec<Fate>)> {
        let mut fates: BTreeMap<String, (Fact, Vec<Fate>)> = BTreeMap::new();
        let mut add = |fact: &Fact, fate: Fate| {
            let known = fates.entry(fact.digest());
            known.or_insert_with(|| (fact.clone(), Vec::new())).1.push(fate);
        };
        for index in self.payments.keys() {
            let (order, history) = (self.order_of(*index), &self.histories[*index]);
            for fact in history
                .webhooks()
                .filter(|it| it.payment_id.is_none())
                .map(|it| &it.fact)
            {
                let owner = self.owner_of(*index, fact);
                if fact.outcome == Outcome::Completed {
                    add(fact, order.fate_of_own(*index, fact, owner));
                } else {
                    add(fact, order.fate_of_event(fact, owner));
                }
            }
        }
        for claim in claims {
            let order = self.order_of(claim.payment);
            let id = Reference::parse(&claim.transaction).unwrap();
            for fact in claim.webhooks.iter().map(|webhook| &webhook.fact) {
                if fact.outcome == Outcome::Completed {
                    add(fact, order.fate_of_claim(claim, fact));
                    continue;
                }
                let mut fate = order.fate_of_event(fact, self.captured(&id));
                // FinvyPay says the same when it is asked, about the payments that are there then.
                if claim.verdicts.contains(&Verdict::Pending) {
                    fate.may.extend(order.payments.iter().map(|(index, ..)| *index));
                }
                add(fact, fate);
            }
        }
        fates
    }
}

impl Simulation {
    /// Checks that each notification that names only an order is recorded with the payments that it belongs to, and
    /// unmatched as long as it must be.
    pub async fn assert_fates(&self, items: &[Value]) -> ByOrder {
        let histories = self.histories.iter().map(|history| history.lock().unwrap().clone());
        let mut ledgers = Ledgers {
            items,
            histories: histories.collect(),
            payments: BTreeMap::new(),
            trusts: self.matching.trusts_orders,
        };
        for (index, history) in ledgers.histories.iter().enumerate() {
            if let (Some(id), Provider::FinvyPay) = (history.id, history.provider) {
                let payment = self.store.payment(id).await.unwrap().unwrap();
                ledgers.payments.insert(index, payment);
            }
        }
        let claims = self.claims.lock().unwrap().clone();
        let stored = unmatched_in(items);
        let mut result = ByOrder::default();
        for (fact, fates) in ledgers.fates(&claims).into_values() {
            let places = ledgers.places(&fact);
            let shown = || {
                let of_order = ledgers.payments.values().filter(|it| it.order_id == fact.order_id);
                let made: Vec<_> = of_order.map(|payment| (payment.created_at, payment.status)).collect();
                let id = fact.transaction.as_ref().map(Reference::as_str);
                let claim = claims.iter().find(|claim| Some(claim.transaction.as_str()) == id);
                let said = claim.map(|claim| (claim.payment, claim.verdicts, claim.is_listed));
                format!("{fact:?} is with {places:?}: {fates:?}, of {made:?}, {said:?}")
            };
            // As `fact_in` reads it.
            let digest = Fact {
                reversals: Vec::new(),
                ..fact.clone()
            }
            .digest();
            let is_stored = stored.iter().any(|(_, stored)| *stored == digest);
            let must: BTreeSet<usize> = fates.iter().flat_map(|fate| fate.must.clone()).collect();
            let may: BTreeSet<usize> = fates.iter().flat_map(|fate| &fate.may | &fate.must).collect();
            assert!(must.is_subset(&places) && places.is_subset(&may), "{}", shown());
            if fact.outcome == Outcome::Completed {
                assert!(places.len() <= 1, "recorded twice: {}", shown());
                let may_be_both = fates.iter().any(|fate| fate.may_come_again);
                assert!(
                    places.is_empty() == is_stored || may_be_both && is_stored,
                    "{}",
                    shown()
                );
            } else {
                let is_owned = fates.iter().any(|fate| fate.owner.is_some());
                assert_eq!(is_stored, !is_owned, "unmatched until its id is known: {}", shown());
            }
            result.unmatched += usize::from(is_stored);
            if fact.outcome == Outcome::Completed && places.is_empty() {
                let is_always = |index: &&usize| fates.iter().all(|fate| fate.open_for.contains(index));
                let open: BTreeSet<usize> = fates.iter().flat_map(|fate| fate.open_for.clone()).collect();
                result.open_for.extend(open.iter().filter(is_always));
                result.may_be_open_for.extend(open);
            }
            for index in places {
                result.recorded.entry(index).or_default().push(fact.clone());
            }
        }
        for fact in claims
            .iter()
            .filter_map(|claim| claim.webhooks.last())
            .map(|it| &it.fact)
        {
            CLAIMS[0].fetch_add(1, Ordering::Relaxed);
            CLAIMS[1].fetch_add(ledgers.places(fact).len(), Ordering::Relaxed);
        }
        CLAIMS[2].fetch_add(result.open_for.len(), Ordering::Relaxed);
        // FinvyPay's own words about a claim's transaction are recorded with the order's only payment.
        for (index, payment) in &ledgers.payments {
            let is_fact = is_in_ledger(payment.id);
            let facts = items.iter().filter(|item| is_fact(item)).map(fact_in);
            let of_claims = facts.filter(|fact| {
                let id = fact.transaction.as_ref().map(Reference::as_str);
                fact.outcome != Outcome::Completed && claims.iter().any(|claim| Some(claim.transaction.as_str()) == id)
            });
            result.recorded.entry(*index).or_default().extend(of_claims);
        }
        result
    }
}
