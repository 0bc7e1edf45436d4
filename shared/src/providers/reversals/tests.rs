use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::domain::attention::AttentionReason;
use crate::domain::fact::{Fact, Outcome};
use crate::domain::id::PaymentId;
use crate::domain::money::{Currency, Money};
use crate::domain::payment::Payment;
use crate::domain::provider::{Environment, Provider};
use crate::domain::redaction::{Kind, is_conclusive, readable, redact};
use crate::providers::webhooks;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// The reversals in an object, each as its kind, `undone`, id, amount, currency and time, as far as it has them.
fn reversals(body: &str) -> Vec<String> {
    let json = Json::parse_liberal(body.as_bytes()).unwrap_or_else(|_| panic!("{body}"));
    let shown = |reversal: Reversal| {
        let parts = [
            Some(reversal.kind.name().to_owned()),
            reversal.undone.then(|| "undone".to_owned()),
            reversal.id.map(|id| id.to_string()),
            reversal.amount.map(|amount| amount.to_string()),
            reversal.currency,
            reversal.at.map(|at| at.to_string().replace("T00:00:00.000Z", "")),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    };
    let members = Members::of([json.as_object().unwrap()]);
    read_reversals(&members, &members).into_iter().map(shown).collect()
}

fn assert_reversals(table: &[(&str, &[&str])]) {
    for (members, expected) in table {
        assert_eq!(reversals(&format!("{{{members}}}")), *expected, "{members}");
    }
}

#[test]
fn word_or_type_for_a_reversal_is_one() {
    assert_reversals(&[
        (r#""event":"payment.refunded""#, &["refund"]),
        (r#""status":"REFUNDED""#, &["refund"]),
        (r#""status":"SUCCESS","type":"REFUND""#, &["refund"]),
        (r#""status":"SUCCESS","type":["REFUND"]"#, &["refund"]),
        (r#""status":"SUCCESS","event":{"type":"refund"}"#, &["refund"]),
        (r#""status":"SUCCESS","transaction_type":"Partial refund""#, &["refund"]),
        (
            r#""status":"SUCCESS","eventType":"charge.dispute.created""#,
            &["chargeback"],
        ),
        (r#""status":"SUCCESS","paymentStatus":"charged_back""#, &["chargeback"]),
        (
            r#""event":"refund.created","type":"dispute""#,
            &["refund", "chargeback"],
        ),
        (r#""event":"dispute.won""#, &["chargeback undone"]),
        (r#""event":"refund.failed""#, &["refund undone"]),
        // Another word says that the money is gone.
        (r#""event":"dispute.won","status":"CHARGEBACK""#, &["chargeback"]),
    ]);
}

#[test]
fn word_about_something_else_is_no_reversal() {
    assert_reversals(&[
        (r#""status":"SUCCESS","event":"payment.completed","type":"charge""#, &[]),
        (r#""oldStatus":"REFUNDED","previous_state":"DISPUTED""#, &[]),
        (r#""errorCode":"REFUND_NOT_ALLOWED","error":"no refund""#, &[]),
        (
            r#""description":"refund","refundPolicy":"30 days","refundUrl":"https://shop.example""#,
            &[],
        ),
        (
            r#""type":"non_refundable","refundable":true,"refundableUntil":"2026-01-01""#,
            &[],
        ),
        (
            r#""metadata":{"refunded":true,"type":"refund","refundDate":"2026-01-01"}"#,
            &[],
        ),
        (r#""metadata":"refunded""#, &[]),
        (r#""suspiciousDate":"2026-01-01""#, &[]),
        (r#""-refund":true"#, &[]),
    ]);
}

#[test]
fn member_that_says_something_is_a_reversal() {
    for (value, date) in [
        ("true", ""),
        ("1", ""),
        (r#""yes""#, ""),
        (r#""to Jane""#, ""),
        (r#""string""#, ""),
        (r#""2026-01-02""#, " 2026-01-02"),
        ("1767312000", " 2026-01-02"),
        (r#"[{"id":"R1"}]"#, " R1"),
        (r#"{"status":true}"#, ""),
        (r#"{"reason":"x"}"#, ""),
        (r#"{"status":false,"date":"2026-01-02"}"#, " 2026-01-02"),
        (r#"[false,{"created_at":"2026-01-02 00:00:00"}]"#, " 2026-01-02"),
    ] {
        for (names, kind) in [
            (
                [
                    "refund",
                    "REFUNDED",
                    "is_refunded",
                    "partial-refund",
                    "refunds",
                    "reversed",
                    "voided",
                ],
                "refund",
            ),
            (
                [
                    "chargeback",
                    "charge_back",
                    "chargedBack",
                    "isChargeback",
                    "dispute",
                    "Disputed",
                    "disputes",
                ],
                "chargeback",
            ),
        ] {
            for name in names {
                let body = format!(r#"{{"{name}":{value}}}"#);
                assert_eq!(reversals(&body), [format!("{kind}{date}")], "{body}");
            }
        }
    }
    assert_reversals(&[
        (r#""refundId":"R1""#, &["refund R1"]),
        (r#""refundReason":"for Jane""#, &["refund"]),
        (r#""dispute_reason":"fraud""#, &["chargeback"]),
        (r#""refundStatus":"SUCCESS""#, &["refund"]),
        (r#""refundedAmount":"12.50""#, &["refund 12.5"]),
        (r#""refund_amount":1e1,"refundCurrency":"usd""#, &["refund 10 USD"]),
        (r#""amountRefunded":"twelve""#, &["refund"]),
        (r#""refundAmount":-5"#, &["refund"]),
        (r#""refundAmount":5,"refundedAmount":6"#, &["refund"]),
        (r#""amount":99.99,"currency":"EUR","refunded":true"#, &["refund"]),
        (r#""refundDate":"yesterday""#, &["refund"]),
        (r#""refundDate":true"#, &["refund"]),
        (
            r#""refund_date":"2026-01-02 10:00:00""#,
            &["refund 2026-01-02T10:00:00.000Z"],
        ),
        (r#""refunded_at":1767312000000"#, &["refund 2026-01-02"]),
        (
            r#""refundDate":"2026-01-02","refundedAt":"2026-01-03""#,
            &["refund 2026-01-03"],
        ),
        (
            r#""chargebackDate":"2026-01-02","disputedAt":null"#,
            &["chargeback 2026-01-02"],
        ),
        (
            r#""refundDate":"2026-01-02","chargebackDate":"2026-01-03""#,
            &["refund 2026-01-02", "chargeback 2026-01-03"],
        ),
    ]);
}

#[test]
fn member_with_details_gives_them() {
    assert_reversals(&[
        (
            r#""refund":{"status":true,"refund_date":"2026-01-02","amount":5,"fee":1,"currency":"USD"},
               "chargeback":{"status":false,"chargeback_date":""}"#,
            &["refund 5 USD 2026-01-02"],
        ),
        (
            r#""refund":{"amount":{"value":"5.00","currency":"USD"},"updatedAt":"2026-02-02"}"#,
            &["refund 5 USD"],
        ),
        (r#""refunds":[{"amount":5,"currency":"USD"}]"#, &["refund 5 USD"]),
        (
            r#""refunds":[{"amount":5,"currency":"USD"},{"amount":5.5,"currency":"USD"}]"#,
            &["refund 10.5 USD"],
        ),
        (r#""refund":{"metadata":{"amount":7},"id":"R1"}"#, &["refund R1"]),
        (r#""refunds":{"7":{"amount":5}}"#, &["refund 5"]),
        (
            r#""refunds":[{"id":"R1","amount":5,"status":"failed"},{"id":"R2","amount":6}]"#,
            &["refund R2 6"],
        ),
        (r#""refundTotal":5,"amount_refunded":5"#, &["refund 5"]),
        (r#""refund":{"status":"FAILED"}"#, &["refund undone"]),
        (r#""refund":{"failed":true}"#, &["refund undone"]),
        (r#""refundStatus":"rejected""#, &["refund undone"]),
        (r#""disputes":[{"status":"won"}]"#, &["chargeback undone"]),
        (r#""disputes":[{"status":"won"},{"status":"lost"}]"#, &["chargeback"]),
    ]);
}

#[test]
fn member_that_says_nothing_is_no_reversal() {
    for value in NOTHING_VALUES {
        for name in NAMES {
            let body = format!(r#"{{"{name}":{value}}}"#);
            assert_eq!(reversals(&body), [""; 0], "{body}");
        }
    }
    assert_reversals(&[
        (r#""refundCurrency":"USD","refundAmount":0"#, &[]),
        (r#""chargeback":{"status":null,"metadata":{"a":1}}"#, &[]),
        (r#""refundDate":"0000-00-00 00:00:00""#, &[]),
    ]);
}

#[test]
fn later_time_decides_whether_a_reversal_is_undone() {
    assert_reversals(&[
        (
            r#""refundDate":"2026-01-02","refundRemoveDate":"2026-01-03""#,
            &["refund undone 2026-01-03"],
        ),
        (
            r#""refundDate":"2026-01-02","refundRemoveDate":"2026-01-02T00:00:01Z""#,
            &["refund undone 2026-01-02T00:00:01.000Z"],
        ),
        (
            r#""refundReason":"x","refundAmount":5,"refundDate":"2026-01-02","refundRemoveDate":1767398400"#,
            &["refund undone 5 2026-01-03"],
        ),
        (
            r#""chargebackRemoveDate":"2026-01-03""#,
            &["chargeback undone 2026-01-03"],
        ),
        (
            r#""refundDate":"2026-01-02","refundRemoveDate":"2026-01-02""#,
            &["refund 2026-01-02"],
        ),
        (
            r#""refundDate":"2026-01-04","refundRemoveDate":"2026-01-03""#,
            &["refund 2026-01-04"],
        ),
        (
            r#""refundDate":"2026-01-02","refundedAt":"2026-01-04","refundRemoveDate":"2026-01-03""#,
            &["refund 2026-01-04"],
        ),
        (
            r#""refundDate":"2026-01-02","refundRemoveDate":"tomorrow""#,
            &["refund 2026-01-02"],
        ),
        (
            r#""refundDate":"some day","refundRemoveDate":"2026-01-03""#,
            &["refund"],
        ),
        (
            r#""refundDate":"2026-01-02","refundRemoveDate":null"#,
            &["refund 2026-01-02"],
        ),
        // A flag, or a word, says that the money is gone.
        (
            r#""refunded":true,"refundDate":"2026-01-02","refundRemoveDate":"2026-01-03""#,
            &["refund 2026-01-02"],
        ),
        (r#""status":"REFUNDED","refundRemoveDate":"2026-01-03""#, &["refund"]),
        (
            r#""event":"chargeback.reversed","chargebackDate":"2026-01-02""#,
            &["chargeback undone"],
        ),
        // The same inside the member.
        (
            r#""refund":{"refund_date":"2026-01-02","removeDate":"2026-01-03"}"#,
            &["refund undone 2026-01-03"],
        ),
        (
            r#""chargeback":{"date":"2026-01-02","remove_date":"2026-01-03"}"#,
            &["chargeback undone 2026-01-03"],
        ),
        (r#""refund":{"removedAt":"2026-01-03"}"#, &["refund undone 2026-01-03"]),
        // Without a time of the undoing nobody knows which is the later one.
        (
            r#""refund":{"date":"2026-01-02","removed":true}"#,
            &["refund 2026-01-02"],
        ),
        (
            r#""refundDate":"2026-01-02","refundRemovedAt":"2026-01-03""#,
            &["refund undone 2026-01-03"],
        ),
        (
            r#""refund":{"date":"2026-01-04","removeDate":"2026-01-03"}"#,
            &["refund 2026-01-04"],
        ),
        (
            r#""refund":{"date":"2026-01-02","removeDate":null,"removed":false}"#,
            &["refund 2026-01-02"],
        ),
        (
            r#""refund":{"date":"2026-01-02","removeDate":"tomorrow"}"#,
            &["refund 2026-01-02"],
        ),
        // Each kind by itself.
        (
            r#""refundDate":"2026-01-02","chargebackRemoveDate":"2026-01-03""#,
            &["refund 2026-01-02", "chargeback undone 2026-01-03"],
        ),
    ]);
}

#[test]
fn name_of_a_reversal_is_on_the_list_of_the_redaction() {
    for name in NAMES {
        let listed = member_name(name).unwrap();
        assert!(
            Kind::of(&listed).is_some() && !reversal_words(name).is_empty(),
            "{name}"
        );
    }
}

/// Members that speak of a reversal if they say something.
const NAMES: [&str; 24] = [
    "refund",
    "refunds",
    "refunded",
    "isRefunded",
    "partially_refunded",
    "refundAmount",
    "refunded_amount",
    "amountRefunded",
    "refundId",
    "refund_status",
    "refundDate",
    "refundedAt",
    "refundRemoveDate",
    "reversal",
    "reversedAt",
    "voided",
    "chargeback",
    "CHARGED_BACK",
    "chargeback-date",
    "chargebackRemoveDate",
    "dispute",
    "disputes",
    "disputed",
    "disputedAmount",
];

const NOTHING_VALUES: [&str; 19] = [
    "null",
    "false",
    "0",
    "0.00",
    "-0",
    "0e5",
    r#""""#,
    r#"" ""#,
    r#""0.00""#,
    r#""False""#,
    r#""no""#,
    r#""NONE""#,
    r#""0000-00-00""#,
    r#""-""#,
    "[]",
    "{}",
    "[null,0]",
    r#"{"status":false,"date":"","amount":0,"currency":"USD"}"#,
    r#"[{"status":null}]"#,
];

const VALUES: [&str; 11] = [
    "true",
    "1",
    "25.50",
    r#""yes""#,
    r#""to Jane""#,
    r#""2026-01-02""#,
    "1767312000",
    r#"{"status":true,"refund_date":"2026-01-02"}"#,
    r#"{"reason":"x"}"#,
    r#"[{"amount":5}]"#,
    r#"["string"]"#,
];

/// Words of members that say what happened.
const WORDS: [&str; 6] = [
    r#""type":"REFUND""#,
    r#""transactionType":"partial refund""#,
    r#""eventType":"charge.dispute.created""#,
    r#""subStatus":"Charged back by the bank of Jane""#,
    r#""state":"reversed""#,
    r#""operation":"VOID""#,
];

/// Completed messages, with the places in which another member can be.
const COMPLETED: [(Provider, &str); 10] = [
    (
        Provider::ApoloPay,
        r#"{"id":"p","status":"completed","amount":25.5,"metadata":{"orderId":"o"}@}"#,
    ),
    (
        Provider::ApoloPay,
        r#"{"event":"payment.completed","processId":"p","amount":25.50@}"#,
    ),
    (
        Provider::ApoloPay,
        r#"{"id":"p","status":"completed","amount":25.5,"data":{"x":1@}}"#,
    ),
    (
        Provider::ApoloPay,
        r#"{"id":"p","status":"completed","amount":25.5,"result":{"x":1@}}"#,
    ),
    (
        Provider::FinvyPay,
        r#"{"success":true,"status":"SUCCESS","data":{"amount":9,"currency":"USD","order_id":"o","txn_id":"t"}@}"#,
    ),
    (
        Provider::FinvyPay,
        r#"{"success":true,"status":"SUCCESS","data":{"amount":9,"currency":"USD","order_id":"o","txn_id":"t"@}}"#,
    ),
    (
        Provider::FinvyPay,
        r#"{"request":{"success":true,"status":"SUCCESS","data":{"order_id":"o","txn_id":"t"}}@}"#,
    ),
    (
        Provider::FinvyPay,
        r#"{"request":{"success":true,"status":"SUCCESS","data":{"order_id":"o","txn_id":"t"}@}}"#,
    ),
    (
        Provider::FinvyPay,
        r#"{"request":{"success":true,"status":"SUCCESS","data":{"order_id":"o","txn_id":"t"@}}}"#,
    ),
    (
        Provider::FinvyPay,
        r#"{"event":"payment.completed","paymentId":"p","orderId":"o","status":"COMPLETED","amount":9,"currency":"USD"@}"#,
    ),
];

fn fact(provider: Provider, body: &str) -> Fact {
    let read = webhooks(provider).read(body.as_bytes(), NOW);
    read.unwrap_or_else(|error| panic!("{error}: {body}")).fact
}

/// The outcomes of a completed message of each provider with these members, and after their redaction.
fn outcomes(members: &str) -> Vec<Outcome> {
    let bodies = [
        (Provider::ApoloPay, r#"{"id":"p","status":"completed","amount":25.5,"#),
        (
            Provider::FinvyPay,
            r#"{"event":"payment.completed","paymentId":"p","orderId":"o","status":"COMPLETED","amount":25.5,"currency":"USD","#,
        ),
    ];
    let outcomes = bodies.into_iter().flat_map(|(provider, start)| {
        let body = format!("{start}{members}}}");
        let redacted = readable(&redact(body.as_bytes(), None).text).unwrap();
        let replayed = webhooks(provider).read_json(&redacted, NOW).unwrap().fact;
        [fact(provider, &body).outcome, replayed.outcome]
    });
    outcomes.collect()
}

fn wrong(members: &[&'static str], expected: Outcome) -> Vec<&'static str> {
    let is_wrong = |members: &&&str| outcomes(members).iter().any(|outcome| *outcome != expected);
    members.iter().filter(is_wrong).copied().collect()
}

#[test]
fn money_that_went_back_under_any_name_is_not_money_coming_in() {
    let members = [
        r#""refundDetails":{"status":"SUCCESS","amount":25.5}"#,
        r#""refundInfo":{"refunded":true}"#,
        r#""refund_data":{"refund_date":"2026-01-02"}"#,
        r#""refundHistory":[{"amount":25.5}]"#,
        r#""refundCount":1"#,
        r#""refundedTotal":25.5"#,
        r#""refundsTotal":25.5"#,
        r#""amount_refunded_in_usd":25.5"#,
        r#""refundedAmountUsd":25.5"#,
        r#""refundDateTime":"2026-01-02""#,
        r#""refundCompletedDate":"2026-01-02""#,
        r#""refundRequestedAt":"2026-01-02""#,
        r#""lastRefundDate":"2026-01-02""#,
        r#""isRefundedFully":true"#,
        r#""totallyRefunded":true"#,
        r#""isChargedBack":true"#,
        r#""chargebackDetails":{"status":true}"#,
        r#""chargebackInfo":{"date":"2026-01-02"}"#,
        r#""chargebackDateTime":"2026-01-02""#,
        r#""chargebackFiledAt":"2026-01-02""#,
        r#""chargebackFlag":1"#,
        r#""disputeDetails":{"status":"open"}"#,
        r#""disputeOpenedAt":"2026-01-02""#,
        r#""underDispute":true"#,
        r#""inDispute":true"#,
        r#""reversalDetails":{"at":"2026-01-02"}"#,
        r#""isReversedByBank":true"#,
        r#""data":{"transaction":{"refundDate":"2026-01-02"}}"#,
        r#""transaction":{"refunded":true}"#,
        r#""data":{"payment":{"status":"REFUNDED"}}"#,
        r#""data":{"details":{"refund":{"amount":3}}}"#,
        r#""detail":{"type":"REFUND"}"#,
        r#""attributes":{"refundDate":"2026-01-02"}"#,
        r#""result":{"chargeback":true}"#,
        r#""currentStatus":"REFUNDED""#,
        r#""statusText":"Refunded""#,
        r#""statusLabel":"REFUNDED""#,
        r#""statusReason":"REFUND""#,
        r#""subType":"REFUND""#,
        r#""subtype":"CHARGEBACK""#,
        r#""transactionKind":"refund""#,
        r#""category":"REFUND""#,
        r#""eventCategory":"chargeback""#,
        r#""flow":"REFUND""#,
        r#""stage":"dispute""#,
        r#""txn_state":"REVERSED""#,
        r#""tags":["refunded"]"#,
        r#""flags":["PAID","REFUNDED"]"#,
        r#""flags":"REFUNDED""#,
        r#""flags":{"paid":true,"refunded":true}"#,
        r#""data":{"transactionFlags":["CHARGEBACK"]}"#,
        r#""labels":["refunded"]"#,
        r#""history":["COMPLETED","REFUNDED"]"#,
        r#""history":[{"status":"COMPLETED"},{"status":"REFUNDED","date":"2026-01-02"}]"#,
        r#""statusHistory":[{"type":"refund","amount":25.5},{"type":"payment"}]"#,
        r#""transactions":[{"type":"sale"},{"type":"refund","amount":25.5}]"#,
        r#""timeline":[{"event":"paid"},{"refunded":true}]"#,
        r#""amounts":{"paid":25.5,"refunded":25.5}"#,
        r#""dates":{"refundDate":"2026-01-02"}"#,
        r#""returned":true"#,
        r#""isReturned":"yes""#,
        r#""returnedAmount":25.5"#,
        r#""subStatus":"FUNDS_RETURNED""#,
        r#""reimbursed":true"#,
        r#""reimbursement":{"amount":25.5}"#,
        r#""type":"REIMBURSEMENT""#,
    ];
    assert_eq!(wrong(&members, Outcome::Reversed), [""; 0]);
}

#[test]
fn ordinary_completed_payment_is_not_read_as_refunded() {
    let members = [
        r#""refundStatus":"NOT_REFUNDED""#,
        r#""refund_status":"not_requested""#,
        r#""refundStatus":"N/A""#,
        r#""refundStatus":"not_applicable""#,
        r#""refundStatus":"UNREFUNDED""#,
        r#""refundStatus":"no_refund""#,
        r#""disputeStatus":"NO_DISPUTE""#,
        r#""disputeStatus":"not_disputed""#,
        r#""chargebackStatus":"NOT_CHARGED_BACK""#,
        r#""type":"refund_none""#,
        r#""type":"non_refund""#,
        r#""refunded":"n/a""#,
        r#""refundAmount":"0.00 USD""#,
        r#""refundAmount":{"value":"0.00","currency":"USD"}"#,
        r#""refundedAmount":{"amount":0,"exponent":2}"#,
        r#""refundAmount":{"amount":0,"decimals":2,"currency":"USD"}"#,
        r#""refunds":{"object":"list","data":[],"has_more":false,"total_count":0,"url":"/v1/charges/ch_1/refunds"}"#,
        r#""refunds":{"data":[],"pagination":{"page":1,"limit":20,"total":0,"totalPages":0}}"#,
        r#""refund":{"refundable":true}"#,
        r#""refund":{"status":false,"refundable":true,"maxAmount":25.5}"#,
        r#""refund":{"status":false,"transactionId":"FP1","refund_date":null}"#,
        r#""refund":{"status":"NOT_REFUNDED","amount":0}"#,
        r#""refund":{"allowed":true,"until":"2026-12-31"}"#,
        r#""refund":{"status":false,"id":"R1"}"#,
        r#""chargeback":{"status":false,"protection":true}"#,
        r#""refundReason":"none""#,
        r#""avoidReason":"x""#,
        r#""resultCode":"CHARGEBACK_PROTECTED""#,
        r#""responseCode":"AVOIDED""#,
        r#""type":"UNDISPUTED""#,
        r#""action":"refundable""#,
        r#""refundable":false"#,
        r#""refund_policy":"30 days""#,
        r#""chargebackProtection":true"#,
        r#""orderRef":"refund-1""#,
        r#""disputeUrl":"https://x.example""#,
        r#""metadata":{"refunded":true,"orderId":"refund-1","refundReason":"x"}"#,
        r#""disputable":true,"refundUntil":"2026-01-01","refundDeadline":"2026-01-01""#,
        r#""refundDate":"-0001-11-30T00:00:00.000000Z""#,
        r#""refundDate":"0001-01-01T00:00:00""#,
        r#""refundDate":"1970-01-01T00:00:00.000Z","chargebackDate":"1970-01-01 00:00:00""#,
        r#""refundDate":"Invalid Date""#,
        r#""refundDate":"undefined""#,
        r#""refundDate":"N/A""#,
        r#""refundDate":-62135596800"#,
        r#""refundDate":"0000-00-00""#,
        r#""refundDate":" ""#,
        r#""refund":" ""#,
        r#""refunded":"0 ""#,
        r#""refundReason":" ""#,
        r#""refundAmount":"0.00 ""#,
        r#""isRefundedFully":false,"refundCount":0"#,
        r#""flags":["NOT_REFUNDED","CHARGEBACK_RISK"]"#,
        r#""flags":{"refunded":false,"refundable":true,"disputed":"no"}"#,
        r#""flags":[],"labels":null"#,
        r#""featureFlags":["refunds"]"#,
        r#""history":[]"#,
        r#""history":["PENDING","REFUNDED","COMPLETED"]"#,
        r#""history":[{"status":"PENDING"},{"status":"COMPLETED","refunded":false}]"#,
        r#""transactions":[{"type":"sale"},{"type":"refund","status":"NOT_REFUNDED"},{"type":"sale"}]"#,
        r#""returned":false,"reimbursed":"no","returnedAmount":0"#,
        r#""reimbursable":true,"notReturned":true"#,
        r#""returnUrl":"https://shop.example","returnCode":"00","returned_url":"https://shop.example""#,
    ];
    assert_eq!(wrong(&members, Outcome::Completed), [""; 0]);
}

#[test]
fn completion_whose_reversals_are_all_undone_is_contradictory() {
    let members = [
        r#""refundDate":"2026-01-02","refundRemoveDate":"2026-01-03""#,
        r#""refund":{"status":"FAILED"}"#,
        r#""disputeStatus":"won""#,
    ];
    assert_eq!(wrong(&members, Outcome::Contradictory), [""; 0]);
    let read = fact(
        Provider::ApoloPay,
        r#"{"id":"p","status":"completed","disputeStatus":"won"}"#,
    );
    assert!(read.reversals[0].undone);
}

#[test]
fn cancelled_or_failed_message_keeps_its_outcome_beside_its_reversals() {
    for (status, outcome, members, count) in [
        ("CANCELLED", Outcome::Cancelled, r#""voided":true"#, 0),
        ("CANCELLED", Outcome::Cancelled, r#""type":"VOID""#, 0),
        ("CANCELLED", Outcome::Cancelled, r#""transactionType":"void""#, 0),
        ("CANCELLED", Outcome::Cancelled, r#""refunded":true"#, 1),
        ("COMPLETED", Outcome::Reversed, r#""type":"VOID""#, 1),
        ("FAILED", Outcome::Failed, r#""refund":{"status":"declined"}"#, 1),
        ("FAILED", Outcome::Failed, r#""refundStatus":"FAILED""#, 1),
        ("PENDING", Outcome::Pending, r#""refundDate":"2026-01-02""#, 1),
    ] {
        let read = fact(
            Provider::FinvyPay,
            &format!(r#"{{"paymentId":"p","status":"{status}",{members}}}"#),
        );
        assert_eq!(
            (read.outcome, read.reversals.len()),
            (outcome, count),
            "{status} {members}"
        );
    }
}

#[test]
fn other_refund_of_the_same_amount_is_another_fact() {
    let digest = |members: &str| {
        fact(
            Provider::ApoloPay,
            &format!(r#"{{"id":"p","status":"completed",{members}}}"#),
        )
        .digest()
    };
    for (one, other) in [
        (
            r#""refund":{"id":"R1","amount":5}"#,
            r#""refund":{"id":"R2","amount":5}"#,
        ),
        (
            r#""refundId":"R1","refundAmount":5"#,
            r#""refundId":"R2","refundAmount":5"#,
        ),
        (
            r#""refunds":[{"amount":5}]"#,
            r#""refunds":[{"amount":5},{"amount":5}]"#,
        ),
        (
            r#""refunds":[{"amount":5},{"amount":5}]"#,
            r#""refunds":[{"amount":5},{"amount":5},{"amount":15}]"#,
        ),
        (r#""chargebackId":"C1""#, r#""chargebackId":"C2""#),
    ] {
        assert_ne!(digest(one), digest(other), "{other}");
    }
}

/// A reversal with neither an id nor a time of its own is told from another one by the time of its message.
#[test]
fn message_with_another_time_is_about_another_refund() {
    use Provider::{ApoloPay, FinvyPay};
    let is_one = |provider, one: &str, other: &str| {
        let [one, other] =
            [one, other].map(|members| fact(provider, &format!(r#"{{"paymentId":"p","id":"p",{members}}}"#)));
        let id = PaymentId::random();
        let money = Money::from_minor(2550, Currency::USD);
        let refunded = Payment::new(id, provider, Environment::Sandbox, money, NOW).apply(&one, false, NOW);
        let acknowledged = refunded.acknowledge(AttentionReason::Refunded, NOW);
        let raises_nothing = acknowledged.apply(&other, false, NOW).attention.is_empty();
        assert_eq!(raises_nothing, one.digest() == other.digest(), "{other:?}");
        raises_nothing
    };
    for (provider, refund, one, other, expected) in [
        (
            ApoloPay,
            r#""event":"payment.refunded""#,
            r#""timestamp":"2026-03-19T12:00:00Z""#,
            r#""timestamp":"2026-03-19T12:00:01Z""#,
            false,
        ),
        (
            ApoloPay,
            r#""status":"refunded","amount":5"#,
            r#""finalizedAt":"2026-03-19""#,
            r#""finalizedAt":"2026-03-20""#,
            false,
        ),
        (
            FinvyPay,
            r#""status":"SUCCESS","refundAmount":5"#,
            r#""completedAt":1767312000"#,
            r#""completedAt":1767312001"#,
            false,
        ),
        (
            FinvyPay,
            r#""status":"SUCCESS","refunded":true,"completedAt":"2026-03-19""#,
            r#""timestamp":"2026-03-20""#,
            r#""timestamp":"2026-03-21""#,
            false,
        ),
        // The same message again, and one report in two formats.
        (
            ApoloPay,
            r#""status":"refunded""#,
            r#""timestamp":"2026-03-19T12:00:00Z""#,
            r#""timestamp":"2026-03-19T12:00:00Z""#,
            true,
        ),
        (
            ApoloPay,
            r#""status":"refunded""#,
            r#""timestamp":"2026-03-19T12:00:00Z""#,
            r#""finalizedAt":"2026-03-19T13:00:00.000+01:00""#,
            true,
        ),
        // An id or a time of its own is enough.
        (
            ApoloPay,
            r#""refundId":"R1","status":"completed""#,
            r#""timestamp":"2026-03-19""#,
            r#""timestamp":"2026-03-20""#,
            true,
        ),
        (
            FinvyPay,
            r#""refundDate":"2026-03-18","status":"SUCCESS""#,
            r#""timestamp":"2026-03-19""#,
            r#""timestamp":"2026-03-20""#,
            true,
        ),
    ] {
        assert_eq!(
            is_one(provider, &format!("{refund},{one}"), &format!("{refund},{other}")),
            expected,
            "{refund} {other}"
        );
    }
}

#[test]
fn amount_in_won_undoes_nothing() {
    assert_reversals(&[(r#""refund":"50000 won""#, &["refund"])]);
}

proptest! {
    #[test]
    fn completion_beside_a_reversal_is_reversed(
        (provider, body) in select(&COMPLETED[..]),
        member in prop_oneof![
            (select(&NAMES[..]), select(&VALUES[..])).prop_map(|(name, value)| format!(r#""{name}":{value}"#)),
            select(&WORDS[..]).prop_map(str::to_owned),
        ],
        beside in select(vec!["", r#","error":"X""#, r#","errors":["X"]"#]),
    ) {
        prop_assert_eq!(fact(provider, &body.replace('@', "")).outcome, Outcome::Completed);
        let body = body.replace('@', &format!(",{member}{beside}"));
        let read = fact(provider, &body);
        let are_all_undone = read.reversals.iter().all(|reversal| reversal.undone);
        let expected = if are_all_undone { Outcome::Contradictory } else { Outcome::Reversed };
        prop_assert_eq!(read.outcome, expected, "{}", body);
        prop_assert!(!read.reversals.is_empty());

        // Neither is it a completion for a replay from quarantine.
        let redacted = readable(&redact(body.as_bytes(), None).text).unwrap();
        prop_assert!(is_conclusive(&redacted));
        let replayed = webhooks(provider).read_json(&redacted, NOW).unwrap().fact;
        prop_assert!(matches!(replayed.outcome, Outcome::Reversed | Outcome::Contradictory), "{}", body);
        prop_assert!(!replayed.reversals.is_empty());
        for (replayed, read) in replayed.reversals.iter().zip(&read.reversals) {
            prop_assert!(replayed.kind == read.kind && (read.undone || !replayed.undone));
        }
    }

    #[test]
    fn member_that_says_nothing_changes_nothing(
        (provider, body) in select(&COMPLETED[..]),
        name in select(&NAMES[..]),
        value in select(&NOTHING_VALUES[..]),
    ) {
        let with = body.replace('@', &format!(r#","{name}":{value}"#));
        prop_assert_eq!(fact(provider, &with), fact(provider, &body.replace('@', "")), "{}", with);
    }

    #[test]
    fn order_of_the_members_does_not_matter(
        first in prop::collection::vec((select(&NAMES[..]), select(&VALUES[..])), 0..6),
    ) {
        let mut members = Vec::new();
        let mut names = Vec::new();
        for (name, value) in first {
            if !names.contains(&name) {
                names.push(name);
                members.push(format!(r#""{name}":{value}"#));
            }
        }
        let forwards = reversals(&format!("{{{}}}", members.join(",")));
        members.reverse();
        prop_assert_eq!(forwards, reversals(&format!("{{{}}}", members.join(","))));
    }
}
