//! Chance: the faults that calls meet though no script asks for them.
//!
//! A call that a script has a reply for is left alone, and so is one that the provider refuses.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::calls::Kind;
use super::script::{DropPoint, Reply};

/// What a call can meet.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Mishap {
    /// 500. Whether the payment exists all the same is left to chance.
    Error500,
    /// 429, and nothing is done.
    Error429,
    /// The connection is closed, and nothing is done.
    DropBefore,
    /// It is done, and the connection is closed instead of the reply.
    DropAfter,
    /// It is done, and the reply comes late.
    Late,
    /// No reply for a long time, and then the connection is closed. Whether it is done is left to chance.
    Hang,
    /// HTML, half of a JSON text, or nothing, for a body. Whether it is done is left to chance.
    Nonsense,
}

impl Mishap {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Error500,
        Self::Error429,
        Self::DropBefore,
        Self::DropAfter,
        Self::Late,
        Self::Hang,
        Self::Nonsense,
    ];
}

/// The body of `POST /_control/chaos`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Chaos {
    /// How many of a hundred create, status and list calls meet a mishap. 0: none.
    pub percent: u8,
    /// What chance is drawn from.
    #[serde(default)]
    pub seed: u64,
    /// Which mishaps; all of them where this is left out.
    #[serde(default = "all")]
    pub mishaps: Vec<Mishap>,
    /// How late a late reply is.
    #[serde(default = "late_ms")]
    pub late_ms: u64,
    /// How long a hanging call hangs: longer than any caller waits, where this is left out.
    #[serde(default = "hang_ms")]
    pub hang_ms: u64,
}

fn all() -> Vec<Mishap> {
    Mishap::ALL.to_vec()
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
            mishaps: all(),
            late_ms: late_ms(),
            hang_ms: hang_ms(),
        }
    }
}

impl Chaos {
    /// What makes no sense in it, if something does.
    pub(super) fn problem(&self) -> Option<String> {
        if self.percent > 100 {
            return Some(format!("{} of a hundred calls", self.percent));
        }
        (self.percent > 0 && self.mishaps.is_empty()).then(|| "no mishaps to choose from".to_owned())
    }
}

/// What chance has done.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChaosReport {
    /// The calls that could have met a mishap.
    pub calls: usize,
    /// How many met which.
    pub mishaps: BTreeMap<Mishap, usize>,
}

/// Chance at work.
#[derive(Debug, Default)]
pub(super) struct Chance {
    chaos: Chaos,
    random: fastrand::Rng,
    report: ChaosReport,
}

impl Chance {
    /// Begins anew; gives what was done until now.
    pub(super) fn set(&mut self, chaos: Chaos) -> ChaosReport {
        self.random = fastrand::Rng::with_seed(chaos.seed);
        self.chaos = chaos;
        std::mem::take(&mut self.report)
    }

    pub(super) fn report(&self) -> ChaosReport {
        self.report.clone()
    }

    /// What the next call meets.
    pub(super) fn strike(&mut self, kind: Kind) -> Option<Reply> {
        if self.chaos.percent == 0 {
            return None;
        }
        self.report.calls += 1;
        if self.random.u8(0..100) >= self.chaos.percent {
            return None;
        }
        let mishap = *self.random.choice(&self.chaos.mishaps)?;
        *self.report.mishaps.entry(mishap).or_default() += 1;
        Some(self.reply(mishap, kind))
    }

    fn reply(&mut self, mishap: Mishap, kind: Kind) -> Reply {
        let by_chance = self.random.bool();
        let mut reply = Reply::default();
        let is_done = match mishap {
            Mishap::Error500 => {
                reply.error = Some("INTERNAL_ERROR".to_owned());
                by_chance
            }
            Mishap::Error429 => {
                reply.error = Some("RATE_LIMITED".to_owned());
                false
            }
            Mishap::DropBefore => {
                reply.drop = Some(DropPoint::BeforeReply);
                false
            }
            Mishap::DropAfter => {
                reply.drop = Some(DropPoint::BeforeReply);
                true
            }
            Mishap::Late => {
                reply.delay_ms = self.chaos.late_ms;
                true
            }
            Mishap::Hang => {
                reply.delay_ms = self.chaos.hang_ms;
                reply.drop = Some(DropPoint::BeforeReply);
                by_chance
            }
            Mishap::Nonsense => {
                let bodies = ["HTML_OK", "TRUNCATED_JSON", "EMPTY_BODY"];
                reply.error = self.random.choice(bodies).map(str::to_owned);
                by_chance
            }
        };
        reply.create = (kind == Kind::Create).then_some(is_done);
        reply
    }
}
