//! TLS in front of local servers, as in production.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use payment_functions_local::{Error, background};

/// A self-signed server certificate for `localhost`.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ServerConfig>,
    pem: String,
}

impl Tls {
    /// Creates a certificate.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn new() -> Result<Self, Error> {
        let create = || -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
            let key = KeyPair::generate()?;
            let certificate = CertificateParams::new(["localhost".to_owned()])?.self_signed(&key)?;
            let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()?
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], private)?;
            Ok(Self {
                config: Arc::new(config),
                pem: certificate.pem(),
            })
        };
        create().map_err(|error| Error::Io {
            doing: "make a certificate".to_owned(),
            source: std::io::Error::other(error),
        })
    }

    /// The certificate as PEM, for clients to trust.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Serves a local URL over TLS until this process ends, and returns the new URL.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn front(&self, url: &str) -> Result<String, Error> {
        let upstream = url.trim_start_matches("http://").to_owned();
        let (listener, address) = background::listen("serve TLS").await?;
        let acceptor = TlsAcceptor::from(Arc::clone(&self.config));
        background::handle()?.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, upstream) = (acceptor.clone(), upstream.clone());
                tokio::spawn(async move {
                    // Otherwise a response waits for the acknowledgement of the previous one.
                    let _ = client.set_nodelay(true);
                    // A failed handshake is the client's to report.
                    let (Ok(mut client), Ok(mut server)) =
                        (acceptor.accept(client).await, TcpStream::connect(upstream).await)
                    else {
                        return;
                    };
                    let _ = server.set_nodelay(true);
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Ok(format!("https://localhost:{}", address.port()))
    }
}
