//! The test environment ([`world`]) and the benchmark ([`mod@bench`]).

pub mod bench;
pub mod world;

/// Prints a line to stderr immediately and past the test harness's capture, so that it is next to the test's name even
/// in a truncated log.
pub fn print_uncaptured(text: &str) {
    use std::io::Write as _;

    // An error means that the terminal is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}
