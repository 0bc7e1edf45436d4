//! The payments table: every payment, every fact about one, and what leads to it.
//!
//! Guarantees:
//! - A payment and the ledger of its facts never disagree: both are written in one transaction.
//! - A provider's id belongs to one payment at most. Attaching it and parking a fact about it are one transaction each,
//!   and each checks the other's item, so that in every interleaving one of the two sees the other.
//! - A write is conditional on what it was decided on; what has moved in between comes back with the refusal, and
//!   nothing is overwritten.
//! - Contention is tried again; a failed condition never is.
//!
//! Layout (`pk` / `sk`):
//!
//! | item | what |
//! |---|---|
//! | `PAYMENT#id` / `STATE` | the payment |
//! | `PAYMENT#id` / `FACT#digest` | a distinct fact about it |
//! | `REF#provider#reference` / `REF` | the payment that a provider's id belongs to |
//! | `ORDER#provider#order` / `PAYMENT#id` | a payment of an order, at a provider whose webhooks may name only the order |
//! | `UNMATCHED#provider#reference` / `PARKED` | events about an id that no payment is known for yet; `order:…` or `payment:…` for those that give no id |
//! | `KEY#route#key` / `KEY` | an idempotency key |
//! | `PACE#provider` / `PACE` | when a provider may be asked next |
//!
//! A payment that is not settled, and what is parked, has `dueQueue` and `dueAt` too, and so is in the sparse index `due`.

mod commit;
mod create;
mod due_index;
mod error;
mod fast_path;
mod idempotency_keys;
mod rate_limiter;
mod schema;
pub mod stream;
mod table;
mod transaction;
mod unmatched;

pub use commit::{CommitExtras, CommitResult, Conflict};
pub use create::InsertResult;
pub use due_index::{Due, SHARDS, Subject};
pub use error::StoreError;
pub use fast_path::FastPathResult;
pub use table::{OrderPayments, Store};
pub use unmatched::{KeepResult, UnmatchedNotifications};
