use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::domain::fact::{Fact, Outcome};
use crate::domain::provider::Provider;
use crate::domain::redaction::{is_conclusive, readable, redact};
use crate::providers::webhooks;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// The reversals in an object, each as its kind, `undone`, amount, currency and time, as far as it has them.
fn reversals(body: &str) -> Vec<String> {
    let json = Json::parse_liberal(body.as_bytes()).unwrap_or_else(|_| panic!("{body}"));
    let shown = |reversal: Reversal| {
        let parts = [
            Some(reversal.kind.name().to_owned()),
            reversal.undone.then(|| "undone".to_owned()),
            reversal.amount.map(|amount| amount.to_string()),
            reversal.currency,
            reversal.at.map(|at| at.to_string().replace("T00:00:00.000Z", "")),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    };
    let members = [json.as_object().unwrap()];
    read_reversals(&Members::of(members)).into_iter().map(shown).collect()
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
        (r#"[{"id":"R1"}]"#, ""),
        (r#"{"status":true}"#, ""),
        (r#"{"note":"x"}"#, ""),
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
        (r#""refundId":"R1""#, &["refund"]),
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
            r#""refunds":[{"amount":5,"currency":"USD"},{"amount":5,"currency":"USD"}]"#,
            &["refund USD"],
        ),
        (r#""refund":{"metadata":{"amount":7},"id":"R1"}"#, &["refund"]),
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
        let name = member_name(name).unwrap();
        assert!(
            ValueKind::of(&name).is_some() && reversal_of_member(&name).is_some(),
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
    r#"{"note":"x"}"#,
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
        prop_assert_eq!(read.outcome, Outcome::Reversed, "{}", body);
        prop_assert!(!read.reversals.is_empty() && read.outcome.implied_status().is_none());

        // Neither is it a completion for a replay from quarantine.
        let redacted = readable(&redact(body.as_bytes(), None).text).unwrap();
        prop_assert!(is_conclusive(&redacted));
        let replayed = webhooks(provider).read_json(&redacted, NOW).unwrap().fact;
        prop_assert_eq!(replayed.outcome, Outcome::Reversed, "{}", body);
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
