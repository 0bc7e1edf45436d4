//! The local world for tests: everything real but the providers, on ports of its own.
//!
//! The functions' binaries are built first, so they are never stale. They run without anything of this process's
//! environment. Everything ends when the world is dropped, and when this process ends, however it ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::try_join_all;
use payment_functions_local::settings::{self, RETURN_ORIGINS};
use payment_functions_local::{
    Addresses, AwsCalls, Binaries, Change, Error, FUNCTIONS, Function, Gateway, Invocations, LocalAws, Log, Mapping,
    Rate, Sandbox, Schedule, StreamFeed, Variables, free_port,
};
use tokio::sync::OnceCell;

use super::environments::{Environments, Functions};
use super::{Attached, AwsProxy, Lambda, MemoryTables};

const TABLE: &str = "payments";
const SLOW_MACHINE: &str = "SLOW_MACHINE";

/// A change for functions that are to give up on AWS as soon as they do in Lambda: in tests all others wait longer, since
/// all tests keep the machine busy at once.
pub const USUAL_LIMITS: Change<'static> = (SLOW_MACHINE, None);

static SHARED: OnceCell<World> = OnceCell::const_new();

/// A local AWS, the stand-ins, and environments of every function behind a gateway.
#[derive(Debug)]
pub struct World {
    functions: BTreeMap<&'static str, Environments>,
    gateway: Gateway,
    sandbox: Sandbox,
    proxy: AwsProxy,
    tables: Arc<MemoryTables>,
    aws: LocalAws,
    binaries: Binaries,
}

impl World {
    /// Builds and starts everything, and waits until the functions are ready.
    ///
    /// # Errors
    /// When a part does not build, start or answer in time.
    pub async fn start() -> Result<Self, Error> {
        let binaries = Binaries::build().await?;
        let table = Variables::from([("PAYMENTS_TABLE".to_owned(), TABLE.to_owned())]);
        let aws = LocalAws::start(&binaries, free_port()?, &table).await?;
        let proxy = AwsProxy::start(aws.url()).await?;
        let mut seen = settings::aws(aws.url());
        seen.extend(table);
        // The functions are told where they are reached before they are started.
        let port = free_port()?;
        let url = format!("http://127.0.0.1:{port}");
        let sandbox = Sandbox::start_seeing(0, &url, &seen).await?;
        let addresses = Addresses {
            functions: url,
            aws: proxy.url().to_owned(),
            dead_letters: aws.dead_letters().to_owned(),
            sandbox: sandbox.url().to_owned(),
        };
        let start = async |function: &'static Function| {
            let environment = patient(function, &addresses);
            let environments = Environments::start(&binaries, function, &environment, function.instances).await?;
            environments.ready().await?;
            Ok::<_, Error>((function.name, environments))
        };
        let functions: BTreeMap<_, _> = try_join_all(FUNCTIONS.iter().map(start)).await?.into_iter().collect();
        let gateway = Gateway::start(port, Functions::of(&functions), RETURN_ORIGINS).await?;
        let world = Self {
            functions,
            gateway,
            sandbox,
            proxy,
            tables: Arc::default(),
            aws,
            binaries,
        };
        world.proxy.reset();
        Ok(world)
    }

    /// One world for all the tests of this process, started by the first that asks.
    ///
    /// # Errors
    /// As [`World::start`]; the next caller tries again.
    pub async fn shared() -> Result<&'static Self, Error> {
        SHARED.get_or_try_init(Self::start).await
    }

    /// Where the functions answer.
    #[must_use]
    pub fn functions_url(&self) -> &str {
        self.gateway.url()
    }

    /// Where the providers' stand-ins answer.
    #[must_use]
    pub fn sandbox_url(&self) -> &str {
        self.sandbox.url()
    }

    /// The local AWS itself, past every proxy: for looking into the table, and as a further proxy's upstream.
    #[must_use]
    pub fn aws_url(&self) -> &str {
        self.aws.url()
    }

    /// The proxy that this world's functions use. Tests that run beside others start one of their own and
    /// [attach](World::attach) a function to it.
    #[must_use]
    pub fn aws_proxy(&self) -> &AwsProxy {
        &self.proxy
    }

    /// The tables in memory that every [proxy](World::proxy_of_its_own) knows beside the local AWS's.
    #[must_use]
    pub fn tables(&self) -> &MemoryTables {
        &self.tables
    }

    /// A proxy before the local AWS and the [tables in memory](World::tables).
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn proxy_of_its_own(&self) -> Result<AwsProxy, Error> {
        AwsProxy::start_with(self.aws.url(), Arc::clone(&self.tables)).await
    }

    pub(super) fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// Where a binary of the workspace is, for tests that run one by themselves.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn binary(&self, name: &str) -> Result<&std::path::Path, Error> {
        self.binaries.path(name)
    }

    /// What all environments of a function wrote.
    #[must_use]
    pub fn log(&self, function: &str) -> String {
        self.functions.get(function).map(Environments::log).unwrap_or_default()
    }

    /// The local environment of a function, straight to the local AWS and with all the patience that a busy machine needs:
    /// what [`World::attach`] and [`World::lambda`] start from.
    ///
    /// # Errors
    /// When there is no such function.
    pub fn environment(&self, function: &str) -> Result<Variables, Error> {
        Ok(patient(known(function)?, &self.addresses(self.aws.url())))
    }

    /// Calls to the local AWS, past every proxy.
    #[must_use]
    pub fn aws(&self) -> &AwsCalls {
        self.aws.calls()
    }

    /// Feeds publish-events from the world's table, from its first change on, until the feed is dropped.
    ///
    /// # Errors
    /// When the table has no stream.
    pub async fn feed(&self) -> Result<StreamFeed, Error> {
        let (mapping, functions) = (Mapping::of_template()?, Invocations::at(self.functions_url())?);
        let dead_letters = self.aws.dead_letters();
        StreamFeed::start(self.aws(), TABLE, functions, dead_letters, mapping, Log::Silent).await
    }

    /// Has reconcile-payments run as often as on AWS, until the schedule is dropped.
    ///
    /// # Errors
    /// When template.yaml has none.
    pub fn schedule(&self) -> Result<Schedule, Error> {
        Schedule::start(
            Invocations::at(self.functions_url())?,
            Rate::of_template()?,
            Log::Silent,
        )
    }

    /// Starts environments of one function behind a gateway of their own, with its local environment changed.
    ///
    /// # Errors
    /// When there is no such function, or it cannot be started.
    pub async fn attach(&self, function: &str, instances: usize, changes: &[Change<'_>]) -> Result<Attached, Error> {
        let environment = self.changed(function, changes)?;
        let function = known(function)?;
        let environments = Environments::start(&self.binaries, function, &environment, instances).await?;
        Attached::start(function, environments, RETURN_ORIGINS).await
    }

    /// Starts one function in an execution environment of its own, without a gateway, with its local environment
    /// changed.
    ///
    /// # Errors
    /// When there is no such function, or it cannot be started.
    pub async fn lambda(&self, function: &str, changes: &[Change<'_>]) -> Result<Lambda, Error> {
        let environment = self.changed(function, changes)?;
        let program = self.binary(function)?;
        Lambda::start(&self.binaries, program, known(function)?, environment).await
    }

    /// The same with a binary that is none of this workspace's, for a function that may be none of it either, and with
    /// nothing but `variables`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn lambda_of(
        &self,
        program: &std::path::Path,
        function: &'static Function,
        variables: Variables,
    ) -> Result<Lambda, Error> {
        Lambda::start(&self.binaries, program, function, variables).await
    }

    fn changed(&self, function: &str, changes: &[Change<'_>]) -> Result<Variables, Error> {
        let mut environment = self.environment(function)?;
        settings::change(&mut environment, changes);
        Ok(environment)
    }

    fn addresses(&self, aws: &str) -> Addresses {
        Addresses {
            functions: self.gateway.url().to_owned(),
            aws: aws.to_owned(),
            dead_letters: self.aws.dead_letters().to_owned(),
            sandbox: self.sandbox.url().to_owned(),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Asked all at once, waited for one by one.
        let all = self.functions.values().flat_map(Environments::all);
        all.for_each(|one| one.let_go());
        self.aws.process.let_go();
    }
}

/// The local environment of a function that waits for AWS as long as a busy machine needs.
fn patient(function: &Function, addresses: &Addresses) -> Variables {
    let mut environment = settings::of(function, addresses);
    environment.insert(SLOW_MACHINE.to_owned(), "yes".to_owned());
    environment
}

fn known(name: &str) -> Result<&'static Function, Error> {
    FUNCTIONS
        .iter()
        .find(|function| function.name == name)
        .ok_or_else(|| Error::NoBinary { name: name.to_owned() })
}
