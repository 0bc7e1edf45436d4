//! JSON objects that preserve the order of members and the text of numbers.

use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

/// A JSON object: ordered members, with the original text of their values.
///
/// Amounts stay decimal text, never floats. A duplicate member is an error.
#[derive(Clone, Debug, Default)]
pub struct Object(Vec<(String, Box<RawValue>)>);

impl Object {
    /// Adds or replaces a member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Serialize) -> Self {
        self.set(name, value);
        self
    }

    /// Like [`Object::with`], if there is a value.
    #[must_use]
    pub fn with_some(self, name: &str, value: Option<impl Serialize>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Sets a member, in place if it exists.
    pub fn set(&mut self, name: &str, value: impl Serialize) {
        let value = to_raw_value(&value).unwrap_or_else(|_| RawValue::NULL.to_owned());
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// A member's value, with its original text.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&RawValue> {
        self.members().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// A member that is a string.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }

    /// A member that is an object.
    #[must_use]
    pub fn object(&self, name: &str) -> Option<Self> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }

    /// Removes a member.
    pub fn remove(&mut self, name: &str) -> Option<Box<RawValue>> {
        let index = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(index).1)
    }

    /// Renames a member, in place.
    pub fn rename(&mut self, old: &str, new: &str) {
        if let Some((name, _)) = self.0.iter_mut().find(|(known, _)| known == old) {
            new.clone_into(name);
        }
    }

    /// Sets all members of another object. Nested objects are merged recursively.
    pub fn merge(&mut self, other: &Self) {
        for (name, value) in other.members() {
            match (self.object(name), other.object(name)) {
                (Some(mut mine), Some(theirs)) => {
                    mine.merge(&theirs);
                    self.set(name, mine);
                }
                _ => self.set(name, value),
            }
        }
    }

    /// The members, in order.
    pub fn members(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_ref()))
    }
}

/// Compact JSON.
impl fmt::Display for Object {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        formatter.write_str(&text)
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.members())
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut object = Object::default();
        while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
            if object.get(&name).is_some() {
                return Err(A::Error::custom(format_args!("member `{name}` is given twice")));
            }
            object.0.push((name, value));
        }
        Ok(object)
    }
}

/// The JSON text without whitespace between tokens.
pub(super) fn compact(text: &str) -> String {
    let mut compact = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for character in text.chars() {
        if in_string {
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
        } else if character.is_ascii_whitespace() {
            continue;
        } else {
            in_string = character == '"';
        }
        compact.push(character);
    }
    compact
}

/// A value's original text without whitespace between tokens.
pub(super) fn compacted(value: &RawValue) -> Box<RawValue> {
    RawValue::from_string(compact(value.get())).unwrap_or_else(|_| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Object {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn member_order_and_number_text_are_preserved() {
        let text = r#"{"b":25.50,"a":1e2,"c":{"z":0.10,"y":null}}"#;
        assert_eq!(object(text).to_string(), text);
    }

    #[test]
    fn duplicate_member_is_an_error() {
        let error = serde_json::from_str::<Object>(r#"{"amount":1,"amount":2}"#).unwrap_err();
        assert!(error.to_string().contains("`amount` is given twice"));
    }

    #[test]
    fn merge_replaces_in_place_and_is_recursive() {
        let mut merged = object(r#"{"a":1,"data":{"x":1,"y":2},"b":3}"#);
        merged.merge(&object(r#"{"data":{"x":"other","z":4},"a":9,"c":5}"#));
        assert_eq!(
            merged.to_string(),
            r#"{"a":9,"data":{"x":"other","y":2,"z":4},"b":3,"c":5}"#
        );
    }

    #[test]
    fn compact_leaves_strings_unchanged() {
        let text = "{ \"a\" : \"x \\\" y\\\\\" ,\n\t\"b\" : [ 1.50 , 2 ] }";
        assert_eq!(compact(text), r#"{"a":"x \" y\\","b":[1.50,2]}"#);
    }
}
