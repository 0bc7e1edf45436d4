use super::*;

const SOON: Option<Duration> = Some(Duration::from_secs(5 * 60));
const DAILY: Option<Duration> = Some(schedule::MAX_BACKOFF);
/// There is no next check.
const LAST: Option<Duration> = None;

/// The provider could not be reached.
const UNREACHED: Option<Heard> = None;
const NOTHING: Option<Heard> = Some(Heard::Nothing);
const KNOWN: Option<Heard> = Some(Heard::Known);
const UNRECOGNISED: Option<Heard> = Some(Heard::Unrecognised);

/// The reason for a payment that was not payable before the check.
fn reason(provider: Provider, status: Status, heard: Option<Heard>, next_in: Option<Duration>) -> Option<Matter> {
    reason_for(&Findings {
        provider,
        status,
        was_payable: false,
        heard,
        next_in,
    })
}

#[test]
fn payment_at_polled_provider_has_its_reason() {
    use Matter::{Review, Unanswered, Unrecognised, Unsettled};
    use Status::{Authorized, Cancelled, Expired, Failed};
    for (statuses, heard, next_in, expected) in [
        (&[Status::Review][..], KNOWN, DAILY, Some(Review)),
        (&[Status::Review], UNREACHED, DAILY, Some(Review)),
        (&[Authorized], KNOWN, LAST, Some(Unsettled)),
        (&[Authorized], UNREACHED, LAST, Some(Unsettled)),
        (&[Authorized], UNRECOGNISED, LAST, Some(Unsettled)),
        (&[Authorized], KNOWN, DAILY, None),
        (&[Authorized], UNRECOGNISED, DAILY, None),
        (&[Expired, Cancelled, Failed], UNRECOGNISED, LAST, Some(Unrecognised)),
        (&[Expired, Cancelled, Failed], UNRECOGNISED, DAILY, Some(Unrecognised)),
        (&[Expired, Cancelled, Failed], UNRECOGNISED, SOON, None),
        (&[Expired, Cancelled, Failed], UNREACHED, LAST, Some(Unanswered)),
        (&[Expired, Cancelled, Failed], UNREACHED, DAILY, None),
        (&[Expired], NOTHING, LAST, Some(Unanswered)),
        (&[Cancelled, Failed], NOTHING, LAST, None),
        (&[Expired, Cancelled, Failed], NOTHING, DAILY, None),
        (&[Expired, Cancelled, Failed], KNOWN, LAST, None),
    ] {
        for status in statuses {
            let reason = reason(Provider::FinvyPay, *status, heard, next_in);
            assert_eq!(reason, expected, "{status} {heard:?} {next_in:?}");
        }
    }
}

#[test]
fn payment_expired_by_this_check_with_unrecognised_status_is_reported_at_once() {
    let findings = Findings {
        provider: Provider::FinvyPay,
        status: Status::Expired,
        was_payable: true,
        heard: UNRECOGNISED,
        next_in: SOON,
    };
    assert_eq!(reason_for(&findings), Some(Matter::Unrecognised));
    for heard in [UNREACHED, NOTHING, KNOWN] {
        assert_eq!(reason_for(&Findings { heard, ..findings }), None, "{heard:?}");
    }
}

#[test]
fn payment_at_unpolled_provider_is_reported_in_review_and_when_expired() {
    for status in Status::ALL {
        let expected = match status {
            Status::Review => Some(Matter::Review),
            Status::Expired => Some(Matter::Unconfirmed),
            Status::Creating
            | Status::Pending
            | Status::Authorized
            | Status::Cancelled
            | Status::Failed
            | Status::Completed => None,
        };
        for next_in in [SOON, DAILY, LAST] {
            assert_eq!(reason(Provider::ApoloPay, status, KNOWN, next_in), expected, "{status}");
        }
    }
}

#[test]
fn open_or_completed_payment_has_no_reason() {
    for status in [Status::Creating, Status::Pending, Status::Completed] {
        for heard in [UNREACHED, NOTHING, KNOWN, UNRECOGNISED] {
            for next_in in [SOON, DAILY, LAST] {
                let reason = reason(Provider::FinvyPay, status, heard, next_in);
                assert_eq!(reason, None, "{status} {heard:?} {next_in:?}");
            }
        }
    }
}
