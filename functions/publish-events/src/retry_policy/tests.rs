use super::*;

#[test]
fn transient_failure_is_retried_until_the_window_ends_permanent_failure_is_dead_lettered() {
    const YOUNG: Duration = Duration::ZERO;
    const SIX_HOURS: Duration = Duration::from_secs(21_600);
    const OLD: Duration = Duration::from_secs(21_601);
    let published = || Ok(());
    let permanent = || Err(Failure::Permanent("MalformedDetail".to_owned()));
    let transient = || Err(Failure::Transient("ThrottlingException".to_owned()));
    type Case = (Vec<(Result<(), Failure>, Duration)>, Vec<usize>, Option<usize>);
    let cases: [Case; 11] = [
        (vec![], vec![], None),
        (vec![(published(), YOUNG), (published(), OLD)], vec![], None),
        (vec![(transient(), YOUNG)], vec![], Some(0)),
        (vec![(transient(), SIX_HOURS)], vec![], Some(0)),
        (vec![(transient(), OLD)], vec![0], None),
        (vec![(permanent(), YOUNG)], vec![0], None),
        (
            vec![(published(), YOUNG), (transient(), YOUNG), (published(), YOUNG)],
            vec![],
            Some(1),
        ),
        (vec![(transient(), YOUNG), (transient(), YOUNG)], vec![], Some(0)),
        (
            vec![(permanent(), YOUNG), (published(), YOUNG), (permanent(), OLD)],
            vec![0, 2],
            None,
        ),
        (
            vec![(transient(), OLD), (permanent(), OLD), (transient(), YOUNG)],
            vec![0, 1],
            Some(2),
        ),
        // A rejection behind the first event to retry is retried too.
        (
            vec![(published(), OLD), (transient(), YOUNG), (permanent(), YOUNG)],
            vec![],
            Some(1),
        ),
    ];
    for (results, dead_letters, retry_from) in cases {
        let plan = plan_after_call(
            results
                .iter()
                .cloned()
                .map(|(outcome, age)| PublishResult { outcome, age }),
        );
        let indices: Vec<_> = plan.dead_letters.iter().map(|(index, _)| *index).collect();
        assert_eq!((indices, plan.retry_from), (dead_letters, retry_from), "{results:?}");
        for (index, failure) in plan.dead_letters {
            assert_eq!(results[index].0, Err(failure));
        }
    }
}

#[test]
fn error_code_is_permanent_only_if_it_blames_the_event() {
    for code in [
        "MalformedDetail",
        "InvalidArgument",
        "ValidationException",
        "RequestEntityTooLarge",
    ] {
        assert_eq!(Failure::from_code(code), Failure::Permanent(code.to_owned()));
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
        assert_eq!(Failure::from_code(code), Failure::Transient(code.to_owned()));
    }
}

#[test]
fn events_for_next_call_is_at_most_ten_and_stops_at_a_repeated_payment() {
    let ids: Vec<_> = std::iter::repeat_with(PaymentId::random).take(11).collect();
    let count = |indices: &[usize]| events_for_next_call(indices.iter().map(|index| ids[*index]));
    assert_eq!(count(&[]), 0);
    assert_eq!(count(&[0]), 1);
    assert_eq!(count(&[0, 0]), 1);
    assert_eq!(count(&[0, 1, 2, 0, 3]), 3);
    assert_eq!(count(&[0, 1, 1, 2]), 2);
    assert_eq!(count(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), 10);
}
