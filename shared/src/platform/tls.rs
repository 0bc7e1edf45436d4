//! The way out: connections to AWS and to the providers, on one TLS stack with one set of trusted certificates.
//!
//! The SDK's own connector reads the system's certificates by itself, and so does reqwest; decoding them twice, with a
//! decoder that is made for secrets, took half of a function's start.

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

/// TLS as a client: what is trusted, and how it is spoken.
#[derive(Clone, Debug)]
pub struct Tls(ClientConfig);

impl Tls {
    /// Trusts the certificates in the file that `SSL_CERT_FILE` names, or in the system's.
    ///
    /// # Errors
    /// Where there are none.
    pub fn from_environment(variables: &Variables<'_>) -> Result<Self, ConfigError> {
        let file = variables.optional("SSL_CERT_FILE").map(PathBuf::from);
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates(file));
        if roots.is_empty() {
            return Err(ConfigError::new(
                "SSL_CERT_FILE",
                "or the system's own store holds no trusted certificates",
            ));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = versions.map_err(|_| ConfigError::new("SSL_CERT_FILE", "is of no use without TLS"))?;
        Ok(Self(builder.with_root_certificates(roots).with_no_client_auth()))
    }

    /// For a client that makes its own connections.
    pub fn config(&self) -> ClientConfig {
        self.0.clone()
    }

    /// An HTTP client for the SDK, with connections that all who share it share. It speaks plain HTTP too, to a local
    /// AWS.
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
        // Some systems keep them owned_by_other, and not as a file.
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
        let answer = self.0.request(request);
        HttpConnectorFuture::new(async move {
            let answer = answer.await.map_err(failure)?.map(SdkBody::from_body_1_x);
            HttpResponse::try_from(answer).map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// Whatever happens to a connection, the SDK may try again on another; an answer that is not HTTP comes again.
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

    /// Comments, other things, a broken one, one without an end, either ending of lines.
    #[test]
    fn certificates_are_found_among_other_things() {
        let text = b"# comment\n-----BEGIN CERTIFICATE-----\nb25l\n-----END CERTIFICATE-----\n\
            -----BEGIN PRIVATE KEY-----\nbm8=\n-----END PRIVATE KEY-----\n\
            -----BEGIN CERTIFICATE-----\r\ndHdv\r\ndHdv\r\n-----END CERTIFICATE-----\r\n\
            -----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\ndGhy";
        let found: Vec<Vec<u8>> = certificates_in(text).iter().map(|found| found.to_vec()).collect();
        assert_eq!(found, [b"one".to_vec(), b"twotwo".to_vec()]);
        assert!(certificates_in(b"").is_empty());
    }

    /// As many as the library finds that is made for it.
    #[test]
    fn the_systems_certificates_are_all_found() {
        use rustls::pki_types::pem::PemObject;

        if let Some(file) = openssl_probe::probe().cert_file {
            let theirs: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&file).unwrap().collect();
            assert_eq!(certificates(Some(file)), theirs.unwrap());
        }
    }
}
