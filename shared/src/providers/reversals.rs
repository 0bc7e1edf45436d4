//! Reading what a provider's message says of money that went back to the buyer: refunds and chargebacks.
//!
//! A message speaks of them by a word (`"event": "payment.refunded"`), by a type (`"type": "REFUND"`), by a flag, an
//! amount or a time (`refunded`, `refundedAmount`, `refundDate`), or by a member (`"refund": {…}`). The names are those
//! on the list of the redaction, without regard to case, `_` and `-`.
//!
//! A member that is `null`, `false`, empty or zero, or whose members all are, says nothing. The shop's own metadata is
//! never read.

use std::collections::BTreeMap;

use crate::domain::decimal::Decimal;
use crate::domain::fact::{Reversal, ReversalKind};
use crate::domain::json::{Json, Object};
use crate::domain::redaction::{Kind as ValueKind, member_name};
use crate::domain::reversal_words::reversal_words;
use crate::domain::time::Timestamp;
use crate::providers::members::{Members, agreed, read_currency};
use crate::providers::notification::read_amount;

/// Texts that say nothing, in upper or lower case. So do zero, and a text without any other letter or digit than `0`.
const NOTHING: [&str; 5] = ["false", "n", "no", "none", "null"];

/// A member whose name begins with one of these is about an error or an earlier status: the words in its value do not
/// count.
const NOT_OF_THE_PAYMENT: [&str; 5] = ["decline", "error", "failure", "old", "previous"];

/// The members of a refund or chargeback with its time. Others, such as `updatedAt`, can be later for another reason.
const TIMES: [&str; 6] = ["created", "createdat", "date", "datetime", "time", "timestamp"];

/// The refunds and chargebacks in the objects of a message, at most one of each kind. Empty if it speaks of none.
///
/// A reversal is undone if the message says so: by a word, or by a time (`refundRemoveDate`) later than that of the
/// reversal. It is not undone if another member says that the money is gone or, where a time of the undoing is given,
/// if any time cannot be read: a person should look.
///
/// Its time is the latest one. Its amount and currency are its own, never the payment's; it has none if one cannot be
/// read or two differ.
pub(super) fn read_reversals(members: &Members<'_>) -> Vec<Reversal> {
    let mut found = BTreeMap::new();
    members.objects().for_each(|object| read_object(object, &mut found));
    let reversals = found.into_iter().filter_map(|(kind, evidence)| evidence.reversal(kind));
    reversals.collect()
}

type Found = BTreeMap<ReversalKind, Evidence>;

/// Reads the members whose name speaks of a reversal and, of the others, the words in a status, an event or a type.
fn read_object(object: &Object, found: &mut Found) {
    for (name, value) in object.iter() {
        let Some(name) = member_name(name) else { continue };
        if let Some(kind) = reversal_of_member(&name) {
            found.entry(kind).or_default().read(&name, &name, value);
        } else if ValueKind::of(&name) == Some(ValueKind::Word)
            && !NOT_OF_THE_PAYMENT.iter().any(|start| name.starts_with(start))
        {
            read_words(value, found);
        }
    }
}

/// The reversal of which a member speaks by its name. The name must be on the redaction's list or end in `reason`: a
/// reason is personal text, of which only the presence counts.
fn reversal_of_member(name: &str) -> Option<ReversalKind> {
    let is_known = ValueKind::of(name).is_some() || name.ends_with("reason");
    let words = reversal_words(name);
    words.first().filter(|_| is_known).map(|word| word.kind)
}

fn read_words(value: &Json, found: &mut Found) {
    match value {
        Json::String(text) => {
            for word in reversal_words(text) {
                found.entry(word.kind).or_default().add_word(word.undone);
            }
        }
        Json::Array(items) => items.iter().for_each(|item| read_words(item, found)),
        Json::Object(object) => read_object(object, found),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// What a message says of one kind. Values that cannot be read are `None`.
#[derive(Debug, Default)]
struct Evidence {
    /// Anything at all.
    is_mentioned: bool,
    /// The money is gone, without a time.
    is_gone: bool,
    /// It is not, or not any more, without a time.
    is_undone: bool,
    /// The times at which it went.
    gone_at: Vec<Option<Timestamp>>,
    /// The times at which that was undone.
    undone_at: Vec<Option<Timestamp>>,
    amounts: Vec<Option<Decimal>>,
    currencies: Vec<Option<String>>,
}

impl Evidence {
    fn add_word(&mut self, undone: bool) {
        self.is_mentioned = true;
        if undone {
            self.is_undone = true;
        } else {
            self.is_gone = true;
        }
    }

    /// Reads the member `name`, which is the member `root` of the message or inside it.
    fn read(&mut self, root: &str, name: &str, value: &Json) {
        match value {
            Json::Array(items) => {
                items.iter().for_each(|item| self.read(root, name, item));
                if items.len() > 1 {
                    // Several refunds: none of their amounts is that of all.
                    self.amounts.push(None);
                }
            }
            Json::Object(object) => {
                for (inner, value) in object.iter() {
                    match member_name(inner).as_deref() {
                        Some("metadata") => {}
                        Some("value") => self.read(root, name, value),
                        inner => self.read(root, inner.unwrap_or_default(), value),
                    }
                }
            }
            Json::Bool(true) => self.read_scalar(root, name, value, ""),
            Json::Number(text) | Json::String(text) if !says_nothing(text) => self.read_scalar(root, name, value, text),
            Json::Null | Json::Bool(false) | Json::Number(_) | Json::String(_) => {}
        }
    }

    /// Reads a value that says something. `text` is empty for `true`.
    fn read_scalar(&mut self, root: &str, name: &str, value: &Json, text: &str) {
        let is_own = name == root;
        match ValueKind::of(name) {
            // A currency alone says nothing: it may be that of an amount of zero.
            Some(ValueKind::Currency) => return self.currencies.push(read_currency(value)),
            Some(ValueKind::Amount) if is_own || name == "amount" || reversal_of_member(name).is_some() => {
                let amount = read_amount(Some(value)).filter(Decimal::is_positive);
                self.amounts.push(amount);
            }
            Some(ValueKind::Time) if name.contains("remove") => self.undone_at.push(Timestamp::parse_lenient(text)),
            Some(ValueKind::Time) if is_own || TIMES.contains(&name) || reversal_of_member(name).is_some() => {
                self.gone_at.push(Timestamp::parse_lenient(text));
            }
            Some(ValueKind::Flag | ValueKind::Word) => {
                let path = if is_own { "" } else { name };
                match Timestamp::parse_lenient(text) {
                    Some(at) => self.gone_at.push(Some(at)),
                    None => self.add_word(
                        reversal_words(&format!("{root}{path}{text}"))
                            .iter()
                            .any(|word| word.undone),
                    ),
                }
            }
            Some(ValueKind::Id | ValueKind::Amount | ValueKind::Time) | None => {}
        }
        self.is_mentioned = true;
    }

    fn reversal(&self, kind: ReversalKind) -> Option<Reversal> {
        let undone = self.is_undone();
        let times = if undone { &self.undone_at } else { &self.gone_at };
        self.is_mentioned.then(|| Reversal {
            kind,
            undone,
            amount: agreed(self.amounts.iter().cloned()),
            currency: agreed(self.currencies.iter().cloned()),
            at: times.iter().flatten().max().copied(),
        })
    }

    fn is_undone(&self) -> bool {
        let is_later = || {
            let is_readable = !self.undone_at.iter().chain(&self.gone_at).any(Option::is_none);
            is_readable && self.undone_at.iter().max() > self.gone_at.iter().max()
        };
        !self.is_gone
            && if self.undone_at.is_empty() {
                self.is_undone
            } else {
                is_later()
            }
    }
}

/// Whether the text of a value says nothing: `""`, `"false"`, `"0.00"`, `"0000-00-00"`.
fn says_nothing(text: &str) -> bool {
    let text = text.trim();
    let is_zero = || Decimal::parse(text).is_some_and(|number| Some(number) == Decimal::parse("0"));
    let has_content = || text.chars().any(|char| char.is_alphanumeric() && char != '0');
    NOTHING.iter().any(|nothing| text.eq_ignore_ascii_case(nothing)) || is_zero() || !has_content()
}

#[cfg(test)]
mod tests;
