//! What becomes of events that the bus did not take: the pure part.
//!
//! Guarantee: nothing is passed over. An event is put, or it is for the dead-letter queue, or nothing after it counts.

use std::collections::HashSet;
use std::time::Duration;

use payment_functions::id::PaymentId;

/// The most entries of one call to the bus.
const MOST: usize = 10;

/// For how long an event is tried. The stream keeps its records for 24 hours, so this leaves time for all behind one
/// that fails.
pub const PATIENCE: Duration = Duration::from_secs(6 * 60 * 60);

/// Why the bus did not take an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It never will.
    #[error("{0}")]
    Never(String),
    /// Not now: throttling, an error or a policy that can be mended, no answer.
    #[error("{0}")]
    NotNow(String),
}

impl Failure {
    /// By the code of an error. One that is not known may pass.
    pub fn of_code(code: &str) -> Self {
        match code {
            "MalformedDetail" | "InvalidArgument" | "ValidationException" | "RequestEntityTooLarge" => {
                Self::Never(code.to_owned())
            }
            _ => Self::NotNow(code.to_owned()),
        }
    }
}

/// What was tried, in the order of the stream.
#[derive(Clone, Debug)]
pub struct Tried {
    /// What became of it.
    pub outcome: Result<(), Failure>,
    /// How old its record is.
    pub age: Duration,
}

/// What to do about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// These go to the dead-letter queue, and count as done once they are there.
    pub dead: Vec<(usize, Failure)>,
    /// This is the first that is not done: it and all after it come again.
    pub stop: Option<usize>,
}

/// Judges what was tried.
pub fn judge(tried: impl IntoIterator<Item = Tried>) -> Verdict {
    let mut verdict = Verdict::default();
    for (index, Tried { outcome, age }) in tried.into_iter().enumerate() {
        match outcome {
            Ok(()) => {}
            Err(Failure::NotNow(_)) if age <= PATIENCE => {
                verdict.stop = Some(index);
                break;
            }
            Err(failure) => verdict.dead.push((index, failure)),
        }
    }
    verdict
}

/// How many of these events, given by their payments, the next call may have: no payment twice, so that its events are
/// put one after another.
pub fn call_length(payments: impl IntoIterator<Item = PaymentId>) -> usize {
    let mut seen = HashSet::new();
    let apart = payments.into_iter().take_while(|payment| seen.insert(*payment));
    apart.take(MOST).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_stops_and_what_does_not_is_dead() {
        const YOUNG: Duration = Duration::ZERO;
        const SIX_HOURS: Duration = Duration::from_secs(21_600);
        const OLD: Duration = Duration::from_secs(21_601);
        let put = || Ok(());
        let never = || Err(Failure::Never("MalformedDetail".to_owned()));
        let not_now = || Err(Failure::NotNow("ThrottlingException".to_owned()));
        type Case = (Vec<(Result<(), Failure>, Duration)>, Vec<usize>, Option<usize>);
        let cases: [Case; 11] = [
            (vec![], vec![], None),
            (vec![(put(), YOUNG), (put(), OLD)], vec![], None),
            (vec![(not_now(), YOUNG)], vec![], Some(0)),
            (vec![(not_now(), SIX_HOURS)], vec![], Some(0)),
            (vec![(not_now(), OLD)], vec![0], None),
            (vec![(never(), YOUNG)], vec![0], None),
            (
                vec![(put(), YOUNG), (not_now(), YOUNG), (put(), YOUNG)],
                vec![],
                Some(1),
            ),
            (vec![(not_now(), YOUNG), (not_now(), YOUNG)], vec![], Some(0)),
            (vec![(never(), YOUNG), (put(), YOUNG), (never(), OLD)], vec![0, 2], None),
            (
                vec![(not_now(), OLD), (never(), OLD), (not_now(), YOUNG)],
                vec![0, 1],
                Some(2),
            ),
            // What is refused behind the first that stops is met again.
            (
                vec![(put(), OLD), (not_now(), YOUNG), (never(), YOUNG)],
                vec![],
                Some(1),
            ),
        ];
        for (results, dead, stop) in cases {
            let verdict = judge(results.iter().cloned().map(|(outcome, age)| Tried { outcome, age }));
            let buried: Vec<_> = verdict.dead.iter().map(|(index, _)| *index).collect();
            assert_eq!((buried, verdict.stop), (dead, stop), "{results:?}");
            for (index, why) in verdict.dead {
                assert_eq!(results[index].0, Err(why));
            }
        }
    }

    #[test]
    fn only_what_is_wrong_with_the_event_itself_is_never_taken() {
        for code in [
            "MalformedDetail",
            "InvalidArgument",
            "ValidationException",
            "RequestEntityTooLarge",
        ] {
            assert_eq!(Failure::of_code(code), Failure::Never(code.to_owned()));
        }
        for code in [
            "ThrottlingException",
            "InternalFailure",
            "InternalException",
            "AccessDeniedException",
            "NotAuthorizedForSourceException",
            "ResourceNotFoundException",
            "timeout",
            "",
        ] {
            assert_eq!(Failure::of_code(code), Failure::NotNow(code.to_owned()));
        }
    }

    #[test]
    fn a_call_has_ten_events_at_most_and_no_payment_twice() {
        let ids: Vec<_> = std::iter::repeat_with(PaymentId::random).take(11).collect();
        let of = |indices: &[usize]| call_length(indices.iter().map(|index| ids[*index]));
        assert_eq!(of(&[]), 0);
        assert_eq!(of(&[0]), 1);
        assert_eq!(of(&[0, 0]), 1);
        assert_eq!(of(&[0, 1, 2, 0, 3]), 3);
        assert_eq!(of(&[0, 1, 1, 2]), 2);
        assert_eq!(of(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), 10);
    }
}
