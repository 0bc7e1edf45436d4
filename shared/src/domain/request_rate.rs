//! How often a provider may be called.

use std::num::NonZeroU32;
use std::time::Duration;

/// Which calls share a limit. Each lane has a part of the requests, so that neither starves the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Reading the list of transactions in bulk and, where that cannot be had, single payments in its place.
    List,
    /// Single calls about a payment or a claim.
    Single,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Self; 2] = [Self::List, Self::Single];

    /// The name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Single => "single",
        }
    }
}

/// The requests that a provider allows a key each minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRate(NonZeroU32);

/// The limit of a lane: a call each `interval` and, after a rest, up to `burst` at once besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneLimit {
    /// The time between two calls in the long run.
    pub interval: Duration,
    /// How many calls may come before their time.
    pub burst: u32,
}

impl RequestRate {
    /// What FinvyPay allows an ordinary key.
    pub const DEFAULT: Self = Self(NonZeroU32::new(100).unwrap());

    /// So many requests a minute. `None` for zero.
    pub fn per_minute(requests: u32) -> Option<Self> {
        NonZeroU32::new(requests).map(Self)
    }

    /// The requests a minute.
    pub const fn requests(self) -> u32 {
        self.0.get()
    }

    /// The limit of a lane. Both together use at most 80 % of the requests of any minute, bursts included. Creating
    /// payments needs the rest.
    pub fn limit(self, lane: Lane) -> LaneLimit {
        // Hundredths of the requests: in the long run, and at once.
        let (steady, burst) = match lane {
            Lane::List => (64, 3),
            Lane::Single => (8, 5),
        };
        let a_minute = Duration::from_secs(60 * 100);
        LaneLimit {
            interval: a_minute / steady / self.requests(),
            burst: self.requests().saturating_mul(burst) / 100,
        }
    }
}
