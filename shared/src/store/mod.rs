//! The payments table: payments, the facts about them, their orders, idempotency keys, quotes, unmatched notifications
//! and webhooks in quarantine.
//!
//! Guarantees:
//! - A payment and the ledger of its facts never disagree: one transaction writes both.
//! - A provider id belongs to at most one payment. Attaching an id and storing an unmatched notification under it are
//!   transactions that check each other's item, so no interleaving loses the notification.
//! - Every write is conditional on the state that it was decided on. If that state has changed, nothing is written and
//!   the current state is returned.
//! - A payment that is deleted leaves nothing that counts: an item that still points to it is as good as absent.
//! - Contention is not a failed condition: conflicting transactions are retried here, failed conditions are not.
//!
//! docs/architecture.md, "The table", lists every item and attribute.

mod batch;
mod commit;
mod create;
mod due_index;
mod error;
mod failed_checks;
mod fast_path;
mod list_state;
mod orders;
mod pointers;
mod quarantine;
mod rate_limiter;
mod request_records;
mod retry;
mod schema;
pub mod stream;
mod table;
mod transaction;
mod unmatched;

pub use batch::Known;
pub use commit::{CommitExtras, CommitResult, Conflict};
pub use create::InsertResult;
pub use due_index::{Due, Shard, Subject};
pub use error::StoreError;
pub use fast_path::FastPathResult;
pub use list_state::{ListState, PaidFilter};
pub use orders::{MAX_ORDER_ENTRIES, OrderEntry};
pub use quarantine::{QuarantinedWebhook, ReplayMark};
pub use request_records::NotChanged;
pub use retry::{Retry, retry_on_conflict};
pub use table::Store;
pub use unmatched::{MAX_MOVED, StoreUnmatchedResult, UnmatchedGroup};
