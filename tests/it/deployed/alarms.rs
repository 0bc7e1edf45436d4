//! Every alarm notifies, is explained in the runbook, and watches an emitted metric.

use std::collections::BTreeSet;

use payment_functions::domain::attention::AttentionReason;
use payment_functions_local::workspace;

use super::*;

/// Watched metrics that AWS emits: namespace, metric, dimension.
const WRITTEN_BY_AWS: [(&str, &str, &str); 9] = [
    ("AWS/Lambda", "Errors", "FunctionName"),
    ("AWS/Lambda", "Throttles", "FunctionName"),
    ("AWS/Lambda", "IteratorAge", "FunctionName"),
    ("AWS/Lambda", "Url5xxCount", "FunctionName"),
    ("AWS/Lambda", "UrlRequestLatency", "FunctionName"),
    ("AWS/ApiGateway", "5xx", "ApiId"),
    ("AWS/ApiGateway", "Latency", "ApiId"),
    ("AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName"),
    ("AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName"),
];

async fn alarms(stack: &Stack) -> Vec<Value> {
    let of_stack = |alarm: &Value| alarm["AlarmName"].as_str().unwrap().starts_with(&prefix(stack));
    let described = call("cloudwatch", "describe_alarms", json!({ "MaxRecords": 100 })).await;
    let alarms = described["MetricAlarms"].as_array().unwrap().iter();
    alarms.filter(|alarm| of_stack(alarm)).cloned().collect()
}

fn prefix(stack: &Stack) -> String {
    stack.function("get-payment").replace("get-payment", "")
}

#[tokio::test]
async fn every_alarm_fires_and_notifies() {
    let stack = deployed("alarms", &parameters()).await;
    let inbox = Inbox::open("woken").await;
    let subscription = json!({
        "TopicArn": stack.output("AlarmTopicArn"), "Protocol": "sqs", "Endpoint": inbox.arn,
        "Attributes": { "RawMessageDelivery": "true" },
    });
    call("sns", "subscribe", subscription).await;
    let alarms = alarms(&stack).await;
    let described = stack.template()["Resources"].as_object().unwrap().values();
    let count = described
        .filter(|resource| resource["Type"] == "AWS::CloudWatch::Alarm")
        .count();
    assert_eq!(alarms.len(), count, "alarms");
    for alarm in &alarms {
        let number = |name: &str| alarm[name].as_f64().unwrap_or_else(|| panic!("no {name}: {alarm}"));
        assert_eq!(alarm["ComparisonOperator"], "GreaterThanThreshold", "{alarm}");
        let data = json!([{
            "MetricName": alarm["MetricName"], "Dimensions": alarm["Dimensions"], "Value": number("Threshold") + 1.0,
        }]);
        for _ in 0..alarm["EvaluationPeriods"].as_u64().unwrap() {
            let arguments = json!({ "Namespace": alarm["Namespace"], "MetricData": data });
            call("cloudwatch", "put_metric_data", arguments).await;
        }
    }
    let mut woken = BTreeSet::new();
    let names: BTreeSet<&str> = alarms
        .iter()
        .map(|alarm| alarm["AlarmName"].as_str().unwrap())
        .collect();
    until("every alarm's message", async || {
        for message in inbox.messages().await {
            // An alarm of a function that ran before may report OK first.
            if message["NewStateValue"] == "ALARM" {
                woken.insert(message["AlarmName"].as_str().unwrap().to_owned());
            }
        }
        names.iter().all(|name| woken.contains(*name)).then_some(())
    })
    .await;
    println!("{} alarms fired", woken.len());
}

#[test]
fn runbook_explains_every_alarm_and_no_other() {
    let template = std::fs::read_to_string(workspace().join("template.yaml")).expect("template.yaml");
    let runbook = std::fs::read_to_string(workspace().join("docs/runbook.md")).expect("docs/runbook.md");
    let alarms: BTreeSet<&str> = template
        .lines()
        .filter_map(|line| line.trim().strip_prefix("AlarmName: !Sub ${AWS::StackName}-"))
        .collect();
    let explained: BTreeSet<&str> = runbook
        .lines()
        .filter(|line| line.starts_with("### "))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .collect();
    assert!(!alarms.is_empty());
    assert_eq!(alarms, explained);
}
#[tokio::test]
async fn every_alarm_watches_an_emitted_metric() {
    let stack = deployed("watched", &parameters()).await;
    for alarm in alarms(&stack).await {
        let (namespace, metric) = (
            alarm["Namespace"].as_str().unwrap(),
            alarm["MetricName"].as_str().unwrap(),
        );
        let dimensions = alarm["Dimensions"].as_array().unwrap();
        if namespace == "payment-functions/watched" {
            let known = payment_functions::platform::metrics::ALL
                .iter()
                .find(|known| known.name == metric);
            let known = known.unwrap_or_else(|| panic!("{metric} is never emitted"));
            let names: Vec<&str> = dimensions
                .iter()
                .map(|dimension| dimension["Name"].as_str().unwrap())
                .collect();
            assert_eq!(names, known.dimensions, "{alarm}");
            for dimension in dimensions {
                let is_reason = AttentionReason::ALL
                    .iter()
                    .any(|reason| dimension["Value"] == reason.name());
                assert!(is_reason, "{alarm}");
            }
        } else {
            let [dimension] = dimensions.as_slice() else {
                panic!("expected one dimension: {alarm}")
            };
            let written = (namespace, metric, dimension["Name"].as_str().unwrap());
            assert!(WRITTEN_BY_AWS.contains(&written), "{written:?}");
            // The resource exists.
            let name = dimension["Value"].as_str().unwrap();
            let template = stack.template()["Resources"].as_object().unwrap();
            let is_there = template.keys().any(|logical| {
                let physical = stack.resource(logical);
                physical == name || physical.ends_with(&format!("/{name}"))
            });
            assert!(is_there, "{alarm}");
        }
    }
}

#[test]
fn dashboard_shows_every_metric() {
    let template = std::fs::read_to_string(workspace().join("template.yaml")).expect("template.yaml");
    let body = template.split_once("DashboardBody: !Sub |").expect("a dashboard").1;
    let body = body.split_once("\nOutputs:").expect("outputs after it").0;
    let dashboard: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    let shown = dashboard.to_string();
    for metric in &payment_functions::platform::metrics::ALL {
        let name = metric.name;
        let is_shown = shown.contains(&format!("\"{name}\"")) || shown.contains(&format!("MetricName=\\\"{name}\\\""));
        assert!(is_shown, "{name}: {shown}");
    }
}
