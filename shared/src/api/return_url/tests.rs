use super::*;

#[test]
fn list_with_insecure_or_malformed_origin_is_refused() {
    for list in [
        "https://shop.example",
        "https://shop.example/, http://localhost:3000 ,",
        "http://[::1]:80",
    ] {
        assert!(ReturnOrigins::parse(list).is_some(), "{list}");
    }
    for list in [
        "shop.example",
        "http://shop.example",
        "https://shop.example/path",
        "https://u@shop.example",
        "*",
        "null",
        ",",
    ] {
        assert!(ReturnOrigins::parse(list).is_none(), "{list}");
    }
}

#[test]
fn return_url_off_the_allowed_origins_is_refused() {
    let origins =
        ReturnOrigins::parse("https://shop.example,http://localhost:3000,http://127.0.0.1:4010,http://[::1]:8080")
            .unwrap();
    for good in [
        "https://shop.example",
        "https://shop.example/",
        "https://shop.example/thanks?order=1#top",
        "https://shop.example:443/thanks",
        "HTTPS://Shop.Example/thanks",
        "https://shop.example?x=@",
        "https://shop.example/a@b",
        "http://localhost:3000/x",
        "http://127.0.0.1:4010/x",
        "http://[::1]:8080/x",
    ] {
        assert_eq!(origins.check(good), Ok(()), "{good}");
    }
    for bad in [
        "",
        "/thanks",
        "//shop.example",
        "http://shop.example/",
        "https://shop.example:444/",
        "https://shop.example:0443/",
        "https://shop.example:",
        "https://shop.example.evil.example/",
        "https://evil.example/https://shop.example",
        "https://shop.example@evil.example/",
        "https://u:p@shop.example/",
        "https://@shop.example/",
        "https:shop.example",
        "https:/shop.example",
        "https:/shop.example/://shop.example/",
        "https:shop.example/://shop.example/",
        "https:///shop.example",
        "https:\\\\shop.example",
        "https://shop.example\\@evil.example/",
        "https://evil.example\\.shop.example/",
        " https://shop.example/",
        "https://shop.example/ x",
        "https://shop\t.example/",
        "https://shop.example/\n",
        "https://shop%2Eexample/",
        "https://sh\u{ad}op.example/",
        "https://shop.example./",
        "https://shop。example/",
        "http://localhost/",
        "http://127.1:4010/",
        "http://2130706433:4010/",
        "javascript:alert(1)",
        "data:text/html,x",
        "blob:https://shop.example/x",
        "file:///etc/passwd",
    ] {
        assert!(origins.check(bad).is_err(), "{bad}");
    }
}
