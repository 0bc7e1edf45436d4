use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

#[test]
fn provider_with_status_query_is_polled() {
    let supports_status_query = |provider: &Provider| provider.capabilities().supports_status_query;
    assert_eq!(
        Provider::ALL
            .into_iter()
            .filter(supports_status_query)
            .collect::<Vec<_>>(),
        [POLLED_PROVIDER]
    );
}

/// A source that has so many slots, or refuses every call.
struct Slots {
    left: AtomicU32,
    is_closed: bool,
}

impl Slots {
    fn new(left: u32, is_closed: bool) -> Self {
        Self {
            left: left.into(),
            is_closed,
        }
    }
}

impl StatusSource for Slots {
    fn environment(&self) -> Environment {
        Environment::Sandbox
    }

    async fn wait_for_slot(&self, _: Lane, _: Instant) -> Result<(), PollError> {
        if self.is_closed {
            return Err(PollError::ProviderRefusesAll);
        }
        let left = self.left.load(Ordering::Relaxed);
        self.left
            .store(left.checked_sub(1).ok_or(PollError::NoSlot)?, Ordering::Relaxed);
        Ok(())
    }

    fn slots_before(&self, _: Lane, _: Instant) -> u64 {
        self.left.load(Ordering::Relaxed).into()
    }

    async fn status(&self, _: &Reference) -> Result<Option<Notification>, PollError> {
        Ok(None)
    }

    async fn transactions(&self, _: &OrderId) -> Result<Vec<Notification>, PollError> {
        Ok(Vec::new())
    }

    async fn list(&self, _: &ListQuery) -> Result<ListPage, PollError> {
        Ok(ListPage::default())
    }
}

#[tokio::test]
async fn item_is_begun_with_a_slot_that_the_next_one_uses_if_it_did_not() {
    let source = Slots::new(2, false);
    let mut session = PollSession::new(&source, Lane::Single);
    let now = Instant::now();
    let id = Reference::parse("p").unwrap();
    for _ in 0..3 {
        assert!(session.may_begin(now).await.unwrap());
    }
    assert_eq!(source.left.load(Ordering::Relaxed), 1, "one slot for all three");
    assert!(session.status(&id).await.is_ok());
    assert!(session.status(&id).await.is_ok(), "with another slot");
    assert!(!session.may_begin(now).await.unwrap());
    assert!(matches!(session.status(&id).await, Err(PollError::NoSlot)));
}

#[tokio::test]
async fn item_is_begun_although_the_provider_refuses_every_call() {
    let source = Slots::new(0, true);
    let mut session = PollSession::new(&source, Lane::Single);
    assert!(session.may_begin(Instant::now()).await.unwrap());
    let result = session.status(&Reference::parse("p").unwrap()).await;
    assert!(matches!(result, Err(PollError::ProviderRefusesAll)), "{result:?}");
}
