//! openapi.yaml matches the code, and it describes every response of the running functions.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use payment_functions::api::problem::Code;
use payment_functions::domain::money::Currency;
use payment_functions::domain::provider::Provider;
use payment_functions::domain::status::Status;
use reqwest::Method;
use tokio::process::Command;

use crate::support::{MACHINE, Value, World, json, request, send, world};

const FILE: &str = include_str!("../../openapi.yaml");
const TEMPLATE: &str = include_str!("../../template.yaml");

/// Responses that the generated requests must produce: all that a caller can cause alone.
const REQUIRED_RESPONSES: [&str; 18] = [
    "POST /preorders 201",
    "POST /preorders 400",
    "POST /preorders 415",
    "POST /preorders 422",
    "POST /apm-payments 201",
    "POST /apm-payments 400",
    "POST /apm-payments 415",
    "POST /apm-payments 422",
    "GET /payments/{id} 200 pending",
    "GET /payments/{id} 200 completed",
    "GET /payments/{id} 404",
    "POST /webhooks/apolopay 200",
    "GET /webhooks/apolopay 405",
    "DELETE /webhooks/apolopay 405",
    "POST /webhooks/finvypay 200",
    "PUT /webhooks/finvypay 405",
    "PATCH /webhooks/finvypay 405",
    "TRACE /webhooks/finvypay 405",
];

/// The next code; a new code does not compile without a place here.
fn after(code: Code) -> Option<Code> {
    match code {
        Code::MalformedJson => Some(Code::IdempotencyKeyInvalid),
        Code::IdempotencyKeyInvalid => Some(Code::SignatureInvalid),
        Code::SignatureInvalid => Some(Code::NotFound),
        Code::NotFound => Some(Code::MethodNotAllowed),
        Code::MethodNotAllowed => Some(Code::IdempotencyInProgress),
        Code::IdempotencyInProgress => Some(Code::PayloadTooLarge),
        Code::PayloadTooLarge => Some(Code::UnsupportedMediaType),
        Code::UnsupportedMediaType => Some(Code::IdempotencyKeyReused),
        Code::IdempotencyKeyReused => Some(Code::ValidationFailed),
        Code::ValidationFailed => Some(Code::QuoteInvalid),
        Code::QuoteInvalid => Some(Code::QuoteMismatch),
        Code::QuoteMismatch => Some(Code::ProviderRejected),
        Code::ProviderRejected => Some(Code::ProviderError),
        Code::ProviderError => Some(Code::Unavailable),
        Code::Unavailable => Some(Code::ProviderTimeout),
        Code::ProviderTimeout => None,
    }
}

fn codes() -> impl Iterator<Item = Code> {
    std::iter::successors(Some(Code::MalformedJson), |code| after(*code))
}

fn spec() -> Value {
    yaml_serde::from_str(FILE).unwrap()
}

/// Resolves a `$ref`.
fn resolve<'a>(spec: &'a Value, value: &'a Value) -> &'a Value {
    let reference = value["$ref"].as_str();
    reference.map_or(value, |reference| {
        spec.pointer(&reference[1..]).expect("what a $ref names")
    })
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn strings(value: &Value) -> BTreeSet<String> {
    let values = value.as_array().expect("an array").iter();
    values
        .map(|value| value.as_str().expect("a string").to_owned())
        .collect()
}

/// The schemas of the problems that a response may have.
fn problems<'a>(spec: &'a Value, response: &'a Value) -> Vec<&'a Value> {
    let schema = &response["content"]["application/problem+json"]["schema"];
    let all = schema["oneOf"]
        .as_array()
        .map_or(vec![schema], |all| all.iter().collect());
    all.into_iter()
        .filter(|schema| !schema.is_null())
        .map(|schema| &resolve(spec, schema)["properties"])
        .collect()
}

#[test]
fn problem_codes_match_the_code() {
    let spec = spec();
    let described: Vec<&Value> = object(&spec["components"]["schemas"])
        .map(|(_, schema)| &schema["properties"])
        .filter(|properties| !properties["code"]["const"].is_null())
        .collect();
    for code in codes() {
        let name = serde_json::to_value(code).unwrap();
        let urn = name.as_str().unwrap().to_lowercase().replace('_', "-");
        let expected = json!({
            "type": format!("urn:payment-functions:problem:{urn}"), "status": code.status().as_u16(), "code": name,
        });
        let is_it = |properties: &&&Value| properties["code"]["const"] == name;
        let properties = described
            .iter()
            .find(is_it)
            .unwrap_or_else(|| panic!("{name} is not described"));
        for member in ["type", "status", "code"] {
            assert_eq!(properties[member]["const"], expected[member], "{name}");
        }
    }
    assert_eq!(described.len(), codes().count(), "a described code does not exist");
}

#[test]
fn every_problem_has_its_status_and_an_example() {
    let spec = spec();
    let mut documented = BTreeSet::new();
    for (_, path) in object(&spec["paths"]) {
        let operations = object(path).filter(|(method, _)| ["get", "post"].contains(&method.as_str()));
        for (status, response) in operations.flat_map(|(_, operation)| object(&operation["responses"])) {
            let response = resolve(&spec, response);
            let mut here = BTreeSet::new();
            for problem in problems(&spec, response) {
                assert_eq!(problem["status"]["const"].to_string(), *status, "{problem}");
                here.insert(problem["code"]["const"].as_str().unwrap().to_owned());
            }
            let examples = &response["content"]["application/problem+json"]["examples"];
            let shown = object(examples).map(|(name, example)| {
                assert_eq!(example["value"]["code"], **name);
                name.clone()
            });
            assert_eq!(shown.collect::<BTreeSet<_>>(), here, "the examples of {status}");
            documented.extend(here);
        }
    }
    let all = codes().map(|code| serde_json::to_value(code).unwrap().as_str().unwrap().to_owned());
    assert_eq!(documented, all.collect(), "a code has no response");
}

#[test]
fn enum_values_match_the_code() {
    let schemas = &spec()["components"]["schemas"];
    let ladder = Status::ALL.map(|status| status.name());
    assert_eq!(schemas["Status"]["enum"], json!(ladder));

    let letters = || b'A'..=b'Z';
    let words = letters().flat_map(|a| letters().flat_map(move |b| letters().map(move |c| [a, b, c])));
    let currencies: Vec<Currency> = words
        .filter_map(|word| std::str::from_utf8(&word).unwrap().parse().ok())
        .collect();
    let named = |currencies: &[&Currency]| currencies.iter().map(|currency| currency.code().to_owned()).collect();
    let all: BTreeSet<String> = named(&currencies.iter().collect::<Vec<_>>());
    assert_eq!(strings(&schemas["Currency"]["enum"]), all);
    let whole: Vec<&Currency> = currencies.iter().filter(|currency| currency.decimals() == 0).collect();
    assert_eq!(strings(&schemas["CurrencyWithoutDecimals"]["enum"]), named(&whole));
    // At most two decimals, even for currencies with three. The schema cannot tell one from two.
    assert!(currencies.iter().all(|currency| currency.decimals() != 1));
}

#[test]
fn routes_match_the_template() {
    let spec = spec();
    let is_method =
        |method: &str| ["get", "put", "post", "delete", "options", "head", "patch", "trace"].contains(&method);
    let described = |path: &str, item: &Value| -> Vec<String> {
        let methods = object(item).filter(|(method, _)| is_method(method));
        methods
            .map(|(method, _)| format!("{} {path}", method.to_uppercase()))
            .collect()
    };
    let routes = object(&spec["paths"]).flat_map(|(path, item)| described(path, item));
    let deployed = TEMPLATE
        .lines()
        .filter_map(|line| line.trim().strip_prefix("RouteKey: "));
    let webhooks = Provider::ALL.map(|provider| format!("POST /webhooks/{provider}"));
    assert_eq!(
        routes.collect::<BTreeSet<_>>(),
        deployed.map(str::to_owned).chain(webhooks).collect(),
    );
    for provider in Provider::ALL {
        let options = &spec["paths"][format!("/webhooks/{provider}")]["post"]["security"];
        let schemes = options.as_array().expect("an array").iter().flat_map(object);
        let headers = schemes.map(|(name, _)| spec["components"]["securitySchemes"][name]["name"].as_str());
        let own = payment_functions::providers::webhooks(provider)
            .signature_headers
            .iter()
            .copied()
            .map(Some);
        assert!(headers.eq(own), "the headers that {provider} signs in");
    }
    // The function URL has another address than the API.
    for (path, item) in object(&spec["paths"]) {
        assert_eq!(item["servers"].is_array(), path.starts_with("/webhooks/"), "{path}");
    }
}

/// Uses its own world, because it invents orders and webhooks of other tests.
#[tokio::test(flavor = "multi_thread")]
async fn every_response_matches_the_description() {
    let _busy = MACHINE.read().await;
    let world = World::start().await.unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut schemathesis = Command::new(root.join(".venv/bin/schemathesis"));
    schemathesis
        .args([
            "--no-color",
            "--config-file",
            "tests/openapi/schemathesis.toml",
            "run",
            "openapi.yaml",
        ])
        .args(["--url", world.functions_url()])
        .current_dir(root)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if let Ok(examples) = std::env::var("OPENAPI_EXAMPLES") {
        schemathesis.args(["--max-examples", &examples]);
    }
    if let Ok(seed) = std::env::var("OPENAPI_SEED") {
        schemathesis.args(["--seed", &seed]);
    }
    let run = schemathesis.output().await.unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    println!("{said}{}", String::from_utf8_lossy(&run.stderr));
    assert!(
        run.status.success(),
        "openapi.yaml and the functions differ, as shown above"
    );
    for response in REQUIRED_RESPONSES {
        let prefix = format!("{response} (");
        assert!(
            said.lines().any(|line| line.starts_with(&prefix)),
            "no request led to {response}"
        );
    }
}

#[tokio::test]
async fn rendered_page_loads_nothing_from_elsewhere() {
    let base = world().await.sandbox_url();
    let get = |path: &str| send(request(Method::GET, &format!("{base}{path}")));
    let page = get("/openapi").await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    assert!(
        page.header("content-security-policy")
            .is_some_and(|policy| policy.starts_with("default-src 'none'"))
    );
    let parts: Vec<&str> = ["src=\"", "rel=\"stylesheet\" href=\""]
        .into_iter()
        .flat_map(|before| page.text.split(before).skip(1))
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    assert_eq!(parts.len(), 3, "{parts:?}");
    for part in parts {
        assert!(part.starts_with("/openapi/"), "{part} comes from elsewhere");
        let response = get(part).await;
        let kind = response.header("content-type").unwrap_or_default();
        assert!(
            response.status == 200 && kind.starts_with("text/"),
            "{part}: {} {kind}",
            response.status
        );
    }
    assert_eq!(get("/openapi.yaml").await.text, FILE);
    assert_eq!(get("/openapi/openapi.yaml").await.status, 404);
}
