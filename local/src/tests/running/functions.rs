//! Functions are replaced when their source changes, and not by what does not compile or start.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::functions::{Functions, Project, Sources};
use crate::settings::{Function, Variables};
use crate::{Binaries, CargoLambda, Invoke as _, free_port};

const TOY: &str = include_str!("toy.rs");
/// A binary of the workspace, since `cargo lambda watch` knows no others, of which nobody runs a debug build: the binaries
/// of all workspaces may be in one folder.
const NAME: &str = "bench";

static FUNCTIONS: [Function; 1] = [Function {
    name: NAME,
    instances: 1,
    route: Some("GET /toy"),
    time_limit: Duration::from_secs(25),
    variables: &[],
}];

/// A workspace with one function, which has no dependencies.
struct Workspace(PathBuf);

impl Workspace {
    fn new() -> Self {
        let root = std::env::temp_dir().join(format!("functions-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir_all(root.join("functions/src")).unwrap();
        let manifest = format!(
            "[package]\nname = {NAME:?}\nversion = \"0.0.0\"\nedition = \"2024\"\n\
             [[bin]]\nname = {NAME:?}\npath = \"functions/src/main.rs\"\n[workspace]\n"
        );
        std::fs::write(root.join("Cargo.toml"), manifest).unwrap();
        let lock = format!("version = 4\n\n[[package]]\nname = {NAME:?}\nversion = \"0.0.0\"\n");
        std::fs::write(root.join("Cargo.lock"), lock).unwrap();
        Self(root)
    }

    fn root(&self) -> &Path {
        &self.0
    }

    fn write(&self, source: &str) {
        std::fs::write(self.root().join("functions/src/main.rs"), source).unwrap();
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_source_answers_the_next_request_and_one_that_fails_does_not() {
    let workspace = Workspace::new();
    workspace.write(TOY);
    let project = Project {
        root: workspace.root().to_owned(),
        functions: &FUNCTIONS,
    };
    let sources = Sources::read(workspace.root());
    let mut binaries = Binaries::build().await.unwrap();
    let toy = Binaries::functions(workspace.root(), project.functions).await;
    binaries.replace(toy.unwrap());
    let runtime = CargoLambda::start(&binaries, free_port().unwrap()).await.unwrap();
    let environment: Variables = std::env::vars().filter(|(name, _)| name == "PATH").collect();
    let mut functions = Functions::start(&runtime, project, binaries, environment, sources)
        .await
        .unwrap();
    let attached = runtime.functions().unwrap();
    let answer = async || attached.invoke(NAME, "{}".into()).await;
    assert_eq!(answer().await.unwrap(), "\"one\"");
    assert_eq!(
        functions.reload(&runtime).await.unwrap(),
        [""; 0],
        "nothing has changed"
    );

    for (source, expected) in [
        (TOY.replace("\"one\"", "\"two\""), "two"),
        // It does not compile.
        (TOY.replace("\"one\"", "1"), "two"),
        (TOY.replace("\"one\"", "\"three\""), "three"),
        // It does not start.
        (
            TOY.replace("fn main() {", "fn main() {\nstd::process::exit(3);"),
            "three",
        ),
        (TOY.replace("\"one\"", "\"four\""), "four"),
    ] {
        let before = answer().await.unwrap();
        workspace.write(&source);
        let replaced = functions.reload(&runtime).await.unwrap();
        let is_other = before != format!("{expected:?}");
        assert_eq!(replaced, if is_other { vec![NAME] } else { vec![] }, "{expected}");
        // More often than there are instances.
        for _ in 0..20 {
            assert_eq!(answer().await.unwrap(), format!("{expected:?}"));
        }
    }
}
