//! Reconciles payments on a schedule, so that a lost webhook does no harm, and carries out an operator's commands.
//!
//! Guarantees: a run writes what a webhook would have written, under the same conditions. It may be late, run twice at
//! once, or die halfway. It reads only what is due, never the whole table. It ends in time, and the next run goes on.
//! All runs together call FinvyPay at most 80 times a minute.
//!
//! | module | holds |
//! |---|---|
//! | [`handler`], [`report`] | an event in, a report out |
//! | [`sweep`] | a run over everything that is due |
//! | [`poller`] | polling FinvyPay |
//! | [`backlog_metrics`] | metrics of the backlog |
//! | [`operator`], [`acknowledge`], [`replay`] | an operator's commands |

pub mod acknowledge;
pub mod backlog_metrics;
pub mod handler;
pub mod operator;
pub mod poller;
pub mod replay;
pub mod report;
pub mod sweep;
