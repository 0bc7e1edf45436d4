//! Runs the fuzz target `FUZZ_TARGET` with libFuzzer. `fuzz/run` builds and runs all targets.
#![no_main]
#![allow(missing_docs)]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a violated property must stop the fuzzer"
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
