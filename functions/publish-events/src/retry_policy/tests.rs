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
