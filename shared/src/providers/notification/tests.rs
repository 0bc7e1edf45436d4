use proptest::prelude::*;

use super::*;
use crate::domain::fact::ReversalKind;

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
        let believed = believed_outcome(names, contradictions, &[], outcome);
        assert_eq!(believed, (expected, raw_status.to_owned()), "{names:?}{contradictions}");
    }
}

#[test]
fn completed_or_unclear_notification_with_reversals_is_reversed() {
    let reversals = [ReversalKind::Refund, ReversalKind::Chargeback].map(|kind| Reversal {
        kind,
        undone: kind == ReversalKind::Refund,
        id: None,
        amount: None,
        currency: None,
        at: None,
        reported_at: None,
    });
    for (names, contradictions, raw_status) in [
        (&["paid"][..], "", "paid"),
        (&["paid"], " error:X", "paid error:X"),
        (&["paid", "lost"], "", "paid lost"),
        (&["new"], " error:X", "new"),
        (&[], "", "refund chargeback"),
    ] {
        let believed = believed_outcome(names, contradictions, &reversals, outcome);
        assert_eq!(
            believed,
            (Outcome::Reversed, raw_status.to_owned()),
            "{names:?}{contradictions}"
        );
    }
}

#[test]
fn contradiction_is_shown_however_long_the_names_are() {
    let names = ["paid"; 40];
    let (outcome, raw_status) = believed_outcome(&names, " success:false", &[], outcome);
    assert_eq!((outcome, raw_status.chars().count()), (Outcome::Contradictory, 100));
    assert!(raw_status.ends_with(" success:false"), "{raw_status}");
}

#[test]
fn text_in_place_of_a_status_word_is_kept_as_its_digest() {
    let shown = |text| believed_outcome(&["paid", text], "", &[], outcome).1;
    assert_eq!(shown("by Jane Doe"), "paid text:0ceff3db30f02c36");
    assert_ne!(shown("by Jane Doe"), shown("by John Doe"));
    for text in [
        "jane@example.com",
        "+15551234567",
        "15551234567",
        "192.0.2.7",
        "2001:db8::7",
        "payé",
    ] {
        assert!(shown(text).starts_with("paid text:"), "{text}");
    }
    assert_eq!(shown("payment.refunded"), "paid payment.refunded");
}

proptest! {
    #[test]
    fn raw_status_is_bounded_and_plain(names in prop::collection::vec(any::<String>(), 0..4), contradictions in "( [a-z:]{0,80}){0,3}") {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (_, raw_status) = believed_outcome(&names, &contradictions, &[], outcome);
        prop_assert!(raw_status.chars().count() <= 100 && raw_status.split(' ').all(|word| word.is_empty() || is_word(word)));
    }
}
