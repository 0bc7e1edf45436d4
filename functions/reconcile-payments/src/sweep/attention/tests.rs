use payment_functions::domain::id::PaymentId;
use payment_functions::domain::money::{Currency, Money};
use payment_functions::domain::provider::{Environment, Provider};
use payment_functions::domain::time::Timestamp;
use payment_functions::providers::gateway::CallError;

use super::*;

fn raised(
    status: Status,
    has_evidence_of_money: bool,
    polled: &Result<Heard, PollError>,
    is_last: bool,
) -> Vec<AttentionReason> {
    let money = Money::from_minor(2550, Currency::USD);
    let now = Timestamp::from_millis(0);
    let payment = Payment {
        status,
        has_evidence_of_money,
        ..Payment::new(
            PaymentId::random(),
            Provider::FinvyPay,
            Environment::Sandbox,
            money,
            now,
        )
    };
    attention_after_check(&payment, polled, is_last).raised
}

#[test]
fn last_check_raises_what_only_the_clock_can_tell() {
    use AttentionReason::{ProviderSilent, StillAuthorized};
    let silent = || {
        [
            Ok(Heard::Nothing),
            Ok(Heard::Contradictory),
            Err(PollError::ProviderRefusesAll),
        ]
    };
    let unreachable = || Err(CallError::TimedOut.into());
    let answered = || [Ok(Heard::Known), Err(PollError::NoSlot)];
    let silent = || silent().into_iter().chain([unreachable()]);
    for status in Status::ALL {
        let is_authorized = status == Status::Authorized;
        for has_evidence in [false, true] {
            let is_missed = has_evidence || status == Status::Completed;
            for polled in silent() {
                let expected: Vec<_> = [(is_authorized, StillAuthorized), (is_missed, ProviderSilent)]
                    .into_iter()
                    .filter_map(|(is_raised, reason)| is_raised.then_some(reason))
                    .collect();
                assert_eq!(
                    raised(status, has_evidence, &polled, true),
                    expected,
                    "{status} {polled:?}"
                );
            }
            for polled in answered() {
                let expected = if is_authorized { vec![StillAuthorized] } else { vec![] };
                assert_eq!(
                    raised(status, has_evidence, &polled, true),
                    expected,
                    "{status} {polled:?}"
                );
            }
            for polled in silent().chain(answered()) {
                assert_eq!(raised(status, has_evidence, &polled, false), [], "{status} {polled:?}");
            }
        }
    }
}
