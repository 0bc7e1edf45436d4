//! The pace at which a provider is asked, kept in one place for all who ask.
//!
//! Guarantee: by their own clocks, no two calls are let go within less than the interval, however many reconcilers run.

use std::time::Duration;

use super::error::StoreError;
use super::schema::{self, number};
use super::table::Store;
use crate::domain::provider::Provider;
use crate::domain::time::Timestamp;
use crate::platform::failpoint::ExternalCall;

/// How often a place is asked for anew because somebody else took it. Each time, somebody did.
const ROUNDS: u32 = 32;

impl Store {
    /// Takes the next moment at which a provider may be asked, the last such moment being `interval` before. `None`:
    /// there is none until `latest`, and none was taken.
    ///
    /// # Errors
    /// Where the table cannot be written.
    pub async fn next_turn(
        &self,
        provider: Provider,
        interval: Duration,
        now: Timestamp,
        latest: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let mut next = None;
        for _ in 0..ROUNDS {
            let turn = next.map_or(now, |next: Timestamp| next.max(now));
            if turn > latest {
                return Ok(None);
            }
            let update = self
                .update(schema::pace_key(provider))
                .update_expression("SET nextAt = :next")
                .expression_attribute_values(":next", number(turn.plus(interval).as_millis()));
            // The first try guesses that nobody asked for a while, which is so where only one reconciler runs.
            let update = match next {
                Some(seen) => update
                    .condition_expression("nextAt = :seen")
                    .expression_attribute_values(":seen", number(seen.as_millis())),
                None => update
                    .condition_expression("attribute_not_exists(nextAt) OR nextAt <= :now")
                    .expression_attribute_values(":now", number(now.as_millis())),
            };
            let Some(item) = self.update_alone(ExternalCall::Pace, update).await? else {
                return Ok(Some(turn));
            };
            next = Some(schema::time_of(&item, "nextAt")?);
        }
        Err(StoreError::Contended)
    }
}
