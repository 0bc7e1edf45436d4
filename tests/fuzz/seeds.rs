//! Runs every seed of every fuzz target once, without libFuzzer, as a regression test.
#![allow(missing_docs)]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "tests only"
)]

mod targets;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn entries(path: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn every_seed_satisfies_its_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let expected: BTreeSet<PathBuf> = targets::ALL.iter().map(|target| root.join(target.name)).collect();
    assert_eq!(entries(&root), expected, "one directory of seeds per target");
    let (mut failed, mut one_sided) = (Vec::new(), Vec::new());
    for target in targets::ALL {
        let mut results = BTreeSet::new();
        for seed in entries(&root.join(target.name)) {
            let bytes = std::fs::read(&seed).expect("a seed");
            match std::panic::catch_unwind(|| (target.check)(&bytes)) {
                Ok(is_accepted) => drop(results.insert(is_accepted)),
                Err(_) => failed.push(seed),
            }
        }
        if results.len() < 2 {
            one_sided.push(target.name);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(
        one_sided.is_empty(),
        "all seeds are accepted, or all rejected: {one_sided:?}"
    );
}
