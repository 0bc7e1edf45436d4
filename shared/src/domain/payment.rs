//! A payment and the facts verified about it: the pure core, without store, clock or network.
//!
//! Guarantees: a status only climbs the ladder; only a completion whose money is the payment's own, under an id that is
//! not another payment's, makes it `completed`; a word that is not known moves nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::fact::{CaptureReference, Fact};
use crate::domain::id::{OrderId, PaymentId, Reference};
use crate::domain::money::Money;
use crate::domain::provider::Provider;
use crate::domain::redacted::Redacted;
use crate::domain::status::Status;
use crate::domain::time::Timestamp;

/// For how long a provider is believed that its page can be paid. A moment in some far year would be waited for as long.
pub const MAX_PAYMENT_TTL: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What a person should look at although the payment is completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttentionReason {
    /// A second matching completion came under another of the payment's provider ids.
    DuplicatePayment,
    /// A completion with other money came after the payment was completed.
    AmountMismatch,
}

impl AttentionReason {
    /// Its name, as it is stored and published.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DuplicatePayment => "duplicate_payment",
            Self::AmountMismatch => "amount_mismatch",
        }
    }
}

/// What the provider gave for the buyer to go on with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckoutSession {
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
    pub metadata: Option<Redacted<String>>,
    /// When the intent was stored.
    pub created_at: Timestamp,
    /// When anything below last changed.
    pub updated_at: Timestamp,
    /// Grows with every change; the store compares it, and consumers of events keep the highest.
    pub version: u64,
    /// Every id that the provider is known to have given this payment.
    pub references: BTreeSet<Reference>,
    /// What the provider gave for the buyer to go on with.
    pub checkout_session: Option<CheckoutSession>,
    /// The ids under which matching completions came.
    pub capture_references: BTreeSet<CaptureReference>,
    /// What a person should look at.
    pub attention: BTreeSet<AttentionReason>,
    /// The facts, by their digest, that `attention` is about, and those of other money that came before the payment's own.
    pub noted: BTreeSet<String>,
}

impl Payment {
    /// A new payment: the intent, before the provider hears of it.
    pub fn new(id: PaymentId, provider: Provider, money: Money, now: Timestamp) -> Self {
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
            checkout_session: None,
            capture_references: BTreeSet::new(),
            attention: BTreeSet::new(),
            noted: BTreeSet::new(),
        }
    }

    /// The provider accepted the payment and gave `checkout_session` and `references`.
    #[must_use]
    pub fn accept(
        &self,
        checkout_session: CheckoutSession,
        references: impl IntoIterator<Item = Reference>,
        now: Timestamp,
    ) -> Self {
        let mut after = self.clone();
        after.status = self.status.join(Status::Pending);
        after.references.insert(checkout_session.reference.clone());
        after.references.extend(references);
        after.checkout_session = Some(checkout_session);
        self.becomes(after, now)
    }

    /// Whether it was refused, and no id is known that an earlier attempt at it may have been given.
    pub fn is_only_rejected(&self) -> bool {
        self.status == Status::Failed && self.checkout_session.is_none() && self.references.is_empty()
    }

    /// The provider refused the payment.
    #[must_use]
    pub fn refuse(&self, references: impl IntoIterator<Item = Reference>, now: Timestamp) -> Self {
        let mut after = self.add_references(references, now);
        after.status = self.status.join(Status::Failed);
        self.becomes(after, now)
    }

    /// The provider is known to have given these ids, whatever else it said.
    #[must_use]
    pub fn add_references(&self, references: impl IntoIterator<Item = Reference>, now: Timestamp) -> Self {
        let mut after = self.clone();
        after.references.extend(references);
        self.becomes(after, now)
    }

    /// From when on the payment counts as expired if nothing was heard of it: the moment that the provider named, at most
    /// [`MAX_PAYMENT_TTL`] after the payment's creation, or the end of the time that it gives a buyer; and its
    /// [grace](crate::domain::provider::Capabilities::grace).
    pub fn expires_at(&self) -> Timestamp {
        let capabilities = self.provider.capabilities();
        let named = self
            .checkout_session
            .as_ref()
            .and_then(|checkout_session| checkout_session.expires_at);
        named
            .map(|named| named.min(self.created_at.plus(MAX_PAYMENT_TTL)))
            .unwrap_or_else(|| self.created_at.plus(capabilities.life))
            .plus(capabilities.grace)
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
    /// `owned_by_other` tells that one of the fact's ids is known to be another payment's. An operator has compared the money.
    pub fn implied_status(&self, fact: &Fact, owned_by_other: bool) -> Option<Status> {
        let is_own_money = (fact.operator.is_some() || fact.money() == Some(self.money)) && !owned_by_other;
        fact.outcome.implied_status().map(|rung| {
            if rung == Status::Completed && !is_own_money {
                Status::Review
            } else {
                rung
            }
        })
    }

    /// The payment once a fact about it is known. The fact's ids become the payment's, unless one is another payment's.
    #[must_use]
    pub fn apply(&self, fact: &Fact, owned_by_other: bool, now: Timestamp) -> Self {
        let mut after = self.clone();
        let rung = self.implied_status(fact, owned_by_other);
        after.status = self.status.join(rung.unwrap_or(self.status));
        if !owned_by_other {
            after.references.extend(fact.references().cloned());
        }
        if rung == Some(Status::Completed) {
            let capture_references = CaptureReference::of(fact);
            let is_second = |new: &CaptureReference| {
                !self.capture_references.contains(new)
                    && self.capture_references.iter().any(|known| new.is_another_than(known))
            };
            if capture_references.iter().any(is_second) {
                after.attention.insert(AttentionReason::DuplicatePayment);
                after.noted.insert(fact.digest());
            }
            after.capture_references.extend(capture_references);
        }
        if rung == Some(Status::Review) {
            if self.status == Status::Completed {
                after.attention.insert(AttentionReason::AmountMismatch);
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
