//! Reading the members of a provider's message, as liberally as the money allows.
//!
//! A member that is `null`, `false` or empty counts as absent, with two exceptions: an amount or a currency counts as
//! absent only if it is `null`, and [`Members::contradictions`] counts every `success` but `true`, and a `status` of
//! `false`.
//!
//! Ids, amounts, currencies, times and error codes are returned bounded in length and free of control characters, so
//! that they can be stored. Status words are not: `believed_outcome` bounds them.

use std::borrow::Cow;

use crate::domain::decimal::Decimal;
use crate::domain::id::{OrderId, PaymentId, Reference};
use crate::domain::json::{Json, Object};
use crate::domain::redaction::{is_test_word, is_time, is_word};
use crate::domain::time::Timestamp;
use crate::providers::notification::{PAYMENT_ID_MEMBER, payment_id_in, read_amount};

/// Maximum number of characters of a currency.
const MAX_CURRENCY_LENGTH: usize = 16;

/// Maximum number of characters of an error code in [`Members::contradictions`].
const MAX_SHOWN_CODE_LENGTH: usize = 40;

/// The objects of one message, outermost first. A member may be in any of them.
#[derive(Clone, Debug)]
pub(super) struct Members<'a> {
    objects: Vec<&'a Object>,
}

/// The value of an identifying member, which may occur in several places and spellings.
#[derive(Debug)]
pub(super) struct Named<T> {
    /// The first readable value.
    pub(super) value: Option<T>,
    /// There are other values too.
    pub(super) differs: bool,
    /// A value is there but cannot be read, so it may name something else than `value`.
    pub(super) is_unreadable: bool,
}

impl<T: PartialEq> Named<T> {
    fn from_values(values: impl Iterator<Item = Option<T>>) -> Self {
        let mut named = Self {
            value: None,
            differs: false,
            is_unreadable: false,
        };
        for value in values {
            match (value, &named.value) {
                (None, _) => named.is_unreadable = true,
                (Some(value), None) => named.value = Some(value),
                (Some(value), Some(first)) => named.differs |= value != *first,
            }
        }
        named
    }

    /// Whether the message may name something else than `value`.
    pub(super) fn is_doubtful(&self) -> bool {
        self.differs || self.is_unreadable
    }
}

impl<'a> Members<'a> {
    /// The members of `objects`, the outermost of which comes first.
    pub(super) fn of(objects: impl IntoIterator<Item = &'a Object>) -> Self {
        Self {
            objects: objects.into_iter().collect(),
        }
    }

    /// The objects, outermost first.
    pub(super) fn objects(&self) -> impl Iterator<Item = &'a Object> + '_ {
        self.objects.iter().copied()
    }

    /// All values of the members `names`.
    fn all<'n>(&'n self, names: &'n [&str]) -> impl Iterator<Item = &'a Json> + 'n {
        names
            .iter()
            .flat_map(|name| self.objects.iter().filter_map(|object| object.get(name)))
    }

    /// All values of the members `names` that say something.
    pub(super) fn given<'n>(&'n self, names: &'n [&str]) -> impl Iterator<Item = &'a Json> + 'n {
        self.all(names).filter(|value| says_something(value))
    }

    /// A provider's id in the members `names`.
    pub(super) fn reference(&self, names: &[&str]) -> Named<Reference> {
        let is_given = |value: &&Json| !is_placeholder(value);
        Named::from_values(self.given(names).filter(is_given).map(read_reference))
    }

    /// The shop's order id in the members `names`.
    pub(super) fn order_id(&self, names: &[&str]) -> Named<OrderId> {
        let is_given = |value: &&Json| !is_blank(value);
        Named::from_values(self.given(names).filter(is_given).map(read_order_id))
    }

    /// Our payment id in `metadata`. Unreadable metadata that contains the name `paymentFunctionsId` counts as an
    /// unreadable id. Other unreadable metadata is ignored.
    pub(super) fn payment_id(&self) -> Named<PaymentId> {
        Named::from_values(self.given(&["metadata"]).filter_map(|value| {
            let Some(metadata) = read_metadata(value) else {
                let text = serde_json::to_string(value).unwrap_or_default();
                return text.contains(PAYMENT_ID_MEMBER).then_some(None);
            };
            let id = metadata.get(PAYMENT_ID_MEMBER).filter(|id| says_something(id));
            id.map(|_| payment_id_in(Some(&metadata)))
        }))
    }

    /// Whether there is metadata, but none with our payment id: it is another system's.
    #[cfg(feature = "provider-client")]
    pub(super) fn has_foreign_metadata(&self) -> bool {
        let metadata = || self.given(&["metadata"]).filter_map(read_metadata);
        let is_ours = |metadata: &Object| metadata.get(PAYMENT_ID_MEMBER).is_some();
        metadata().any(|metadata| metadata.iter().next().is_some()) && !metadata().any(|metadata| is_ours(&metadata))
    }

    /// The order id that we sent in the metadata.
    pub(super) fn order_id_in_metadata(&self) -> Named<OrderId> {
        let metadata: Vec<Cow<'_, Object>> = self.given(&["metadata"]).filter_map(read_metadata).collect();
        Members::of(metadata.iter().map(AsRef::as_ref)).order_id(&["orderId"])
    }

    /// The amount in major units. `None` if there is none, one is unreadable, or two differ.
    pub(super) fn amount(&self) -> Option<Decimal> {
        let amounts = self.all(&["amount"]).filter(|amount| **amount != Json::Null);
        agreed(amounts.map(|amount| read_amount(Some(amount))))
    }

    /// The currency in upper case. `None` if there is none, one is unreadable, or two differ.
    pub(super) fn currency(&self) -> Option<String> {
        let currencies = self.all(&["currency"]).filter(|currency| **currency != Json::Null);
        agreed(currencies.map(read_currency))
    }

    /// The first readable time in the members `names`, as it was written.
    pub(super) fn time(&self, names: &[&str]) -> Option<String> {
        let texts = self.given(names).filter_map(|value| match value {
            Json::String(text) | Json::Number(text) => Some(text),
            Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
        });
        let mut times = texts.filter(|text| is_time(text));
        times.next().cloned()
    }

    /// The latest readable time in the members `names`.
    pub(super) fn latest_time(&self, names: &[&str]) -> Option<Timestamp> {
        self.times(names).max()
    }

    /// The readable times in the members `names`.
    pub(super) fn times<'n>(&'n self, names: &'n [&str]) -> impl Iterator<Item = Timestamp> + 'n {
        words(self.given(names)).filter_map(Timestamp::parse_lenient)
    }

    /// The words by which the message names a status: texts and numbers in `status` and `event`, and a `type` that
    /// marks a test message. A `status` of `true` is no word: it says that the call worked. An array or object beside a
    /// word counts as an unknown word.
    pub(super) fn status_words(&self) -> Vec<&'a str> {
        let mut words: Vec<&str> = words(self.given(&["status", "event"])).collect();
        let is_structured = |value: &Json| matches!(value, Json::Array(_) | Json::Object(_));
        if !words.is_empty() && self.given(&["status", "event"]).any(is_structured) {
            words.push("unreadable");
        }
        words.extend(self.test_types());
        words
    }

    /// Whether it is a provider's test message: a part of its status, event or type is `test` or `ping`.
    pub(super) fn is_test(&self) -> bool {
        words(self.given(&["status", "event"])).any(is_test_word) || self.test_types().next().is_some()
    }

    fn test_types(&self) -> impl Iterator<Item = &'a str> {
        words(self.given(&["type"])).filter(|word| is_test_word(word))
    }

    /// What contradicts a completion or an authorization: a `success` that is not `true`, a `status` that is `false`,
    /// or an error. It is one text for the ledger, such as ` success:false error:E1`, with a space before each part.
    /// Empty if there is nothing.
    pub(super) fn contradictions(&self) -> String {
        let success = self.all(&["success"]).find(|success| **success != Json::Bool(true));
        let mut found = success.map_or_else(String::new, |value| format!(" success:{}", kind(value)));
        if self.all(&["status"]).any(|status| *status == Json::Bool(false)) {
            found.push_str(" status:false");
        }
        if let Some(error) = self.given(&["error", "errors"]).next() {
            found.push_str(" error");
            if let Some(code) = error_code(error) {
                found.push(':');
                found.extend(code.chars().take(MAX_SHOWN_CODE_LENGTH));
            }
        }
        found
    }
}

/// Reads the code of a currency, in upper case.
pub(super) fn read_currency(value: &Json) -> Option<String> {
    let is_code = |code: &&str| code.len() <= MAX_CURRENCY_LENGTH && is_word(code);
    Some(value.as_str().filter(is_code)?.to_ascii_uppercase())
}

/// The common value; `None` if the values differ or one is unreadable.
pub(super) fn agreed<T: PartialEq>(mut values: impl Iterator<Item = Option<T>>) -> Option<T> {
    let first = values.next().flatten();
    first.filter(|first| values.all(|other| other.as_ref() == Some(first)))
}

/// Whether a value is anything but `null`, `false` and an empty text, array or object.
pub(super) fn says_something(value: &Json) -> bool {
    match value {
        Json::Null | Json::Bool(false) => false,
        Json::Bool(true) | Json::Number(_) => true,
        Json::String(text) => !text.is_empty(),
        Json::Array(values) => !values.is_empty(),
        Json::Object(object) => !object.is_empty(),
    }
}

/// A provider's id: a text, without its outer blanks, or a number of plain digits, digit by digit.
///
/// `None` if it is anything else, too long, or has control characters or U+FFFD. The parser puts U+FFFD in place of
/// lone surrogates and of bytes that are not UTF-8, so two different ids could look the same.
pub(super) fn read_reference(value: &Json) -> Option<Reference> {
    Reference::parse(id_text(value)?)
}

/// An order id, by the same rules as [`read_reference`].
pub(super) fn read_order_id(value: &Json) -> Option<OrderId> {
    OrderId::parse(id_text(value)?)
}

fn id_text(value: &Json) -> Option<&str> {
    let text = match value {
        Json::String(text) => text.trim(),
        Json::Number(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text,
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => return None,
    };
    (!text.contains(char::REPLACEMENT_CHARACTER)).then_some(text)
}

/// Whether a value stands for "no id": a blank text, or zero. As an id it would make all payments one.
pub(super) fn is_placeholder(value: &Json) -> bool {
    is_blank(value) || id_text(value) == Some("0")
}

/// Whether a value is a text of blanks only.
pub(super) fn is_blank(value: &Json) -> bool {
    value.as_str().is_some_and(|text| text.trim().is_empty())
}

/// The provider's metadata: an object, or an object as a JSON text.
fn read_metadata(value: &Json) -> Option<Cow<'_, Object>> {
    match value {
        Json::Object(object) => Some(Cow::Borrowed(object)),
        Json::String(text) => match Json::parse_liberal(text.as_bytes()) {
            Ok(Json::Object(object)) => Some(Cow::Owned(object)),
            Ok(Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_)) | Err(_) => None,
        },
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) => None,
    }
}

/// The texts, without outer blanks, and the numbers among the values.
fn words<'a>(values: impl Iterator<Item = &'a Json>) -> impl Iterator<Item = &'a str> {
    let is_outer = |char: char| char.is_whitespace() || char.is_control();
    values.filter_map(move |value| match value {
        Json::String(text) => Some(text.trim_matches(is_outer)).filter(|word| !word.is_empty()),
        Json::Number(text) => Some(text.as_str()),
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
    })
}

/// The value of a flag, or its kind.
fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(true) => "true",
        Json::Bool(false) => "false",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

/// The code of an error, which is an object with a `code` or the code itself, if it is safe to show.
pub(super) fn error_code(error: &Json) -> Option<String> {
    let code = error.as_str().or_else(|| error.as_object()?.str("code"));
    code.and_then(code_if_safe_to_show)
}

/// A provider's error code, if it is safe to show: at most 64 ASCII letters, digits, `_`, `-` and `.`.
pub(super) fn code_if_safe_to_show(code: &str) -> Option<String> {
    let is_code = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '.');
    ((1..=64).contains(&code.len()) && code.chars().all(is_code)).then(|| code.to_owned())
}

#[cfg(test)]
mod tests;
