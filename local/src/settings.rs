//! The functions, and their local environment variables.

use std::collections::BTreeMap;
use std::time::Duration;

/// Environment variables.
pub type Variables = BTreeMap<String, String>;

/// A change of an environment: a value sets a variable, `None` removes it.
pub type Change<'a> = (&'a str, Option<&'a str>);

/// A function of the project.
#[derive(Debug)]
pub struct Function {
    /// The name, also of its binary and its folder.
    pub name: &'static str,
    /// How many instances the tests run. Several make races show.
    pub instances: usize,
    /// The route of API Gateway in template.yaml, if it has one.
    pub route: Option<&'static str>,
    /// The time limit of an invocation, as in template.yaml.
    pub time_limit: Duration,
    /// The variables that it needs: those of template.yaml, and the base URL of a provider that it calls.
    pub variables: &'static [&'static str],
}

impl Function {
    /// Whether it handles HTTP requests, rather than events.
    pub(super) fn handles_http(&self) -> bool {
        self.route.is_some() || self.name == "webhook-handler"
    }
}

/// All functions.
pub const FUNCTIONS: [Function; 6] = [
    Function {
        name: "create-preorder",
        instances: 10,
        route: Some("POST /preorders"),
        time_limit: Duration::from_secs(25),
        variables: &["PAYMENTS_TABLE", "APOLOPAY_SECRET_ID", "APOLOPAY_BASE_URL"],
    },
    Function {
        name: "create-apm",
        instances: 10,
        route: Some("POST /apm-payments"),
        time_limit: Duration::from_secs(25),
        variables: &[
            "PAYMENTS_TABLE",
            "FINVYPAY_SECRET_ID",
            "FINVYPAY_BASE_URL",
            "FINVYPAY_ENVIRONMENT",
            "WEBHOOK_BASE_URL",
            "ALLOWED_RETURN_ORIGINS",
        ],
    },
    Function {
        name: "webhook-handler",
        instances: 5,
        route: None,
        time_limit: Duration::from_secs(25),
        variables: &[
            "PAYMENTS_TABLE",
            "APOLOPAY_SECRET_ID",
            "FINVYPAY_SECRET_ID",
            "FINVYPAY_ENVIRONMENT",
        ],
    },
    Function {
        name: "get-payment",
        instances: 2,
        route: Some("GET /payments/{id}"),
        time_limit: Duration::from_secs(25),
        variables: &["PAYMENTS_TABLE"],
    },
    Function {
        name: "reconcile-payments",
        // A claim does not wait for the end of a run.
        instances: 2,
        route: None,
        time_limit: Duration::from_secs(120),
        variables: &[
            "PAYMENTS_TABLE",
            "FINVYPAY_SECRET_ID",
            "FINVYPAY_BASE_URL",
            "FINVYPAY_ENVIRONMENT",
        ],
    },
    Function {
        name: "publish-events",
        instances: 1,
        route: None,
        time_limit: Duration::from_secs(60),
        variables: &["PAYMENTS_TABLE", "EVENT_BUS", DEAD_LETTER_QUEUE_URL],
    },
];

/// Its local value is known once the queue exists.
pub(super) const DEAD_LETTER_QUEUE_URL: &str = "DEAD_LETTER_QUEUE_URL";

/// The local return origins: usual development servers of a frontend, and those in the providers' documentation.
pub const RETURN_ORIGINS: &str = "http://127.0.0.1:3000,http://localhost:3000,\
     https://your-domain.com,https://merchant-site.com,https://example.com";

/// Variables without a local value: they have a default, or setting them changes what the functions require of callers
/// (the secret for quotes exists: `payment-functions/quote`). The last two are for the checkout page
/// (docs/frontend.md).
pub(super) const OPTIONAL: [&str; 7] = [
    "DELETE_UNPAID_AFTER_DAYS",
    "FINVYPAY_REQUESTS_PER_MINUTE",
    "METRICS_NAMESPACE",
    "ORDER_ONLY_WEBHOOKS",
    "QUOTE_SECRET_ID",
    "SMARTPAY_BUNDLE",
    "SMARTPAY_PUBLIC_KEY",
];

/// The addresses of a local world's parts.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// The functions.
    pub functions: String,
    /// The AWS endpoint that the functions use.
    pub aws: String,
    /// The dead-letter queue for events; empty while it does not exist.
    pub dead_letters: String,
    /// The providers' stand-ins.
    pub sandbox: String,
}

/// The variables with which the AWS SDKs use a local AWS.
pub fn aws(endpoint: &str) -> Variables {
    variables([
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_REGION", "us-east-1"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
    ])
}

/// All variables of all functions.
pub fn all(addresses: &Addresses) -> Variables {
    let mut all = aws(&addresses.aws);
    all.extend(variables([
        ("PAYMENTS_TABLE", "payments"),
        ("EVENT_BUS", "payment-functions"),
        (DEAD_LETTER_QUEUE_URL, &addresses.dead_letters),
        ("APOLOPAY_SECRET_ID", "payment-functions/apolopay"),
        ("FINVYPAY_SECRET_ID", "payment-functions/finvypay"),
        ("APOLOPAY_BASE_URL", &format!("{}/apolopay", addresses.sandbox)),
        ("FINVYPAY_BASE_URL", &format!("{}/finvypay", addresses.sandbox)),
        ("FINVYPAY_ENVIRONMENT", "sandbox"),
        ("WEBHOOK_BASE_URL", &addresses.functions),
        (
            "ALLOWED_RETURN_ORIGINS",
            &format!(
                "{},{},{RETURN_ORIGINS}",
                addresses.sandbox,
                addresses.sandbox.replace("127.0.0.1", "localhost"),
            ),
        ),
    ]));
    all
}

/// The variables of one function only.
pub fn of(function: &Function, addresses: &Addresses) -> Variables {
    let mut own = all(addresses);
    own.retain(|name, _| name.starts_with("AWS_") || function.variables.contains(&name.as_str()));
    own
}

/// Applies changes to an environment.
pub fn change(environment: &mut Variables, changes: &[Change<'_>]) {
    for (name, value) in changes {
        match value {
            Some(value) => environment.insert((*name).to_owned(), (*value).to_owned()),
            None => environment.remove(*name),
        };
    }
}

fn variables<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Variables {
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
