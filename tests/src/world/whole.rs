//! The local environment for tests: everything is real except the providers, and has its own ports.
//!
//! The functions' binaries are built first, so they are never stale. They do not inherit this process's environment
//! variables. Everything ends when the world is dropped or this process ends, however it ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::try_join_all;
use payment_functions_local::sandbox::{Control, ListMode};
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

/// Gives a function the AWS timeouts that it has in Lambda. Otherwise functions wait longer in tests, since all tests
/// keep the machine busy.
pub const PRODUCTION_TIMEOUTS: Change<'static> = (SLOW_MACHINE, None);

static SHARED: OnceCell<World> = OnceCell::const_new();

/// A local AWS, the provider sandbox, and environments of every function behind a gateway.
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
    /// When a part does not build, start or respond in time.
    pub async fn start() -> Result<Self, Error> {
        let binaries = Binaries::build().await?;
        let table = Variables::from([("PAYMENTS_TABLE".to_owned(), TABLE.to_owned())]);
        let aws = LocalAws::start(&binaries, free_port()?, &table).await?;
        let proxy = AwsProxy::start(aws.url()).await?;
        let mut seen = settings::aws(aws.url());
        seen.extend(table);
        // The functions need to know their own URL when they start.
        let port = free_port()?;
        let url = format!("http://127.0.0.1:{port}");
        let sandbox = Sandbox::start_with_environment(0, &url, &seen).await?;
        // The tests have a table each, whose payments the list would mix up.
        Control::new(sandbox.url())?
            .list_modes(&[ListMode::OnlyOfOrders])
            .await?;
        let addresses = Addresses {
            functions: url,
            aws: proxy.url().to_owned(),
            dead_letters: aws.dead_letters().to_owned(),
            sandbox: sandbox.url().to_owned(),
        };
        let start = async |function: &'static Function| {
            let environment = with_long_timeouts(function, &addresses);
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

    /// One world for all tests of this process, started by the first caller.
    ///
    /// # Errors
    /// As [`World::start`]; the next caller tries again.
    pub async fn shared() -> Result<&'static Self, Error> {
        SHARED.get_or_try_init(Self::start).await
    }

    /// The functions' base URL.
    #[must_use]
    pub fn functions_url(&self) -> &str {
        self.gateway.url()
    }

    /// The base URL of the provider sandbox.
    #[must_use]
    pub fn sandbox_url(&self) -> &str {
        self.sandbox.url()
    }

    /// The URL of the local AWS, bypassing every proxy: to read the table, and as the upstream of another proxy.
    #[must_use]
    pub fn aws_url(&self) -> &str {
        self.aws.url()
    }

    /// The proxy that this world's functions use. Tests that run in parallel start their own proxy and
    /// [attach](World::attach) a function to it.
    #[must_use]
    pub fn aws_proxy(&self) -> &AwsProxy {
        &self.proxy
    }

    /// The tables in memory that every [new proxy](World::new_proxy) serves besides the local AWS's tables.
    #[must_use]
    pub fn tables(&self) -> &MemoryTables {
        &self.tables
    }

    /// Starts a proxy in front of the local AWS and the [tables in memory](World::tables).
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn new_proxy(&self) -> Result<AwsProxy, Error> {
        AwsProxy::start_with(self.aws.url(), Arc::clone(&self.tables)).await
    }

    pub(super) fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// The path of a binary of the workspace.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn binary(&self, name: &str) -> Result<&std::path::Path, Error> {
        self.binaries.path(name)
    }

    /// The logs of all environments of a function.
    #[must_use]
    pub fn log(&self, function: &str) -> String {
        self.functions.get(function).map(Environments::log).unwrap_or_default()
    }

    /// The environment variables of a function that calls the local AWS directly and has long timeouts.
    /// [`World::attach`] and [`World::lambda`] start with these.
    ///
    /// # Errors
    /// When there is no such function.
    pub fn environment(&self, function: &str) -> Result<Variables, Error> {
        Ok(with_long_timeouts(known(function)?, &self.addresses(self.aws.url())))
    }

    /// Calls to the local AWS, past every proxy.
    #[must_use]
    pub fn aws(&self) -> &AwsCalls {
        self.aws.calls()
    }

    /// Feeds publish-events with all changes of the table since its creation, until the feed is dropped.
    ///
    /// # Errors
    /// When the table has no stream.
    pub async fn feed(&self) -> Result<StreamFeed, Error> {
        let (mapping, functions) = (Mapping::of_changes()?, Invocations::at(self.functions_url())?);
        let dead_letters = self.aws.dead_letters();
        StreamFeed::start(self.aws(), TABLE, functions, dead_letters, mapping, Log::Silent).await
    }

    /// Invokes reconcile-payments at template.yaml's rate, until the schedule is dropped.
    ///
    /// # Errors
    /// When template.yaml has no schedule.
    pub fn schedule(&self) -> Result<Schedule, Error> {
        Schedule::start(
            Invocations::at(self.functions_url())?,
            Rate::of_template()?,
            Log::Silent,
        )
    }

    /// Starts environments of one function behind their own gateway, with changed environment variables.
    ///
    /// # Errors
    /// When there is no such function, or it cannot be started.
    pub async fn attach(&self, function: &str, instances: usize, changes: &[Change<'_>]) -> Result<Attached, Error> {
        let environment = self.changed(function, changes)?;
        let function = known(function)?;
        let environments = Environments::start(&self.binaries, function, &environment, instances).await?;
        Attached::start(function, environments, RETURN_ORIGINS).await
    }

    /// Starts one function in its own execution environment, without a gateway, with changed environment variables.
    ///
    /// # Errors
    /// When there is no such function, or it cannot be started.
    pub async fn lambda(&self, function: &str, changes: &[Change<'_>]) -> Result<Lambda, Error> {
        let environment = self.changed(function, changes)?;
        let program = self.binary(function)?;
        Lambda::start(&self.binaries, program, known(function)?, environment).await
    }

    /// Starts any program as a function, which may be from another workspace, with `variables` only.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn lambda_from_program(
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
        // Signals all of them first; dropping then waits for each.
        let all = self.functions.values().flat_map(Environments::all);
        all.for_each(|one| one.let_go());
        self.aws.process.request_end();
    }
}

/// The local environment variables of a function, with AWS timeouts for a busy machine.
fn with_long_timeouts(function: &Function, addresses: &Addresses) -> Variables {
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
