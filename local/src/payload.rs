//! Lambda's payload format 2.0: events for HTTP requests, as API Gateway and function URLs send them, and responses.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

/// Content types that API Gateway passes on as text, besides `text/…`.
const TEXT_TYPES: [&str; 4] = [
    "application/json",
    "application/javascript",
    "application/xml",
    "application/x-www-form-urlencoded",
];

/// A function's response to an HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpResponse {
    /// The HTTP status.
    pub status: u16,
    /// Headers, their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body, decoded if it was base64.
    pub body: Vec<u8>,
}

impl HttpResponse {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null if it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// The event for a request: of API Gateway for a `route` such as `GET /payments/{id}`, of a function URL without one.
pub fn event(route: Option<&str>, method: &str, path_and_query: &str, headers: &[(&str, &str)], body: &[u8]) -> Value {
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    let domain = match route {
        Some(_) => "abcdefghij.execute-api.us-east-1.amazonaws.com",
        None => "abcdefghijklmnopqrstuvwxyz012345.lambda-url.us-east-1.on.aws",
    };
    let (headers, cookies) = event_headers(domain, headers, body.len());
    let agent = headers.get("user-agent").map_or("", String::as_str);
    let is_text = is_text(headers.get("content-type").map_or("", String::as_str));
    let mut event = json!({
        "version": "2.0",
        "routeKey": route.unwrap_or("$default"),
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": request_context(route, domain, method, path, agent),
        "isBase64Encoded": false,
    });
    let Some(members) = event.as_object_mut() else {
        return event;
    };
    if !cookies.is_empty() {
        members.insert("cookies".to_owned(), json!(cookies));
    }
    if !query.is_empty() {
        members.insert("queryStringParameters".to_owned(), query_parameters(query));
    }
    if let Some(parameters) = route.and_then(|route| path_parameters(route, path)) {
        members.insert("pathParameters".to_owned(), Value::Object(parameters));
    }
    match std::str::from_utf8(body).ok().filter(|_| is_text) {
        Some("") => {}
        Some(body) => {
            members.insert("body".to_owned(), json!(body));
        }
        None if body.is_empty() => {}
        None => {
            members.insert("body".to_owned(), json!(BASE64_STANDARD.encode(body)));
            members.insert("isBase64Encoded".to_owned(), json!(true));
        }
    }
    event
}

/// An event's headers and cookies. Repeated headers are joined.
fn event_headers<'a>(
    domain: &str,
    given: &[(&str, &'a str)],
    content_length: usize,
) -> (BTreeMap<String, String>, Vec<&'a str>) {
    let mut headers = BTreeMap::from([
        ("content-length".to_owned(), content_length.to_string()),
        ("host".to_owned(), domain.to_owned()),
        ("x-forwarded-for".to_owned(), "127.0.0.1".to_owned()),
        ("x-forwarded-port".to_owned(), "443".to_owned()),
        ("x-forwarded-proto".to_owned(), "https".to_owned()),
    ]);
    let mut cookies = Vec::new();
    let mut own = BTreeMap::<String, String>::new();
    for (name, value) in given {
        let name = name.to_ascii_lowercase();
        if name == "cookie" {
            cookies.extend(value.split("; "));
        } else {
            let joined = own.get(&name).map(|known| format!("{known},{value}"));
            own.insert(name, joined.unwrap_or_else(|| (*value).to_owned()));
        }
    }
    headers.extend(own);
    (headers, cookies)
}

fn request_context(route: Option<&str>, domain: &str, method: &str, path: &str, agent: &str) -> Value {
    let now = OffsetDateTime::now_utc();
    let api = domain.split('.').next().unwrap_or_default();
    json!({
        "accountId": if route.is_some() { "123456789012" } else { "anonymous" },
        "apiId": api,
        "domainName": domain,
        "domainPrefix": api,
        "http": {
            "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": agent,
        },
        "requestId": Uuid::new_v4().to_string(),
        "routeKey": route.unwrap_or("$default"),
        "stage": "$default",
        "time": common_log_time(now),
        "timeEpoch": u64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or_default(),
    })
}

/// Parses a function's response. `None` if it is malformed.
#[must_use]
pub fn parse_response(response: &[u8]) -> Option<HttpResponse> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Response {
        status_code: u16,
        #[serde(default)]
        headers: BTreeMap<String, String>,
        body: Option<String>,
        #[serde(default)]
        is_base64_encoded: bool,
    }
    let response: Response = serde_json::from_slice(response).ok()?;
    let body = response.body.unwrap_or_default();
    Some(HttpResponse {
        status: response.status_code,
        headers: response
            .headers
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect(),
        body: if response.is_base64_encoded {
            BASE64_STANDARD.decode(body).ok()?
        } else {
            body.into_bytes()
        },
    })
}

fn is_text(content_type: &str) -> bool {
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence.starts_with("text/") || essence.ends_with("+json") || TEXT_TYPES.contains(&essence.as_str())
}

/// Whether a request matches a route such as `GET /payments/{id}`. Each `{name}` matches one segment that is not empty.
pub(super) fn is_of_route(route: &str, method: &str, path: &str) -> bool {
    let is_method = route.split_once(' ').is_some_and(|(own, _)| own == method);
    is_method && matched(route, path).is_some()
}

/// The values of a route's path parameters. `None` if the route has none or does not match.
fn path_parameters(route: &str, path: &str) -> Option<Map<String, Value>> {
    matched(route, path).filter(|parameters| !parameters.is_empty())
}

/// The values of a route's path parameters, possibly empty. `None` if the route does not match.
fn matched(route: &str, path: &str) -> Option<Map<String, Value>> {
    let (_, pattern) = route.split_once(' ')?;
    let (patterns, parts): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
    if patterns.len() != parts.len() {
        return None;
    }
    let mut parameters = Map::new();
    for (pattern, part) in patterns.into_iter().zip(parts) {
        let name = pattern.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        match name {
            Some(_) if part.is_empty() => return None,
            Some(name) => {
                parameters.insert(name.to_owned(), json!(part));
            }
            None if pattern == part => {}
            None => return None,
        }
    }
    Some(parameters)
}

/// The query's parameters; repeated ones are joined.
fn query_parameters(query: &str) -> Value {
    let mut parameters = BTreeMap::<String, String>::new();
    let url = reqwest::Url::parse(&format!("http://localhost/?{query}"));
    for (name, value) in url.iter().flat_map(reqwest::Url::query_pairs) {
        parameters
            .entry(name.into_owned())
            .and_modify(|known| {
                known.push(',');
                known.push_str(&value);
            })
            .or_insert_with(|| value.clone().into_owned());
    }
    json!(parameters)
}

/// `12/Mar/2026:19:03:58 +0000`
fn common_log_time(now: OffsetDateTime) -> String {
    let month = now.month().to_string();
    let month = month.get(..3).unwrap_or_default();
    let (hour, minute, second) = now.to_hms();
    format!(
        "{:02}/{month}/{}:{hour:02}:{minute:02}:{second:02} +0000",
        now.day(),
        now.year()
    )
}
