use super::*;
use crate::platform::secrets::{ApiKey, ROTATION, Versions};
use proptest::prelude::*;
use secrecy::{ExposeSecret, SecretString};
use std::collections::VecDeque;

/// Returns scripted results and counts the fetches.
#[derive(Debug, Default)]
struct Scripted {
    results: Mutex<VecDeque<Result<Versions, SecretError>>>,
    fetches: Mutex<u32>,
}

impl SecretSource for &Scripted {
    async fn fetch(&self, _previous_since: Option<Timestamp>) -> Result<Versions, SecretError> {
        *self.fetches.lock().unwrap() += 1;
        tokio::task::yield_now().await;
        self.results
            .lock()
            .unwrap()
            .pop_front()
            .unwrap_or(Err(SecretError::Unavailable("script".into())))
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

fn source(results: impl IntoIterator<Item = Result<Versions, SecretError>>) -> Scripted {
    Scripted {
        results: Mutex::new(results.into_iter().collect()),
        fetches: Mutex::default(),
    }
}

async fn key<S: SecretSource>(cache: &SecretCache<ApiKey, S>, now: Timestamp) -> Result<String, SecretError> {
    cache.get(now).await.map(|key| key.0.expose_secret().to_owned())
}

#[tokio::test]
async fn secret_is_cached_until_it_is_old_and_stays_in_use_if_it_cannot_be_renewed() {
    let source = source([
        versions(ONE, None),
        Err(SecretError::Unavailable("down".into())),
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
        "not fetched again at once"
    );
    assert_eq!(*source.fetches.lock().unwrap(), 2);
    assert_eq!(key(&cache, later.plus(RETRY_AFTER_ERROR)).await.as_deref(), Ok("two"));
}

/// A failed warm-up delays neither the next fetch nor a forced refresh.
#[tokio::test]
async fn secret_fetched_by_warm_up_is_not_fetched_again() {
    let source = source([Err(SecretError::NotFound), versions(ONE, None), versions(TWO, None)]);
    let cache = SecretCache::<ApiKey, _>::new(&source, "key");
    cache.warm_up(NOW).await;
    cache.warm_up(NOW).await;
    assert_eq!(key(&cache, NOW).await.as_deref(), Ok("one"));
    assert_eq!(*source.fetches.lock().unwrap(), 2);
    assert!(cache.force_refresh(NOW).await.unwrap().is_some());
}

#[tokio::test]
async fn concurrent_requests_share_one_fetch() {
    let source = source([versions(ONE, None)]);
    let cache = SecretCache::new(&source, "key");
    let (a, b, c) = tokio::join!(key(&cache, NOW), key(&cache, NOW), key(&cache, NOW));
    assert!([a, b, c].iter().all(|got| got.as_deref() == Ok("one")));
    assert_eq!(*source.fetches.lock().unwrap(), 1);
}

#[tokio::test]
async fn refresh_is_forced_at_most_once_a_minute() {
    let down = || Err(SecretError::Unavailable("down".into()));
    let source = source([versions(ONE, None), versions(TWO, None), down(), versions(ONE, None)]);
    let cache = SecretCache::<ApiKey, _>::new(&source, "key");
    key(&cache, NOW).await.unwrap();
    assert!(cache.force_refresh(NOW).await.unwrap().is_some());
    for millis in [0, 1, 59_999] {
        assert!(
            cache
                .force_refresh(NOW.plus(Duration::from_millis(millis)))
                .await
                .unwrap()
                .is_none()
        );
    }
    // A failed refresh does not return the old secret as a new one, neither at once nor within its minute.
    let [second, third] = [1, 2].map(|minutes| NOW.plus(FORCED_REFRESH_INTERVAL * minutes));
    for millis in [0, 59_999] {
        assert!(
            cache
                .force_refresh(second.plus(Duration::from_millis(millis)))
                .await
                .is_err()
        );
    }
    assert_eq!(
        key(&cache, second).await.as_deref(),
        Ok("two"),
        "the old one stays in use"
    );
    // After a later successful fetch, it is known that there is nothing newer.
    let fetched = second.plus(RETRY_AFTER_ERROR);
    assert_eq!(key(&cache, fetched).await.as_deref(), Ok("one"));
    assert!(cache.force_refresh(fetched).await.unwrap().is_none());
    assert!(cache.force_refresh(third).await.is_err());
    assert_eq!(*source.fetches.lock().unwrap(), 5);
}

/// Never responds.
#[derive(Debug)]
struct Hanging;

impl SecretSource for Hanging {
    async fn fetch(&self, _previous_since: Option<Timestamp>) -> Result<Versions, SecretError> {
        std::future::pending().await
    }
}

/// Responds once, then never again.
#[derive(Debug)]
struct HangingAfterFirst(Mutex<Option<Versions>>);

impl SecretSource for HangingAfterFirst {
    async fn fetch(&self, _previous_since: Option<Timestamp>) -> Result<Versions, SecretError> {
        let versions = self.0.lock().unwrap().take();
        match versions {
            Some(versions) => Ok(versions),
            None => std::future::pending().await,
        }
    }
}

#[tokio::test]
async fn stale_secret_is_used_if_the_renewal_takes_too_long() {
    let cache = SecretCache::<ApiKey, _>::new(HangingAfterFirst(Mutex::new(versions(ONE, None).ok())), "key");
    key(&cache, NOW).await.unwrap();
    let later = NOW.plus(Duration::from_secs(*TIME_TO_LIVE.end()));
    assert_eq!(key(&cache, later).await.as_deref(), Ok("one"));
    // For a while no request waits; then the next one does again.
    let at_once = async |now| timeout(Duration::ZERO, key(&cache, now)).await.ok();
    assert_eq!(at_once(later).await, Some(Ok("one".to_owned())));
    assert_eq!(at_once(later.plus(RETRY_AFTER_ERROR)).await, None);
}

#[tokio::test]
async fn refresh_that_timed_out_counts_as_forced() {
    let cache = SecretCache::<ApiKey, _>::new(Hanging, "key");
    let refresh = async |now| tokio::time::timeout(Duration::ZERO, cache.force_refresh(now)).await;
    assert!(refresh(NOW).await.is_err(), "it hangs");
    assert!(matches!(refresh(NOW).await, Ok(Err(_))), "not started again");
    assert!(refresh(NOW.plus(FORCED_REFRESH_INTERVAL)).await.is_err());
}

#[test]
fn malformed_secret_is_refused_without_showing_it() {
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
            "no verifier without a current secret: {text}"
        );
    }
    assert!(secrets("one").is_err());
}

#[tokio::test]
async fn abandoned_refresh_counts_as_forced() {
    let source = source([versions(ONE, None), versions(TWO, None), versions(TWO, None)]);
    let cache = SecretCache::<ApiKey, _>::new(&source, "key");
    key(&cache, NOW).await.unwrap();
    tokio::select! {
        biased;
        _ = cache.force_refresh(NOW) => panic!("not abandoned"),
        () = std::future::ready(()) => {}
    }
    assert!(
        cache.force_refresh(NOW).await.is_err(),
        "it is unknown whether there is a newer secret"
    );
    assert_eq!(*source.fetches.lock().unwrap(), 2);
    let next = NOW.plus(FORCED_REFRESH_INTERVAL);
    assert!(cache.force_refresh(next).await.unwrap().is_some());
}

#[tokio::test]
async fn webhook_verifies_only_if_every_signature_does_and_there_is_one() {
    let source = source([versions(ONE, Some(TWO))]);
    let cache = SecretCache::<WebhookSecrets, _>::new(&source, "key");
    let [one, two, other] = ["one", "two", "other"].map(|secret| Signature::parse(&signed_by(secret)).unwrap());
    assert!(!cache.verifies(b"{}", &[], NOW).await.unwrap());
    assert_eq!(*source.fetches.lock().unwrap(), 0, "no fetch without a signature");
    assert!(cache.verifies(b"{}", &[one, two], NOW).await.unwrap());
    assert!(
        cache.verifies(b"{}", &[one, other], NOW).await.is_err(),
        "there may be a newer secret"
    );
    assert!(
        !cache
            .verifies(b"{}", &[one, other], NOW.plus(RETRY_AFTER_ERROR))
            .await
            .unwrap_or(false)
    );
    assert!(!cache.verifies(b"{ }", &[one], NOW).await.unwrap_or(false));
}

/// A secret that is rotated: its versions so far, each with its creation time.
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
        let (current, created_at) = newest.next().ok_or(SecretError::NotFound)?;
        let is_recent = previous_since.is_some_and(|since| *created_at > since);
        Ok(Versions {
            current: json(current),
            created_at: *created_at,
            previous: newest.next().filter(|_| is_recent).map(|(previous, _)| json(previous)),
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
    /// The guarantee of docs/rotation.md.
    #[test]
    fn secret_stored_a_minute_ago_verifies_despite_forgeries(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let source = Rotated { versions: Mutex::new(vec![("v0".to_owned(), NOW)]), fetches: Mutex::default() };
        let cache = SecretCache::<WebhookSecrets, _>::new(&source, "key");
        let verifies = |secret: &str, now| {
            let signature = [Signature::parse(&signed_by(secret)).unwrap()];
            runtime.block_on(cache.verifies(b"{}", &signature, now)).unwrap()
        };
        let [minute, renewal, day] = [60, 330, 24 * 60 * 60].map(Duration::from_secs);
        let mut now = NOW;
        for step in steps {
            match step {
                Step::Wait(time) => now = now.plus(time),
                Step::Forge => prop_assert!(!verifies("forged", now)),
                Step::Rotate => {
                    let mut versions = source.versions.lock().unwrap();
                    let name = format!("v{}", versions.len());
                    versions.push((name, now));
                }
            }
            let versions = source.versions.lock().unwrap().clone();
            let age = |since: Timestamp| now.since(since);
            for (at, (secret, stored)) in versions.iter().enumerate() {
                let newer: Vec<Timestamp> = versions.iter().skip(at + 1).map(|(_, stored)| *stored).collect();
                let is_current = newer.is_empty();
                let is_previous = newer.len() == 1 && newer.iter().all(|current| age(*current) < day);
                if age(*stored) >= minute && (is_current || is_previous) {
                    prop_assert!(verifies(secret, now), "{secret} of {versions:?}");
                }
                // The end of the day counts at once; a version older than the previous one is dropped with the next
                // renewal.
                let is_over = newer.iter().any(|current| age(*current) >= day)
                    || newer.get(1).is_some_and(|after| age(*after) >= renewal);
                if is_over {
                    prop_assert!(!verifies(secret, now), "{secret} of {versions:?}");
                }
            }
        }
        // The first fetch, one forced per minute, and one for each renewal.
        let minutes = now.since(NOW).as_secs() / 60;
        let renewals = now.since(NOW).as_secs() / TIME_TO_LIVE.start();
        prop_assert!(u64::from(*source.fetches.lock().unwrap()) <= 2 + minutes + renewals);
    }
}

fn signed_by(secret: &str) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    hex::encode(mac.chain_update(b"{}").finalize().into_bytes())
}

#[test]
fn previous_secret_is_valid_for_a_day() {
    let secrets = WebhookSecrets::from_versions(&versions(ONE, Some(TWO)).unwrap(), "key").unwrap();
    let signature = Signature::parse(&signed_by("two")).unwrap();
    let verifies = |now| secrets.verifier(now).unwrap().verifies(b"{}", &signature);
    assert!(verifies(NOW) && verifies(NOW.plus(ROTATION - Duration::from_millis(1))));
    assert!(!verifies(NOW.plus(ROTATION)));
}
