//! Reading JSON: one parser for all modes.

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

impl Json {
    /// Reads one JSON text strictly: in UTF-8, without a byte order mark, a duplicate member or a lone surrogate.
    ///
    /// # Errors
    /// [`Malformed`], which does not quote the text.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        Parser::new(Mode::Strict).parse(bytes)
    }

    /// Reads a request's body as strictly as [`Json::parse`], with one exception: a lone surrogate in a text or in a
    /// member's name becomes U+FFFD. Returns the JSON pointers of these texts and members, each once, the first 128 at
    /// most.
    ///
    /// # Errors
    /// [`Malformed`], which does not quote the text.
    pub fn parse_request(bytes: &[u8]) -> Result<(Self, Vec<String>), Malformed> {
        let mut parser = Parser::new(Mode::Request);
        let json = parser.parse(bytes)?;
        Ok((json, parser.lone_surrogates))
    }

    /// Reads what a provider sent. Skips one byte order mark before the text, and replaces lone surrogates, and bytes
    /// that are not UTF-8, with U+FFFD.
    ///
    /// # Errors
    /// [`Malformed`], which does not quote the text.
    pub fn parse_liberal(bytes: &[u8]) -> Result<Self, Malformed> {
        Parser::new(Mode::Liberal).parse(bytes)
    }

    /// Reads as much as possible, for the redaction only: like [`Json::parse_liberal`], but an object keeps duplicate
    /// members, and an array or object that is nested too deeply becomes `null`.
    ///
    /// # Errors
    /// [`Malformed`] if the text is not JSON.
    pub fn parse_any(bytes: &[u8]) -> Result<Self, Malformed> {
        Parser::new(Mode::Any).parse(bytes)
    }
}

/// What a parser forgives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Nothing.
    Strict,
    /// Lone surrogates, whose pointers are recorded.
    Request,
    /// Lone surrogates, bytes that are not UTF-8, and a byte order mark.
    Liberal,
    /// Also duplicate members and any depth.
    Any,
}

/// Reads one JSON text.
struct Parser {
    mode: Mode,
    /// The JSON pointer of the current value.
    pointer: String,
    /// The JSON pointers of texts and members with a lone surrogate, in [`Mode::Request`] only.
    lone_surrogates: Vec<String>,
}

impl Parser {
    const fn new(mode: Mode) -> Self {
        Self {
            mode,
            pointer: String::new(),
            lone_surrogates: Vec::new(),
        }
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Json, Malformed> {
        let text = match self.mode {
            Mode::Strict | Mode::Request => Cow::Borrowed(std::str::from_utf8(bytes).map_err(|_| Malformed)?),
            Mode::Liberal | Mode::Any => String::from_utf8_lossy(bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes)),
        };
        let raw: &RawValue = serde_json::from_str(&text).map_err(|_| Malformed)?;
        self.value(raw.get(), MAX_DEPTH)
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
