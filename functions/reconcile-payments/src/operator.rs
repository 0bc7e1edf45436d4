//! An operator's command: what no provider will say, settled by a person, with who and why.
//!
//! Guarantees: a payment becomes completed with the operator's fact in its own ledger, or nothing changes; saying it
//! twice is saying it once; no other payment is touched. Who may say it is decided by IAM, since it is an invocation of
//! the function.

use payment_functions::domain::decimal::Decimal;
use payment_functions::domain::fact::{Fact, Operator, Outcome};
use payment_functions::domain::id::{PaymentId, Reference};
use payment_functions::domain::payment::Payment;
use payment_functions::domain::status::Status;
use payment_functions::domain::time::Timestamp;
use payment_functions::flows::record_notification::{self, RecordResult};
use payment_functions::providers::Notification;
use payment_functions::store::{CommitExtras, CommitResult, Conflict, Store, StoreError};
use serde::{Deserialize, Serialize};

/// How often a command is written anew because something moved meanwhile.
const ROUNDS: u32 = 32;

/// What an operator says.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Command {
    /// About which payment.
    pub payment_id: PaymentId,
    /// Under which of the provider's ids the money came, where it is known.
    #[serde(default)]
    pub reference: Option<Reference>,
    /// Who says so: 1 to 200 characters.
    pub actor: String,
    /// On what grounds: 1 to 1,000 characters.
    pub reason: String,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// The payment.
    pub payment_id: PaymentId,
    /// Its status now.
    pub status: Status,
    /// Whether this changed anything.
    pub changed: bool,
}

/// Why an operator's command was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There is no such payment.
    #[error("there is no payment {0}")]
    NoPayment(PaymentId),
    /// The id that the money came under belongs to somebody else.
    #[error("the reference is payment {0}'s")]
    AnothersReference(PaymentId),
    /// Somebody must answer for it.
    #[error("{0} must have 1 to {1} characters, none of them a control character, and not only blanks")]
    Unsigned(&'static str, usize),
    /// The id is empty, too long, or has control characters.
    #[error("reference must have 1 to 256 bytes and no control characters")]
    BadReference,
    /// No money came under it.
    #[error("a payment is closed without a reference")]
    ReferenceToClose,
    /// Only what is in review is closed.
    #[error("the payment is {0}, and only one in review can be closed")]
    NotInReview(Status),
    /// Nobody has seen it yet.
    #[error("more money has come meanwhile: look at the payment again")]
    MoreCame,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Completes a payment that was paid although no provider told us so, or although its money does not match.
///
/// # Errors
/// [`Refused`]; nothing is changed then.
pub async fn complete(store: &Store, command: &Command, now: Timestamp) -> Result<Done, Refused> {
    let payment = payment_of(store, command).await?;
    // About one that is completed only an id may be news: what is parked under it is this payment's then.
    let is_news = |reference: &Reference| !payment.references.contains(reference);
    if payment.status == Status::Completed && !command.reference.as_ref().is_some_and(is_news) {
        return Ok(done(&payment, false));
    }
    let fact = fact(command, &payment, Outcome::Completed, "completed by an operator");
    let (id, was) = (payment.id, payment.status);
    let changed = matches!(
        record(store, payment, fact, now).await?,
        RecordResult::Recorded(_, Some(_))
    );
    tracing::warn!(payment = %id, %was, changed, "completed by an operator");
    let payment = store.payment(id).await?.ok_or(StoreError::Corrupt)?;
    Ok(done(&payment, changed))
}

/// Notes that a payment in review was dealt with otherwise, by a refund for instance: it is reported no more unless more
/// money comes, and its status stays.
///
/// # Errors
/// [`Refused`]; nothing is changed then.
pub async fn close(store: &Store, command: &Command, now: Timestamp) -> Result<Done, Refused> {
    let mut payment = payment_of(store, command).await?;
    if command.reference.is_some() {
        return Err(Refused::ReferenceToClose);
    }
    // So that the same said of what comes later is another fact.
    let words = format!("closed by an operator; facts noted: {}", payment.noted.len());
    let noted = payment.noted.clone();
    for _ in 0..ROUNDS {
        if payment.status != Status::Review {
            return Err(Refused::NotInReview(payment.status));
        }
        if payment.noted != noted {
            return Err(Refused::MoreCame);
        }
        let also = CommitExtras {
            new_fact: Some(fact(command, &payment, Outcome::Unrecognised, &words)),
            closed: true,
            ..CommitExtras::default()
        };
        let changed = match store.commit(&payment, &payment, &also, now).await? {
            CommitResult::Done => true,
            CommitResult::Conflict(Conflict {
                current: Some(moved), ..
            }) => {
                payment = moved;
                continue;
            }
            CommitResult::Conflict(_) => false,
        };
        tracing::warn!(payment = %payment.id, changed, "closed by an operator");
        return Ok(done(&payment, changed));
    }
    Err(StoreError::Contended.into())
}

async fn payment_of(store: &Store, command: &Command) -> Result<Payment, Refused> {
    for (name, text, most) in [("actor", &command.actor, 200), ("reason", &command.reason, 1000)] {
        if text.trim().is_empty() || text.chars().count() > most || text.chars().any(char::is_control) {
            return Err(Refused::Unsigned(name, most));
        }
    }
    if let Some(reference) = &command.reference
        && Reference::parse(reference.as_str()).as_ref() != Some(reference)
    {
        return Err(Refused::BadReference);
    }
    let payment = store.payment(command.payment_id).await?;
    payment.ok_or(Refused::NoPayment(command.payment_id))
}

/// The money is the payment's: an operator who completes it says that it was paid.
fn fact(command: &Command, payment: &Payment, outcome: Outcome, raw_status: &str) -> Fact {
    // What the provider did not hand out is the id of what the payment became, where it gives such ids.
    let is_handed_out = |id: &Reference| {
        payment
            .checkout_session
            .as_ref()
            .is_some_and(|checkout_session| checkout_session.reference == *id)
    };
    let is_payments = |id: &Reference| !payment.provider.capabilities().has_transactions || is_handed_out(id);
    Fact {
        provider: payment.provider,
        payment: command.reference.clone().filter(is_payments),
        transaction: command.reference.clone().filter(|id| !is_payments(id)),
        order_id: payment.order_id.clone(),
        outcome,
        raw_status: raw_status.to_owned(),
        amount: Decimal::parse(&payment.money.amount().to_string()),
        currency: Some(payment.money.currency().code().to_owned()),
        occurred_at: None,
        operator: Some(Operator {
            actor: command.actor.clone(),
            reason: command.reason.clone(),
        }),
    }
}

/// Writes the fact into this payment's ledger, and into no other's whatever id it names.
async fn record(store: &Store, mut payment: Payment, fact: Fact, now: Timestamp) -> Result<RecordResult, Refused> {
    let id = payment.id;
    let event = Notification {
        payment_id: Some(id),
        fact,
    };
    for _ in 0..ROUNDS {
        for reference in event.fact.references() {
            let owner = store.owner(payment.provider, reference).await?;
            if let Some(owner) = owner.filter(|owner| *owner != id) {
                return Err(Refused::AnothersReference(owner));
            }
        }
        if let Some(delivery) = record_notification::record_for(store, &event, &payment, false, now).await? {
            return Ok(delivery);
        }
        payment = store.payment(id).await?.ok_or(StoreError::Corrupt)?;
    }
    Err(StoreError::Contended.into())
}

fn done(payment: &Payment, changed: bool) -> Done {
    Done {
        payment_id: payment.id,
        status: payment.status,
        changed,
    }
}
