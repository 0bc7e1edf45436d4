//! The functions, and the environment that each is given locally.

use std::collections::BTreeMap;
use std::time::Duration;

/// Environment variables.
pub type Variables = BTreeMap<String, String>;

/// A change of an environment: a value sets a variable, `None` takes it away.
pub type Change<'a> = (&'a str, Option<&'a str>);

/// A function of the project.
#[derive(Debug)]
pub struct Function {
    /// Its name, which is its binary's and its folder's.
    pub name: &'static str,
    /// How many instances tests run, so that races show.
    pub instances: usize,
    /// Its route at API Gateway, as in template.yaml; what has a function URL has none.
    pub route: Option<&'static str>,
    /// How long an invocation may take, as in template.yaml.
    pub time_limit: Duration,
    /// The variables it needs, as in template.yaml, and the providers' addresses where it calls them.
    pub variables: &'static [&'static str],
}

impl Function {
    /// Whether it answers HTTP requests, and not events.
    pub(super) fn answers_http(&self) -> bool {
        self.route.is_some() || self.name == "webhook-handler"
    }
}

/// All of them.
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
        variables: &["PAYMENTS_TABLE", "APOLOPAY_SECRET_ID", "FINVYPAY_SECRET_ID"],
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
        instances: 1,
        route: None,
        time_limit: Duration::from_secs(60),
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

/// Its local value is known once the queue is made.
pub(super) const DEAD_LETTER_QUEUE_URL: &str = "DEAD_LETTER_QUEUE_URL";

/// Where to return to locally: the checkout page, a frontend's usual development server, and what the providers'
/// documentation has in its examples.
pub const RETURN_ORIGINS: &str = "http://127.0.0.1:3000,http://localhost:3000,\
     https://your-domain.com,https://merchant-site.com,https://example.com";

/// What has no local value: a default does, or setting it changes what the functions ask of their callers. The secret of
/// quotes is there: `payment-functions/quote`. The last two are the checkout page's (docs/frontend.md).
pub(super) const UNSET: [&str; 4] = [
    "METRICS_NAMESPACE",
    "QUOTE_SECRET_ID",
    "SMARTPAY_BUNDLE",
    "SMARTPAY_PUBLIC_KEY",
];

/// Where the parts of a local world are.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// The functions.
    pub functions: String,
    /// The AWS endpoint that the functions use.
    pub aws: String,
    /// The queue of what could not be published; empty while there is none.
    pub dead_letters: String,
    /// The providers' stand-ins.
    pub sandbox: String,
}

/// What the AWS SDKs need to use a local AWS.
pub fn aws(endpoint: &str) -> Variables {
    variables([
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_REGION", "us-east-1"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
    ])
}

/// Every variable of every function.
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

/// The variables of one function, and no other's.
pub fn of(function: &Function, addresses: &Addresses) -> Variables {
    let mut own = all(addresses);
    own.retain(|name, _| name.starts_with("AWS_") || function.variables.contains(&name.as_str()));
    own
}

/// Changes an environment.
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
