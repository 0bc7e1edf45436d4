//! A payment and the facts verified about it: the pure core, without store, clock or network.
//!
//! Guarantees: a status only climbs the ladder; only a completion whose money is the payment's own, under an id that is
//! not another payment's, makes it `completed`; a word that is not known moves nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::fact::{Fact, Receipt};
use crate::domain::id::{OrderId, PaymentId, Reference};
use crate::domain::money::Money;
use crate::domain::provider::Provider;
use crate::domain::redacted::Personal;
use crate::domain::status::Status;
use crate::domain::time::Timestamp;

/// For how long a provider is believed that its page can be paid. A moment in some far year would be waited for as long.
pub const LONGEST_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

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
    /// [grace](crate::domain::provider::Profile::grace).
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
mod tests;
