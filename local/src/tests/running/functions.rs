//! Functions are reloaded when their source changes, unless the change does not compile or start.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::functions::{Functions, Project, Sources};
use crate::settings::{Function, Variables};
use crate::{Binaries, CargoLambda, Invoke as _, free_port};

const TOY: &str = include_str!("toy.rs");
/// The name of a binary of this workspace, since `cargo lambda watch` accepts no others. It is one whose debug build is
/// never run, since all workspaces may share one target folder.
const NAME: &str = "bench";

static FUNCTIONS: [Function; 1] = [Function {
    name: NAME,
    instances: 1,
    route: Some("GET /toy"),
    time_limit: Duration::from_secs(25),
    variables: &[],
}];

/// A workspace with one function, without dependencies.
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
async fn changed_source_is_reloaded_unless_it_does_not_compile_or_start() {
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
    let respond = async || attached.invoke(NAME, "{}".into()).await;
    assert_eq!(respond().await.unwrap(), "\"one\"");
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
        let before = respond().await.unwrap();
        workspace.write(&source);
        let replaced = functions.reload(&runtime).await.unwrap();
        let is_changed = before != format!("{expected:?}");
        assert_eq!(replaced, if is_changed { vec![NAME] } else { vec![] }, "{expected}");
        // More requests than instances.
        for _ in 0..20 {
            assert_eq!(respond().await.unwrap(), format!("{expected:?}"));
        }
    }
}
