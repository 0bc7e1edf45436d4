//! [`World`] runs the real functions behind the real routes, counts their calls to AWS, and can start another instance
//! of one function.

use std::net::TcpStream;

use reqwest::StatusCode;
use serde_json::Value;

use crate::world::{AwsProxy, Fault, World};
use payment_functions_local::{Error, http};

#[tokio::test(flavor = "multi_thread")]
async fn world_runs_the_functions_and_leaves_no_server_running() {
    let world = World::start().await.unwrap();
    let http = http::client().unwrap();
    let unknown = "payments/00000000-0000-4000-8000-000000000000";

    let response = http
        .get(format!("{}/{unknown}", world.functions_url()))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["code"], "NOT_FOUND");
    assert_eq!(world.aws_proxy().count("GetItem"), 1);

    for provider in ["apolopay", "finvypay"] {
        let url = format!("{}/webhooks/{provider}", world.functions_url());
        let response = http.post(url).body("{}").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{provider}");
    }

    let proxy = AwsProxy::start(world.aws_url()).await.unwrap();
    proxy.fail("GetItem", Fault::UNAVAILABLE);
    let endpoint = [("AWS_ENDPOINT_URL", Some(proxy.url()))];
    let alone = world.attach("get-payment", 1, &endpoint).await.unwrap();
    let response = http.get(format!("{}/{unknown}", alone.url())).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(proxy.count("GetItem") > 0);
    assert_eq!(world.aws_proxy().count("GetItem"), 1);

    let bare = world.lambda("get-payment", &endpoint).await.unwrap();
    let response = bare.http("GET", &format!("/{unknown}"), &[], b"").await.unwrap();
    assert_eq!(response.status, 503);
    assert!(matches!(
        world.lambda("no-such-function", &[]).await,
        Err(Error::NoBinary { .. })
    ));

    let broken = world
        .attach("get-payment", 1, &[("PAYMENTS_TABLE", None)])
        .await
        .unwrap();
    let one = &broken.environments()[0];
    one.ready().await;
    assert_eq!(one.ended().unwrap().code(), Some(1));
    assert!(broken.log().contains("PAYMENTS_TABLE"), "{}", broken.log());

    let ports = [world.functions_url(), world.sandbox_url(), world.aws_url(), alone.url()]
        .map(|url| url.rsplit(':').next().unwrap().parse::<u16>().unwrap());
    drop((broken, bare, alone, world));
    for port in ports {
        assert!(
            TcpStream::connect(("127.0.0.1", port)).is_err(),
            "something still listens on {port}"
        );
    }
}
