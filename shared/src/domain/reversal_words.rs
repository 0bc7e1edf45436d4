//! The words by which providers speak of money that went back to the buyer.
//!
//! A void counts as a refund: a voided capture is money that went back. A dispute counts as a chargeback from its first
//! day, because the bank may hold the money already.

use crate::domain::decimal::Decimal;
use crate::domain::fact::ReversalKind::{self, Chargeback, Refund};

/// The spellings of a word in lower case, its stem and its kind. A blank is where a word begins: not in `avoided`.
const STEMS: [(&str, &str, ReversalKind); 12] = [
    ("charged back", "chargeback", Chargeback),
    ("charge back", "chargeback", Chargeback),
    ("chargedback", "chargeback", Chargeback),
    ("chargeback", "chargeback", Chargeback),
    ("dispute", "dispute", Chargeback),
    ("refund", "refund", Refund),
    ("reimburs", "reimburs", Refund),
    ("returned", "returned", Refund),
    ("reversal", "reversal", Refund),
    ("reverse", "reverse", Refund),
    (" isvoid", "void", Refund),
    (" void", "void", Refund),
];

/// The letters with which the spellings begin.
const BEGINNINGS: [&str; 7] = ["charge", "dispute", "refund", "reimburs", "returned", "revers", "void"];

/// Parts that change no meaning: the endings of a stem, and what may be between a negation and its stem.
const IGNORED: &str = "a any been d ed ing s yet";

/// Endings of a text that say the opposite of the stem before them: `refund_failed`, `chargeback.reversed`,
/// `dispute.won`. A dispute that is `closed` or `lost` has not been undone.
const UNDOING: &str =
    "canceled cancelled declined failed failure reinstated rejected removed reversal reverse undone won";

/// What may be between a stem and its opposite: `dispute.funds_reinstated`, or the name of a member, `refundStatus`.
const BETWEEN: &str = "funds state status";

/// A text that begins with one of these says that nothing happened; so does a stem beside one.
const NEGATIONS: &str = "never no non none not without";

/// Before a stem they say what could happen, or deny it: `canRefund`, `undisputed`.
const COULD_BEFORE: &str = "allow allows can eligible enable may max supports to un";

/// After a stem they say what could happen: `refundable`, `refund_policy`.
const COULD_AFTER: &str = "able allowed contact days deadline eligibility eligible email enabled link policy protected \
                           protection risk supported terms until uri url window";

/// Texts that say nothing, without blanks and signs.
const NOTHING: &str = "false invaliddate n na nil no none notapplicable null undefined";

/// How programs begin a date that is not there: .NET and Go, SQL Server, the Unix epoch on both sides of Greenwich, and
/// PHP's reading of `0000-00-00`.
const NO_DATES: [&str; 6] = [
    "0001-01-01",
    "-621355968",
    "1900-01-01",
    "1969-12-31",
    "1970-01-01",
    "-0001-11-30",
];

/// A word for money that went back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReversalWord {
    /// How the money went back.
    pub(crate) kind: ReversalKind,
    /// Whether the text says that it did not, or came back again.
    pub(crate) undone: bool,
    /// Whether the only word for it is `void`, which can also be the end of an authorization.
    pub(crate) is_void: bool,
}

/// Whether a text contains the letters of a word, whatever is around and between them: a quick check, because most
/// texts do not.
pub(crate) fn may_have_words(text: &str) -> bool {
    let text = text.as_bytes();
    let contains = |beginning: &&str| {
        let mut windows = text.windows(beginning.len());
        windows.any(|letters| letters.eq_ignore_ascii_case(beginning.as_bytes()))
    };
    BEGINNINGS.iter().any(contains)
}

/// The words in a text, each kind once. A word that is denied, or says what could happen, does not count:
/// `NOT_REFUNDED`, `refund_policy`.
pub(crate) fn reversal_words(text: &str) -> Vec<ReversalWord> {
    if !may_have_words(text) {
        return Vec::new();
    }
    let parts = parts(text);
    let undone = undone_kind(&parts);
    let is_said = |kind: &ReversalKind| match undone {
        Some(undone) => *kind == undone,
        None => (0..parts.len()).any(|at| is_said(&parts, at, *kind)),
    };
    let words = [Chargeback, Refund]
        .into_iter()
        .filter(is_said)
        .map(|kind| ReversalWord {
            kind,
            undone: undone.is_some(),
            is_void: parts.iter().all(|part| part == "void" || kind_of(part) != Some(kind)),
        });
    words.collect()
}

/// Whether a text has a stem, but says with it that nothing happened, or what could happen; or denies by its first
/// word: `NOT_REFUNDED`, `not_requested`.
pub(crate) fn is_denied(text: &str) -> bool {
    let parts = parts(text);
    let has_stem = parts.iter().any(|part| kind_of(part).is_some());
    is_in(NEGATIONS, parts.first()) || has_stem && reversal_words(text).is_empty()
}

/// Whether the text of a value says nothing: `""`, `"false"`, `"N/A"`, `"0.00 USD"`, `"0000-00-00"`, `"1970-01-01"`.
pub(crate) fn says_nothing(text: &str) -> bool {
    let text = text.trim().to_ascii_lowercase();
    let plain: String = text.chars().filter(|char| char.is_alphanumeric()).collect();
    let number = text.trim_matches(|char: char| char.is_ascii_alphabetic() || char == ' ');
    plain.chars().all(|char| char == '0')
        || is_in(NOTHING, Some(&plain))
        || Decimal::parse(number) == Decimal::parse("0")
        || NO_DATES.iter().any(|date| text.starts_with(date))
}

/// The parts of a text in lower case, separated by case, by all that is no ASCII letter or digit, and around the stems
/// in it: `isrefunded` is `is` and `refund`.
pub(crate) fn parts(text: &str) -> Vec<String> {
    let found = cut(separated(text));
    if found.iter().any(|part| kind_of(part).is_some()) {
        return found;
    }
    // The case may separate nothing: `ReFund`.
    cut(separated(&text.to_ascii_lowercase()))
}

/// The words of a text in lower case, with one blank before each.
fn separated(text: &str) -> String {
    let mut separated = String::from(" ");
    let mut chars = text.chars().peekable();
    let mut last = ' ';
    while let Some(char) = chars.next() {
        let is_inside = last.is_ascii_uppercase() && !chars.peek().is_some_and(char::is_ascii_lowercase);
        let begins = char.is_ascii_uppercase() && !is_inside || !char.is_ascii_alphanumeric();
        if begins && !separated.ends_with(' ') {
            separated.push(' ');
        }
        if char.is_ascii_alphanumeric() {
            separated.push(char.to_ascii_lowercase());
        }
        last = char;
    }
    separated
}

fn cut(mut words: String) -> Vec<String> {
    for (spelling, stem, _) in STEMS {
        words = words.replace(spelling, &format!(" {stem} "));
    }
    let parts = words.split_whitespace().map(str::to_owned);
    parts.filter(|part| !is_in(IGNORED, Some(part))).collect()
}

/// The kind of a stem. `None` for any other part.
fn kind_of(part: &str) -> Option<ReversalKind> {
    let found = STEMS.iter().find(|(_, stem, _)| *stem == part);
    found.map(|(.., kind)| *kind)
}

fn is_in(list: &str, part: Option<&String>) -> bool {
    part.is_some_and(|part| list.split(' ').any(|listed| listed == part))
}

/// Whether there is a stem of a kind at a place, neither denied nor only a possibility.
fn is_said(parts: &[String], at: usize, kind: ReversalKind) -> bool {
    let mut from = parts.iter().skip(at);
    let is_kind = from.next().is_some_and(|part| kind_of(part) == Some(kind));
    let (before, after) = (parts.iter().take(at).next_back(), from.next());
    let could_not = is_in(COULD_BEFORE, before) || is_in(COULD_AFTER, after) || is_in(COULD_AFTER, parts.last());
    is_kind && !could_not && !is_in(NEGATIONS, before) && !is_in(NEGATIONS, after)
}

/// The kind of the only word before an ending that says the opposite. `None` if there is no such ending.
///
/// `chargeback_reversed` has two stems, but only speaks of the chargeback.
fn undone_kind(parts: &[String]) -> Option<ReversalKind> {
    let (ending, subject) = parts.split_last()?;
    let noun = subject.iter().rfind(|part| !is_in(BETWEEN, Some(part)))?;
    let kind = kind_of(noun)?;
    let is_other = |part: &String| kind_of(part).is_some_and(|other| other != kind);
    (is_in(UNDOING, Some(ending)) && !subject.iter().any(is_other)).then_some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words_in(text: &str) -> Vec<(ReversalKind, bool)> {
        let words = reversal_words(text).into_iter();
        words.map(|word| (word.kind, word.undone)).collect()
    }

    #[test]
    fn every_spelling_is_seen_by_the_quick_check() {
        for (spelling, ..) in STEMS {
            assert!(may_have_words(&spelling.to_uppercase()), "{spelling}");
        }
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
            ("RETURNED", Refund),
            ("payment_returned", Refund),
            ("fundsReturned", Refund),
            ("reimbursed", Refund),
            ("Reimbursement", Refund),
        ] {
            assert!(may_have_words(text), "{text}");
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
            assert!(may_have_words(text), "{text}");
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
            "returnUrl",
            "return_code",
            "returned_url",
            "unreturned",
            "reimbursable",
            "CHARGEBACK_RISK",
        ] {
            assert_eq!(reversal_words(text), [], "{text}");
        }
    }

    #[test]
    fn text_that_denies_or_is_zero_says_nothing() {
        for text in [
            "",
            " ",
            "0.00 USD",
            "USD 0",
            "n/a",
            "Invalid Date",
            "0000-00-00",
            "0e5",
            "1970-01-01 00:00:00",
            "-62135596800",
        ] {
            assert!(says_nothing(text), "{text}");
        }
        for text in ["1", "-5", "10 USD", "yes", "USD 0.01", "2026-01-02", "1001-2002"] {
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
