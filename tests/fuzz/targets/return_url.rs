//! The check of return URLs.

use payment_functions::api::return_url::ReturnOrigins;
use payment_functions::platform::config::Variables;

pub const ORIGINS: [&str; 4] = [
    "https://shop.example",
    "https://pay.shop.example:8443",
    "http://localhost:3000",
    "http://[::1]:8080",
];

/// All spellings of these origins.
const SPELLINGS: [&str; 5] = [
    "https://shop.example",
    "https://shop.example:443",
    "https://pay.shop.example:8443",
    "http://localhost:3000",
    "http://[::1]:8080",
];

/// The configuration of the fuzzed functions.
pub fn origins() -> ReturnOrigins {
    let lookup = |_: &str| Some(ORIGINS.join(","));
    ReturnOrigins::from_environment(&Variables::from(&lookup)).unwrap()
}

pub fn check(bytes: &[u8]) -> bool {
    let allowed = std::str::from_utf8(bytes)
        .ok()
        .filter(|text| origins().check(text).is_ok());
    allowed.inspect(|text| assert_has_allowed_origin(text)).is_some()
}

/// Even a lenient parser reads one of the allowed origins.
pub fn assert_has_allowed_origin(text: &str) {
    let lower = text.to_ascii_lowercase();
    let starts_as = |origin: &str| {
        let rest = lower.strip_prefix(origin);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']))
    };
    assert!(SPELLINGS.iter().any(|origin| starts_as(origin)), "{text}");
    let is_plain = |char: char| !char.is_whitespace() && !char.is_control() && char != '\\';
    assert!(text.chars().all(is_plain), "{text}");
}
