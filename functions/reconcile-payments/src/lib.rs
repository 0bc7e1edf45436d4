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
//! | asking FinvyPay | [`ask`] |
//! | how much waits | [`gauges`] |
//! | an operator's word | [`operator`] |

pub mod ask;
pub mod gauges;
pub mod handler;
pub mod operator;
pub mod report;
pub mod sweep;
