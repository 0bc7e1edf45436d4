//! FinvyPay as the simulation assumes it: payments that come evenly, buyers who pay late or never, and a list that counts
//! its calls by itself. It has its own clock, which only its calls move.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use payment_functions::domain::fact::{Fact, Outcome};
use payment_functions::domain::id::{OrderId, PaymentId, Reference};
use payment_functions::domain::list_reading::Window;
use payment_functions::domain::provider::{Environment, Provider};
use payment_functions::domain::request_rate::{Lane, RequestRate};
use payment_functions::domain::time::Timestamp;
use payment_functions::providers::Notification;
use payment_functions::providers::finvypay::list::{ListPage, ListQuery, ListRow, PAGE_ROWS};
use payment_functions::store::Store;
use reconcile_payments::poller::{CallSlots, PollError, StatusSource};
use tokio::time::Instant;

use crate::facts;

/// The time from a call to its response.
const LATENCY: Duration = Duration::from_millis(300);
const MINUTE: Duration = Duration::from_secs(60);

/// What the simulation assumes.
#[derive(Clone, Debug)]
pub struct Assumptions {
    /// The requests a minute that FinvyPay allows.
    pub requests: u32,
    /// The payments created in a minute.
    pub payments: u64,
    /// Whether the list can be filtered by status.
    pub filters: bool,
    /// Whether creating a payment counts as a request.
    pub creations_count: bool,
    /// The unpaid payments that a stranger creates in a minute, and when.
    pub flood: Option<(u64, Window)>,
}

/// A payment whose rows the list shows. All others are only counted.
#[derive(Clone, Debug)]
pub struct Sale {
    pub id: PaymentId,
    pub created_at: Timestamp,
    /// `None` if the basket is left.
    pub paid_at: Option<Timestamp>,
    /// When the reconciler knew that it is paid.
    pub known_at: Option<Timestamp>,
}

/// FinvyPay. Its clones share their state.
#[derive(Clone)]
pub struct Market(Arc<Mutex<State>>);

pub struct State {
    pub assumptions: Assumptions,
    /// Where call slots are reserved. `None` for a limiter in memory, which is faster.
    store: Option<Store>,
    /// The slots of the run.
    slots: Option<Arc<CallSlots>>,
    next_slot: BTreeMap<&'static str, Timestamp>,
    /// The times when the list's reader and the single calls go on.
    clocks: BTreeMap<&'static str, Timestamp>,
    /// The begin of the run: on the clock of this process, and on its own.
    run: (Instant, Timestamp),
    /// The pages of a window that are still to be read, and when the last response comes.
    more_pages: u64,
    all_read_at: Timestamp,
    /// The last window that was read without a filter.
    whole: Option<Window>,
    /// The requests of the last minute, creations included.
    requests: VecDeque<Timestamp>,
    created_until: Timestamp,
    /// The calls of each lane.
    pub calls: BTreeMap<&'static str, u64>,
    pub refused_calls: u64,
    pub refused_creations: u64,
    /// By number, as they are created.
    pub sales: BTreeMap<u64, Sale>,
    /// The paid ones among the rows of a window that is being read.
    shown: Vec<u64>,
}

/// How many payments are created before a time, if they come evenly.
fn created_before(time: Timestamp, a_minute: u64) -> u64 {
    (u128::from(time.as_millis()) * u128::from(a_minute))
        .div_ceil(60_000)
        .try_into()
        .unwrap()
}

/// When the payment with this number is created.
pub fn created_at(number: u64, a_minute: u64) -> Timestamp {
    Timestamp::from_millis((u128::from(number) * 60_000 / u128::from(a_minute)).try_into().unwrap())
}

/// The numbers of the payments that are created in a window.
pub fn created_in(window: Window, a_minute: u64) -> std::ops::Range<u64> {
    created_before(window.from, a_minute)..created_before(window.to, a_minute)
}

/// A number from 0 below 1 for each payment, evenly spread.
#[allow(clippy::float_arithmetic, reason = "a share")]
fn spread(number: u64, step: u64) -> f64 {
    let part = u32::try_from((u128::from(number) * u128::from(step) % (1 << 32)) & 0xffff_ffff).unwrap();
    f64::from(part) / f64::from(u32::MAX)
}

/// How long after its creation a payment is paid: exponentially distributed around 90 seconds, and 1 % later than a
/// quarter of an hour, around 25 minutes. `None` for the 30 % that are never paid.
#[allow(clippy::float_arithmetic, reason = "a distribution")]
pub fn paid_after(number: u64) -> Option<Duration> {
    if spread(number, 2_654_435_769) < 0.3 {
        return None;
    }
    let share = spread(number, 1_779_033_703).min(0.999_999);
    Some(if share < 0.99 {
        Duration::from_secs_f64(-90.0 * (1.0 - share / 0.99).max(1e-6).ln())
    } else {
        Duration::from_secs_f64(900.0 - 600.0 * (1.0 - (share - 0.99) / 0.01).max(1e-6).ln())
    })
}

/// How many of a thousand payments of an age are paid.
#[allow(clippy::float_arithmetic, reason = "a distribution")]
fn paid_per_mille(age: Duration) -> u64 {
    let late = age.as_secs_f64() - 900.0;
    let of_late = if late > 0.0 { 1.0 - (-late / 600.0).exp() } else { 0.0 };
    let share = 0.99 * (1.0 - (-age.as_secs_f64() / 90.0).exp()) + 0.01 * of_late;
    u64::try_from(Duration::from_secs_f64(share * 0.7).as_millis()).unwrap()
}

fn reference(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

/// The id of a payment's transaction.
fn transaction(number: u64) -> String {
    format!("FP{number}")
}

impl Market {
    pub fn open(assumptions: Assumptions, store: Option<Store>, start: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(State {
            assumptions,
            store,
            slots: None,
            next_slot: BTreeMap::new(),
            clocks: BTreeMap::new(),
            run: (Instant::now(), start),
            more_pages: 0,
            all_read_at: start,
            whole: None,
            requests: VecDeque::new(),
            created_until: start,
            calls: BTreeMap::new(),
            refused_calls: 0,
            refused_creations: 0,
            sales: BTreeMap::new(),
            shown: Vec::new(),
        })))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Begins a run.
    pub fn begin_run(&self, now: Timestamp) {
        let mut state = self.state();
        state.run = (Instant::now(), now);
        let rate = RequestRate::per_minute(state.assumptions.requests).unwrap();
        let store = state.store.clone();
        state.slots = store.map(|store| Arc::new(CallSlots::new(store, rate)));
        state.more_pages = 0;
        for lane in Lane::ALL {
            let clock = state.clocks.entry(lane.name()).or_insert(now);
            *clock = now.max(*clock);
        }
    }

    /// Ends a run.
    pub fn end_run(&self) {
        let mut state = self.state();
        let now = state.clocks.get(Lane::List.name()).copied().unwrap();
        state.note_known(now);
    }

    /// The report of a paid payment's transaction, as a webhook or the list shows it.
    pub fn report(number: u64, sale: &Sale, names_payment: bool) -> Notification {
        let fact = Fact {
            transaction: Some(reference(&transaction(number))),
            order_id: OrderId::parse(&format!("order-{number}")),
            received_at: sale.paid_at.unwrap_or(sale.created_at),
            raw_status: "SUCCESS".to_owned(),
            ..facts::fact(Provider::FinvyPay, Outcome::Completed)
        };
        Notification {
            payment_id: names_payment.then_some(sale.id),
            fact,
        }
    }
}

impl State {
    /// The rows of the last window are recorded.
    fn note_known(&mut self, now: Timestamp) {
        for number in std::mem::take(&mut self.shown) {
            let sale = self.sales.get_mut(&number).unwrap();
            sale.known_at.get_or_insert(now);
        }
    }

    /// Counts the creations until `now`, and forgets requests that are a minute old.
    fn count_creations(&mut self, now: Timestamp) {
        if self.assumptions.creations_count {
            let window = Window {
                from: self.created_until,
                to: now.max(self.created_until),
            };
            for number in created_in(window, self.assumptions.payments) {
                let at = created_at(number, self.assumptions.payments);
                if !self.admit(at) {
                    self.refused_creations += 1;
                }
            }
        }
        self.created_until = self.created_until.max(now);
    }

    /// Whether a request is within the limit: so many in any sixty seconds.
    fn admit(&mut self, at: Timestamp) -> bool {
        while self.requests.front().is_some_and(|first| at.since(*first) >= MINUTE) {
            self.requests.pop_front();
        }
        let is_admitted = self.requests.len() < usize::try_from(self.assumptions.requests).unwrap();
        if is_admitted {
            self.requests.push_back(at);
        }
        is_admitted
    }

    /// Makes a call at `at`. Pauses all calls if less than a fifth of the limit is left, as the poller does.
    fn call(&mut self, lane: Lane, at: Timestamp) -> Result<(), PollError> {
        self.count_creations(at);
        *self.calls.entry(lane.name()).or_default() += 1;
        if !self.admit(at) {
            self.refused_calls += 1;
            return Err(PollError::ProviderRefusesAll);
        }
        let limit = usize::try_from(self.assumptions.requests).unwrap();
        let left = limit - self.requests.len();
        if self.assumptions.creations_count && left * 5 <= limit {
            let resets_at = self.requests.front().copied().unwrap_or(at).plus(MINUTE);
            let rate = RequestRate::per_minute(self.assumptions.requests).unwrap();
            for lane in Lane::ALL {
                let limit = rate.limit(lane);
                let until = resets_at.plus(limit.interval * limit.burst);
                let next = self.next_slot.entry(lane.name()).or_insert(until);
                *next = until.max(*next);
            }
        }
        Ok(())
    }

    /// The rows of a window in a list with this filter: how many, and the sales among them with their places.
    fn rows(&self, window: Window, is_filtered: bool, now: Timestamp) -> (u64, Vec<(u64, u64)>) {
        let all = created_in(window, self.assumptions.payments);
        let shown: Vec<u64> = self
            .sales
            .range(all.clone())
            .filter(|(_, sale)| !is_filtered || sale.paid_at.is_some_and(|paid_at| paid_at <= now))
            .map(|(number, _)| *number)
            .collect();
        let created = all.end - all.start;
        let mut total = if is_filtered {
            let middle = window.from.plus(window.length() / 2);
            created * paid_per_mille(now.since(middle)) / 1_000
        } else {
            created
        };
        if let Some((a_minute, when)) = self.assumptions.flood.filter(|_| !is_filtered) {
            let flooded = created_in(
                Window {
                    from: when.from.max(window.from),
                    to: when.to.min(window.to).max(when.from.max(window.from)),
                },
                a_minute,
            );
            total += flooded.end - flooded.start;
        }
        let count = u64::try_from(shown.len()).unwrap();
        let total = total.max(count);
        // The newest first, evenly among those that are only counted.
        let places = (0..).map(|place: u64| place * total / count.max(1));
        (total, places.zip(shown.into_iter().rev()).collect())
    }

    fn page(&mut self, query: &ListQuery, now: Timestamp) -> ListPage {
        let is_filtered = query.status.is_some() && self.assumptions.filters;
        let (total, places) = self.rows(query.window, is_filtered, now);
        let first = (query.page - 1) * PAGE_ROWS;
        let on_page = places
            .into_iter()
            .filter(|(place, _)| (first..first + PAGE_ROWS).contains(place));
        let mut rows = Vec::new();
        for (_, number) in on_page {
            let sale = &self.sales[&number];
            let is_paid = sale.paid_at.is_some_and(|paid_at| paid_at <= now);
            let mut notification = Market::report(number, sale, true);
            if is_paid {
                self.shown.push(number);
            } else {
                notification.fact.outcome = Outcome::Pending;
                notification.fact.raw_status = "PENDING".to_owned();
            }
            rows.push(ListRow {
                status: Some(notification.fact.raw_status.clone()),
                notification,
            });
        }
        if query.status.is_none() {
            self.whole = Some(query.window);
        }
        // By two rows that are not ours the reader sees whether the filter works.
        if query.page == 1 && self.whole == Some(query.window) && total > 0 {
            let outcomes = [(Outcome::Completed, "SUCCESS"), (Outcome::Pending, "PENDING")];
            let shown = outcomes.into_iter().take(if is_filtered { 1 } else { 2 });
            rows.extend(shown.map(|(outcome, status)| ListRow {
                notification: Notification {
                    payment_id: None,
                    fact: Fact {
                        transaction: Some(reference(&format!("{status}{}", query.window.from.as_millis()))),
                        ..facts::fact(Provider::FinvyPay, outcome)
                    },
                },
                status: Some(status.to_owned()),
            }));
        }
        ListPage {
            rows,
            length: total.saturating_sub(first).min(PAGE_ROWS),
            total: Some(total),
        }
    }
}

impl StatusSource for Market {
    fn environment(&self) -> Environment {
        Environment::Sandbox
    }

    async fn wait_for_slot(&self, lane: Lane, latest: Instant) -> Result<(), PollError> {
        let (now, latest, limit, slots, next, taken) = {
            let state = self.state();
            let (began, run) = state.run;
            let rate = RequestRate::per_minute(state.assumptions.requests).unwrap();
            let latest = run.plus(latest.saturating_duration_since(began));
            let now = state.clocks[lane.name()];
            let next = |lane: Lane| state.next_slot.get(lane.name()).copied();
            let is_free = |lane: &Lane| {
                let limit = rate.limit(*lane);
                next(*lane).is_none_or(|next| next.minus(limit.interval * limit.burst) <= now)
            };
            // A single call takes a slot of the list that is free, rather than wait.
            let free = [Lane::Single, Lane::List].into_iter().find(is_free);
            let taken = free.filter(|_| lane == Lane::Single).unwrap_or(lane);
            (now, latest, rate.limit(taken), state.slots.clone(), next(taken), taken)
        };
        if lane == Lane::List && self.state().more_pages == 0 {
            self.state().note_known(now);
        }
        let slot = match slots {
            Some(slots) => slots.next(lane, now, latest).await?,
            None => {
                let lead = limit.interval * limit.burst;
                let slot = next.map_or(now, |next| next.minus(lead).max(now));
                Some(slot).filter(|slot| *slot <= latest)
            }
        };
        let slot = slot.ok_or(PollError::NoSlot)?;
        let mut state = self.state();
        let used_until = next.unwrap_or(now).max(now).plus(limit.interval);
        state.next_slot.insert(taken.name(), used_until);
        state.clocks.insert(lane.name(), slot);
        Ok(())
    }

    fn slots_before(&self, lane: Lane, latest: Instant) -> u64 {
        let state = self.state();
        let (began, run) = state.run;
        let limit = RequestRate::per_minute(state.assumptions.requests).unwrap().limit(lane);
        let latest = run.plus(latest.saturating_duration_since(began));
        let left = latest.since(state.clocks[lane.name()]).as_nanos() / limit.interval.as_nanos();
        u64::try_from(left).unwrap() + u64::from(limit.burst)
    }

    async fn status(&self, id: &Reference) -> Result<Option<Notification>, PollError> {
        let mut state = self.state();
        let at = state.clocks[Lane::Single.name()];
        state.call(Lane::Single, at)?;
        state.clocks.insert(Lane::Single.name(), at.plus(LATENCY));
        let number = id.as_str().strip_prefix("FP").and_then(|number| number.parse().ok());
        let Some((number, sale)) = number.and_then(|number| Some((number, state.sales.get_mut(&number)?))) else {
            return Ok(None);
        };
        sale.known_at.get_or_insert(at.plus(LATENCY));
        Ok(Some(Self::report(number, sale, true)))
    }

    async fn transactions(&self, order_id: &OrderId) -> Result<Vec<Notification>, PollError> {
        let mut state = self.state();
        let at = state.clocks[Lane::Single.name()];
        state.call(Lane::Single, at)?;
        state.clocks.insert(Lane::Single.name(), at.plus(LATENCY));
        let number = order_id
            .as_str()
            .strip_prefix("order-")
            .and_then(|number| number.parse().ok());
        let sale = number.and_then(|number| Some((number, state.sales.get(&number)?)));
        Ok(sale
            .map(|(number, sale)| Self::report(number, sale, true))
            .into_iter()
            .collect())
    }

    async fn list(&self, query: &ListQuery) -> Result<ListPage, PollError> {
        let mut state = self.state();
        let at = state.clocks[Lane::List.name()];
        state.call(Lane::List, at)?;
        let answered_at = at.plus(LATENCY);
        let page = state.page(query, at);
        // The first page of a window is read alone, the others several at once.
        if query.page == 1 {
            let pages = page.total.unwrap_or(0).div_ceil(PAGE_ROWS);
            state.more_pages = if pages <= 10 { pages.saturating_sub(1) } else { 0 };
            state.all_read_at = answered_at;
            state.clocks.insert(Lane::List.name(), answered_at);
            if pages > 10 {
                state.shown.clear();
            }
        } else {
            state.more_pages = state.more_pages.saturating_sub(1);
            state.all_read_at = answered_at;
            if state.more_pages == 0 {
                state.clocks.insert(Lane::List.name(), answered_at);
            }
        }
        Ok(page)
    }
}
