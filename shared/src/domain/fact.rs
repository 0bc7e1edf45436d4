//! Verified facts about payments.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::decimal::Decimal;
use crate::domain::id::{OrderId, Reference};
use crate::domain::json::feed_text;
use crate::domain::money::Money;
use crate::domain::provider::Provider;
use crate::domain::status::Status;
use crate::domain::time::Timestamp;

/// A provider's status of a payment, in our terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Not paid yet.
    Pending,
    /// Authorized by the buyer's bank, not paid yet.
    Authorized,
    /// Cancelled by the buyer.
    Cancelled,
    /// Rejected or failed.
    Failed,
    /// Paid.
    Completed,
    /// An undocumented status, or an operator's *close* or *acknowledge*. Stored, but changes no status.
    Unrecognised,
    /// A message that contradicts itself, such as `SUCCESS` beside an error. Stored, but changes no status; the
    /// provider is polled, if it can be.
    Contradictory,
    /// The provider reports that money went back to the buyer: [`Fact::reversals`]. A completion or an unclear status
    /// beside that is no money coming in. Stored, but changes no status.
    Reversed,
}

impl Outcome {
    /// The name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Authorized => "authorized",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Completed => "completed",
            Self::Unrecognised => "unrecognised",
            Self::Contradictory => "contradictory",
            Self::Reversed => "reversed",
        }
    }

    /// Whether money may have moved, or will, if this is said of an unpaid payment.
    pub const fn is_evidence_of_money(self) -> bool {
        match self {
            Self::Pending | Self::Cancelled | Self::Failed => false,
            Self::Authorized | Self::Completed | Self::Unrecognised | Self::Contradictory | Self::Reversed => true,
        }
    }

    /// The status that the outcome implies if the money matches; `None` for an unrecognised, contradictory or reversed
    /// one.
    pub const fn implied_status(self) -> Option<Status> {
        match self {
            Self::Pending => Some(Status::Pending),
            Self::Authorized => Some(Status::Authorized),
            Self::Cancelled => Some(Status::Cancelled),
            Self::Failed => Some(Status::Failed),
            Self::Completed => Some(Status::Completed),
            Self::Unrecognised | Self::Contradictory | Self::Reversed => None,
        }
    }
}

/// How money went back to the buyer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReversalKind {
    /// The shop or the provider gave it back: a refund, a reversal.
    Refund,
    /// The buyer's bank took it back or claims it: a chargeback, a dispute.
    Chargeback,
}

impl ReversalKind {
    /// The name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refund => "refund",
            Self::Chargeback => "chargeback",
        }
    }
}

/// Money that went back to the buyer, as the provider reports it, in part or in whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reversal {
    /// How it went back.
    pub kind: ReversalKind,
    /// Whether the provider has undone it: the money is ours again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undone: bool,
    /// The provider's id of the refund, chargeback or dispute, if there is a readable one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Reference>,
    /// The amount in major units, if the provider gives it. Of several refunds: their sum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<Decimal>,
    /// The currency of `amount` in upper case, if the provider gives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// When it went back, or was undone, if the provider says so in a readable way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// The time of the message, if there is neither an `id` nor `at`: it tells two refunds of the same amount apart. For
    /// that only: it may be the time of the payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_at: Option<Timestamp>,
}

impl Reversal {
    fn feed(&self, hash: &mut Sha256) {
        let amount = self.amount.as_ref().map(ToString::to_string);
        let [at, reported_at] = [self.at, self.reported_at].map(|time| time.map(|time| time.to_string()));
        for part in [
            Some(self.kind.name()),
            self.undone.then_some("undone"),
            self.id.as_ref().map(Reference::as_str),
            amount.as_deref(),
            self.currency.as_deref(),
            at.as_deref(),
            reported_at.as_deref(),
        ] {
            feed_text(hash, part);
        }
    }
}

/// The person who resolved a payment by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// Their name.
    pub actor: String,
    /// Why they did it.
    pub reason: String,
}

/// A verified statement about a payment: a signed webhook, the provider's response to a status query, or an operator's
/// command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fact {
    /// The payment provider.
    pub provider: Provider,
    /// The provider's id of the payment (`processId`, `paymentId`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment: Option<Reference>,
    /// The provider's id of the payment's transaction (`txn_id`), if there is one. For ApoloPay: the second of two
    /// different payment ids in one webhook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction: Option<Reference>,
    /// The shop's order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_id: Option<OrderId>,
    /// The status that the fact reports, in our terms.
    pub outcome: Outcome,
    /// The status names that the provider sent, joined by spaces.
    pub raw_status: String,
    /// The amount in major units; absent if there is no readable one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<Decimal>,
    /// The currency that the provider named, in upper case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// The money that went back to the buyer. Never empty if `outcome` is [`Outcome::Reversed`], always empty if it is
    /// [`Outcome::Completed`] or [`Outcome::Authorized`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reversals: Vec<Reversal>,
    /// When it happened, as the provider wrote it. No part of the fact's identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<String>,
    /// When the provider created the payment or transaction, if it says so. No part of the fact's identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// Whether the provider's report has metadata, but not ours: the payment is another system's. No part of the fact's
    /// identity.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_foreign: bool,
    /// When we received it, in milliseconds since 1970. No part of the fact's identity.
    pub received_at: Timestamp,
    /// The operator; absent if the fact is from the provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<Operator>,
}

impl Fact {
    /// The provider ids in the fact, each once.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        let transaction = self
            .transaction
            .as_ref()
            .filter(|transaction| self.payment.as_ref() != Some(transaction));
        self.payment.iter().chain(transaction)
    }

    /// The fact's identity, as lower-case hex SHA-256. Repeated notifications of one fact have the same digest,
    /// whatever their format.
    pub fn digest(&self) -> String {
        let (amount, outcome) = (self.amount.as_ref().map(ToString::to_string), self.outcome.name());
        // Recognised status names count as their outcome; others count as themselves.
        let unrecognised = if self.outcome.implied_status().is_none() {
            self.raw_status.as_str()
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
            Some(unrecognised),
            amount.as_deref(),
            self.currency.as_deref(),
            self.operator.as_ref().map(|operator| operator.actor.as_str()),
            self.operator.as_ref().map(|operator| operator.reason.as_str()),
        ] {
            feed_text(&mut hash, part);
        }
        for reversal in &self.reversals {
            reversal.feed(&mut hash);
        }
        hex::encode(hash.finalize())
    }

    /// The amount and currency, if both are readable. A provider with only one currency need not name it.
    pub fn money(&self) -> Option<Money> {
        let named = || self.currency.as_deref()?.to_ascii_uppercase().parse().ok();
        let currency = self.provider.capabilities().only_currency.or_else(named)?;
        Money::from_major(self.amount.as_ref()?, currency).ok()
    }
}

/// A provider id of a matching completion, with its kind: `payment:ID` or `transaction:ID`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CaptureReference(String);

impl CaptureReference {
    /// The references in a fact, at most one of each kind. The two kinds identify the same capture, so references are
    /// only compared within their kind.
    pub fn of(fact: &Fact) -> BTreeSet<Self> {
        let kinds = [("payment", &fact.payment), ("transaction", &fact.transaction)];
        let reference = |(kind, id): (&str, &Option<Reference>)| Some(Self(format!("{kind}:{}", id.as_ref()?)));
        kinds.into_iter().filter_map(reference).collect()
    }

    fn kind(&self) -> &str {
        self.0.split_once(':').map_or("", |(kind, _)| kind)
    }

    pub(super) fn differs_within_kind(&self, other: &Self) -> bool {
        self.kind() == other.kind() && self != other
    }
}

impl std::fmt::Display for CaptureReference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
