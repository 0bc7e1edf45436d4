//! The call slots of a run.

use std::collections::VecDeque;

use payment_functions::domain::request_rate::{Lane, RequestRate};
use payment_functions::domain::time::Timestamp;
use payment_functions::store::{Store, StoreError};
use tokio::sync::Mutex;

use super::POLLED_PROVIDER;

/// How many slots of the list are reserved at once. A quiet run needs as many.
const LIST_SLOTS: u32 = 2;

/// The call slots of a run, reserved with the rate limiter that all runs share.
#[derive(Debug)]
pub struct CallSlots {
    store: Store,
    rate: RequestRate,
    /// Slots of the list that are reserved and not used yet.
    of_list: Mutex<VecDeque<Timestamp>>,
}

impl CallSlots {
    /// No slot is reserved yet.
    pub fn new(store: Store, rate: RequestRate) -> Self {
        Self {
            store,
            rate,
            of_list: Mutex::default(),
        }
    }

    /// The time of the next slot of a lane. `None` if there is none before `latest`.
    ///
    /// # Errors
    /// [`StoreError`] if no slot could be reserved.
    pub async fn next(&self, lane: Lane, now: Timestamp, latest: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        match lane {
            Lane::Single => {
                // Rather than wait, it takes a slot of the list while nobody reads that.
                for free in [Lane::Single, Lane::List] {
                    if let Some(slot) = self.reserve(free, 1, now, now).await?.pop_front() {
                        return Ok(Some(slot));
                    }
                }
                Ok(self.reserve(lane, 1, now, latest).await?.pop_front())
            }
            Lane::List => {
                let mut slots = self.of_list.lock().await;
                if slots.is_empty() {
                    *slots = self.reserve(lane, LIST_SLOTS, now, latest).await?;
                }
                let is_in_time = slots.front().is_some_and(|slot| *slot <= latest);
                Ok(if is_in_time { slots.pop_front() } else { None })
            }
        }
    }

    /// Reserves slots, as many as asked for, or none.
    async fn reserve(
        &self,
        lane: Lane,
        count: u32,
        now: Timestamp,
        latest: Timestamp,
    ) -> Result<VecDeque<Timestamp>, StoreError> {
        let limit = self.rate.limit(lane);
        let first = self
            .store
            .reserve_slots(POLLED_PROVIDER, lane, count, limit, now, latest)
            .await?;
        let slots = |first: Timestamp| (0..count).map(move |nth| first.plus(limit.interval.saturating_mul(nth)));
        Ok(first.into_iter().flat_map(slots).collect())
    }
}
