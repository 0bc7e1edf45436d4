//! The statuses of a payment and their order.
//!
//! Guarantee: a payment has the status of the highest rank that any verified fact about it, the provider's response to
//! the create call, or our own clock has reached. The *join* of two statuses is the one of higher rank.
//! [`Status::join`] is commutative, associative and idempotent, so neither the order nor the repetition of facts
//! matters.

use serde::{Deserialize, Serialize};

/// The status of a payment, in order of rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The intent is stored; the provider's response is not known yet.
    Creating,
    /// The provider accepted the payment.
    Pending,
    /// The payment expired by our clock. Not final: any fact that implies a higher status overrides it.
    Expired,
    /// The buyer's bank authorized the payment. Not paid yet.
    Authorized,
    /// The buyer cancelled the payment.
    Cancelled,
    /// The provider rejected the payment, or the payment failed there.
    Failed,
    /// The provider reported a completion that does not match the payment. Manual review required; never shown as paid.
    Review,
    /// The provider reported a completion that matches, or an operator confirmed it. Final.
    Completed,
}

impl Status {
    /// Every status, lowest rank first.
    pub const ALL: [Self; 8] = [
        Self::Creating,
        Self::Pending,
        Self::Expired,
        Self::Authorized,
        Self::Cancelled,
        Self::Failed,
        Self::Review,
        Self::Completed,
    ];

    /// The position in the order of statuses. The store's conditional write compares it.
    pub const fn rank(self) -> u8 {
        match self {
            Self::Creating => 0,
            Self::Pending => 1,
            Self::Expired => 2,
            Self::Authorized => 3,
            Self::Cancelled => 4,
            Self::Failed => 5,
            Self::Review => 6,
            Self::Completed => 7,
        }
    }

    /// The name in the table, the API and events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Pending => "pending",
            Self::Expired => "expired",
            Self::Authorized => "authorized",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Review => "review",
            Self::Completed => "completed",
        }
    }

    /// The status of higher rank.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        self.max(other)
    }

    /// Whether the buyer can still start paying.
    pub fn is_payable(self) -> bool {
        self <= Self::Pending
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::Status;

    #[test]
    fn ranks_follow_the_order_of_all_statuses() {
        for (rank, status) in Status::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(status.rank()), rank);
            assert_eq!(serde_json::to_value(status).unwrap(), status.name());
        }
        assert!(Status::ALL.is_sorted());
    }

    /// Checks every status, every pair and every triple.
    #[test]
    fn join_is_idempotent_commutative_and_associative() {
        let (mut singles, mut pairs, mut triples) = (0, 0, 0);
        for a in Status::ALL {
            assert_eq!(a.join(a), a);
            singles += 1;
            for b in Status::ALL {
                assert_eq!(a.join(b), b.join(a));
                assert_eq!(a.join(b).rank(), a.rank().max(b.rank()));
                pairs += 1;
                for c in Status::ALL {
                    assert_eq!(a.join(b).join(c), a.join(b.join(c)));
                    triples += 1;
                }
            }
        }
        let cases = format!("{singles} cases of idempotence, {pairs} of commutativity, {triples} of associativity");
        // Written to stderr so that the test harness does not capture it.
        writeln!(std::io::stderr(), "join: {cases}").unwrap();
        assert_eq!((singles, pairs, triples), (8, 64, 512));
    }

    #[test]
    fn join_with_completed_is_always_completed() {
        for status in Status::ALL {
            assert_eq!(status.join(Status::Completed), Status::Completed);
        }
    }
}
