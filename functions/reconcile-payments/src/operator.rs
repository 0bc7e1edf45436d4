//! An operator's commands: *complete* a payment that was paid, although its provider did not report it or the money
//! does not match; *close* one in review.
//!
//! Guarantees: a command changes one payment, with the operator's fact in its ledger, or nothing. Repeating it changes
//! nothing. IAM decides who may send commands, since they are invocations of the function.

use payment_functions::domain::decimal::Decimal;
use payment_functions::domain::fact::{Fact, Operator, Outcome};
use payment_functions::domain::id::{PaymentId, Reference};
use payment_functions::domain::payment::Payment;
use payment_functions::domain::schedule::ScheduleChange;
use payment_functions::domain::status::Status;
use payment_functions::domain::time::Timestamp;
use payment_functions::flows::record_notification::{self, RecordResult};
use payment_functions::providers::Notification;
use payment_functions::store::{CommitExtras, CommitResult, Conflict, Retry, Store, StoreError, retry_on_conflict};
use serde::{Deserialize, Serialize};

/// A command about one payment.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Command {
    /// The payment.
    pub payment_id: PaymentId,
    /// The provider's id of the money, if it is known: 1 to 256 bytes.
    #[serde(default)]
    pub reference: Option<Reference>,
    /// The operator: 1 to 200 characters.
    pub actor: String,
    /// The operator's reason: 1 to 1,000 characters.
    pub reason: String,
}

/// The result of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CommandResult {
    /// The payment.
    pub payment_id: PaymentId,
    /// Its status after the command.
    pub status: Status,
    /// Whether the command gave the payment a new status, closed its review, or took a reason away. `false` for a *complete* that only adds
    /// a reference to a completed payment.
    pub changed: bool,
}

/// Why a command was refused.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The payment does not exist.
    #[error("payment {0} does not exist")]
    PaymentNotFound(PaymentId),
    /// The reference belongs to another payment.
    #[error("the reference belongs to payment {0}")]
    ReferenceOwnedByOther(PaymentId),
    /// This field is blank, too long, or has control characters.
    #[error("{field} must have 1 to {max_chars} characters, no control characters, and not only blanks")]
    InvalidText {
        /// The field's name.
        field: &'static str,
        /// The maximum number of characters.
        max_chars: usize,
    },
    /// The reference is empty, too long, or has control characters.
    #[error("reference must have 1 to 256 bytes and no control characters")]
    InvalidReference,
    /// A *close* names a reference. It takes none, because it records no money.
    #[error("close takes no reference")]
    ReferenceNotAllowed,
    /// A *close* is about a payment that is not in review.
    #[error("the payment is {0}; only a payment in review can be closed")]
    NotInReview(Status),
    /// No webhook with this digest is in the provider's quarantine.
    #[error("no webhook with the digest {0} is in quarantine")]
    NotInQuarantine(String),
    /// A new fact raised the reason again while an *acknowledge* was written, so that the operator has not seen it.
    #[error("the reason was raised again meanwhile: check the payment again")]
    RaisedAgain,
    /// More money came while a *close* was written, so that the operator has not seen it.
    #[error("more money came meanwhile: check the payment again")]
    MoreMoneyCame,
    /// DynamoDB failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Completes a payment that was paid, although its provider did not report it or the money does not match.
///
/// # Errors
/// [`CommandError`]. Nothing is changed then, except that [`CommandError::Store`] leaves it open. The command can be
/// repeated.
pub async fn complete(store: &Store, command: &Command, now: Timestamp) -> Result<CommandResult, CommandError> {
    let payment = payment_of(store, command).await?;
    // A new reference of a completed payment is recorded all the same: unmatched notifications may be stored under it.
    let is_new = |reference: &Reference| !payment.references.contains(reference);
    if payment.status == Status::Completed && !command.reference.as_ref().is_some_and(is_new) {
        return Ok(result(&payment, false));
    }
    let fact = fact(command, &payment, Outcome::Completed, "completed by an operator", now);
    let (id, previous_status) = (payment.id, payment.status);
    let changed = matches!(
        record(store, payment, fact, now).await?,
        RecordResult::Recorded {
            new_status: Some(_),
            ..
        }
    );
    tracing::warn!(payment = %id, %previous_status, changed, "payment completed by an operator");
    let payment = store.payment(id).await?.ok_or(StoreError::Corrupt)?;
    Ok(result(&payment, changed))
}

/// Closes the review of a payment that was dealt with otherwise, for instance by a refund. The payment keeps its
/// status, and is not reported again unless more money comes.
///
/// # Errors
/// [`CommandError`]. Nothing is changed then, except that [`CommandError::Store`] leaves it open. The command can be
/// repeated.
pub async fn close(store: &Store, command: &Command, now: Timestamp) -> Result<CommandResult, CommandError> {
    let payment = payment_of(store, command).await?;
    if command.reference.is_some() {
        return Err(CommandError::ReferenceNotAllowed);
    }
    // A fact is recorded once, and `raw_status` is part of its identity. So the number of mismatches makes a second
    // close, after more money came, another fact than the first. A repetition of the first close is the same fact.
    let mismatches = payment.mismatches;
    let raw_status = &format!("closed by an operator; mismatching completions: {mismatches}");
    retry_on_conflict(payment, |payment| async move {
        if payment.status != Status::Review {
            return Err(CommandError::NotInReview(payment.status));
        }
        if payment.mismatches != mismatches {
            return Err(CommandError::MoreMoneyCame);
        }
        let extras = CommitExtras {
            new_fact: Some(fact(command, &payment, Outcome::Unrecognised, raw_status, now)),
            schedule: Some(ScheduleChange::Remove),
            ..CommitExtras::default()
        };
        let changed = match store.commit(&payment, &payment, &extras, now).await? {
            CommitResult::Done => true,
            CommitResult::Conflict(Conflict {
                current: Some(current), ..
            }) => return Ok(Retry::Again(current)),
            // The fact is already in the ledger: a repetition.
            CommitResult::Conflict(_) => false,
        };
        tracing::warn!(payment = %payment.id, changed, "review closed by an operator");
        Ok(Retry::Done(result(&payment, changed)))
    })
    .await
}

/// Validates the texts of a command.
///
/// # Errors
/// [`CommandError::InvalidText`].
pub fn check_texts(actor: &str, reason: &str) -> Result<(), CommandError> {
    for (field, text, max_chars) in [("actor", actor, 200), ("reason", reason, 1000)] {
        if text.trim().is_empty() || text.chars().count() > max_chars || text.chars().any(char::is_control) {
            return Err(CommandError::InvalidText { field, max_chars });
        }
    }
    Ok(())
}

/// Validates a command and reads its payment.
pub(crate) async fn payment_of(store: &Store, command: &Command) -> Result<Payment, CommandError> {
    check_texts(&command.actor, &command.reason)?;
    if let Some(reference) = &command.reference
        && Reference::parse(reference.as_str()).as_ref() != Some(reference)
    {
        return Err(CommandError::InvalidReference);
    }
    let payment = store.payment(command.payment_id).await?;
    payment.ok_or(CommandError::PaymentNotFound(command.payment_id))
}

/// The operator's fact, with the payment's own amount and currency: the operator has compared the money.
pub(crate) fn fact(command: &Command, payment: &Payment, outcome: Outcome, raw_status: &str, now: Timestamp) -> Fact {
    // If the provider's transactions have ids of their own, the reference counts as one of these, unless it is the id
    // that the provider gave at creation. Otherwise it counts as the payment's id.
    let is_checkout_id = |id: &Reference| {
        let session = payment.checkout_session.as_ref();
        session.is_some_and(|session| session.reference == *id)
    };
    let is_payment_id = |id: &Reference| !payment.provider.capabilities().has_transactions || is_checkout_id(id);
    Fact {
        provider: payment.provider,
        payment: command.reference.clone().filter(is_payment_id),
        transaction: command.reference.clone().filter(|id| !is_payment_id(id)),
        order_id: payment.order_id.clone(),
        outcome,
        raw_status: raw_status.to_owned(),
        amount: Decimal::parse(&payment.money.amount().to_string()),
        currency: Some(payment.money.currency().code().to_owned()),
        reversals: Vec::new(),
        occurred_at: None,
        created_at: None,
        is_foreign: false,
        received_at: now,
        operator: Some(Operator {
            actor: command.actor.clone(),
            reason: command.reason.clone(),
        }),
    }
}

/// Records the fact with this payment, and with no other, whatever its reference is.
async fn record(store: &Store, payment: Payment, fact: Fact, now: Timestamp) -> Result<RecordResult, CommandError> {
    let id = payment.id;
    let notification = &Notification {
        payment_id: Some(id),
        fact,
    };
    retry_on_conflict(payment, |payment| async move {
        for reference in notification.fact.references() {
            let owner = store.owner(payment.provider, reference).await?;
            if let Some(owner) = owner.filter(|owner| *owner != id)
                && store.payment(owner).await?.is_some()
            {
                return Err(CommandError::ReferenceOwnedByOther(owner));
            }
        }
        let owned_by_other = false;
        Ok(
            match record_notification::record_with_payment(store, notification, &payment, owned_by_other, now).await? {
                Some(result) => Retry::Done(result),
                None => Retry::Again(store.payment(id).await?.ok_or(CommandError::PaymentNotFound(id))?),
            },
        )
    })
    .await
}

pub(crate) fn result(payment: &Payment, changed: bool) -> CommandResult {
    CommandResult {
        payment_id: payment.id,
        status: payment.status,
        changed,
    }
}
