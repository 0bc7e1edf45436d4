//! Everything that the documentation names exists: pages, headings, files, commands and tests.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use payment_functions_local::workspace;

/// Folders whose files a page may name.
const FOLDERS: [&str; 8] = [
    ".ci/",
    ".github/",
    "docs/",
    "events/",
    "functions/",
    "local/",
    "shared/",
    "tests/",
];

pub struct Page {
    path: PathBuf,
    pub prose: String,
    /// Inline code and code blocks.
    pub code: Vec<String>,
}

impl Page {
    pub fn read(path: PathBuf) -> Self {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (mut prose, mut code) = (String::new(), Vec::new());
        for (index, block) in text.split("```").enumerate() {
            if index % 2 == 1 {
                code.push(block.to_owned());
                continue;
            }
            for (index, span) in block.split('`').enumerate() {
                if index % 2 == 1 {
                    code.push(span.to_owned());
                }
            }
            prose.push_str(block);
        }
        Self { path, prose, code }
    }

    /// All pages of the project.
    fn all() -> Vec<Self> {
        let mut paths = Vec::new();
        files(&workspace().join("docs"), &mut paths);
        let own = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"];
        paths.extend(own.map(|name| workspace().join(name)));
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
        paths.into_iter().map(Self::read).collect()
    }

    /// The anchors of the headings, as GitHub makes them.
    fn anchors(&self) -> BTreeSet<String> {
        let headings = self.prose.lines().filter(|line| line.starts_with('#'));
        headings
            .map(|heading| {
                let kept = |char: &char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_');
                let text = heading.trim_start_matches('#').trim().to_lowercase();
                text.chars().filter(kept).collect::<String>().replace(' ', "-")
            })
            .collect()
    }

    /// The targets of the links.
    fn links(&self) -> impl Iterator<Item = &str> {
        let targets = self.prose.split("](").skip(1);
        targets.filter_map(|rest| rest.split(')').next())
    }

    /// The words in the code.
    fn words(&self) -> impl Iterator<Item = &str> {
        let is_part = |char: char| char.is_ascii_alphanumeric() || "._-/:<>*{}".contains(char);
        let words = self
            .code
            .iter()
            .flat_map(move |code| code.split(move |char| !is_part(char)));
        words
            .map(|word| word.trim_end_matches(['.', ':', '/']))
            .filter(|word| !word.is_empty())
    }
}

pub fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, into);
        } else {
            into.push(path);
        }
    }
}

/// The names of all tests.
fn tests() -> BTreeSet<String> {
    let mut sources = Vec::new();
    for folder in [
        "functions",
        "local/src",
        "shared/src",
        "tests/core",
        "tests/it",
        "tests/src",
    ] {
        files(&workspace().join(folder), &mut sources);
    }
    let mut names = BTreeSet::new();
    for source in sources
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
    {
        let text = std::fs::read_to_string(source).unwrap();
        // Matches `#[test]`, `#[tokio::test]`, and tests in property macros.
        for after in text.split("#[t").skip(1) {
            let name = after
                .split_once("fn ")
                .and_then(|(_, function)| function.split('(').next());
            names.extend(name.map(str::to_owned));
        }
    }
    names
}

/// Whether it looks like a test name: at least three underscores. Local secrets look alike, but contain `_local_`.
fn is_sentence(name: &str) -> bool {
    let is_name = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_';
    name.matches('_').count() >= 3 && name.chars().all(is_name) && !name.contains("_local_")
}

#[test]
fn every_link_has_a_target() {
    let pages = Page::all();
    let mut broken = BTreeSet::new();
    let mut count = 0;
    for page in &pages {
        for link in page.links().filter(|link| !link.contains("://")) {
            count += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() {
                page.path.clone()
            } else {
                page.path.parent().unwrap().join(path)
            };
            let is_there = target.canonicalize().is_ok_and(|target| {
                let of_target = |page: &&Page| page.path.canonicalize().is_ok_and(|path| path == target);
                let has_anchor = |page: &Page| page.anchors().contains(anchor);
                anchor.is_empty() || pages.iter().find(of_target).is_some_and(has_anchor)
            });
            if !is_there {
                broken.insert(format!("{}: {link}", page.path.display()));
            }
        }
    }
    assert!(count > 100, "{count}");
    assert_eq!(broken, BTreeSet::new());
}

#[test]
fn named_files_commands_and_tests_exist() {
    let tests = tests();
    let makefile = std::fs::read_to_string(workspace().join("Makefile")).unwrap();
    let mut missing = BTreeSet::new();
    for page in Page::all() {
        let mut miss = |what: &str| missing.insert(format!("{}: {what}", page.path.display()));
        let is_pattern = |word: &str| word.contains(['*', '<', '{', '…']) || word.contains("NAME");
        for word in page.words() {
            // A path may end with a line number.
            let path = word.split(':').next().unwrap_or_default();
            let is_path = FOLDERS.iter().any(|folder| path.starts_with(folder));
            if is_path && !is_pattern(path) && !workspace().join(path).exists() {
                miss(path);
            }
            let name = word.rsplit("::").next().unwrap_or_default();
            if is_sentence(name) && !tests.iter().any(|test| test.starts_with(name)) {
                miss(name);
            }
        }
        for code in &page.code {
            for rest in code.split("make ").skip(1) {
                let target = rest
                    .split(|char: char| !char.is_ascii_lowercase())
                    .next()
                    .unwrap_or_default();
                if !target.is_empty() && !makefile.contains(&format!("\n{target}:")) {
                    miss(&format!("make {target}"));
                }
            }
        }
    }
    assert_eq!(missing, BTreeSet::new());
}

/// The test names after "Proved by" of each guarantee.
fn proofs(page: &str) -> Vec<Vec<String>> {
    let promises = page
        .split("\n**")
        .skip(1)
        .filter(|promise| promise.starts_with(char::is_numeric));
    let proof = |promise: &str| {
        let (_, proof) = promise
            .split_once("Proved by ")
            .unwrap_or_else(|| panic!("no \"Proved by\": {promise}"));
        let paragraph = proof.split("\n\n").next().unwrap_or_default();
        paragraph.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    promises.map(proof).collect()
}

#[test]
fn every_guarantee_names_existing_tests() {
    let promises = proofs(&Page::read(workspace().join("docs/guarantees.md")).prose);
    assert!(promises.len() >= 20, "{}", promises.len());
    let tests = tests();
    let missing: BTreeSet<_> = promises
        .iter()
        .flatten()
        .filter(|name| !tests.contains(*name))
        .collect();
    assert_eq!(missing, BTreeSet::new(), "named tests that do not exist");
    assert!(promises.iter().all(|proof| !proof.is_empty()));
}
