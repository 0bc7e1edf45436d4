use lambda_http::http::StatusCode;

use super::*;
use crate::domain::fact::Outcome;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn query() -> ListQuery {
    ListQuery {
        window: Window {
            from: Timestamp::parse_rfc3339("2026-11-30T10:00:00Z").unwrap(),
            to: Timestamp::parse_rfc3339("2026-11-30T10:05:00Z").unwrap(),
        },
        status: Some("SUCCESS".to_owned()),
        page: 2,
    }
}

fn page(text: &str) -> Result<ListPage, CallError> {
    read_page(&Reply::new(StatusCode::OK, text.as_bytes()), &query(), NOW)
}

fn row(created_at: &str) -> String {
    format!(
        r#"{{"transactionId":"FP1","orderId":"o","status":"SUCCESS","amount":1,"currency":"USD","createdAt":"{created_at}"}}"#
    )
}

#[test]
fn query_names_page_window_and_status() {
    let mut url = Url::parse("https://f.example/list").unwrap();
    query().add_to(&mut url);
    let expected = "page=2&limit=100&startDate=2026-11-30T10%3A00%3A00.000Z&endDate=2026-11-30T10%3A05%3A00.000Z\
                    &status=SUCCESS";
    assert_eq!(url.query(), Some(expected));
}

#[test]
fn page_is_read_in_every_shape() {
    let row = row("2026-11-30T10:01:00.000Z");
    for (data, total) in [
        (
            format!(r#""data":{{"transactions":[{row}],"pagination":{{"page":2,"total":101}}}}"#),
            Some(101),
        ),
        (
            format!(r#""data":{{"data":[{row}],"meta":{{"total":"101"}}}}"#),
            Some(101),
        ),
        (
            format!(r#""meta":{{"total":101}},"data":{{"data":[{row}]}}"#),
            Some(101),
        ),
        (format!(r#""data":{{"transactions":[{row}]}}"#), None),
    ] {
        let page = page(&format!(r#"{{"success":true,{data}}}"#)).unwrap();
        assert_eq!((page.length, page.total), (1, total), "{data}");
        let [row] = page.rows.as_slice() else { panic!("{data}") };
        assert_eq!(row.fact().outcome, Outcome::Completed);
        assert_eq!(row.status.as_deref(), Some("SUCCESS"));
    }
}

#[test]
fn response_that_is_no_page_of_the_window_is_unusable() {
    let list = |rows: &str| format!(r#"{{"success":true,"data":{{"transactions":[{rows}]}}}}"#);
    for text in [
        "<html>".to_owned(),
        r#"{"success":true,"data":{}}"#.to_owned(),
        r#"{"success":false,"data":{"transactions":[]}}"#.to_owned(),
        list(&row("2026-11-30T09:58:00Z")),
        list(&row("2026-11-30T10:06:00Z")),
        list(r#"{"transactionId":"FP1","orderId":"o","status":1}"#),
    ] {
        assert!(matches!(page(&text), Err(CallError::Unusable { .. })), "{text}");
    }
}

#[test]
fn row_belongs_to_the_window_in_which_it_was_created_or_completed() {
    let text = r#"{"success":true,"data":{"transactions":[
        {"transactionId":"FP1","status":"SUCCESS","createdAt":"2026-11-29T10:00:00Z","completedAt":"2026-11-30T10:01:00Z"},
        {"transactionId":"FP2","status":"SUCCESS"},
        {"transactionId":"FP3"}, 7
    ]}}"#;
    let page = page(text).unwrap();
    assert_eq!((page.length, page.rows.len()), (4, 2));
}
