//! TLS for all outgoing connections: AWS and the providers share one TLS stack and one set of trusted certificates.
//!
//! By default, the SDK and reqwest would each load the system's certificates. Decoding them twice, with a constant-time
//! decoder, took half of a function's start-up time.

use std::path::PathBuf;
use std::sync::Arc;

use aws_smithy_runtime_api::client::http::{
    HttpConnector as AwsConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use base64_simd::STANDARD;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use memchr::memchr_iter;
use memchr::memmem::{self, Finder};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use crate::platform::config::{ConfigError, Variables};

/// The TLS configuration of a client, with its trusted certificates.
#[derive(Clone, Debug)]
pub struct Tls(ClientConfig);

impl Tls {
    /// Trusts the certificates in the file `SSL_CERT_FILE`, or those of the system if it is not set.
    ///
    /// # Errors
    /// [`ConfigError`] if there are none.
    pub fn from_environment(variables: &Variables<'_>) -> Result<Self, ConfigError> {
        let file = variables.optional("SSL_CERT_FILE").map(PathBuf::from);
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates(file));
        if roots.is_empty() {
            return Err(ConfigError::new(
                "SSL_CERT_FILE",
                "or the system's store must contain trusted certificates",
            ));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder =
            versions.map_err(|_| ConfigError::new("SSL_CERT_FILE", "cannot be used: TLS is not available"))?;
        Ok(Self(builder.with_root_certificates(roots).with_no_client_auth()))
    }

    /// The configuration for a client that opens its own connections.
    pub fn config(&self) -> ClientConfig {
        self.0.clone()
    }

    /// An HTTP client for the SDK. All its users share its connections. It also speaks plain HTTP, for a local AWS.
    pub fn aws_client(&self) -> SharedHttpClient {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let https = HttpsConnectorBuilder::new().with_tls_config(self.config());
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(https.https_or_http().enable_http1().wrap_connector(tcp));
        let connector = SharedHttpConnector::new(Connector(client));
        http_client_fn(move |_, _| connector.clone())
    }
}

fn certificates(file: Option<PathBuf>) -> Vec<CertificateDer<'static>> {
    let file = file.or_else(|| openssl_probe::probe().cert_file);
    let pem = file.and_then(|file| std::fs::read(file).ok()).unwrap_or_default();
    let found = certificates_in(&pem);
    if found.is_empty() {
        // Some systems do not store them in a file.
        return rustls_native_certs::load_native_certs().certs;
    }
    found
}

/// The certificates of a PEM file. What is none is left out.
fn certificates_in(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    let end = Finder::new("-----END CERTIFICATE-----");
    let certificate = |begin: usize| {
        let rest = pem.get(begin.saturating_add(BEGIN.len())..)?;
        let lines = rest.get(..end.find(rest)?)?;
        let mut code = Vec::with_capacity(lines.len());
        let mut start = 0;
        for newline in memchr_iter(b'\n', lines) {
            code.extend_from_slice(lines.get(start..newline)?.trim_ascii());
            start = newline.saturating_add(1);
        }
        code.extend_from_slice(lines.get(start..)?.trim_ascii());
        Some(STANDARD.decode_to_vec(code).ok()?.into())
    };
    memmem::find_iter(pem, BEGIN).filter_map(certificate).collect()
}

#[derive(Clone, Debug)]
struct Connector(Client<HttpsConnector<HttpConnector>, SdkBody>);

impl AwsConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let request = match request.try_into_http1x() {
            Ok(request) => request,
            Err(error) => return HttpConnectorFuture::ready(Err(ConnectorError::user(error.into()))),
        };
        let response = self.0.request(request);
        HttpConnectorFuture::new(async move {
            let response = response.await.map_err(failure)?.map(SdkBody::from_body_1_x);
            HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// Lets the SDK retry after any connection error, but not after a response that is not HTTP.
fn failure(error: Error) -> ConnectorError {
    let hyper = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<hyper::Error>());
    if hyper.is_some_and(hyper::Error::is_parse) {
        ConnectorError::other(error.into(), None)
    } else {
        ConnectorError::io(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text contains comments, a key, a broken certificate, an unfinished one, and both kinds of line endings.
    #[test]
    fn certificates_are_found_in_a_mixed_file() {
        let text = b"# comment\n-----BEGIN CERTIFICATE-----\nb25l\n-----END CERTIFICATE-----\n\
            -----BEGIN PRIVATE KEY-----\nbm8=\n-----END PRIVATE KEY-----\n\
            -----BEGIN CERTIFICATE-----\r\ndHdv\r\ndHdv\r\n-----END CERTIFICATE-----\r\n\
            -----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\ndGhy";
        let found: Vec<Vec<u8>> = certificates_in(text).iter().map(|found| found.to_vec()).collect();
        assert_eq!(found, [b"one".to_vec(), b"twotwo".to_vec()]);
        assert!(certificates_in(b"").is_empty());
    }

    /// Compares with the PEM parser of rustls.
    #[test]
    fn all_system_certificates_are_found() {
        use rustls::pki_types::pem::PemObject;

        if let Some(file) = openssl_probe::probe().cert_file {
            let expected: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&file).unwrap().collect();
            assert_eq!(certificates(Some(file)), expected.unwrap());
        }
    }
}
