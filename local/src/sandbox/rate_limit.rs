//! FinvyPay's rate limit: the calls in each minute of the clock, counted by the stand-in itself.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::calls::Kind;
use super::finvypay_check::error;
use super::http::RawResponse;

const MINUTE_MS: u64 = 60_000;

/// The body of `POST /_control/rate-limit`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RateLimit {
    /// How many calls are admitted in each minute. `None`: any number.
    pub requests_per_minute: Option<u64>,
    /// Whether create calls count. If not, they are always admitted.
    pub creations_count: bool,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            requests_per_minute: None,
            creations_count: true,
        }
    }
}

/// The calls that counted since the rate limit was set.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct RateLimitReport {
    /// The number of calls within the limit.
    pub admitted: u64,
    /// The number of calls that got 429.
    pub refused: u64,
}

/// Counts the calls.
#[derive(Debug, Default)]
pub(super) struct RateLimiter {
    limit: RateLimit,
    /// The number of the current minute since 1970, and the calls in it.
    minute: u64,
    calls: u64,
    report: RateLimitReport,
}

/// What a call's response says about the limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Quota {
    limit: u64,
    /// `None`: the call is over the limit.
    remaining: Option<u64>,
    /// Seconds until the next minute, rounded up.
    reset: u64,
}

impl RateLimiter {
    /// Starts anew with this limit. Returns the report until now.
    pub(super) fn set(&mut self, limit: RateLimit) -> RateLimitReport {
        std::mem::replace(
            self,
            Self {
                limit,
                ..Self::default()
            },
        )
        .report
    }

    pub(super) fn report(&self) -> RateLimitReport {
        self.report.clone()
    }

    /// Counts a call. `None` if there is no limit for it.
    pub(super) fn count(&mut self, kind: Kind, now_ms: u64) -> Option<Quota> {
        let limit = self.limit.requests_per_minute?;
        if kind == Kind::Create && !self.limit.creations_count {
            return None;
        }
        let minute = now_ms / MINUTE_MS;
        if self.minute != minute {
            (self.minute, self.calls) = (minute, 0);
        }
        self.calls += 1;
        let remaining = limit.checked_sub(self.calls);
        match remaining {
            Some(_) => self.report.admitted += 1,
            None => self.report.refused += 1,
        }
        Some(Quota {
            limit,
            remaining,
            reset: (MINUTE_MS - now_ms % MINUTE_MS).div_ceil(1000),
        })
    }
}

impl Quota {
    /// The response to a call over the limit.
    pub(super) fn refusal(self) -> Option<RawResponse> {
        let refusal = error(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", "Too many requests", None);
        self.remaining.is_none().then_some(refusal)
    }

    /// Adds the headers to a response, unless a script set them.
    pub(super) fn add_headers(self, response: &mut RawResponse) {
        let retry_after = self.remaining.is_none().then_some(("retry-after", self.reset));
        let headers = [
            ("x-ratelimit-limit", self.limit),
            ("x-ratelimit-remaining", self.remaining.unwrap_or_default()),
            ("x-ratelimit-reset", self.reset),
        ];
        for (name, value) in headers.into_iter().chain(retry_after) {
            if response.headers.iter().all(|(known, _)| known != name) {
                response.headers.push((name.to_owned(), value.to_string()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(requests_per_minute: u64, creations_count: bool) -> RateLimiter {
        let mut limiter = RateLimiter::default();
        limiter.set(RateLimit {
            requests_per_minute: Some(requests_per_minute),
            creations_count,
        });
        limiter
    }

    #[test]
    fn calls_over_the_limit_are_refused_until_the_next_minute_of_the_clock() {
        let mut limiter = limiter(2, true);
        let noon = 12 * 60 * MINUTE_MS;
        for (at_ms, remaining, reset) in [
            (noon - 1, Some(1), 1),
            (noon, Some(1), 60),
            (noon + 1, Some(0), 60),
            (noon + 30_000, None, 30),
            (noon + 59_999, None, 1),
            (noon + 60_000, Some(1), 60),
        ] {
            let quota = Quota {
                limit: 2,
                remaining,
                reset,
            };
            assert_eq!(limiter.count(Kind::List, at_ms), Some(quota), "{at_ms}");
        }
        let report = limiter.set(RateLimit::default());
        assert_eq!((report.admitted, report.refused), (4, 2));
        assert_eq!(limiter.count(Kind::List, noon), None);
        assert_eq!(limiter.report().admitted, 0);
    }

    #[test]
    fn create_call_counts_only_if_creations_count() {
        let mut without = limiter(0, false);
        assert_eq!(without.count(Kind::Create, 0), None);
        assert!(without.count(Kind::Status, 0).unwrap().remaining.is_none());
        assert_eq!(without.report().refused, 1);
        assert!(limiter(0, true).count(Kind::Create, 0).unwrap().remaining.is_none());
    }
}
