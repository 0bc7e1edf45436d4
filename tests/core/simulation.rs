//! `make scale`: how many payments a second the reconciler keeps up with, and how late a lost webhook is noticed.
//!
//! The reconciler is the real one, over a table in memory, at virtual times. FinvyPay is a [`Market`]. Only the processor
//! time of expiring payments is measured on the clock: of the release build, in a process of its own.

mod hour;
mod market;

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use payment_functions::domain::list_reading::{AGES, Window};
use payment_functions::domain::provider::Provider;
use payment_functions::domain::time::Timestamp;
use payment_functions::store::Store;
use payment_functions_local::workspace;
use payment_functions_tests::bench::cpu_time_of_expiry;
use payment_functions_tests::world::MemoryTable;
use reconcile_payments::backlog_metrics;
use reconcile_payments::handler::RUN_TIME;
use reconcile_payments::sweep::Sweep;
use serde_json::json;

use crate::recorded::Recorded;
use crate::scale::assert_page_has;
use hour::{Hour, Plan, simulate};
use market::{Assumptions, Market};

/// How long a rate is tried.
const HOURS: u32 = 4;
const MINUTE: Duration = Duration::from_secs(60);
/// When the simulation begins: at a whole day.
const START: Timestamp = Timestamp::from_millis(1_800_000_000_000 / 86_400_000 * 86_400_000);

/// Stores that the list was read at all ages: up to now, or up to where the next window of each is due.
async fn set_marks(store: &Store, now: Timestamp, is_due: bool) {
    let marks = AGES.map(|(age, window)| now.minus(age).minus(if is_due { window } else { Duration::ZERO }));
    let before = store.list_state(Provider::FinvyPay).await.unwrap();
    let mut after = before.clone();
    after.marks = serde_json::from_value(serde_json::to_value(marks).unwrap()).unwrap();
    let refused = store
        .save_list_state(Provider::FinvyPay, &before, &after)
        .await
        .unwrap();
    assert_eq!(refused, None);
}

/// When a run begins: up to five seconds after its minute. So the windows of equal rates differ by some rows, as those of
/// buyers who come at random do.
fn begin_of_run(minute: u32) -> Timestamp {
    let late = u64::from(minute.wrapping_mul(2_654_435_769) % 5_000);
    START.plus(minute * MINUTE).plus(Duration::from_millis(late))
}

/// What some hours at a rate have shown.
#[derive(Debug)]
struct Trial {
    /// How many runs of the last hour left nothing to read.
    caught_up: u32,
    calls_a_minute: u64,
    refused: u64,
}

impl Trial {
    /// Whether nothing is left to read at times, after hours. If there were more to read than can be read, more and more
    /// would be left.
    fn keeps_up(&self) -> bool {
        self.caught_up > 0 && self.refused == 0
    }
}

/// Reads the list for some hours, in which all payments are only counted. At first a window of every age is due.
async fn try_rate(assumptions: &Assumptions) -> Trial {
    let table = MemoryTable::new().unwrap();
    let store = table.store();
    set_marks(&store, START, true).await;
    let market = Market::open(assumptions.clone(), None, START);
    let mut caught_up = 0;
    for minute in 0..HOURS * 60 {
        let now = begin_of_run(minute);
        market.begin_run(now);
        let report = Sweep::new(&store, market.clone(), now).run(RUN_TIME).await.unwrap();
        market.end_run();
        if minute >= (HOURS - 1) * 60 && !report.unfinished {
            caught_up += 1;
        }
    }
    let state = market.state();
    Trial {
        caught_up,
        calls_a_minute: state.calls["list"] / u64::from(HOURS * 60),
        refused: state.refused_calls + state.refused_creations,
    }
}

/// The highest rate of payments a minute that the reconciler keeps up with, in steps from the first one.
async fn capacity(assumptions: Assumptions, step: u64) -> (u64, Trial) {
    let at = |payments| Assumptions {
        payments,
        ..assumptions.clone()
    };
    let mut rate = assumptions.payments;
    let mut trial = try_rate(&at(rate)).await;
    while trial.keeps_up() {
        let next = try_rate(&at(rate + step)).await;
        if !next.keeps_up() {
            return (rate, trial);
        }
        (rate, trial) = (rate + step, next);
    }
    while !trial.keeps_up() && rate > step {
        rate -= step;
        trial = try_rate(&at(rate)).await;
    }
    (rate, trial)
}

/// The requests to DynamoDB of a run with nothing due, of nine in a row the one with the most: their actions.
pub async fn idle_requests() -> Vec<String> {
    let recorded = Recorded::new();
    let store = recorded.store();
    let market = Market::open(usual(100, 0), Some(recorded.store()), START);
    set_marks(&store, START, false).await;
    let mut most = Vec::new();
    for minute in 1..10 {
        recorded.take();
        let now = START.plus(minute * MINUTE);
        market.begin_run(now);
        let report = Sweep::new(&store, market.clone(), now).run(RUN_TIME).await.unwrap();
        assert!(!report.unfinished && report.checked == 0);
        backlog_metrics::record(&store).await;
        let actions: Vec<String> = recorded.take().into_iter().map(|(action, _)| action).collect();
        if actions.len() > most.len() {
            most = actions;
        }
    }
    most
}

/// A limit of requests a minute, and payments a second.
fn usual(requests: u32, payments: u64) -> Assumptions {
    Assumptions {
        requests,
        payments: payments * 60,
        filters: true,
        creations_count: false,
        flood: None,
    }
}

/// Runs a simulation on a thread of its own.
fn on_thread<T: Send + 'static>(simulation: impl AsyncFnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    thread::spawn(move || runtime.block_on(simulation()))
}

/// The expiries a second that fit the function's memory setting: 1,769 MB are one processor.
fn expiries_a_second(cpu_time: Duration) -> u128 {
    let template = std::fs::read_to_string(workspace().join("template.yaml")).unwrap();
    let memory = template
        .lines()
        .filter_map(|line| line.trim().strip_prefix("MemorySize: "));
    let memory: u128 = memory.map(|memory| memory.parse().unwrap()).min().unwrap();
    Duration::from_secs(1).as_nanos() * memory / 1_769 / cpu_time.as_nanos()
}

/// The rate at which every webhook is a claim: that of the list, if no claim is left in the end. Otherwise the next lower
/// ones.
async fn capacity_of_claims(rate: u64, step: u64) -> (u64, Hour) {
    let mut rate = rate;
    loop {
        let plan = Plan {
            assumptions: usual(100, rate),
            minutes: 8,
            one_of: 1,
            webhooks_name_orders: true,
        };
        let hour = simulate(&plan).await;
        if hour.claims == 0 || rate <= step {
            return (rate, hour);
        }
        rate -= step;
    }
}

/// The capacities by name: payments a minute.
async fn capacities() -> BTreeMap<&'static str, (u64, Trial)> {
    let unfiltered = Assumptions {
        filters: false,
        ..usual(100, 10)
    };
    let counted = Assumptions {
        creations_count: true,
        ..usual(100, 1)
    };
    let mut found = BTreeMap::new();
    for (name, assumptions, step) in [
        ("100", usual(100, 10), 60),
        ("500", usual(500, 60), 300),
        ("100_unfiltered", unfiltered, 60),
        ("100_creations_count", counted, 6),
    ] {
        found.insert(name, capacity(assumptions, step).await);
    }
    found
}

/// How late lost webhooks are noticed, by name: at 100 and 500 requests a minute, and under a flood of unpaid payments.
async fn hours() -> BTreeMap<&'static str, Hour> {
    let flood = Window {
        from: START.minus(45 * MINUTE),
        to: START.plus(15 * MINUTE),
    };
    let mut hours = BTreeMap::new();
    for (name, requests, payments, one_of, flood) in [
        ("100", 100, 10, 1, None),
        ("500", 500, 60, 6, None),
        ("flood", 100, 10, 1, Some((20 * 60, flood))),
    ] {
        let plan = Plan {
            assumptions: Assumptions {
                flood,
                ..usual(requests, payments)
            },
            minutes: 15,
            one_of,
            webhooks_name_orders: false,
        };
        hours.insert(name, simulate(&plan).await);
    }
    hours
}

#[test]
#[ignore = "takes minutes, and needs a release build: make scale"]
fn scale() {
    let capacities = on_thread(capacities);
    let others = on_thread(async || (hours().await, idle_requests().await));
    let (hours, idle_requests) = others.join().unwrap();
    let capacities = capacities.join().unwrap();
    let claims = on_thread({
        let rate = capacities["100"].0 / 60;
        async move || capacity_of_claims(rate, 1).await
    });
    let (claims, claims_hour) = claims.join().unwrap();
    // When nothing else runs.
    let cpu_time = cpu_time_of_expiry(2_000);
    let cpu_time = tokio::runtime::Runtime::new().unwrap().block_on(cpu_time).unwrap();

    println!("Kept up with, four hours at each rate:");
    println!("{:<22} {:>14} {:>12} {:>8}", "", "payments/s", "calls/min", "refused");
    for (name, (rate, trial)) in &capacities {
        let rate = format!("{}.{}", rate / 60, rate % 60 / 6);
        println!(
            "{name:<22} {rate:>14} {:>12} {:>8}",
            trial.calls_a_minute, trial.refused
        );
    }
    println!("{:<22} {:>14}", "100_w1_only", claims);
    println!("\nPayments in a real table, 1 % of them without a webhook:");
    println!(
        "{:<22} {:>14} {:>12} {:>8} {:>8} {:>8}",
        "", "payments", "known, p99", "calls", "claims", "refused"
    );
    for (name, hour) in hours.iter().chain([(&"100_w1_only", &claims_hour)]) {
        let calls = hour.list_calls + hour.single_calls;
        println!(
            "{name:<22} {:>14} {:>10} s {calls:>8} {:>8} {:>8}",
            hour.payments,
            hour.p99.as_secs(),
            hour.claims,
            hour.refused_calls
        );
    }
    println!(
        "\nProcessor time of an expiry, release build: {} µs",
        cpu_time.as_micros()
    );
    let a_second = |name: &str| {
        let a_minute = u32::try_from(capacities[name].0).unwrap();
        f64::from(a_minute) / 60.0
    };
    let results = json!({
        "payments_per_second_100": a_second("100"),
        "payments_per_second_500": a_second("500"),
        "payments_per_second_100_unfiltered": a_second("100_unfiltered"),
        "payments_per_second_100_w1_only": claims,
        "payments_per_second_100_creations_count": a_second("100_creations_count"),
        "lost_webhook_p99_s": hours["100"].p99.max(hours["500"].p99).as_secs(),
        "lost_webhook_under_flood_s": hours["flood"].p99.as_secs(),
        "apolopay_expiries_per_second": expiries_a_second(cpu_time),
        "idle_requests": idle_requests.len(),
    });
    println!("{results}");
    compare_with_page(&capacities, claims, &hours);
    assert!(
        expiries_a_second(cpu_time) >= 500,
        "docs/scale.md says at least 500 a second"
    );
}

/// Checks that docs/scale.md has these results.
fn compare_with_page(capacities: &BTreeMap<&str, (u64, Trial)>, claims: u64, hours: &BTreeMap<&str, Hour>) {
    let rate = |name: &str| usize::try_from(capacities[name].0 / 60).unwrap();
    let late = |name: &str| usize::try_from(hours[name].p99.as_secs()).unwrap();
    assert_page_has(&[
        ("at 100 requests a minute", [rate("100")]),
        ("at 500 requests a minute", [rate("500")]),
        (
            "at 100, if the list ignores the filter by status",
            [rate("100_unfiltered")],
        ),
        (
            "at 100, if every webhook names only the order",
            [usize::try_from(claims).unwrap()],
        ),
        (
            "payments a minute at 100 requests a minute, if creating counts",
            [usize::try_from(capacities["100_creations_count"].0).unwrap()],
        ),
        ("10 payments a second, 100 requests a minute", [late("100")]),
        ("60 payments a second, 500 requests a minute", [late("500")]),
        (
            "10 payments a second, 100 requests a minute, and a stranger creates 20 unpaid payments a second",
            [late("flood")],
        ),
    ]);
}
