//! An operator's *acknowledge*: takes a reason for attention away from a payment, once a person has dealt with it.
//!
//! Guarantees: the reason is taken away with the operator's fact in the ledger, or nothing is changed. A new fact can
//! raise it again; what a fact raises while the command runs is not taken away unseen.

use payment_functions::domain::attention::AttentionReason;
use payment_functions::domain::fact::Outcome;
use payment_functions::domain::id::PaymentId;
use payment_functions::domain::time::Timestamp;
use payment_functions::store::{CommitExtras, CommitResult, Conflict, Retry, Store, StoreError, retry_on_conflict};
use serde::Deserialize;

use crate::operator::{Command, CommandError, CommandResult, fact, payment_of, result};

/// A command about one payment.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Acknowledgement {
    /// The payment.
    pub payment_id: PaymentId,
    /// The reason for attention to take away.
    pub reason_code: AttentionReason,
    /// The operator: 1 to 200 characters.
    pub actor: String,
    /// What the operator did about it: 1 to 1,000 characters.
    pub reason: String,
}

/// Takes a reason for attention away. `changed` is `false` if the payment does not have it.
///
/// # Errors
/// [`CommandError`]. Nothing is changed then, except that [`CommandError::Store`] leaves it open. The command can be
/// repeated.
pub async fn acknowledge(
    store: &Store,
    acknowledgement: &Acknowledgement,
    now: Timestamp,
) -> Result<CommandResult, CommandError> {
    let command = Command {
        payment_id: acknowledgement.payment_id,
        reference: None,
        actor: acknowledgement.actor.clone(),
        reason: acknowledgement.reason.clone(),
    };
    let (command, reason) = (&command, acknowledgement.reason_code);
    let payment = payment_of(store, command).await?;
    let seen = &payment.attention.get(reason).cloned();
    retry_on_conflict(payment, |payment| async move {
        let current = payment.attention.get(reason);
        if current.is_none() {
            return Ok(Retry::Done(result(&payment, false)));
        }
        if current != seen.as_ref() {
            return Err(CommandError::RaisedAgain);
        }
        // The number of changes makes it another fact than an earlier acknowledgement of the same reason.
        let changes = payment.attention.changes();
        let raw_status = format!("{} acknowledged by an operator; change {changes}", reason.name());
        let after = payment.acknowledge(reason, now);
        let extras = CommitExtras {
            // Like a *close*: an outcome that implies no status. An operator's fact raises nothing.
            new_fact: Some(fact(command, &payment, Outcome::Unrecognised, &raw_status, now)),
            ..CommitExtras::default()
        };
        match store.commit(&payment, &after, &extras, now).await? {
            CommitResult::Done => {}
            CommitResult::Conflict(Conflict {
                current: Some(current), ..
            }) => return Ok(Retry::Again(current)),
            CommitResult::Conflict(_) => return Err(StoreError::Corrupt.into()),
        }
        tracing::warn!(payment = %payment.id, reason = reason.name(), "attention acknowledged by an operator");
        Ok(Retry::Done(result(&after, true)))
    })
    .await
}
