//! The layers of the common crate: each file imports only from its own folder and from lower layers, no files import
//! each other in a circle, and no file grows too long.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The folders of each layer, lowest layer first. Folders of one layer do not import each other.
const LAYERS: [&[&str]; 5] = [
    &["domain"],
    &["platform"],
    &["providers"],
    &["store", "api"],
    &["flows", "lambda"],
];

/// The source text of each module by its path, such as `store::commit`.
type Sources = BTreeMap<String, String>;

#[test]
fn imports_point_downwards_without_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/src");
    let mut sources = Sources::new();
    read(&root, "", &mut sources);
    assert!(sources.contains_key("store::commit"), "{:?}", sources.keys());
    assert_eq!(violations(&sources), [""; 0]);
}

#[test]
fn file_without_its_tests_has_at_most_450_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut sources = Sources::new();
    read(&root.join("shared/src"), "", &mut sources);
    for function in fs::read_dir(root.join("functions")).unwrap() {
        let function = function.unwrap().path();
        let name = function.file_name().unwrap().to_str().unwrap();
        read(&function.join("src"), name, &mut sources);
    }
    for (module, text) in sources {
        let lines = text.split("#[cfg(test)]\nmod tests").next().unwrap().lines().count();
        assert!(lines <= 450, "{module}: {lines} lines");
    }
}

#[test]
fn upward_import_is_a_violation() {
    for (importer, path) in [
        ("domain::money", "crate::store::Store"),
        ("domain::money", "crate::platform::{clock, config::{Variables}}"),
        ("store::commit", "crate::api::problem::Problem"),
        ("providers", "crate::flows::quote"),
    ] {
        let sources = sources_of(&[
            (importer, &format!("use {path};")),
            ("api::problem", ""),
            ("flows::quote", ""),
            ("platform::clock", ""),
            ("platform::config", ""),
            ("store", "mod table;\npub use table::Store;"),
            ("store::table", ""),
        ]);
        assert!(!violations(&sources).is_empty(), "{importer}: {path}");
    }
    let inline = sources_of(&[("domain::id", "fn f() { crate::api::view() }"), ("api", "")]);
    assert_eq!(
        violations(&inline),
        ["domain::id imports from api, which is not below it"]
    );
}

#[test]
fn downward_import_is_no_violation() {
    let sources = sources_of(&[
        (
            "store",
            "mod commit;\nmod table;\npub use commit::Commit;\npub use table::Store;",
        ),
        (
            "store::commit",
            "use super::table::{self, Store};\nuse crate::domain::money::Money;",
        ),
        (
            "store::table",
            "// use crate::flows::quote;\n#[cfg(test)]\nmod tests {\n    use crate::store::Commit;\n}\n",
        ),
        ("domain::money", "use std::fmt;"),
    ]);
    assert_eq!(violations(&sources), [""; 0]);
}

#[test]
fn circle_is_a_violation() {
    let files = [
        (
            "store",
            "mod commit;\nmod table;\npub use commit::Commit;\npub use table::Store;",
        ),
        ("store::commit", "use super::table::Store;"),
    ];
    for table in [
        "use super::commit;",
        "use crate::store::Commit;",
        "use super::{Commit, Store};",
    ] {
        let sources = sources_of(&[&files[..], &[("store::table", table)]].concat());
        assert_eq!(
            violations(&sources),
            ["store::commit -> store::table -> store::commit is a circle"],
            "{table}"
        );
    }
}

fn sources_of(files: &[(&str, &str)]) -> Sources {
    let source = |(module, text): &(&str, &str)| ((*module).to_owned(), (*text).to_owned());
    files.iter().map(source).collect()
}

fn read(folder: &Path, module: &str, sources: &mut Sources) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let child = if module.is_empty() {
            name.to_owned()
        } else {
            format!("{module}::{name}")
        };
        if path.is_dir() {
            read(&path, &child, sources);
        } else if name == "mod" {
            sources.insert(module.to_owned(), fs::read_to_string(&path).unwrap());
        } else if name != "tests" && name != "lib" {
            sources.insert(child, fs::read_to_string(&path).unwrap());
        }
    }
}

/// Each import that does not point downwards, and each circle, in plain words.
fn violations(sources: &Sources) -> Vec<String> {
    let layer = |module: &str| {
        let folder = module.split("::").next().unwrap();
        LAYERS.iter().position(|folders| folders.contains(&folder))
    };
    let folder = |module: &str| module.split("::").next().unwrap().to_owned();
    let mut found = BTreeSet::new();
    let mut graph = BTreeMap::new();
    for (importer, text) in sources {
        let imports = imports(importer, text, sources);
        for imported in &imports {
            if layer(importer).is_none() {
                found.insert(format!("{importer} is in no layer"));
            } else if folder(importer) != folder(imported) && layer(importer) <= layer(imported) {
                found.insert(format!(
                    "{importer} imports from {}, which is not below it",
                    folder(imported)
                ));
            }
        }
        graph.insert(importer.as_str(), imports);
    }
    for start in graph.keys() {
        if let Some(circle) = circle_from(start, &graph) {
            found.insert(format!("{} is a circle", circle.join(" -> ")));
        }
    }
    found.into_iter().collect()
}

/// The shortest way from a module back to itself, told from its alphabetically first module on.
fn circle_from(start: &str, graph: &BTreeMap<&str, BTreeSet<String>>) -> Option<Vec<String>> {
    let mut ways = vec![vec![start.to_owned()]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in &graph[way.last().unwrap().as_str()] {
                if next == start {
                    let first = (0..way.len()).min_by_key(|index| &way[*index]).unwrap();
                    let mut circle = [&way[first..], &way[..first]].concat();
                    circle.push(way[first].clone());
                    return Some(circle);
                }
                if graph.contains_key(next.as_str()) && seen.insert(next.clone()) {
                    longer.push([way.clone(), vec![next.clone()]].concat());
                }
            }
        }
        ways = longer;
    }
    None
}

/// The modules that a file names outside its tests, its comments and its re-exports of its own children.
fn imports(importer: &str, text: &str, sources: &Sources) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let code: String = code
        .lines()
        .map(|line| format!("{}\n", line.split("//").next().unwrap()))
        .collect();
    let mut imports = BTreeSet::new();
    for prefix in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(prefix) {
            let is_inside_a_path = code[..at].ends_with("::") || code[..at].ends_with(char::is_alphanumeric);
            if is_inside_a_path {
                continue;
            }
            for path in expand(&code[at..]) {
                let module = module_of(importer, &path, sources);
                imports.extend(module.filter(|module| module != importer));
            }
        }
    }
    imports
}

/// The paths that the beginning of a text spells: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(text: &str) -> Vec<String> {
    let end = text
        .find(|char: char| !(char.is_alphanumeric() || "_:".contains(char)))
        .unwrap_or(text.len());
    let (head, rest) = text.split_at(end);
    if !head.ends_with("::") || !rest.starts_with('{') {
        return vec![head.to_owned()];
    }
    let mut paths = Vec::new();
    let mut depth = 0;
    let mut part = 1;
    for (at, char) in rest.char_indices() {
        depth += match char {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        if depth == 0 || (depth == 1 && char == ',') {
            let inner = expand(rest[part..at].trim_start());
            paths.extend(inner.into_iter().map(|inner| format!("{head}{inner}")));
            part = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    paths
}

/// The file that a path leads to, through the re-exports of a `mod.rs`.
fn module_of(importer: &str, path: &str, sources: &Sources) -> Option<String> {
    let mut base: Vec<&str> = importer.split("::").collect();
    let mut names: Vec<&str> = path.split("::").filter(|name| !name.is_empty()).collect();
    while let Some(first) = names.first() {
        match *first {
            "crate" => base.clear(),
            "super" => drop(base.pop()),
            "self" => {}
            _ => break,
        }
        names.remove(0);
    }
    let absolute = [base, names].concat();
    let length = (1..=absolute.len())
        .rev()
        .find(|length| sources.contains_key(&absolute[..*length].join("::")))?;
    let module = absolute[..length].join("::");
    let reexported = absolute.get(length).and_then(|name| {
        let uses = sources[&module]
            .split("pub use ")
            .skip(1)
            .chain(sources[&module].split("pub(crate) use ").skip(1));
        let mut paths = uses.flat_map(expand);
        let path = paths.find(|path| path.ends_with(&format!("::{name}")))?;
        Some(format!("{module}::{}", path.split("::").next()?))
    });
    Some(reexported.filter(|child| sources.contains_key(child)).unwrap_or(module))
}
