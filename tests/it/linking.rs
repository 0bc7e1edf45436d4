//! The linked crates, the package size and the instruction count of each function: bounds that only a decision changes.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use payment_functions_local::{Binaries, build, workspace};
use payment_functions_tests::bench::{Instructions, Job, count, valgrind};

use crate::support::world;

/// A function, its crates of [`CHOSEN`], and the maximum size of its x86-64 package in bytes.
const FUNCTIONS: [(&str, &[&str], u64); 6] = [
    ("create-apm", &[DYNAMODB, SECRETS, "jsonwebtoken", "reqwest"], 2_520_000),
    (
        "create-preorder",
        &[DYNAMODB, SECRETS, "jsonwebtoken", "reqwest"],
        2_510_000,
    ),
    ("get-payment", &[DYNAMODB], 1_980_000),
    (
        "publish-events",
        &[DYNAMODB, "aws-sdk-eventbridge", "aws-sdk-sqs"],
        2_260_000,
    ),
    ("reconcile-payments", &[DYNAMODB, SECRETS, "reqwest"], 2_750_000),
    ("webhook-handler", &[DYNAMODB, SECRETS], 2_320_000),
];

const DYNAMODB: &str = "aws-sdk-dynamodb";
const SECRETS: &str = "aws-sdk-secretsmanager";

/// Crates that make calls: each function links exactly those that it uses.
const CHOSEN: [&str; 6] = [
    DYNAMODB,
    "aws-sdk-eventbridge",
    SECRETS,
    "aws-sdk-sqs",
    "jsonwebtoken",
    "reqwest",
];

/// Only one version each: a second one means a second TLS stack or runtime.
const ONE_OF: [&str; 6] = ["http", "hyper", "ring", "rustls", "rustls-webpki", "tokio"];

/// Never linked: other TLS stacks, and configuration that Lambda does not need.
const BANNED: [&str; 10] = [
    "aws-config",
    "aws-lc-rs",
    "aws-lc-sys",
    "aws-sdk-sso",
    "aws-sdk-ssooidc",
    "aws-sdk-sts",
    "native-tls",
    "openssl",
    "openssl-sys",
    "webpki-roots",
];

/// The names and versions of a function's crates.
fn crates_of(function: &str) -> BTreeSet<(String, String)> {
    let mut cargo = build::cargo(workspace());
    cargo.args([
        "tree",
        "--locked",
        "--package",
        function,
        "--edges",
        "normal",
        "--prefix",
        "none",
    ]);
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let crates = tree.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    });
    crates.collect()
}

/// The crates that cargo compiles for these packages, with their features.
fn features(packages: &[&str], edges: &str) -> BTreeSet<String> {
    let mut cargo = build::cargo(workspace());
    cargo.args([
        "tree", "--locked", "--edges", edges, "--prefix", "none", "--format", "{p} {f}",
    ]);
    let output = cargo.args(packages).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    tree.lines()
        .map(|line| line.trim_end_matches(" (*)").to_owned())
        .collect()
}

/// local/Cargo.toml enables the same features as the tests.
#[test]
fn make_dev_and_tests_share_compiled_artifacts() {
    let mut packages = vec!["--package", "payment-functions-local"];
    for (function, ..) in FUNCTIONS {
        packages.extend(["--package", function]);
    }
    let (dev, tests) = (
        features(&packages, "normal,build"),
        features(&["--workspace"], "normal,build,dev"),
    );
    let twice: Vec<&String> = dev.difference(&tests).collect();
    assert!(
        twice.is_empty(),
        "compiled with other features for the tests: {twice:#?}"
    );
}

#[test]
fn function_links_only_what_it_uses() {
    for (function, uses, _) in FUNCTIONS {
        let crates = crates_of(function);
        let has = |name: &str| crates.iter().filter(|(other, _)| other == name).count();
        let chosen: Vec<&str> = CHOSEN.into_iter().filter(|name| has(name) > 0).collect();
        assert_eq!(chosen, uses, "{function}");
        for name in ONE_OF {
            assert_eq!(has(name), 1, "{function}: versions of {name}");
        }
        for name in BANNED {
            assert_eq!(has(name), 0, "{function} links {name}");
        }
    }
}

#[tokio::test]
async fn packages_are_small() {
    let binaries = Binaries::shipped().await.unwrap();
    for (function, _, limit) in FUNCTIONS {
        let package = std::env::temp_dir().join(crate::support::unique(function));
        let mut zip = Command::new(workspace().join(".venv/bin/python"));
        zip.args(["-m", "zipfile", "-c"])
            .arg(&package)
            .arg(binaries.path(function).unwrap());
        assert!(zip.status().unwrap().success());
        let size = std::fs::metadata(&package).unwrap().len();
        std::fs::remove_file(&package).unwrap();
        println!("{function}: {size} bytes, at most {limit}");
        assert!(size <= limit, "{function}: {size} bytes are more than {limit}");
    }
}

/// Test-only variables, which only debug builds read.
const FOR_TESTS: [&str; 4] = ["FAILPOINTS", "CLOCK_OFFSET_SECONDS", "CLOCK_FILE", "SLOW_MACHINE"];

/// The test-only variables in a binary's text.
fn of_tests(program: &Path) -> Vec<&'static str> {
    let bytes = std::fs::read(program).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    FOR_TESTS.into_iter().filter(|name| text.contains(name)).collect()
}

#[tokio::test]
async fn release_builds_contain_no_test_code() {
    let debug = world().await.binary("webhook-handler").unwrap();
    assert_eq!(of_tests(debug), FOR_TESTS, "the search finds the text");
    let binaries = Binaries::shipped().await.unwrap();
    for (function, ..) in FUNCTIONS {
        assert_eq!(of_tests(binaries.path(function).unwrap()), [""; 0], "{function}");
    }
}

/// User-space instructions of a webhook with warm connections; the tolerance is 10%.
const WEBHOOK: u64 = 1_030_000;

#[tokio::test(flavor = "multi_thread")]
async fn webhook_stays_within_its_instruction_count() {
    if valgrind().is_none() {
        assert!(std::env::var_os("CI").is_none(), "valgrind is missing");
        println!("valgrind is missing: skipping the instruction count");
        return;
    }
    let binaries = Binaries::shipped().await.unwrap();
    let folder = std::env::temp_dir().join(crate::support::unique("callgrind"));
    std::fs::create_dir(&folder).unwrap();
    let program = binaries.path("webhook-handler").unwrap();
    let mut counted = count(Job::Webhook, program, &folder).await;
    for _ in 0..4 {
        if let Err(too_slow) = &counted {
            // Under valgrind on a busy machine a write may run into its timeout.
            println!("retry: {too_slow}");
            counted = count(Job::Webhook, program, &folder).await;
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
    let Instructions { start, warm } = counted.unwrap();
    // On a busy machine the start may also retry a connection.
    println!("first webhook: {start} instructions; further ones: {warm}, baseline {WEBHOOK}");
    let is_within = warm * 10 <= WEBHOOK * 11 && warm * 10 >= WEBHOOK * 9;
    assert!(
        is_within,
        "{warm} instructions, baseline {WEBHOOK}: fix the regression or lower the baseline"
    );
}
