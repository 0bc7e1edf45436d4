//! A JSON parser that preserves numbers exactly, strict with callers and liberal with providers.
//!
//! Guarantees: a text with a duplicate member is malformed, because two readers could see two different amounts
//! (RFC 8259 does not define which one counts). A number keeps its decimal text, so no amount passes through a float.

mod parser;

use std::collections::BTreeMap;
#[cfg(not(test))]
use std::fmt;

use serde::ser::{Error as _, SerializeMap};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use sha2::digest::Update;

use crate::domain::decimal::Decimal;

/// A JSON value. A number keeps its text, an object the order of its members.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as it was written.
    Number(String),
    /// A string, unescaped.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object.
    Object(Object),
}

/// The text is not JSON, not UTF-8, nested too deeply, or contains a duplicate member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed JSON")]
pub struct Malformed;

impl Json {
    /// The nesting depth of arrays and objects: 0 for a number, 1 for an array of numbers.
    pub fn depth(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) => 0,
            Self::Array(values) => deepest(values.iter()),
            Self::Object(object) => object.depth(),
        }
    }

    /// The string, if this is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self {
            Some(text)
        } else {
            None
        }
    }

    /// The values of an array.
    pub fn as_array(&self) -> Option<&[Self]> {
        if let Self::Array(values) = self {
            Some(values)
        } else {
            None
        }
    }

    /// The object, if this is one.
    pub fn as_object(&self) -> Option<&Object> {
        if let Self::Object(object) = self {
            Some(object)
        } else {
            None
        }
    }

    /// Feeds the value to a hash in a canonical form. The order of members and the notation of numbers do not matter;
    /// different values without duplicate members never feed the same bytes, because each part is preceded by its kind
    /// and length.
    pub fn feed(&self, hash: &mut impl Update) {
        match self {
            Self::Null => feed_text(hash, None),
            Self::Bool(value) => feed(hash, b'b', if *value { "true" } else { "false" }),
            Self::Number(text) => match Decimal::parse(text) {
                Some(value) => feed(hash, b'd', &value.to_string()),
                None => feed(hash, b'd', text),
            },
            Self::String(text) => feed_text(hash, Some(text)),
            Self::Array(items) => {
                feed(hash, b'a', &items.len().to_string());
                items.iter().for_each(|item| item.feed(hash));
            }
            Self::Object(object) => {
                let sorted: BTreeMap<&str, &Self> = object.iter().collect();
                feed(hash, b'o', &sorted.len().to_string());
                for (name, value) in sorted {
                    feed_text(hash, Some(name));
                    value.feed(hash);
                }
            }
        }
    }
}

/// Feeds a text to a hash, or its absence, like a JSON string or `null`.
pub fn feed_text(hash: &mut impl Update, text: Option<&str>) {
    match text {
        Some(text) => feed(hash, b's', text),
        None => feed(hash, b'n', ""),
    }
}

/// Feeds one text to a hash, with its kind and its length in bytes.
fn feed(hash: &mut impl Update, kind: u8, text: &str) {
    hash.update(&[kind]);
    hash.update(format!("{}:", text.len()).as_bytes());
    hash.update(text.as_bytes());
}

/// Appends a member's name or an item's index to a JSON pointer (RFC 6901).
pub fn push_pointer(pointer: &mut String, name: &str) {
    pointer.push('/');
    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
}

/// A JSON object: members in the order they were written. Each name occurs once, except that [`Json::parse_any`] keeps
/// duplicates, and that names which differ only in lone surrogates look alike once these are replaced.
#[derive(Clone, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub struct Object {
    members: Vec<(String, Json)>,
}

/// The depth of an array or object with these values.
fn deepest<'a>(values: impl Iterator<Item = &'a Json>) -> usize {
    values.map(Json::depth).max().unwrap_or(0).saturating_add(1)
}

impl Object {
    /// The nesting depth of arrays and objects, including this object.
    pub fn depth(&self) -> usize {
        deepest(self.iter().map(|(_, value)| value))
    }

    /// The value of a member.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.iter()
            .find_map(|(member, value)| (member == name).then_some(value))
    }

    /// The value of a member that is a string.
    pub fn str(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Json::as_str)
    }

    /// Sets a member, replacing an existing one of that name.
    pub fn set(&mut self, name: &str, value: Json) {
        self.remove(name);
        self.members.push((name.to_owned(), value));
    }

    /// Removes a member and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<Json> {
        let at = self.members.iter().position(|(member, _)| member == name)?;
        Some(self.members.remove(at).1)
    }

    /// All members, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.members.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The object as JSON text without whitespace.
    pub fn to_compact(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Callers' data may be personal, so `Debug` shows it only in tests.
#[cfg(not(test))]
impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[JSON]")
    }
}

#[cfg(not(test))]
impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[JSON object]")
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.members.len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(text) => RawValue::from_string(text.clone())
                .map_err(S::Error::custom)?
                .serialize(serializer),
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Object(object) => object.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests;
