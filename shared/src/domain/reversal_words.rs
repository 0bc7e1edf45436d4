//! The words by which providers speak of money that went back to the buyer.
//!
//! A void counts as a refund: a voided capture is money that went back, and a voided authorization is money that never
//! comes in. A dispute counts as a chargeback from its first day, because the bank may hold the money already.

use crate::domain::fact::ReversalKind;

/// The stems of the words, as they are written without separators.
const STEMS: [(&str, ReversalKind); 7] = [
    ("chargeback", ReversalKind::Chargeback),
    ("chargedback", ReversalKind::Chargeback),
    ("dispute", ReversalKind::Chargeback),
    ("refund", ReversalKind::Refund),
    ("reversal", ReversalKind::Refund),
    ("reverse", ReversalKind::Refund),
    ("void", ReversalKind::Refund),
];

/// Endings that say the opposite of the stem before them: `refund_failed`, `chargeback.reversed`, `dispute.won`. A
/// dispute that is `closed` or `lost` has not been undone.
const UNDOING: [&str; 12] = [
    "canceled",
    "cancelled",
    "declined",
    "failed",
    "failure",
    "reinstated",
    "rejected",
    "removed",
    "reversal",
    "reversed",
    "undone",
    "won",
];

/// What may be between a stem and its opposite: `dispute.funds_reinstated`, or the name of a member, `refundStatus`.
const BETWEEN: [&str; 3] = ["funds", "state", "status"];

/// A word for money that went back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ReversalWord {
    /// How the money went back.
    pub(crate) kind: ReversalKind,
    /// Whether the text says that it did not, or came back again.
    pub(crate) undone: bool,
}

/// The words in a text, each kind once. The case and everything but ASCII letters do not matter.
pub(crate) fn reversal_words(text: &str) -> Vec<ReversalWord> {
    let letters: String = text.chars().filter(char::is_ascii_alphabetic).collect();
    // It only says what could happen.
    let letters = letters.to_ascii_lowercase().replace("refundable", "");
    let mut kinds: Vec<ReversalKind> = Vec::new();
    for (stem, kind) in STEMS {
        if letters.contains(stem) && !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let opposite = undone_kind(&letters);
    // `chargeback_reversed` has two stems, but only speaks of the chargeback.
    if let Some(kind) = opposite {
        return vec![ReversalWord { kind, undone: true }];
    }
    kinds
        .into_iter()
        .map(|kind| ReversalWord { kind, undone: false })
        .collect()
}

/// The kind of the only word before an ending that says the opposite. `None` if there is no such ending.
fn undone_kind(letters: &str) -> Option<ReversalKind> {
    let subject = UNDOING.iter().find_map(|ending| letters.strip_suffix(ending))?;
    let noun = BETWEEN.iter().find_map(|between| subject.strip_suffix(between));
    let noun = noun.unwrap_or(subject).trim_end_matches('s');
    let (_, kind) = STEMS.into_iter().find(|(stem, _)| noun.ends_with(stem))?;
    let is_other = |(stem, other): (&str, ReversalKind)| other != kind && subject.contains(stem);
    (!STEMS.into_iter().any(is_other)).then_some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_for_money_that_went_back_is_recognised_in_any_spelling() {
        use ReversalKind::{Chargeback, Refund};
        for (text, kind) in [
            ("refund", Refund),
            ("REFUNDED", Refund),
            ("partially_refunded", Refund),
            ("partial-refund", Refund),
            ("charge.refunded", Refund),
            ("payment.refunded", Refund),
            ("PaymentRefunded", Refund),
            ("refund.created", Refund),
            ("REFUND_PENDING", Refund),
            ("refund of order 5", Refund),
            ("REVERSAL", Refund),
            ("Payment Reversed", Refund),
            ("reverse", Refund),
            ("VOID", Refund),
            ("voided", Refund),
            ("chargeback", Chargeback),
            ("charge_back", Chargeback),
            ("charged-back", Chargeback),
            ("chargebacks", Chargeback),
            ("dispute", Chargeback),
            ("DISPUTED", Chargeback),
            ("charge.dispute.created", Chargeback),
            ("dispute.closed", Chargeback),
            ("dispute.lost", Chargeback),
            ("charge.dispute.funds_withdrawn", Chargeback),
            // Nobody knows which of them went back.
            ("failed_payment_refunded", Refund),
            ("refunded_order_failed", Refund),
            ("dispute.buyer_won", Chargeback),
        ] {
            assert_eq!(reversal_words(text), [ReversalWord { kind, undone: false }], "{text}");
        }
    }

    #[test]
    fn word_that_undoes_another_is_recognised() {
        use ReversalKind::{Chargeback, Refund};
        for (text, kind) in [
            ("refund_failed", Refund),
            ("refund.canceled", Refund),
            ("refund.cancelled", Refund),
            ("refundStatus REJECTED", Refund),
            ("refund_reversed", Refund),
            ("void_failed", Refund),
            ("reversal.declined", Refund),
            ("chargeback_reversed", Chargeback),
            ("CHARGEBACK_REVERSAL", Chargeback),
            ("dispute.won", Chargeback),
            ("disputes status won", Chargeback),
            ("charge.dispute.funds_reinstated", Chargeback),
        ] {
            assert_eq!(reversal_words(text), [ReversalWord { kind, undone: true }], "{text}");
        }
    }

    #[test]
    fn text_that_speaks_of_both_kinds_undoes_neither() {
        let both = [ReversalKind::Chargeback, ReversalKind::Refund].map(|kind| ReversalWord { kind, undone: false });
        for text in ["dispute_refunded", "dispute refund failed"] {
            assert_eq!(reversal_words(text), both, "{text}");
        }
    }

    #[test]
    fn other_words_do_not_speak_of_it() {
        for text in [
            "",
            "SUCCESS",
            "payment.completed",
            "charge",
            "refundable",
            "NON_REFUNDABLE",
            "irreversible",
            "fund",
            "cancelled",
            "won",
            "removed",
            "back charge",
        ] {
            assert_eq!(reversal_words(text), [], "{text}");
        }
    }
}
