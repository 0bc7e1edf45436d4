//! Injects faults into random calls.
//!
//! Calls with a scripted reply, and calls that the provider refuses, are spared.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::calls::Kind;
use super::script::{DropPoint, Reply};

/// A fault that is injected into a call.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum InjectedFault {
    /// 500. At random, the payment is created or not.
    Error500,
    /// 429. The call has no effect.
    Error429,
    /// The connection is closed. The call has no effect.
    DropBefore,
    /// The call has its effect, then the connection is closed without a reply.
    DropAfter,
    /// The call has its effect, and the reply is late.
    Late,
    /// The connection hangs, and is closed without a reply. At random, the call has its effect or not.
    Hang,
    /// The body is HTML, truncated JSON or empty. At random, the call has its effect or not.
    Malformed,
}

impl InjectedFault {
    /// All faults.
    pub const ALL: [Self; 7] = [
        Self::Error500,
        Self::Error429,
        Self::DropBefore,
        Self::DropAfter,
        Self::Late,
        Self::Hang,
        Self::Malformed,
    ];
}

/// The body of `POST /_control/chaos`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Chaos {
    /// The percentage of create, status and list calls with a fault.
    pub percent: u8,
    /// The seed of the random numbers.
    #[serde(default)]
    pub seed: u64,
    /// The faults to inject; by default all.
    #[serde(default = "all")]
    pub faults: Vec<InjectedFault>,
    /// The delay of a late reply.
    #[serde(default = "late_ms")]
    pub late_ms: u64,
    /// How long a call hangs; by default longer than any caller waits.
    #[serde(default = "hang_ms")]
    pub hang_ms: u64,
}

fn all() -> Vec<InjectedFault> {
    InjectedFault::ALL.to_vec()
}

fn late_ms() -> u64 {
    400
}

fn hang_ms() -> u64 {
    20_000
}

impl Default for Chaos {
    fn default() -> Self {
        Self {
            percent: 0,
            seed: 0,
            faults: all(),
            late_ms: late_ms(),
            hang_ms: hang_ms(),
        }
    }
}

impl Chaos {
    /// The problem of invalid settings, if there is one.
    pub(super) fn problem(&self) -> Option<String> {
        if self.percent > 100 {
            return Some(format!("percent must be at most 100, not {}", self.percent));
        }
        (self.percent > 0 && self.faults.is_empty()).then(|| "faults must not be empty".to_owned())
    }
}

/// The faults that were injected.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChaosReport {
    /// The number of calls that were eligible.
    pub calls: usize,
    /// The number of calls with each fault.
    pub faults: BTreeMap<InjectedFault, usize>,
}

/// Injects faults, and counts them.
#[derive(Debug, Default)]
pub(super) struct FaultInjector {
    chaos: Chaos,
    random: fastrand::Rng,
    report: ChaosReport,
}

impl FaultInjector {
    /// Starts anew with these settings. Returns the report until now.
    pub(super) fn set(&mut self, chaos: Chaos) -> ChaosReport {
        self.random = fastrand::Rng::with_seed(chaos.seed);
        self.chaos = chaos;
        std::mem::take(&mut self.report)
    }

    pub(super) fn report(&self) -> ChaosReport {
        self.report.clone()
    }

    /// The reply for the next call, if it gets a fault.
    pub(super) fn next_fault(&mut self, kind: Kind) -> Option<Reply> {
        if self.chaos.percent == 0 {
            return None;
        }
        self.report.calls += 1;
        if self.random.u8(0..100) >= self.chaos.percent {
            return None;
        }
        let fault = *self.random.choice(&self.chaos.faults)?;
        *self.report.faults.entry(fault).or_default() += 1;
        Some(self.reply(fault, kind))
    }

    fn reply(&mut self, fault: InjectedFault, kind: Kind) -> Reply {
        let at_random = self.random.bool();
        let mut reply = Reply::default();
        let has_effect = match fault {
            InjectedFault::Error500 => {
                reply.error = Some("INTERNAL_ERROR".to_owned());
                at_random
            }
            InjectedFault::Error429 => {
                reply.error = Some("RATE_LIMITED".to_owned());
                false
            }
            InjectedFault::DropBefore => {
                reply.drop = Some(DropPoint::BeforeReply);
                false
            }
            InjectedFault::DropAfter => {
                reply.drop = Some(DropPoint::BeforeReply);
                true
            }
            InjectedFault::Late => {
                reply.delay_ms = self.chaos.late_ms;
                true
            }
            InjectedFault::Hang => {
                reply.delay_ms = self.chaos.hang_ms;
                reply.drop = Some(DropPoint::BeforeReply);
                at_random
            }
            InjectedFault::Malformed => {
                let bodies = ["HTML_OK", "TRUNCATED_JSON", "EMPTY_BODY"];
                reply.error = self.random.choice(bodies).map(str::to_owned);
                at_random
            }
        };
        reply.create = (kind == Kind::Create).then_some(has_effect);
        reply
    }
}
