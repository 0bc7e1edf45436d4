//! Known vulnerabilities of other implementations, one test each, in the order of this list.
//!
//! | vulnerability | effect |
//! |---|---|
//! | signature header left out | unsigned webhooks are accepted |
//! | empty secret | anyone can sign with an empty key |
//! | accepting default verifier | everything is accepted if there is no secret |
//! | malformed header giving 500 | a caller's mistake causes our errors and endless retries |
//! | both header names with one wrong | a copied good signature is accepted |
//! | base64 body | genuine webhooks are refused |
//! | success downgraded by a late failure | a paid order is not delivered |
//! | amount not compared | one cent buys anything |
//! | ghost row created by a webhook for an unknown payment | payments that nobody created |
//! | duplicate delivery counted twice | one payment is delivered twice |
//! | `TransactionConflict` treated as failed condition | a paid webhook is dropped as a duplicate |

use futures_util::future::join_all;
use payment_functions::domain::time::Timestamp;
use payment_functions::platform::clock;
use payment_functions_local::sandbox::sign;
use payment_functions_tests::world::{Fault, PRODUCTION_TIMEOUTS};
use uuid::Uuid;

use crate::aws;
use crate::support::{Provider, Value, control, create, get_payment, json, status_of, unique, world};
use crate::webhooks::outcomes::{history, spec};
use crate::webhooks::owners::fresh;
use crate::webhooks::{
    PROVIDERS, SECRET, completion, deliver, dynamodb_calls, header, invoke as call, reference, send_signed, send_with,
};
use crate::{invoke, routes};

const WRITE: &str = "TransactWriteItems";

/// A correct signature in another header does not count.
#[tokio::test]
async fn signature_header_left_out() {
    let (proxy, handler) = aws::behind_proxy("webhook-handler", &[]).await;
    for provider in PROVIDERS {
        let created = create(provider, &unique("unsigned")).await;
        let id = created.str("id");
        let body = completion(&created, &json!({ "paymentFunctionsId": id })).to_string();
        let signature = sign(SECRET, body.as_bytes());
        let elsewhere: &[&str] = match provider {
            Provider::Apolopay => &["fs-webhook-hash", "signature", "authorization", "x-timestamp"],
            Provider::Finvypay => &["x-signature", "x-apolopay-signature", "signature", "x-transaction-id"],
        };
        let without = elsewhere.iter().map(|name| vec![(*name, signature.as_str())]);
        for headers in std::iter::once(vec![]).chain(without) {
            let response = send_with(handler.url(), provider, &body, &headers).await;
            assert_eq!(response.problem(), (401, "SIGNATURE_INVALID".to_owned()), "{headers:?}");
        }
        assert_eq!(dynamodb_calls(&proxy), [""; 0]);
        assert_eq!(status_of(&id).await, "pending");

        assert_eq!(send_signed(handler.url(), provider, &body, SECRET).await.status, 200);
        assert_eq!(status_of(&id).await, "completed", "only the header was wrong");
        proxy.reset();
    }
}

#[tokio::test]
async fn empty_secret() {
    let absent = unique("nothing");
    let blank = aws::create_secret(&json!({ "secretKey": "k", "webhookSecret": "  " })).await;
    let empty = aws::create_secret(&json!({ "apiKey": "k", "webhookSecret": "" })).await;
    let without = aws::create_secret(&json!({ "secretKey": "k" })).await;
    for (apolopay, finvypay) in [(&blank, &empty), (&without, &absent)] {
        let secrets = [
            ("APOLOPAY_SECRET_ID", Some(apolopay.as_str())),
            ("FINVYPAY_SECRET_ID", Some(finvypay.as_str())),
        ];
        let (proxy, handler) = aws::behind_proxy("webhook-handler", &secrets).await;
        for provider in PROVIDERS {
            let created = create(provider, &unique("secretless")).await;
            let body = completion(&created, &json!({})).to_string();
            for secret in ["", " ", "  ", "null", SECRET] {
                let response = send_signed(handler.url(), provider, &body, secret).await;
                assert_eq!(
                    response.problem(),
                    (401, "SIGNATURE_INVALID".to_owned()),
                    "{provider:?} {secret:?}"
                );
            }
            assert_eq!(send_with(handler.url(), provider, &body, &[]).await.status, 401);
            assert_eq!(status_of(&created.str("id")).await, "pending");
        }
        assert_eq!(dynamodb_calls(&proxy), [""; 0]);
    }
}

/// A webhook that cannot be verified right now is neither accepted nor refused for good.
#[tokio::test]
async fn accepting_default_verifier() {
    let faults = [
        Fault::UNAVAILABLE,
        Fault::Disconnect,
        Fault::Hang,
        Fault::Error(400, "AccessDeniedException"),
    ];
    join_all(faults.into_iter().map(async |fault| {
        let (proxy, handler) = aws::without_secrets("webhook-handler", &[PRODUCTION_TIMEOUTS]).await;
        for provider in PROVIDERS {
            let created = create(provider, &unique("unfetched")).await;
            let body = completion(&created, &json!({})).to_string();
            proxy.fail("GetSecretValue", fault.clone());
            for secret in [SECRET, "whsec_of_someone_else", ""] {
                let response = send_signed(handler.url(), provider, &body, secret).await;
                assert_eq!(response.problem(), (503, "UNAVAILABLE".to_owned()), "{fault:?}");
                assert!(response.header("retry-after").is_some(), "{response:?}");
            }
            assert_eq!(dynamodb_calls(&proxy), [""; 0]);
            assert_eq!(status_of(&created.str("id")).await, "pending");
            proxy.reset();
            assert_eq!(send_signed(handler.url(), provider, &body, SECRET).await.status, 200);
            assert_eq!(status_of(&created.str("id")).await, "completed");
            proxy.reset();
        }
    }))
    .await;
}

/// Malformed headers must not crash the function before its own checks.
#[tokio::test]
async fn malformed_header_giving_500() {
    let base = world().await.functions_url();
    let hostile = [
        ("idempotency-key", "\u{e9}\t\u{fffd}"),
        ("content-type", "\u{fffd}; =;;\t"),
        ("x-signature", "\u{e9}"),
        ("x-apolopay-signature", "\t"),
        ("fs-webhook-hash", "\u{fffd}\u{10ffff}"),
        ("cookie", "\u{e9}=\t;;"),
        ("host", "a b:99999"),
        ("host", ""),
        ("x-forwarded-proto", "!"),
        ("x-amzn-trace-id", "\u{e9}"),
        ("content-length", "-1"),
        ("transfer-encoding", "\u{e9}"),
        ("x-long", &"x".repeat(9000)),
    ];
    for (path, function, refused) in [
        ("/webhooks/apolopay", "webhook-handler", 401),
        ("/webhooks/finvypay", "webhook-handler", 401),
        ("/preorders", "create-preorder", 400),
        ("/apm-payments", "create-apm", 400),
        ("/payments/\u{e9}", "get-payment", 404),
    ] {
        for header in hostile {
            let mut event = invoke::post_event(path, &[header]);
            event["body"] = json!("{");
            let expected = if header.0 == "content-type" && refused == 400 {
                415
            } else {
                refused
            };
            let response = invoke::invoke(base, function, event.to_string()).await;
            assert_eq!(response.problem().0, expected, "{path} {header:?}");
        }
        for query in ["a=<b>", "\"", "a b", "\u{e9}", "#", "%", "?/\\^`{|}", "\u{0}"] {
            let mut event = invoke::post_event(path, &[]);
            event["body"] = json!("{");
            event["rawQueryString"] = json!(query);
            assert_eq!(
                invoke::invoke(base, function, event.to_string()).await.problem().0,
                refused,
                "{path}?{query}"
            );
        }
    }
}

/// Each header alone suffices; if both are present, both must verify.
#[tokio::test]
async fn both_header_names_with_one_wrong() {
    const SEEN: &str = "x-signature";
    const DOCUMENTED: &str = "x-apolopay-signature";
    let base = world().await.functions_url();
    let created = create(Provider::Apolopay, &unique("both")).await;
    let body = completion(&created, &json!({})).to_string();
    let right = sign(SECRET, body.as_bytes());
    let others = [
        sign("whsec_of_someone_else", body.as_bytes()),
        sign(SECRET, b"another body"),
        right.to_uppercase(),
        "not-a-signature".to_owned(),
        String::new(),
    ];
    for wrong in &others {
        for (seen, documented) in [(wrong, &right), (&right, wrong), (wrong, wrong)] {
            let headers = [(SEEN, seen.as_str()), (DOCUMENTED, documented)];
            let response = send_with(base, Provider::Apolopay, &body, &headers).await;
            assert_eq!(response.problem(), (401, "SIGNATURE_INVALID".to_owned()), "{headers:?}");
        }
    }
    assert_eq!(status_of(&created.str("id")).await, "pending");
    for headers in [
        vec![(SEEN, right.as_str()), (DOCUMENTED, &right)],
        vec![(SEEN, &right)],
        vec![(DOCUMENTED, &right)],
    ] {
        assert_eq!(
            send_with(base, Provider::Apolopay, &body, &headers).await.status,
            200,
            "{headers:?}"
        );
    }
    assert_eq!(status_of(&created.str("id")).await, "completed");
}

#[tokio::test]
async fn base64_body() {
    // Vectors A and W2 of the providers' facts, with their signatures.
    let vectors = [
        (
            Provider::Apolopay,
            "eyJpZCI6ImExYjJjM2Q0LWU1ZjYtNzg5MC1hYmNkLWVmMTIzNDU2Nzg5MCIsInN0YXR1cyI6ImNvbXBsZXRlZCIsImFtb3VudCI6MjUuNSwibmV0d29yayI6ImFwb2xvcGF5IiwiYXNzZXQiOiJVU0RUIiwid2FsbGV0IjpudWxsLCJtZXRhZGF0YSI6eyJvcmRlcklkIjoiT1JELTk4MjEifSwiZmluYWxpemVkQXQiOiIyMDI2LTAzLTE5VDEyOjAwOjAwLjAwMFoifQ==",
            "82e7fd86c940b9369ca77d5445beb084e6ec9d28be4c560a863a781035438a02",
            "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
        ),
        (
            Provider::Finvypay,
            "eyJldmVudCI6InBheW1lbnQuY29tcGxldGVkIiwicGF5bWVudElkIjoicGF5X2FwbV8ySzl4UjNtTjVwUTdzVDF3Iiwib3JkZXJJZCI6Ik9SRC1BUE0tNzg5MDEiLCJzdGF0dXMiOiJDT01QTEVURUQiLCJhbW91bnQiOjk5Ljk5LCJjdXJyZW5jeSI6IlVTRCIsInBheW1lbnRNZXRob2QiOiJhcHBsZV9wYXkiLCJjb21wbGV0ZWRBdCI6IjIwMjQtMDMtMDdUMTQ6MzU6MjIuMDAwWiIsIm1ldGFkYXRhIjp7ImludGVybmFsX3JlZiI6InN1YnNjcmlwdGlvbl8xMjMifX0=",
            "18e6a3aa1223e15ea326f29dc4b6f80c885cce92714b885a995b6f797dfb11ef",
            "pay_apm_2K9xR3mN5pQ7sT1w",
        ),
    ];
    for (provider, encoded, signature, id) in vectors {
        let path = format!("/webhooks/{}", aws::name(provider));
        let webhook = async |signature: &str, base64: bool| {
            let headers = json!({ header(provider): signature, "content-type": "application/json" });
            call("POST", &path, &headers, encoded, base64).await
        };
        let response = webhook(signature, true).await;
        assert_eq!((response.status, response.text.as_str()), (200, r#"{"received":true}"#));
        assert_eq!(webhook(signature, false).await.status, 401, "other bytes");
        let of_the_text = sign(SECRET, encoded.as_bytes());
        assert_eq!(webhook(&of_the_text, true).await.status, 401);
        assert_eq!(
            webhook(&of_the_text, false).await.status,
            200,
            "signed, but not JSON: quarantined"
        );
        let unmatched = aws::unmatched(provider, id).await;
        assert_eq!(unmatched.len(), 1, "{unmatched:?}");
    }
}

#[tokio::test]
async fn success_downgraded_by_a_late_failure() {
    let of_apolopay = [
        json!({}),
        json!({ "outcome": "failed" }),
        json!({ "outcome": "expired" }),
        json!({ "shape": "B", "outcome": "payment.failed" }),
        json!({ "shape": "B" }),
    ];
    let of_finvypay = [
        json!({}),
        json!({ "outcome": "failed" }),
        json!({ "outcome": "cancelled" }),
        json!({ "outcome": "authorized" }),
        json!({ "outcome": "pending" }),
        json!({ "outcome": "SETTLED" }),
        json!({ "shape": "W1", "outcome": "DECLINED" }),
        json!({ "shape": "W1wrapped", "outcome": "ABANDONED" }),
        json!({ "shape": "W1", "outcome": "PENDING" }),
    ];
    for (provider, hooks) in [
        (Provider::Apolopay, &of_apolopay[..]),
        (Provider::Finvypay, &of_finvypay[..]),
    ] {
        let (id, statuses) = history(provider, hooks).await;
        assert_eq!(statuses, vec!["completed"; hooks.len()], "{provider:?}");
        // Each of them has words that nobody documented.
        assert_eq!(aws::attention(&id).await, ["unrecognised_status"], "{provider:?}");
    }
}

#[tokio::test]
async fn amount_not_compared() {
    let wrong_amounts = [
        json!({ "amount": 25.49 }),
        json!({ "amount": 2550 }),
        json!({ "amount": 0 }),
        json!({ "amount": "" }),
        json!({ "amount": "a lot" }),
        json!({ "amount": "25,50" }),
        json!({ "extra": { "amount": null } }),
        json!({ "amount": true }),
        json!({ "extra": { "amount": [25.5] } }),
        json!({ "omit": ["amount"] }),
    ];
    let more_of_apolopay = [
        json!({ "amount": -25.5 }),
        json!({ "amount": 25.505 }),
        json!({ "amount": 25.500_000_01 }),
    ];
    let more_of_finvypay = [
        json!({ "amount": 99.98 }),
        json!({ "amount": 100 }),
        json!({ "amount": 99.991 }),
        json!({ "amount": -99.99 }),
        json!({ "currency": "EUR" }),
        json!({ "currency": "" }),
        json!({ "currency": "US" }),
        json!({ "currency": "JPY" }),
        json!({ "omit": ["currency"] }),
        json!({ "shape": "W1", "amount": 100 }),
        json!({ "shape": "W1", "omit": ["amount"] }),
        json!({ "shape": "W1wrapped", "currency": "EUR" }),
    ];
    let cases = [
        (Provider::Apolopay, &more_of_apolopay[..]),
        (Provider::Finvypay, &more_of_finvypay[..]),
    ];
    for (provider, more) in cases {
        let wrongs: Vec<&Value> = wrong_amounts.iter().chain(more).collect();
        let tell = async |wrong: &Value| {
            let (id, statuses) = history(provider, &[wrong.clone(), wrong.clone(), json!({}), wrong.clone()]).await;
            assert_eq!(statuses, ["review", "review", "completed", "completed"], "{wrong}");
            assert_eq!(aws::facts(&id).await.len(), 2, "{wrong}");
            assert_eq!(aws::attention(&id).await, ["amount_mismatch"], "{wrong}");
        };
        for some in wrongs.chunks(6) {
            join_all(some.iter().map(|wrong| tell(wrong))).await;
        }
    }
}

/// The minimum and maximum age of an unmatched webhook.
const KEPT: [u64; 2] = [90 * DAY, 365 * DAY];
const DAY: u64 = 24 * 60 * 60;

#[tokio::test]
async fn ghost_row_created_by_a_webhook_for_an_unknown_payment() {
    let kept_long_enough = async |provider, place: &str, since: Timestamp| {
        let until = aws::unmatched_until(provider, place).await;
        let [least, most] = KEPT;
        let expected = since.as_seconds() + least..=clock::now().as_seconds() + most;
        assert!(expected.contains(&until), "{place}: TTL {until} is not in {expected:?}");
    };
    for provider in PROVIDERS {
        let created = create(provider, &unique("ghost")).await;
        let (ghost, id) = (Uuid::new_v4().to_string(), fresh(provider));
        // With our payment id in the metadata the order does not count, even if it has a single payment.
        let hook = json!({
            "provider": aws::name(provider), "payment": reference(&created), "id": id,
            "metadata": { "paymentFunctionsId": ghost, "orderId": created.str("orderId") },
        });
        let since = clock::now();
        deliver(hook).await;
        assert_eq!(get_payment(&ghost).await.problem(), (404, "NOT_FOUND".to_owned()));
        assert_eq!((aws::state(&ghost).await, aws::facts(&ghost).await.len()), (None, 0));
        assert_eq!(aws::owner(provider, &id).await, None);
        assert_eq!(aws::unmatched(provider, &id).await.len(), 1);
        kept_long_enough(provider, &id, since).await;
        assert_eq!(status_of(&created.str("id")).await, "pending");
    }
    // Not even if the webhook names only our id.
    let ghost = Uuid::new_v4().to_string();
    let body = json!({ "status": "completed", "amount": 25.5, "metadata": { "paymentFunctionsId": ghost } });
    let since = clock::now();
    deliver(json!({ "provider": "apolopay", "body": body.to_string() })).await;
    assert_eq!(get_payment(&ghost).await.status, 404);
    let place = format!("payment:{ghost}");
    assert_eq!(aws::unmatched(Provider::Apolopay, &place).await.len(), 1);
    kept_long_enough(Provider::Apolopay, &place, since).await;
}

#[tokio::test]
async fn duplicate_delivery_counted_twice() {
    for provider in PROVIDERS {
        for metadata in [None, Some(json!({}))] {
            let order_id = unique("twenty");
            let id = create(provider, &order_id).await.str("id");
            let before = aws::state(&id).await.unwrap();
            let mut twenty = spec(provider, &order_id, &json!({ "times": 20, "concurrent": true }));
            if let Some(metadata) = metadata {
                twenty["metadata"] = metadata;
            }
            let deliveries = control().await.webhooks(&twenty).await.unwrap();
            assert_eq!(deliveries.len(), 20);
            assert!(
                deliveries.iter().all(|delivery| delivery.status == Some(200)),
                "{deliveries:?}"
            );
            assert_eq!(
                (status_of(&id).await.as_str(), aws::facts(&id).await.len()),
                ("completed", 1)
            );
            let version = |state: &Value| state["version"].as_str().unwrap().parse::<u32>().unwrap();
            let after = aws::state(&id).await.unwrap();
            assert_eq!(version(&after), version(&before) + 1, "one change");
            assert_eq!(aws::attention(&id).await, [""; 0]);
        }
    }
}

/// Injected at the HTTP level, because no emulator returns it: a concurrent writer caused a conflict, no condition
/// failed, and nothing was written.
#[tokio::test]
async fn transaction_conflict_treated_as_failed_condition() {
    let reason = |code: &str| json!({ "Code": code, "Message": "injected" });
    let conflicts = [
        ["TransactionConflict", "None"],
        ["None", "TransactionConflict"],
        ["TransactionConflict"; 2],
    ];
    let cancelled = conflicts.map(|codes| Fault::Cancelled(codes.map(reason).to_vec()));

    let (proxy, handler) = aws::behind_proxy("webhook-handler", &[]).await;
    for provider in PROVIDERS {
        for fault in &cancelled {
            for is_named in [true, false] {
                let created = create(provider, &unique("conflict")).await;
                let id = created.str("id");
                let metadata = if is_named {
                    json!({ "paymentFunctionsId": id })
                } else {
                    json!({})
                };
                let body = completion(&created, &metadata).to_string();
                proxy.reset();
                proxy.fail(WRITE, fault.clone());
                let response = send_signed(handler.url(), provider, &body, SECRET).await;
                assert_eq!(
                    response.problem(),
                    (503, "UNAVAILABLE".to_owned()),
                    "endless retries: {fault:?}"
                );
                assert_eq!(status_of(&id).await, "pending");

                proxy.reset();
                proxy.fail_times(WRITE, 2, fault.clone());
                assert_eq!(
                    send_signed(handler.url(), provider, &body, SECRET).await.status,
                    200,
                    "{fault:?}"
                );
                assert_eq!(proxy.count(WRITE), 3, "{fault:?}");
                assert_eq!(
                    (status_of(&id).await.as_str(), aws::facts(&id).await.len()),
                    ("completed", 1),
                    "{fault:?}"
                );
            }
        }
        // Nor is a conflict reported as a key in use.
        for fault in &cancelled {
            let (proxy, creator) = aws::behind_proxy(routes::function(provider), &[]).await;
            proxy.fail_times(WRITE, 2, fault.clone());
            let order_id = unique("conflict");
            let body = routes::body(provider, &order_id).to_string();
            let key = [("idempotency-key", order_id.as_str())];
            let created = crate::support::post_to(creator.url(), routes::route(provider), body, &key).await;
            assert_eq!(
                (created.status, created.header("idempotency-replayed")),
                (201, None),
                "{created:?}"
            );
            assert_eq!(routes::calls(provider, &order_id).await.len(), 1);
        }
    }
}
