//! Secrets from Secrets Manager, cached.
//!
//! Guarantees: one fetch at a time however many ask; a secret that cannot be fetched anew is used on (stale on error);
//! at most one forced refresh a minute, whoever forces it, so that nobody's forgeries cost more; what is signed with a
//! webhook secret that was stored a minute before verifies, whatever is forged meanwhile; no secret is shown by `Debug`
//! or by an error.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;

use crate::aws::{self, patience};
use crate::clock::Timestamp;
use crate::config::ENVIRONMENT;
use crate::fault::{Call, around};
use crate::json::{Json, Object};
use crate::metrics;
use crate::signature::{Signature, Verifier, WebhookSecret};

/// How many seconds a secret is good before it is fetched anew; drawn from a range, so that environments do not ask all
/// at once.
const TIME_TO_LIVE: RangeInclusive<u64> = 270..=330;
/// How long to wait for a secret anew where there is a stale one: less than whoever asks waits for both.
const RENEWAL_LIMIT: Duration = Duration::from_millis(1200);
/// How long to use a stale secret on before trying again.
const RETRY_AFTER_ERROR: Duration = Duration::from_secs(5);
/// How often a refresh may be forced.
const FORCED_REFRESH_EVERY: Duration = Duration::from_secs(60);
/// How long the previous version of a secret to verify with is good after the current one was made.
pub(crate) const ROTATION: Duration = Duration::from_secs(24 * 60 * 60);

/// A secret could not be had. The text says what to do, and holds nothing of the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Secrets Manager cannot be reached or refused.
    #[error("{0}")]
    NotFetched(String),
    /// There is no such secret, or it was never given a value.
    #[error("it does not exist in this region, or has no value: create it, or give the function another id")]
    Absent,
    /// The secret is not what the function needs.
    #[error("it must be a JSON object with a text in {0}: store that with aws secretsmanager put-secret-value")]
    WrongShape(&'static str),
}

/// The versions of a secret that can be good.
#[derive(Clone, Debug)]
pub struct Versions {
    /// `AWSCURRENT`.
    pub current: SecretString,
    /// When the current version was made.
    pub created_at: Timestamp,
    /// `AWSPREVIOUS`, where there is one and it is asked for.
    pub previous: Option<SecretString>,
}

/// Where secrets come from.
pub trait SecretSource: Send + Sync {
    /// Fetches a secret's versions; the previous one only where `created_at` lies after `previous_since`.
    fn fetch(&self, previous_since: Option<Timestamp>) -> impl Future<Output = Result<Versions, SecretError>> + Send;

    /// What whoever looks after it knows it by.
    fn id(&self) -> &str {
        "secret"
    }
}

/// One secret in Secrets Manager.
#[derive(Clone, Debug)]
pub struct SecretsManager {
    client: Client,
    id: String,
}

impl SecretsManager {
    /// The secret `id`, a name or an ARN.
    pub fn new(client: Client, id: String) -> Self {
        Self { client, id }
    }

    /// A stage of the secret; `None` where there is no version at that stage.
    async fn stage(&self, call: Call, stage: &str) -> Result<Option<(SecretString, Timestamp)>, SecretError> {
        let request = self.client.get_secret_value().secret_id(&self.id).version_stage(stage);
        let output = match around(call, request.send()).await {
            Ok(output) => output,
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|error| error.is_resource_not_found_exception()) =>
            {
                return Ok(None);
            }
            Err(error) => {
                let why = match error.code() {
                    None => "no connection to Secrets Manager".to_owned(),
                    Some(code) => match aws::hint(code) {
                        Some(hint) => format!("{code}: {hint} (secretsmanager:GetSecretValue)"),
                        None => code.to_owned(),
                    },
                };
                return Err(SecretError::NotFetched(why));
            }
        };
        let created_at = output
            .created_date()
            .and_then(|date| u64::try_from(date.to_millis().ok()?).ok());
        let text = output
            .secret_string
            .ok_or_else(|| SecretError::NotFetched("it is binary".to_owned()))?;
        Ok(Some((text.into(), Timestamp::from_millis(created_at.unwrap_or(0)))))
    }
}

impl SecretSource for SecretsManager {
    async fn fetch(&self, previous_since: Option<Timestamp>) -> Result<Versions, SecretError> {
        let current = self.stage(Call::CurrentSecret, "AWSCURRENT").await?;
        let (current, created_at) = current.ok_or(SecretError::Absent)?;
        let previous = match previous_since {
            Some(since) if created_at > since => self
                .stage(Call::PreviousSecret, "AWSPREVIOUS")
                .await?
                .map(|(text, _)| text),
            _ => None,
        };
        Ok(Versions {
            current,
            created_at,
            previous,
        })
    }

    fn id(&self) -> &str {
        &self.id
    }
}

/// A key for calling a provider: one member of a secret's JSON.
#[derive(Clone, Debug)]
pub struct ApiKey(pub SecretString);

/// Not in constant time: both are ours.
impl PartialEq for ApiKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

/// The secrets that webhooks are signed with: one member of a secret's JSON, now and before.
#[derive(Clone, Debug)]
pub struct WebhookSecrets {
    current: Option<WebhookSecret>,
    previous: Option<WebhookSecret>,
    created_at: Timestamp,
}

impl WebhookSecrets {
    /// The verifier for this moment. `None` where there is no secret to verify with.
    pub fn verifier(&self, now: Timestamp) -> Option<Verifier> {
        let previous = self.previous.clone().filter(|_| now < self.created_at.plus(ROTATION));
        Some(Verifier::new(self.current.clone()?, previous))
    }
}

/// What a secret is read as.
pub trait FromVersions: Sized {
    /// How far back a rotation must lie for the previous version not to matter; `None` where it never does.
    const PREVIOUS_WITHIN: Option<Duration>;

    /// Reads it.
    ///
    /// # Errors
    /// Where it has the wrong shape.
    fn from_versions(versions: &Versions, member: &'static str) -> Result<Self, SecretError>;
}

/// A member of a secret's JSON; `None` where there is none of that name.
pub(crate) fn member_of(secret: &SecretString, member: &'static str) -> Result<Option<String>, SecretError> {
    let wrong = || SecretError::WrongShape(member);
    let json = Json::parse(secret.expose_secret().as_bytes()).map_err(|_| wrong())?;
    let object: &Object = json.as_object().ok_or_else(wrong)?;
    match object.get(member) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone())),
        Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_)) => Err(wrong()),
    }
}

impl FromVersions for ApiKey {
    const PREVIOUS_WITHIN: Option<Duration> = None;

    fn from_versions(versions: &Versions, member: &'static str) -> Result<Self, SecretError> {
        let key = member_of(&versions.current, member)?.filter(|key| !key.trim().is_empty());
        key.map(|key| Self(key.into())).ok_or(SecretError::WrongShape(member))
    }
}

impl FromVersions for WebhookSecrets {
    const PREVIOUS_WITHIN: Option<Duration> = Some(ROTATION);

    /// An absent or empty secret is no error: nothing verifies then.
    fn from_versions(versions: &Versions, member: &'static str) -> Result<Self, SecretError> {
        let secret = |text: Option<String>| text.as_deref().and_then(WebhookSecret::new);
        let previous = versions
            .previous
            .as_ref()
            .and_then(|previous| member_of(previous, member).ok().flatten());
        Ok(Self {
            current: secret(member_of(&versions.current, member)?),
            previous: secret(previous),
            created_at: versions.created_at,
        })
    }
}

/// A cached secret, read as `T` from one member of its JSON.
#[derive(Debug)]
pub struct SecretCache<T, S = SecretsManager> {
    source: S,
    member: &'static str,
    state: Mutex<State<T>>,
    /// Held by whoever fetches.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State<T> {
    value: Option<Arc<T>>,
    good_until: Timestamp,
    /// When a refresh was last forced, and why it failed.
    forced: Option<(Timestamp, Option<SecretError>)>,
}

impl<T> State<T> {
    fn keep(&mut self, value: Arc<T>, now: Timestamp) {
        self.value = Some(value);
        self.good_until = now.plus(Duration::from_secs(fastrand::u64(TIME_TO_LIVE)));
    }
}

impl<T: FromVersions, S: SecretSource> SecretCache<T, S> {
    /// A cache of `member` of the secret that `source` fetches. Fetches nothing yet.
    pub fn new(source: S, member: &'static str) -> Self {
        let state = State {
            value: None,
            good_until: Timestamp::from_millis(0),
            forced: None,
        };
        Self {
            source,
            member,
            state: Mutex::new(state),
            fetching: tokio::sync::Mutex::new(()),
        }
    }

    /// The secret.
    ///
    /// # Errors
    /// Where it was never fetched and cannot be now.
    pub async fn get(&self, now: Timestamp) -> Result<Arc<T>, SecretError> {
        if let Some(value) = self.fresh(now) {
            return Ok(value);
        }
        let _fetching = self.fetching.lock().await;
        // Whoever held the lock before may have fetched it.
        if let Some(value) = self.fresh(now) {
            return Ok(value);
        }
        let Some(stale) = self.with_state(|state| state.value.clone()) else {
            return self.fetch(now).await;
        };
        let renewed = timeout(RENEWAL_LIMIT * patience(&ENVIRONMENT), self.read(now)).await;
        let renewed = renewed.unwrap_or_else(|_| Err(SecretError::NotFetched("no answer in time".to_owned())));
        Ok(self.note(renewed, now).unwrap_or(stale))
    }

    /// Fetches the secret anew although it is not old, because what was done with it failed; at most once a minute.
    ///
    /// `None` where it was fetched within the last minute: nothing newer is known then.
    ///
    /// # Errors
    /// Where it cannot be fetched, or could not be within the last minute: whether there is a newer one is not known
    /// then.
    pub async fn refresh(&self, now: Timestamp) -> Result<Option<Arc<T>>, SecretError> {
        let _fetching = self.fetching.lock().await;
        let last = self.with_state(|state| state.forced.clone());
        if let Some((_, failure)) = last.filter(|(at, _)| now.since(*at) < FORCED_REFRESH_EVERY) {
            return failure.map_or(Ok(None), Err);
        }
        // Noted before, since whoever asks may give up waiting: it was asked for all the same.
        let given_up = SecretError::NotFetched("given up".to_owned());
        self.with_state(|state| state.forced = Some((now, Some(given_up))));
        self.fetch(now).await.map(Some)
    }

    /// Fetches the secret before anybody asks for it. A failure harms nobody yet, so it is neither counted nor told.
    pub async fn warm_up(&self, now: Timestamp) {
        let _fetching = self.fetching.lock().await;
        if let Ok(value) = self.read(now).await {
            self.with_state(|state| state.keep(value, now));
        }
    }

    async fn read(&self, now: Timestamp) -> Result<Arc<T>, SecretError> {
        let previous_since = T::PREVIOUS_WITHIN.map(|within| now.minus(within));
        let versions = self.source.fetch(previous_since).await?;
        T::from_versions(&versions, self.member).map(Arc::new)
    }

    /// Fetches the secret and keeps it.
    async fn fetch(&self, now: Timestamp) -> Result<Arc<T>, SecretError> {
        let read = self.read(now).await;
        self.note(read, now)
    }

    /// Keeps what was read, or goes on with what there is for a while.
    fn note(&self, read: Result<Arc<T>, SecretError>, now: Timestamp) -> Result<Arc<T>, SecretError> {
        self.with_state(|state| {
            // Whatever fetches, a refresh asked for within its minute is answered by how the last fetch went.
            if let Some((_, failure)) = &mut state.forced {
                *failure = read.as_ref().err().cloned();
            }
            match &read {
                Ok(value) => state.keep(Arc::clone(value), now),
                Err(error) => {
                    tracing::error!(
                        secret = self.source.id(),
                        error = %error,
                        stale = state.value.is_some(),
                        "secret not fetched"
                    );
                    metrics::secret_unreadable();
                    state.good_until = now.plus(RETRY_AFTER_ERROR);
                }
            }
        });
        read
    }

    fn fresh(&self, now: Timestamp) -> Option<Arc<T>> {
        self.with_state(|state| state.value.clone().filter(|_| now < state.good_until))
    }

    /// No guarded code can panic, so a poisoned lock holds a good state.
    fn with_state<R>(&self, change: impl FnOnce(&mut State<T>) -> R) -> R {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: SecretSource> SecretCache<WebhookSecrets, S> {
    /// Whether there are `signatures`, and all of them are the body's under a secret that is good now. Where they are
    /// not, the secret may have been rotated since it was fetched, and is looked up once more.
    ///
    /// # Errors
    /// Where the secret cannot be fetched, so that nothing is known of the signatures.
    pub async fn verifies(&self, body: &[u8], signatures: &[Signature], now: Timestamp) -> Result<bool, SecretError> {
        if signatures.is_empty() {
            return Ok(false);
        }
        let are_good = |secrets: &WebhookSecrets| {
            secrets
                .verifier(now)
                .is_some_and(|verifier| signatures.iter().all(|signature| verifier.verifies(body, signature)))
        };
        let secrets = self.get(now).await?;
        if secrets.current.is_none() {
            let (secret, member) = (self.source.id(), self.member);
            tracing::error!(
                secret,
                member,
                "no webhook verifies: the secret has nothing in this member"
            );
        }
        if are_good(&secrets) {
            return Ok(true);
        }
        Ok(self.refresh(now).await?.is_some_and(|fresh| are_good(&fresh)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    /// Gives scripted answers, counting how often it is asked.
    #[derive(Debug, Default)]
    struct Scripted {
        answers: Mutex<VecDeque<Result<Versions, SecretError>>>,
        fetches: Mutex<u32>,
    }

    impl SecretSource for &Scripted {
        async fn fetch(&self, _previous_since: Option<Timestamp>) -> Result<Versions, SecretError> {
            *self.fetches.lock().unwrap() += 1;
            tokio::task::yield_now().await;
            self.answers
                .lock()
                .unwrap()
                .pop_front()
                .unwrap_or(Err(SecretError::NotFetched("script".into())))
        }
    }

    fn versions(current: &str, previous: Option<&str>) -> Result<Versions, SecretError> {
        Ok(Versions {
            current: current.into(),
            created_at: NOW,
            previous: previous.map(Into::into),
        })
    }

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const ONE: &str = r#"{"key":"one"}"#;
    const TWO: &str = r#"{"key":"two"}"#;

    fn source(answers: impl IntoIterator<Item = Result<Versions, SecretError>>) -> Scripted {
        Scripted {
            answers: Mutex::new(answers.into_iter().collect()),
            fetches: Mutex::default(),
        }
    }

    async fn key<S: SecretSource>(cache: &SecretCache<ApiKey, S>, now: Timestamp) -> Result<String, SecretError> {
        cache.get(now).await.map(|key| key.0.expose_secret().to_owned())
    }

    #[tokio::test]
    async fn is_fetched_once_until_it_is_old_and_used_on_when_it_cannot_be_fetched() {
        let source = source([
            versions(ONE, None),
            Err(SecretError::NotFetched("down".into())),
            versions(TWO, None),
        ]);
        let cache = SecretCache::new(&source, "key");
        for _ in 0..3 {
            assert_eq!(key(&cache, NOW).await.as_deref(), Ok("one"));
        }
        assert_eq!(*source.fetches.lock().unwrap(), 1);
        let later = NOW.plus(Duration::from_secs(*TIME_TO_LIVE.end()));
        assert_eq!(key(&cache, later).await.as_deref(), Ok("one"), "stale on error");
        assert_eq!(
            key(&cache, later).await.as_deref(),
            Ok("one"),
            "and not asked again at once"
        );
        assert_eq!(*source.fetches.lock().unwrap(), 2);
        assert_eq!(key(&cache, later.plus(RETRY_AFTER_ERROR)).await.as_deref(), Ok("two"));
    }

    /// What failed before anybody asked is asked for again at once, and holds up no forced refresh.
    #[tokio::test]
    async fn what_is_fetched_beforehand_is_not_fetched_again() {
        let source = source([Err(SecretError::Absent), versions(ONE, None), versions(TWO, None)]);
        let cache = SecretCache::<ApiKey, _>::new(&source, "key");
        cache.warm_up(NOW).await;
        cache.warm_up(NOW).await;
        assert_eq!(key(&cache, NOW).await.as_deref(), Ok("one"));
        assert_eq!(*source.fetches.lock().unwrap(), 2);
        assert!(cache.refresh(NOW).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn many_askers_make_one_fetch() {
        let source = source([versions(ONE, None)]);
        let cache = SecretCache::new(&source, "key");
        let (a, b, c) = tokio::join!(key(&cache, NOW), key(&cache, NOW), key(&cache, NOW));
        assert!([a, b, c].iter().all(|got| got.as_deref() == Ok("one")));
        assert_eq!(*source.fetches.lock().unwrap(), 1);
    }

    #[tokio::test]
    async fn a_refresh_is_forced_once_a_minute_at_most() {
        let down = || Err(SecretError::NotFetched("down".into()));
        let source = source([versions(ONE, None), versions(TWO, None), down(), versions(ONE, None)]);
        let cache = SecretCache::<ApiKey, _>::new(&source, "key");
        key(&cache, NOW).await.unwrap();
        assert!(cache.refresh(NOW).await.unwrap().is_some());
        for millis in [0, 1, 59_999] {
            assert!(
                cache
                    .refresh(NOW.plus(Duration::from_millis(millis)))
                    .await
                    .unwrap()
                    .is_none()
            );
        }
        // A refresh that fails does not pass off the old secret as news, neither at once nor for the rest of its
        // minute.
        let [second, third] = [1, 2].map(|minutes| NOW.plus(FORCED_REFRESH_EVERY * minutes));
        for millis in [0, 59_999] {
            assert!(cache.refresh(second.plus(Duration::from_millis(millis))).await.is_err());
        }
        assert_eq!(key(&cache, second).await.as_deref(), Ok("two"), "it stays in use");
        // Once it has been fetched all the same, it is known that there is nothing newer.
        let fetched = second.plus(RETRY_AFTER_ERROR);
        assert_eq!(key(&cache, fetched).await.as_deref(), Ok("one"));
        assert!(cache.refresh(fetched).await.unwrap().is_none());
        assert!(cache.refresh(third).await.is_err());
        assert_eq!(*source.fetches.lock().unwrap(), 5);
    }

    /// Never answers.
    #[derive(Debug)]
    struct Silent;

    impl SecretSource for Silent {
        async fn fetch(&self, _previous_since: Option<Timestamp>) -> Result<Versions, SecretError> {
            std::future::pending().await
        }
    }

    /// Answers once, and then never.
    #[derive(Debug)]
    struct Tired(Mutex<Option<Versions>>);

    impl SecretSource for Tired {
        async fn fetch(&self, _previous_since: Option<Timestamp>) -> Result<Versions, SecretError> {
            let answer = self.0.lock().unwrap().take();
            match answer {
                Some(versions) => Ok(versions),
                None => std::future::pending().await,
            }
        }
    }

    #[tokio::test]
    async fn a_stale_secret_is_used_on_before_whoever_asks_gives_up() {
        let cache = SecretCache::<ApiKey, _>::new(Tired(Mutex::new(versions(ONE, None).ok())), "key");
        key(&cache, NOW).await.unwrap();
        let later = NOW.plus(Duration::from_secs(*TIME_TO_LIVE.end()));
        assert_eq!(key(&cache, later).await.as_deref(), Ok("one"));
        // For a while nobody waits at all; then somebody does again.
        let at_once = async |now| timeout(Duration::ZERO, key(&cache, now)).await.ok();
        assert_eq!(at_once(later).await, Some(Ok("one".to_owned())));
        assert_eq!(at_once(later.plus(RETRY_AFTER_ERROR)).await, None);
    }

    #[tokio::test]
    async fn a_refresh_that_nobody_waited_for_counts() {
        let cache = SecretCache::<ApiKey, _>::new(Silent, "key");
        let refresh = async |now| tokio::time::timeout(Duration::ZERO, cache.refresh(now)).await;
        assert!(refresh(NOW).await.is_err(), "it has no end");
        assert!(matches!(refresh(NOW).await, Ok(Err(_))), "and is not begun again");
        assert!(refresh(NOW.plus(FORCED_REFRESH_EVERY)).await.is_err());
    }

    #[test]
    fn shapes() {
        let api_key = |text: &str| ApiKey::from_versions(&versions(text, None).unwrap(), "key");
        for text in [
            "",
            "one",
            "[]",
            "{}",
            r#"{"key":""}"#,
            r#"{"key":" "}"#,
            r#"{"key":1}"#,
            r#"{"key":null}"#,
        ] {
            let error = api_key(text).unwrap_err();
            assert!(!error.to_string().contains("one"), "{error}");
        }
        assert!(!format!("{:?}", api_key(ONE)).contains("one"));
        let secrets = |text: &str| WebhookSecrets::from_versions(&versions(text, Some(TWO)).unwrap(), "key");
        for text in ["{}", r#"{"key":""}"#] {
            assert!(
                secrets(text).unwrap().verifier(NOW).is_none(),
                "without a current secret nothing verifies: {text}"
            );
        }
        assert!(secrets("one").is_err());
    }

    #[tokio::test]
    async fn a_refresh_that_is_given_up_counts_all_the_same() {
        let source = source([versions(ONE, None), versions(TWO, None), versions(TWO, None)]);
        let cache = SecretCache::<ApiKey, _>::new(&source, "key");
        key(&cache, NOW).await.unwrap();
        tokio::select! {
            biased;
            _ = cache.refresh(NOW) => panic!("it takes its time"),
            () = std::future::ready(()) => {}
        }
        assert!(
            cache.refresh(NOW).await.is_err(),
            "whether there is a newer one is not known"
        );
        assert_eq!(*source.fetches.lock().unwrap(), 2);
        let next = NOW.plus(FORCED_REFRESH_EVERY);
        assert!(cache.refresh(next).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn every_signature_must_verify_and_there_must_be_one() {
        let source = source([versions(ONE, Some(TWO))]);
        let cache = SecretCache::<WebhookSecrets, _>::new(&source, "key");
        let [one, two, other] = ["one", "two", "other"].map(|secret| Signature::parse(&signed_by(secret)).unwrap());
        assert!(!cache.verifies(b"{}", &[], NOW).await.unwrap());
        assert_eq!(*source.fetches.lock().unwrap(), 0, "nothing is looked up for nothing");
        assert!(cache.verifies(b"{}", &[one, two], NOW).await.unwrap());
        assert!(
            cache.verifies(b"{}", &[one, other], NOW).await.is_err(),
            "there may be a newer one"
        );
        assert!(
            !cache
                .verifies(b"{}", &[one, other], NOW.plus(RETRY_AFTER_ERROR))
                .await
                .unwrap_or(false)
        );
        assert!(!cache.verifies(b"{ }", &[one], NOW).await.unwrap_or(false));
    }

    /// Secrets Manager, with a secret that is rotated: the versions so far, each with its time.
    struct Rotated {
        versions: Mutex<Vec<(String, Timestamp)>>,
        fetches: Mutex<u32>,
    }

    impl SecretSource for &Rotated {
        async fn fetch(&self, previous_since: Option<Timestamp>) -> Result<Versions, SecretError> {
            *self.fetches.lock().unwrap() += 1;
            let versions = self.versions.lock().unwrap();
            let json = |text: &str| SecretString::from(format!(r#"{{"key":"{text}"}}"#));
            let mut newest = versions.iter().rev();
            let (current, created_at) = newest.next().ok_or(SecretError::Absent)?;
            let asked = previous_since.is_some_and(|since| *created_at > since);
            Ok(Versions {
                current: json(current),
                created_at: *created_at,
                previous: newest.next().filter(|_| asked).map(|(previous, _)| json(previous)),
            })
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Wait(Duration),
        Forge,
        Rotate,
    }

    fn step() -> impl Strategy<Value = Step> {
        let millis = prop::sample::select(vec![1, 59_999, 60_000, 270_000, 330_000, 86_000_000, 86_400_000]);
        prop_oneof![
            4 => millis.prop_map(|millis| Step::Wait(Duration::from_millis(millis))),
            2 => Just(Step::Forge),
            1 => Just(Step::Rotate),
        ]
    }

    proptest! {
        /// What docs/rotation.md promises.
        #[test]
        fn a_secret_that_was_stored_a_minute_ago_verifies_whatever_was_forged(steps in prop::collection::vec(step(), 1..40)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let vault = Rotated { versions: Mutex::new(vec![("v0".to_owned(), NOW)]), fetches: Mutex::default() };
            let cache = SecretCache::<WebhookSecrets, _>::new(&vault, "key");
            let verifies = |secret: &str, now| {
                let signature = [Signature::parse(&signed_by(secret)).unwrap()];
                runtime.block_on(cache.verifies(b"{}", &signature, now)).unwrap()
            };
            let [minute, renewal, day] = [60, 330, 24 * 60 * 60].map(Duration::from_secs);
            let mut now = NOW;
            for step in steps {
                match step {
                    Step::Wait(time) => now = now.plus(time),
                    Step::Forge => prop_assert!(!verifies("nobody's", now)),
                    Step::Rotate => {
                        let mut versions = vault.versions.lock().unwrap();
                        let name = format!("v{}", versions.len());
                        versions.push((name, now));
                    }
                }
                let versions = vault.versions.lock().unwrap().clone();
                let age = |since: Timestamp| now.since(since);
                for (at, (secret, stored)) in versions.iter().enumerate() {
                    let newer: Vec<Timestamp> = versions.iter().skip(at + 1).map(|(_, stored)| *stored).collect();
                    let is_current = newer.is_empty();
                    let is_previous = newer.len() == 1 && newer.iter().all(|current| age(*current) < day);
                    if age(*stored) >= minute && (is_current || is_previous) {
                        prop_assert!(verifies(secret, now), "{secret} of {versions:?}");
                    }
                    // A cache forgets what is good no longer as it renews itself; the day, at once.
                    let is_over = newer.iter().any(|current| age(*current) >= day)
                        || newer.get(1).is_some_and(|after| age(*after) >= renewal);
                    if is_over {
                        prop_assert!(!verifies(secret, now), "{secret} of {versions:?}");
                    }
                }
            }
            // One at first, one a minute that is forced, and one each time that it is too old.
            let minutes = now.since(NOW).as_secs() / 60;
            let renewals = now.since(NOW).as_secs() / TIME_TO_LIVE.start();
            prop_assert!(u64::from(*vault.fetches.lock().unwrap()) <= 2 + minutes + renewals);
        }
    }

    fn signed_by(secret: &str) -> String {
        use hmac::{Hmac, KeyInit, Mac};
        let mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        hex::encode(mac.chain_update(b"{}").finalize().into_bytes())
    }

    #[test]
    fn the_previous_secret_is_good_for_a_day() {
        let secrets = WebhookSecrets::from_versions(&versions(ONE, Some(TWO)).unwrap(), "key").unwrap();
        let signature = Signature::parse(&signed_by("two")).unwrap();
        let verifies = |now| secrets.verifier(now).unwrap().verifies(b"{}", &signature);
        assert!(verifies(NOW) && verifies(NOW.plus(ROTATION - Duration::from_millis(1))));
        assert!(!verifies(NOW.plus(ROTATION)));
    }
}
