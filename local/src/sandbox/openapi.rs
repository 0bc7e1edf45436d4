//! openapi.yaml at `/openapi.yaml`, rendered at `/openapi` by Swagger UI, which `make dev` installs.
//!
//! The files are read for every request, so that a change shows on reload. Nothing is loaded from other hosts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract;
use axum::http::{Response, StatusCode};
use axum::routing::get;

use super::checkout::file_response;
use super::http::page;
use super::world::World;

const SWAGGER_UI: &str = ".tools/swagger-ui/drf_spectacular_sidecar/static/drf_spectacular_sidecar/swagger-ui-dist";
/// Swagger UI's icons are data URLs. It has no inline styles in pages; those that its script sets are allowed.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

pub(super) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route(
            "/openapi",
            get(|| file("tests/openapi/page.html", "text/html; charset=utf-8")),
        )
        .route("/openapi.yaml", get(|| file("openapi.yaml", "application/yaml")))
        .route("/openapi/{name}", get(part))
}

async fn part(extract::Path(name): extract::Path<String>) -> Response<Body> {
    let script = "text/javascript; charset=utf-8";
    match name.as_str() {
        "page.js" => file("tests/openapi/page.js", script).await,
        "swagger-ui-bundle.js" => file(&format!("{SWAGGER_UI}/{name}"), script).await,
        "swagger-ui.css" => file(&format!("{SWAGGER_UI}/{name}"), "text/css; charset=utf-8").await,
        _ => page(StatusCode::NOT_FOUND, "Not found.\n".to_owned()),
    }
}

async fn file(path: &str, media_type: &'static str) -> Response<Body> {
    let Ok(bytes) = tokio::fs::read(workspace().join(path)).await else {
        let text = format!("{path} does not exist; `make dev` installs Swagger UI.\n");
        return page(StatusCode::NOT_FOUND, text);
    };
    file_response(media_type, bytes, POLICY)
}

/// The stand-ins only ever run from the workspace.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
