//! The words by which providers speak of money that went back to the buyer.
//!
//! A void counts as a refund: a voided capture is money that went back. A dispute counts as a chargeback from its first
//! day, because the bank may hold the money already.

use crate::domain::decimal::Decimal;
use crate::domain::fact::ReversalKind;

/// The stems of the words. `void` is one only at the beginning of a part of a text: not in `avoided`.
const STEMS: [(&str, ReversalKind); 6] = [
    ("chargeback", ReversalKind::Chargeback),
    ("chargedback", ReversalKind::Chargeback),
    ("dispute", ReversalKind::Chargeback),
    ("refund", ReversalKind::Refund),
    ("reversal", ReversalKind::Refund),
    ("reverse", ReversalKind::Refund),
];

/// What every word for a reversal begins with, in lower case.
const BEGINNINGS: [&[u8]; 5] = [b"charge", b"dispute", b"refund", b"revers", b"void"];

/// Whether a text contains the letters of a stem, whatever is around and between them: a quick check before the words
/// are read.
pub(crate) fn has_stem(text: &str) -> bool {
    let text = text.as_bytes();
    (0..text.len()).any(|at| {
        let rest = text.get(at..).unwrap_or_default();
        let begins = |with: &&[u8]| {
            rest.get(..with.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(with))
        };
        BEGINNINGS.iter().any(begins)
    })
}

/// The endings of a stem that leave its meaning.
const ENDINGS: [&str; 5] = ["", "d", "ed", "ing", "s"];

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

/// A text that begins with one of these says that nothing happened; so does a stem beside one.
const NEGATIONS: [&str; 6] = ["never", "no", "non", "none", "not", "without"];

/// What may be between a negation and its stem.
const FILLERS: [&str; 4] = ["a", "any", "been", "yet"];

/// Before a stem they say what could happen, or deny it: `canRefund`, `undisputed`.
const COULD_BEFORE: [&str; 10] = [
    "allow", "allows", "can", "eligible", "enable", "may", "max", "supports", "to", "un",
];

/// After a stem they say what could happen: `refundable`, `refund_policy`.
const COULD_AFTER: [&str; 19] = [
    "able",
    "allowed",
    "contact",
    "days",
    "deadline",
    "eligibility",
    "eligible",
    "email",
    "enabled",
    "link",
    "policy",
    "protected",
    "protection",
    "supported",
    "terms",
    "until",
    "uri",
    "url",
    "window",
];

/// Texts that say nothing, in upper or lower case. So do zero, also with a unit, and a text without any other letter or
/// digit than `0`.
const NOTHING: [&str; 13] = [
    "false",
    "invalid date",
    "invaliddate",
    "n",
    "n/a",
    "na",
    "nil",
    "no",
    "none",
    "not applicable",
    "not_applicable",
    "null",
    "undefined",
];

/// A word for money that went back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ReversalWord {
    /// How the money went back.
    pub(crate) kind: ReversalKind,
    /// Whether the text says that it did not, or came back again.
    pub(crate) undone: bool,
    /// Whether the only word for it is `void`, which can also be the end of an authorization.
    pub(crate) is_void: bool,
}

/// A part of a text in lower case, and what it speaks of.
struct Part {
    text: String,
    kind: Option<ReversalKind>,
}

impl Part {
    fn is_one_of(&self, texts: &[&str]) -> bool {
        texts.contains(&self.text.as_str())
    }
}

/// The words in a text, each kind once. Its parts are separated by case and by all that is no ASCII letter or digit. A
/// word that is denied, or says what could happen, does not count: `NOT_REFUNDED`, `refund_policy`.
pub(crate) fn reversal_words(text: &str) -> Vec<ReversalWord> {
    let parts = parts(text);
    let is_void = |kind| {
        let mut stems = parts.iter().filter(|part| part.kind == Some(kind));
        stems.all(|part| part.text.starts_with("void"))
    };
    // `chargeback_reversed` has two stems, but only speaks of the chargeback.
    if let Some(kind) = undone_kind(&parts) {
        let is_void = is_void(kind);
        return vec![ReversalWord {
            kind,
            undone: true,
            is_void,
        }];
    }
    let is_said = |kind: &ReversalKind| {
        let mut stems = parts.iter().enumerate().filter(|(_, part)| part.kind == Some(*kind));
        stems.any(|(at, _)| is_said(&parts, at))
    };
    let kinds = [ReversalKind::Chargeback, ReversalKind::Refund];
    let words = kinds.into_iter().filter(is_said).map(|kind| ReversalWord {
        kind,
        undone: false,
        is_void: is_void(kind),
    });
    words.collect()
}

/// Whether a text has a stem, but says with it that nothing happened, or what could happen; or denies by its first
/// word: `NOT_REFUNDED`, `not_requested`.
pub(crate) fn is_denied(text: &str) -> bool {
    let parts = parts(text);
    let has_stem = parts.iter().any(|part| part.kind.is_some());
    parts.first().is_some_and(|part| part.is_one_of(&NEGATIONS)) || has_stem && reversal_words(text).is_empty()
}

/// Whether the text of a value says nothing: `""`, `"false"`, `"N/A"`, `"0.00 USD"`, `"0000-00-00"`.
pub(crate) fn says_nothing(text: &str) -> bool {
    let text = text.trim();
    let number = text.trim_matches(|char: char| char.is_ascii_alphabetic() || char == ' ');
    let is_zero = |text| Decimal::parse(text).is_some_and(|number| Some(number) == Decimal::parse("0"));
    let has_content = || text.chars().any(|char| char.is_alphanumeric() && char != '0');
    NOTHING.iter().any(|nothing| text.eq_ignore_ascii_case(nothing))
        || is_zero(text)
        || is_zero(number)
        || !has_content()
}

/// Whether a text is how a program writes a date that is not there: one before 2000, or a negative number.
pub(crate) fn is_no_date(text: &str) -> bool {
    let text = text.trim();
    let year = text.split(['-', '/']).next().unwrap_or_default();
    let is_before_2000 = year.len() == 4 && year.parse::<u16>().is_ok_and(|year| year < 2000);
    text.starts_with('-') || is_before_2000 && year != text
}

/// The parts of a text, cut around the stems in them.
fn parts(text: &str) -> Vec<Part> {
    let cut_all = |words: Vec<String>| {
        let mut found = Vec::new();
        words.iter().for_each(|word| cut(word, &mut found));
        found
    };
    let found = cut_all(words(text));
    if found.iter().any(|part: &Part| part.kind.is_some()) {
        return found;
    }
    // The case may separate nothing: `ReFund`.
    cut_all(words(&text.to_ascii_lowercase()))
}

/// The words of a text, in lower case. The two words `charge` and `back` are one.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut chars = text.chars().peekable();
    let mut last = ' ';
    while let Some(char) = chars.next() {
        let next_is_lower = chars.peek().is_some_and(char::is_ascii_lowercase);
        let begins = char.is_ascii_uppercase() && (!last.is_ascii_uppercase() || next_is_lower);
        if begins || !char.is_ascii_alphanumeric() {
            words.push(std::mem::take(&mut word));
        }
        if char.is_ascii_alphanumeric() {
            word.push(char.to_ascii_lowercase());
        }
        last = char;
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    let mut joined: Vec<String> = Vec::new();
    for word in words {
        match joined.last_mut() {
            Some(last) if (last.ends_with("charge") || last.ends_with("charged")) && word.starts_with("back") => {
                last.push_str(&word);
            }
            _ => joined.push(word),
        }
    }
    joined
}

/// Cuts a word at the stems in it: `isrefunded` is `is` and `refunded`, `refundable` is `refund` and `able`.
fn cut(word: &str, found: &mut Vec<Part>) {
    let other = |text: &str| Part {
        text: text.to_owned(),
        kind: None,
    };
    let void = word.strip_prefix("is").unwrap_or(word).strip_prefix("void");
    let first = STEMS
        .into_iter()
        .filter_map(|(stem, kind)| Some((word.find(stem)?, stem, kind)))
        .min_by_key(|(at, ..)| *at);
    let (before, stem, kind, after) = match (void, first) {
        (Some(after), _) => ("", "void", ReversalKind::Refund, after),
        (None, Some((_, stem, kind))) => {
            let (before, after) = word.split_once(stem).unwrap_or_default();
            (before, stem, kind, after)
        }
        (None, None) if word.is_empty() => return,
        (None, None) => return found.push(other(word)),
    };
    if !before.is_empty() {
        found.push(other(before));
    }
    let is_ending = ENDINGS.contains(&after);
    let text = if is_ending {
        format!("{stem}{after}")
    } else {
        stem.to_owned()
    };
    found.push(Part { text, kind: Some(kind) });
    if !is_ending {
        cut(after, found);
    }
}

/// Whether the stem at a place is neither denied nor only a possibility.
fn is_said(parts: &[Part], at: usize) -> bool {
    let (before, after) = parts.split_at_checked(at).unwrap_or_default();
    let after = after.get(1..).unwrap_or_default();
    let before = before.iter().rev().find(|part| !part.is_one_of(&FILLERS));
    let is_denied = [before, after.first()]
        .into_iter()
        .flatten()
        .any(|part| part.is_one_of(&NEGATIONS));
    let could = |part: &Part| part.is_one_of(&COULD_AFTER);
    !is_denied
        && !before.is_some_and(|part| part.is_one_of(&COULD_BEFORE))
        && !after.first().is_some_and(could)
        && !after.last().is_some_and(could)
}

/// The kind of the only word before an ending that says the opposite. `None` if there is no such ending.
fn undone_kind(parts: &[Part]) -> Option<ReversalKind> {
    let (ending, subject) = parts.split_last()?;
    let (between, noun) = subject.split_last()?;
    let noun = if between.is_one_of(&BETWEEN) { noun } else { subject };
    let kind = noun.last()?.kind?;
    let is_other = |part: &Part| part.kind.is_some_and(|other| other != kind);
    (ending.is_one_of(&UNDOING) && !subject.iter().any(is_other)).then_some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words_in(text: &str) -> Vec<(ReversalKind, bool)> {
        let words = reversal_words(text).into_iter();
        words.map(|word| (word.kind, word.undone)).collect()
    }

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
            ("isChargedBack", Chargeback),
            ("underDispute", Chargeback),
            ("isrefunded", Refund),
            ("ReFund", Refund),
            ("totallyRefunded", Refund),
            ("amount_refunded_in_usd", Refund),
            ("isReversedByBank", Refund),
            ("refund: 50000 won", Refund),
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
            assert_eq!(words_in(text), [(kind, false)], "{text}");
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
            assert_eq!(words_in(text), [(kind, true)], "{text}");
        }
    }

    #[test]
    fn text_that_speaks_of_both_kinds_undoes_neither() {
        let both = [ReversalKind::Chargeback, ReversalKind::Refund].map(|kind| (kind, false));
        for text in ["dispute_refunded", "dispute refund failed"] {
            assert_eq!(words_in(text), both, "{text}");
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
            "NOT_REFUNDED",
            "not yet refunded",
            "NO_DISPUTE",
            "refund_none",
            "non_refund",
            "UNDISPUTED",
            "unrefunded",
            "not_charged_back",
            "AVOIDED",
            "CHARGEBACK_PROTECTED",
            "chargebackProtection",
            "refund_policy",
            "disputeUrl",
            "canRefund",
        ] {
            assert_eq!(reversal_words(text), [], "{text}");
        }
    }

    #[test]
    fn text_that_denies_or_is_zero_says_nothing() {
        for text in ["", " ", "0.00 USD", "USD 0", "n/a", "Invalid Date", "0000-00-00", "0e5"] {
            assert!(says_nothing(text), "{text}");
        }
        for text in ["1", "10 USD", "yes", "USD 0.01", "2026-01-02"] {
            assert!(!says_nothing(text), "{text}");
        }
        assert!(
            ["not_requested", "NOT_REFUNDED", "refundable"]
                .into_iter()
                .all(is_denied)
        );
        assert!(!["refunded", "SUCCESS", ""].into_iter().any(is_denied));
    }
}
