//! What tests the whole from outside: a world of its own, and the bench.

pub mod bench;
pub mod world;

/// Says it at once and past the capture of a test's output: beside the test's name in a log whose end is cut off.
pub fn aloud(text: &str) {
    use std::io::Write as _;

    // Whoever closed the terminal does not look at it.
    let _ = writeln!(std::io::stderr(), "{text}");
}
