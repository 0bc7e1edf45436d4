//! FinvyPay's status names.

use crate::domain::fact::Outcome;

/// Maps a status name, in any case, to its outcome. Includes all names in the provider's documentation, and both
/// spellings of "cancelled".
pub(super) fn outcome(name: &str) -> Option<Outcome> {
    match name.to_ascii_uppercase().as_str() {
        "PENDING" | "INIT" | "REDIRECT" | "REDIRECTED" => Some(Outcome::Pending),
        "AUTHORIZED" => Some(Outcome::Authorized),
        "SUCCESS" | "SUCCEEDED" | "COMPLETED" | "APPROVED" => Some(Outcome::Completed),
        "FAILED" | "DECLINED" | "ERROR" | "BLOCKED" => Some(Outcome::Failed),
        "CANCELLED" | "CANCELED" | "ABANDONED" => Some(Outcome::Cancelled),
        _ => None,
    }
}
