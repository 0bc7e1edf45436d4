//! A payment, and how verified facts change it.
//!
//! Guarantees: the rank of the status never decreases. A provider's completion makes a payment `completed` only if its
//! amount and currency match and none of its ids belongs to another payment. An unrecognised status changes no status.
//! Only a payment about which nothing suggests money is ever deleted, and not if a fact arrives before.
//! What a person should know beside the status is in [`Payment::attention`], whatever the order of the facts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::attention::{Attention, AttentionList, AttentionReason};
use crate::domain::fact::{CaptureReference, Fact, Outcome, Reversal, ReversalKind};
use crate::domain::id::{OrderId, PaymentId, Reference};
use crate::domain::money::Money;
use crate::domain::provider::{Environment, Provider};
use crate::domain::redacted::Redacted;
use crate::domain::status::Status;
use crate::domain::time::Timestamp;

/// Upper bound on a provider's expiry time, so that a bogus date cannot keep a payment open.
pub const MAX_PAYMENT_TTL: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How many provider ids a payment may have at most to be deleted. A write that keeps it after all attaches each of
/// them anew, beside everything else that it changes, and a transaction has at most 100 steps.
pub const MAX_DELETED_REFERENCES: usize = 20;

/// How many reversals a payment keeps. Its ledger keeps all.
pub const MAX_REVERSALS: usize = 50;

/// The provider's data that the buyer needs to pay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckoutSession {
    /// The `processId` (ApoloPay) or `paymentId` (FinvyPay).
    pub reference: Reference,
    /// The page where the buyer pays, if the provider uses a redirect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_url: Option<String>,
    /// When it expires, if the provider said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// A payment as stored. It holds no data about the buyer except what the caller put into `metadata`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Our id.
    pub id: PaymentId,
    /// The payment provider.
    pub provider: Provider,
    /// The provider's system that the payment was made in. It never changes.
    pub environment: Environment,
    /// The status of the highest rank reached.
    pub status: Status,
    /// The shop's order.
    pub order_id: Option<OrderId>,
    /// The amount to be paid, and its currency.
    pub money: Money,
    /// The payment method, if the shop chose one (`apple_pay`).
    pub payment_method: Option<String>,
    /// The caller's metadata as compact JSON, without `customerEmail`. The caller is responsible for its contents.
    pub metadata: Option<Redacted<String>>,
    /// When the intent was stored.
    pub created_at: Timestamp,
    /// When the payment last changed.
    pub updated_at: Timestamp,
    /// Increases with every change. The store compares it, and consumers of events keep the highest.
    pub version: u64,
    /// Every provider id known to belong to this payment.
    pub references: BTreeSet<Reference>,
    /// The provider's data that the buyer needs to pay, once the provider accepted the payment.
    pub checkout_session: Option<CheckoutSession>,
    /// The provider ids of the matching completions.
    pub capture_references: BTreeSet<CaptureReference>,
    /// Why a person should look at the payment, beside its status.
    pub attention: AttentionList,
    /// How many completions did not match.
    pub mismatches: u64,
    /// The money that went back, and what of it was undone, each report once: the last [`MAX_REVERSALS`] of them.
    pub reversals: Vec<Reversal>,
    /// Whether a fact suggests that money has moved, or will: it was authorized, unrecognised, contradictory or about
    /// money that went back. Only kept up to date until the payment is completed or in review.
    pub has_evidence_of_money: bool,
    /// Until when the quote is kept that began the payment. It leads to the payment, which is not deleted before.
    pub quote_kept_until: Option<Timestamp>,
    /// When the payment is deleted, in whole seconds. `None` if it stays. Any change of the payment takes it away.
    pub delete_at: Option<Timestamp>,
}

impl Payment {
    /// A new intent: a payment not yet created at the provider.
    pub fn new(id: PaymentId, provider: Provider, environment: Environment, money: Money, now: Timestamp) -> Self {
        Self {
            id,
            provider,
            environment,
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
            attention: AttentionList::default(),
            mismatches: 0,
            reversals: Vec::new(),
            has_evidence_of_money: false,
            quote_kept_until: None,
            delete_at: None,
        }
    }

    /// The payment after the provider accepted it.
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
        self.with_new_version(after, now)
    }

    /// Whether the provider rejected the payment, and no call to it returned a provider id.
    pub fn is_rejected_without_provider_id(&self) -> bool {
        self.status == Status::Failed && self.checkout_session.is_none() && self.references.is_empty()
    }

    /// The payment after the provider rejected it.
    #[must_use]
    pub fn reject(&self, references: impl IntoIterator<Item = Reference>, now: Timestamp) -> Self {
        let mut after = self.add_references(references, now);
        after.status = self.status.join(Status::Failed);
        self.with_new_version(after, now)
    }

    /// The payment with more provider ids.
    #[must_use]
    pub fn add_references(&self, references: impl IntoIterator<Item = Reference>, now: Timestamp) -> Self {
        let mut after = self.clone();
        after.references.extend(references);
        self.with_new_version(after, now)
    }

    /// When the payment expires if no fact arrives: the provider's expiry time, limited by [`MAX_PAYMENT_TTL`], or else
    /// [`payment_ttl`](crate::domain::provider::Capabilities::payment_ttl) after creation; plus
    /// [`expiry_grace`](crate::domain::provider::Capabilities::expiry_grace).
    pub fn expires_at(&self) -> Timestamp {
        let capabilities = self.provider.capabilities();
        let named = self
            .checkout_session
            .as_ref()
            .and_then(|checkout_session| checkout_session.expires_at);
        named
            .map(|named| named.min(self.created_at.plus(MAX_PAYMENT_TTL)))
            .unwrap_or_else(|| self.created_at.plus(capabilities.payment_ttl))
            .plus(capabilities.expiry_grace)
    }

    /// The payment at `now`: `expired` if it is still payable and its time is over. If nothing suggests that it was
    /// paid, it also gets the time of its deletion: `delete_after` from `now` but not before its quote is deleted, or
    /// never for `None`.
    #[must_use]
    pub fn expire(&self, now: Timestamp, delete_after: Option<Duration>) -> Self {
        if now < self.expires_at() {
            return self.clone();
        }
        let mut after = self.clone();
        if self.status.is_payable() {
            after.status = Status::Expired;
        }
        if self.delete_at.is_none() && after.may_be_deleted() {
            let earliest = self.quote_kept_until.unwrap_or(now);
            let at = |wait| Timestamp::from_seconds(now.plus(wait).max(earliest).as_seconds());
            after.delete_at = delete_after.map(at);
        }
        self.with_new_version(after, now)
    }

    /// Whether nothing suggests that the payment was paid: every fact about it was that it is pending, cancelled or
    /// failed, and no money went back.
    fn may_be_deleted(&self) -> bool {
        matches!(self.status, Status::Expired | Status::Cancelled | Status::Failed)
            && !self.has_evidence_of_money
            && self.attention.is_empty()
            && self.reversals.is_empty()
            && self.references.len() <= MAX_DELETED_REFERENCES
    }

    /// The status that a fact implies for this payment; `None` if the fact's status was not recognised.
    ///
    /// A completion that does not match implies `review`. `owned_by_other`: one of the fact's ids belongs to another
    /// payment. The amount of an operator's fact is not compared: the operator did that.
    pub fn implied_status(&self, fact: &Fact, owned_by_other: bool) -> Option<Status> {
        let is_own_money = (fact.operator.is_some() || fact.money() == Some(self.money)) && !owned_by_other;
        fact.outcome.implied_status().map(|status| {
            if status == Status::Completed && !is_own_money {
                Status::Review
            } else {
                status
            }
        })
    }

    /// The payment after a new fact. Adds the fact's ids, unless one of them belongs to another payment
    /// (`owned_by_other`), or may belong to one. The payment is not deleted any more, whatever the fact says.
    #[must_use]
    pub fn apply(&self, fact: &Fact, owned_by_other: bool, now: Timestamp) -> Self {
        let mut after = self.clone();
        let implied = self.implied_status(fact, owned_by_other);
        after.status = self.status.join(implied.unwrap_or(self.status));
        after.has_evidence_of_money |= fact.outcome.is_evidence_of_money() && self.status < Status::Review;
        after.delete_at = None;
        if !owned_by_other {
            after.references.extend(fact.references().cloned());
        }
        match implied {
            Some(Status::Completed) => after.note_capture(fact, now),
            Some(Status::Review) => after.mismatches = self.mismatches.saturating_add(1),
            _ => {}
        }
        if fact.outcome == Outcome::Completed {
            after.attention.resolve(AttentionReason::UnconfirmedMatch);
        }
        // A further mismatching completion, or the first matching one after it: the payment may have been completed by
        // an operator before, who accepted the other money.
        let is_first_capture = self.capture_references.is_empty() && !after.capture_references.is_empty();
        let is_new = after.mismatches > self.mismatches || after.status > self.status || is_first_capture;
        if after.status == Status::Completed && after.mismatches > 0 && is_new && fact.operator.is_none() {
            let money = (implied == Some(Status::Review)).then_some(fact);
            after.attention.raise(Attention {
                amount: money.and_then(|fact| fact.amount.clone()),
                currency: money.and_then(|fact| fact.currency.clone()),
                ..Attention::new(AttentionReason::AmountMismatch, now)
            });
        }
        after.note_reversals(&fact.reversals, now);
        if after.status > Status::Authorized {
            after.attention.resolve(AttentionReason::StillAuthorized);
        }
        match (&fact.operator, fact.outcome) {
            (Some(_), _) => {}
            // New evidence, but no answer.
            (None, Outcome::Contradictory) => after.attention.forget_acknowledgement(AttentionReason::ProviderSilent),
            (None, _) => after.attention.resolve(AttentionReason::ProviderSilent),
        }
        if self.is_unclear(fact) {
            let attention = Attention::new(AttentionReason::UnrecognisedStatus, now);
            after.attention.raise(attention);
        }
        self.with_new_version(after, now)
    }

    /// The payment after a person has dealt with a reason for attention.
    #[must_use]
    pub fn acknowledge(&self, reason: AttentionReason, now: Timestamp) -> Self {
        let mut after = self.clone();
        after.attention.acknowledge(reason);
        self.with_new_version(after, now)
    }

    /// The payment after a check at `now` found `raised`, and no longer `resolved`: reasons for attention that no fact
    /// about the payment brings, but the passing of time or another payment.
    #[must_use]
    pub fn update_attention(&self, raised: &[AttentionReason], resolved: &[AttentionReason], now: Timestamp) -> Self {
        let mut after = self.clone();
        resolved.iter().for_each(|reason| after.attention.resolve(*reason));
        raised
            .iter()
            .for_each(|reason| after.attention.raise_by_clock(Attention::new(*reason, now)));
        self.with_new_version(after, now)
    }

    /// The payment after the check of a claim that may mean it. `is_unconfirmed`: for too long the provider has neither
    /// confirmed nor denied it. Otherwise the reason goes, if this claim has raised it.
    #[must_use]
    pub fn update_unconfirmed(&self, claim: &Fact, is_unconfirmed: bool, now: Timestamp) -> Self {
        let mut after = self.clone();
        let reason = AttentionReason::UnconfirmedMatch;
        let of_claim = Attention {
            amount: claim.amount.clone(),
            currency: claim.currency.clone(),
            claim: Some(claim.digest()),
            ..Attention::new(reason, now)
        };
        let raised = after.attention.get(reason);
        let has_raised = raised.is_some_and(|raised| raised.claim == of_claim.claim);
        if is_unconfirmed {
            after.attention.raise_by_clock(of_claim);
        } else if has_raised {
            after.attention.resolve(reason);
        }
        self.with_new_version(after, now)
    }

    /// Whether a completion is known to be another payment of the same money than one that came before.
    pub fn is_second_capture(&self, fact: &Fact) -> bool {
        let known = &self.capture_references;
        CaptureReference::of(fact)
            .iter()
            .any(|new| !known.contains(new) && known.iter().any(|known| new.differs_within_kind(known)))
    }

    /// Whether refunds certainly gave back all of the money, as far as the provider named their amounts. One that was
    /// undone does not count, nor one in another currency.
    ///
    /// Only refunds with different ids add up, or of those without an id the ones with different times: others may be one
    /// refund, reported in several ways. One id or time counts once, with its last report.
    pub fn is_fully_refunded(&self) -> bool {
        let currency = self.money.currency();
        let counts = |refund: &&Reversal| {
            refund.kind == ReversalKind::Refund
                && !refund.undone
                && !self.is_undone(refund)
                && refund.currency.as_ref().is_none_or(|named| named == currency.code())
        };
        let (mut by_id, mut by_time, mut largest) = (BTreeMap::new(), BTreeMap::new(), 0_u64);
        for refund in self.reversals.iter().filter(counts) {
            let Some(amount) = refund.amount.as_ref().and_then(|it| it.shifted(currency.decimals())) else {
                continue;
            };
            match (&refund.id, refund.at) {
                (Some(id), _) => *by_id.entry(id).or_default() = amount,
                (None, Some(at)) => *by_time.entry(at).or_default() = amount,
                (None, None) => largest = amount.max(largest),
            }
        }
        let by_id = by_id.into_values().fold(0, u64::saturating_add);
        let by_time = by_time.into_values().fold(0, u64::saturating_add);
        largest.max(by_id).max(by_time) >= self.money.minor()
    }

    /// Notes a matching completion, and whether it is the second.
    fn note_capture(&mut self, fact: &Fact, now: Timestamp) {
        let capture_references = CaptureReference::of(fact);
        if self.is_second_capture(fact) {
            self.attention.raise(Attention {
                amount: fact.amount.clone(),
                currency: fact.currency.clone(),
                ..Attention::new(AttentionReason::DuplicatePayment, now)
            });
        }
        self.capture_references.extend(capture_references);
    }

    /// Notes refunds and chargebacks, and their undoing. The reason shows the latest that was not undone, and goes with
    /// the last one. An unknown time is the latest, and an undoing without a time is ignored: a person should rather look
    /// in vain.
    fn note_reversals(&mut self, reversals: &[Reversal], now: Timestamp) {
        for reversal in reversals {
            // The same one, reported again under another kind of id.
            if self.reversals.contains(reversal) {
                continue;
            }
            self.reversals.push(reversal.clone());
            let surplus = self.reversals.len().saturating_sub(MAX_REVERSALS);
            self.reversals.drain(..surplus);
            let reason = match reversal.kind {
                ReversalKind::Refund => AttentionReason::Refunded,
                ReversalKind::Chargeback => AttentionReason::Chargeback,
            };
            let is_new = !reversal.undone && !self.is_undone(reversal);
            let known = self.attention.get(reason);
            let since = known.filter(|_| !is_new).map_or(now, |known| known.since);
            let left = self.latest_left(reversal.kind).map(|left| Attention {
                amount: left.amount.clone(),
                currency: left.currency.clone(),
                at: left.at,
                ..Attention::new(reason, since)
            });
            match left {
                None => self.attention.resolve(reason),
                Some(left) if is_new || known.is_some_and(|known| *known != left) => self.attention.raise(left),
                Some(_) => {}
            }
        }
    }

    /// The latest reversal of a kind that was not undone.
    fn latest_left(&self, kind: ReversalKind) -> Option<&Reversal> {
        let is_left = |it: &&Reversal| it.kind == kind && !it.undone && !self.is_undone(it);
        let left = self.reversals.iter().filter(is_left);
        left.max_by_key(|reversal| (reversal.at.is_none(), reversal.at))
    }

    /// Whether the provider later undid a reversal: this one by its id, or all at once, without an id. Unknown times do
    /// not tell.
    fn is_undone(&self, reversal: &Reversal) -> bool {
        let is_meant =
            |it: &&Reversal| it.undone && it.kind == reversal.kind && (it.id.is_none() || it.id == reversal.id);
        let undone = self.reversals.iter().filter(is_meant);
        let last = undone.filter_map(|undone| undone.at).max();
        reversal.at.is_some_and(|at| last.is_some_and(|last| at < last))
    }

    /// Whether nobody can tell what a provider's fact means for this payment, although money may have moved.
    fn is_unclear(&self, fact: &Fact) -> bool {
        let can_be_asked = self.provider.capabilities().supports_status_query;
        let is_unclear = match fact.outcome {
            Outcome::Unrecognised => true,
            Outcome::Contradictory => !can_be_asked,
            Outcome::Pending
            | Outcome::Authorized
            | Outcome::Cancelled
            | Outcome::Failed
            | Outcome::Completed
            | Outcome::Reversed => false,
        };
        is_unclear && fact.operator.is_none()
    }

    /// `after` with a new version, or `self` if nothing changed. A change takes away the time of deletion that `self`
    /// has. One that is new in `after` stays.
    fn with_new_version(&self, after: Self, now: Timestamp) -> Self {
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
            delete_at: after.delete_at.filter(|_| self.delete_at.is_none()),
            ..after
        }
    }
}

#[cfg(test)]
mod tests;
