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

/// A source whose every call fails in the same way.
struct Failing(fn() -> PollError);

impl StatusSource for Failing {
    fn environment(&self) -> Environment {
        Environment::Sandbox
    }

    fn poll_until(&mut self, _: Instant) {}

    async fn status(&mut self, _: &Reference) -> Result<Option<Notification>, PollError> {
        Err(self.0())
    }

    async fn transactions(&mut self, _: &OrderId) -> Result<Vec<Notification>, PollError> {
        Err(self.0())
    }
}

/// A session after one failed call.
async fn session_after(failure: fn() -> PollError) -> PollSession<Failing> {
    let mut session = PollSession::new(Failing(failure));
    session.begin_item();
    let result = session.status(&Reference::parse("p").unwrap()).await;
    assert!(result.is_err(), "{result:?}");
    session
}

#[tokio::test]
async fn session_out_of_turns_polls_again_in_next_queue() {
    let mut session = session_after(|| PollError::OutOfTurns).await;
    assert!(session.is_out_of_turns() && !session.has_used_turns());
    assert!(matches!(session.check_may_poll(), Err(PollError::OutOfTurns)));
    session.begin_queue(Instant::now());
    assert!(session.check_may_poll().is_ok());
}

#[tokio::test]
async fn session_with_closed_provider_stays_closed() {
    let mut session = session_after(|| PollError::ProviderRefusesAll).await;
    session.begin_queue(Instant::now());
    assert!(matches!(session.check_may_poll(), Err(PollError::ProviderRefusesAll)));
    assert!(!session.is_out_of_turns());
}

#[tokio::test]
async fn failed_call_uses_a_turn_and_polling_goes_on() {
    let mut session = session_after(|| CallError::OutcomeUnknown { references: Vec::new() }.into()).await;
    assert!(session.has_used_turns() && session.check_may_poll().is_ok());
    session.begin_item();
    assert!(!session.has_used_turns());
}
