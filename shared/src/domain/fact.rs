//! Facts verified about a payment.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::decimal::Decimal;
use crate::domain::id::{OrderId, Reference};
use crate::domain::json::feed;
use crate::domain::money::Money;
use crate::domain::provider::Provider;
use crate::domain::status::Status;

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
    /// A word, or a contradiction of raw_status, that nobody documented: kept, and without effect.
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
    pub const fn implied_status(self) -> Option<Status> {
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
    pub actor: String,
    /// On what grounds.
    pub reason: String,
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
    /// The provider's own raw_status for it.
    pub raw_status: String,
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
            Some(word),
            amount.as_deref(),
            self.currency.as_deref(),
            self.operator.as_ref().map(|operator| operator.actor.as_str()),
            self.operator.as_ref().map(|operator| operator.reason.as_str()),
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
        let currency = self.provider.capabilities().only_currency.or_else(named)?;
        Money::from_major(self.amount.as_ref()?, currency).ok()
    }
}

/// Under which of the provider's ids a matching completion came.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CaptureReference(String);

impl CaptureReference {
    /// A payment's and a transaction's ids name one receipt from two sides, so each is compared only with its own kind.
    pub fn of(fact: &Fact) -> BTreeSet<Self> {
        let kinds = [("payment", &fact.payment), ("transaction", &fact.transaction)];
        let receipt = |(kind, id): (&str, &Option<Reference>)| Some(Self(format!("{kind}:{}", id.as_ref()?)));
        kinds.into_iter().filter_map(receipt).collect()
    }

    fn kind(&self) -> &str {
        self.0.split_once(':').map_or("", |(kind, _)| kind)
    }

    pub(super) fn is_another_than(&self, other: &Self) -> bool {
        self.kind() == other.kind() && self != other
    }
}

impl std::fmt::Display for CaptureReference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
