//! Polls payments singly while the provider's list cannot be read: the newest first, as far as there are call slots.
//! What does not get its turn is left to its webhook, and to the list once that can be read again.

use payment_functions::domain::payment::Payment;
use payment_functions::domain::request_rate::Lane;
use payment_functions::domain::schedule::Queue;
use payment_functions::domain::status::Status;
use payment_functions::store::{Shard, StoreError};
use tokio::time::{Duration, Instant};

use super::Sweep;
use crate::poller::{POLLED_PROVIDER, PollError, PollSession, StatusSource};
use crate::report::{Report, increment};

/// The most payments that are polled of each shard: more than there are calls in a run.
const BATCH: u16 = 100;
/// The age from which a payment is polled. Its webhook comes first.
const MIN_AGE: Duration = Duration::from_secs(60);

impl<S: StatusSource> Sweep<'_, S> {
    /// Polls these payments, as far as there are call slots.
    pub(super) async fn poll_newest(&self, newest: &[Payment], until: Instant) -> Result<Report, StoreError> {
        let mut report = Report::default();
        let mut session = PollSession::new(&self.source, Lane::List);
        for payment in newest {
            if Instant::now() >= until || !session.may_begin(until).await? {
                report.unfinished = true;
                break;
            }
            increment(&mut report.checked);
            match self.poll_payment(payment, &mut session, &mut report).await {
                Ok(_) | Err(PollError::Call(_)) => {}
                Err(PollError::NoSlot) => report.unfinished = true,
                Err(PollError::ProviderRefusesAll) => break,
                Err(PollError::Store(error)) => return Err(error),
            }
        }
        Ok(report)
    }

    /// The payments that may be paid without our knowing, the newest first.
    pub(super) async fn newest_payments(&self) -> Result<Vec<Payment>, StoreError> {
        let capabilities = POLLED_PROVIDER.capabilities();
        let latest = self
            .now
            .plus(capabilities.payment_ttl + capabilities.expiry_grace + MIN_AGE);
        let may_be_paid = |payment: &Payment| {
            payment.provider == POLLED_PROVIDER
                && payment.environment == self.source.environment()
                && payment.status < Status::Review
                && self.now.since(payment.created_at) >= MIN_AGE
        };
        let mut payments = Vec::new();
        for shard in Shard::of(Queue::Expiry) {
            let (mut found, mut before) = (0, latest);
            // Other providers' payments may come first.
            while found < BATCH.into() {
                let due = self.store.latest(shard, before, BATCH).await?;
                let Some(last) = due.last() else { break };
                before = last.at;
                let read = self.store.due_payments(&due).await?;
                let read = read.into_iter().filter_map(|(_, payment)| payment.ok());
                let known = payments.len();
                payments.extend(read.filter(may_be_paid));
                found += payments.len() - known;
                if due.len() < usize::from(BATCH) {
                    break;
                }
            }
        }
        payments.sort_by_key(|payment| std::cmp::Reverse(payment.created_at));
        Ok(payments)
    }
}
