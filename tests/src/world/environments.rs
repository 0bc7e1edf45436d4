//! Execution environments of functions behind a gateway, as in Lambda: an invocation takes an idle environment, or
//! waits for one.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::body::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, try_join_all};
use payment_functions_local::{Binaries, Error, Failure, Function, Gateway, Invocations, Invoke, Variables};
use tokio::sync::{Mutex, mpsc};

use super::{InvokeError, Lambda};

/// Per invocation. Longer than on AWS, since all tests keep the machine busy.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// The environments of one function. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Environments(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    all: Vec<Arc<Lambda>>,
    idle: Mutex<mpsc::UnboundedReceiver<Arc<Lambda>>>,
    done: mpsc::UnboundedSender<Arc<Lambda>>,
}

impl Environments {
    /// Starts `count` environments with `variables` only, and does not wait until they are ready.
    pub(super) async fn start(
        binaries: &Binaries,
        function: &'static Function,
        variables: &Variables,
        count: usize,
    ) -> Result<Self, Error> {
        let program = binaries.path(function.name)?;
        let start = || Lambda::start(binaries, program, function, variables.clone());
        let all = try_join_all(std::iter::repeat_with(start).take(count)).await?;
        let all: Vec<_> = all
            .into_iter()
            .map(|one| Arc::new(one.with_time_limit(TIME_LIMIT)))
            .collect();
        let (done, idle) = mpsc::unbounded_channel();
        for one in &all {
            // Cannot fail: the receiver is in the same struct.
            let _ = done.send(Arc::clone(one));
        }
        Ok(Self(Arc::new(Pool {
            all,
            idle: Mutex::new(idle),
            done,
        })))
    }

    pub(super) fn all(&self) -> &[Arc<Lambda>] {
        &self.0.all
    }

    /// Waits until every environment has tried to open its connections and to fetch its secrets.
    pub(super) async fn ready(&self) -> Result<(), Error> {
        for one in self.all() {
            one.warmed_up().await?;
        }
        Ok(())
    }

    pub(super) fn log(&self) -> String {
        self.all().iter().map(|one| one.log()).collect::<Vec<_>>().join("\n")
    }

    async fn invoke(&self, event: Bytes) -> Result<Bytes, Failure> {
        let one = loop {
            let Some(one) = self.0.idle.lock().await.recv().await else {
                return Err(Failure::NoResponse("there is no environment".to_owned()));
            };
            // Skips dead environments, unless all of them are dead.
            if one.ended().is_none() || self.all().iter().all(|other| other.ended().is_some()) {
                break one;
            }
        };
        let response = one.invoke(event).await;
        let _ = self.0.done.send(one);
        response.map_err(|error| match error {
            InvokeError::Failed(reported) => Failure::Reported(reported.to_string().into()),
            InvokeError::TimedOut { .. } => Failure::TimedOut,
            InvokeError::Died { .. } | InvokeError::Unreadable(_) => Failure::NoResponse(error.to_string()),
        })
    }
}

/// The environments of functions by name. Weak references: the environments end when their owner is dropped.
pub(super) struct Functions(BTreeMap<&'static str, Weak<Pool>>);

impl Functions {
    pub(super) fn of<'a>(all: impl IntoIterator<Item = (&'a &'static str, &'a Environments)>) -> Self {
        let weak = all.into_iter().map(|(name, own)| (*name, Arc::downgrade(&own.0)));
        Self(weak.collect())
    }
}

impl Invoke for Functions {
    fn invoke(&self, function: &str, event: Bytes) -> BoxFuture<'_, Result<Bytes, Failure>> {
        let (environments, name) = (self.0.get(function).and_then(Weak::upgrade), function.to_owned());
        async move {
            match environments {
                Some(environments) => Environments(environments).invoke(event).await,
                None => Err(Failure::NoResponse(format!("there is no function {name}"))),
            }
        }
        .boxed()
    }
}

/// Environments of one function behind their own gateway. They end when this is dropped.
#[derive(Debug)]
pub struct Attached {
    environments: Environments,
    gateway: Gateway,
}

impl Attached {
    pub(super) async fn start(
        function: &'static Function,
        environments: Environments,
        origins: &str,
    ) -> Result<Self, Error> {
        let functions = Functions::of([(&function.name, &environments)]);
        Ok(Self {
            environments,
            gateway: Gateway::start(0, functions, origins).await?,
        })
    }

    /// The function's base URL, with the same paths as in [`World`](super::World).
    #[must_use]
    pub fn url(&self) -> &str {
        self.gateway.url()
    }

    /// Invokes the function directly, as AWS services do.
    ///
    /// # Errors
    /// When there is no HTTP client.
    pub fn invocations(&self) -> Result<Invocations, Error> {
        Invocations::at(self.url())
    }

    /// Waits until every environment has tried to open its connections and to fetch its secrets.
    ///
    /// # Errors
    /// When one of them exits instead.
    pub async fn ready(&self) -> Result<(), Error> {
        self.environments.ready().await
    }

    /// The log of all its environments.
    #[must_use]
    pub fn log(&self) -> String {
        self.environments.log()
    }

    /// Its environments, to check their exit status or to kill one.
    #[must_use]
    pub fn environments(&self) -> &[Arc<Lambda>] {
        self.environments.all()
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // Signals all of them first; dropping then waits for each.
        self.environments().iter().for_each(|one| one.let_go());
    }
}
