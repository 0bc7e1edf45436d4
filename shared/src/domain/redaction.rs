//! What may be kept of a signed webhook that cannot be read yet.
//!
//! Guarantee: no free text is kept, and no value of an object whose name says that it is about a person. An id in an
//! object whose name says nothing is kept. A value is kept only if its member's name is on a list and the value has the
//! grammar of that name's kind: ids, amounts, currencies, status words, flags and times. Of any other value only its
//! type is kept. A later version can usually read the webhook from this. If something is missing that decides how the
//! webhook is read, [`RedactedBody::truncated`] or [`is_conclusive`] says so.

mod kind;

use std::collections::HashSet;

use sha2::{Digest, Sha256};

pub(crate) use self::kind::{Kind, is_history_name, is_test_word, is_time, is_word, is_word_name};
use crate::domain::json::{Json, Malformed, Object};
use crate::domain::reversal_words::{reversal_words, says_nothing};

/// Maximum length of the redacted content in bytes.
pub const MAX_LENGTH: usize = 15 * 1024;

/// Maximum nesting depth of the redacted content, so that [`Json::parse`] accepts it.
const MAX_DEPTH: usize = 64;

/// Maximum number of values that are kept of one array or object in content that is too long.
const MAX_VALUES: usize = 1024;

/// The redacted content of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedactedBody {
    /// Whether the body was JSON.
    pub is_json: bool,
    /// The redacted content as JSON text, at most [`MAX_LENGTH`] bytes.
    ///
    /// Of JSON it has the same structure with redacted values: redacting it again changes nothing. Of any other body
    /// it is an object with `sha256` and `length` (bytes) of the body, its media type as `contentType`, and the
    /// `fields` of a form.
    pub text: String,
    /// Whether values were left out so that `text` fits into [`MAX_LENGTH`].
    pub truncated: bool,
}

impl RedactedBody {
    /// Lower-case hex SHA-256 of the redacted content.
    pub fn digest(&self) -> String {
        hex::encode(Sha256::digest(&self.text))
    }
}

/// Redacts a body.
///
/// JSON keeps its structure, and the names of its members if they are identifiers: an ASCII letter or `_`, then at most
/// 63 letters, digits, `_`, `-` and `.`. Other names become `member1`, `member2` and so on. A value that must not be
/// kept becomes `"string"`, `"number"` or `"boolean"`, or `""` if its name is about money going back and it says that
/// none did. JSON text under a name such as `metadata` is replaced by its redacted value. Objects that are about a
/// person keep no value.
///
/// Content that is too long keeps only the first elements of each array, at least one. If that is not enough, it also
/// keeps only the first members of each object, fewer the deeper the object is.
pub fn redact(body: &[u8], content_type: Option<&str>) -> RedactedBody {
    // Keeps duplicate members, and replaces what is nested too deeply with `null`.
    let json = Json::parse_any(body);
    let root = json
        .as_ref()
        .map_or_else(|_| describe(body, content_type), |json| redact_value(json, Place::ROOT));
    let (text, truncated) = fit(&root);
    RedactedBody {
        is_json: json.is_ok(),
        text,
        truncated,
    }
}

/// Reads the redacted text of a JSON webhook, as liberally as [`Json::parse_liberal`].
///
/// A redacted id, amount, currency or time becomes `true`: a value is there, but cannot be read. Any other redacted
/// value stays the text of its type, so that the readers see that there is one, such as an `error`.
///
/// # Errors
/// [`Malformed`] if the webhook has duplicate members.
pub fn readable(text: &str) -> Result<Json, Malformed> {
    Ok(without_types(Json::parse_liberal(text.as_bytes())?, Place::ROOT))
}

/// The members whose redaction could change how a reader understands a webhook: its status, and our payment id in the
/// metadata. The provider's ids are not here: a redacted one becomes `true`, which is an unreadable id.
const DECISIVE: [&str; 3] = ["event", "metadata", "status"];

/// Whether the redacted content still has everything that decides how a webhook is read. If not, a reader could believe
/// what it would not believe of the original.
pub fn is_conclusive(json: &Json) -> bool {
    // Deeper values were replaced with `null`.
    json.depth() < MAX_DEPTH && !hides_decisive_value(json, false)
}

fn hides_decisive_value(json: &Json, is_decisive: bool) -> bool {
    match json {
        Json::Array(items) => items.iter().any(|item| hides_decisive_value(item, is_decisive)),
        Json::Object(object) => object.iter().any(|(name, value)| {
            let name = kind::normalised(name);
            // The members of the shop's own metadata have other meanings.
            let is_metadata = name == "metadata" && value.as_object().is_some();
            !is_metadata && hides_decisive_value(value, DECISIVE.contains(&name.as_str()))
        }),
        Json::String(text) => is_decisive && is_type(text),
        Json::Null | Json::Bool(_) | Json::Number(_) => false,
    }
}

/// Replaces each redacted id, amount, currency and time with `true`.
fn without_types(json: Json, place: Place) -> Json {
    match json {
        Json::Array(items) => Json::Array(items.into_iter().map(|item| without_types(item, place)).collect()),
        Json::Object(object) => {
            let mut read = Object::default();
            for (name, value) in object.iter() {
                read.set(name, without_types(value.clone(), place.member(name, false)));
            }
            Json::Object(read)
        }
        Json::String(text) if is_type(&text) && place.kind.is_some_and(Kind::is_exact) => Json::Bool(true),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => json,
    }
}

/// Whether a text is the type of a redacted value.
fn is_type(text: &str) -> bool {
    matches!(text, "string" | "number" | "boolean")
}

/// A redacted value.
enum Node {
    /// The JSON text of a scalar.
    Scalar(String),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    fn null() -> Self {
        Self::Scalar("null".to_owned())
    }

    fn string(text: &str) -> Self {
        Self::Scalar(serde_json::to_string(text).unwrap_or_default())
    }
}

/// What is known of a value from the names above it.
#[derive(Clone, Copy)]
struct Place {
    /// The kind of the member that contains the value, perhaps in an array. `None` if its value must not be kept.
    kind: Option<Kind>,
    /// Whether words for money that went back count here.
    has_words: bool,
    /// Whether the value belongs to a member that speaks of money that went back by its name.
    is_reversal: bool,
    /// Whether a text here may be JSON, whose members are then redacted one by one.
    can_be_message: bool,
    /// Whether the value belongs to an object about a person.
    is_personal: bool,
    /// How many more levels of arrays and objects there may be.
    depth: usize,
}

impl Place {
    const ROOT: Self = Self {
        kind: None,
        has_words: false,
        is_reversal: false,
        can_be_message: true,
        is_personal: false,
        depth: MAX_DEPTH,
    };

    /// The place one level below.
    fn deeper(self) -> Option<Self> {
        let depth = self.depth.checked_sub(1)?;
        Some(Self { depth, ..self })
    }

    /// The place of a member of an object at this place.
    fn member(self, name: &str, is_address: bool) -> Self {
        let normalised = kind::normalised(name);
        let kind = match normalised.as_str() {
            "value" if self.kind == Some(Kind::Amount) => Some(Kind::Amount),
            "state" if is_address => None,
            _ => Kind::of(&normalised),
        };
        let can_keep = !self.is_personal && is_identifier(name);
        let is_personal = self.is_personal || kind::is_personal(&normalised);
        Self {
            kind: kind.filter(|_| can_keep),
            has_words: can_keep && is_word_name(name),
            is_reversal: !is_personal && (self.is_reversal || !reversal_words(name).is_empty()),
            can_be_message: can_keep && kind::can_be_message(&normalised),
            is_personal,
            depth: self.depth,
        }
    }
}

/// Redacts a value at a place.
fn redact_value(value: &Json, place: Place) -> Node {
    match value {
        Json::Array(items) => place.deeper().map_or_else(Node::null, |place| {
            Node::Array(items.iter().map(|item| redact_value(item, place)).collect())
        }),
        Json::Object(object) => place
            .deeper()
            .map_or_else(Node::null, |place| redact_object(object, place)),
        Json::String(text) if place.can_be_message => match Json::parse_liberal(text.as_bytes()) {
            Ok(message @ (Json::Array(_) | Json::Object(_))) => redact_value(&message, place),
            Ok(Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_)) | Err(_) => redact_scalar(value, place),
        },
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => redact_scalar(value, place),
    }
}

/// Redacts the members of an object. `place` is the object's, with its own level of depth already used.
fn redact_object(object: &Object, place: Place) -> Node {
    let is_address = object
        .iter()
        .any(|(name, _)| kind::is_address_part(&kind::normalised(name)));
    let mut names = Names::new(object.iter().map(|(name, _)| name));
    let redact = |(name, value): (&str, &Json)| {
        let value = redact_value(value, place.member(name, is_address));
        (names.plain(name), value)
    };
    Node::Object(object.iter().map(redact).collect())
}

/// Keeps a scalar if its place allows it, or else its type. Empty texts are kept everywhere, because they say that
/// there is no value. So are the types' names, so that redacting twice changes nothing. Text that marks a test message
/// becomes `"test"`, a value that says nothing about money going back becomes `""`, and text that speaks of money going
/// back becomes `"refund"` or `"chargeback"`, so that the webhook is never read as another.
fn redact_scalar(value: &Json, place: Place) -> Node {
    let is_plain = value.as_str().is_some_and(|text| text.is_empty() || is_type(text));
    if is_plain || place.kind.is_some_and(|kind| kind.allows(value)) {
        return Node::Scalar(serde_json::to_string(value).unwrap_or_default());
    }
    match value {
        Json::Bool(false) if place.is_reversal => Node::string(""),
        Json::Number(text) | Json::String(text) if place.is_reversal && says_nothing(text) => Node::string(""),
        Json::Bool(_) => Node::string("boolean"),
        Json::Number(_) => Node::string("number"),
        Json::String(text) if place.kind == Some(Kind::Word) && is_test_word(text) => Node::string("test"),
        Json::String(text) if place.has_words && !reversal_words(text).is_empty() => {
            let kinds: Vec<&str> = reversal_words(text).iter().map(|word| word.kind.name()).collect();
            Node::string(&kinds.join("_"))
        }
        Json::String(_) => Node::string("string"),
        Json::Null | Json::Array(_) | Json::Object(_) => Node::null(),
    }
}

/// Describes a body that is not JSON.
fn describe(body: &[u8], content_type: Option<&str>) -> Node {
    let media_type = content_type.and_then(media_type);
    let mut members = vec![
        ("sha256".to_owned(), Node::string(&hex::encode(Sha256::digest(body)))),
        ("length".to_owned(), Node::Scalar(body.len().to_string())),
    ];
    if let Some(media_type) = &media_type {
        members.push(("contentType".to_owned(), Node::string(media_type)));
    }
    if media_type.as_deref() == Some("application/x-www-form-urlencoded") {
        members.push(("fields".to_owned(), redact_form(body)));
    }
    Node::Object(members)
}

/// Redacts the fields of a form. The field `data[order_id]` is the member `data.order_id`, and is redacted like the
/// member `order_id` of the object `data`.
fn redact_form(body: &[u8]) -> Node {
    let fields: Vec<(Vec<String>, String)> = url::form_urlencoded::parse(body)
        .map(|(name, value)| {
            let path = name
                .split(['[', ']'])
                .filter(|part| !part.is_empty())
                .map(str::to_owned);
            (path.collect(), value.into_owned())
        })
        .collect();
    let is_address = fields
        .iter()
        .filter_map(|(path, _)| path.last())
        .any(|name| kind::is_address_part(&kind::normalised(name)));
    let joined: Vec<String> = fields.iter().map(|(path, _)| path.join(".")).collect();
    let mut names = Names::new(joined.iter().map(String::as_str));
    let members = fields.into_iter().zip(&joined).map(|((path, value), name)| {
        let root = Place {
            can_be_message: false,
            ..Place::ROOT
        };
        let place = path.iter().fold(root, |place, part| place.member(part, is_address));
        (names.plain(name), redact_value(&Json::String(value), place))
    });
    Node::Object(members.collect())
}

/// A media type without its parameters, in lower case. `None` if it is none, or has unusual characters.
fn media_type(content_type: &str) -> Option<String> {
    let essence = content_type.split(';').next()?.trim();
    let (of, subtype) = essence.split_once('/')?;
    let is_name = |name: &str| {
        (1..=64).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "+-._".contains(c))
    };
    (is_name(of) && is_name(subtype)).then(|| essence.to_ascii_lowercase())
}

/// The name of a member as the lists have it: without regard to case, `_` and `-`. `None` if it is no identifier, so
/// that a reader finds the same members before and after the redaction.
pub(crate) fn member_name(name: &str) -> Option<String> {
    is_identifier(name).then(|| kind::normalised(name))
}

/// Whether a member's name is an identifier of at most 64 characters.
fn is_identifier(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// Replaces those names of one object that are not identifiers.
struct Names<'a> {
    taken: HashSet<&'a str>,
    replaced: usize,
}

impl<'a> Names<'a> {
    fn new(names: impl Iterator<Item = &'a str>) -> Self {
        Self {
            taken: names.collect(),
            replaced: 0,
        }
    }

    /// The name itself if it is an identifier, or else one that no other member has.
    fn plain(&mut self, name: &str) -> String {
        if is_identifier(name) {
            return name.to_owned();
        }
        loop {
            self.replaced = self.replaced.saturating_add(1);
            let plain = format!("member{}", self.replaced);
            if !self.taken.contains(plain.as_str()) {
                return plain;
            }
        }
    }
}

/// How many values are kept of each array and object.
#[derive(Clone, Copy)]
struct Limits {
    elements: usize,
    /// Of the outermost object. Each level below keeps half as many, at least one.
    members: usize,
}

/// The JSON text of a node, and whether values were left out so that it fits into [`MAX_LENGTH`].
fn fit(root: &Node) -> (String, bool) {
    let halves = || std::iter::successors(Some(MAX_VALUES), |values| (*values > 1).then_some(values / 2));
    let all = usize::MAX;
    let whole = Limits {
        elements: all,
        members: all,
    };
    let fewer_elements = halves().map(|elements| Limits { elements, members: all });
    let fewer_members = halves().map(|members| Limits { elements: 1, members });
    if let Some(text) = write(root, whole) {
        return (text, false);
    }
    // The last limits always fit: a single value of at most 256 characters under at most 64 names of 64 characters.
    let text = fewer_elements
        .chain(fewer_members)
        .find_map(|limits| write(root, limits));
    (text.unwrap_or_else(|| "null".to_owned()), true)
}

/// The JSON text of a node within limits. `None` if it is longer than [`MAX_LENGTH`].
fn write(root: &Node, limits: Limits) -> Option<String> {
    let mut text = String::new();
    write_node(root, limits, &mut text)?;
    Some(text)
}

fn write_node(node: &Node, limits: Limits, text: &mut String) -> Option<()> {
    let inner = Limits {
        members: (limits.members / 2).max(1),
        ..limits
    };
    match node {
        Node::Scalar(scalar) => text.push_str(scalar),
        Node::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().take(limits.elements).enumerate() {
                text.push_str(if index == 0 { "" } else { "," });
                write_node(item, inner, text)?;
            }
            text.push(']');
        }
        Node::Object(members) => {
            text.push('{');
            for (index, (name, value)) in members.iter().take(limits.members).enumerate() {
                text.push_str(if index == 0 { "\"" } else { ",\"" });
                text.push_str(name);
                text.push_str("\":");
                write_node(value, inner, text)?;
            }
            text.push('}');
        }
    }
    (text.len() <= MAX_LENGTH).then_some(())
}

#[cfg(test)]
mod tests;
