use super::*;

fn body(text: &str) -> RequestBody {
    RequestBody::parse(text.as_bytes()).unwrap()
}

fn errors(problem: &Problem) -> Vec<(&str, &str)> {
    let errors = problem.errors().iter();
    errors.map(|error| (error.pointer.as_str(), &*error.detail)).collect()
}

#[test]
fn only_blank_optional_texts_and_outer_blanks_of_the_email_are_removed() {
    for (text, expected) in [
        ("{}", "{}"),
        (r#"{"a":"","b":"","email":""}"#, r#"{"b":"","email":""}"#),
        (r#"{"a":" ","email":"x"}"#, r#"{"a":" ","email":"x"}"#),
        (r#"{"email":"x","a":"y"}"#, r#"{"email":"x","a":"y"}"#),
        (r#"{"email":" x y\u00a0"}"#, r#"{"email":"x y"}"#),
        (r#"{"email":"\tx"}"#, r#"{"email":"\tx"}"#),
        (r#"{"email":"  ","optionalEmail":""}"#, r#"{"email":""}"#),
        (r#"{"a":null,"email":7}"#, r#"{"a":null,"email":7}"#),
        (r#"{"a":[],"c":{"a":""}}"#, r#"{"a":[],"c":{"a":""}}"#),
    ] {
        let mut object = body(text).json.as_object().unwrap().clone();
        normalise(&mut object, "email", &["a", "optionalEmail"]);
        assert_eq!(object.to_compact(), expected, "{text}");
    }
    let mut object = body(r#"{"email":"  "}"#).json.as_object().unwrap().clone();
    normalise(&mut object, "email", &["email"]);
    assert!(object.is_empty(), "only blanks, and optional");
}

#[test]
fn trimmed_text_has_no_blank_at_its_ends() {
    let read = |text: &str| trimmed_text(&Json::String(text.to_owned()), 3).map(str::to_owned);
    for text in ["a", "a b", "\u{feff}", "é é"] {
        assert_eq!(read(text).as_deref(), Ok(text));
    }
    for (text, problem) in [
        ("", "must have 1 to 3 characters"),
        ("abcd", "must have 1 to 3 characters"),
        ("a\n", "must not have control characters"),
        (" ", "must not begin or end with a blank"),
        (" a", "must not begin or end with a blank"),
        ("a\u{3000}", "must not begin or end with a blank"),
    ] {
        assert_eq!(read(text), Err(problem.into()), "{text:?}");
    }
}

#[test]
fn pointer_of_more_than_256_bytes_is_replaced_by_that_of_the_enclosing_value() {
    const LONG: &str = "contains a value whose path is too long to show, which is wrong";
    let body = body("{}");
    let shown = |path: &[&str]| {
        let mut fields = Fields::of(&body).unwrap();
        fields.wrong(path, "is wrong");
        let error = fields.errors.pop().unwrap();
        (error.pointer, error.detail.into_owned())
    };
    // With the slash and the quotes of JSON.
    let longest = "x".repeat(253);
    assert_eq!(shown(&[&longest]), (format!("/{longest}"), "is wrong".to_owned()));
    let too_long = "x".repeat(254);
    let escaped = "\u{1}".repeat(43);
    for (path, pointer) in [
        (&[too_long.as_str()][..], ""),
        (&["a", &too_long], "/a"),
        (&["a/b~", "c", &too_long, "d"], "/a~1b~0/c"),
        (&["a", &escaped], "/a"),
    ] {
        assert_eq!(shown(path), (pointer.to_owned(), LONG.to_owned()), "{path:?}");
    }
}

#[test]
fn invalid_values_are_recorded_once_and_not_without_end() {
    let body = body(r#"{"a":1,"\ud800":2,"b":"\udc00"}"#);
    let mut fields = Fields::of(&body).unwrap();
    assert!(fields.is_wrong("/b") && !fields.is_wrong("/a"));
    fields.wrong(&["a"], "is wrong");
    fields.wrong(&["a"], "is wrong");
    fields.wrong(&["a"], "is wrong twice");
    let problem = fields.finish(Some(())).unwrap_err();
    assert_eq!(
        errors(&problem),
        [
            ("/\u{fffd}", "must not have a lone surrogate"),
            ("/b", "must not have a lone surrogate"),
            ("/a", "is wrong"),
            ("/a", "is wrong twice"),
        ],
        "one reason is enough for an unknown field"
    );

    for (count, detail) in [
        (100, "Some fields are wrong; see errors."),
        (101, "More than 100 fields are wrong; errors shows the first 100."),
        (10_000, "More than 100 fields are wrong; errors shows the first 100."),
    ] {
        let members: Vec<_> = (0..count).map(|index| format!(r#""{index}":1"#)).collect();
        let body = RequestBody::parse(format!("{{{}}}", members.join(",")).as_bytes()).unwrap();
        let problem = Fields::of(&body).unwrap().finish(Some(())).unwrap_err();
        assert_eq!(problem.errors().len(), 100);
        let response = problem.to_stored_response();
        assert!(response.body.contains(detail), "{count}");
    }
}
