//! The redaction of a webhook that cannot be read: any bytes, compared value by value with what is kept of them.

use std::collections::BTreeSet;

use payment_functions::domain::json::Json;
use payment_functions::domain::redaction::{self, MAX_LENGTH, redact};

use super::webhook::{is_test, speaks_of_reversal};

/// The documented limit of the nesting.
const MAX_DEPTH: usize = 64;

const FORM: &str = "application/x-www-form-urlencoded";

/// Members whose words are kept, and those whose numbers are, in the outermost object and below the last members.
const WORDS: [&str; 8] = [
    "currency",
    "event",
    "id",
    "orderId",
    "order_id",
    "paymentId",
    "status",
    "txn_id",
];
const NUMBERS: [&str; 3] = ["amount", "orderId", "txn_id"];
const WRAPPERS: [&str; 5] = ["data", "metadata", "request", "result", "transactions"];

/// Parts of the names of objects about a person, and of members about a person.
const PERSONS: [&str; 6] = ["address", "buyer", "customer", "payer", "phone", "wallet"];
const PERSONAL: [&str; 7] = [
    "description",
    "firstname",
    "first_name",
    "lastname",
    "last_name",
    "mail",
    "url",
];

pub fn check(bytes: &[u8]) -> bool {
    check_description(bytes);
    let redacted = redact(bytes, Some("application/json"));
    let input = Json::parse_any(bytes);
    assert_eq!(redacted.is_json, input.is_ok());
    assert!(redacted.text.len() <= MAX_LENGTH);
    assert_eq!(redact(bytes, Some("application/json")).digest(), redacted.digest());
    let Ok(input) = input else { return false };

    let output = Json::parse_any(redacted.text.as_bytes()).unwrap();
    assert!(output.depth() <= MAX_DEPTH);
    assert_harmless(&output);
    let again = redact(redacted.text.as_bytes(), None);
    assert!(again.is_json && !again.truncated);
    assert_eq!(again.text, redacted.text, "redacted twice");
    if !redacted.truncated {
        compare(&input, &output, Above::default());
    }
    if Json::parse_liberal(bytes).is_ok() {
        let read = redaction::readable(&redacted.text).unwrap();
        assert_eq!(read.depth(), output.depth());
        assert_no_type_is_read_as_a_value(&read, &output);
    }
    true
}

/// The bytes as a form, and as a content type.
fn check_description(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for (body, content_type) in [(bytes, FORM), (b"{".as_slice(), &*text)] {
        let described = redact(body, Some(content_type));
        assert!(described.text.len() <= MAX_LENGTH);
        let json = Json::parse_any(described.text.as_bytes()).unwrap();
        if described.is_json {
            continue;
        }
        let description = json.as_object().unwrap();
        assert!(description.str("sha256").is_some_and(|digest| digest.len() == 64));
        assert!(matches!(description.get("length"), Some(Json::Number(length)) if *length == body.len().to_string()));
        let content_type = description.str("contentType").unwrap_or_default();
        assert!(content_type.len() <= 129 && !content_type.contains(['@', ';', ' ']));
        assert_eq!(description.get("fields").is_some(), content_type == FORM);
        assert_harmless(&json);
    }
}

/// The names above a value.
#[derive(Clone, Copy, Default)]
struct Above<'a> {
    /// The nearest.
    name: &'a str,
    /// Whether all others are wrappers' names.
    is_wrapped: bool,
    /// Whether one is about a person.
    is_personal: bool,
    /// The number of arrays and objects around the value.
    depth: usize,
}

impl<'a> Above<'a> {
    fn deeper(self) -> Self {
        Self {
            depth: self.depth + 1,
            ..self
        }
    }

    fn member(self, name: &'a str) -> Self {
        let is_outermost = self.depth == 1;
        Above {
            name,
            is_wrapped: is_outermost || self.is_wrapped && WRAPPERS.contains(&self.name),
            is_personal: self.is_personal || has_part_of(name, &PERSONS),
            depth: self.depth,
        }
    }
}

fn has_part_of(name: &str, parts: &[&str]) -> bool {
    parts.iter().any(|part| name.to_ascii_lowercase().contains(part))
}

/// The redacted value has the same structure, and each value in it is the same or the name of its type.
fn compare(input: &Json, output: &Json, above: Above<'_>) {
    match (input, output) {
        (Json::Array(_) | Json::Object(_), Json::Null) => assert_eq!(above.depth, MAX_DEPTH, "not too deep"),
        (Json::Array(inputs), Json::Array(outputs)) => {
            assert_eq!(inputs.len(), outputs.len());
            for (input, output) in inputs.iter().zip(outputs) {
                compare(input, output, above.deeper());
            }
        }
        (Json::Object(inputs), Json::Object(outputs)) => {
            assert_eq!(inputs.iter().count(), outputs.iter().count());
            let mut replaced = BTreeSet::new();
            for ((name, input), (kept, output)) in inputs.iter().zip(outputs.iter()) {
                if name != kept {
                    assert!(!is_identifier(name) && is_identifier(kept) && inputs.get(kept).is_none());
                    assert!(replaced.insert(kept), "two members became one");
                }
                compare(input, output, above.deeper().member(name));
            }
        }
        (Json::String(text), Json::Array(_) | Json::Object(_)) => {
            let message = Json::parse_liberal(text.as_bytes()).unwrap();
            assert!(!above.is_personal);
            compare(&message, output, above);
        }
        (Json::String(text), Json::String(kind)) if kind == "string" => {
            let is_needed = above.is_wrapped && WORDS.contains(&above.name) && is_plain_word(text);
            assert!(!is_needed || text == "string", "{} is needed", above.name);
        }
        (Json::Number(text), Json::String(kind)) if kind == "number" => {
            let is_needed = above.is_wrapped && NUMBERS.contains(&above.name);
            assert!(!is_needed || text.len() > 64, "{} is needed", above.name);
        }
        (Json::Bool(_), Json::String(kind)) if kind == "boolean" => {}
        (Json::Bool(false) | Json::Number(_), Json::String(kind)) if kind.is_empty() => {}
        (Json::String(text), Json::String(kind)) if text != kind => {
            let is_needed = above.is_wrapped && WORDS.contains(&above.name) && is_plain_word(text);
            assert!(!is_needed && !above.is_personal, "{} is needed", above.name);
            let is_meant = match kind.as_str() {
                "test" => is_test(text),
                // It says that no money went back.
                "" => true,
                "refund" | "chargeback" | "chargeback_refund" => speaks_of_reversal(text),
                _ => false,
            };
            assert!(is_meant, "{text:?} became {kind:?}");
        }
        (Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_), _) => {
            assert!(input == output, "neither the value nor its type");
            let says_nothing = match input {
                Json::String(text) => ["", "string", "number", "boolean"].contains(&text.as_str()),
                Json::Null => true,
                Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => false,
            };
            let is_personal =
                above.is_personal || has_part_of(above.name, &PERSONAL) || ["message", "name"].contains(&above.name);
            assert!(says_nothing || !is_personal, "kept under {}", above.name);
        }
        (Json::Array(_) | Json::Object(_), _) => panic!("another structure"),
    }
}

/// A text that is a word in every sense: a letter, then letters, digits and `_`.
fn is_plain_word(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 16
        && bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_identifier(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let is_first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    (1..=64).contains(&name.len()) && is_first(name.as_bytes()[0]) && name.bytes().all(is_inner)
}

/// No name and no text has a sign that separates words, except the blank in a time, or is long.
fn assert_harmless(json: &Json) {
    match json {
        Json::String(text) => {
            let is_time = text.len() <= 40 && text.bytes().take(4).all(|byte| byte.is_ascii_digit());
            assert!(!text.contains(char::is_whitespace) || is_time && text.matches(' ').count() == 1);
            assert!(
                !text.contains(['@', '"', '\\', ';', '&', '?', '<', '{', '%']) && !text.contains("://"),
                "{text:?}"
            );
            assert!(!text.contains(char::is_control) && text.chars().count() <= 256);
        }
        Json::Number(text) => assert!(text.len() <= 256),
        Json::Array(items) => items.iter().for_each(assert_harmless),
        Json::Object(object) => object.iter().for_each(|(name, value)| {
            assert!(is_identifier(name));
            assert_harmless(value);
        }),
        Json::Null | Json::Bool(_) => {}
    }
}

fn assert_no_type_is_read_as_a_value(read: &Json, output: &Json) {
    let is_type = |value: &Json| {
        value
            .as_str()
            .is_some_and(|text| ["string", "number", "boolean"].contains(&text))
    };
    for name in ["amount", "orderId", "paymentId", "txn_id"] {
        let [read, output] = [read, output].map(|json| json.as_object().and_then(|object| object.get(name)));
        if output.is_some_and(is_type) {
            assert!(read == Some(&Json::Bool(true)), "{name}");
        }
    }
}
