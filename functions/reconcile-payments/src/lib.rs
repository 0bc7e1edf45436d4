//! Finds out what became of payments that no webhook settled, and carries out what an operator decides.
//!
//! Guarantees: what it writes is what a webhook would have written, through the same conditions, so that running late,
//! twice at once, or dying halfway does no harm. It never reads the whole table, only what is due. It stops in time
//! and goes on with the next run. It asks FinvyPay at most 80 times a minute, however many of it run.
//!
//! | part | module |
//! |---|---|
//! | an event in, a report out | [`handler`], [`report`] |
//! | a run over what is due | [`sweep`] |
//! | asking FinvyPay | [`poller`] |
//! | how much waits | [`backlog_metrics`] |
//! | an operator's word | [`operator`] |

pub mod backlog_metrics;
pub mod handler;
pub mod operator;
pub mod poller;
pub mod report;
pub mod sweep;
