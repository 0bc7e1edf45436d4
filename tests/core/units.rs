//! What DynamoDB charges for: sizes of items, and the units that a transaction writes.

use serde_json::Value;

/// An item's size in bytes, as DynamoDB's documentation counts it: names and values, a number as half its digits and
/// one, a map or list as three and one for each member.
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
            _ => panic!("not an attribute of ours: {kind} {value}"),
        }
    }
    let attributes = item.as_object().expect("attributes");
    attributes
        .iter()
        .map(|(name, value)| name.len() + value_size(value))
        .sum()
}

/// What a transaction writes: the partition key of each item, and two units for each started kilobyte of it, as it was
/// at last.
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
