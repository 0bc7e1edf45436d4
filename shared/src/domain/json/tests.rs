use super::*;
use proptest::prelude::*;

#[test]
fn member_is_replaced_and_removed() {
    let mut object = Object::default();
    assert!(object.is_empty());
    object.set("a", Json::Null);
    object.set("b", Json::Number("1.50".to_owned()));
    object.set("a", Json::Bool(true));
    assert_eq!(object.to_compact(), r#"{"b":1.50,"a":true}"#);
    assert_eq!(object.remove("b"), Some(Json::Number("1.50".to_owned())));
    assert_eq!(object.remove("b"), None);
    assert!(!object.is_empty());
    assert_eq!(object.to_compact(), r#"{"a":true}"#);
}

#[test]
fn depth_is_that_of_the_deepest_value() {
    for (text, depth) in [("1", 0), ("[]", 1), ("{}", 1), (r#"[1,{"a":[]},[2]]"#, 3)] {
        assert_eq!(Json::parse(text.as_bytes()).unwrap().depth(), depth, "{text}");
    }
    let Ok(Json::Object(object)) = Json::parse(br#"{"a":1,"b":{"c":[]}}"#) else {
        panic!("an object");
    };
    assert_eq!(object.depth(), 3);
}

#[test]
fn invalid_duplicate_or_deep_json_is_malformed() {
    for text in [
        "",
        " ",
        "{",
        "{}{}",
        "nul",
        "NaN",
        "01",
        "1.",
        ".5",
        "+1",
        "'a'",
        "{\"a\":1,}",
        "[1,]",
        "\"\u{1}\"",
        r#""\ud800""#,
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"[{"b":{"a":1,"a":2}}]"#,
    ] {
        assert_eq!(Json::parse(text.as_bytes()), Err(Malformed), "{text}");
    }
    assert_eq!(Json::parse(b"\"\xff\""), Err(Malformed));
    let deep = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
    assert!(Json::parse(deep.as_bytes()).is_ok());
    assert_eq!(Json::parse(format!("[{deep}]").as_bytes()), Err(Malformed));
}

#[test]
fn numbers_keep_their_text_and_members_their_order() {
    let text = r#"{"b":25.50,"a":[1e2,-0.0,12345678901234567890.123456789],"c":"é\n","d":null,"e":true}"#;
    let json = Json::parse(text.as_bytes()).unwrap();
    assert_eq!(serde_json::to_string(&json).unwrap(), text);
    assert_eq!(json.as_object().unwrap().get("b"), Some(&Json::Number("25.50".into())));
}

#[test]
fn hash_depends_only_on_the_canonical_form() {
    let hash = |text: &str| {
        let mut hash = sha2::Sha256::default();
        Json::parse(text.as_bytes()).unwrap().feed(&mut hash);
        sha2::Digest::finalize(hash)
    };
    assert_eq!(
        hash(r#"{"b":[1.0,2e0],"a":"\u0078"}"#),
        hash(r#" { "a" : "x", "b":[10e-1,2] } "#)
    );
    let different = [
        "1",
        "\"1\"",
        "[1,2]",
        "[2,1]",
        "[[1],2]",
        "[[1,2]]",
        "{\"a\":1}",
        "[\"a\",1]",
        "null",
        "\"\"",
        "[]",
        "{}",
    ];
    let hashes: BTreeSet<_> = different.iter().map(|text| hash(text)).collect();
    assert_eq!(hashes.len(), different.len());
}

fn json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?".prop_map(Json::Number),
        any::<String>().prop_map(Json::String),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Json::Array),
            prop::collection::btree_map(any::<String>(), inner, 0..5).prop_map(|members| Json::Object(Object {
                members: members.into_iter().collect()
            })),
        ]
    })
}

proptest! {
    #[test]
    fn written_json_parses_to_the_same_value(json in json()) {
        let text = serde_json::to_string(&json).unwrap();
        prop_assert_eq!(Json::parse(text.as_bytes()).unwrap(), json);
    }

    #[test]
    fn json_refused_by_serde_json_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if Json::parse(&bytes).is_ok() {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
        }
    }
}
