use super::*;
use proptest::prelude::*;

fn verifier(current: &str, previous: Option<&str>) -> Verifier {
    Verifier::new(
        WebhookSecret::new(current).unwrap(),
        previous.and_then(WebhookSecret::new),
    )
}

fn sign(secret: &str, body: &[u8]) -> String {
    let mac = WebhookSecret::new(secret).unwrap().mac().unwrap().chain_update(body);
    hex::encode(mac.finalize().into_bytes())
}

#[test]
fn blank_secret_is_refused_and_no_secret_is_shown() {
    for text in ["", " ", "\n"] {
        assert!(WebhookSecret::new(text).is_none());
    }
    assert!(!format!("{:?}", verifier("whsec_test_secret", Some("other"))).contains("whsec"));
}

#[test]
fn current_and_previous_secret_verify_during_a_rotation() {
    let body = b"{}";
    let by = |secret| Signature::parse(&sign(secret, body)).unwrap();
    let rotating = verifier("new", Some("old"));
    assert!(rotating.verifies(body, &by("new")) && rotating.verifies(body, &by("old")));
    assert!(!rotating.verifies(body, &by("other")) && !verifier("new", None).verifies(body, &by("old")));
}

#[test]
fn malformed_signature_is_refused() {
    let good = sign("s", b"");
    let with_prefix = format!("sha256={good}");
    let (short, padded) = ("a".repeat(63), format!(" {good}"));
    for text in [
        "",
        "00",
        &good.to_uppercase(),
        &with_prefix,
        &short,
        &padded,
        &"g".repeat(64),
        &good.repeat(2),
    ] {
        assert!(Signature::parse(text).is_none(), "{text}");
    }
}

proptest! {
    #[test]
    fn body_with_one_changed_bit_does_not_verify(body in prop::collection::vec(any::<u8>(), 1..64), at in any::<prop::sample::Index>(), bit in 0_u32..8) {
        let signature = Signature::parse(&sign("s", &body)).unwrap();
        let verifier = verifier("s", None);
        prop_assert!(verifier.verifies(&body, &signature));
        let mut changed = body.clone();
        changed[at.index(body.len())] ^= 1_u8 << bit;
        prop_assert!(!verifier.verifies(&changed, &signature));
    }

    #[test]
    fn any_header_is_parsed_without_a_panic(text in any::<String>()) {
        let _ = Signature::parse(&text);
    }
}
