//! A run over what is due.
//!
//! Each thing is claimed before it is looked at and gets its next time afterwards, so that a run that dies leaves it to
//! be looked at again a little later, and two runs share the work.

use std::collections::BTreeSet;
use std::time::Duration;

use payment_functions::domain::fact::{Fact, Outcome};
use payment_functions::domain::id::{OrderId, PaymentId, Reference};
use payment_functions::domain::payment::Payment;
use payment_functions::domain::provider::Provider;
use payment_functions::domain::schedule::{self, Queue};
use payment_functions::domain::status::Status;
use payment_functions::domain::time::Timestamp;
use payment_functions::flows::record_notification::{RecordResult, record_if_matched, record_notification};
use payment_functions::providers::Notification;
use payment_functions::store::{CommitExtras, CommitResult, Due, Store, StoreError, Subject, UnmatchedNotifications};
use tokio::time::Instant;

use crate::poller::{Ask, POLLED_PROVIDER, PollError};
use crate::report::{ForAPerson, Matter, Report, count};

/// How much of each part of a queue is read at once.
pub const BATCH: u16 = 10;
/// The most payments of one order that are asked about for an event that names only the order.
const CANDIDATES: u16 = 10;
/// How often a change is decided anew because the payment moved meanwhile.
const ROUNDS: u32 = 32;
/// From what age on a parked event is reported; most are collected long before.
const REPORT_UNMATCHED: Duration = Duration::from_secs(10 * 60);

/// A run.
#[derive(Debug)]
pub struct Sweep<'a, A> {
    store: &'a Store,
    asker: A,
    now: Timestamp,
    start: Instant,
    report: Report,
    /// Why the provider is asked no more, if it is not.
    silence: Option<Silence>,
    /// How many turns there were.
    turns: u32,
}

/// Why the provider is asked no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Silence {
    /// No more about this queue in this run. The next will ask: what was not asked about stays due, in its place.
    NoTurns,
    /// It would answer nobody. What was not asked about makes way for the rest, on which our own clock may run out.
    Closed,
}

impl From<Silence> for PollError {
    fn from(silence: Silence) -> Self {
        match silence {
            Silence::NoTurns => Self::OutOfTurns,
            Silence::Closed => Self::Closed,
        }
    }
}

/// What the provider said of a payment when it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Heard {
    /// It knows nothing of it.
    Nothing,
    /// Words that we know.
    Known,
    /// CommitExtras a word that nobody documented, and which may mean that it was paid.
    Unrecognised,
}

impl Heard {
    /// What an answer says of the payment that it was delivered to.
    fn of(fact: &Fact) -> Self {
        if fact.outcome == Outcome::Unrecognised {
            Self::Unrecognised
        } else {
            Self::Known
        }
    }
}

/// Whether a look at something is done with.
enum Look {
    /// It is looked at again at this time, if any.
    Done(Option<Timestamp>),
    /// It could not be asked about, or not about all of it, and is looked at again soon.
    Unasked,
    /// It stays due, for the next run.
    Postponed,
}

impl<'a, A: Ask> Sweep<'a, A> {
    /// A run over what is due at `now`, which asks `asker`.
    pub fn new(store: &'a Store, asker: A, now: Timestamp) -> Self {
        Self {
            store,
            asker,
            now,
            start: Instant::now(),
            report: Report::default(),
            silence: None,
            turns: 0,
        }
    }

    /// Looks at what is due in each queue for its [share](Queue::share) of `time`, and what the ones before it left over.
    ///
    /// # Errors
    /// Where it cannot be read what is due. An error with one thing is counted, and the thing stays due.
    pub async fn run(mut self, time: Duration) -> Result<(Report, A), StoreError> {
        let start = Instant::now();
        let all: u32 = Queue::all().map(Queue::share).sum();
        let mut passed = 0;
        for queue in Queue::all() {
            passed += queue.share();
            self.work_off(queue, start + time * passed / all).await?;
        }
        Ok((self.report, self.asker))
    }

    async fn work_off(&mut self, queue: Queue, until: Instant) -> Result<(), StoreError> {
        // What one queue asks about must not use up the turns of those after it.
        self.asker.poll_until(until);
        self.silence = self.silence.filter(|silence| *silence != Silence::NoTurns);
        loop {
            let mut done = 0_u32;
            let batch = self.store.due(queue, self.now, BATCH).await?;
            let is_all = batch.len() < usize::from(BATCH);
            for due in &batch {
                self.report.was_due_for(self.now.since(due.at));
            }
            for due in batch {
                let is_for_the_next_run = queue == Queue::Of(POLLED_PROVIDER) && self.silence == Some(Silence::NoTurns);
                if Instant::now() >= until || is_for_the_next_run {
                    self.report.unfinished = true;
                    return Ok(());
                }
                match self.look_at(&due).await {
                    Ok(true) => count(&mut done),
                    Ok(false) => {}
                    Err(error) => {
                        tracing::error!(subject = ?due.subject, error = %error, "not looked at");
                        count(&mut self.report.failed);
                    }
                }
            }
            // Where nothing was done, what is left is somebody else's, or the next run's, or the index has not caught up.
            if is_all || done == 0 {
                return Ok(());
            }
        }
    }

    /// Looks at one thing. Whether it is done with for now: not where it was somebody else's, or is left for the next
    /// run.
    ///
    /// # Errors
    /// Where the table cannot be read or written; it is looked at again when its claim runs out.
    pub async fn look_at(&mut self, due: &Due) -> Result<bool, StoreError> {
        let Some(claimed) = self.store.reserve(due, self.now).await? else {
            return Ok(false);
        };
        count(&mut self.report.checked);
        let look = match &due.subject {
            Subject::Payment(id) => self.check_payment(*id).await?,
            Subject::Unmatched(provider, place) => self.check_unmatched(*provider, place).await?,
        };
        self.report.unfinished |= !matches!(look, Look::Done(_));
        let (is_done, next) = match look {
            Look::Done(next) => (true, next),
            Look::Unasked => (true, Some(schedule::next_check_without_poll(self.now))),
            Look::Postponed => (false, Some(due.at)),
        };
        self.store.reschedule(&claimed, next).await?;
        Ok(is_done)
    }

    async fn check_payment(&mut self, id: PaymentId) -> Result<Look, StoreError> {
        let Some(mut payment) = self.store.payment(id).await? else {
            return Ok(Look::Done(None));
        };
        let mut asked = Ok(Heard::Known);
        let turns_before = self.turns;
        if payment.provider == POLLED_PROVIDER && payment.status != Status::Completed {
            let before = payment.status;
            asked = match self.ask_about(&payment).await {
                Err(PollError::Store(error)) => return Err(error),
                asked => asked,
            };
            payment = self.store.payment(id).await?.unwrap_or(payment);
            if payment.status != before {
                tracing::info!(payment = %id, status = %payment.status, "settled by asking");
                count(&mut self.report.resolved);
            }
        }
        let was_payable = payment.status.is_payable();
        let payment = self.expire(payment).await?;
        match asked {
            Err(PollError::OutOfTurns) if self.turns == turns_before => return Ok(Look::Postponed),
            // What had some turns makes way for what had none. What is in review is reported daily, whether or not the provider
            // can be asked about it.
            Err(PollError::OutOfTurns | PollError::Closed) if payment.status != Status::Review => {
                return Ok(Look::Unasked);
            }
            _ => {}
        }
        let answered = !matches!(asked, Err(PollError::Call(_)));
        let next = schedule::next_check(&payment, answered, self.now);
        let is_rare = next.is_none_or(|next| next.since(self.now) >= schedule::LATEST);
        let matter = match (payment.status, payment.provider.capabilities().supports_status_query) {
            (Status::Review, _) => Some(Matter::Review),
            // CommitExtras where an earlier run let it expire, and died before it could say so.
            (Status::Expired, false) => Some(Matter::Unconfirmed),
            (Status::Authorized, true) if next.is_none() => Some(Matter::Unsettled),
            (Status::Expired | Status::Cancelled | Status::Failed, true)
                if matches!(asked, Ok(Heard::Unrecognised)) =>
            {
                (was_payable || is_rare).then_some(Matter::Unrecognised)
            }
            (Status::Expired, true) if next.is_none() && !matches!(asked, Ok(Heard::Known)) => Some(Matter::PollError),
            // It may be paid all the same, and the provider was not heard.
            (Status::Cancelled | Status::Failed, true) if next.is_none() && !answered => Some(Matter::PollError),
            _ => None,
        };
        if let Some(matter) = matter {
            self.report.leave(ForAPerson::about(&payment, matter));
        }
        Ok(Look::Done(next))
    }

    /// An answer, its turn counted if there was one.
    fn counted<T>(&mut self, answer: Result<T, PollError>) -> Result<T, PollError> {
        if !matches!(answer, Err(PollError::OutOfTurns)) {
            count(&mut self.turns);
        }
        answer
    }

    /// Asks the provider about every id of a payment and, where that tells of no money, about its order. Whatever comes back
    /// is delivered as a webhook would be. Tells what the provider said of the payment.
    async fn ask_about(&mut self, payment: &Payment) -> Result<Heard, PollError> {
        if let Some(silence) = self.silence {
            return Err(silence.into());
        }
        let answer = self.ask_all(payment).await;
        self.fall_silent(answer.as_ref().err());
        answer
    }

    /// Asks no more where that is pointless.
    fn fall_silent(&mut self, unanswered: Option<&PollError>) {
        self.silence = match unanswered {
            Some(PollError::OutOfTurns) => Some(Silence::NoTurns),
            Some(PollError::Closed) => Some(Silence::Closed),
            Some(PollError::Call(_) | PollError::Store(_)) | None => self.silence,
        };
    }

    async fn ask_all(&mut self, payment: &Payment) -> Result<Heard, PollError> {
        let mut heard = Heard::Nothing;
        let mut failure = None;
        for id in ids_to_ask(payment) {
            let answer = self.asker.status(id).await;
            match self.counted(answer) {
                Ok(Some(event)) if is_of_order(&event, payment) => {
                    heard = heard.max(self.hear(&event, payment).await?);
                }
                Ok(Some(_)) => tracing::error!(payment = %payment.id, "the provider answered for another order"),
                Ok(None) => {}
                Err(PollError::Call(error)) => failure = Some(error),
                Err(error) => return Err(error),
            }
        }
        // What was given up under one id may be paid under another, which only the order tells of.
        let current = self.store.payment(payment.id).await?;
        let has_moved_money = current.is_some_and(|payment| payment.status >= Status::Review);
        if let (false, Some(order_id)) = (has_moved_money, &payment.order_id) {
            let answer = self.asker.transactions(order_id).await;
            match self.counted(answer) {
                Ok(events) => {
                    for event in events {
                        heard = heard.max(self.hear(&event, payment).await?);
                    }
                }
                Err(PollError::Call(error)) => failure = Some(error),
                Err(error) => return Err(error),
            }
        }
        match failure {
            Some(error) if heard == Heard::Nothing => Err(error.into()),
            _ => Ok(heard),
        }
    }

    /// Delivers an answer, and tells what it says of `payment`.
    async fn hear(&self, event: &Notification, payment: &Payment) -> Result<Heard, StoreError> {
        match self.take(event).await? {
            Some(RecordResult::Recorded(id, _) | RecordResult::Duplicate(id)) if id == payment.id => {
                Ok(Heard::of(&event.fact))
            }
            Some(_) => Ok(Heard::Nothing),
            None => {
                if event.fact.outcome == Outcome::Completed {
                    // Money, and nobody knows whose: it is kept as that of a webhook is. All else can be asked again.
                    let delivery = record_notification(self.store, event, self.time()).await?;
                    if delivery == RecordResult::Unmatched {
                        tracing::warn!(order = ?payment.order_id, "the provider lists money of no payment that is known");
                    }
                }
                Ok(Heard::Nothing)
            }
        }
    }

    /// A run is long: what was heard late in it was not heard at its start.
    fn time(&self) -> Timestamp {
        self.now.plus(self.start.elapsed())
    }

    async fn take(&self, event: &Notification) -> Result<Option<RecordResult>, StoreError> {
        let delivery = record_if_matched(self.store, event, self.time()).await?;
        if let Some(RecordResult::Recorded(id, raised)) = &delivery {
            let raised_to = raised.map(tracing::field::display);
            tracing::info!(payment = %id, words = event.fact.raw_status, raised_to, "answer recorded");
        }
        Ok(delivery)
    }

    /// Lets our own clock run out on a payment that nobody has heard of.
    async fn expire(&mut self, mut payment: Payment) -> Result<Payment, StoreError> {
        for _ in 0..ROUNDS {
            let after = payment.expire(self.now);
            if after == payment {
                return Ok(payment);
            }
            match self
                .store
                .commit(&payment, &after, &CommitExtras::default(), self.now)
                .await?
            {
                CommitResult::Done => {
                    tracing::info!(payment = %after.id, "expired");
                    count(&mut self.report.expired);
                    return Ok(after);
                }
                CommitResult::Conflict(conflict) => payment = conflict.current.ok_or(StoreError::Corrupt)?,
            }
        }
        Err(StoreError::Contended)
    }

    async fn check_unmatched(&mut self, provider: Provider, place: &str) -> Result<Look, StoreError> {
        let Some(parked) = self.store.unmatched(provider, place).await? else {
            return Ok(Look::Done(None));
        };
        let mut asked = Ok(());
        let turns_before = self.turns;
        if provider == POLLED_PROVIDER {
            asked = match self.find_out_whose(place, &parked).await {
                Err(PollError::Store(error)) => return Err(error),
                asked => asked,
            };
            self.fall_silent(asked.as_ref().err());
        }
        let Some(parked) = self.store.unmatched(provider, place).await? else {
            count(&mut self.report.collected);
            return Ok(Look::Done(None));
        };
        let mut all_known = true;
        for event in &parked.events {
            // Only where all of those it could belong to were asked about.
            let event = match asked {
                Ok(()) => self.with_owner(event).await?,
                Err(_) => event.clone(),
            };
            all_known &= self.take(&event).await?.is_some();
        }
        if all_known {
            self.store.delete_unmatched(provider, place, &parked).await?;
            tracing::info!(%provider, place, "parked events collected");
            count(&mut self.report.collected);
            return Ok(Look::Done(None));
        }
        let age = self.now.since(parked.unmatched_since);
        self.report.still_unmatched(age);
        match asked {
            // What had some turns would not get along with more: it is looked at again as what was asked about in vain.
            Err(PollError::OutOfTurns) if self.turns == turns_before => return Ok(Look::Postponed),
            Err(PollError::Closed) => return Ok(Look::Unasked),
            _ => {}
        }
        if age >= REPORT_UNMATCHED {
            let order_id = parked.events.iter().find_map(|event| event.fact.order_id.clone());
            self.report
                .leave(ForAPerson::about_unmatched(provider, place, order_id));
        }
        Ok(Look::Done(Some(schedule::next_check_of_unmatched(
            parked.unmatched_since,
            self.now,
        ))))
    }

    /// Asks the provider under the id that something is parked under, and about every payment of the order that it names:
    /// the answers attach the id to its payment, and so collect what is parked under it.
    async fn find_out_whose(&mut self, place: &str, parked: &UnmatchedNotifications) -> Result<(), PollError> {
        if let Some(silence) = self.silence {
            return Err(silence.into());
        }
        let ids: BTreeSet<&Reference> = parked.events.iter().flat_map(|event| event.fact.references()).collect();
        for id in ids {
            let answer = self.asker.status(id).await;
            match self.counted(answer) {
                Ok(Some(event)) => {
                    self.take(&event).await?;
                }
                Ok(None) | Err(PollError::Call(_)) => {}
                Err(error) => return Err(error),
            }
        }
        if self.store.unmatched(POLLED_PROVIDER, place).await?.is_none() {
            return Ok(());
        }
        let orders: Vec<&OrderId> = parked
            .events
            .iter()
            .filter_map(|event| event.fact.order_id.as_ref())
            .collect();
        let Some(order_id) = orders.first() else { return Ok(()) };
        let mut failure = None;
        for id in self.store.payments_of(POLLED_PROVIDER, order_id, CANDIDATES).await? {
            // CommitExtras about one that is paid: it may have been told of under another of its ids.
            if let Some(payment) = self.store.payment(id).await? {
                match self.ask_about(&payment).await {
                    Ok(_) => {}
                    Err(PollError::Call(error)) => failure = Some(error),
                    Err(error) => return Err(error),
                }
            }
        }
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    /// An event that names only an order of several payments belongs to the one of them that the provider itself has
    /// said the same of, if it is only one, and there are not more of them than are asked about.
    async fn with_owner(&self, event: &Notification) -> Result<Notification, StoreError> {
        let fact = &event.fact;
        let names_only_an_order = event.payment_id.is_none() && fact.references().next().is_none();
        let (true, Some(order_id)) = (names_only_an_order, &fact.order_id) else {
            return Ok(event.clone());
        };
        let mut owners = Vec::new();
        let candidates = self.store.payments_of(fact.provider, order_id, CANDIDATES + 1).await?;
        if candidates.len() > usize::from(CANDIDATES) {
            return Ok(event.clone());
        }
        for id in candidates {
            let payment = self.store.payment(id).await?;
            let says_the_same = |payment: &Payment| payment.implied_status(fact, false) == Some(payment.status);
            if payment.as_ref().is_some_and(says_the_same) {
                owners.push(id);
            }
        }
        let owner = match owners.as_slice() {
            [owner] => Some(*owner),
            _ => None,
        };
        Ok(Notification {
            payment_id: owner,
            fact: fact.clone(),
        })
    }
}

/// The ids of a payment, those learnt from a webhook first: the status call may know only the transaction's.
fn ids_to_ask(payment: &Payment) -> impl Iterator<Item = &Reference> {
    let given = payment
        .checkout_session
        .as_ref()
        .map(|checkout_session| &checkout_session.reference);
    let learnt = payment.references.iter().filter(move |id| Some(*id) != given);
    learnt.chain(payment.references.iter().filter(move |id| Some(*id) == given))
}

fn is_of_order(event: &Notification, payment: &Payment) -> bool {
    event.fact.order_id.is_none() || event.fact.order_id == payment.order_id
}
