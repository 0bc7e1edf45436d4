//! The functions, and the environment that each is given locally.

use std::collections::BTreeMap;

/// Environment variables.
pub type Variables = BTreeMap<String, String>;

/// A function of the project.
#[derive(Debug)]
pub struct Function {
    /// Its name, which is its binary's and its folder's.
    pub name: &'static str,
    /// How many instances tests run, so that races show.
    pub instances: usize,
    /// The variables it needs, as in template.yaml, and the providers' addresses where it calls them.
    variables: &'static [&'static str],
}

/// All of them.
pub const FUNCTIONS: [Function; 4] = [
    Function {
        name: "create-preorder",
        instances: 10,
        variables: &["PAYMENTS_TABLE", "APOLOPAY_SECRET_ID", "APOLOPAY_BASE_URL"],
    },
    Function {
        name: "create-apm",
        instances: 10,
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
        variables: &["PAYMENTS_TABLE", "APOLOPAY_SECRET_ID", "FINVYPAY_SECRET_ID"],
    },
    Function {
        name: "get-payment",
        instances: 2,
        variables: &["PAYMENTS_TABLE"],
    },
];

/// Where to return to locally: the checkout page, a frontend's usual development server, and what the providers'
/// documentation has in its examples.
const RETURN_ORIGINS: &str = "http://127.0.0.1:3000,http://localhost:3000,\
     https://your-domain.com,https://merchant-site.com,https://example.com";

/// What has no local value, since setting it changes what the functions ask of their callers. The secret that it may
/// name is there: `payment-functions/quote`.
pub(super) const UNSET: [&str; 1] = ["QUOTE_SECRET_ID"];

/// Where the parts of a local world are.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// The functions.
    pub functions: String,
    /// The AWS endpoint that the functions use.
    pub aws: String,
    /// The providers' stand-ins.
    pub sandbox: String,
}

/// What the AWS SDKs need to use a local AWS.
pub(super) fn aws(endpoint: &str) -> Variables {
    variables([
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_REGION", "us-east-1"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
    ])
}

/// Every variable of every function.
pub(super) fn all(addresses: &Addresses) -> Variables {
    let mut all = aws(&addresses.aws);
    all.extend(variables([
        ("PAYMENTS_TABLE", "payments"),
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
pub(super) fn of(function: &Function, addresses: &Addresses) -> Variables {
    let mut own = all(addresses);
    own.retain(|name, _| name.starts_with("AWS_") || function.variables.contains(&name.as_str()));
    own
}

fn variables<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Variables {
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
