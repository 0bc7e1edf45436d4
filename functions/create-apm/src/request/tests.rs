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
    ApmRequest::read(RequestBody::parse(text.as_bytes()).unwrap(), &origins, quotes_required)
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
    let payment = request.intent(PaymentId::random(), Environment::Production, Timestamp::from_millis(0));
    assert_eq!((payment.money.minor(), payment.metadata), (9999, None));
    assert_eq!(payment.environment, Environment::Production);
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
        (replaced("currency", "\"HRK\""), "/currency"),
        (replaced("currency", "\"ANG\""), "/currency"),
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

fn details(text: &str) -> Vec<String> {
    let problem = read(text).unwrap_err();
    problem.errors().iter().map(|error| error.detail.to_string()).collect()
}

#[test]
fn empty_optional_text_counts_as_left_out() {
    let plain = read(DOCUMENTED).unwrap();
    for name in ["cancelUrl", "description", "phoneNumber", "quote"] {
        for quotes_required in [false, true] {
            let blank = read_as(&with(&format!(r#""{name}":"""#)), quotes_required).unwrap();
            let details = &blank.details;
            assert!(details.cancel_url.is_none() && details.description.is_none(), "{name}");
            assert!(details.phone_number.is_none() && blank.quote.is_none(), "{name}");
            assert_eq!(blank.fingerprint(), plain.fingerprint(), "{name}");
        }
        assert_eq!(pointers(&with(&format!(r#""{name}":null"#))), [format!("/{name}")]);
    }
    for name in [
        "orderId",
        "currency",
        "paymentMethod",
        "firstName",
        "lastName",
        "email",
        "returnUrl",
        "merchantProfileId",
        "metadata",
        "webhookUrl",
        "unknown",
    ] {
        assert_eq!(pointers(&replaced(name, "\"\"")), [format!("/{name}")]);
    }
}

#[test]
fn outer_blanks_are_cut_off_an_email_and_refused_in_names() {
    let plain = read(DOCUMENTED).unwrap();
    let blanks = replaced("email", "\" \u{a0}customer@example.com \"");
    let trimmed = read(&blanks).unwrap();
    assert_eq!(trimmed.details.email.expose(), "customer@example.com");
    assert_eq!(trimmed.fingerprint(), plain.fingerprint());
    let longest = format!("{}@example.com", "x".repeat(254 - "@example.com".len()));
    assert!(read(&replaced("email", &format!("\"  {longest}\""))).is_ok());
    for wrong in [" ", "customer @example.com", "\\tcustomer@example.com"] {
        assert_eq!(
            pointers(&replaced("email", &format!("\"{wrong}\""))),
            ["/email"],
            "{wrong}"
        );
    }
    for name in ["orderId", "firstName", "lastName"] {
        for wrong in [" ", " x", "x ", "\u{3000}x", "x\u{a0}"] {
            let text = replaced(name, &format!("\"{wrong}\""));
            assert_eq!(pointers(&text), [format!("/{name}")], "{wrong:?}");
            assert_eq!(details(&text), ["must not begin or end with a blank"], "{wrong:?}");
        }
        assert!(read(&replaced(name, "\"a b\"")).is_ok());
    }
}

#[test]
fn number_beyond_a_double_is_reported_where_it_is() {
    let wrong = with(r#""metadata":{"a":1e400,"b":[0,{"c/d":-1e400}],"e":1.8e308,"f":1.7e308,"g":1e-400,"h":"1e400"}"#);
    assert_eq!(pointers(&wrong), ["/metadata/a", "/metadata/b/1/c~1d", "/metadata/e"]);
    assert_eq!(pointers(&DOCUMENTED.replace("99.99", "1e400")), ["/amount"]);
    assert_eq!(pointers(&with(r#""merchantProfileId":1e400"#)), ["/merchantProfileId"]);
}

#[test]
fn lone_surrogate_is_reported_where_it_is() {
    for name in [
        "orderId",
        "paymentMethod",
        "firstName",
        "lastName",
        "description",
        "phoneNumber",
        "unknown",
    ] {
        let text = replaced(name, "\"SURROGATE\"").replace("SURROGATE", r"a\ud800");
        assert_eq!(pointers(&text), [format!("/{name}")]);
        assert_eq!(details(&text), ["must not have a lone surrogate"]);
    }
    let metadata = with(r#""metadata":{"\udc00":1,"a":["\ud83d\ude00","\ud83d"]}"#);
    assert_eq!(pointers(&metadata), ["/metadata/\u{fffd}", "/metadata/a/1"]);
    assert_eq!(pointers(r#""\ud800""#), [""]);
}

#[test]
fn many_wrong_fields_make_a_small_response() {
    let members = |count: usize| {
        (0..count)
            .map(|index| format!(r#""{index:04}":1"#))
            .collect::<Vec<_>>()
            .join(",")
    };
    let size = |problem: &Problem| {
        let response = problem.to_response();
        let body: &[u8] = response.body();
        body.len()
    };
    let problem = read(&with(&members(100))).unwrap_err();
    assert_eq!(problem.errors().len(), 100);
    assert!(!String::from_utf8_lossy(problem.to_response().body()).contains("More than 100"));

    let long = "x".repeat(9_000);
    let surrogates = vec![r#""\ud800""#; 3_000].join(",");
    let ranges = vec!["1e400"; 3_000].join(",");
    for wrong in [
        members(5_000),
        format!(r#""{}":1"#, "~".repeat(50_000)),
        format!(r#""metadata":{{"{long}":[{surrogates}]}}"#),
        format!(r#""metadata":{{"{long}":[{ranges}]}}"#),
        format!(r#""metadata":{{"a":[{surrogates}]}}"#),
        format!(r#""metadata":{{"a":[{ranges}]}}"#),
        format!(r#""metadata":{{"{}":[{ranges}]}}"#, r"\u0001".repeat(30)),
    ] {
        let problem = read(&with(&wrong)).unwrap_err();
        assert!(problem.errors().len() <= 100);
        assert!(size(&problem) < 40_000, "{}", size(&problem));
        let is_cut = problem.errors().len() == 100;
        let text = String::from_utf8_lossy(problem.to_response().body()).into_owned();
        assert_eq!(text.contains("More than 100 fields are wrong"), is_cut, "{text}");
    }
}

#[test]
fn value_with_a_long_path_is_reported_at_the_enclosing_value() {
    let long = "x".repeat(300);
    let text = with(&format!(
        r#""{long}":1,"metadata":{{"a":{{"{long}":[1e400,"\ud800"]}}}}"#
    ));
    assert_eq!(pointers(&text), ["/metadata/a", "/metadata/a", ""]);
    assert_eq!(
        details(&text),
        [
            "contains a value whose path is too long to show, which must not have a lone surrogate",
            "contains a value whose path is too long to show, which must be a number in the range of a double",
            "contains a value whose path is too long to show, which is not a field of this request",
        ]
    );
}

#[test]
fn quote_is_a_field_only_if_required_and_not_in_the_fingerprint() {
    assert_eq!(pointers(&with(r#""quote":"x""#)), ["/quote"]);
    assert_eq!(
        details(&with(r#""quote":"x""#)),
        ["must be left out, because quotes are not configured"]
    );
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
