//! A stack: its own table, and the real functions with clocks at several times.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use create_apm::handler::CreateApm;
use create_preorder::handler::CreatePreorder;
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use lambda_http::http::HeaderValue;
use payment_functions::domain::provider::Environment;
use payment_functions::domain::request_rate::RequestRate;
use payment_functions::domain::schedule::Queue;
use payment_functions::lambda::Function as _;
use payment_functions::platform::clock;
use payment_functions::platform::config::Variables;
use payment_functions::platform::failpoint::{self, ExternalCall, Hook, Point, Side};
use payment_functions::platform::secrets::{ApiKey, SecretCache, SecretsManager};
use payment_functions::providers::http_client::HttpClient;
use payment_functions::store::{Shard, Store};
use payment_functions_local::sandbox::{Config, Sandbox};
use payment_functions_tests::world::{AwsProxy, Lambda};
use reconcile_payments::poller::{FinvyPay, RateLimitedPoller};
use reconcile_payments::sweep::Sweep;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use super::*;

/// Time limit of a reconciler run.
const RUN: Duration = Duration::from_secs(40);
/// FinvyPay's limit, which no test is to wait for.
const REQUESTS_PER_MINUTE: u32 = 6_000;
/// Between two looks at a log.
const LOG_INTERVAL: Duration = Duration::from_millis(10);

/// Routes the stand-ins' webhooks to functions, like function URLs.
#[derive(Clone, Debug)]
pub struct FunctionUrls {
    url: String,
    functions: Arc<Mutex<BTreeMap<String, Arc<Lambda>>>>,
}

impl FunctionUrls {
    pub async fn open() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let function_urls = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            functions: Arc::default(),
        };
        let routes = Router::new().fallback(pass).with_state(function_urls.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        function_urls
    }

    /// The base URL of a function.
    pub fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.url)
    }

    pub fn put(&self, name: &str, lambda: &Arc<Lambda>) {
        self.functions
            .lock()
            .unwrap()
            .insert(name.to_owned(), Arc::clone(lambda));
    }

    pub fn function(&self, name: &str) -> Arc<Lambda> {
        self.functions.lock().unwrap().get(name).cloned().expect("a function")
    }

    pub fn remove(&self, name: &str) {
        self.functions.lock().unwrap().remove(name);
    }
}

/// A crashed function gives 502, as at a function URL. Any other failure gives 500 here, to tell them apart.
async fn pass(
    State(function_urls): State<FunctionUrls>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> axum::http::Response<Body> {
    let (name, path) = uri.path().trim_start_matches('/').split_once('/').unwrap();
    let lambda = function_urls.function(name);
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    let response = lambda.http(method.as_str(), &format!("/{path}"), &headers, &body).await;
    let (status, body) = match response {
        Ok(response) => (response.status, response.body),
        Err(error) => {
            let has_crashed = matches!(error, InvokeError::Died { .. });
            (if has_crashed { 502 } else { 500 }, error.to_string().into_bytes())
        }
    };
    axum::http::Response::builder()
        .status(status)
        .body(Body::from(body))
        .unwrap()
}

/// A clock ahead of the real one. Each poll advances it by the interval between the reconciler's call slots.
#[derive(Debug)]
struct ClockAhead(AtomicU64);

impl Hook for ClockAhead {
    fn reach(&self, point: Point) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let is_polled = matches!(point.call, ExternalCall::QueryStatus | ExternalCall::ListTransactions)
            && point.side == Side::After;
        if is_polled {
            self.0.fetch_add(1000, Ordering::Relaxed);
        }
        Box::pin(std::future::ready(()))
    }

    fn clock_offset(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// Blocks at a point, and signals that it was reached.
struct Barrier {
    point: Point,
    reached: Notify,
}

impl Hook for Barrier {
    fn reach(&self, point: Point) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            if point == self.point {
                self.reached.notify_one();
                std::future::pending::<()>().await;
            }
        })
    }
}

/// Stand-ins of the providers.
pub struct StandIns {
    sandbox: Sandbox,
    pub control: Control,
}

impl StandIns {
    pub async fn start() -> Self {
        let sandbox = Sandbox::start(Config::default()).await.expect("stand-ins");
        let control = Control::new(&sandbox.url()).expect("a control client");
        Self { sandbox, control }
    }

    /// The variables with the providers' addresses.
    fn variables(&self) -> [(&'static str, String); 2] {
        let names = ["APOLOPAY_BASE_URL", "FINVYPAY_BASE_URL"];
        std::array::from_fn(|nth| (names[nth], format!("{}/{}", self.sandbox.url(), aws::name(BOTH[nth]))))
    }
}

/// Shared by all stacks.
pub struct Harness {
    pub world: &'static World,
    pub function_urls: FunctionUrls,
    /// The local AWS and the tables in memory, without faults.
    pub aws: AwsProxy,
    /// The stand-ins of all tables but those that have their own.
    pub stand_ins: StandIns,
    /// Whether to run the full matrix.
    pub is_full: bool,
    /// A bundle of one certificate instead of the system's: processes start three times as fast.
    trusted: String,
    http: HttpClient,
    key: SecretCache<ApiKey>,
    /// The id of the quote secret.
    quotes: String,
    permits: Semaphore,
    /// What was retried because of a busy machine, and how often.
    retries: Mutex<BTreeMap<&'static str, usize>>,
}

/// Limits concurrent work that must succeed. Functions under test mostly wait and need no permit.
const PERMITS: usize = 4;

impl Harness {
    /// Waits for a permit, so that concurrent work does not exceed the SDK's short timeouts.
    pub async fn permit(&self) -> SemaphorePermit<'_> {
        self.permits.acquire().await.expect("permits")
    }

    pub async fn open(is_full: bool) -> Self {
        let world = world().await;
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let trusted = format!("{}/one-certificate.pem", env!("CARGO_TARGET_TMPDIR"));
        std::fs::write(&trusted, certificate.cert.pem()).unwrap();
        let secret = world.environment("create-apm").unwrap()["FINVYPAY_SECRET_ID"].clone();
        let secrets = aws::clients(world.aws_url()).secrets_manager();
        Self {
            world,
            function_urls: FunctionUrls::open().await,
            aws: aws::proxy().await,
            stand_ins: StandIns::start().await,
            is_full,
            trusted,
            http: HttpClient::new(aws::tls()).unwrap(),
            key: SecretCache::new(SecretsManager::new(secrets, secret), "apiKey"),
            quotes: quotes::secret().await,
            permits: Semaphore::new(PERMITS),
            retries: Mutex::default(),
        }
    }

    pub fn count_retry(&self, what: &'static str) {
        *self.retries.lock().unwrap().entry(what).or_default() += 1;
    }

    pub fn retries(&self) -> BTreeMap<&'static str, usize> {
        self.retries.lock().unwrap().clone()
    }

    /// Starts a function on a table, with its clock `ahead` seconds ahead.
    pub async fn lambda(&self, function: &str, table: &str, ahead: u64, changes: &[(&str, Option<&str>)]) -> Lambda {
        self.lambda_beside(&self.stand_ins, function, table, ahead, changes)
            .await
    }

    /// The same, with these stand-ins.
    pub async fn lambda_beside(
        &self,
        stand_ins: &StandIns,
        function: &str,
        table: &str,
        ahead: u64,
        changes: &[(&str, Option<&str>)],
    ) -> Lambda {
        let (ahead, webhooks) = (ahead.to_string(), self.function_urls.url(table));
        let (providers, requests) = (stand_ins.variables(), REQUESTS_PER_MINUTE.to_string());
        let mut own = vec![
            ("PAYMENTS_TABLE", Some(table)),
            ("CLOCK_OFFSET_SECONDS", Some(ahead.as_str())),
            ("SSL_CERT_FILE", Some(self.trusted.as_str())),
            ("AWS_ENDPOINT_URL", Some(self.aws.url())),
            ("FINVYPAY_REQUESTS_PER_MINUTE", Some(requests.as_str())),
        ];
        if function == "create-apm" {
            own.push(("WEBHOOK_BASE_URL", Some(webhooks.as_str())));
        }
        own.extend(providers.iter().map(|(name, url)| (*name, Some(url.as_str()))));
        own.extend(changes);
        self.world.lambda(function, &own).await.expect("a function")
    }

    /// Starts the function under test of a case.
    pub async fn lambda_for(&self, case: &Case, table: &str, changes: &[(&str, Option<&str>)]) -> Lambda {
        let mut changes = changes.to_vec();
        if case.flow.quote != Quote::None {
            changes.push(("QUOTE_SECRET_ID", Some(self.quotes.as_str())));
        }
        if let Some(secret) = &case.secret {
            let name = match case.flow.provider {
                Provider::Apolopay => "APOLOPAY_SECRET_ID",
                Provider::Finvypay => "FINVYPAY_SECRET_ID",
            };
            changes.push((name, Some(secret.as_str())));
        }
        self.lambda(case.flow.function(), table, DURING_FLOW, &changes).await
    }

    /// Runs the reconciler on a table, its clock `ahead` seconds ahead, until nothing is left to do.
    pub async fn sweep(&self, stand_ins: &StandIns, table: &str, ahead: u64) {
        let store = Store::open(&aws::clients(self.aws.url()), table.to_owned());
        let base_url = format!("{}/finvypay", stand_ins.sandbox.url());
        let clock = Arc::new(ClockAhead(AtomicU64::new(ahead * 1000)));
        loop {
            // Outside of the run, whose clock is ahead already.
            let now = || clock::now().plus(clock.clock_offset());
            let began_at = now();
            let run = async {
                let finvypay = FinvyPay {
                    client: &self.http,
                    base_url: &base_url,
                    environment: Environment::Sandbox,
                    keys: &self.key,
                    rate: RequestRate::per_minute(REQUESTS_PER_MINUTE).unwrap(),
                };
                let poller = RateLimitedPoller::new(&store, finvypay);
                Sweep::new(&store, poller, began_at).run(RUN).await
            };
            let report = failpoint::scope(clock.clone(), run)
                .await
                .expect("a run of the reconciler");
            assert_eq!(report.failed, 0, "{report:?}");
            // What was unmatched may be due since its payment was found.
            let unmatched = Shard::of(Queue::Unmatched).next().expect("a shard");
            let due = store.due(unmatched, now(), 1, None).await.expect("the due items");
            if !report.unfinished && due.is_empty() {
                return;
            }
            assert!(report.checked > 0, "the reconciler makes no progress: {report:?}");
            // Reserved items are free again.
            clock.0.fetch_add(121_000, Ordering::Relaxed);
        }
    }
}

/// A table and its functions.
pub struct Stack {
    pub table: String,
    pub recovery: Recovery,
    /// Before the flows.
    early: BTreeMap<&'static str, Arc<Lambda>>,
    /// During the leases of the flows' holders.
    soon: BTreeMap<&'static str, Arc<Lambda>>,
    /// After those leases.
    later: BTreeMap<&'static str, Arc<Lambda>>,
    /// The creating functions that require quotes, at the same times.
    quoted: BTreeMap<(When, &'static str), Arc<Lambda>>,
    /// The functions of holders that crash: without and with quotes.
    holders: [(CreatePreorder, CreateApm); 2],
}

impl Stack {
    pub async fn open(harness: &Harness, recovery: Recovery) -> Self {
        let table = unique("faults");
        aws::create_memory_table(&table).await;
        let start = async |functions: &[&'static str], ahead| {
            let mut started = BTreeMap::new();
            for function in functions {
                let lambda = harness.lambda(function, &table, ahead, &[]).await;
                started.insert(*function, Arc::new(lambda));
            }
            started
        };
        let creating = ["create-preorder", "create-apm"];
        let others = ["webhook-handler", "get-payment", "reconcile-payments"];
        let early = start(&[&creating[..], &others[..]].concat(), 0).await;
        let soon = start(&creating, DURING_FLOW + 1).await;
        let later = start(&creating, later_by(recovery)).await;
        let quotes = [("QUOTE_SECRET_ID", Some(harness.quotes.as_str()))];
        let mut quoted = BTreeMap::new();
        for (when, ahead) in [
            (When::Early, 0),
            (When::Soon, DURING_FLOW + 1),
            (When::Later, later_by(recovery)),
        ] {
            for function in creating {
                let lambda = harness.lambda(function, &table, ahead, &quotes).await;
                quoted.insert((when, function), Arc::new(lambda));
            }
        }
        harness.function_urls.put(&table, &early["webhook-handler"]);
        let environment = |function: &str, quotes: bool| {
            let mut environment = harness.world.environment(function).unwrap();
            environment.insert("PAYMENTS_TABLE".to_owned(), table.clone());
            environment.insert("WEBHOOK_BASE_URL".to_owned(), harness.function_urls.url(&table));
            environment.insert("AWS_ENDPOINT_URL".to_owned(), harness.aws.url().to_owned());
            for (name, url) in harness.stand_ins.variables() {
                environment.insert(name.to_owned(), url);
            }
            if quotes {
                environment.insert("QUOTE_SECRET_ID".to_owned(), harness.quotes.clone());
            }
            environment
        };
        let holders = [false, true].map(|quotes| {
            let preorder = environment("create-preorder", quotes);
            let apm = environment("create-apm", quotes);
            let (preorder, apm) = (
                |name: &str| preorder.get(name).cloned(),
                |name: &str| apm.get(name).cloned(),
            );
            (
                CreatePreorder::configure(&Variables::from(&preorder)).unwrap(),
                CreateApm::configure(&Variables::from(&apm)).unwrap(),
            )
        });
        Self {
            holders,
            quoted,
            table,
            recovery,
            early,
            soon,
            later,
        }
    }

    /// Sends a case's create request.
    pub async fn create(&self, case: &Case, when: When) -> Result<Response, InvokeError> {
        let name = function(case.flow.provider);
        let function = match when {
            _ if case.quote.is_some() => &self.quoted[&(when, name)],
            When::Early => &self.early[name],
            When::Soon => &self.soon[name],
            When::Later => &self.later[name],
        };
        create_at(function, case, &case.body()).await
    }

    /// Creates a case's payment and crashes after the provider's response. Returns the status if there is a response
    /// instead.
    pub async fn crash_holder(&self, case: &Case) -> Option<u16> {
        let barrier = Arc::new(Barrier {
            point: Point {
                call: ExternalCall::CreateAtProvider,
                side: Side::After,
            },
            reached: Notify::new(),
        });
        let mut event = ApiGatewayV2httpRequest::default();
        event
            .headers
            .insert("content-type", HeaderValue::from_static("application/json"));
        if let Some(key) = &case.key {
            event.headers.insert("idempotency-key", key.parse().unwrap());
        }
        event.body = Some(case.body().to_string());
        let (preorders, apms) = &self.holders[usize::from(case.quote.is_some())];
        let flow = failpoint::scope(barrier.clone(), async {
            match case.flow.provider {
                Provider::Apolopay => preorders.handle(event).await,
                Provider::Finvypay => apms.handle(event).await,
            }
        });
        tokio::select! {
            response = flow => Some(response.unwrap().status_code.try_into().unwrap()),
            () = barrier.reached.notified() => None,
        }
    }

    pub async fn get(&self, id: &str) -> Response {
        let response = self.early["get-payment"]
            .http("GET", &format!("/payments/{id}"), &[], b"")
            .await;
        response.expect("a response").into()
    }

    /// The function that gets operators' commands.
    pub fn operator_function(&self) -> &Lambda {
        &self.early["reconcile-payments"]
    }
}

/// The clock offset of the functions after the leases.
fn later_by(recovery: Recovery) -> u64 {
    if recovery == Recovery::Reconciler {
        AFTER_SWEEPS
    } else {
        AFTER_LEASES
    }
}

/// Sends a case's create request with this body to a function.
pub async fn create_at(lambda: &Lambda, case: &Case, body: &Value) -> Result<Response, InvokeError> {
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(case.key.as_deref().map(|key| ("idempotency-key", key)));
    let (route, body) = (route(case.flow.provider), body.to_string());
    let response = lambda.http("POST", route, &headers, body.as_bytes()).await?;
    Ok(response.into())
}

/// Sends an operator's command to a function.
pub async fn command_at(lambda: &Lambda, action: &str, id: &str) -> Result<Value, InvokeError> {
    let command = json!({ "action": action, "paymentId": id, "actor": "ops", "reason": "seen on the chain" });
    let done = lambda.invoke(command.to_string()).await?;
    Ok(serde_json::from_slice(&done).unwrap())
}

/// Runs a function under test, with its own AWS proxy.
pub struct Worker {
    pub name: String,
    pub proxy: AwsProxy,
    table: String,
    running: Option<Running>,
}

/// A running function.
struct Running {
    setup: Setup,
    lambda: Arc<Lambda>,
    /// Whether the calls at its start have ended.
    is_warm: bool,
    /// The number of its cases.
    cases: usize,
}

/// The maximum number of cases of one process. Only the latest lines of its log are kept.
const MAX_CASES: usize = 200;

/// How a worker's function is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setup {
    requires_quotes: bool,
    has_usual_limits: bool,
    /// A secret of its own, which is rotated once.
    secret: Option<String>,
}

impl Setup {
    fn of(case: &Case, fault: &Fault) -> Self {
        Self {
            requires_quotes: case.flow.quote != Quote::None,
            has_usual_limits: fault.needs_usual_limits(),
            secret: case.secret.clone(),
        }
    }
}

impl Worker {
    pub async fn open(table: &str) -> Self {
        Self {
            name: unique("station"),
            proxy: aws::proxy().await,
            table: table.to_owned(),
            running: None,
        }
    }

    /// Whether the running function has the setup for this case and fault.
    pub fn matches(&self, case: &Case, fault: &Fault) -> bool {
        let running = self.running.as_ref();
        running.is_some_and(|running| running.cases < MAX_CASES && running.setup == Setup::of(case, fault))
    }

    pub fn lambda(&self) -> Arc<Lambda> {
        Arc::clone(&self.running.as_ref().expect("a function").lambda)
    }

    /// Replaces the process with a new one, which gets the fault if `step` is at its start. Does not wait for its
    /// start.
    ///
    /// The new process has a proxy of its own: attempts of the old one that arrive late are not counted among its
    /// calls.
    pub async fn restart(&mut self, harness: &Harness, case: &Case, step: &Step, fault: &Fault) {
        self.proxy = aws::proxy().await;
        if step.is_at_start {
            fault.set_up(&self.proxy, step);
        }
        let mut changes = vec![
            ("AWS_ENDPOINT_URL", Some(self.proxy.url())),
            ("FAILPOINTS", Some("log")),
        ];
        changes.extend(fault.needs_usual_limits().then_some(PRODUCTION_TIMEOUTS));
        let lambda = Arc::new(harness.lambda_for(case, &self.table, &changes).await);
        harness.function_urls.put(&self.name, &lambda);
        self.running = Some(Running {
            setup: Setup::of(case, fault),
            lambda,
            is_warm: false,
            cases: 0,
        });
    }

    /// Waits until the calls that the function makes at its start have ended, or the process has. A function does not
    /// wait for them itself if they take long.
    pub async fn warm_up(&mut self, cell: &Cell) {
        let running = self.running.as_mut().expect("a function");
        running.cases += 1;
        if running.is_warm {
            return;
        }
        running.lambda.ready().await;
        let has_ended = || running.lambda.ended().is_some();
        while points::ended_calls(&running.lambda.log()) < cell.calls_at_start && !has_ended() {
            tokio::time::sleep(LOG_INTERVAL).await;
        }
        running.is_warm = true;
    }

    pub fn end(&mut self, harness: &Harness) {
        harness.function_urls.remove(&self.name);
        self.running = None;
    }
}
