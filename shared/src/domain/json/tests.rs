use std::collections::BTreeSet;

use super::parser::{MAX_DEPTH, MAX_POINTERS};
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
        r#"{"\ud800":1}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"[{"b":{"a":1,"a":2}}]"#,
        "{\"\u{1}\":1}",
        "\u{feff}{}",
    ] {
        assert_eq!(Json::parse(text.as_bytes()), Err(Malformed), "{text}");
    }
    assert_eq!(Json::parse(b"\"\xff\""), Err(Malformed));
    let deep = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
    assert!(Json::parse(deep.as_bytes()).is_ok());
    assert_eq!(Json::parse(format!("[{deep}]").as_bytes()), Err(Malformed));
}

/// Which of the modes of parsing read the text: strict, for requests, liberal, any.
fn modes_that_read(bytes: &[u8]) -> [bool; 4] {
    [
        Json::parse(bytes).is_ok(),
        Json::parse_request(bytes).is_ok(),
        Json::parse_liberal(bytes).is_ok(),
        Json::parse_any(bytes).is_ok(),
    ]
}

#[test]
fn each_mode_forgives_what_it_documents() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for (text, expected) in [
        ("{}", [true; 4]),
        (" {} ", [true; 4]),
        (&nested(MAX_DEPTH), [true; 4]),
        ("\u{feff}{}", [false, false, true, true]),
        ("\u{feff} {} ", [false, false, true, true]),
        (" \u{feff}{}", [false; 4]),
        ("\u{feff}\u{feff}{}", [false; 4]),
        ("\u{feff}", [false; 4]),
        (r#""\ud800""#, [false, true, true, true]),
        (r#"{"\udfff":1}"#, [false, true, true, true]),
        (r#"{"a":1,"a":1}"#, [false, false, false, true]),
        (r#"{"\ud800":1,"\uD800":1}"#, [false, false, false, true]),
        (&nested(MAX_DEPTH + 1), [false, false, false, true]),
        (&nested(20_000), [false, false, false, true]),
        ("", [false; 4]),
        ("{", [false; 4]),
        ("{}{}", [false; 4]),
        ("NaN", [false; 4]),
        ("01", [false; 4]),
        ("\"\u{1}\"", [false; 4]),
        ("{\"\u{1}\":1}", [false; 4]),
        (r#""\u12g4""#, [false; 4]),
        (r#""\x""#, [false; 4]),
    ] {
        let start = text.chars().take(40).collect::<String>();
        assert_eq!(modes_that_read(text.as_bytes()), expected, "{start}");
    }
    let not_utf_8 = [
        (b"\"\xff\"".as_slice(), [false, false, true, true]),
        (b"\"\xed\xa0\x80\"", [false, false, true, true]), // an encoded surrogate
        (b"{\"\xff\":1,\"\xfe\":1}", [false, false, false, true]),
        (b"{}\xff", [false; 4]),
    ];
    for (bytes, expected) in not_utf_8 {
        assert_eq!(modes_that_read(bytes), expected, "{bytes:?}");
    }
    let latin_1 = Json::parse_liberal(b"{\"name\":\"J\xf6rg\"}").unwrap();
    assert_eq!(latin_1.as_object().unwrap().str("name"), Some("J\u{fffd}rg"));
}

#[test]
fn lone_surrogate_becomes_the_replacement_character() {
    for (text, expected) in [
        (r#""\ud800""#, "\u{fffd}"),
        (r#""a\udc00b""#, "a\u{fffd}b"),
        (r#""\ud83d\ude00""#, "\u{1f600}"),
        (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
        (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
        (r#""\ud83d\n\ude00""#, "\u{fffd}\n\u{fffd}"),
        (r#""\ud800\u0041é\ufffd""#, "\u{fffd}Aé\u{fffd}"),
        (r#""\\ud800""#, "\\ud800"),
        (r#""\ud7ff\ue000""#, "\u{d7ff}\u{e000}"),
    ] {
        let expected = Json::String(expected.to_owned());
        assert_eq!(Json::parse_request(text.as_bytes()).unwrap().0, expected, "{text}");
        assert_eq!(Json::parse_liberal(text.as_bytes()), Ok(expected.clone()), "{text}");
        assert_eq!(Json::parse_any(text.as_bytes()), Ok(expected), "{text}");
    }
}

#[test]
fn lone_surrogates_of_a_request_have_their_pointers() {
    for (text, expected) in [
        ("{}", &[][..]),
        (r#""\ud83d\ude00""#, &[]),
        (r#""\ud800""#, &[""]),
        (r#"{"a":"\ud800","b":["x",{"c~/":"\udc00"}]}"#, &["/a", "/b/1/c~0~1"]),
        (r#"{"\ud800":"x"}"#, &["/\u{fffd}"]),
        (r#"{"\ud800":"\ud800","\udc00":2}"#, &["/\u{fffd}"]),
        (r#"{"\ud800":{"a":"\ud800"}}"#, &["/\u{fffd}", "/\u{fffd}/a"]),
        (r#"[["\ud800"],"\ud800"]"#, &["/0/0", "/1"]),
    ] {
        assert_eq!(Json::parse_request(text.as_bytes()).unwrap().1, expected, "{text}");
    }
    let many = vec![r#""\ud800""#; MAX_POINTERS + 1].join(",");
    let (_, pointers) = Json::parse_request(format!("[{many}]").as_bytes()).unwrap();
    assert_eq!(pointers.len(), MAX_POINTERS);
}

#[test]
fn redaction_reads_duplicates_and_cuts_off_what_is_nested_too_deeply() {
    let json = Json::parse_any(br#"{"a":1,"b":[{"c":1,"c":2}],"a":"x"}"#).unwrap();
    let members: Vec<_> = json.as_object().unwrap().iter().map(|(name, _)| name).collect();
    assert_eq!(members, ["a", "b", "a"]);
    assert_eq!(
        serde_json::to_string(&json).unwrap(),
        r#"{"a":1,"b":[{"c":1,"c":2}],"a":"x"}"#
    );

    let text = format!("{}{{\"a\":1}},2{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
    let json = Json::parse_any(text.as_bytes()).unwrap();
    assert_eq!(json.depth(), MAX_DEPTH);
    assert_eq!(
        serde_json::to_string(&json).unwrap(),
        format!("{}null,2{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH))
    );
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

/// A JSON text in which texts and names may have lone surrogates, with the value that is read from it and the pointers
/// of the lone surrogates.
#[derive(Clone, Debug)]
struct Written {
    text: String,
    value: Json,
    pointers: Vec<String>,
}

/// A string as a list of UTF-16 code units, so that any combination of surrogates occurs.
fn units() -> impl Strategy<Value = Vec<u16>> {
    let unit = prop_oneof![
        0x20_u16..0x7f,
        Just(0xd83d),
        Just(0xde00),
        0xd800_u16..0xe000,
        any::<u16>()
    ];
    prop::collection::vec(unit, 0..5)
}

/// The string as JSON text, as it is read, and whether it has a lone surrogate. The standard library decides what a
/// lone surrogate is.
fn write_string(units: &[u16]) -> (String, String, bool) {
    let escaped: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
    (
        format!("\"{escaped}\""),
        String::from_utf16_lossy(units),
        String::from_utf16(units).is_err(),
    )
}

fn written() -> impl Strategy<Value = Written> {
    let leaf = prop_oneof![
        Just(Written {
            text: "1.50".to_owned(),
            value: Json::Number("1.50".to_owned()),
            pointers: Vec::new(),
        }),
        units().prop_map(|units| {
            let (text, value, lone) = write_string(&units);
            Written {
                text,
                value: Json::String(value),
                pointers: if lone { vec![String::new()] } else { Vec::new() },
            }
        }),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(write_array),
            prop::collection::btree_map(units(), inner, 0..4).prop_map(write_object),
        ]
    })
}

fn write_array(items: Vec<Written>) -> Written {
    let mut pointers = Vec::new();
    for (index, item) in items.iter().enumerate() {
        pointers.extend(item.pointers.iter().map(|pointer| format!("/{index}{pointer}")));
    }
    let texts: Vec<_> = items.iter().map(|item| item.text.as_str()).collect();
    Written {
        text: format!("[{}]", texts.join(", ")),
        value: Json::Array(items.into_iter().map(|item| item.value).collect()),
        pointers,
    }
}

fn write_object(members: BTreeMap<Vec<u16>, Written>) -> Written {
    let (mut texts, mut values, mut pointers) = (Vec::new(), Vec::new(), Vec::new());
    for (units, member) in members {
        let (text, name, lone) = write_string(&units);
        let token = name.replace('~', "~0").replace('/', "~1");
        pointers.extend(lone.then(|| format!("/{token}")));
        pointers.extend(member.pointers.iter().map(|pointer| format!("/{token}{pointer}")));
        texts.push(format!("{text} : {}", member.text));
        values.push((name, member.value));
    }
    Written {
        text: format!("{{{}}}", texts.join(",")),
        value: Json::Object(Object { members: values }),
        pointers,
    }
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

    #[test]
    fn lone_surrogates_anywhere_are_replaced_and_reported(written in written()) {
        let bytes = written.text.as_bytes();
        let (json, pointers) = Json::parse_request(bytes).unwrap();
        prop_assert_eq!(&json, &written.value);
        let once: BTreeSet<_> = pointers.iter().collect();
        prop_assert_eq!(once.len(), pointers.len());
        prop_assert_eq!(once, written.pointers.iter().collect());
        prop_assert_eq!(&Json::parse_liberal(bytes), &Ok(json.clone()));
        prop_assert_eq!(&Json::parse_any(bytes), &Ok(json));
        prop_assert_eq!(Json::parse(bytes).is_ok(), pointers.is_empty());
    }

    #[test]
    fn more_liberal_mode_reads_the_same_value(json in json(), mark in any::<bool>(), cut in 0_usize..400) {
        let mut bytes = if mark { b"\xef\xbb\xbf".to_vec() } else { Vec::new() };
        bytes.extend(serde_json::to_vec(&json).unwrap());
        bytes.truncate(cut);
        let strict = Json::parse(&bytes);
        if let Ok(json) = &strict {
            prop_assert_eq!(&Json::parse_request(&bytes), &Ok((json.clone(), Vec::new())));
        } else {
            prop_assert_eq!(Json::parse_request(&bytes), Err(Malformed));
        }
        let liberal = Json::parse_liberal(&bytes);
        prop_assert!(strict.is_err() || strict == liberal);
        prop_assert!(liberal.is_err() || liberal == Json::parse_any(&bytes));
    }
}
