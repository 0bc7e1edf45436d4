//! One fuzz target under libFuzzer: the one that `FUZZ_TARGET` names. `fuzz/run` builds and runs them all.
#![no_main]
#![allow(missing_docs)]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a property that does not hold must stop the fuzzer"
)]

mod targets;

use std::sync::LazyLock;

static TARGET: LazyLock<targets::Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let target = targets::ALL.into_iter().find(|target| target.name == name);
    target.unwrap_or_else(|| {
        panic!(
            "FUZZ_TARGET must be one of {:?}",
            targets::ALL.map(|target| target.name)
        )
    })
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    (TARGET.check)(bytes);
});
