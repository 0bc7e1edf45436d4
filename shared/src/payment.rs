//! A payment and the facts verified about it: the pure core, without store, clock or network.
//!
//! Guarantees: a status only climbs the ladder; only a completion whose money is the payment's own, under an id that is
//! not another payment's, makes it `completed`; a word that is not known moves nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::id::{OrderId, PaymentId, Provider, Reference};
use crate::json::feed;
use crate::money::{Decimal, Money};
use crate::personal::Personal;
use crate::status::Status;

/// For how long a provider is believed that its page can be paid. A moment in some far year would be waited for as long.
pub const LONGEST_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What a provider said of a payment, in our terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// On its way.
    Pending,
    /// Promised, not paid.
    Authorized,
    /// Given up by the buyer.
    Cancelled,
    /// Refused or failed.
    Failed,
    /// Paid.
    Completed,
    /// A word, or a contradiction of words, that nobody documented: kept, and without effect.
    Unrecognised,
}

impl Outcome {
    /// Its name, as it is stored.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Authorized => "authorized",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Completed => "completed",
            Self::Unrecognised => "unrecognised",
        }
    }

    /// The rung of the ladder, for a payment's own money; none for a word that is not known.
    pub const fn rung(self) -> Option<Status> {
        match self {
            Self::Pending => Some(Status::Pending),
            Self::Authorized => Some(Status::Authorized),
            Self::Cancelled => Some(Status::Cancelled),
            Self::Failed => Some(Status::Failed),
            Self::Completed => Some(Status::Completed),
            Self::Unrecognised => None,
        }
    }
}

/// A person who settled by hand what no provider will say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// Who it was.
    pub who: String,
    /// On what grounds.
    pub why: String,
}

/// Something verified about a payment: by the signature of the provider's webhook, by asking the provider itself, or by
/// an operator's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fact {
    /// Who said it.
    pub provider: Provider,
    /// The provider's id of the payment (`processId`, `paymentId`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment: Option<Reference>,
    /// The provider's id of the transaction that the payment became (`txn_id`), where it has one of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction: Option<Reference>,
    /// The shop's order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_id: Option<OrderId>,
    /// What happened.
    pub outcome: Outcome,
    /// The provider's own words for it.
    pub words: String,
    /// The money moved, in major units; absent where none was readable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<Decimal>,
    /// The currency named, in upper case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// When it happened, as the provider wrote it. Not signed in a way that could be relied on; for people only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<String>,
    /// The operator whose word it is; absent for a provider's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<Operator>,
}

impl Fact {
    /// The provider's ids in the fact, each once.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        let transaction = self
            .transaction
            .as_ref()
            .filter(|transaction| self.payment.as_ref() != Some(transaction));
        self.payment.iter().chain(transaction)
    }

    /// The fact's identity: equal for every delivery and every shape of one fact, whatever its bytes. Lower-case hex
    /// SHA-256.
    pub fn digest(&self) -> String {
        let (amount, outcome) = (self.amount.as_ref().map(ToString::to_string), self.outcome.name());
        // An unknown word is its own meaning; known ones mean their outcome.
        let word = if self.outcome == Outcome::Unrecognised {
            self.words.as_str()
        } else {
            ""
        };
        let mut hash = Sha256::default();
        for part in [
            Some(self.provider.name()),
            self.payment.as_ref().map(Reference::as_str),
            self.transaction.as_ref().map(Reference::as_str),
            self.order_id.as_ref().map(OrderId::as_str),
            Some(outcome),
            Some(word),
            amount.as_deref(),
            self.currency.as_deref(),
            self.operator.as_ref().map(|operator| operator.who.as_str()),
            self.operator.as_ref().map(|operator| operator.why.as_str()),
        ] {
            match part {
                Some(text) => feed(&mut hash, b's', text),
                None => feed(&mut hash, b'n', ""),
            }
        }
        hex::encode(hash.finalize())
    }

    /// The money moved, if it is an amount in a currency. ApoloPay names no currency: its amounts are US dollars.
    pub fn money(&self) -> Option<Money> {
        let named = || self.currency.as_deref()?.to_ascii_uppercase().parse().ok();
        let currency = self.provider.profile().only_currency.or_else(named)?;
        Money::from_major(self.amount.as_ref()?, currency).ok()
    }
}

/// Under which of the provider's ids a matching completion came.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Receipt(String);

impl Receipt {
    /// A payment's and a transaction's ids name one receipt from two sides, so each is compared only with its own kind.
    pub fn of(fact: &Fact) -> BTreeSet<Self> {
        let kinds = [("payment", &fact.payment), ("transaction", &fact.transaction)];
        let receipt = |(kind, id): (&str, &Option<Reference>)| Some(Self(format!("{kind}:{}", id.as_ref()?)));
        kinds.into_iter().filter_map(receipt).collect()
    }

    fn kind(&self) -> &str {
        self.0.split_once(':').map_or("", |(kind, _)| kind)
    }

    fn is_another_than(&self, other: &Self) -> bool {
        self.kind() == other.kind() && self != other
    }
}

impl std::fmt::Display for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a person should look at although the payment is completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attention {
    /// A second matching completion came under another of the payment's provider ids.
    PaidTwice,
    /// A completion with other money came after the payment was completed.
    WrongMoney,
}

impl Attention {
    /// Its name, as it is stored and published.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PaidTwice => "paid_twice",
            Self::WrongMoney => "wrong_money",
        }
    }
}

/// What the provider gave for the buyer to go on with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Handoff {
    /// The `processId` (ApoloPay) or `paymentId` (FinvyPay).
    pub reference: Reference,
    /// Where the buyer pays, if the provider's flow redirects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_url: Option<String>,
    /// Until when, if the provider said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// A payment as it is stored. Of the buyer it holds nothing but what the caller chose to put into the metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Our id.
    pub id: PaymentId,
    /// Who takes the money.
    pub provider: Provider,
    /// The highest rung reached.
    pub status: Status,
    /// The shop's order.
    pub order_id: Option<OrderId>,
    /// What is to be paid.
    pub money: Money,
    /// How, where the shop chose (`apple_pay`).
    pub payment_method: Option<String>,
    /// The caller's own metadata as compact JSON, without `customerEmail`; what else is in it is the caller's affair.
    pub metadata: Option<Personal<String>>,
    /// When the intent was stored.
    pub created_at: Timestamp,
    /// When anything below last changed.
    pub updated_at: Timestamp,
    /// Grows with every change; the store compares it, and consumers of events keep the highest.
    pub version: u64,
    /// Every id that the provider is known to have given this payment.
    pub references: BTreeSet<Reference>,
    /// What the provider gave for the buyer to go on with.
    pub handoff: Option<Handoff>,
    /// The ids under which matching completions came.
    pub receipts: BTreeSet<Receipt>,
    /// What a person should look at.
    pub attention: BTreeSet<Attention>,
    /// The facts, by their digest, that `attention` is about, and those of other money that came before the payment's own.
    pub noted: BTreeSet<String>,
}

impl Payment {
    /// A new payment: the intent, before the provider hears of it.
    pub fn intend(id: PaymentId, provider: Provider, money: Money, now: Timestamp) -> Self {
        Self {
            id,
            provider,
            status: Status::Creating,
            order_id: None,
            money,
            payment_method: None,
            metadata: None,
            created_at: now,
            updated_at: now,
            version: 1,
            references: BTreeSet::new(),
            handoff: None,
            receipts: BTreeSet::new(),
            attention: BTreeSet::new(),
            noted: BTreeSet::new(),
        }
    }

    /// The provider accepted the payment and gave `handoff` and `references`.
    #[must_use]
    pub fn accept(&self, handoff: Handoff, references: impl IntoIterator<Item = Reference>, now: Timestamp) -> Self {
        let mut after = self.clone();
        after.status = self.status.join(Status::Pending);
        after.references.insert(handoff.reference.clone());
        after.references.extend(references);
        after.handoff = Some(handoff);
        self.becomes(after, now)
    }

    /// Whether it was refused, and no id is known that an earlier attempt at it may have been given.
    pub fn is_nothing_but_refused(&self) -> bool {
        self.status == Status::Failed && self.handoff.is_none() && self.references.is_empty()
    }

    /// The provider refused the payment.
    #[must_use]
    pub fn refuse(&self, references: impl IntoIterator<Item = Reference>, now: Timestamp) -> Self {
        let mut after = self.know(references, now);
        after.status = self.status.join(Status::Failed);
        self.becomes(after, now)
    }

    /// The provider is known to have given these ids, whatever else it said.
    #[must_use]
    pub fn know(&self, references: impl IntoIterator<Item = Reference>, now: Timestamp) -> Self {
        let mut after = self.clone();
        after.references.extend(references);
        self.becomes(after, now)
    }

    /// From when on the payment counts as expired if nothing was heard of it: the moment that the provider named, at most
    /// [`LONGEST_LIFE`] after the payment's creation, or the end of the time that it gives a buyer; and its
    /// [grace](crate::providers::Profile::grace).
    pub fn expires_at(&self) -> Timestamp {
        let profile = self.provider.profile();
        let named = self.handoff.as_ref().and_then(|handoff| handoff.expires_at);
        named
            .map(|named| named.min(self.created_at.plus(LONGEST_LIFE)))
            .unwrap_or_else(|| self.created_at.plus(profile.life))
            .plus(profile.grace)
    }

    /// Our own clock ran out, if it has at `now`. Soft: anything verified goes past it.
    #[must_use]
    pub fn expire(&self, now: Timestamp) -> Self {
        let mut after = self.clone();
        if self.status.is_payable() && now >= self.expires_at() {
            after.status = Status::Expired;
        }
        self.becomes(after, now)
    }

    /// The rung that a fact about this payment names; none for a word that is not known.
    ///
    /// `elsewhere` tells that one of the fact's ids is known to be another payment's. An operator has compared the money.
    pub fn rung(&self, fact: &Fact, elsewhere: bool) -> Option<Status> {
        let is_own_money = (fact.operator.is_some() || fact.money() == Some(self.money)) && !elsewhere;
        fact.outcome.rung().map(|rung| {
            if rung == Status::Completed && !is_own_money {
                Status::Review
            } else {
                rung
            }
        })
    }

    /// The payment once a fact about it is known. The fact's ids become the payment's, unless one is another payment's.
    #[must_use]
    pub fn witness(&self, fact: &Fact, elsewhere: bool, now: Timestamp) -> Self {
        let mut after = self.clone();
        let rung = self.rung(fact, elsewhere);
        after.status = self.status.join(rung.unwrap_or(self.status));
        if !elsewhere {
            after.references.extend(fact.references().cloned());
        }
        if rung == Some(Status::Completed) {
            let receipts = Receipt::of(fact);
            let is_second = |new: &Receipt| {
                !self.receipts.contains(new) && self.receipts.iter().any(|known| new.is_another_than(known))
            };
            if receipts.iter().any(is_second) {
                after.attention.insert(Attention::PaidTwice);
                after.noted.insert(fact.digest());
            }
            after.receipts.extend(receipts);
        }
        if rung == Some(Status::Review) {
            if self.status == Status::Completed {
                after.attention.insert(Attention::WrongMoney);
            }
            after.noted.insert(fact.digest());
        }
        self.becomes(after, now)
    }

    /// A new version, unless nothing changed.
    fn becomes(&self, after: Self, now: Timestamp) -> Self {
        let same = Self {
            version: self.version,
            updated_at: self.updated_at,
            ..after.clone()
        };
        if same == *self {
            return self.clone();
        }
        Self {
            version: self.version.saturating_add(1),
            updated_at: now.max(self.updated_at),
            ..after
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Currency;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn payment(provider: Provider) -> Payment {
        Payment::intend(
            PaymentId::random(),
            provider,
            Money::from_minor(2550, Currency::USD),
            NOW,
        )
    }

    #[test]
    fn a_version_is_new_and_later_where_something_changed_and_only_there() {
        let before = payment(Provider::FinvyPay);
        let fact = completion(Provider::FinvyPay, "p", "25.50", Some("USD"));
        let later = NOW.plus(Duration::from_secs(1));
        let after = before.witness(&fact, false, later);
        assert_eq!((after.version, after.updated_at), (before.version + 1, later));
        // The same once more, by a clock that is behind.
        assert_eq!(after.witness(&fact, false, NOW), after);
        let second = after.witness(&completion(Provider::FinvyPay, "q", "25.50", Some("USD")), false, NOW);
        assert_eq!(
            (second.version, second.updated_at),
            (after.version + 1, later),
            "time does not go back"
        );
        assert!(second.attention.contains(&Attention::PaidTwice));
    }

    #[test]
    fn names_are_those_that_are_stored() {
        for attention in [Attention::PaidTwice, Attention::WrongMoney] {
            assert_eq!(serde_json::to_value(attention).unwrap(), attention.name());
        }
        for receipt in Receipt::of(&completion(Provider::FinvyPay, "p", "1", None)) {
            assert_eq!(
                (receipt.to_string().as_str(), serde_json::to_value(&receipt).unwrap()),
                ("payment:p", "payment:p".into())
            );
        }
    }

    #[test]
    fn a_moment_in_some_far_year_is_not_waited_for() {
        let named = |expires_at| {
            let handoff = Handoff {
                reference: Reference::parse("x").unwrap(),
                redirect_url: None,
                expires_at: Some(expires_at),
            };
            payment(Provider::FinvyPay).accept(handoff, [], NOW).expires_at()
        };
        let grace = Provider::FinvyPay.profile().grace;
        assert_eq!(LONGEST_LIFE.as_secs(), 2_592_000, "thirty days");
        for (expires_at, at) in [
            (NOW.plus(Duration::from_secs(60)), NOW.plus(Duration::from_secs(60))),
            (NOW.plus(LONGEST_LIFE), NOW.plus(LONGEST_LIFE)),
            (Timestamp::from_millis(253_402_300_799_000), NOW.plus(LONGEST_LIFE)),
        ] {
            assert_eq!(named(expires_at), at.plus(grace));
        }
    }

    fn completion(provider: Provider, id: &str, amount: &str, currency: Option<&str>) -> Fact {
        Fact {
            provider,
            payment: Reference::parse(id),
            transaction: None,
            order_id: None,
            outcome: Outcome::Completed,
            words: "completed".to_owned(),
            amount: Decimal::parse(amount),
            currency: currency.map(str::to_owned),
            occurred_at: None,
            operator: None,
        }
    }

    #[test]
    fn only_the_payments_own_money_completes_it() {
        use Provider::{ApoloPay, FinvyPay};
        for (provider, amount, currency, status) in [
            (ApoloPay, "25.5", None, Status::Completed),
            (ApoloPay, "25.50", Some("EUR"), Status::Completed),
            (ApoloPay, "25.51", None, Status::Review),
            (ApoloPay, "25.505", None, Status::Review),
            (ApoloPay, "-25.5", None, Status::Review),
            (ApoloPay, "a lot", None, Status::Review),
            (FinvyPay, "25.50", Some("USD"), Status::Completed),
            (FinvyPay, "25.50", Some("usd"), Status::Completed),
            (FinvyPay, "25.50", Some("EUR"), Status::Review),
            (FinvyPay, "25.50", None, Status::Review),
            (FinvyPay, "2550", Some("USD"), Status::Review),
        ] {
            let after = payment(provider).witness(&completion(provider, "x", amount, currency), false, NOW);
            assert_eq!(after.status, status, "{provider} {amount} {currency:?}");
        }
    }

    #[test]
    fn a_completion_under_another_payments_id_is_reviewed_and_takes_no_id() {
        let fact = completion(Provider::ApoloPay, "x", "25.50", None);
        let after = payment(Provider::ApoloPay).witness(&fact, true, NOW);
        assert_eq!(after.status, Status::Review);
        assert!(after.references.is_empty() && after.receipts.is_empty());
    }

    #[test]
    fn a_second_receipt_is_noticed_once_per_kind_of_id() {
        let paid =
            payment(Provider::FinvyPay).witness(&completion(Provider::FinvyPay, "a", "25.50", Some("USD")), false, NOW);
        assert!(paid.attention.is_empty());
        let by_transaction = Fact {
            payment: None,
            transaction: Reference::parse("FP1"),
            ..completion(Provider::FinvyPay, "a", "25.50", Some("USD"))
        };
        let both = paid.witness(&by_transaction, false, NOW);
        assert!(
            both.attention.is_empty(),
            "the transaction's id is the same receipt seen from the other side"
        );
        let twice = both.witness(&completion(Provider::FinvyPay, "b", "25.50", Some("USD")), false, NOW);
        assert_eq!(twice.attention, BTreeSet::from([Attention::PaidTwice]));
        assert_eq!((twice.status, twice.noted.len()), (Status::Completed, 1));
        assert_eq!(
            twice.witness(&by_transaction, false, NOW),
            twice,
            "what is known is no news"
        );
        let thrice = twice.witness(&completion(Provider::FinvyPay, "c", "25.50", Some("USD")), false, NOW);
        assert_eq!((&thrice.attention, thrice.noted.len()), (&twice.attention, 2));
        let wrong = paid.witness(&completion(Provider::FinvyPay, "a", "1", Some("USD")), false, NOW);
        assert_eq!(
            (wrong.status, &wrong.attention),
            (Status::Completed, &BTreeSet::from([Attention::WrongMoney]))
        );
        let again = wrong.witness(&completion(Provider::FinvyPay, "a", "2", Some("USD")), false, NOW);
        assert_eq!((&again.attention, again.noted.len()), (&wrong.attention, 2));
        assert!(again.version > wrong.version, "it is news");
    }

    #[test]
    fn an_id_that_a_fact_gives_twice_counts_once() {
        let one = completion(Provider::FinvyPay, "a", "25.50", Some("USD"));
        let same = Fact {
            transaction: one.payment.clone(),
            ..one.clone()
        };
        let two = Fact {
            transaction: Reference::parse("b"),
            ..one.clone()
        };
        assert_eq!([one, same, two].map(|fact| fact.references().count()), [1, 1, 2]);
    }

    #[test]
    fn unrecognised_words_move_nothing() {
        for status in Status::LADDER {
            let before = Payment {
                status,
                ..payment(Provider::FinvyPay)
            };
            let fact = Fact {
                outcome: Outcome::Unrecognised,
                ..completion(Provider::FinvyPay, "x", "25.50", Some("USD"))
            };
            assert_eq!(before.witness(&fact, false, NOW).status, status);
        }
    }

    #[test]
    fn a_facts_identity_is_its_meaning() {
        let a = completion(Provider::ApoloPay, "x", "25.5", None);
        let b = Fact {
            amount: Decimal::parse("25.50"),
            words: "payment.completed".into(),
            occurred_at: Some("now".into()),
            ..a.clone()
        };
        assert_eq!(a.digest(), b.digest());
        for other in [
            completion(Provider::ApoloPay, "y", "25.5", None),
            completion(Provider::ApoloPay, "x", "25.6", None),
            Fact {
                outcome: Outcome::Failed,
                ..a.clone()
            },
            Fact {
                provider: Provider::FinvyPay,
                ..a.clone()
            },
        ] {
            assert_ne!(a.digest(), other.digest());
        }
    }

    fn fact() -> impl Strategy<Value = Fact> {
        let outcome = prop::sample::select(vec![
            Outcome::Pending,
            Outcome::Authorized,
            Outcome::Cancelled,
            Outcome::Failed,
            Outcome::Completed,
            Outcome::Unrecognised,
        ]);
        (
            outcome,
            "[ab]",
            prop::sample::select(vec!["25.50", "25.5", "1", "none"]),
        )
            .prop_map(|(outcome, id, amount)| Fact {
                outcome,
                ..completion(Provider::ApoloPay, &id, amount, None)
            })
    }

    proptest! {
        #[test]
        fn the_same_facts_end_in_the_same_status_whatever_their_order_and_repetition(
            facts in prop::collection::vec(fact(), 0..8),
            repeats in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
            seed in any::<prop::sample::Selector>(),
        ) {
            let fold = |facts: &[Fact]| facts.iter().fold(payment(Provider::ApoloPay), |payment, fact| payment.witness(fact, false, NOW));
            let mut shuffled: Vec<Fact> = facts.clone();
            if !facts.is_empty() {
                shuffled.extend(repeats.iter().map(|index| index.get(&facts).clone()));
                let half = seed.select(0..facts.len());
                shuffled.rotate_left(half);
                shuffled.reverse();
            }
            let (one, other) = (fold(&facts), fold(&shuffled));
            let other_money = facts.iter().filter(|fact| one.rung(fact, false) == Some(Status::Review));
            let other_money = other_money.map(Fact::digest).collect();
            prop_assert!(one.noted.is_superset(&other_money) && other.noted.is_superset(&other_money));
            prop_assert_eq!(one.status, other.status);
            prop_assert_eq!(one.references, other.references);
            prop_assert_eq!(one.receipts, other.receipts);
        }

        #[test]
        fn a_status_never_goes_down_and_a_version_never_stands_still(facts in prop::collection::vec(fact(), 0..12)) {
            let mut payment = payment(Provider::ApoloPay);
            for fact in &facts {
                let after = payment.witness(fact, false, NOW);
                prop_assert!(after.status >= payment.status);
                prop_assert_eq!(after.version > payment.version, after != payment);
                payment = after;
            }
        }
    }
}
