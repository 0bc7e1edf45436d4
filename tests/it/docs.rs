//! Every promise in `docs/guarantees.md` names the tests that prove it.

use std::collections::BTreeSet;
use std::path::Path;

use payment_functions_tests::local::workspace;

/// The words in backticks that stand after "Proved by".
fn named(page: &str) -> Vec<Vec<String>> {
    let promises = page
        .split("\n**")
        .skip(1)
        .filter(|promise| promise.starts_with(char::is_numeric));
    let proof = |promise: &str| {
        let (_, proof) = promise
            .split_once("Proved by ")
            .unwrap_or_else(|| panic!("no proof: {promise}"));
        let paragraph = proof.split("\n\n").next().unwrap_or_default();
        paragraph.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    promises.map(proof).collect()
}

fn sources(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_promise_names_tests_that_exist() {
    let page = std::fs::read_to_string(workspace().join("docs/guarantees.md")).unwrap();
    let promises = named(&page);
    assert!(promises.len() >= 20, "{}", promises.len());
    let mut source = String::new();
    sources(&workspace().join("tests/it"), &mut source);
    let is_test = |name: &String| {
        source.split("#[t").any(|after| {
            let function = after
                .split_once("fn ")
                .map(|(_, function)| function)
                .unwrap_or_default();
            function.split('(').next() == Some(name)
        })
    };
    let missing: BTreeSet<_> = promises.iter().flatten().filter(|name| !is_test(name)).collect();
    assert_eq!(missing, BTreeSet::new(), "these are named, and are no tests");
    assert!(promises.iter().all(|proof| !proof.is_empty()));
}
