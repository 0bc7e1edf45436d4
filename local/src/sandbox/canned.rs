//! Named error responses and malformed responses of the providers, documented or observed.

use super::http::RawResponse;
use super::payments::Provider;

/// ApoloPay's, in the NestJS shape: name, HTTP status, body.
const APOLOPAY: &[(&str, u16, &str)] = &[
    (
        "BAD_REQUEST",
        400,
        r#"{"statusCode":400,"message":["amount must be a positive number"],"error":"Bad Request"}"#,
    ),
    (
        "BAD_REQUEST_TEXT",
        400,
        r#"{"statusCode":400,"message":"amount is too low","error":"Bad Request"}"#,
    ),
    (
        "UNAUTHORIZED",
        401,
        r#"{"statusCode":401,"message":"Invalid secret key","error":"Unauthorized"}"#,
    ),
    (
        "FORBIDDEN",
        403,
        r#"{"statusCode":403,"message":"Button is disabled","error":"Forbidden"}"#,
    ),
    (
        "NOT_FOUND",
        404,
        r#"{"statusCode":404,"message":"Button not found","error":"Not Found"}"#,
    ),
    (
        "RATE_LIMITED",
        429,
        r#"{"statusCode":429,"message":"ThrottlerException: Too Many Requests","error":"Too Many Requests"}"#,
    ),
    (
        "INTERNAL_ERROR",
        500,
        r#"{"statusCode":500,"message":"Internal server error"}"#,
    ),
    (
        "UNAVAILABLE",
        503,
        r#"{"statusCode":503,"message":"Service Unavailable","error":"Service Unavailable"}"#,
    ),
    ("TRUNCATED_JSON", 201, r#"{"processId":"a1b2c3d4-e5f6-78"#),
    ("MISSING_ID", 201, r#"{"status":"success","message":"ok","result":{}}"#),
    ("EMPTY_ID", 201, r#"{"processId":""}"#),
    ("NULL_ID", 201, r#"{"processId":null}"#),
    ("NOT_A_UUID", 201, r#"{"processId":"12345"}"#),
];

/// FinvyPay's.
const FINVYPAY: &[(&str, u16, &str)] = &[
    (
        "INVALID_PAYMENT_METHOD",
        400,
        r#"{"success":false,"error":{"code":"INVALID_PAYMENT_METHOD","message":"Payment method is not available","details":{"paymentMethod":"apple_pay"}}}"#,
    ),
    (
        "INVALID_REQUEST",
        400,
        r#"{"success":false,"error":{"code":"INVALID_REQUEST","message":"The request is invalid"}}"#,
    ),
    (
        "INVALID_CARD",
        400,
        r#"{"success":false,"error":{"code":"INVALID_CARD","message":"The card was refused"}}"#,
    ),
    (
        "MESSAGE_ONLY",
        400,
        r#"{"success":false,"message":"The request is invalid"}"#,
    ),
    (
        "UNAUTHORIZED",
        401,
        r#"{"success":false,"error":{"code":"UNAUTHORIZED","message":"Invalid API key"}}"#,
    ),
    (
        "FORBIDDEN",
        403,
        r#"{"success":false,"error":{"code":"FORBIDDEN","message":"IP address is not allowed"}}"#,
    ),
    (
        "NOT_FOUND",
        404,
        r#"{"success":false,"error":{"code":"NOT_FOUND","message":"Merchant profile not found"}}"#,
    ),
    (
        "RATE_LIMITED",
        429,
        r#"{"success":false,"error":{"code":"RATE_LIMITED","message":"Too many requests"}}"#,
    ),
    (
        "INTERNAL_ERROR",
        500,
        r#"{"success":false,"error":{"code":"INTERNAL_ERROR","message":"Internal error"}}"#,
    ),
    (
        "UNAVAILABLE",
        503,
        r#"{"success":false,"error":{"code":"UNAVAILABLE","message":"Try again later"}}"#,
    ),
    (
        "SUCCESS_FALSE",
        200,
        r#"{"success":false,"error":{"code":"INVALID_REQUEST","message":"The request is invalid"}}"#,
    ),
    (
        "TRUNCATED_JSON",
        200,
        r#"{"success":true,"status":"REDIRECT","data":{"paymentId":"pay_apm_2K9x"#,
    ),
    ("MISSING_ID", 200, r#"{"success":true,"status":"REDIRECT","data":{}}"#),
    (
        "EMPTY_ID",
        200,
        r#"{"success":true,"status":"REDIRECT","data":{"paymentId":""}}"#,
    ),
    (
        "NULL_ID",
        200,
        r#"{"success":true,"status":"REDIRECT","data":{"paymentId":null}}"#,
    ),
];

/// Responses of a proxy in front of either provider.
const BOTH: &[(&str, u16, &str)] = &[
    (
        "HTML",
        502,
        "<html><head><title>502 Bad Gateway</title></head><body>502 Bad Gateway</body></html>",
    ),
    ("HTML_OK", 200, "<html><body>Just a moment...</body></html>"),
    ("EMPTY_BODY", 200, ""),
];

/// The response of that name.
pub(super) fn response(provider: Provider, name: &str) -> Option<RawResponse> {
    let (_, status, body) = all(provider).find(|(known, _, _)| *known == name)?;
    let media_type = if body.starts_with('<') {
        "text/html"
    } else {
        "application/json"
    };
    let mut headers = vec![("content-type".to_owned(), format!("{media_type}; charset=utf-8"))];
    if *status == 429 {
        for (name, value) in [
            ("x-ratelimit-limit", "100"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "30"),
            ("retry-after", "30"),
        ] {
            headers.push((name.to_owned(), value.to_owned()));
        }
    }
    Some(RawResponse {
        status: *status,
        headers,
        body: (*body).to_owned(),
    })
}

/// The names of a provider's responses.
pub(super) fn names(provider: Provider) -> Vec<&'static str> {
    all(provider).map(|(name, _, _)| *name).collect()
}

fn all(provider: Provider) -> impl Iterator<Item = &'static (&'static str, u16, &'static str)> {
    let own = match provider {
        Provider::Apolopay => APOLOPAY,
        Provider::Finvypay => FINVYPAY,
    };
    own.iter().chain(BOTH)
}
