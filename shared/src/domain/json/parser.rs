//! The parser behind all modes of reading JSON.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::domain::json::{Json, Malformed, Object, push_pointer};

/// Maximum nesting depth of arrays and objects.
pub(super) const MAX_DEPTH: usize = 64;

/// The maximum number of pointers to lone surrogates. It limits the memory, as each can be almost as long as the text.
pub(super) const MAX_POINTERS: usize = 128;

/// The UTF-8 byte order mark.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What a parser forgives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nothing.
    Strict,
    /// Lone surrogates, whose pointers are recorded.
    Request,
    /// Lone surrogates and a byte order mark.
    Liberal,
    /// Also duplicate members and any depth.
    Any,
}

/// Reads one JSON text.
pub(super) struct Parser {
    mode: Mode,
    /// The JSON pointer of the current value.
    pointer: String,
    /// See [`Self::into_lone_surrogates`].
    lone_surrogates: Vec<String>,
}

impl Parser {
    pub(super) const fn new(mode: Mode) -> Self {
        Self {
            mode,
            pointer: String::new(),
            lone_surrogates: Vec::new(),
        }
    }

    pub(super) fn parse(&mut self, bytes: &[u8]) -> Result<Json, Malformed> {
        let bytes = match self.mode {
            Mode::Strict | Mode::Request => bytes,
            Mode::Liberal | Mode::Any => bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes),
        };
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed)?;
        let raw: &RawValue = serde_json::from_str(text).map_err(|_| Malformed)?;
        self.value(raw.get(), MAX_DEPTH)
    }

    /// The JSON pointers of texts and members with a lone surrogate, in [`Mode::Request`] only.
    pub(super) fn into_lone_surrogates(self) -> Vec<String> {
        self.lone_surrogates
    }

    /// Reads a value in which arrays and objects may be nested `depth` levels deep.
    fn value(&mut self, text: &str, depth: usize) -> Result<Json, Malformed> {
        let json = match text.as_bytes().first() {
            Some(b'n') => Json::Null,
            Some(b't') => Json::Bool(true),
            Some(b'f') => Json::Bool(false),
            Some(b'"') => {
                let Text(text) = serde_json::from_str(text).map_err(|_| Malformed)?;
                Json::String(self.text(&text)?)
            }
            Some(b'[' | b'{') if depth == 0 && self.mode == Mode::Any => Json::Null,
            Some(b'[' | b'{') if depth == 0 => return Err(Malformed),
            Some(b'[') => Json::Array(self.items(text, depth.saturating_sub(1))?),
            Some(b'{') => Json::Object(self.object(text, depth.saturating_sub(1))?),
            Some(_) => Json::Number(text.to_owned()),
            None => return Err(Malformed),
        };
        Ok(json)
    }

    fn items(&mut self, text: &str, depth: usize) -> Result<Vec<Json>, Malformed> {
        let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| Malformed)?;
        let items = items.into_iter().enumerate();
        items
            .map(|(index, item)| self.below(&index.to_string(), |parser| parser.value(item.get(), depth)))
            .collect()
    }

    fn object(&mut self, text: &str, depth: usize) -> Result<Object, Malformed> {
        let RawMembers(members) = serde_json::from_str(text).map_err(|_| Malformed)?;
        let mut names = BTreeSet::new();
        if self.mode != Mode::Any && !members.iter().all(|(Text(name), _)| names.insert(name.as_ref())) {
            return Err(Malformed);
        }
        let members = members.iter().map(|(Text(raw), value)| {
            let name = replace_lone_surrogates(raw);
            let value = self.below(&name, |parser| {
                parser.text(raw)?;
                parser.value(value.get(), depth)
            })?;
            Ok((name, value))
        });
        Ok(Object {
            members: members.collect::<Result<_, _>>()?,
        })
    }

    /// Reads a member or an item, with the pointer moved to it.
    fn below<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> Result<T, Malformed>) -> Result<T, Malformed> {
        let length = self.pointer.len();
        push_pointer(&mut self.pointer, name);
        let read = read(self);
        self.pointer.truncate(length);
        read
    }

    /// Handles the lone surrogates of an unescaped text or name.
    fn text(&mut self, text: &[u8]) -> Result<String, Malformed> {
        if let Ok(text) = std::str::from_utf8(text) {
            return Ok(text.to_owned());
        }
        match self.mode {
            Mode::Strict => return Err(Malformed),
            Mode::Request => {
                if self.lone_surrogates.len() < MAX_POINTERS && !self.lone_surrogates.contains(&self.pointer) {
                    self.lone_surrogates.push(self.pointer.clone());
                }
            }
            Mode::Liberal | Mode::Any => {}
        }
        Ok(replace_lone_surrogates(text))
    }
}

/// Replaces each lone surrogate in a [`Text`] with U+FFFD.
fn replace_lone_surrogates(text: &[u8]) -> String {
    let mut replaced = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        replaced.push_str(chunk.valid());
        // A surrogate is three invalid bytes, of which the first is always 0xed and the others never.
        if chunk.invalid().starts_with(b"\xed") {
            replaced.push(char::REPLACEMENT_CHARACTER);
        }
    }
    replaced
}

/// The unparsed members of an object, including duplicates.
struct RawMembers<'a>(Vec<(Text<'a>, &'a RawValue)>);

impl<'de> Deserialize<'de> for RawMembers<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = RawMembers<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(RawMembers(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A string or a member's name as UTF-8 in which lone surrogates are encoded like other code points (WTF-8). Borrowed
/// unless it contains escapes.
struct Text<'a>(Cow<'a, [u8]>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_bytes<E: de::Error>(self, text: &'de [u8]) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_bytes<E: de::Error>(self, text: &[u8]) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}
