//! Ids and times in external input.

use payment_functions::domain::id::{OrderId, PaymentId, Reference};
use payment_functions::domain::time::Timestamp;

pub fn check(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let is_plain = !text.is_empty() && !text.chars().any(char::is_control);

    let payment = PaymentId::parse(text);
    assert_eq!(payment.is_some(), is_uuid(text));
    assert!(
        payment.is_none_or(|id| id.to_string() == text.to_ascii_lowercase()),
        "one text per id"
    );

    let reference = Reference::parse(text);
    assert_eq!(reference.is_some(), is_plain && text.len() <= 256);
    if let Some(reference) = &reference {
        let kept = if is_uuid(text) {
            text.to_ascii_lowercase()
        } else {
            text.to_owned()
        };
        assert_eq!(reference.as_str(), kept);
        assert_eq!(Reference::parse(reference.as_str()).as_ref(), Some(reference));
    }
    assert_eq!(Reference::parse_uuid(text), reference.filter(|_| is_uuid(text)));

    let order_id = OrderId::parse(text);
    assert_eq!(order_id.is_some(), is_plain && text.chars().count() <= 128);
    assert!(order_id.is_none_or(|id| id.as_str() == text));

    let time = Timestamp::parse_rfc3339(text);
    if let Some(time) = time {
        let shown = time.to_string();
        assert_eq!(shown.len(), "2026-03-19T12:00:00.000Z".len(), "{shown}");
        assert_eq!(Timestamp::parse_rfc3339(&shown), Some(time), "{shown}");
    }
    payment.is_some() || time.is_some()
}

/// Whether a text is a UUID in hyphenated form, in upper or lower case.
fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && parts.concat().bytes().all(|byte| byte.is_ascii_hexdigit())
}
