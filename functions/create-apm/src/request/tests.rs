use super::*;
use payment_functions::platform::config::Variables;

const DOCUMENTED: &str = r#"{"orderId":"ORD-APM-78901","amount":99.99,"currency":"USD","paymentMethod":"apple_pay",
    "firstName":"Jane","lastName":"Smith","email":"customer@example.com","returnUrl":"https://shop.example/thanks"}"#;

fn read(text: &str) -> Result<ApmRequest, Problem> {
    read_as(text, false)
}

fn read_as(text: &str, quotes_required: bool) -> Result<ApmRequest, Problem> {
    let lookup = |_: &str| Some("https://shop.example".to_owned());
    let origins = ReturnOrigins::from_environment(&Variables::from(&lookup)).unwrap();
    ApmRequest::read(&Json::parse(text.as_bytes()).unwrap(), &origins, quotes_required)
}

fn with(member: &str) -> String {
    DOCUMENTED.replacen('{', &format!("{{{member},"), 1)
}

fn replaced(name: &str, value: &str) -> String {
    let mut body: serde_json::Value = serde_json::from_str(DOCUMENTED).unwrap();
    body[name] = serde_json::from_str(value).unwrap();
    body.to_string()
}

fn pointers(text: &str) -> Vec<String> {
    let problem = read(text).unwrap_err();
    problem.errors().iter().map(|error| error.pointer.clone()).collect()
}

#[test]
fn documented_request_is_read() {
    let request = read(DOCUMENTED).unwrap();
    let payment = request.intent(PaymentId::random(), Timestamp::from_millis(0));
    assert_eq!((payment.money.minor(), payment.metadata), (9999, None));
    assert!(!format!("{request:?}").contains("Jane") && !format!("{request:?}").contains("customer@"));
}

#[test]
fn missing_fields_are_reported_at_once() {
    assert_eq!(
        pointers("{}"),
        [
            "/orderId",
            "/currency",
            "/amount",
            "/paymentMethod",
            "/firstName",
            "/lastName",
            "/email",
            "/returnUrl"
        ],
    );
}

#[test]
fn invalid_field_is_reported() {
    for (text, pointer) in [
        (with(r#""webhookUrl":"https://shop.example/hook""#), "/webhookUrl"),
        (with(r#""environment":"production""#), "/environment"),
        (with(r#""cancelUrl":"https://evil.example/""#), "/cancelUrl"),
        (with(r#""cancelUrl":null"#), "/cancelUrl"),
        (with(r#""merchantProfileId":"7""#), "/merchantProfileId"),
        (with(r#""merchantProfileId":7.5"#), "/merchantProfileId"),
        (with(r#""merchantProfileId":-7"#), "/merchantProfileId"),
        (
            with(r#""metadata":{"paymentFunctionsId":"x"}"#),
            "/metadata/paymentFunctionsId",
        ),
        (with(r#""phoneNumber":5551234"#), "/phoneNumber"),
        (replaced("amount", "\"99.99\""), "/amount"),
        (replaced("amount", "99.999"), "/amount"),
        (replaced("currency", "\"usd\""), "/currency"),
        (replaced("currency", "\"XXX\""), "/currency"),
        (replaced("firstName", "\"\""), "/firstName"),
        (replaced("lastName", &format!("\"{}\"", "x".repeat(101))), "/lastName"),
        (replaced("email", "\"nobody\""), "/email"),
        (replaced("orderId", "\"a\\nb\""), "/orderId"),
        (replaced("returnUrl", "\"http://shop.example/\""), "/returnUrl"),
    ] {
        assert_eq!(pointers(&text), [pointer], "{text}");
    }
    assert!(
        read(&with(
            r#""merchantProfileId":7,"description":"Shoes","phoneNumber":"+1 555 1234","metadata":{"a":null}"#
        ))
        .is_ok()
    );
}

#[test]
fn quote_is_a_field_only_if_required_and_not_in_the_fingerprint() {
    assert_eq!(pointers(&with(r#""quote":"x""#)), ["/quote"]);
    for wrong in ["null", "7", "{}", "[\"x\"]"] {
        let problem = read_as(&with(&format!(r#""quote":{wrong}"#)), true).unwrap_err();
        assert_eq!(problem.errors()[0].pointer, "/quote", "{wrong}");
    }
    let without = read_as(DOCUMENTED, true).unwrap();
    assert!(without.quote.is_none(), "a missing quote is reported later");
    let quoted = read_as(&with(r#""quote":"eyJ""#), true).unwrap();
    assert!(quoted.quote.is_some() && !format!("{quoted:?}").contains("eyJ"));
    assert_eq!(quoted.fingerprint(), without.fingerprint());
    assert_eq!(quoted.fingerprint(), read(DOCUMENTED).unwrap().fingerprint());
}

#[test]
fn amount_with_more_decimals_than_its_currency_is_refused() {
    let yen = replaced("currency", "\"JPY\"");
    assert_eq!(pointers(&yen), ["/amount"]);
    assert_eq!(read(&yen.replace("99.99", "99.0")).unwrap().money.minor(), 99);
    assert_eq!(read(&replaced("currency", "\"BHD\"")).unwrap().money.minor(), 99_990);
}

#[test]
fn equivalent_requests_have_equal_fingerprints() {
    let print = |text: &str| read(text).unwrap().fingerprint();
    assert_eq!(
        print(DOCUMENTED),
        print(&DOCUMENTED.replace("99.99", "9999e-2").replace(' ', ""))
    );
    assert_eq!(print(DOCUMENTED), print(&with(r#""metadata":{}"#)));
    assert_ne!(print(DOCUMENTED), print(&with(r#""metadata":{"a":1}"#)));
    assert_ne!(print(DOCUMENTED), print(&DOCUMENTED.replace("Jane", "June")));
}
