//! A shop: a table of its own, and the real functions over it, at several moments of their clocks.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use create_apm::handler::CreateApm;
use create_preorder::handler::CreatePreorder;
use lambda_http::http::Request;
use payment_functions::domain::provider::Environment;
use payment_functions::lambda::Function as _;
use payment_functions::platform::clock;
use payment_functions::platform::config::Variables;
use payment_functions::platform::failpoint::{self, ExternalCall, Hook, Point, Side};
use payment_functions::platform::secrets::{ApiKey, SecretCache, SecretsManager};
use payment_functions::providers::http_client::HttpClient;
use payment_functions::store::Store;
use payment_functions_local::sandbox::{Config, Sandbox};
use payment_functions_tests::world::{AwsProxy, Lambda};
use reconcile_payments::poller::{FinvyPay, RateLimitedPoller};
use reconcile_payments::report::ForAPerson;
use reconcile_payments::sweep::Sweep;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use super::*;

/// How long a run of the reconciler goes on.
const RUN: Duration = Duration::from_secs(40);

/// Hands the stand-ins' webhooks to functions, as their function URLs do.
#[derive(Clone, Debug)]
pub struct Gate {
    url: String,
    behind: Arc<Mutex<BTreeMap<String, Arc<Lambda>>>>,
}

impl Gate {
    pub async fn open() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gate = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            behind: Arc::default(),
        };
        let routes = Router::new().fallback(pass).with_state(gate.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        gate
    }

    /// The base URL of a function behind it.
    pub fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.url)
    }

    pub fn put(&self, name: &str, lambda: &Arc<Lambda>) {
        self.behind.lock().unwrap().insert(name.to_owned(), Arc::clone(lambda));
    }

    /// The function of this name.
    pub fn function(&self, name: &str) -> Arc<Lambda> {
        self.behind.lock().unwrap().get(name).cloned().expect("a function")
    }

    pub fn remove(&self, name: &str) {
        self.behind.lock().unwrap().remove(name);
    }
}

/// A function that dies is a 502, as at a function URL. There, so is one that fails in any other way: a 500 here, so that it
/// is not taken for a death.
async fn pass(State(gate): State<Gate>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let (name, path) = uri.path().trim_start_matches('/').split_once('/').unwrap();
    let lambda = gate.function(name);
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    let answer = lambda.http(method.as_str(), &format!("/{path}"), &headers, &body).await;
    let (status, body) = match answer {
        Ok(answer) => (answer.status, answer.body),
        Err(error) => {
            let is_dead = matches!(error, NoAnswer::Died { .. });
            (if is_dead { 502 } else { 500 }, error.to_string().into_bytes())
        }
    };
    Response::builder().status(status).body(Body::from(body)).unwrap()
}

/// A clock that is ahead, and the reconciler's turns: the time between two passes while the first is asked.
#[derive(Debug)]
struct Ahead(AtomicU64);

impl Hook for Ahead {
    fn reach(&self, point: Point) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let is_asked = matches!(point.call, ExternalCall::QueryStatus | ExternalCall::ListTransactions)
            && point.side == Side::After;
        if is_asked {
            self.0.fetch_add(1000, Ordering::Relaxed);
        }
        Box::pin(std::future::ready(()))
    }

    fn clock_offset(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// Lets nobody past a point, and tells that somebody is there.
struct Grave {
    point: Point,
    reached: Notify,
}

impl Hook for Grave {
    fn reach(&self, point: Point) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            if point == self.point {
                self.reached.notify_one();
                std::future::pending::<()>().await;
            }
        })
    }
}

/// What all shops share.
pub struct Town {
    pub world: &'static World,
    pub gate: Gate,
    /// The local AWS and the tables in memory, without faults.
    pub aws: AwsProxy,
    /// Stand-ins of its own.
    sandbox: Sandbox,
    pub control: Control,
    /// Whether the whole matrix is gone through.
    pub is_full: bool,
    /// One certificate instead of the system's hundred and more: a process starts in a third of the time.
    trusted: String,
    http: HttpClient,
    key: SecretCache<ApiKey>,
    /// The secret of quotes.
    quotes: String,
    turns: Semaphore,
    /// What was begun again that a busy machine had cut short, and how often.
    again: Mutex<BTreeMap<&'static str, usize>>,
}

/// How many at one time do what nothing goes wrong with. What is struck mostly waits, and takes no turn.
const TURNS: usize = 4;

impl Town {
    /// Waits for a turn, so that what should go well is not kept from it by too much at once: the SDK's limits are short.
    pub async fn turn(&self) -> SemaphorePermit<'_> {
        self.turns.acquire().await.expect("turns")
    }

    pub async fn open(is_full: bool) -> Self {
        let world = world().await;
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let trusted = format!("{}/one-certificate.pem", env!("CARGO_TARGET_TMPDIR"));
        std::fs::write(&trusted, certificate.cert.pem()).unwrap();
        let secret = world.environment("create-apm").unwrap()["FINVYPAY_SECRET_ID"].clone();
        let secrets = aws::clients(world.aws_url()).secrets_manager();
        let sandbox = Sandbox::start(Config::default()).await.expect("stand-ins");
        Self {
            world,
            gate: Gate::open().await,
            aws: aws::proxy().await,
            control: Control::new(&sandbox.url()).expect("a control client"),
            sandbox,
            is_full,
            trusted,
            http: HttpClient::new(aws::tls()).unwrap(),
            key: SecretCache::new(SecretsManager::new(secrets, secret), "apiKey"),
            quotes: quotes::secret().await,
            turns: Semaphore::new(TURNS),
            again: Mutex::default(),
        }
    }

    /// Counts that something is begun again.
    pub fn goes_again(&self, what: &'static str) {
        *self.again.lock().unwrap().entry(what).or_default() += 1;
    }

    /// What was begun again, and how often.
    pub fn again(&self) -> BTreeMap<&'static str, usize> {
        self.again.lock().unwrap().clone()
    }

    /// The variables with the providers' addresses.
    fn providers(&self) -> [(&'static str, String); 2] {
        let names = ["APOLOPAY_BASE_URL", "FINVYPAY_BASE_URL"];
        std::array::from_fn(|nth| (names[nth], format!("{}/{}", self.sandbox.url(), aws::name(BOTH[nth]))))
    }

    /// Starts a function over a table, its clock so many seconds ahead.
    pub async fn lambda(&self, function: &str, table: &str, ahead: u64, changes: &[(&str, Option<&str>)]) -> Lambda {
        let (ahead, webhooks) = (ahead.to_string(), self.gate.url(table));
        let providers = self.providers();
        let mut own = vec![
            ("PAYMENTS_TABLE", Some(table)),
            ("CLOCK_OFFSET_SECONDS", Some(ahead.as_str())),
            ("SSL_CERT_FILE", Some(self.trusted.as_str())),
            ("AWS_ENDPOINT_URL", Some(self.aws.url())),
        ];
        if function == "create-apm" {
            own.push(("WEBHOOK_BASE_URL", Some(webhooks.as_str())));
        }
        own.extend(providers.iter().map(|(name, url)| (*name, Some(url.as_str()))));
        own.extend(changes);
        self.world.lambda(function, &own).await.expect("a function")
    }

    /// Starts the function of a case that is struck.
    pub async fn lambda_of(&self, case: &Case, table: &str, changes: &[(&str, Option<&str>)]) -> Lambda {
        let mut changes = changes.to_vec();
        if case.flow.quoted {
            changes.push(("QUOTE_SECRET_ID", Some(self.quotes.as_str())));
        }
        if let Some(secret) = &case.secret {
            let name = match case.flow.provider {
                Provider::Apolopay => "APOLOPAY_SECRET_ID",
                Provider::Finvypay => "FINVYPAY_SECRET_ID",
            };
            changes.push((name, Some(secret.as_str())));
        }
        self.lambda(case.flow.function(), table, STRUCK, &changes).await
    }

    /// Runs the reconciler over a table so many seconds ahead, as often as it takes until nothing is left to do. Nothing
    /// goes wrong any more then; what is too much for one run is the next one's. Gives what it left to a person.
    pub async fn sweep(&self, table: &str, ahead: u64) -> Vec<ForAPerson> {
        let store = Store::open(&aws::clients(self.aws.url()), table.to_owned());
        let base_url = format!("{}/finvypay", self.sandbox.url());
        let clock = Arc::new(Ahead(AtomicU64::new(ahead * 1000)));
        let mut for_a_person = Vec::new();
        loop {
            let run = async {
                let now = clock::now();
                let finvypay = FinvyPay {
                    client: &self.http,
                    base_url: &base_url,
                    environment: Environment::Sandbox,
                    keys: &self.key,
                };
                let asker = RateLimitedPoller::new(&store, finvypay);
                Sweep::new(&store, asker, now).run(RUN).await.map(|(report, _)| report)
            };
            let report = failpoint::scope(clock.clone(), run)
                .await
                .expect("a run of the reconciler");
            assert_eq!(report.failed, 0, "{report:?}");
            for_a_person.extend(report.for_a_person.iter().cloned());
            if !report.unfinished {
                return for_a_person;
            }
            assert!(report.checked > 0, "the reconciler does not come to an end: {report:?}");
            // What it had claimed is free again.
            clock.0.fetch_add(121_000, Ordering::Relaxed);
        }
    }
}

/// A table, and the functions over it.
pub struct Shop {
    pub table: String,
    pub life: Life,
    /// Before the flows.
    early: BTreeMap<&'static str, Arc<Lambda>>,
    /// While the leases of the flows' holders run.
    soon: BTreeMap<&'static str, Arc<Lambda>>,
    /// After they ran out.
    later: BTreeMap<&'static str, Arc<Lambda>>,
    preorders: CreatePreorder,
    apms: CreateApm,
}

impl Shop {
    pub async fn open(town: &Town, life: Life) -> Self {
        let table = unique("faults");
        aws::create_memory_table(&table).await;
        let start = async |functions: &[&'static str], ahead| {
            let mut started = BTreeMap::new();
            for function in functions {
                let lambda = town.lambda(function, &table, ahead, &[]).await;
                started.insert(*function, Arc::new(lambda));
            }
            started
        };
        let creating = ["create-preorder", "create-apm"];
        let others = ["webhook-handler", "get-payment", "reconcile-payments"];
        let early = start(&[&creating[..], &others[..]].concat(), 0).await;
        let soon = start(&creating, STRUCK + 1).await;
        let later = start(&creating, if life == Life::Reconciler { AFTER_SWEEPS } else { LATER }).await;
        town.gate.put(&table, &early["webhook-handler"]);
        let environment = |function: &str| {
            let mut environment = town.world.environment(function).unwrap();
            environment.insert("PAYMENTS_TABLE".to_owned(), table.clone());
            environment.insert("WEBHOOK_BASE_URL".to_owned(), town.gate.url(&table));
            environment.insert("AWS_ENDPOINT_URL".to_owned(), town.aws.url().to_owned());
            for (name, url) in town.providers() {
                environment.insert(name.to_owned(), url);
            }
            environment
        };
        let (preorder, apm) = (environment("create-preorder"), environment("create-apm"));
        let (preorder, apm) = (
            |name: &str| preorder.get(name).cloned(),
            |name: &str| apm.get(name).cloned(),
        );
        Self {
            preorders: CreatePreorder::configure(&Variables::from(&preorder)).unwrap(),
            apms: CreateApm::configure(&Variables::from(&apm)).unwrap(),
            table,
            life,
            early,
            soon,
            later,
        }
    }

    /// Posts a case's request to create its payment.
    pub async fn create(&self, case: &Case, when: When) -> Result<Answer, NoAnswer> {
        let functions = match when {
            When::Early => &self.early,
            When::Soon => &self.soon,
            When::Later => &self.later,
        };
        create_at(&functions[function(case.flow.provider)], case, &case.body()).await
    }

    /// Somebody dies who created a case's payment, when the provider had answered; or gives the status of an answer.
    pub async fn holder_dies(&self, case: &Case) -> Option<u16> {
        let grave = Arc::new(Grave {
            point: Point {
                call: ExternalCall::CreateAtProvider,
                side: Side::After,
            },
            reached: Notify::new(),
        });
        let mut request = Request::post(route(case.flow.provider)).header("content-type", "application/json");
        if let Some(key) = &case.key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(lambda_http::Body::from(case.body().to_string())).unwrap();
        let flow = failpoint::scope(grave.clone(), async {
            match case.flow.provider {
                Provider::Apolopay => self.preorders.handle(&request).await,
                Provider::Finvypay => self.apms.handle(&request).await,
            }
        });
        tokio::select! {
            answer = flow => Some(answer.status().as_u16()),
            () = grave.reached.notified() => None,
        }
    }

    pub async fn get(&self, id: &str) -> Answer {
        let answer = self.early["get-payment"]
            .http("GET", &format!("/payments/{id}"), &[], b"")
            .await;
        answer.expect("an answer").into()
    }

    /// The function to which an operator speaks.
    pub fn operators(&self) -> &Lambda {
        &self.early["reconcile-payments"]
    }
}

/// Posts a case's request with this body to one function.
pub async fn create_at(lambda: &Lambda, case: &Case, body: &Value) -> Result<Answer, NoAnswer> {
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(case.key.as_deref().map(|key| ("idempotency-key", key)));
    let (route, body) = (route(case.flow.provider), body.to_string());
    let answer = lambda.http("POST", route, &headers, body.as_bytes()).await?;
    Ok(answer.into())
}

/// An operator's word about a payment, to one function.
pub async fn say_at(lambda: &Lambda, action: &str, id: &str) -> Result<Value, NoAnswer> {
    let word = json!({ "action": action, "paymentId": id, "actor": "ops", "reason": "seen on the chain" });
    let done = lambda.invoke(word.to_string()).await?;
    Ok(serde_json::from_slice(&done).unwrap())
}

/// A place for a function to be struck, with a proxy of its own before AWS.
pub struct Station {
    pub name: String,
    pub proxy: AwsProxy,
    table: String,
    running: Option<(Setup, Arc<Lambda>)>,
}

/// What a station's function is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setup {
    asks_for_quotes: bool,
    has_usual_limits: bool,
    /// Of its own, which is rotated once.
    secret: Option<String>,
}

impl Setup {
    fn of(case: &Case, blow: &Blow) -> Self {
        Self {
            asks_for_quotes: case.flow.quoted,
            has_usual_limits: blow.needs_usual_limits(),
            secret: case.secret.clone(),
        }
    }
}

impl Station {
    pub async fn open(table: &str) -> Self {
        Self {
            name: unique("station"),
            proxy: aws::proxy().await,
            table: table.to_owned(),
            running: None,
        }
    }

    /// Whether a function runs as this case and blow need it.
    pub fn suits(&self, case: &Case, blow: &Blow) -> bool {
        let running = self.running.as_ref();
        running.is_some_and(|(setup, _)| *setup == Setup::of(case, blow))
    }

    /// The function.
    pub fn lambda(&self) -> Arc<Lambda> {
        let (_, lambda) = self.running.as_ref().expect("a function");
        Arc::clone(lambda)
    }

    /// Ends the process, if there is one, and starts another. Does not wait for what it does at its start.
    pub async fn start_anew(&mut self, town: &Town, case: &Case, blow: &Blow) {
        let mut changes = vec![("AWS_ENDPOINT_URL", Some(self.proxy.url()))];
        changes.extend(blow.needs_usual_limits().then_some(USUAL_LIMITS));
        let lambda = Arc::new(town.lambda_of(case, &self.table, &changes).await);
        town.gate.put(&self.name, &lambda);
        self.running = Some((Setup::of(case, blow), lambda));
    }

    /// Ends the process.
    pub fn end(&mut self, town: &Town) {
        town.gate.remove(&self.name);
        self.running = None;
    }
}
