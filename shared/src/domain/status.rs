//! The ladder of statuses and its join, as data.
//!
//! Guarantee: a payment's status is the highest rung that any verified fact about it names. [`Status::join`] is
//! commutative, associative and idempotent, so the order and the repetition of facts cannot matter.

use serde::{Deserialize, Serialize};

/// The state of a payment, in the order of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Our intent is stored; the provider's answer is not known.
    Creating,
    /// The provider accepted the payment.
    Pending,
    /// Our own clock ran out; soft, anything verified goes past it.
    Expired,
    /// The buyer's bank promised the money. Not paid.
    Authorized,
    /// The buyer gave up.
    Cancelled,
    /// The provider refused the payment, or it failed there.
    Failed,
    /// Money moved that does not match: a person must look. Never shown as paid.
    Review,
    /// A verified, matching completion. Final.
    Completed,
}

impl Status {
    /// Every status, lowest rung first: the whole state machine.
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

    /// The rung: what the store compares in the one conditional write.
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

    /// The name, as it is stored and shown.
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

    /// The higher of two rungs.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        self.max(other)
    }

    /// Whether the buyer may still be sent on to pay.
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
    fn ranks_are_the_ladder() {
        for (rung, status) in Status::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(status.rank()), rung);
            assert_eq!(serde_json::to_value(status).unwrap(), status.name());
        }
        assert!(Status::ALL.is_sorted());
    }

    /// Over every status, every pair and every triple that there is.
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
        // Past the capture of a test's output.
        writeln!(std::io::stderr(), "join: {cases}").unwrap();
        assert_eq!((singles, pairs, triples), (8, 64, 512));
    }

    #[test]
    fn nothing_takes_completed_away() {
        for status in Status::ALL {
            assert_eq!(status.join(Status::Completed), Status::Completed);
        }
    }
}
