//! The provider of one create call.

use super::*;

/// A call to the provider in progress.
struct CallInProgress<'a>(&'a Mutex<History>);

impl<'a> CallInProgress<'a> {
    fn start(history: &'a Mutex<History>) -> Self {
        let in_progress = {
            let mut locked = history.lock().unwrap();
            locked.calls_in_progress += 1;
            locked.calls_in_progress
        };
        let call = Self(history);
        assert_eq!(in_progress, 1, "one call at a time");
        call
    }
}

impl Drop for CallInProgress<'_> {
    fn drop(&mut self) {
        if let Ok(mut history) = self.0.lock() {
            history.calls_in_progress -= 1;
        }
    }
}

/// The provider for one call.
pub struct SimulatedGateway<'a> {
    pub simulation: &'a Simulation,
    pub index: usize,
    pub reply: Reply,
    pub id: PaymentId,
    /// The id that the caller has received.
    pub received_id: &'a Mutex<Option<String>>,
}

impl Gateway for SimulatedGateway<'_> {
    async fn create(&self, _payment: &Payment, attempt: u32) -> Result<Accepted, CallError> {
        let _call = CallInProgress::start(&self.simulation.histories[self.index]);
        // Other flows run meanwhile, and the caller may crash before it has the response.
        wrap(ExternalCall::CreateAtProvider, std::future::ready(())).await;
        let mut history = self.simulation.history(self.index);
        assert!(history.id.is_none_or(|id| id == self.id), "one payment per key");
        history.id = Some(self.id);
        match self.reply {
            Reply::Rejects => {
                return Err(CallError::Rejected {
                    code: None,
                    references: Vec::new(),
                });
            }
            Reply::Throttles => return Err(CallError::Throttled { retry_after: None }),
            Reply::RepliesNonsense => return Err(CallError::unusable("nonsense")),
            Reply::Accepts | Reply::AcceptsButTimesOut => {}
        }
        let known = history
            .provider_ids
            .iter()
            .find(|(of, _)| history.provider == Provider::FinvyPay && *of == attempt);
        let ids = known
            .map(|(_, ids)| ids.clone())
            .unwrap_or_else(|| self.simulation.create_ids());
        if !history.provider_ids.iter().any(|(_, known)| *known == ids) {
            history.provider_ids.push((attempt, ids.clone()));
        }
        if matches!(self.reply, Reply::AcceptsButTimesOut) {
            return Err(CallError::TimedOut);
        }
        *self.received_id.lock().unwrap() = Some(ids.payment.clone());
        Ok(Accepted {
            checkout_session: CheckoutSession {
                reference: Reference::parse(&ids.payment).unwrap(),
                redirect_url: None,
                expires_at: None,
            },
            references: Vec::new(),
        })
    }
}
