//! The compared implementations: our functions, the same in Node and Python, and minimal functions as the floor.

use std::fmt;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::Failure;
use payment_functions_local::workspace;

/// The job of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Job {
    /// `POST /preorders`
    CreatePreorder,
    /// `POST /apm-payments`
    CreateApm,
    /// `POST /webhooks/{provider}` with a completion.
    Webhook,
    /// `GET /payments/{id}`
    GetPayment,
    /// An empty response.
    Nothing,
    /// The one DynamoDB write of a webhook, with the SDK only.
    OneWrite,
}

impl Job {
    /// All jobs.
    pub const ALL: [Self; 6] = [
        Self::CreatePreorder,
        Self::CreateApm,
        Self::Webhook,
        Self::GetPayment,
        Self::Nothing,
        Self::OneWrite,
    ];
    /// The jobs of a shop, without the floor.
    pub const REAL: [Self; 4] = [Self::CreatePreorder, Self::CreateApm, Self::Webhook, Self::GetPayment];

    /// The name of the function.
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

/// The kind of an implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A `lambda_runtime` function without code of this project.
    Floor,
    /// This project.
    Rust,
    /// Node 20 with the AWS SDK v3, bundled by esbuild, on AWS's runtime client.
    Node,
    /// Python 3.11 with boto3 and httpx, on AWS's runtime client.
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

/// One implementation of one job.
#[derive(Clone, Debug)]
pub struct Contestant {
    /// Its job.
    pub job: Job,
    /// Its kind.
    pub kind: Kind,
    /// The program.
    pub program: PathBuf,
    /// The program's arguments.
    pub arguments: Vec<String>,
    /// The working directory.
    pub folder: PathBuf,
    /// Environment variables besides those of every function.
    pub variables: Vec<(String, String)>,
    /// The deployment package.
    pub package: PathBuf,
}

/// All contestants. `tools` is the folder that the peers are installed in. Writes the packages of our functions and of
/// the floor to `packages`.
///
/// # Errors
/// When one of them is not built.
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

/// A release binary, packaged as by cargo-lambda: a zip archive of `bootstrap`.
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
            // Suppresses a warning on stderr at each start, whose cost would be measured.
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
