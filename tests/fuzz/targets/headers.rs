//! Headers and a body: lines of `name: value`, an empty line, the body.

use lambda_http::http::{HeaderMap, HeaderName, HeaderValue};
use lambda_http::{Body, Request};
use payment_functions::api::request as read;
use payment_functions::domain::json::Json;

use super::{request, split};

/// Headers and a body.
pub struct Message<'a> {
    pub headers: HeaderMap,
    pub body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads every line that is a valid HTTP header; ignores the others.
    pub fn read(bytes: &'a [u8]) -> Self {
        let (head, body) = bytes
            .strip_prefix(b"\n")
            .map_or_else(|| split(bytes, b"\n\n"), |body| (&[][..], body));
        let mut headers = HeaderMap::new();
        for line in head.split(|byte| *byte == b'\n') {
            let (name, value) = split(line, b": ");
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                headers.append(name, value);
            }
        }
        Self { headers, body }
    }

    fn all(&self, name: &str) -> Vec<&[u8]> {
        self.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect()
    }
}

pub fn check(bytes: &[u8]) -> bool {
    let message = Message::read(bytes);
    let mut request = Request::new(Body::from(message.body));
    *request.headers_mut() = message.headers.clone();

    let keys = message.all("idempotency-key");
    let is_key = |key: &[u8]| (1..=255).contains(&key.len()) && key.iter().all(|byte| (0x21..=0x7e).contains(byte));
    let unquoted = |value: &[u8]| match value {
        [b'"', key @ .., b'"'] => key.to_vec(),
        key => key.to_vec(),
    };
    match (read::idempotency_key(&request, "route"), &keys[..]) {
        (Ok(None), []) => {}
        (Ok(Some(key)), [only]) => {
            assert!(is_key(&unquoted(only)));
            assert_eq!(key.to_string().as_bytes(), [b"route#", &unquoted(only)[..]].concat());
        }
        (Err(problem), [only]) => {
            assert!(!is_key(&unquoted(only)));
            request::check_problem(&problem, None, 400);
        }
        (Err(problem), [_, _, ..]) => request::check_problem(&problem, None, 400),
        (key, keys) => panic!("{key:?} of {keys:?}"),
    }

    let media_type = message.all("content-type").first().copied().unwrap_or_default();
    let is_json = String::from_utf8_lossy(media_type)
        .split(';')
        .next()
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"));
    let is_text = media_type.iter().all(|byte| matches!(byte, b'\t' | 0x20..=0x7e));
    match read::read_json(&request) {
        Ok(body) => {
            assert!(is_json && is_text && message.body.len() <= read::MAX_BODY);
            let strict = Json::parse(message.body);
            assert_eq!(strict.is_ok(), body.lone_surrogates.expose().is_empty());
            assert!(strict.is_err() || strict == Ok(body.json));
            true
        }
        Err(problem) => {
            let status = if !(is_json && is_text) {
                415
            } else if message.body.len() > read::MAX_BODY {
                413
            } else {
                assert!(Json::parse(message.body).is_err());
                400
            };
            request::check_problem(&problem, None, status);
            false
        }
    }
}
