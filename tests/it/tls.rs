//! The functions as they run in production: everything over TLS, on the one TLS stack.
//!
//! A missing connector or crypto provider compiles and starts; only a real handshake finds it.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::support::*;

/// A server's certificate for `localhost`, trusted by nobody, and the same as PEM, to be trusted by a function.
fn certificate() -> (Arc<ServerConfig>, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let pem = certificate.pem();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = config
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (Arc::new(config), pem)
}

/// Serves an address of this machine over TLS; gives the address to use instead.
async fn over_tls(config: &Arc<ServerConfig>, url: &str) -> String {
    let upstream = url.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::clone(config));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (acceptor, upstream) = (acceptor.clone(), upstream.clone());
            tokio::spawn(async move {
                // A client that does not trust the certificate ends the handshake; that is for the client to report.
                if let Ok(mut client) = acceptor.accept(client).await {
                    let mut server = TcpStream::connect(upstream).await.unwrap();
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    });
    format!("https://localhost:{port}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_over_tls() {
    let world = world().await;
    let (config, pem) = certificate();
    let aws = over_tls(&config, world.aws_url()).await;
    let provider = over_tls(&config, world.sandbox_url()).await;
    let file = std::env::temp_dir().join(unique("certificate"));
    std::fs::write(&file, pem).unwrap();
    let trusted = file.to_str().unwrap().to_owned();
    let changes = [
        ("AWS_ENDPOINT_URL", Some(aws.as_str())),
        ("APOLOPAY_BASE_URL", Some(&format!("{provider}/apolopay"))),
        ("SSL_CERT_FILE", Some(&trusted)),
    ];
    let trusting = world.attach("create-preorder", 1, &changes).await.unwrap();
    let body = preorder(&unique("order")).to_string();
    let answer = post_to(trusting.url(), "/preorders", body.clone(), &[]).await;
    assert_eq!(answer.status, 201, "{answer:?}\n{}", trusting.log());
    assert_eq!(status_of(&answer.str("id")).await, "pending");

    // The same without the trust: the handshake is really checked.
    let distrustful = world.attach("create-preorder", 1, &[changes[1]]).await.unwrap();
    let answer = post_to(distrustful.url(), "/preorders", body, &[]).await;
    assert_eq!(answer.problem(), (502, "PROVIDER_ERROR".to_owned()));
    std::fs::remove_file(file).unwrap();
}
