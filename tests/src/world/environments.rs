//! Execution environments of functions behind a gateway, as Lambda has them: an invocation takes one that is idle, or
//! waits for one.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::body::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, try_join_all};
use payment_functions_local::{Binaries, Error, Failure, Function, Gateway, Invocations, Invoke, Variables};
use tokio::sync::{Mutex, mpsc};

use super::{Lambda, NoAnswer};

/// A busy machine takes longer than a function has on AWS.
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
    /// Starts `count` of them with nothing but `variables`, and does not wait for them to be ready.
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
            // The receiver is kept beside it.
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

    /// Waits until every one has opened its connections and fetched its secrets, or has tried to.
    pub(super) async fn ready(&self) -> Result<(), Error> {
        for one in self.all() {
            one.at_work().await?;
        }
        Ok(())
    }

    pub(super) fn log(&self) -> String {
        self.all().iter().map(|one| one.log()).collect::<Vec<_>>().join("\n")
    }

    async fn invoke(&self, event: Bytes) -> Result<Bytes, Failure> {
        let one = loop {
            let Some(one) = self.0.idle.lock().await.recv().await else {
                return Err(Failure::NoAnswer("there is no environment".to_owned()));
            };
            // A dead one is passed over, unless all are.
            if one.ended().is_none() || self.all().iter().all(|other| other.ended().is_some()) {
                break one;
            }
        };
        let response = one.invoke(event).await;
        let _ = self.0.done.send(one);
        response.map_err(|error| match error {
            NoAnswer::Failed(reported) => Failure::Reported(reported.to_string().into()),
            NoAnswer::TimedOut { .. } => Failure::TimedOut,
            NoAnswer::Died { .. } | NoAnswer::Unreadable(_) => Failure::NoAnswer(error.to_string()),
        })
    }
}

/// The environments of functions, by name, for as long as somebody else holds them: they end where that is dropped.
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
                None => Err(Failure::NoAnswer(format!("there is no function {name}"))),
            }
        }
        .boxed()
    }
}

/// Environments of one function behind a gateway of their own. They end when this is dropped.
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

    /// Where the function answers, with the same paths as in the world.
    #[must_use]
    pub fn url(&self) -> &str {
        self.gateway.url()
    }

    /// Invoking the function as AWS's own services do.
    ///
    /// # Errors
    /// When there is no HTTP client.
    pub fn invocations(&self) -> Result<Invocations, Error> {
        Invocations::at(self.url())
    }

    /// Waits until every environment has opened its connections and fetched its secrets, or has tried to.
    ///
    /// # Errors
    /// When one of them ends instead.
    pub async fn ready(&self) -> Result<(), Error> {
        self.environments.ready().await
    }

    /// What its environments wrote.
    #[must_use]
    pub fn log(&self) -> String {
        self.environments.log()
    }

    /// Its environments, to see how they ended, or to end one.
    #[must_use]
    pub fn environments(&self) -> &[Arc<Lambda>] {
        self.environments.all()
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // Asked all at once, waited for one by one.
        self.environments().iter().for_each(|one| one.let_go());
    }
}
