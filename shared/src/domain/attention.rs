//! Attention: why a person should look at a payment, beside its status.
//!
//! Guarantees: a payment has at most one entry for each reason. Every change of the entries increases
//! [`AttentionList::changes`], so that the change can be published under an id of its own. What a person acknowledged
//! is raised again by a new fact about the payment only, not because time passes or another payment changes.

use serde::{Deserialize, Serialize};

use crate::domain::decimal::Decimal;
use crate::domain::time::Timestamp;

/// A reason for which a person should look at a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttentionReason {
    /// A second matching completion arrived, under a different provider id of the same kind.
    DuplicatePayment,
    /// A completion that does not match arrived before or after the one that completed the payment: with another
    /// amount, another currency or an unreadable amount, or with an id of another payment.
    AmountMismatch,
    /// The provider reports that money went back to the buyer by a refund or a reversal.
    Refunded,
    /// The provider reports that the buyer's bank took money back, or claims it.
    Chargeback,
    /// Another payment of the same order, at either provider and in the same environment, is completed too.
    OrderPaidTwice,
    /// A webhook or a response to a poll has a status that nobody documented. Or a webhook contradicts itself, and its
    /// provider cannot be polled.
    UnrecognisedStatus,
    /// A webhook says that the payment's order was paid. It names only the order, and for a day the provider has neither
    /// confirmed nor denied it.
    UnconfirmedMatch,
    /// The payment is still authorized thirty days after its creation: neither paid nor cancelled.
    StillAuthorized,
    /// There was evidence of money, but the provider could not be polled, or knew nothing of the payment, until the
    /// last scheduled check.
    ProviderSilent,
    /// Every check of the payment fails, so that nobody would notice a lost webhook.
    Unprocessable,
}

impl AttentionReason {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::DuplicatePayment,
        Self::AmountMismatch,
        Self::Refunded,
        Self::Chargeback,
        Self::OrderPaidTwice,
        Self::UnrecognisedStatus,
        Self::UnconfirmedMatch,
        Self::StillAuthorized,
        Self::ProviderSilent,
        Self::Unprocessable,
    ];

    /// The name in the table, in events and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DuplicatePayment => "duplicate_payment",
            Self::AmountMismatch => "amount_mismatch",
            Self::Refunded => "refunded",
            Self::Chargeback => "chargeback",
            Self::OrderPaidTwice => "order_paid_twice",
            Self::UnrecognisedStatus => "unrecognised_status",
            Self::UnconfirmedMatch => "unconfirmed_match",
            Self::StillAuthorized => "still_authorized",
            Self::ProviderSilent => "provider_silent",
            Self::Unprocessable => "unprocessable",
        }
    }
}

/// A reason, with what is known about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attention {
    /// The reason.
    pub reason: AttentionReason,
    /// When it was last raised.
    pub since: Timestamp,
    /// The amount of the money concerned, in major units, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<Decimal>,
    /// The currency of `amount`: what the provider sent, in upper case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// When it happened at the provider, if it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Of an unconfirmed match: the digest of the claim. It is not published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
}

impl Attention {
    /// A reason that is raised at `since`, about which nothing else is known.
    pub const fn new(reason: AttentionReason, since: Timestamp) -> Self {
        Self {
            reason,
            since,
            amount: None,
            currency: None,
            at: None,
            claim: None,
        }
    }
}

/// The reasons for which a person should look at a payment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttentionList {
    entries: Vec<Attention>,
    changes: u64,
    acknowledged: Acknowledged,
}

/// What a person took away from a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    /// The reasons that no fact has touched since.
    pub reasons: Vec<AttentionReason>,
    /// The digests of claims. They never raise [`AttentionReason::UnconfirmedMatch`] again, but other claims do.
    pub claims: Vec<String>,
}

impl AttentionList {
    /// A stored list.
    pub const fn new(entries: Vec<Attention>, changes: u64, acknowledged: Acknowledged) -> Self {
        Self {
            entries,
            changes,
            acknowledged,
        }
    }

    /// The entries, the longest known reason first.
    pub fn entries(&self) -> &[Attention] {
        &self.entries
    }

    /// How often the list has changed.
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// What a person took away.
    pub const fn acknowledged(&self) -> &Acknowledged {
        &self.acknowledged
    }

    /// Whether there is no reason.
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The reasons.
    pub fn reasons(&self) -> impl Iterator<Item = AttentionReason> {
        self.entries.iter().map(|entry| entry.reason)
    }

    /// The entry of a reason.
    pub fn get(&self, reason: AttentionReason) -> Option<&Attention> {
        self.entries.iter().find(|entry| entry.reason == reason)
    }

    /// Raises a reason, because of a new fact. Replaces the entry of the same reason.
    pub fn raise(&mut self, attention: Attention) {
        self.forget_acknowledgement(attention.reason);
        let same = self.entries.iter_mut().find(|entry| entry.reason == attention.reason);
        match same {
            Some(entry) => *entry = attention,
            None => self.entries.push(attention),
        }
        self.changes = self.changes.saturating_add(1);
    }

    /// Raises a reason without a new fact about the payment: because time has passed, or because of another payment.
    /// Changes nothing if it is raised already, or was acknowledged.
    pub fn raise_by_clock(&mut self, attention: Attention) {
        let reason = attention.reason;
        let is_acknowledged = match &attention.claim {
            Some(claim) => self.acknowledged.claims.contains(claim),
            None => self.acknowledged.reasons.contains(&reason),
        };
        if self.get(reason).is_none() && !is_acknowledged {
            self.raise(attention);
        }
    }

    /// Takes a reason away, because a person has dealt with it.
    pub fn acknowledge(&mut self, reason: AttentionReason) {
        let claim = self.get(reason).and_then(|entry| entry.claim.clone());
        self.resolve(reason);
        match claim {
            Some(claim) => self.acknowledged.claims.push(claim),
            None => self.acknowledged.reasons.push(reason),
        }
    }

    /// Lets the clock raise a reason again, although a person took it away.
    pub fn forget_acknowledgement(&mut self, reason: AttentionReason) {
        self.acknowledged.reasons.retain(|acknowledged| *acknowledged != reason);
    }

    /// Takes a reason away, because of a fact. Its acknowledgement is forgotten: it can be raised anew.
    pub fn resolve(&mut self, reason: AttentionReason) {
        self.forget_acknowledgement(reason);
        let before = self.entries.len();
        self.entries.retain(|entry| entry.reason != reason);
        if self.entries.len() != before {
            self.changes = self.changes.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_has_each_reason_once_and_counts_its_changes() {
        let at = Timestamp::from_millis;
        let mut list = AttentionList::default();
        list.raise(Attention::new(AttentionReason::Refunded, at(1)));
        list.raise(Attention::new(AttentionReason::Chargeback, at(2)));
        list.raise(Attention::new(AttentionReason::Refunded, at(3)));
        let since: Vec<_> = list.entries().iter().map(|entry| (entry.reason, entry.since)).collect();
        assert_eq!(
            since,
            [(AttentionReason::Refunded, at(3)), (AttentionReason::Chargeback, at(2))]
        );
        assert_eq!(list.changes(), 3);
        list.resolve(AttentionReason::AmountMismatch);
        assert_eq!(list.changes(), 3, "nothing was taken away");
        list.resolve(AttentionReason::Refunded);
        list.resolve(AttentionReason::Chargeback);
        assert_eq!((list.is_empty(), list.changes()), (true, 5));
    }

    #[test]
    fn clock_does_not_raise_again_what_was_acknowledged() {
        let at = Timestamp::from_millis;
        let reason = AttentionReason::ProviderSilent;
        let mut list = AttentionList::default();
        list.raise_by_clock(Attention::new(reason, at(1)));
        list.raise_by_clock(Attention::new(reason, at(2)));
        assert_eq!(list.entries(), [Attention::new(reason, at(1))]);
        list.acknowledge(reason);
        list.raise_by_clock(Attention::new(reason, at(3)));
        assert_eq!((list.is_empty(), list.changes()), (true, 2));
        list.resolve(reason);
        list.raise_by_clock(Attention::new(reason, at(4)));
        assert_eq!(
            (list.entries().len(), list.changes()),
            (1, 3),
            "a fact has resolved it since"
        );
    }

    #[test]
    fn fact_raises_again_what_was_acknowledged() {
        let raised = |millis| Attention::new(AttentionReason::Refunded, Timestamp::from_millis(millis));
        let mut list = AttentionList::default();
        list.raise(raised(1));
        list.acknowledge(AttentionReason::Refunded);
        assert_eq!(
            (list.entries(), &*list.acknowledged().reasons),
            (&[][..], &[AttentionReason::Refunded][..])
        );
        list.raise(raised(2));
        assert_eq!(
            (list.entries(), list.acknowledged()),
            (&[raised(2)][..], &Acknowledged::default())
        );
    }

    #[test]
    fn stored_names_match_the_displayed_names() {
        for reason in AttentionReason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
        }
    }
}
