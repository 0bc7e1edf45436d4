use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::domain::fact::ReversalKind;
use crate::domain::id::{OrderId, Reference};
use crate::providers::finvypay::webhook::WEBHOOKS;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn webhook(body: &str) -> Fact {
    let notification = WEBHOOKS.read(body.as_bytes(), NOW);
    notification.unwrap_or_else(|error| panic!("{error}: {body}")).fact
}

#[test]
fn completion_beside_an_error_is_contradictory() {
    for (beside, raw_status) in [
        (r#""success":false"#, "SUCCESS success:false"),
        (r#""success":"true""#, "SUCCESS success:string"),
        (r#""success":1"#, "SUCCESS success:number"),
        (r#""success":null"#, "SUCCESS success:null"),
        (
            r#""error":{"code":"INSUFFICIENT_FUNDS","message":"declined"}"#,
            "SUCCESS error:INSUFFICIENT_FUNDS",
        ),
        (r#""error":"declined""#, "SUCCESS error:declined"),
        (r#""error":["declined"]"#, "SUCCESS error"),
        (r#""success":true,"error":{"message":"m"}"#, "SUCCESS error"),
    ] {
        // In the envelope, in the data, and around a wrapped message.
        for body in [
            format!(r#"{{{beside},"status":"SUCCESS","data":{{"txn_id":"t","amount":1,"currency":"USD"}}}}"#),
            format!(r#"{{"status":"SUCCESS","data":{{{beside},"txn_id":"t","amount":1,"currency":"USD"}}}}"#),
            format!(r#"{{{beside},"request":{{"status":"SUCCESS","data":{{"txn_id":"t"}}}}}}"#),
            format!(r#"{{"paymentId":"p",{beside},"status":"SUCCESS"}}"#),
        ] {
            let fact = webhook(&body);
            assert_eq!(
                (fact.outcome, fact.raw_status.as_str()),
                (Outcome::Contradictory, raw_status),
                "{body}"
            );
        }
    }
}

#[test]
fn signed_refusal_that_says_success_completes_nothing() {
    let fact = webhook(
        r#"{"success":false,"status":"SUCCESS","error":{"code":"INSUFFICIENT_FUNDS","message":"declined"},
            "data":{"amount":25.50,"currency":"USD","order_id":"case01","txn_id":"FPX1"}}"#,
    );
    assert_eq!(fact.outcome, Outcome::Contradictory);
    assert_eq!(fact.raw_status, "SUCCESS success:false error:INSUFFICIENT_FUNDS");
    assert_eq!(fact.outcome.implied_status(), None);
}

#[test]
fn error_beside_another_outcome_is_natural() {
    for (status, outcome) in [
        ("FAILED", Outcome::Failed),
        ("CANCELLED", Outcome::Cancelled),
        ("PENDING", Outcome::Pending),
        ("SETTLED", Outcome::Unrecognised),
        ("AUTHORIZED", Outcome::Contradictory),
    ] {
        let fact = webhook(&format!(
            r#"{{"success":false,"error":{{"code":"X"}},"status":"{status}","paymentId":"p"}}"#
        ));
        assert_eq!(fact.outcome, outcome, "{status}");
    }
}

#[test]
fn contradictory_fact_is_another_fact_than_the_completion() {
    let digest = |beside: &str| {
        webhook(&format!(
            r#"{{"paymentId":"p","status":"SUCCESS","amount":1,"currency":"USD"{beside}}}"#
        ))
        .digest()
    };
    let digests = ["", r#","success":false"#, r#","error":"X""#, r#","error":"Y""#].map(digest);
    for (at, one) in digests.iter().enumerate() {
        assert!(!digests[at + 1..].contains(one), "{at}");
    }
    assert_eq!(digest(r#","success":true"#), digests[0]);
}

#[test]
fn message_that_speaks_of_money_going_back_is_reversed() {
    for (body, raw_status, kinds) in [
        // A refund told like a payment, with an id and an amount of its own.
        (
            r#"{"success":true,"status":"SUCCESS","data":{"type":"REFUND","amount":25.50,"currency":"USD","order_id":"o","txn_id":"t"}}"#,
            "SUCCESS",
            &[ReversalKind::Refund][..],
        ),
        (
            r#"{"request":{"success":true,"status":"SUCCESS","data":{"type":"REFUND","order_id":"o","txn_id":"t"}}}"#,
            "SUCCESS",
            &[ReversalKind::Refund],
        ),
        (
            r#"{"event":"payment.refunded","paymentId":"p","status":"REFUNDED","amount":25.50,"currency":"USD"}"#,
            "REFUNDED payment.refunded",
            &[ReversalKind::Refund],
        ),
        (
            r#"{"event":"payment.chargeback","paymentId":"p","status":"CHARGEBACK"}"#,
            "CHARGEBACK payment.chargeback",
            &[ReversalKind::Chargeback],
        ),
        (
            r#"{"success":true,"status":"SUCCESS","data":{"txn_id":"t","refund":{"status":true,"refund_date":"2026-01-02"},"chargeback":{"status":true}}}"#,
            "SUCCESS",
            &[ReversalKind::Refund, ReversalKind::Chargeback],
        ),
        // Beside a contradiction or an unknown word it still speaks of it.
        (
            r#"{"success":false,"status":"SUCCESS","paymentId":"p","refunded":true}"#,
            "SUCCESS success:false",
            &[ReversalKind::Refund],
        ),
        (
            r#"{"status":"SETTLED","paymentId":"p","disputes":[{"id":"d"}]}"#,
            "SETTLED",
            &[ReversalKind::Chargeback],
        ),
        (
            r#"{"paymentId":"p","refundedAt":"2026-01-02"}"#,
            "refund",
            &[ReversalKind::Refund],
        ),
    ] {
        let fact = webhook(body);
        assert_eq!(
            (fact.outcome, fact.raw_status.as_str()),
            (Outcome::Reversed, raw_status),
            "{body}"
        );
        let read: Vec<_> = fact.reversals.iter().map(|reversal| reversal.kind).collect();
        assert_eq!(read, kinds, "{body}");
    }
}

#[test]
fn member_about_no_reversal_leaves_the_completion() {
    for beside in [
        r#""refund":{"status":false,"refund_date":""},"chargeback":{"status":false,"chargeback_date":""}"#,
        r#""refundDate":null,"refundReason":null,"refundRemoveDate":null,"chargebackDate":"","suspiciousDate":null"#,
        r#""refunded":false,"refundedAmount":0,"refunds":[],"dispute":null"#,
        r#""metadata":{"refunded":true,"type":"refund"}"#,
        r#""type":"charge","refundable":true"#,
    ] {
        for body in [
            format!(r#"{{"status":"SUCCESS",{beside},"data":{{"txn_id":"t"}}}}"#),
            format!(r#"{{"status":"SUCCESS","data":{{"txn_id":"t",{beside}}}}}"#),
        ] {
            let fact = webhook(&body);
            assert_eq!(
                (fact.outcome, fact.reversals),
                (Outcome::Completed, Vec::new()),
                "{body}"
            );
        }
    }
}

#[test]
fn test_message_that_speaks_of_a_refund_is_a_test_message() {
    let body = r#"{"event":"webhook.test","paymentId":"p","status":"REFUNDED"}"#;
    let error = crate::providers::UnreadableWebhook::TestMessage;
    assert_eq!(WEBHOOKS.read(body.as_bytes(), NOW), Err(error));
}

#[test]
fn two_ids_of_one_kind_are_contradictory() {
    for members in [
        r#""paymentId":"p","data":{"paymentId":"q"}"#,
        r#""paymentId":"p","data":{"txn_id":1,"transactionId":"2"}"#,
        r#""paymentId":"p","orderId":"o","data":{"order_id":"n"}"#,
    ] {
        let fact = webhook(&format!(r#"{{"status":"SUCCESS",{members}}}"#));
        assert_eq!(
            (fact.outcome, &fact.order_id),
            (Outcome::Contradictory, &None),
            "{members}"
        );
        assert_eq!(fact.raw_status, "SUCCESS ids:differ");
        assert_eq!(fact.payment, Reference::parse("p"));
    }
    let fact =
        webhook(r#"{"status":"SUCCESS","paymentId":"p","data":{"paymentId":"p","txn_id":7,"transactionId":"7"}}"#);
    assert_eq!(fact.outcome, Outcome::Completed);
}

#[test]
fn order_does_not_stand_in_for_an_unreadable_id() {
    // A readable id or ours names the payment. The order then only informs, and is left out too.
    let ours = r#""metadata":{"paymentFunctionsId":"67e55044-10b1-426f-9247-bb680e5fe0c8"}"#;
    for named in [r#""paymentId":"p""#, r#""txn_id":"t""#, ours] {
        for unreadable in [
            r#""transactionId":2.6e7"#,
            r#""transactionId":{"id":"t"}"#,
            r#""paymentId":[1]"#,
        ] {
            let body = format!(r#"{{"status":"SUCCESS","orderId":"o","data":{{{unreadable}}},{named}}}"#);
            assert_eq!(webhook(&body).order_id, None, "{body}");
        }
    }
    // An id that says nothing leaves the order in place.
    for nothing in ["null", "0", r#""""#, "false"] {
        let body = format!(r#"{{"status":"SUCCESS","orderId":"o","txn_id":{nothing}}}"#);
        assert_eq!(webhook(&body).order_id, OrderId::parse("o"), "{body}");
    }
}

#[test]
fn numeric_ids_are_kept_digit_by_digit() {
    let body = |transaction: &str| {
        format!(
            r#"{{"success":true,"status":"SUCCESS","data":{{"amount":25.5,"currency":"USD","order_id":20261130123456,"txn_id":{transaction}}}}}"#
        )
    };
    let fact = webhook(&body("26030025"));
    assert_eq!(fact.order_id, OrderId::parse("20261130123456"));
    assert_eq!(fact.transaction, Reference::parse("26030025"));
    assert_eq!(fact.digest(), webhook(&body(r#""26030025""#)).digest());
    assert_ne!(fact.digest(), webhook(&body("26030026")).digest(), "two captures");
    assert_ne!(fact.digest(), webhook(&body(r#""026030025""#)).digest());
}

#[test]
fn both_spellings_and_any_case_are_known() {
    for (status, outcome) in [
        ("canceled", Outcome::Cancelled),
        ("Cancelled", Outcome::Cancelled),
        ("payment.canceled", Outcome::Cancelled),
        ("Payment.Completed", Outcome::Completed),
        (" success ", Outcome::Completed),
        ("payment.success", Outcome::Unrecognised),
        ("1", Outcome::Unrecognised),
    ] {
        let fact = webhook(&format!(r#"{{"paymentId":"p","event":"{status}"}}"#));
        assert_eq!(fact.outcome, outcome, "{status}");
    }
    // No number is money.
    assert_eq!(
        webhook(r#"{"paymentId":"p","status":1}"#).outcome,
        Outcome::Unrecognised
    );
}

/// Members with values that matter, absent ones included.
fn members(names: &[(&'static str, &'static [&'static str])]) -> impl Strategy<Value = String> + use<> {
    let members: Vec<_> = names
        .iter()
        .map(|(name, values)| {
            let member = |name: &str, value: &str| format!(r#""{name}":{value}"#);
            let name = *name;
            prop::option::of(select(*values).prop_map(move |value| member(name, value)))
        })
        .collect();
    members.prop_map(|members| members.into_iter().flatten().collect::<Vec<_>>().join(","))
}

const STATUSES: &[&str] = &[
    r#""SUCCESS""#,
    r#""success""#,
    r#""APPROVED""#,
    r#""AUTHORIZED""#,
    r#""PENDING""#,
    r#""DECLINED""#,
    r#""SETTLED""#,
    "1",
    "true",
    "false",
    "null",
];
const EVENTS: &[&str] = &[
    r#""payment.completed""#,
    r#""payment.failed""#,
    r#""payment.test""#,
    "{}",
];
const FLAGS: &[&str] = &["true", "false", "null", r#""true""#, "1"];
const ERRORS: &[&str] = &[
    "null",
    "false",
    r#""""#,
    "{}",
    "[]",
    r#"{"code":"X"}"#,
    r#""declined""#,
    "[1]",
];

fn envelope() -> impl Strategy<Value = String> {
    members(&[("status", STATUSES), ("event", EVENTS), ("error", ERRORS)])
}

fn data() -> impl Strategy<Value = String> {
    members(&[
        ("status", STATUSES),
        ("success", FLAGS),
        ("error", ERRORS),
        ("txn_id", &[r#""t""#, "7", "1e3"]),
        ("amount", &["99.99", r#""99.990""#, "null"]),
        ("refund", &[r#"{"status":true}"#, "true", "null", r#"{"status":false}"#]),
        ("type", &[r#""REFUND""#, r#""charge""#]),
        ("currency", &[r#""USD""#, r#""usd""#, "null"]),
    ])
}

/// Whether nothing in these members speaks against a completion, by a look at the text.
fn is_free_of_contradictions(text: &str) -> bool {
    let harmless = [
        r#""success":true"#,
        r#""error":null"#,
        r#""error":false"#,
        r#""error":"""#,
        r#""error":{}"#,
        r#""error":[]"#,
        r#""refund":{"status":false}"#,
    ];
    let rest = harmless
        .iter()
        .fold(text.to_owned(), |rest, member| rest.replace(member, ""));
    let words = [
        "success\":",
        "error\":",
        "AUTHORIZED",
        "PENDING",
        "DECLINED",
        "SETTLED",
        "failed",
        "test",
        r#""refund":t"#,
        r#""refund":{"status":t"#,
        "REFUND",
    ];
    let has_number_or_false = [r#""status":1"#, r#""status":false"#]
        .iter()
        .any(|member| rest.contains(member));
    !has_number_or_false && !words.iter().any(|word| rest.contains(word))
}

proptest! {
    #[test]
    fn completion_is_believed_only_without_a_contradiction(envelope in envelope(), success in prop::option::of(select(FLAGS)), data in data()) {
        let success = success.map_or_else(String::new, |value| format!(r#""success":{value},"#));
        let body = format!(r#"{{{success}"paymentId":"p",{envelope}{}"data":{{{data}}}}}"#, if envelope.is_empty() { "" } else { "," });
        if let Ok(Notification { fact, .. }) = WEBHOOKS.read(body.as_bytes(), NOW) {
            let is_believed = matches!(fact.outcome, Outcome::Completed);
            prop_assert_eq!(is_believed, is_free_of_contradictions(&body), "{} {:?}", body, fact);
        }
    }

    #[cfg(feature = "provider-client")]
    #[test]
    fn webhook_status_response_and_list_entry_agree(envelope in envelope(), data in data()) {
        use crate::providers::finvypay::status::{read_status, read_transactions};
        use crate::providers::http_client::Reply;
        use lambda_http::http::StatusCode;

        let comma = |text: &str| if text.is_empty() { "" } else { "," };
        let envelope = format!(r#"{{"success":true{}{envelope}"#, comma(&envelope));
        let data = format!(r#"{{"paymentId":"p","orderId":"o"{}{data}}}"#, comma(&data));
        let direct = format!(r#"{envelope},"data":{data}}}"#);
        let list = format!(r#"{envelope},"data":{{"transactions":[{data}]}}}}"#);
        let reply = |text: &str| Reply::new(StatusCode::OK, text.as_bytes());
        let (id, order) = (Reference::parse("p").unwrap(), OrderId::parse("o").unwrap());

        let by_webhook = WEBHOOKS.read(direct.as_bytes(), NOW);
        let by_id = read_status(&reply(&direct), &id, NOW);
        let by_order = read_transactions(&reply(&list), &order, NOW).unwrap();
        let own_status = Json::parse(data.as_bytes()).unwrap();
        let own_status = own_status.as_object().unwrap().get("status").cloned();
        if !matches!(own_status, Some(Json::String(_) | Json::Number(_))) {
            prop_assert!(by_id.is_err() && by_order.is_empty(), "{}", data);
            return Ok(());
        }
        let by_id = by_id.unwrap().unwrap();
        prop_assert_eq!(&by_order, std::slice::from_ref(&by_id));
        match by_webhook {
            Ok(by_webhook) => prop_assert_eq!(by_webhook, by_id),
            // A response is never a test message, but its word is not known, unless its money went back.
            Err(error) => {
                prop_assert_eq!(error, crate::providers::UnreadableWebhook::TestMessage);
                let is_reversed = !by_id.fact.reversals.is_empty();
                let expected = if is_reversed { Outcome::Reversed } else { Outcome::Unrecognised };
                prop_assert_eq!(by_id.fact.outcome, expected);
            }
        }
    }

    #[test]
    fn any_text_as_status_stays_bounded_and_plain(text in any::<String>(), at in any::<String>()) {
        let quoted = |text: &str| serde_json::to_string(text).unwrap();
        let body = format!(r#"{{"paymentId":"p","status":{0},"currency":{0},"completedAt":{1},"orderId":{0},"txn_id":{1},"event":"x"}}"#, quoted(&text), quoted(&at));
        if let Ok(Notification { fact, .. }) = WEBHOOKS.read(body.as_bytes(), NOW) {
            let texts = [Some(fact.raw_status), fact.currency, fact.occurred_at];
            for (text, limit) in texts.into_iter().zip([100, 16, 64]) {
                let text = text.unwrap_or_default();
                prop_assert!(text.chars().count() <= limit && !text.chars().any(char::is_control), "{:?}", text);
            }
        }
    }
}
