//! DynamoDB's billing units: sizes of items, and the write units of a transaction.

use serde_json::Value;

/// The size of an item in bytes, by DynamoDB's documentation: the lengths of names and values. A number is half its
/// digits plus one, and a map or list is three plus one per member.
pub fn size(item: &Value) -> usize {
    fn value_size(value: &Value) -> usize {
        let (kind, value) = value
            .as_object()
            .and_then(|value| value.iter().next())
            .expect("an attribute");
        match (kind.as_str(), value) {
            ("S", Value::String(text)) => text.len(),
            ("N", Value::String(digits)) => digits.len().div_ceil(2) + 1,
            ("BOOL" | "NULL", _) => 1,
            ("SS", Value::Array(texts)) => texts.iter().map(|text| text.as_str().expect("a text").len()).sum(),
            ("M", map @ Value::Object(inner)) => 3 + inner.len() + size(map),
            _ => panic!("unexpected type of attribute: {kind} {value}"),
        }
    }
    let attributes = item.as_object().expect("attributes");
    attributes
        .iter()
        .map(|(name, value)| name.len() + value_size(value))
        .sum()
}

/// The partition key and the write units of each item in a transaction: two units per started kilobyte of the item's
/// final size.
pub fn writes(body: &Value, items: &[Value]) -> Vec<(String, usize)> {
    let steps = body["TransactItems"].as_array().expect("a transaction");
    let write = |step: &Value| {
        let step = step.as_object().and_then(|step| step.values().next()).expect("a step");
        let at = |attribute: &str| [&step["Key"][attribute], &step["Item"][attribute]].map(Value::clone);
        let item = items
            .iter()
            .find(|item| ["pk", "sk"].iter().all(|name| at(name).contains(&item[*name])));
        let key = at("pk").iter().find_map(|key| key["S"].as_str().map(str::to_owned));
        let units = 2 * item.map_or(1, |item| size(item).div_ceil(1024));
        (key.expect("a key"), units)
    };
    steps.iter().map(write).collect()
}
