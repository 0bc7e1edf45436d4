//! The output of `make dev`: one short line for each log entry, with the function's name, the level, the message and
//! the fields.
//!
//! Guarantee: control characters are escaped, so a log entry cannot control the terminal.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

use serde_json::{Map, Value};

/// The length of the longest function name.
const WIDTH: usize = 18;

const CYAN: &str = "\x1b[36m";
const DIM: &str = "\x1b[2m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// Members of a log entry that are not shown as fields.
const HIDDEN_FIELDS: [&str; 5] = ["timestamp", "level", "message", "target", "span"];

/// The level of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Details for debugging.
    Debug,
    /// Normal operation.
    Info,
    /// Something to check.
    Warn,
    /// A failure.
    Error,
}

/// The destination of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Log {
    /// Hidden.
    #[default]
    Silent,
    /// To standard output.
    Shown {
        /// Whether to use colours.
        coloured: bool,
    },
}

impl Log {
    /// Standard output, with colours if it is a terminal and `NO_COLOR` is not set.
    #[must_use]
    pub fn shown() -> Self {
        let is_colourless = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self::Shown {
            coloured: std::io::stdout().is_terminal() && !is_colourless,
        }
    }

    /// Writes one line.
    pub(super) fn line(self, source: &str, level: Level, message: &str) {
        self.write(source, level, message, &Map::new());
    }

    /// Writes text unchanged, such as the compiler's output.
    pub(super) fn text(self, text: &str) {
        if self != Self::Silent {
            let mut stdout = std::io::stdout().lock();
            let _ = writeln!(stdout, "{}", text.trim_end());
            let _ = stdout.flush();
        }
    }

    /// Writes a line of a process's output: a JSON log entry, or text.
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
            // Metrics for CloudWatch.
            return;
        };
        let level = match text("level") {
            Some("ERROR") => Level::Error,
            Some("WARN") => Level::Warn,
            Some("DEBUG" | "TRACE") => Level::Debug,
            _ => Level::Info,
        };
        // Every instance logs it; `make dev` prints its own line.
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
            escaped(message)
        )
    } else {
        format!("{source:WIDTH$} {name:5} {}", escaped(message))
    };
    for (name, value) in fields {
        if HIDDEN_FIELDS.contains(&name.as_str()) {
            continue;
        }
        let value = match value {
            Value::String(text) if text.is_empty() || text.contains(' ') => format!("{text:?}"),
            Value::String(text) => escaped(text),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
        };
        let (dim, plain) = if coloured { (DIM, PLAIN) } else { ("", "") };
        let _ = write!(line, "  {dim}{name}={plain}{value}");
    }
    line
}

/// Escapes control characters.
fn escaped(text: &str) -> String {
    let escape = |char: char| -> String {
        if char.is_control() {
            char.escape_default().collect()
        } else {
            char.into()
        }
    };
    text.chars().map(escape).collect()
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
    fn log_entry_is_shown_as_message_and_fields() {
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
    fn control_characters_are_escaped() {
        let entry = json!({ "message": "a\x1b[2Jb", "raw_status": "c\u{9b}d", "text": "e \x07", "list": ["\x1b"] });
        let line = shown(&entry, false);
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}
