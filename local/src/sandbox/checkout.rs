//! The checkout page: a small shop at `/`, and its files.
//!
//! The files are read from the workspace for every request, so that a change shows on reload. Nothing is loaded from
//! other hosts, and pages have no inline scripts or styles.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use super::http::page;
use super::json::Object;
use super::world::World;

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const PAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/checkout");
/// The page uses the same client that shops copy.
const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/frontend");

/// The hosts of ApoloPay's real element, if it replaces the stand-in (docs/frontend.md).
const SMARTPAY_HOSTS: &str = " https://pb-api.apolopay.app https://pb-ws.apolopay.app";
/// The real element uses Lit, which creates HTML under this Trusted Types policy.
const SMARTPAY_TYPES: &str = "lit-html";

/// ApoloPay's real element instead of the stand-in.
#[derive(Clone, Debug)]
pub struct SmartPay {
    /// The file of a module that defines `<apolopay-button>` and exports `ApoloPayClient`.
    pub bundle: PathBuf,
    /// The public key of the merchant's button.
    pub public_key: String,
}

impl SmartPay {
    /// From `SMARTPAY_BUNDLE` and `SMARTPAY_PUBLIC_KEY`; `None` unless both are set.
    pub fn from(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        Some(Self {
            bundle: PathBuf::from(variable("SMARTPAY_BUNDLE")?),
            public_key: variable("SMARTPAY_PUBLIC_KEY")?,
        })
    }
}

pub(super) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route(
            "/",
            get(|State(world): State<Arc<World>>| async move { named(&world, "index.html").await }),
        )
        .route("/checkout/settings.json", get(settings))
        .route("/checkout/smartpay-bundle.mjs", get(bundle))
        .route(
            "/checkout/{name}",
            get(|State(world): State<Arc<World>>, Path(name): Path<String>| async move { named(&world, &name).await }),
        )
}

/// The settings for smartpay.mjs.
async fn settings(State(world): State<Arc<World>>) -> Response<Body> {
    let smart_pay = world.config.smart_pay.as_ref().map(|smart_pay| {
        Object::default()
            .with("bundle", "/checkout/smartpay-bundle.mjs")
            .with("publicKey", &smart_pay.public_key)
    });
    axum::Json(Object::default().with("smartPay", smart_pay)).into_response()
}

async fn bundle(State(world): State<Arc<World>>) -> Response<Body> {
    let Some(smart_pay) = &world.config.smart_pay else {
        return not_found();
    };
    match tokio::fs::read_to_string(&smart_pay.bundle).await {
        Ok(text) => file_response(JAVASCRIPT, text, &policy(&world, "")),
        Err(_) => not_found(),
    }
}

async fn named(world: &World, name: &str) -> Response<Body> {
    match read(name).await {
        Some((media_type, text)) => file_response(media_type, text, &policy(world, "")),
        None => not_found(),
    }
}

/// An HTML page from a file, with each `{{name}}` replaced. `form_targets` lists further origins for its forms, each
/// after a space.
pub(super) async fn filled_in(world: &World, name: &str, texts: &[(&str, &str)], form_targets: &str) -> Response<Body> {
    let Some((media_type, mut text)) = read(name).await else {
        return not_found();
    };
    for (name, value) in texts {
        text = text.replace(&format!("{{{{{name}}}}}"), &escaped(value));
    }
    file_response(media_type, text, &policy(world, form_targets))
}

fn not_found() -> Response<Body> {
    page(StatusCode::NOT_FOUND, "There is no such page.\n".to_owned())
}

async fn read(name: &str) -> Option<(&'static str, String)> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
    let (stem, extension) = name.split_once('.')?;
    let media_type = match extension {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "mjs" => JAVASCRIPT,
        "svg" => "image/svg+xml",
        _ => return None,
    };
    if stem.is_empty() || !stem.bytes().all(plain) {
        return None;
    }
    let directory = if name == "payments.mjs" { CLIENT } else { PAGES };
    let text = tokio::fs::read_to_string(PathBuf::from(directory).join(name))
        .await
        .ok()?;
    Some((media_type, text))
}

fn policy(world: &World, form_targets: &str) -> String {
    let (hosts, types) = match world.config.smart_pay {
        Some(_) => (SMARTPAY_HOSTS, SMARTPAY_TYPES),
        None => ("", "'none'"),
    };
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'{hosts}; img-src 'self'; \
         form-action 'self'{form_targets}; base-uri 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types {types}"
    )
}

/// A file for a browser, with a content security policy.
pub(super) fn file_response(media_type: &'static str, body: impl Into<Body>, policy: &str) -> Response<Body> {
    let mut response = ([(header::CONTENT_TYPE, media_type)], body.into()).into_response();
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

/// Escapes a text for HTML.
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
