//! Every log line that the runbook quotes is a string literal of the functions, letter for letter.

use std::collections::BTreeSet;
use std::path::Path;

use payment_functions_local::workspace;

use crate::docs::{Page, files};

/// The log lines that a page quotes: all text in double quotes, in prose or inline code, and the filter patterns of its
/// commands.
fn quoted(page: &Page) -> BTreeSet<String> {
    let prose = page.prose.split('"').skip(1).step_by(2);
    let patterns = page
        .code
        .iter()
        .flat_map(|code| code.split("--filter-pattern '\"").skip(1))
        .filter_map(|rest| rest.split('"').next());
    prose
        .chain(patterns)
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        // An id that the reader replaces.
        .filter(|line| !line.contains('…'))
        .collect()
}

/// The source text of the functions, without comments and test modules.
fn sources() -> String {
    let mut paths = Vec::new();
    files(&workspace().join("shared/src"), &mut paths);
    for function in std::fs::read_dir(workspace().join("functions")).unwrap() {
        files(&function.unwrap().path().join("src"), &mut paths);
    }
    let is_source =
        |path: &Path| path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs");
    let mut text = String::new();
    for path in paths.iter().filter(|path| is_source(path)) {
        let source = std::fs::read_to_string(path).unwrap();
        let product = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let code = product.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            match line.strip_suffix('\\') {
                // The literal continues on the next line.
                Some(begun) => text.push_str(begun.trim_start()),
                None => {
                    text.push_str(line.trim_start());
                    text.push('\n');
                }
            }
        }
    }
    text
}

#[test]
fn quoted_log_lines_are_in_the_code() {
    let quoted = quoted(&Page::read(workspace().join("docs/runbook.md")));
    assert!(quoted.len() >= 5, "{quoted:?}");
    let sources = sources();
    let is_literal = |line: &str| sources.contains(&format!("\"{line}\""));
    assert!(!is_literal("a line that no function logs"));
    let missing: BTreeSet<_> = quoted.iter().filter(|line| !is_literal(line)).collect();
    assert_eq!(
        missing,
        BTreeSet::new(),
        "quoted in docs/runbook.md, but not in the code"
    );
}
