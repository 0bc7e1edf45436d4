//! The functions as in production: everything over TLS, with the one TLS stack.
//!
//! A missing connector or crypto provider compiles and starts; only a real handshake finds it.

use payment_functions_tests::world::Tls;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn payment_over_tls_is_created() {
    let world = world().await;
    let tls = Tls::new().unwrap();
    let aws = tls.front(world.aws_url()).await.unwrap();
    let provider = tls.front(world.sandbox_url()).await.unwrap();
    let file = std::env::temp_dir().join(unique("certificate"));
    std::fs::write(&file, tls.pem()).unwrap();
    let trusted = file.to_str().unwrap().to_owned();
    let changes = [
        ("AWS_ENDPOINT_URL", Some(aws.as_str())),
        ("APOLOPAY_BASE_URL", Some(&format!("{provider}/apolopay"))),
        ("SSL_CERT_FILE", Some(&trusted)),
    ];
    let trusting = world.attach("create-preorder", 1, &changes).await.unwrap();
    let body = preorder(&unique("order")).to_string();
    let response = post_to(trusting.url(), "/preorders", body.clone(), &[]).await;
    assert_eq!(response.status, 201, "{response:?}\n{}", trusting.log());
    assert_eq!(status_of(&response.str("id")).await, "pending");

    // Without the trusted certificate the handshake fails.
    let distrustful = world.attach("create-preorder", 1, &[changes[1]]).await.unwrap();
    let response = post_to(distrustful.url(), "/preorders", body, &[]).await;
    assert_eq!(response.problem(), (502, "PROVIDER_ERROR".to_owned()));
    std::fs::remove_file(file).unwrap();
}
