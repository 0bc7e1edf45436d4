//! What `make dev` shows of what happens: one short line each, with the function's name, the level, the message and the
//! fields.
//!
//! Guarantee: what a function logs is shown as text; no byte of it can move a terminal's cursor.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

use serde_json::{Map, Value};

/// The longest name of a function.
const WIDTH: usize = 18;

const CYAN: &str = "\x1b[36m";
const DIM: &str = "\x1b[2m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// What a reader of a function's log does without: when (the lines come at once), where in the code, and in which request.
const LEFT_OUT: [&str; 5] = ["timestamp", "level", "message", "target", "span"];

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For those who look for it.
    Debug,
    /// As it should be.
    Info,
    /// Worth a look.
    Warn,
    /// Something is wrong.
    Error,
}

/// Where lines go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Log {
    /// Nowhere.
    #[default]
    Silent,
    /// To standard output.
    Shown {
        /// Whether with colours.
        coloured: bool,
    },
}

impl Log {
    /// For standard output as it is: colours on a terminal only, and not where `NO_COLOR` is set.
    #[must_use]
    pub fn shown() -> Self {
        let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self::Shown {
            coloured: std::io::stdout().is_terminal() && !is_refused,
        }
    }

    /// Something that happened.
    pub(super) fn line(self, source: &str, level: Level, message: &str) {
        self.write(source, level, message, &Map::new());
    }

    /// Lines of others', as they are.
    pub(super) fn text(self, text: &str) {
        if self != Self::Silent {
            let mut stdout = std::io::stdout().lock();
            let _ = writeln!(stdout, "{}", text.trim_end());
            let _ = stdout.flush();
        }
    }

    /// A line that a process wrote.
    pub(super) fn output(self, source: &str, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        let Ok(Value::Object(entry)) = serde_json::from_str(line) else {
            self.line(source, Level::Warn, line);
            return;
        };
        let text = |name: &str| entry.get(name).and_then(Value::as_str);
        let Some(message) = text("message") else {
            // Metrics, which are for CloudWatch.
            return;
        };
        let level = match text("level") {
            Some("ERROR") => Level::Error,
            Some("WARN") => Level::Warn,
            Some("DEBUG" | "TRACE") => Level::Debug,
            _ => Level::Info,
        };
        // Each of many instances says it, and `make dev` says it of all.
        if message != "ready" {
            self.write(source, level, message, &entry);
        }
    }

    fn write(self, source: &str, level: Level, message: &str, fields: &Map<String, Value>) {
        if let Self::Shown { coloured } = self {
            let mut stdout = std::io::stdout().lock();
            let _ = writeln!(stdout, "{}", formatted(coloured, source, level, message, fields));
            let _ = stdout.flush();
        }
    }
}

fn formatted(coloured: bool, source: &str, level: Level, message: &str, fields: &Map<String, Value>) -> String {
    let (colour, name) = match level {
        Level::Debug => (DIM, "debug"),
        Level::Info => (DIM, "info"),
        Level::Warn => (YELLOW, "warn"),
        Level::Error => (RED, "error"),
    };
    let mut line = if coloured {
        format!(
            "{CYAN}{source:WIDTH$}{PLAIN} {colour}{name:5}{PLAIN} {}",
            harmless(message)
        )
    } else {
        format!("{source:WIDTH$} {name:5} {}", harmless(message))
    };
    for (name, value) in fields {
        if LEFT_OUT.contains(&name.as_str()) {
            continue;
        }
        let value = match value {
            Value::String(text) if text.is_empty() || text.contains(' ') => format!("{text:?}"),
            Value::String(text) => harmless(text),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
        };
        let (dim, plain) = if coloured { (DIM, PLAIN) } else { ("", "") };
        let _ = write!(line, "  {dim}{name}={plain}{value}");
    }
    line
}

/// A text without control characters.
fn harmless(text: &str) -> String {
    let escaped = |char: char| -> String {
        if char.is_control() {
            char.escape_default().collect()
        } else {
            char.into()
        }
    };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(entry: &Value, coloured: bool) -> String {
        let fields = entry.as_object().unwrap();
        let message = fields["message"].as_str().unwrap();
        formatted(coloured, "create-apm", Level::Warn, message, fields)
    }

    #[test]
    fn a_functions_line_is_its_message_and_fields() {
        let entry = json!({
            "timestamp": "2026-11-22T07:37:26Z", "level": "WARN", "message": "provider call failed",
            "payment": "cf62", "error": "timed out after 15 s", "status": 504, "rotated": false,
            "target": "payment_functions::flows::create_payment", "span": { "requestId": "r" },
        });
        assert_eq!(
            shown(&entry, false),
            "create-apm         warn  provider call failed  error=\"timed out after 15 s\"  payment=cf62  rotated=false  status=504",
        );
        assert!(shown(&entry, true).contains("\x1b[33mwarn "), "coloured");
    }

    #[test]
    fn nothing_in_a_line_reaches_the_terminal_as_a_command() {
        let entry = json!({ "message": "a\x1b[2Jb", "words": "c\u{9b}d", "text": "e \x07", "list": ["\x1b"] });
        let line = shown(&entry, false);
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}
