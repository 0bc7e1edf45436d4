//! The checkout page: a small shop at `/`, and what belongs to it.
//!
//! The files are read from disk at every request, so that whoever changes one sees it on reload; the stand-ins only ever
//! run from the workspace. Nothing comes from another host, and no script or style stands in a page.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{self, State};
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use super::http::page;
use super::json::Object;
use super::world::World;

const PAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/checkout");
/// The page uses the very file that shops copy.
const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/frontend");

pub(super) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/", get(|| async { file("index.html", "").await }))
        .route("/checkout/settings.json", get(settings))
        .route("/checkout/{name}", get(named))
}

/// The switch of smartpay.mjs.
async fn settings() -> Response<Body> {
    axum::Json(Object::default().with("smartPay", ())).into_response()
}

async fn named(State(_): State<Arc<World>>, extract::Path(name): extract::Path<String>) -> Response<Body> {
    file(&name, "").await
}

/// A file with the headers of every page here. `form_targets` are origins beside our own that its forms may lead to.
async fn file(name: &str, form_targets: &str) -> Response<Body> {
    match read(name).await {
        Some((media_type, text)) => html_or_other(media_type, text, form_targets),
        None => page(StatusCode::NOT_FOUND, "There is no such page.\n".to_owned()),
    }
}

/// An HTML page out of a file, each `{{name}}` in it replaced by a text.
pub(super) async fn filled_in(
    status: StatusCode,
    name: &str,
    texts: &[(&str, &str)],
    form_targets: &str,
) -> Response<Body> {
    let Some((media_type, mut text)) = read(name).await else {
        return page(StatusCode::NOT_FOUND, "There is no such page.\n".to_owned());
    };
    for (name, value) in texts {
        text = text.replace(&format!("{{{{{name}}}}}"), &escaped(value));
    }
    let mut response = html_or_other(media_type, text, form_targets);
    *response.status_mut() = status;
    response
}

async fn read(name: &str) -> Option<(&'static str, String)> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
    let (stem, extension) = name.split_once('.')?;
    let media_type = match extension {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "mjs" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => return None,
    };
    if stem.is_empty() || !stem.bytes().all(plain) {
        return None;
    }
    let directory = if name == "payments.mjs" { CLIENT } else { PAGES };
    let text = tokio::fs::read_to_string(Path::new(directory).join(name)).await.ok()?;
    Some((media_type, text))
}

fn html_or_other(media_type: &'static str, text: String, form_targets: &str) -> Response<Body> {
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
         form-action 'self'{form_targets}; base-uri 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'"
    );
    let mut response = ([(header::CONTENT_TYPE, media_type)], text).into_response();
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A text that means nothing in HTML.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}
