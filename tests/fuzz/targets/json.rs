//! Any bytes as JSON, compared with serde_json.

use std::collections::BTreeSet;
use std::fmt;

use payment_functions::domain::idempotency::Fingerprint;
use payment_functions::domain::json::{Json, Object};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The documented limit of the parser.
const MAX_DEPTH: usize = 64;

pub fn check(bytes: &[u8]) -> bool {
    let ours = Json::parse(bytes);
    let text = std::str::from_utf8(bytes);
    if let Ok(json) = &ours {
        assert!(
            serde_json::from_slice::<IgnoredAny>(bytes).is_ok(),
            "accepts invalid JSON"
        );
        let compact = compact(json);
        assert_eq!(
            Json::parse(compact.as_bytes()).as_ref(),
            Ok(json),
            "round trip through compact JSON"
        );
        assert_eq!(
            Json::parse(pretty(json).as_bytes()).as_ref(),
            Ok(json),
            "round trip through pretty JSON"
        );
        assert_eq!(
            Fingerprint::of(json),
            Fingerprint::of(&reversed(json)),
            "the order of members does not matter"
        );
        numbers(json, &mut |number| {
            assert!(text.unwrap().contains(number), "{number} is not in the text")
        });
    }
    // serde_json rejects numbers that exceed a float, so those cannot be compared.
    let Some(theirs) = text.ok().and_then(|text| serde_json::from_str::<Tree>(text).ok()) else {
        return ours.is_ok();
    };
    assert_eq!(
        ours.is_ok(),
        !theirs.has_duplicates() && theirs.depth() <= MAX_DEPTH,
        "rejects valid JSON"
    );
    if let Ok(json) = &ours {
        theirs.compare(json);
    }
    ours.is_ok()
}

/// JSON text without white space.
pub fn compact(json: &Json) -> String {
    serde_json::to_string(json).unwrap()
}

/// JSON text with a lot of white space.
pub fn pretty(json: &Json) -> String {
    format!(" \r\n{}\t", serde_json::to_string_pretty(json).unwrap())
}

/// The same value with the members of every object in reverse order.
pub fn reversed(json: &Json) -> Json {
    match json {
        Json::Array(items) => Json::Array(items.iter().map(reversed).collect()),
        Json::Object(object) => {
            let members: Vec<(&str, &Json)> = object.iter().collect();
            let mut reverse = Object::default();
            for (name, value) in members.into_iter().rev() {
                reverse.set(name, reversed(value));
            }
            Json::Object(reverse)
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => json.clone(),
    }
}

fn numbers(json: &Json, see: &mut impl FnMut(&str)) {
    match json {
        Json::Number(text) => see(text),
        Json::Array(items) => items.iter().for_each(|item| numbers(item, see)),
        Json::Object(object) => object.iter().for_each(|(_, value)| numbers(value, see)),
        Json::Null | Json::Bool(_) | Json::String(_) => {}
    }
}

/// A value parsed by serde_json, with duplicate members, and with numbers as floats.
enum Tree {
    Null,
    Bool(bool),
    Number(f64),
    String(String),
    Array(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl Tree {
    fn has_duplicates(&self) -> bool {
        match self {
            Self::Array(items) => items.iter().any(Self::has_duplicates),
            Self::Object(members) => {
                let names: BTreeSet<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
                names.len() < members.len() || members.iter().any(|(_, value)| value.has_duplicates())
            }
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) => false,
        }
    }

    fn depth(&self) -> usize {
        match self {
            Self::Array(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Self::Object(members) => 1 + members.iter().map(|(_, value)| value.depth()).max().unwrap_or(0),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) => 0,
        }
    }

    fn compare(&self, ours: &Json) {
        match (self, ours) {
            (Self::Null, Json::Null) => {}
            (Self::Bool(theirs), Json::Bool(ours)) => assert_eq!(theirs, ours),
            (Self::Number(theirs), Json::Number(ours)) => {
                let ours: f64 = ours.parse().unwrap();
                // serde_json's floats are not always the nearest, but at most one off.
                assert!(theirs.to_bits().abs_diff(ours.to_bits()) <= 1, "{theirs} {ours}");
            }
            (Self::String(theirs), Json::String(ours)) => assert_eq!(theirs, ours),
            (Self::Array(theirs), Json::Array(ours)) => {
                assert_eq!(theirs.len(), ours.len());
                theirs.iter().zip(ours).for_each(|(theirs, ours)| theirs.compare(ours));
            }
            (Self::Object(theirs), Json::Object(ours)) => {
                assert_eq!(theirs.len(), ours.iter().count());
                for ((name, theirs), (ours_name, ours)) in theirs.iter().zip(ours.iter()) {
                    assert_eq!(name, ours_name);
                    theirs.compare(ours);
                }
            }
            _ => panic!("different types of values"),
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Tree;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
                Ok(Tree::Bool(value))
            }

            #[expect(clippy::as_conversions, reason = "compared as a float")]
            fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
                Ok(Tree::Number(value as f64))
            }

            #[expect(clippy::as_conversions, reason = "compared as a float")]
            fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
                Ok(Tree::Number(value as f64))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
                Ok(Tree::Number(value))
            }

            fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
                Ok(Tree::String(value.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
                let mut array = Vec::new();
                while let Some(item) = items.next_element()? {
                    array.push(item);
                }
                Ok(Tree::Array(array))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Tree, A::Error> {
                let mut object = Vec::new();
                while let Some(member) = members.next_entry()? {
                    object.push(member);
                }
                Ok(Tree::Object(object))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
