//! Reading what a provider's message says of money that went back to the buyer: refunds and chargebacks.
//!
//! A message speaks of them by a word (`"event": "payment.refunded"`), by a type (`"type": "REFUND"`), by a flag, an
//! amount or a time (`refunded`, `refundedAmount`, `refundDate`), or by a member (`"refund": {…}`). A name is believed
//! by its parts, whether or not its value may be kept in a redaction.
//!
//! A member that is `null`, `false`, empty or zero, that denies (`NOT_REFUNDED`) or whose members all do, says nothing.
//! The shop's own metadata is never read.

use std::collections::BTreeMap;

use crate::domain::decimal::Decimal;
use crate::domain::fact::{Reversal, ReversalKind};
use crate::domain::id::Reference;
use crate::domain::json::{Json, Object};
use crate::domain::redaction::{Kind as ValueKind, is_word_name, member_name};
use crate::domain::reversal_words::{ReversalWord, has_stem, is_denied, is_no_date, reversal_words, says_nothing};
use crate::domain::time::Timestamp;
use crate::providers::members::{Members, agreed, read_currency, read_reference};
use crate::providers::notification::read_amount;

/// A member whose name begins with one of these is about an error or an earlier status: the words in its value do not
/// count.
const NOT_OF_THE_PAYMENT: [&str; 5] = ["decline", "error", "failure", "old", "previous"];

/// Objects in a message that are read like the message itself.
const NESTED: [&str; 5] = ["charge", "object", "payment", "resource", "transaction"];

/// The members of a refund or chargeback with its time. Others, such as `updatedAt`, can be later for another reason.
const TIMES: [&str; 7] = ["at", "created", "createdat", "date", "datetime", "time", "timestamp"];

/// Flags that say in which system something happened.
const MODES: [&str; 6] = ["live", "livemode", "production", "sandbox", "sandboxmode", "testmode"];

/// The times of a whole message.
const MESSAGE_TIMES: [&str; 5] = ["completedAt", "createdAt", "finalizedAt", "timestamp", "updatedAt"];

/// The decimal places to which the amounts of several refunds are summed.
const PLACES: u32 = 8;

/// The refunds and chargebacks in the objects of a message, at most one of each kind. Empty if it speaks of none.
///
/// A reversal is undone if the message says so: by a word, or by a time (`refundRemoveDate`) later than that of the
/// reversal. It is not undone if another member says that the money is gone or, where a time of the undoing is given,
/// if any time cannot be read: a person should look.
///
/// Its time is the latest one. Its id, amount and currency are its own, never the payment's; it has none if one cannot
/// be read or two differ. The amount of several refunds in a list is their sum. One with neither an id nor a time has
/// the latest time in `data`, the objects about the payment, as [`Reversal::reported_at`].
///
/// A void beside a word for a cancellation is none: no money had come.
pub(super) fn read_reversals(members: &Members<'_>, data: &Members<'_>) -> Vec<Reversal> {
    // Most messages speak of none, and then need not be read word by word.
    if !members.objects().any(may_speak) {
        return Vec::new();
    }
    let mut found = BTreeMap::new();
    members.objects().for_each(|object| read_object(object, &mut found));
    let is_cancelled = members.status_words().iter().any(|word| {
        let word = word.to_ascii_lowercase();
        reversal_words(&word).is_empty() && word.contains("cancel")
    });
    let reversals = found
        .into_iter()
        .filter(|(_, evidence)| evidence.is_more_than_void || !is_cancelled)
        .filter_map(|(kind, evidence)| evidence.reversal(kind, data));
    reversals.collect()
}

type Found = BTreeMap<ReversalKind, Evidence>;

/// Whether a name or a text in an object contains the letters of a word for a reversal.
fn may_speak(object: &Object) -> bool {
    object
        .iter()
        .any(|(name, value)| has_stem(name) || value_may_speak(value))
}

fn value_may_speak(value: &Json) -> bool {
    match value {
        Json::String(text) => has_stem(text),
        Json::Array(items) => items.iter().any(value_may_speak),
        Json::Object(object) => may_speak(object),
        Json::Null | Json::Bool(_) | Json::Number(_) => false,
    }
}

/// Reads the members whose name speaks of a reversal and, of the others, the words in a status, an event or a type.
fn read_object(object: &Object, found: &mut Found) {
    for (name, value) in object.iter() {
        let Some(normalised) = member_name(name) else { continue };
        if let Some(word) = reversal_of_member(name) {
            let evidence = found.entry(word.kind).or_default();
            let was_mentioned = std::mem::take(&mut evidence.is_mentioned);
            evidence.read(name, name, value);
            evidence.is_more_than_void |= evidence.is_mentioned && !word.is_void;
            evidence.is_mentioned |= was_mentioned;
        } else if NESTED.contains(&normalised.as_str())
            && let Json::Object(object) = value
        {
            read_object(object, found);
        } else if is_word_name(name) && !NOT_OF_THE_PAYMENT.iter().any(|start| normalised.starts_with(start)) {
            read_words(value, found);
        }
    }
}

/// The reversal of which a member speaks by its name.
fn reversal_of_member(name: &str) -> Option<ReversalWord> {
    member_name(name)?;
    reversal_words(name).first().copied()
}

fn read_words(value: &Json, found: &mut Found) {
    match value {
        Json::String(text) => {
            for word in reversal_words(text) {
                let evidence = found.entry(word.kind).or_default();
                evidence.is_more_than_void |= !word.is_void;
                evidence.add_word(word.undone);
            }
        }
        Json::Array(items) => items.iter().for_each(|item| read_words(item, found)),
        Json::Object(object) => read_object(object, found),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// What a member of a reversal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Id,
    Amount,
    Currency,
    Time,
    UndoneTime,
    /// A status or a flag, whose words count.
    Word,
    /// A reason is personal text, of which only the presence counts.
    Reason,
}

impl Role {
    /// The role of a member whose own name speaks of the reversal.
    fn of_own(name: &str) -> Self {
        let is_about = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
        let ends = |parts: &[&str]| parts.iter().any(|part| name.ends_with(part));
        match ValueKind::of(name) {
            Some(ValueKind::Time) if name.contains("remove") => Self::UndoneTime,
            Some(ValueKind::Time) => Self::Time,
            Some(ValueKind::Id) => Self::Id,
            Some(ValueKind::Amount) => Self::Amount,
            Some(ValueKind::Currency) => Self::Currency,
            Some(ValueKind::Word | ValueKind::Flag) => Self::Word,
            None if name.ends_with("reason") => Self::Reason,
            None if is_about(&["date", "time"]) && name.contains("remove") => Self::UndoneTime,
            None if is_about(&["date", "time"]) || ends(&["at", "on"]) => Self::Time,
            None if is_about(&["amount", "total"]) => Self::Amount,
            None if name.ends_with("currency") => Self::Currency,
            None => Self::Word,
        }
    }

    /// The role of another member inside a reversal. `None` if it says nothing about whether there is one.
    fn of_inner(name: &str) -> Option<Self> {
        match name {
            "id" | "reference" => Some(Self::Id),
            "amount" => Some(Self::Amount),
            "currency" => Some(Self::Currency),
            "status" | "state" => Some(Self::Word),
            _ if TIMES.contains(&name) => Some(Self::Time),
            _ if name.ends_with("reason") => Some(Self::Reason),
            _ if MODES.contains(&name) => None,
            _ => match ValueKind::of(name) {
                Some(ValueKind::Flag) => Some(Self::Word),
                Some(ValueKind::Time) if name.contains("remove") => Some(Self::UndoneTime),
                _ => None,
            },
        }
    }
}

/// What a message says of one kind. Values that cannot be read are `None`.
#[derive(Debug, Default)]
struct Evidence {
    /// Anything at all.
    is_mentioned: bool,
    /// Anything by another word than `void`.
    is_more_than_void: bool,
    /// The money is gone, without a time.
    is_gone: bool,
    /// It is not, or not any more, without a time.
    is_undone: bool,
    /// The times at which it went.
    gone_at: Vec<Option<Timestamp>>,
    /// The times at which that was undone.
    undone_at: Vec<Option<Timestamp>>,
    ids: Vec<Option<Reference>>,
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
            let normalised = member_name(inner).unwrap_or_default();
            if normalised == "value" {
                self.read(root, name, value);
            } else if reversal_of_member(inner).is_some() {
                self.read(inner, inner, value);
            } else if !(normalised == "metadata" || is_denied(inner) || is_false && normalised == "id") {
                self.read(root, inner, value);
            }
        }
    }

    /// Reads several refunds. Those that were undone count only if all were.
    fn read_list(&mut self, root: &str, name: &str, items: &[Json]) {
        let mut found = Vec::new();
        for item in items {
            let mut evidence = Self::default();
            evidence.read(root, name, item);
            found.push(evidence);
        }
        found.retain(|evidence| evidence.is_mentioned);
        let is_undone = |evidence: &&Self| evidence.is_undone();
        let undone = found.iter().filter(is_undone).count();
        let are_all_undone = undone == found.len();
        let counted: Vec<&Self> = found.iter().filter(|it| are_all_undone || !it.is_undone()).collect();
        if counted.iter().any(|evidence| !evidence.amounts.is_empty()) {
            let amounts = counted.iter().map(|evidence| agreed(evidence.amounts.iter().cloned()));
            self.amounts.push(sum(amounts));
        }
        self.is_gone |= undone > 0 && !are_all_undone;
        for evidence in found {
            self.is_mentioned = true;
            self.is_gone |= evidence.is_gone;
            self.is_undone |= evidence.is_undone;
            self.gone_at.extend(evidence.gone_at);
            self.undone_at.extend(evidence.undone_at);
            self.ids.extend(evidence.ids);
            self.currencies.extend(evidence.currencies);
        }
    }

    /// Reads a value that says something. `text` is empty for `true`.
    fn read_scalar(&mut self, root: &str, name: &str, value: &Json, text: &str) {
        let normalised = member_name(name).unwrap_or_default();
        let is_own = name == root;
        let role = if is_own {
            Some(Role::of_own(&normalised))
        } else {
            Role::of_inner(&normalised)
        };
        match role {
            // A currency alone says nothing: it may be that of an amount of zero.
            Some(Role::Currency) => return self.currencies.push(read_currency(value)),
            None => return,
            Some(Role::Time | Role::UndoneTime) if is_no_date(text) => return,
            Some(Role::Word) if is_denied(text) => return,
            Some(Role::Id) => self.ids.push(read_reference(value)),
            Some(Role::Amount) => self.amounts.push(read_amount(Some(value)).filter(Decimal::is_positive)),
            Some(Role::UndoneTime) => self.undone_at.push(Timestamp::parse_lenient(text)),
            Some(Role::Time) => self.gone_at.push(Timestamp::parse_lenient(text)),
            Some(Role::Word) => match Timestamp::parse_lenient(text) {
                Some(at) => self.gone_at.push(Some(at)),
                None => {
                    let path = if is_own { "" } else { name };
                    let words = reversal_words(&format!("{root}_{path}_{text}"));
                    self.add_word(words.iter().any(|word| word.undone));
                }
            },
            Some(Role::Reason) => {}
        }
        self.is_mentioned = true;
    }

    fn reversal(&self, kind: ReversalKind, data: &Members<'_>) -> Option<Reversal> {
        let undone = self.is_undone();
        let times = if undone { &self.undone_at } else { &self.gone_at };
        let at = times.iter().flatten().max().copied();
        let id = agreed(self.ids.iter().cloned());
        let is_unique = id.is_some() || at.is_some();
        self.is_mentioned.then(|| Reversal {
            kind,
            undone,
            id,
            amount: agreed(self.amounts.iter().cloned()),
            currency: agreed(self.currencies.iter().cloned()),
            at,
            reported_at: data.latest_time(&MESSAGE_TIMES).filter(|_| !is_unique),
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

/// The sum of amounts. `None` if one is not known.
fn sum(amounts: impl Iterator<Item = Option<Decimal>>) -> Option<Decimal> {
    let units = amounts.map(|amount| amount?.shifted(PLACES));
    let sum = units.reduce(|one, other| one?.checked_add(other?)).flatten()?;
    Decimal::parse(&format!("{sum}e-{PLACES}"))
}

#[cfg(test)]
mod tests;
