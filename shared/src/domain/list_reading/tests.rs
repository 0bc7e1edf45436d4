use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const PAGE: u64 = 100;

/// Reads all windows that are due, extended where so many rows an hour allow it.
fn read_all(marks: &mut ReadMarks, now: Timestamp, rows_per_hour: Option<u64>) -> Vec<Window> {
    let mut windows = Vec::new();
    while let Some(window) = marks.next_window(now) {
        let extended = rows_per_hour.and_then(|rows| marks.extended(window, rows, PAGE, now));
        let window = extended.unwrap_or(window);
        *marks = marks.after(window, now);
        windows.push(window);
        assert!(windows.len() < 100, "endless: {windows:?}");
    }
    windows
}

#[test]
fn ages_increase_and_every_stretch_is_long_enough_to_be_due() {
    assert!(AGES.is_sorted_by(|(age, _), (older, _)| age < older));
    for ((age, shortest), (older, _)) in AGES.iter().zip(AGES.iter().skip(1)) {
        assert!(*shortest <= *older - *age, "{age:?}");
    }
}

#[test]
fn first_run_reads_the_last_eight_days_newest_first() {
    let mut marks = ReadMarks::new(NOW);
    assert!(!marks.is_up_to_date(NOW));
    let windows = read_all(&mut marks, NOW, None);
    assert_eq!(windows.first().unwrap().to, NOW.minus(MINUTE));
    assert_eq!(windows.last().unwrap().from, NOW.minus(8 * DAY));
    for pair in windows.windows(2) {
        assert_eq!(pair[1].to, pair[0].from, "without a gap and nothing twice");
    }
    assert!(marks.is_up_to_date(NOW));
    assert_eq!(marks.next_window(NOW), None);
}

#[test]
fn transaction_is_read_once_at_each_age() {
    let mut marks = ReadMarks::new(NOW);
    read_all(&mut marks, NOW, None);
    let created = NOW.plus(MINUTE * 7).minus(Duration::from_secs(1));
    let mut ages = Vec::new();
    for minute in 1..9 * 24 * 60 {
        let now = NOW.plus(minute * MINUTE);
        for window in read_all(&mut marks, now, None) {
            if window.from <= created && created < window.to {
                ages.push(now.since(created).as_secs() / 60);
            }
        }
    }
    assert_eq!(ages, [1, 3, 6, 10, 15, 48, 383, 1553, 11_873], "in minutes");
}

#[test]
fn quiet_list_is_read_in_two_calls_a_run() {
    let mut marks = ReadMarks::new(NOW);
    read_all(&mut marks, NOW, None);
    let now = NOW.plus(MINUTE);
    let first = marks.next_window(now).unwrap();
    assert_eq!(first.length(), MINUTE);
    marks = marks.after(first, now);
    let rest = read_all(&mut marks, now, Some(0));
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert!(rest[0].length() < HOUR, "{rest:?}");
    // Thirteen minutes of 400 rows an hour fit in a page, 45 minutes do not.
    let mut busy = ReadMarks::new(NOW);
    read_all(&mut busy, NOW, None);
    assert_eq!(read_all(&mut busy, now, Some(400)).len(), 1);
    assert_eq!(read_all(&mut busy, now.plus(MINUTE), Some(60_000)).len(), 5);
}

#[test]
fn mark_in_the_future_is_put_back() {
    let mut marks = ReadMarks::new(NOW);
    read_all(&mut marks, NOW.plus(DAY), None);
    let window = marks.next_window(NOW).unwrap();
    assert_eq!(window.to, NOW.minus(MINUTE));
    assert!(marks.is_up_to_date(NOW));
}

#[test]
fn standstill_is_noticed() {
    let mut marks = ReadMarks::new(NOW);
    read_all(&mut marks, NOW, None);
    assert!(marks.is_up_to_date(NOW.plus(5 * MINUTE)));
    assert!(!marks.is_up_to_date(NOW.plus(6 * MINUTE)));
}

proptest! {
    /// Whatever the times of the runs, how far each comes, and how wrong the clock of some is.
    #[test]
    fn every_time_of_creation_is_read_at_last(
        runs in prop::collection::vec((1_u32..3000, 0_usize..12, any::<bool>(), -900_i64..20_000, prop::option::of(0_u64..5000)), 1..200),
        created in 0_u32..40_000,
    ) {
        let mut marks = ReadMarks::new(NOW);
        let created = NOW.plus(created * MINUTE);
        let (mut time, mut last_read_at_age) = (NOW, None);
        let mut read = |marks: &mut ReadMarks, time: Timestamp, now: Timestamp, most: usize, halves: bool, rows: Option<u64>| {
            for _ in 0..most {
                let Some(mut window) = marks.next_window(now) else { return };
                if let Some(extended) = rows.and_then(|rows| marks.extended(window, rows, PAGE, now)) {
                    window = extended;
                } else if halves {
                    window = window.older_part(1, 2).unwrap_or(window);
                }
                assert!(window.from < window.to && window.to <= now);
                let before = marks.clone();
                *marks = marks.after(window, now);
                assert_ne!(*marks, before, "a reading gets on: {window:?}");
                if window.from <= created && created < window.to && time >= created {
                    last_read_at_age = Some(time.since(created));
                }
            }
        };
        for (wait, most, halves, wrong_by, rows) in runs {
            time = time.plus(wait * MINUTE);
            let is_wrong = wrong_by % 5 == 0;
            let minutes = u32::try_from(wrong_by.unsigned_abs()).unwrap();
            let now = match is_wrong {
                true if wrong_by < 0 => time.minus(minutes * MINUTE),
                true => time.plus(minutes * MINUTE),
                false => time,
            };
            read(&mut marks, time, now, most, halves, rows);
            if is_wrong {
                // The next run is a minute later.
                time = time.plus(MINUTE);
                read(&mut marks, time, time, 12, false, rows);
            }
        }
        // The reader recovers.
        for day in 1..40_u32 {
            let now = time.plus(day * DAY).max(created);
            read(&mut marks, now, now, 1000, false, None);
        }
        prop_assert!(last_read_at_age.is_some_and(|age| age >= 8 * DAY - MAX_CLOCK_SKEW), "{last_read_at_age:?}");
    }
}
