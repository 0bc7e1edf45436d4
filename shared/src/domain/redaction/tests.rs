use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::kind::{ALLOWED, MESSAGES};
use super::*;

fn content(body: &str) -> String {
    let redacted = redact(body.as_bytes(), Some("application/json"));
    assert_eq!((redacted.is_json, redacted.truncated), (true, false), "{body}");
    redacted.text
}

/// An object with one member.
fn object(name: &str, value: &str) -> String {
    format!("{{{}:{value}}}", quoted(name))
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

#[test]
fn documented_webhook_keeps_all_but_personal_values() {
    let a = r#"{"id":"a1b2c3d4-e5f6-7890-abcd-ef1234567890","status":"completed","amount":25.5,"network":"apolopay","asset":"USDT","wallet":null,"metadata":{"orderId":"ORD-9821"},"finalizedAt":"2026-03-19T12:00:00.000Z"}"#;
    let b = r#"{"event":"payment.completed","processId":"a1b2c3d4-e5f6-7890-abcd-ef1234567890","amount":25.50,"metadata":{"orderId":"ORD-9821"},"timestamp":"2026-03-19T12:00:00Z"}"#;
    let w1 = r#"{"success":true,"status":"SUCCESS","data":{"amount":99.99,"currency":"USD","order_id":"ORD-APM-78901","txn_id":"FP2603EXAMPLE00025","firstName":"Jane","lastName":"Smith","email":"customer@example.com","webhookUrl":"https://your-domain.com/webhook"}}"#;
    let w1_redacted = r#"{"success":true,"status":"SUCCESS","data":{"amount":99.99,"currency":"USD","order_id":"ORD-APM-78901","txn_id":"FP2603EXAMPLE00025","firstName":"string","lastName":"string","email":"string","webhookUrl":"string"}}"#;
    let w2 = r#"{"event":"payment.completed","paymentId":"pay_apm_2K9xR3mN5pQ7sT1w","orderId":"ORD-APM-78901","status":"COMPLETED","amount":99.99,"currency":"USD","paymentMethod":"apple_pay","completedAt":"2024-03-07T14:35:22.000Z","metadata":{"internal_ref":"subscription_123"}}"#;
    assert_eq!(content(a), a);
    assert_eq!(content(b), b);
    assert_eq!(content(w1), w1_redacted);
    assert_eq!(content(w2), w2.replace("subscription_123", "string"));

    let wrapped = |inner: &str| format!(r#"[{{"request":{inner}}}]"#);
    assert_eq!(content(&wrapped(w1)), wrapped(w1_redacted));
    assert_eq!(content(&object("payload", &quoted(w1))), object("payload", w1_redacted));
    assert_eq!(content(&quoted(w1)), w1_redacted);
    assert_eq!(content(&format!("\u{feff} {w1}\n")), w1_redacted);
}

#[test]
fn unforeseen_shape_keeps_what_a_later_version_needs() {
    let status_reply = r#"{"success":true,"data":{"transactionId":26030025,"orderId":1733000000123,"status":"SUCCESS","amount":"99.99","currency":"usd","paymentMethod":"google_pay","createdAt":1773921600,"completedAt":"2024-03-07 14:35:22","metadata":{"paymentFunctionsId":"67e55044-10b1-426f-9247-bb680e5fe0c8"}}}"#;
    let refund = r#"{"status":"SUCCESS","data":{"refund":{"status":true,"refund_date":"2024-03-07"},"chargeback":{"status":false,"chargeback_date":""}}}"#;
    let dates = r#"{"refundDate":"2024-03-07","refundRemoveDate":null,"chargebackDate":"2024-03-07T14:35:22+01:00","chargebackRemoveDate":"","suspiciousDate":false,"suspiciousRemoveDate":1709822122000}"#;
    let error = r#"{"success":false,"error":{"code":"INSUFFICIENT_FUNDS","message":"declined"},"statusCode":402}"#;
    let list = r#"{"transactions":[{"id":1,"type":"payment"},{"id":"2","amountInUsd":1e2,"convertedAmount":"1.234,50","convertedCurrency":"EUR"}],"pagination":{"page":1}}"#;
    assert_eq!(content(status_reply), status_reply);
    assert_eq!(content(refund), refund);
    assert_eq!(content(dates), dates);
    assert_eq!(content(error), error.replace("declined", "string"));
    assert_eq!(content(list), list.replace(r#""page":1"#, r#""page":"number""#));
    assert_eq!(
        content(r#"{"amount":{"value":"10.00","currency":"EUR"},"status":{"value":"10.00"}}"#),
        r#"{"amount":{"value":"10.00","currency":"EUR"},"status":{"value":"string"}}"#
    );
    assert_eq!(content("[5,\"x\",true,null]"), r#"["number","string","boolean",null]"#);
    assert_eq!(
        content(r#"{"orderId":[1,["A-2"],"a b"],"ids":[3]}"#),
        r#"{"orderId":[1,["A-2"],"string"],"ids":["number"]}"#
    );
}

#[test]
fn metadata_as_json_text_is_redacted_as_an_object() {
    let text = r#"{"orderId":"A-1","customerEmail":"jane@example.com","data":"{\"txn_id\":7,\"name\":\"Jane\"}"}"#;
    let redacted = r#"{"orderId":"A-1","customerEmail":"string","data":{"txn_id":7,"name":"string"}}"#;
    assert_eq!(
        content(&object("metadata", &quoted(text))),
        object("metadata", redacted)
    );
    assert_eq!(content(&object("note", &quoted(text))), object("note", "\"string\""));
    assert_eq!(content(&object("order", "\"123\"")), object("order", "\"123\""));
    assert_eq!(content(&object("data", "\"123\"")), object("data", "\"string\""));
}

#[test]
fn value_without_the_grammar_of_its_name_becomes_its_type() {
    let long = quoted(&"1".repeat(257));
    let [long_number, long_word, long_amount] =
        [("1", 257), ("a", 65), ("1", 65)].map(|(sign, length)| sign.repeat(length));
    let [long_word, long_amount_text] = [&long_word, &long_amount].map(|text| quoted(text));
    let long_time = quoted(&format!("2024-03-07T14:35:22.{}", "0".repeat(24)));
    for (name, value) in [
        ("id", r#""jane@example.com""#),
        ("id", r#""jane%40example.com""#),
        ("id", r#""Jane Smith""#),
        ("id", r#""Jane\u00a0Smith""#),
        ("id", r#""Smith,Jane""#),
        ("id", r#""name=Jane""#),
        ("id", r#""a\u0000b""#),
        ("id", r#""a\ud800b""#),
        ("id", r#""192.0.2.7""#),
        ("id", r#""2001:db8::7""#),
        ("id", r#""https://shop.example/jane""#),
        ("id", r#""+4915112345678""#),
        ("id", r#""{\"name\":1}""#),
        ("id", r#""==""#),
        ("id", &long),
        ("id", &long_number),
        ("status", &long_word),
        ("amount", &long_amount),
        ("amount", &long_amount_text),
        ("createdAt", &long_time),
        ("reference", r#""for Jane""#),
        ("amount", r#""25.50 USD""#),
        ("amount", r#""Jane""#),
        ("amount", r#""e5""#),
        ("amount", r#""1e""#),
        ("amount", r#""555-1234567""#),
        ("currency", r#""US Dollar""#),
        ("currency", r#""AVeryLongCurrency""#),
        ("currency", "1234567"),
        ("status", r#""Jane has paid""#),
        ("status", r#""555-123-4567""#),
        ("status", r#""1980-01-31""#),
        ("status", r#""192.0.2.71""#),
        ("status", r#""2001:db8::7""#),
        ("currency", r#""2001:db8::7""#),
        ("status", r#""payé""#),
        ("status", "15551234567"),
        ("status", "1.5"),
        ("event", r#""https://shop.example""#),
        ("refund", r#""for Jane""#),
        ("createdAt", r#""yesterday""#),
        ("createdAt", r#""2024-03-07 Jane""#),
        ("createdAt", r#""2024-03-07T14:35 Jane""#),
        ("createdAt", r#""2024-3-7""#),
        ("createdAt", r#""55512345""#),
    ] {
        let kind = if value.starts_with('"') {
            r#""string""#
        } else {
            r#""number""#
        };
        assert_eq!(content(&object(name, value)), object(name, kind), "{value}");
    }
}

#[test]
fn text_that_marks_a_test_message_still_does() {
    for text in ["Test .x", "a b.ping", &format!("test.{}", "x".repeat(70))] {
        assert_eq!(content(&object("type", &quoted(text))), object("type", "\"test\""));
        assert_eq!(content(&object("note", &quoted(text))), object("note", "\"string\""));
    }
    assert_eq!(
        content(&object("event", "\"webhook.TEST\"")),
        object("event", "\"webhook.TEST\"")
    );
    assert_eq!(content(&object("event", "\"a test\"")), object("event", "\"string\""));
}

#[test]
fn text_that_speaks_of_money_going_back_still_does() {
    for (text, kept) in [
        ("Refund for Jane", "refund"),
        ("to Jane: refund failed", "refund"),
        ("Charge back of Jane", "chargeback"),
        ("dispute or refund, by Jane", "chargeback_refund"),
    ] {
        for name in ["status", "event", "transaction_type"] {
            assert_eq!(content(&object(name, &quoted(text))), object(name, &quoted(kept)));
        }
        assert_eq!(content(&object("note", &quoted(text))), object("note", "\"string\""));
    }
    assert_eq!(content(&object("type", "\"REFUND\"")), object("type", "\"REFUND\""));
}

#[test]
fn value_that_says_whether_there_is_one_is_kept() {
    for name in ["id", "amount", "currency", "status", "refund", "createdAt"] {
        for value in ["null", "true", "false", r#""""#] {
            assert_eq!(content(&object(name, value)), object(name, value));
        }
    }
    assert_eq!(
        content(r#"{"a":null,"b":"","c":false}"#),
        r#"{"a":null,"b":"","c":"boolean"}"#
    );
}

#[test]
fn value_under_a_personal_or_unknown_name_becomes_its_type() {
    for name in [
        "name",
        "firstName",
        "phone",
        "phoneId",
        "phoneNumber",
        "nationalId",
        "customerId",
        "accountId",
        "userId",
        "merchantProfileId",
        "dateOfBirth",
        "birthDate",
        "ip",
        "wallet",
        "zip",
        "sessionId",
        "token",
        "hash",
        "description",
        "message",
        "reason",
        "refundReason",
        "order id",
        "-id",
        "Order.id",
        "value",
        "constructor",
    ] {
        let kept = if is_identifier(name) { name } else { "member1" };
        assert_eq!(content(&object(name, "\"15551234567\"")), object(kept, "\"string\""));
        assert_eq!(content(&object(name, "15551234567")), object(kept, "\"number\""));
    }
}

#[test]
fn object_about_a_person_keeps_no_value() {
    for name in [
        "customer",
        "customer_details",
        "billingAddress",
        "Buyers",
        "CARD",
        "bankAccount",
        "cardDetails",
        "accounts",
        "sessionData",
        "token",
        "api_key",
        "clientSecret",
        "user",
        "endUser",
        "name",
        "member",
        "my phone",
    ] {
        let body = r#"{"id":"cus_1","reference":7,"status":true,"amount":[{"value":1}],"data":"{\"id\":1}"}"#;
        let redacted =
            r#"{"id":"string","reference":"number","status":"boolean","amount":[{"value":"number"}],"data":"string"}"#;
        let kept = if is_identifier(name) { name } else { "member1" };
        assert_eq!(content(&object(name, body)), object(kept, redacted));
        assert_eq!(
            content(&object(name, &format!("[{body}]"))),
            object(kept, &format!("[{redacted}]"))
        );
    }
}

#[test]
fn state_beside_a_part_of_an_address_is_not_a_status() {
    assert_eq!(content(r#"{"state":"PAID"}"#), r#"{"state":"PAID"}"#);
    assert_eq!(
        content(r#"{"state":"Ohio","Post_Code":"43004","status":"PAID"}"#),
        r#"{"state":"string","Post_Code":"string","status":"PAID"}"#
    );
}

#[test]
fn name_that_is_no_identifier_is_replaced_by_a_unique_one() {
    let longest = "a".repeat(64);
    let body = format!(
        r#"{{"Jane Smith":1,"member1":2,"member3":3,"jane@example.com":4,"":5,"1":6,"{longest}a":7,"{longest}":8,"_-.":9}}"#
    );
    let redacted = format!(
        r#"{{"member2":"number","member1":"number","member3":"number","member4":"number","member5":"number","member6":"number","member7":"number","{longest}":"number","_-.":"number"}}"#
    );
    assert_eq!(content(&body), redacted);
}

#[test]
fn duplicate_member_is_kept_twice() {
    let body = r#"{"amount":1,"amount":2,"name":"a","name":"b"}"#;
    assert_eq!(
        content(body),
        r#"{"amount":1,"amount":2,"name":"string","name":"string"}"#
    );
}

#[test]
fn body_that_is_not_json_is_described() {
    for (content_type, kept) in [
        (None, None),
        (Some("text/xml; charset=utf-8"), Some("text/xml")),
        (Some("Application/JSON"), Some("application/json")),
        (Some("jane@example.com"), None),
        (Some("text/Jane Smith"), None),
        (Some("text/"), None),
    ] {
        let body = "<payment>Jane</payment>";
        let kept = kept.map_or_else(String::new, |kept| format!(r#","contentType":"{kept}""#));
        let redacted = redact(body.as_bytes(), content_type);
        let content = format!(r#"{{"sha256":"{}","length":23{kept}}}"#, sha256(body));
        assert_eq!((redacted.is_json, redacted.truncated), (false, false));
        assert_eq!(redacted.text, content);
        assert_eq!(redacted.digest(), sha256(&content));
    }
    let empty = r#"{"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","length":0}"#;
    assert_eq!(redact(b"", None).text, empty);
    assert!(!redact(b"\xff{}", None).is_json);
    let latin_1 = redact(b"{\"id\":\"a\",\"name\":\"J\xf6rg\",\"orderId\":\"\xf6\"}", None);
    assert_eq!(latin_1.text, r#"{"id":"a","name":"string","orderId":"string"}"#);
}

#[test]
fn form_keeps_the_fields_that_json_would_keep() {
    let body = "status=SUCCESS&success=1&data[amount]=99.99&data%5Border_id%5D=ORD-1&data[firstName]=Jane\
                &email=jane%40example.com&id=jane%40example.com&customer[id]=5&payload={\"id\":\"A\",\"name\":\"Jane\"}\
                &items[][id]=1&items[][id]=2&Jane+Smith=x&metadata[orderId]=&={\"id\":1}";
    let redacted = redact(
        body.as_bytes(),
        Some("application/x-www-form-urlencoded; charset=UTF-8"),
    );
    let fields = r#"{"status":"SUCCESS","success":"1","data.amount":"99.99","data.order_id":"ORD-1","data.firstName":"string","email":"string","id":"string","customer.id":"string","payload":{"id":"A","name":"string"},"items.id":"1","items.id":"2","member1":"string","metadata.orderId":"","member2":"string"}"#;
    let content = format!(
        r#"{{"sha256":"{}","length":{},"contentType":"application/x-www-form-urlencoded","fields":{fields}}}"#,
        sha256(body),
        body.len()
    );
    assert_eq!((redacted.is_json, redacted.truncated), (false, false));
    assert_eq!(redacted.text, content);
}

#[test]
fn long_array_is_shortened_before_outer_members() {
    let items = vec![r#"{"id":"A-1","name":"Jane"}"#; 5000].join(",");
    let body = format!(r#"{{"event":"paid","data":{{"items":[{items}],"orderId":"A"}},"amount":1}}"#);
    let redacted = redact(body.as_bytes(), None);
    let kept = redacted.text.matches("A-1").count();
    let items = vec![r#"{"id":"A-1","name":"string"}"#; kept].join(",");
    assert!(redacted.truncated);
    assert_eq!(kept, 512);
    assert_eq!(
        redacted.text,
        format!(r#"{{"event":"paid","data":{{"items":[{items}],"orderId":"A"}},"amount":1}}"#)
    );
}

#[test]
fn wide_objects_keep_their_first_members_and_more_of_the_outer_ones() {
    let member = |index: usize| format!(r#""m{index}":"x""#);
    let inner: Vec<String> = (0..5000).map(member).collect();
    let inner = inner.join(",");
    let body = format!(r#"{{"a":{{{inner}}},"b":{{{inner}}},{inner},"id":1}}"#);
    let redacted = redact(body.as_bytes(), None);
    let Json::Object(outer) = Json::parse(redacted.text.as_bytes()).unwrap() else {
        panic!("not an object")
    };
    let count = |object: &Object| object.iter().count();
    let inner = ["a", "b"].map(|name| count(outer.get(name).and_then(Json::as_object).unwrap()));
    assert!(redacted.truncated);
    assert_eq!((count(&outer), inner), (256, [128, 128]));
    assert!(redacted.text.ends_with(r#""m253":"string"}"#), "the first members");
}

/// The longest content within the last limits.
#[test]
fn longest_values_and_names_at_the_greatest_depth_fit() {
    let name = "n".repeat(64);
    let id = "\u{10400}".repeat(256);
    let deepest = format!(r#"{{"id":"{id}"}}"#);
    let open = vec![format!(r#"{{"{name}":"#); MAX_DEPTH - 1].concat();
    let one = format!("{open}{deepest}{}", "}".repeat(MAX_DEPTH - 1));
    assert_eq!(content(&one), one);

    let siblings = vec![format!(r#","id":"{id}""#); 20].concat();
    let many = format!("{open}{deepest}{}", format!("{siblings}}}").repeat(MAX_DEPTH - 1));
    let redacted = redact(many.as_bytes(), None);
    assert!(redacted.truncated && redacted.text.len() <= MAX_LENGTH);
    assert!(redacted.text.starts_with(&format!("{open}{deepest}}}")));
}

#[test]
fn nesting_beyond_the_limit_becomes_null() {
    let nested = |levels: usize, inner: &str| format!("{}{inner}{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(content(&nested(64, "1")), nested(64, "\"number\""));
    assert_eq!(content(&nested(65, "1")), nested(64, "null"));
    assert_eq!(content(&nested(100_000, "")), nested(64, "null"));

    let text = quoted(&nested(40, "{}"));
    assert_eq!(
        content(&format!("{{\"data\":{}}}", nested(40, &text))),
        format!("{{\"data\":{}}}", nested(63, "null"))
    );
}

#[test]
fn allowed_names_are_normalised_and_unique_and_about_no_person() {
    let names: Vec<&str> = ALLOWED.iter().flat_map(|(_, names)| names.split(' ')).collect();
    let unique: HashSet<&str> = names.iter().copied().collect();
    assert_eq!(names.len(), unique.len());
    for name in names.into_iter().chain(MESSAGES.split(' ')) {
        assert_eq!(kind::normalised(name), name);
        assert!(!kind::is_personal(name) && is_identifier(name), "{name:?}");
    }
}

#[test]
fn replay_takes_no_type_for_an_id_or_money_but_sees_that_there_is_an_error() {
    let body = r#"{"id":"Jane Smith","orderId":["a b",1],"amount":"25 USD","currency":"US Dollar","createdAt":"today","status":"has paid","error":"it failed","refund":"to Jane","name":"Jane","metadata":{"paymentFunctionsId":"of Jane"}}"#;
    let read = r#"{"id":true,"orderId":[true,1],"amount":true,"currency":true,"createdAt":true,"status":"string","error":"string","refund":"string","name":"string","metadata":{"paymentFunctionsId":true}}"#;
    assert_eq!(readable(&content(body)), Json::parse(read.as_bytes()));
    assert_eq!(readable(&content(r#"{"id":1,"id":2}"#)), Err(Malformed));
}

/// A name of a kind, written in one of the usual ways.
fn names_of(kinds: &'static [Kind]) -> impl Strategy<Value = String> {
    let names = ALLOWED.iter().filter(|(kind, _)| kinds.contains(kind));
    let names: Vec<&str> = names.flat_map(|(_, names)| names.split(' ')).collect();
    (select(names), any::<(bool, u8)>()).prop_map(|(name, (is_upper, at))| {
        let (start, end) = name.split_at(usize::from(at) % name.len());
        let spelt = if start.is_empty() {
            name.to_owned()
        } else {
            format!("{start}_{end}")
        };
        if is_upper { spelt.to_uppercase() } else { spelt }
    })
}

fn any_listed_name() -> impl Strategy<Value = String> {
    names_of(&[
        Kind::Id,
        Kind::Amount,
        Kind::Currency,
        Kind::Word,
        Kind::Flag,
        Kind::Time,
    ])
}

/// Names whose values must not be kept.
fn unlisted_name() -> impl Strategy<Value = String> {
    let personal = select(vec![
        "name",
        "firstName",
        "last_name",
        "email",
        "customerEmail",
        "phone",
        "phoneNumber",
        "address",
        "ip",
        "message",
        "description",
        "note",
        "customer",
        "wallet",
        "returnUrl",
        "refundReason",
        "birthDate",
        "nationalId",
        "value",
    ]);
    let any_text = ".{0,20}".prop_filter("listed", |name| {
        let name = kind::normalised(name);
        Kind::of(&name).is_none() && !kind::can_be_message(&name)
    });
    prop_oneof![personal.prop_map(str::to_owned), any_text]
}

fn kept_value() -> impl Strategy<Value = (String, String)> {
    let number = "(0|-?[1-9][0-9]{0,40})(\\.[0-9]{1,10})?([eE][+-]?[0-9]{1,3})?";
    let integer = "[1-9][0-9]{0,80}";
    let as_text = |text: &'static str| text.prop_map(|text| quoted(&text));
    let id = prop_oneof![
        as_text("[A-Za-z0-9_-]{1,256}"),
        as_text("[A-Za-z]#?[A-Za-z0-9/:._-]{0,20}[A-Za-z0-9]"),
        integer
    ]
    .prop_filter("an URL", |id| !id.contains("//"));
    let word = prop_oneof![
        as_text("[A-Za-z][A-Za-z0-9_.:-]{0,63}"),
        "[1-9][0-9]{0,5}",
        Just("true".to_owned()),
        Just("false".to_owned())
    ];
    let time = prop_oneof![
        as_text(
            "20[0-9]{2}-[01][0-9]-[0-3][0-9]([T ][0-2][0-9]:[0-5][0-9](:[0-5][0-9](\\.[0-9]{1,9})?)?(Z|[+-]0[0-9]:?00)?)?"
        ),
        "1[0-9]{9,18}"
    ];
    prop_oneof![
        (names_of(&[Kind::Id]), id),
        (
            names_of(&[Kind::Amount, Kind::Flag]),
            prop_oneof![as_text(number), number]
        ),
        (names_of(&[Kind::Currency]), as_text("[A-Za-z]{3,5}(_[A-Z0-9]{1,9})?")),
        (names_of(&[Kind::Word, Kind::Flag]), word),
        (names_of(&[Kind::Time, Kind::Flag]), time),
    ]
}

/// JSON text with all sorts of names and values.
fn json() -> impl Strategy<Value = String> {
    let name = || {
        prop_oneof![
            any_listed_name(),
            select(MESSAGES.split(' ').collect::<Vec<_>>()).prop_map(str::to_owned),
            unlisted_name()
        ]
    };
    let member = move || {
        prop_oneof![
            (name(), ".{0,30}").prop_map(|(name, text)| (name, quoted(&text))),
            (unlisted_name(), "-?[1-9][0-9]{0,9}"),
            kept_value(),
        ]
    };
    let members = |members: Vec<(String, String)>| {
        let members: Vec<String> = members
            .iter()
            .map(|(name, value)| format!("{}:{value}", quoted(name)))
            .collect();
        format!("{{{}}}", members.join(","))
    };
    vec(member(), 0..6)
        .prop_map(members)
        .prop_recursive(6, 60, 5, move |inner| {
            let inner = prop_oneof![
                inner.clone(),
                inner.clone().prop_map(|text| quoted(&text)),
                vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(",")))
            ];
            vec(prop_oneof![(name(), inner), member()], 0..6).prop_map(members)
        })
}

fn texts(json: &Json, found: &mut Vec<String>) {
    match json {
        Json::String(text) => found.push(text.clone()),
        Json::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Json::Object(object) => object.iter().for_each(|(name, value)| {
            found.push(name.to_owned());
            texts(value, found);
        }),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// What holds for every body.
fn check(body: &[u8], content_type: Option<&str>) {
    let redacted = redact(body, content_type);
    let again = redact(redacted.text.as_bytes(), None);
    let parsed = Json::parse_any(redacted.text.as_bytes()).unwrap();
    assert!(redacted.text.len() <= MAX_LENGTH);
    assert!(parsed.depth() <= MAX_DEPTH);
    assert_eq!(redacted.is_json, Json::parse_any(body).is_ok());
    if redacted.is_json {
        assert_eq!(
            (&again.text, again.truncated),
            (&redacted.text, false),
            "redacted twice"
        );
        if Json::parse_liberal(body).is_ok() {
            assert_eq!(Json::parse_liberal(redacted.text.as_bytes()), Ok(parsed.clone()));
        }
    }
    let mut found = Vec::new();
    texts(&parsed, &mut found);
    for text in found {
        let is_time = || Kind::Time.allows(&Json::String(text.clone()));
        assert!(
            !text.contains('@') && (!text.contains(char::is_whitespace) || is_time()),
            "{text:?}"
        );
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}

proptest! {
    #[test]
    fn value_of_its_kind_is_kept_to_the_letter((name, value) in kept_value()) {
        let body = object(&name, &value);
        prop_assert_eq!(content(&body), body);
    }

    /// What is under a name that is not listed changes nothing in the content, if it says anything.
    #[test]
    fn text_under_an_unlisted_name_does_not_survive(name in unlisted_name(), text in ".{0,60}", around in json()) {
        prop_assume!(!["string", "number", "boolean"].contains(&text.as_str()) && !says_nothing(&text));
        let body = |text: &str| format!(r#"[{},{around}]"#, object(&name, &format!("[{0},[{0}]]", quoted(text))));
        prop_assert_eq!(redact(body(&text).as_bytes(), None), redact(body("x").as_bytes(), None));
        let body = |text: &str| object("data", &quoted(&body(text)));
        prop_assert_eq!(redact(body(&text).as_bytes(), None), redact(body("x").as_bytes(), None));
    }

    /// What is inside an object about a person changes nothing in the content.
    #[test]
    fn value_inside_an_object_about_a_person_does_not_survive((name, value) in kept_value(), outer in "[a-z]{0,5}(customer|Billing|PHONE)[a-z]{0,5}") {
        let body = |value: &str| object(&outer, &format!("[{}]", object(&name, value)));
        let other = match value.chars().next().unwrap() {
            '"' => "\"x\"",
            't' | 'f' => "true",
            _ => "1",
        };
        prop_assume!(!["\"string\"", "\"number\"", "\"boolean\""].contains(&value.as_str()));
        prop_assert_eq!(content(&body(&value)), content(&body(other)));
    }

    #[test]
    fn text_with_a_blank_or_an_at_sign_does_not_survive(name in any_listed_name(), text in "[a-z]\\PC{0,20}[ @]\\PC{0,20}") {
        prop_assert_eq!(content(&object(&name, &quoted(&text))), object(&name, "\"string\""));
    }

    #[test]
    fn every_json_is_redacted_once_and_for_all(body in json()) {
        check(body.as_bytes(), None);
    }

    #[test]
    fn any_bytes_are_redacted(body in vec(any::<u8>(), 0..200), content_type in "application/[a-z-]{0,10}") {
        check(&body, Some(&content_type));
        check(&body, Some("application/x-www-form-urlencoded"));
    }

    #[test]
    fn any_form_is_redacted(name in any_listed_name(), body in "([a-z_\\[\\]%+&=@ ]|id=|%20|%40){0,60}") {
        check(format!("{name}={body}").as_bytes(), Some("application/x-www-form-urlencoded"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_long_json_fits(items in vec(json(), 0..60), name in any_listed_name()) {
        let items = items.join(",");
        check(object(&name, &format!("[{items}]")).as_bytes(), None);
    }
}
