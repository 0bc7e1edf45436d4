//! What is compared: our functions, the same jobs in Node and Python, and an empty function as the floor.

use std::fmt;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::Failure;
use payment_functions_local::workspace;

/// What a function has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Job {
    /// `POST /preorders`
    CreatePreorder,
    /// `POST /apm-payments`
    CreateApm,
    /// `POST /webhooks/{provider}`, a completion.
    Webhook,
    /// `GET /payments/{id}`
    GetPayment,
    /// Nothing.
    Nothing,
    /// The one write of a webhook, by the SDK alone.
    OneWrite,
}

impl Job {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::CreatePreorder,
        Self::CreateApm,
        Self::Webhook,
        Self::GetPayment,
        Self::Nothing,
        Self::OneWrite,
    ];
    /// What a shop wants done.
    pub const REAL: [Self; 4] = [Self::CreatePreorder, Self::CreateApm, Self::Webhook, Self::GetPayment];

    /// The function that does it.
    pub const fn function(self) -> &'static str {
        match self {
            Self::CreatePreorder => "create-preorder",
            Self::CreateApm => "create-apm",
            Self::Webhook => "webhook-handler",
            Self::GetPayment => "get-payment",
            Self::Nothing => "floor-empty",
            Self::OneWrite => "floor-write",
        }
    }
}

/// In what it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A `lambda_runtime` function without anything of this project.
    Floor,
    /// This project.
    Rust,
    /// Node 20 with the AWS SDK v3, bundled by esbuild, on AWS's own runtime client.
    Node,
    /// Python 3.11 with boto3 and httpx, on AWS's own runtime client.
    Python,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Floor => "floor",
            Self::Rust => "ours",
            Self::Node => "Node",
            Self::Python => "Python",
        })
    }
}

/// One function in one language.
#[derive(Clone, Debug)]
pub struct Contestant {
    /// What it does.
    pub job: Job,
    /// In what it is written.
    pub kind: Kind,
    /// The program and its arguments.
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// Where it runs.
    pub folder: PathBuf,
    /// What it needs besides what every function gets.
    pub variables: Vec<(String, String)>,
    /// Its package, as it would be deployed.
    pub package: PathBuf,
}

/// Every contestant. `tools` is where the peers were installed, and `packages` takes the packages of what is ours.
///
/// # Errors
/// When one of them has not been built.
pub async fn all(tools: &Path, packages: &Path) -> Result<Vec<Contestant>, Failure> {
    let mut all = Vec::new();
    for job in [Job::Nothing, Job::OneWrite] {
        all.push(ours(job, Kind::Floor, tools, packages).await?);
    }
    for job in Job::REAL {
        all.push(ours(job, Kind::Rust, tools, packages).await?);
        all.push(node(job, tools));
        all.push(python(job, tools));
    }
    for contestant in &all {
        for needed in [&contestant.program, &contestant.package] {
            if !needed.exists() {
                return Err(Failure(format!("{} is missing: run `make bench`", needed.display())));
            }
        }
    }
    Ok(all)
}

/// A release binary, packaged as cargo-lambda does: zipped, as `bootstrap`.
async fn ours(job: Job, kind: Kind, tools: &Path, packages: &Path) -> Result<Contestant, Failure> {
    let folder = packages.join(job.function());
    let (program, package) = (folder.join("bootstrap"), folder.with_extension("zip"));
    let failed = |error: std::io::Error| Failure(format!("package {}: {error}", job.function()));
    std::fs::create_dir_all(&folder).map_err(failed)?;
    std::fs::copy(workspace().join("target/release").join(job.function()), &program).map_err(failed)?;
    let mut zip = Command::new(tools.join("venv/bin/python"));
    zip.args(["-m", "zipfile", "-c"]).args([&package, &program]);
    let status = zip.status().await.map_err(failed)?;
    if !status.success() {
        return Err(failed(std::io::Error::other(status.to_string())));
    }
    Ok(Contestant {
        job,
        kind,
        program,
        arguments: Vec::new(),
        folder,
        variables: Vec::new(),
        package,
    })
}

fn node(job: Job, tools: &Path) -> Contestant {
    Contestant {
        job,
        kind: Kind::Node,
        program: tools.join("bin/node"),
        arguments: vec![
            tools
                .join("node_modules/aws-lambda-ric/index.mjs")
                .display()
                .to_string(),
        ],
        folder: tools.join("node").join(job.function()),
        variables: vec![
            ("_HANDLER".to_owned(), "index.handler".to_owned()),
            // One line on stderr at each start, which would count against it.
            (
                "AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED".to_owned(),
                "true".to_owned(),
            ),
        ],
        package: tools.join("node").join(format!("{}.zip", job.function())),
    }
}

fn python(job: Job, tools: &Path) -> Contestant {
    Contestant {
        job,
        kind: Kind::Python,
        program: tools.join("venv/bin/python"),
        arguments: vec![
            "-m".to_owned(),
            "awslambdaric".to_owned(),
            format!("{}.handler", job.function().replace('-', "_")),
        ],
        folder: tools.join("python").join(job.function()),
        variables: Vec::new(),
        package: tools.join("python").join(format!("{}.zip", job.function())),
    }
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.job.function(), self.kind)
    }
}
