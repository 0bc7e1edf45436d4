use proptest::prelude::*;

use super::*;

fn outcome(name: &str) -> Option<Outcome> {
    match name {
        "paid" => Some(Outcome::Completed),
        "held" => Some(Outcome::Authorized),
        "open" => Some(Outcome::Pending),
        "lost" => Some(Outcome::Failed),
        _ => None,
    }
}

#[test]
fn contradiction_counts_only_beside_money() {
    for (names, contradictions, expected, raw_status) in [
        (&["paid"][..], "", Outcome::Completed, "paid"),
        (&["paid"], " error:X", Outcome::Contradictory, "paid error:X"),
        (&["held"], " error:X", Outcome::Contradictory, "held error:X"),
        (&["open"], " error:X", Outcome::Pending, "open"),
        (&["lost"], " error:X", Outcome::Failed, "lost"),
        (&["new"], " error:X", Outcome::Unrecognised, "new"),
        (&["paid", "new"], " error:X", Outcome::Unrecognised, "paid new"),
        (&["paid", "lost"], "", Outcome::Contradictory, "paid lost"),
        (
            &["paid", "lost"],
            " error:X",
            Outcome::Contradictory,
            "paid lost error:X",
        ),
        (&[], " error:X", Outcome::Unrecognised, ""),
    ] {
        let believed = believed_outcome(names, contradictions, outcome);
        assert_eq!(believed, (expected, raw_status.to_owned()), "{names:?}{contradictions}");
    }
}

#[test]
fn contradiction_is_shown_however_long_the_names_are() {
    let names = ["paid"; 40];
    let (outcome, raw_status) = believed_outcome(&names, " success:false", outcome);
    assert_eq!((outcome, raw_status.chars().count()), (Outcome::Contradictory, 100));
    assert!(raw_status.ends_with(" success:false"), "{raw_status}");
}

proptest! {
    #[test]
    fn raw_status_is_bounded_and_plain(names in prop::collection::vec(any::<String>(), 0..4), contradictions in "( [a-z:]{0,80}){0,3}") {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (_, raw_status) = believed_outcome(&names, &contradictions, outcome);
        prop_assert!(raw_status.chars().count() <= 100 && !raw_status.chars().any(char::is_control));
    }
}
