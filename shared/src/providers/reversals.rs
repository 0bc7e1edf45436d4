//! Reading what a provider's message says of money that went back to the buyer: refunds and chargebacks.
//!
//! A message speaks of them by a word (`"event": "payment.refunded"`), by a type (`"type": "REFUND"`), by a flag, an
//! amount or a time (`refunded`, `refundedAmount`, `refundDate`), or by a member (`"refund": {…}`). A name is believed
//! by its parts, whether or not its value may be kept in a redaction. Of a history only the ends count: one of them is
//! the last that happened.
//!
//! A member that is `null`, `false`, empty or zero, that denies (`NOT_REFUNDED`) or whose members all do, says nothing.
//! The shop's own metadata is never read.

use std::collections::BTreeMap;

use crate::domain::decimal::Decimal;
use crate::domain::fact::{Reversal, ReversalKind};
use crate::domain::id::Reference;
use crate::domain::json::{Json, Object};
use crate::domain::redaction::{is_history_name, is_word_name, member_name};
use crate::domain::reversal_words::{ReversalWord, is_denied, may_have_words, parts, reversal_words, says_nothing};
use crate::domain::time::Timestamp;
use crate::providers::members::{Members, agreed, read_currency, read_reference};
use crate::providers::notification::read_amount;

/// A member whose name begins with one of these is about an error, an earlier status or the software: the words in its
/// value do not count.
const NOT_OF_THE_PAYMENT: [&str; 6] = ["decline", "error", "failure", "feature", "old", "previous"];

/// Objects in a message that are read like the message itself.
const NESTED: [&str; 11] = [
    "amounts",
    "attributes",
    "charge",
    "dates",
    "detail",
    "details",
    "object",
    "payment",
    "resource",
    "totals",
    "transaction",
];

/// The times of a whole message.
const MESSAGE_TIMES: [&str; 5] = ["completedAt", "createdAt", "finalizedAt", "timestamp", "updatedAt"];

/// The decimal places to which the amounts of several refunds are summed.
const PLACES: u32 = 8;

/// The refunds and chargebacks in the objects of a message, at most one of each kind. Empty if it speaks of none.
///
/// A reversal is undone if the message says so: by a word, or by a time (`refundRemoveDate`) later than that of the
/// reversal. It is not undone if another member says that the money is gone, or has a value that cannot be read: a
/// person should look.
///
/// Its time is the latest one. Its id, amount and currency are its own, never the payment's; it has none if one cannot
/// be read or two differ. The amount of several refunds in a list is their sum. One with neither an id nor a time has
/// the latest time in `data`, the objects about the payment, as [`Reversal::reported_at`].
///
/// A void beside a word for a cancellation is none: no money had come.
pub(super) fn read_reversals(whole: &Members<'_>, data: &Members<'_>) -> Vec<Reversal> {
    let mut reader = Reader {
        whole,
        found: BTreeMap::new(),
    };
    whole.objects().for_each(|object| reader.read_object(object));
    let reversals = reader
        .found
        .into_iter()
        .filter_map(|(kind, evidence)| evidence.reversal(kind, data));
    reversals.collect()
}

struct Reader<'a> {
    whole: &'a Members<'a>,
    found: BTreeMap<ReversalKind, Evidence>,
}

impl Reader<'_> {
    /// Reads the members whose name speaks of a reversal and, of the others, the words in a status, an event or a type.
    fn read_object(&mut self, object: &Object) {
        for (name, value) in object.iter() {
            let words = self.words(name);
            let own = words.first().filter(|_| member_name(name).is_some());
            if let Some(word) = own {
                self.evidence(*word).read(name, "", value);
            } else if is_about_the_payment(name, value) {
                match value.as_array().filter(|_| is_history_name(name)) {
                    Some(events) => {
                        let ends = [events.first(), events.last()];
                        ends.into_iter().flatten().for_each(|event| self.read_words(event));
                    }
                    None => self.read_words(value),
                }
            }
        }
    }

    fn read_words(&mut self, value: &Json) {
        match value {
            Json::String(text) => {
                for word in self.words(text) {
                    self.evidence(word).add_word(word.undone);
                }
            }
            Json::Array(items) => items.iter().for_each(|item| self.read_words(item)),
            Json::Object(object) => self.read_object(object),
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
    }

    /// The words in a text, without a void of what was cancelled.
    fn words(&self, text: &str) -> Vec<ReversalWord> {
        let says_cancelled =
            |word: &&str| word.to_ascii_lowercase().contains("cancel") && reversal_words(word).is_empty();
        let is_cancelled = || self.whole.status_words().iter().any(says_cancelled);
        let words = reversal_words(text).into_iter();
        words.filter(|word| !word.is_void || !is_cancelled()).collect()
    }

    fn evidence(&mut self, word: ReversalWord) -> &mut Evidence {
        self.found.entry(word.kind).or_default()
    }
}

/// Whether the words in a member say what happened to the payment. Most texts have none, which is quick to see.
fn is_about_the_payment(name: &str, value: &Json) -> bool {
    let may_speak = value.as_str().is_none_or(may_have_words);
    let Some(normalised) = may_speak.then(|| member_name(name)).flatten() else {
        return false;
    };
    let is_nested = NESTED.contains(&normalised.as_str()) && value.as_object().is_some();
    is_nested || is_word_name(name) && !NOT_OF_THE_PAYMENT.iter().any(|start| normalised.starts_with(start))
}

/// The members inside a reversal that say something about it. Others, such as `updatedAt` or `fee`, do not.
const INNER: &str = "amount approved at canceled cancelled completed created createdat currency date datetime declined \
                     failed id pending processed reason reference rejected state status succeeded success successful \
                     time timestamp";

/// What a member is about: `name` inside the reversal `root`, or `None` if it says nothing. If `name` is empty, it is
/// `root` itself: then the last part of its name that says something. All but ids, amounts, currencies, reasons and the
/// time of an undoing (`remove`) are states: a status, a flag or a time.
fn subject(root: &str, name: &str) -> Option<String> {
    let is_inner = |part: &str| INNER.split(' ').any(|inner| inner == part);
    let is_removal = |part: &str| part.starts_with("remove");
    if !name.is_empty() {
        return (is_inner(name) || is_removal(name)).then(|| name.to_owned());
    }
    let parts = parts(root);
    let removal = parts.iter().find(|part| is_removal(part));
    let last = || parts.iter().rfind(|part| is_inner(part) || *part == "total");
    Some(removal.or_else(last).cloned().unwrap_or_default())
}

/// What a message says of one kind. Values that cannot be read are `None`.
#[derive(Default)]
struct Evidence {
    /// Anything at all.
    is_mentioned: bool,
    /// The money is gone, without a time.
    is_gone: bool,
    /// It is not, or not any more, without a time.
    is_undone: bool,
    /// The latest time at which it went.
    gone_at: Option<Timestamp>,
    /// The latest time at which that was undone.
    undone_at: Option<Timestamp>,
    ids: Vec<Option<Reference>>,
    amounts: Vec<Option<Decimal>>,
    currencies: Vec<Option<String>>,
}

impl Evidence {
    fn add_word(&mut self, undone: bool) {
        self.is_mentioned = true;
        self.is_undone |= undone;
        self.is_gone |= !undone;
    }

    /// Reads the member `root` of a message, or `name` inside it.
    fn read(&mut self, root: &str, name: &str, value: &Json) {
        match value {
            Json::Array(items) => self.read_list(root, name, items),
            Json::Object(object) => self.read_object(root, name, object),
            Json::Bool(true) => self.read_scalar(root, name, value, ""),
            Json::Number(text) | Json::String(text) if !says_nothing(text) => self.read_scalar(root, name, value, text),
            Json::Null | Json::Bool(false) | Json::Number(_) | Json::String(_) => {}
        }
    }

    fn read_object(&mut self, root: &str, name: &str, object: &Object) {
        let is_false = object.get("status") == Some(&Json::Bool(false));
        for (inner, value) in object.iter() {
            match member_name(inner).as_deref() {
                Some("metadata") => {}
                Some("value") => self.read(root, name, value),
                Some("id") if is_false => {}
                Some(_) if !reversal_words(inner).is_empty() => self.read(inner, "", value),
                normalised => self.read(root, normalised.unwrap_or("member"), value),
            }
        }
    }

    /// Reads several refunds. Those that were undone count only if all were.
    fn read_list(&mut self, root: &str, name: &str, items: &[Json]) {
        let read = |item| {
            let mut evidence = Self::default();
            evidence.read(root, name, item);
            evidence
        };
        let mentioned = items.iter().map(read).filter(|evidence| evidence.is_mentioned);
        let (undone, gone): (Vec<Self>, Vec<Self>) = mentioned.partition(Self::is_undone);
        let counted = if gone.is_empty() { undone } else { gone };
        if counted.iter().any(|evidence| !evidence.amounts.is_empty()) {
            let amounts = counted.iter().map(|evidence| agreed(evidence.amounts.iter().cloned()));
            self.amounts.push(sum(amounts));
        }
        for evidence in counted {
            self.is_mentioned = true;
            self.is_gone |= evidence.is_gone;
            self.is_undone |= evidence.is_undone;
            self.gone_at = self.gone_at.max(evidence.gone_at);
            self.undone_at = self.undone_at.max(evidence.undone_at);
            self.ids.extend(evidence.ids);
            self.currencies.extend(evidence.currencies);
        }
    }

    /// Reads a value that says something. `text` is empty for `true`.
    fn read_scalar(&mut self, root: &str, name: &str, value: &Json, text: &str) {
        let at = Timestamp::parse_lenient(text);
        match subject(root, name).as_deref() {
            None => return,
            // A currency alone says nothing: it may be that of an amount of zero.
            Some("currency") => return self.currencies.push(read_currency(value)),
            // A reason is personal text, of which only the presence counts.
            Some("reason") => {}
            Some("id" | "reference") => self.ids.push(read_reference(value)),
            Some("amount" | "total") => self.amounts.push(read_amount(Some(value)).filter(Decimal::is_positive)),
            Some(removal) if removal.starts_with("remove") => {
                self.undone_at = self.undone_at.max(at);
                self.is_gone |= at.is_none();
            }
            Some(_) if is_denied(text) => return,
            Some(_) if at.is_some() => self.gone_at = self.gone_at.max(at),
            Some(_) => {
                let words = reversal_words(&format!("{root}_{name}_{text}"));
                self.add_word(words.iter().any(|word| word.undone));
            }
        }
        self.is_mentioned = true;
    }

    fn reversal(self, kind: ReversalKind, data: &Members<'_>) -> Option<Reversal> {
        let undone = self.is_undone();
        let id = agreed(self.ids.into_iter());
        let at = if undone { self.undone_at } else { self.gone_at };
        let is_unique = id.is_some() || at.is_some();
        self.is_mentioned.then(|| Reversal {
            kind,
            undone,
            id,
            amount: agreed(self.amounts.into_iter()),
            currency: agreed(self.currencies.into_iter()),
            at,
            reported_at: data.latest_time(&MESSAGE_TIMES).filter(|_| !is_unique),
        })
    }

    fn is_undone(&self) -> bool {
        !self.is_gone && (self.undone_at > self.gone_at || self.undone_at.is_none() && self.is_undone)
    }
}

/// The sum of amounts. `None` if one is not known.
fn sum(amounts: impl Iterator<Item = Option<Decimal>>) -> Option<Decimal> {
    let units = amounts.map(|amount| amount?.shifted(PLACES));
    let sum = units.reduce(|one, other| one?.checked_add(other?)).flatten()?;
    Decimal::parse(&format!("{sum}e-{PLACES}"))
}

#[cfg(test)]
mod tests;
